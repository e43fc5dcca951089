//! Anthropic's and Gemini's own protocols, as far as our mapping goes; the protocols are `genai`'s.

use std::time::Duration;

use agent_core::model::genai::Native;
use agent_core::model::{FinishReason, Message, Model, ModelErrorKind, ModelRequest, TimeoutPhase, ToolSpec};
use serde_json::json;

use crate::server::{Answer, Server};

fn anthropic(events: &[serde_json::Value]) -> Answer {
    let texts: Vec<String> = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect();
    Answer::raw(texts.iter().map(String::as_str))
}

fn claude(server: &Server) -> Model {
    let builder = Native::anthropic("claude-test").key("sk-ant-abcdefgh").base_url(&server.url);
    Model::new(
        builder
            .idle_timeout(Duration::from_millis(150))
            .first_token_timeout(Duration::from_millis(300))
            .build()
            .unwrap(),
    )
}

#[tokio::test]
async fn thoughts_text_and_calls_of_anthropic_come_and_go_back() {
    let server = Server::start([anthropic(&[
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "생각"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sealed"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "볼게요"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"city\":"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "\"서울\"}"}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 20}}),
        json!({"type": "message_stop"}),
    ])])
    .await;
    let tool = ToolSpec {
        name: "weather".into(),
        description: "weather".into(),
        parameters: json!({"type": "object"}),
        strict: false,
    };
    let model = claude(&server);
    let reply = model.complete(ModelRequest::new("날씨").system("친절").tools([tool])).await.unwrap();
    assert_eq!(reply.message.text(), "볼게요");
    assert_eq!(reply.message.reasoning.len(), 1);
    assert_eq!(
        (reply.message.reasoning[0].text.as_str(), reply.message.reasoning[0].sealed.as_deref()),
        ("생각", Some("sealed"))
    );
    assert_eq!(reply.message.tool_calls.len(), 1);
    assert_eq!(reply.message.tool_calls[0].arguments, r#"{"city":"서울"}"#);
    assert_eq!((reply.finish, reply.usage.unwrap().total()), (FinishReason::ToolCalls, 29));

    let history = [Message::user("날씨"), reply.message, Message::tool_result("toolu_1", "맑음")];
    model.complete(ModelRequest::new(history)).await.unwrap();
    let seen = &server.seen()[1];
    assert_eq!((seen.path.as_str(), seen.header("x-api-key")), ("/v1/messages", Some("sk-ant-abcdefgh")));
    let assistant = &seen.body["messages"][1]["content"];
    assert_eq!(assistant[0], json!({"type": "thinking", "thinking": "생각", "signature": "sealed"}));
    assert_eq!(assistant[2]["input"], json!({"city": "서울"}));
    assert_eq!(seen.body["messages"][2]["content"][0]["tool_use_id"], "toolu_1");
}

#[tokio::test]
async fn a_cached_prompt_marks_the_system_prompt_and_the_last_message() {
    let answer = || {
        anthropic(&[
            json!({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
            json!({"type": "message_stop"}),
        ])
    };
    let server = Server::start([answer(), answer()]).await;
    let request =
        || ModelRequest::new([Message::user("a"), Message::assistant("b"), Message::user("c")]).system("s");
    let cached =
        Native::anthropic("claude-test").key("sk").base_url(&server.url).cache_prompts().build().unwrap();
    Model::new(cached).complete(request()).await.unwrap();
    claude(&server).complete(request()).await.unwrap();
    let [with, without] = [&server.seen()[0].body, &server.seen()[1].body];
    let mark = json!({"type": "ephemeral"});
    assert_eq!(with["system"][0]["cache_control"], mark, "{with}");
    assert_eq!(with["messages"][2]["content"][0]["cache_control"], mark, "{with}");
    assert!(!with["messages"][0].to_string().contains("cache_control"), "{with}");
    assert!(!without.to_string().contains("cache_control"), "{without}");
}

#[tokio::test]
async fn refusals_of_anthropic_are_told_apart() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let limited = Answer::status(429, r#"{"error":{"type":"rate_limit_error","message":"slow"}}"#)
        .header("retry-after", "3");
    let long = r#"{"error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000"}}"#;
    let begun = json!({"type": "message_start", "message": {"usage": {}}});
    let cases = [
        (
            Answer::status(401, r#"{"error":{"type":"authentication_error","message":"invalid x-api-key"}}"#),
            ModelErrorKind::Auth,
        ),
        (Answer::status(529, overloaded), ModelErrorKind::Overloaded { retry_after: None }),
        (limited, ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(3)) }),
        (Answer::status(400, long), ModelErrorKind::ContextTooLong),
        (anthropic(std::slice::from_ref(&begun)), ModelErrorKind::Cut),
        (anthropic(&[begun]).then_silence(), ModelErrorKind::TimedOut { waited: TimeoutPhase::FirstToken }),
    ];
    for (answer, expected) in cases {
        let server = Server::start([answer]).await;
        let error = claude(&server).complete("x").await.unwrap_err();
        assert_eq!((error.kind(), error.model()), (expected, Some("claude-test")));
        assert!(!format!("{error:?}").contains("sk-ant"), "{error:?}");
    }
}

#[tokio::test]
async fn text_and_calls_of_gemini_come_as_deltas() {
    let server = Server::start([Answer::raw([
        "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"볼게요\"}]}}]}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"name\":\"weather\",\"args\":{\"city\":\"서울\"}}}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":7,\"totalTokenCount\":12}}\r\n\r\n",
    ])])
    .await;
    let model =
        Model::new(Native::gemini("gemini-test").key("AIza-abcdefgh").base_url(&server.url).build().unwrap());
    let reply = model.complete("날씨").await.unwrap();
    assert_eq!((reply.message.text().as_ref(), reply.finish), ("볼게요", FinishReason::ToolCalls));
    assert_eq!(reply.message.tool_calls[0].arguments, r#"{"city":"서울"}"#);
    assert_eq!(reply.usage.unwrap().total(), 12);
    let id = reply.message.tool_calls[0].id.clone();
    let again = model.complete("날씨").await.unwrap();
    assert_ne!(again.message.tool_calls[0].id, id, "ids are unique in a conversation");

    let history = [Message::user("날씨"), reply.message, Message::tool_result(id, "맑음")];
    model.complete(ModelRequest::new(history)).await.unwrap();
    assert_eq!(server.seen()[2].body["contents"][2]["parts"][0]["functionResponse"]["name"], "weather");
}
