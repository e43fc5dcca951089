//! Images in the results of tools, as the OpenAI protocols have them.

use agent_core::model::openai::{OpenAi, OpenAiBuilder, Protocol};
use agent_core::model::{Message, Model, ModelErrorKind, ModelRequest, Part, ToolCall};
use serde_json::json;

use crate::server::{Answer, Server};

fn at(server: &Server) -> OpenAiBuilder {
    OpenAi::builder().base_url(&server.url).model("tiny")
}

#[tokio::test]
async fn images_of_tool_results_are_shown_after_the_results_and_left_out_where_they_are_rejected() {
    let call = ToolCall { id: "c1".into(), name: "draw".into(), arguments: "{}".into(), provider: None };
    let drawn = vec![Part::text("a dot"), Part::image_bytes("image/png", b"\x89PNG")];
    let request = ModelRequest::new([
        Message::user("draw"),
        Message::assistant("").with_tool_calls([call]),
        Message::tool_result("c1", drawn).with_name("draw"),
    ]);
    let rejected = Answer::status(400, r#"{"error":{"message":"this model cannot see images"}}"#);
    let server =
        Server::start([Answer::says(&["a"]), rejected.clone(), Answer::says(&["b"]), Answer::says(&["c"])])
            .await;
    let model = Model::new(at(&server).build().unwrap());
    for said in ["a", "b", "c"] {
        assert_eq!(model.complete(request.clone()).await.unwrap().message.text(), said);
    }
    let messages = |at: usize| server.seen()[at].body["messages"].clone();
    let result = json!({"role": "tool", "content": "a dot", "tool_call_id": "c1"});
    let shown = json!({"role": "user", "content": [
        {"type": "text", "text": "Images in the result of draw (c1):"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    ]});
    for at in [0, 1] {
        assert_eq!((&messages(at)[2], &messages(at)[3]), (&result, &shown));
    }
    // Later requests are not rejected first.
    for at in [2, 3] {
        let text = "a dot\n[1 image(s) left out: this model cannot be shown images of tools]";
        assert_eq!(messages(at)[2]["content"], text);
        assert_eq!(messages(at).as_array().unwrap().len(), 3);
    }

    // A rejection for another reason stays one.
    let server = Server::start([rejected]).await;
    let error = Model::new(at(&server).build().unwrap()).complete(request.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::BadRequest);

    // The other protocol has images in results.
    let server = Server::start([Answer::status(400, "{}")]).await;
    let model = Model::new(at(&server).protocol(Protocol::Responses).build().unwrap());
    model.complete(request).await.unwrap_err();
    let output = &server.seen()[0].body["input"][2]["output"];
    assert_eq!(
        output[1],
        json!({"type": "input_image", "image_url": "data:image/png;base64,iVBORw==", "detail": "auto"})
    );
}
