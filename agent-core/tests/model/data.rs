//! Messages, deltas, errors and secrets as plain data.

use agent_core::model::testing::{Chunking, Scripted, Turn};
use agent_core::model::{
    Assembler, ChatModel, Content, Delta, FinishReason, Message, Messages, Model, ModelError, ModelErrorKind,
    ModelReply, ModelRequest, Part, Usage,
};
use agent_core::secret::Secret;
use futures::StreamExt;
use serde_json::json;
use std::time::Duration;

#[test]
fn a_message_is_stored_in_its_shortest_form_and_read_back() {
    let message = Message::user("안녕하세요 🌿").with_id("msg_1");
    let text = serde_json::to_string(&message).unwrap();
    assert_eq!(text, r#"{"id":"msg_1","role":"user","content":"안녕하세요 🌿"}"#);
    assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);

    let picture = Message::user(vec![Part::text("what is it?"), Part::image_bytes("image/png", b"\x89PNG")]);
    let json = serde_json::to_value(&picture).unwrap();
    assert_eq!(json["content"][1]["url"], "data:image/png;base64,iVBORw==");
    assert_eq!(serde_json::from_value::<Message>(json).unwrap(), picture);
    assert_eq!(picture.text(), "what is it?");
}

#[test]
fn picture_bytes_are_encoded_as_base64_whatever_their_number() {
    let encoded = |bytes: &[u8]| match Part::image_bytes("image/png", bytes) {
        Part::Image { url, .. } => url.trim_start_matches("data:image/png;base64,").to_owned(),
        other => panic!("{other:?}"),
    };
    let known = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
    ];
    for (plain, expected) in known {
        assert_eq!(encoded(plain.as_bytes()), expected);
    }
}

#[test]
fn every_message_gets_an_id_of_its_own() {
    let ids: std::collections::HashSet<_> = (0..1000).map(|_| Message::user("x").id).collect();
    assert_eq!(ids.len(), 1000);
    assert!(ids.iter().all(|id| id.len() == 20 && id.starts_with("msg_")));
}

#[test]
fn a_push_on_an_unshared_conversation_copies_no_message() {
    let mut messages = Messages::from([Message::user("a")]);
    let first = std::sync::Arc::as_ptr(&messages[0]);
    let shared = messages.clone();
    messages.push(Message::assistant("b"));
    assert_eq!((shared.len(), messages.len()), (1, 2));
    assert_eq!(std::sync::Arc::as_ptr(&messages[0]), first);
}

#[test]
fn a_secret_is_not_printed() {
    let secret = Secret::new("sk-12345678");
    assert_eq!(format!("{secret:?}"), "Secret(***)");
    assert_eq!(secret.scrub("key sk-12345678 refused"), "key *** refused");
}

#[test]
fn an_error_shows_neither_the_endpoints_words_nor_a_key() {
    let said = format!(
        "Incorrect API key provided: sk-proj-{}. 질문: 비밀 {}",
        "a1".repeat(30),
        "긴 글 ".repeat(400)
    );
    let error =
        ModelError::new(ModelErrorKind::Auth).with_model("gpt-4o-mini").with_status(401).with_detail(&said);
    assert_eq!(
        error.to_string(),
        "the model endpoint rejected the API key (model `gpt-4o-mini`, status 401)"
    );
    let detail = error.detail().unwrap();
    assert!(detail.starts_with("Incorrect API key provided: ***"), "{detail}");
    assert_eq!(detail.chars().count(), 300);
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), detail);
    assert_eq!(serde_json::from_str::<ModelError>(&serde_json::to_string(&error).unwrap()).unwrap(), error);
}

#[test]
fn usage_adds_up() {
    let one = Usage { input_tokens: 3, output_tokens: 2, cached_tokens: 1, reasoning_tokens: 1 };
    let sum: Usage = [one, one, Usage::default()].into_iter().sum();
    assert_eq!(sum, Usage { input_tokens: 6, output_tokens: 4, cached_tokens: 2, reasoning_tokens: 2 });
}

fn without_id(mut reply: ModelReply) -> ModelReply {
    reply.message.id = String::new();
    reply
}

#[tokio::test]
async fn streamed_and_collected_answers_are_the_same() {
    let turn = || {
        Turn::text("서울은 맑습니다")
            .thinking("let me see")
            .and_raw_call(agent_core::model::ToolCall {
                id: "call_1".into(),
                name: "weather".into(),
                arguments: r#"{"city":"서울"}"#.into(),
                provider: None,
            })
            .chunked(Chunking::Chars(2))
    };
    let model = Model::new(Scripted::new([turn(), turn()]));
    let collected = model.complete("날씨?").await.unwrap();
    let mut stream = model.stream("날씨?").await.unwrap();
    let mut assembler = Assembler::new();
    let mut pieces = 0;
    while let Some(delta) = stream.next().await {
        pieces += 1;
        assembler.push(&delta.unwrap()).unwrap();
    }
    assert!(pieces > 10, "{pieces}");
    assert_eq!(without_id(assembler.finish().unwrap()), without_id(collected.clone()));
    assert_eq!(collected.message.tool_calls[0].parse_arguments().unwrap(), json!({"city": "서울"}));
    assert_eq!(collected.finish, FinishReason::ToolCalls);
    assert_eq!(collected.message.reasoning[0].text, "let me see");
}

#[tokio::test]
async fn a_stream_without_an_end_is_cut_in_both_ways_of_reading() {
    let cut = || agent_core::model::ModelStream::new(futures::stream::iter([Ok(Delta::text("half"))]));
    let items: Vec<_> = cut().collect().await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[1].as_ref().unwrap_err().kind(), ModelErrorKind::Cut);
    assert_eq!(cut().collect_reply().await.unwrap_err().kind(), ModelErrorKind::Cut);
}

#[test]
fn a_stopped_answer_keeps_its_text_and_drops_half_written_calls() {
    let mut assembler = Assembler::new();
    assembler.push(&Delta::text("지금 확인")).unwrap();
    assembler.push(&Delta::ToolCallStarted { index: 0, id: "c".into(), name: "t".into() }).unwrap();
    assembler.push(&Delta::ToolCallArguments { index: 0, text: "{\"a".into() }).unwrap();
    let id = assembler.message_id().to_owned();
    let partial = assembler.into_partial().unwrap();
    assert_eq!((partial.id, partial.content, partial.tool_calls.len()), (id, Content::from("지금 확인"), 0));
    assert!(Assembler::new().into_partial().is_none());
}

#[test]
fn a_restart_voids_what_came_before_and_keeps_the_message_id() {
    let mut assembler = Assembler::new();
    let id = assembler.message_id().to_owned();
    assembler.push(&Delta::text("wrong")).unwrap();
    assembler.push(&Delta::Restarted { attempt: 2, reason: "model_cut".into() }).unwrap();
    assembler.push(&Delta::text("right")).unwrap();
    assembler.push(&Delta::Finished { reason: FinishReason::Stop }).unwrap();
    let reply = assembler.finish().unwrap();
    assert_eq!((reply.message.text().as_ref(), &reply.message.id, reply.attempts), ("right", &id, 2));
}

#[test]
fn arguments_of_a_call_that_never_began_are_malformed() {
    let orphan = Delta::ToolCallArguments { index: 3, text: "{}".into() };
    assert_eq!(Assembler::new().push(&orphan).unwrap_err().kind(), ModelErrorKind::Malformed);
}

#[tokio::test(start_paused = true)]
async fn a_script_delays_fails_and_ends() {
    let script = Scripted::new([
        Turn::text("ab")
            .chunked(Chunking::Chars(1))
            .after(Duration::from_secs(5))
            .every(Duration::from_secs(1)),
        Turn::error(ModelError::new(ModelErrorKind::Quota)),
        Turn::text("abc")
            .chunked(Chunking::Chars(1))
            .then_error(2, ModelError::new(ModelErrorKind::Transport)),
    ]);
    let started = tokio::time::Instant::now();
    let model = Model::new(script.clone());
    assert_eq!(model.complete("1").await.unwrap().message.text(), "ab");
    assert_eq!(
        started.elapsed(),
        Duration::from_secs(8),
        "5 s, then 1 s before each of three further pieces"
    );
    assert_eq!(model.complete("2").await.unwrap_err().kind(), ModelErrorKind::Quota);
    let broken: Vec<_> = model.stream("3").await.unwrap().collect().await;
    assert_eq!(broken[..2], [Ok(Delta::text("a")), Ok(Delta::text("b"))]);
    assert_eq!(broken[2].as_ref().unwrap_err().kind(), ModelErrorKind::Transport);
    let over = model.complete("4").await.unwrap_err();
    assert_eq!(over.detail(), Some("the script has no turn for call 4"));
    assert_eq!((script.calls(), script.remaining(), script.requests().len()), (4, 0, 4));
}

#[tokio::test]
async fn a_handle_is_itself_a_model() {
    let model = Model::new(Model::new(Scripted::rule(|call, _| Turn::text(format!("turn {call}")))));
    assert_eq!(ChatModel::name(&model), "scripted");
    assert_eq!(model.complete(ModelRequest::new("x")).await.unwrap().message.text(), "turn 0");
}
