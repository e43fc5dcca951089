//! Recorded HTTP calls: recorded, scrubbed, replayed byte for byte.

use agent_core::model::http::{HttpOptions, Transport};
use agent_core::model::openai::OpenAi;
use agent_core::model::testing::Cassette;
use agent_core::model::{Delta, Model, ModelError, ModelErrorKind};
use agent_core::secret::Secret;
use futures::StreamExt;

use crate::server::{Answer, Server};

const KEY: &str = "sk-taped-abcdefghijklmnop";

async fn stream(model: &Model, text: &str) -> Vec<Result<Delta, ModelError>> {
    match model.stream(text).await {
        Ok(stream) => stream.collect().await,
        Err(error) => vec![Err(error)],
    }
}

#[tokio::test]
async fn a_tape_gives_back_what_was_recorded_and_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tape.json");
    let echo = format!(r#"{{"error":{{"message":"Incorrect key {KEY} for tenant acme-7712"}}}}"#);
    let server = Server::start([
        Answer::says(&["안녕", "하세요 🌿"]),
        Answer::status(401, &echo).header("set-cookie", "session=hidden"),
        Answer::raw(["data: {\"choices\":[{\"delta\":{\"content\":\"반쪽\"}}]}\n\n"]).then_disconnect(),
    ])
    .await;

    let network = Transport::network(&HttpOptions::default()).unwrap();
    let tape = Cassette::record_without(&path, network, [Secret::new("acme-7712")]);
    let live = Model::new(OpenAi::builder().base_url(&server.url).key(KEY).transport(tape).build().unwrap());
    let mut recorded = Vec::new();
    for text in ["하나", "acme-7712?", "셋"] {
        recorded.push(stream(&live, text).await);
    }

    let text = std::fs::read_to_string(&path).unwrap();
    for secret in [KEY, "acme-7712", "hidden", "127.0.0.1"] {
        assert!(!text.contains(secret), "{secret} is on the tape");
    }

    // Another host, no key: neither is part of the recording.
    let tape = Cassette::replay(&path).unwrap();
    let replay =
        Model::new(OpenAi::builder().base_url("http://nowhere.invalid/v1").transport(tape).build().unwrap());
    assert_eq!(stream(&replay, "하나").await, recorded[0]);
    assert_eq!(stream(&replay, "***?").await[0].as_ref().unwrap_err().kind(), ModelErrorKind::Auth);
    let broken = stream(&replay, "셋").await;
    assert_eq!(broken[0], Ok(Delta::text("반쪽")));
    assert_eq!(broken[1].as_ref().unwrap_err().kind(), ModelErrorKind::Transport);
    // Each answers once.
    let over = &stream(&replay, "하나").await[0];
    assert_eq!(
        over.as_ref().unwrap_err().detail(),
        Some("the cassette has no further response to POST /v1/chat/completions")
    );
}
