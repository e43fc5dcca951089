//! The OpenAI protocols against a server with valid, invalid, late and missing answers.

use std::time::Duration;

use agent_core::model::openai::{OpenAi, OpenAiBuilder, Protocol};
use agent_core::model::{
    Delta, FinishReason, Message, Model, ModelError, ModelErrorKind, ModelReply, ModelRequest, Part,
    ResponseFormat, TimeoutPhase, ToolCall, ToolChoice, ToolSpec, Usage,
};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const KEY: &str = "sk-test-abcdefghijklmnop";

fn at(server: &Server) -> OpenAiBuilder {
    OpenAi::builder().base_url(&server.url).key(KEY).model("tiny")
}

async fn ask(answer: Answer) -> Result<ModelReply, ModelError> {
    let server = Server::start([answer]).await;
    Model::new(at(&server).build().unwrap()).complete("안녕").await
}

async fn fault(answer: Answer) -> ModelError {
    let error = ask(answer).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(KEY));
    assert_eq!(error.model(), Some("tiny"));
    error
}

#[tokio::test]
async fn text_streams_in_the_pieces_it_came_in() {
    let server = Server::start([Answer::says(&["안녕", "하세요", " 🌿"])]).await;
    let model = Model::new(at(&server).build().unwrap());
    let deltas: Vec<Delta> = model.stream("hi").await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(
        deltas,
        [
            Delta::Model { name: "gpt-test-0719".into() },
            Delta::text("안녕"),
            Delta::text("하세요"),
            Delta::text(" 🌿"),
            Delta::Usage {
                usage: Usage { input_tokens: 9, output_tokens: 3, cached_tokens: 4, reasoning_tokens: 0 }
            },
            Delta::Finished { reason: FinishReason::Stop },
        ]
    );
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.header("authorization"), Some("Bearer sk-test-abcdefghijklmnop"));
}

#[tokio::test]
async fn a_request_is_written_as_the_protocol_wants_it() {
    let server = Server::start([Answer::says(&["ok"])]).await;
    let model = Model::new(at(&server).header("x-team", "beauty").build().unwrap());
    let call = ToolCall {
        id: "call_1".into(),
        name: "look".into(),
        arguments: "{oops".into(),
        provider: Some(json!({"google": 1})),
    };
    let mut thinking = Message::assistant("").with_tool_calls([call]);
    thinking.reasoning.push(agent_core::model::Reasoning { text: "hm".into(), ..Default::default() });
    let request = ModelRequest::new([
        Message::user(vec![Part::text("보세요"), Part::image_url("https://x/y.png")]),
        thinking,
        Message::tool_result("call_1", "결과"),
    ])
    .system("be brief")
    .tools([ToolSpec {
        name: "look".into(),
        description: "looks".into(),
        parameters: json!({"type": "object"}),
        strict: true,
    }])
    .tool_choice(ToolChoice::Required)
    .response_format(ResponseFormat::JsonObject)
    .max_output_tokens(64)
    .top_p(0.5)
    .stop(["END"])
    .extra("top_k", 5)
    .extra("temperature", 0.25)
    .header("x-request", "7");
    model.complete(request).await.unwrap();
    let seen = server.seen().remove(0);
    assert_eq!((seen.header("x-team"), seen.header("x-request")), (Some("beauty"), Some("7")));
    assert_eq!(
        seen.body,
        json!({
            "model": "tiny",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [
                    {"type": "text", "text": "보세요"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                ]},
                {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [{
                    "id": "call_1", "type": "function", "extra_content": {"google": 1},
                    "function": {"name": "look", "arguments": "{\"malformed_arguments\":\"{oops\"}"},
                }]},
                {"role": "tool", "content": "결과", "tool_call_id": "call_1"},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function": {
                "name": "look", "description": "looks", "parameters": {"type": "object"}, "strict": true,
            }}],
            "tool_choice": "required",
            "response_format": {"type": "json_object"},
            "top_p": 0.5,
            "max_tokens": 64,
            "stop": ["END"],
            "top_k": 5,
            "temperature": 0.25,
        })
    );
}

#[tokio::test]
async fn characters_cut_in_half_by_the_network_arrive_whole() {
    let whole = "data: {\"choices\":[{\"delta\":{\"content\":\"라네즈 수분크림 🌿\"}}]}\r\n\r\ndata:{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    for size in [1, 2, 3, 7, 50] {
        let reply = ask(Answer::raw(whole.as_bytes().chunks(size))).await.unwrap();
        assert_eq!(reply.message.text(), "라네즈 수분크림 🌿", "in chunks of {size}");
    }
}

#[tokio::test]
async fn parallel_tool_calls_are_put_together_from_interleaved_deltas() {
    let reply = ask(Answer::events([
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"add","arguments":""}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"도시","arguments":"{\"c\":"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}},{"index":1,"function":{"arguments":"\"서울\"}"}}]}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}],"usage":null}"#,
    ]))
    .await
    .unwrap();
    let calls: Vec<_> = reply.message.tool_calls.iter().map(|c| (&*c.id, &*c.name, &*c.arguments)).collect();
    assert_eq!(calls, [("a", "add", r#"{"x":1}"#), ("b", "도시", r#"{"c":"서울"}"#)]);
    assert_eq!((reply.finish, reply.usage), (FinishReason::ToolCalls, None));
}

/// `(what the server does, its events, the calls expected)`
#[tokio::test]
async fn servers_that_bend_the_protocol_are_understood() {
    type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);
    let cases: [Case; 7] = [
        (
            "no index, no id, arguments in pieces",
            &[
                r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\""}}]}}]}"#,
                r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":":1}"}}]},"finish_reason":"stop"}]}"#,
            ],
            &[("f", r#"{"a":1}"#)],
        ),
        (
            "index 0 for every call",
            &[
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"1","function":{"name":"f","arguments":"{}"}}]}}]}"#,
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"2","function":{"name":"g","arguments":"{}"}}]}}]}"#,
            ],
            &[("f", "{}"), ("g", "{}")],
        ),
        (
            "id and name repeated in every piece",
            &[
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"1","function":{"name":"f","arguments":"{"}}]}}]}"#,
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"1","function":{"name":"f","arguments":"}"}}]}}]}"#,
            ],
            &[("f", "{}")],
        ),
        (
            "arguments as an object",
            &[
                r#"{"choices":[{"delta":{"tool_calls":[{"id":"","function":{"name":"f","arguments":{"a":[1]}}}]}}]}"#,
            ],
            &[("f", r#"{"a":[1]}"#)],
        ),
        (
            "arguments before the name",
            &[
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"1","function":{"name":null,"arguments":"{"}}]}}]}"#,
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]}}]}"#,
            ],
            &[("f", "{}")],
        ),
        (
            "the whole message at once",
            &[
                r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}"#,
            ],
            &[("f", "{}")],
        ),
        (
            "nothing it should",
            &[
                r#"{"choices":[{"delta":{"tool_calls":null,"content":"x","surprise":[{}]}}],"usage":7,"created":"yesterday"}"#,
            ],
            &[],
        ),
    ];
    for (what, events, expected) in cases {
        let reply =
            ask(Answer::events(events.iter().copied())).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let calls: Vec<_> = reply.message.tool_calls.iter().map(|c| (&*c.name, &*c.arguments)).collect();
        assert_eq!(calls, expected, "{what}");
        let finish = if expected.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        assert_eq!(reply.finish, finish, "{what}");
        assert!(reply.message.tool_calls.iter().all(|call| !call.id.is_empty()), "{what}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_stream_is_understood() {
    let body = "{\n \"choices\": [{\"message\": {\"role\": \"assistant\", \"content\": \"줄\\n바꿈\"}, \"finish_reason\": \"stop\"}],\n \"usage\": {\"prompt_tokens\": 2, \"completion_tokens\": 1}}";
    let reply = ask(Answer::status(200, body)).await.unwrap();
    assert_eq!(reply.message.text(), "줄\n바꿈");
    assert_eq!(reply.usage.unwrap().total(), 3);
}

#[tokio::test]
async fn comments_missing_blank_lines_and_a_missing_done_are_tolerated() {
    let reply = ask(Answer::raw([
        ": keep-alive\n\nevent: message\nid: 1\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\",\"reasoning\":\"why\"}}]}\n",
        "data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"b\"}]},\"finish_reason\":\"length\"}]}",
    ]))
    .await
    .unwrap();
    assert_eq!((reply.message.text().as_ref(), reply.finish), ("ab", FinishReason::Length));
    assert_eq!(reply.message.reasoning[0].text, "why");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let cases = [
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-test-abcdefghijklmnop","code":"invalid_api_key"}}"#,
            ModelErrorKind::Auth,
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]"#,
            ModelErrorKind::Auth,
        ),
        (402, "", ModelErrorKind::Quota),
        (
            429,
            r#"{"error":{"message":"You exceeded your quota","code":"insufficient_quota"}}"#,
            ModelErrorKind::Quota,
        ),
        (429, "not json at all", ModelErrorKind::RateLimited { retry_after: None }),
        (
            429,
            r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"17s"}]}}]"#,
            ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(17)) },
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens","code":"context_length_exceeded"}}"#,
            ModelErrorKind::ContextTooLong,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096","code":400}"#,
            ModelErrorKind::ContextTooLong,
        ),
        (400, r#"{"error":{"code":"content_filter","message":"filtered"}}"#, ModelErrorKind::Filtered),
        (404, r#"{"error":"model 'tiny' not found"}"#, ModelErrorKind::UnknownModel),
        (422, r#"{"detail":[{"msg":"bad"}]}"#, ModelErrorKind::BadRequest),
        (500, "<html>oops</html>", ModelErrorKind::Overloaded { retry_after: None }),
        (503, r#"{"error":{"message":"Loading model"}}"#, ModelErrorKind::Overloaded { retry_after: None }),
        (529, r#"{"error":{"type":"overloaded_error"}}"#, ModelErrorKind::Overloaded { retry_after: None }),
        (302, "", ModelErrorKind::UnknownModel),
    ];
    for (status, body, expected) in cases {
        let error = fault(Answer::status(status, body)).await;
        assert_eq!((error.kind(), error.status()), (expected, Some(status)), "{body}");
    }
}

#[tokio::test]
async fn the_wait_an_endpoint_asks_for_is_read_in_every_form() {
    let cases = [
        ("retry-after", "2", 2_000),
        ("retry-after", "0.5", 500),
        ("retry-after-ms", "1500", 1_500),
        ("retry-after", "Sat, 21 Nov 2026 08:00:09 GMT", 9_000),
    ];
    for (name, value, millis) in cases {
        let answer =
            Answer::status(429, "{}").header("date", "Sat, 21 Nov 2026 08:00:00 GMT").header(name, value);
        assert_eq!(fault(answer).await.retry_after(), Some(Duration::from_millis(millis)), "{name}: {value}");
    }
}

#[tokio::test]
async fn the_library_below_makes_one_attempt_only() {
    let server = Server::start([Answer::status(503, "{}"), Answer::says(&["no"])]).await;
    let model = Model::new(at(&server).build().unwrap());
    assert!(model.complete("x").await.unwrap_err().is_retryable());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_broken_stream_gives_what_came_and_then_its_fault() {
    let piece = "data: {\"choices\":[{\"delta\":{\"content\":\"반쪽\"}}]}\n\n";
    let cases = [
        ("disconnect", Answer::raw([piece]).then_disconnect(), ModelErrorKind::Transport),
        ("clean end without a finish", Answer::raw([piece]), ModelErrorKind::Cut),
        ("end within an event", Answer::raw([piece, "data: {\"choi"]), ModelErrorKind::Cut),
        (
            "malformed",
            Answer::raw([piece, "data: {\"choices\": nonsense}\n\n", piece]),
            ModelErrorKind::Malformed,
        ),
        ("not UTF-8", Answer::raw([piece.as_bytes(), b"data: \"\xff\xfe\"\n\n"]), ModelErrorKind::Malformed),
        (
            "error inside",
            Answer::raw([piece, "data: {\"error\":{\"message\":\"CUDA out of memory\",\"code\":500}}\n\n"]),
            ModelErrorKind::Overloaded { retry_after: None },
        ),
        (
            "silence",
            Answer::raw([piece]).then_silence(),
            ModelErrorKind::TimedOut { waited: TimeoutPhase::Idle },
        ),
    ];
    for (what, answer, expected) in cases {
        let server = Server::start([answer]).await;
        let model = Model::new(at(&server).idle_timeout(Duration::from_millis(150)).build().unwrap());
        let items: Vec<_> = model.stream("x").await.unwrap().collect().await;
        assert_eq!(items[0], Ok(Delta::text("반쪽")), "{what}");
        assert_eq!(items.last().unwrap().as_ref().unwrap_err().kind(), expected, "{what}");
        assert_eq!(items.len(), 2, "{what}");
    }
}

#[tokio::test]
async fn silence_before_the_first_token_is_its_own_fault() {
    let begun = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    for answer in [Answer::raw([begun]).then_silence(), Answer::raw([""; 0]).then_silence()] {
        let server = Server::start([answer]).await;
        let model = at(&server).first_token_timeout(Duration::from_millis(150)).build().unwrap();
        let error = Model::new(model).complete("x").await.unwrap_err();
        assert_eq!(error.kind(), ModelErrorKind::TimedOut { waited: TimeoutPhase::FirstToken });
    }
}

#[tokio::test]
async fn a_complete_answer_stays_complete_however_its_connection_ends() {
    let finished = "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\n";
    for answer in [Answer::raw([finished]).then_disconnect(), Answer::raw([finished]).then_silence()] {
        let server = Server::start([answer]).await;
        let model = at(&server).idle_timeout(Duration::from_millis(150)).build().unwrap();
        assert_eq!(Model::new(model).complete("x").await.unwrap().message.text(), "ok");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_a_transport_fault_without_its_address() {
    // Bound and dropped at once, so that nothing listens there.
    let url =
        format!("http://{}/v1", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let error =
        Model::new(OpenAi::builder().base_url(&url).build().unwrap()).complete("x").await.unwrap_err();
    assert_eq!(error.kind(), ModelErrorKind::Transport);
    assert!(!format!("{error} {error:?}").contains("127.0.0.1"), "{error:?}");
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_is_sent() {
    let refused = |builder: OpenAiBuilder| builder.build().unwrap_err();
    assert_eq!(refused(OpenAi::builder().base_url("localhost:8000")).kind(), ModelErrorKind::Unsupported);
    let error = refused(OpenAi::builder().key("two\nlines-of-key"));
    assert!(!format!("{error:?}").contains("lines"), "{error:?}");
}

#[test]
fn a_model_is_printed_without_its_key() {
    let model = OpenAi::builder().key(KEY).header("x-other", "hidden-value").build().unwrap();
    let printed = format!("{model:?}");
    assert!(!printed.contains(KEY) && !printed.contains("hidden-value"), "{printed}");
}

fn events(events: &[Value]) -> Answer {
    let texts: Vec<String> = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect();
    Answer::raw(texts.iter().map(String::as_str))
}

#[tokio::test]
async fn the_responses_protocol_streams_text_thoughts_and_calls() {
    let server = Server::start([events(&[
        json!({"type": "response.created", "response": {"model": "o-test", "status": "in_progress"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1"}}),
        json!({"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "delta": "생각"}),
        json!({"type": "response.output_item.done", "item": {"type": "reasoning", "id": "rs_1", "encrypted_content": "sealed!"}}),
        json!({"type": "response.output_text.delta", "delta": "찾아볼게요"}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "{\"q\":"}),
        json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "\"x\"}"}),
        json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "arguments": "{\"q\":\"x\"}"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{\"q\":\"x\"}"}}),
        json!({"type": "response.some_future_event", "surprise": true}),
        json!({"type": "response.completed", "response": {"usage": {"input_tokens": 5, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}}}}),
    ])])
    .await;
    let model = Model::new(at(&server).protocol(Protocol::Responses).build().unwrap());
    let reply = model.complete(ModelRequest::new("?").system("be kind")).await.unwrap();
    assert_eq!(reply.message.text(), "찾아볼게요");
    assert_eq!(reply.message.tool_calls.len(), 1);
    assert_eq!(reply.message.tool_calls[0].arguments, r#"{"q":"x"}"#);
    assert_eq!(reply.message.reasoning[0].sealed.as_deref(), Some("sealed!"));
    assert_eq!((reply.finish, reply.usage.unwrap().reasoning_tokens), (FinishReason::ToolCalls, 3));

    // The thoughts, the call and its result go back in the form they came in.
    let next =
        ModelRequest::new([Message::user("?"), reply.message, Message::tool_result("call_1", "found")]);
    model.complete(next).await.unwrap();
    let body = &server.seen()[1].body;
    assert_eq!(server.seen()[1].path, "/v1/responses");
    assert_eq!(
        body["input"],
        json!([
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "생각"}], "encrypted_content": "sealed!"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "찾아볼게요"}]},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{\"q\":\"x\"}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "found"},
        ])
    );
}

#[tokio::test]
async fn the_responses_protocol_names_its_failures() {
    let cases = [
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow down"}),
            ModelErrorKind::RateLimited { retry_after: None },
        ),
        (
            json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}}),
            ModelErrorKind::Overloaded { retry_after: None },
        ),
        (json!({"type": "response.output_text.delta", "delta": "half"}), ModelErrorKind::Cut),
    ];
    for (event, expected) in cases {
        let server = Server::start([events(std::slice::from_ref(&event))]).await;
        let model = Model::new(at(&server).protocol(Protocol::Responses).build().unwrap());
        assert_eq!(model.complete("x").await.unwrap_err().kind(), expected, "{event}");
    }
    let incomplete = json!({"type": "response.incomplete", "response": {
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "긴"}]}],
        "incomplete_details": {"reason": "max_output_tokens"},
    }});
    let server = Server::start([events(&[incomplete])]).await;
    let reply =
        Model::new(at(&server).protocol(Protocol::Responses).build().unwrap()).complete("x").await.unwrap();
    assert_eq!((reply.message.text().as_ref(), reply.finish), ("긴", FinishReason::Length));
}
