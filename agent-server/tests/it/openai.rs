//! OpenAI's chat completions from outside, over every agent.

use std::sync::Arc;

use agent_core::Runtime;
use agent_server::{Assistant, Chat, demo::TrendAgent};
use hyper::{Method, header::HeaderValue};
use serde_json::{Value, json};
use tokio::time::timeout;
use trend_agent::Desk;

use crate::support::{
    Here, LONG, Reply,
    stream::Stream,
    upstream::{Do, Fake, Script, calls, says},
};

pub(crate) const PATH: &str = "/v1/chat/completions";

/// A server with all three kinds of speakers, over one endpoint.
pub(crate) async fn all(scripts: impl IntoIterator<Item = Script>) -> (Here, Arc<Fake>) {
    let fake = Fake::start(scripts).await;
    let chat = Chat::new(fake.model());
    let assistant = Assistant::built_in(fake.model()).unwrap();
    let runtime = || TrendAgent::register(Runtime::builder(), Desk::default()).unwrap();
    let passing = runtime().build();
    let here = Here::made(runtime(), |server| {
        server.agent(TrendAgent).chat(chat).assistant(assistant).ephemeral_runtime(passing)
    })
    .await;
    (here, fake)
}

pub(crate) fn ask(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

pub(crate) fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// Status, type, parameter and code of an error.
pub(crate) fn error(reply: &Reply) -> (u16, &str, &str, &str) {
    let text = |name: &str| reply.body["error"][name].as_str().unwrap_or_default();
    assert!(!text("message").is_empty(), "{reply:?}");
    (reply.status.as_u16(), text("type"), text("param"), text("code"))
}

#[tokio::test]
async fn every_agent_is_a_model_under_its_own_name() {
    let (here, _fake) = all([]).await;
    let list = here.get("/v1/models").await.body;
    assert_eq!(list["object"], "list");
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["chat", "trend", "assistant"]);
    for (at, id) in ids.iter().enumerate() {
        let model = here.get(&format!("/v1/models/{id}")).await.body;
        assert_eq!(model, list["data"][at]);
        assert_eq!((&model["object"], &model["id"]), (&json!("model"), &json!(id)));
        assert!(model["created"].is_i64() && model["owned_by"].is_string());
    }
    let reply = here.get("/v1/models/gpt-5").await;
    assert_eq!(error(&reply), (404, "invalid_request_error", "model", "model_not_found"));
    let reply = here.post(PATH, ask("gpt-5", "hi")).await;
    assert_eq!(error(&reply), (404, "invalid_request_error", "model", "model_not_found"));
    assert_eq!(error(&here.get("/v1/embeddings").await).3, "not_found");
}

#[tokio::test]
async fn a_whole_answer_has_every_field() {
    let (here, fake) = all([says("안녕하세요 🌸")]).await;
    let body = json!({
        "model": "chat",
        "messages": [
            {"role": "developer", "content": "존댓말로"},
            {"role": "user", "content": [{"type": "text", "text": "안"}, {"type": "text", "text": "녕"}]},
        ],
        "max_completion_tokens": 50, "temperature": 0.2, "top_p": 0.9, "stop": ["끝", "END"], "seed": 7,
        "presence_penalty": 0.5, "user": "u-1", "n": 1, "logprobs": false, "response_format": {"type": "json_object"},
    });
    let reply = here.post(PATH, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.body;
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("chat")));
    let message =
        json!({"role": "assistant", "content": "안녕하세요 🌸", "refusal": null, "annotations": []});
    assert_eq!(
        body["choices"],
        json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}])
    );
    let usage = &body["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(7), &json!(3), &json!(10))
    );
    let reported = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    assert_eq!(fake.received(0), [reported("system", "존댓말로"), reported("user", "안녕")]);
    let seen = fake.seen.lock()[0].clone();
    assert_eq!(seen["model"], "fake", "the endpoint's own model answers");
    assert_eq!((&seen["seed"], &seen["presence_penalty"]), (&json!(7), &json!(0.5)));
    assert_eq!(
        (&seen["stop"], &seen["response_format"]["type"]),
        (&json!(["끝", "END"]), &json!("json_object"))
    );
    assert!(seen["max_tokens"] == 50 || seen["max_completion_tokens"] == 50, "{seen}");
    assert!((seen["temperature"].as_f64().unwrap() - 0.2).abs() < 1e-6, "{seen}");
}

#[tokio::test]
async fn a_streamed_answer_begins_with_the_role_and_ends_with_done() {
    let speak = vec![Do::Drip("안녕"), Do::Wait, Do::Say("하세요"), Do::Used(7, 3), Do::End("length")];
    let (here, fake) = all([Script::Speak(speak)]).await;
    let body = with(
        with(ask("chat", "hi"), "stream", json!(true)),
        "stream_options",
        json!({"include_usage": true}),
    );
    let mut stream = Stream::post(&here, PATH, body).await;
    let first = stream.next().await;
    assert_eq!(first["object"], "chat.completion.chunk");
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(first["usage"], Value::Null);
    let second = stream.next().await;
    assert_eq!(second["choices"][0]["delta"], json!({"content": "안녕"}));
    assert_eq!((&second["id"], &second["created"]), (&first["id"], &first["created"]));
    fake.waits().await;
    fake.gate.add_permits(1);
    let rest = stream.rest().await;
    assert_eq!(rest.len(), 4, "{rest:?}");
    assert_eq!(rest[0]["choices"][0]["delta"], json!({"content": "하세요"}));
    let last = &rest[1]["choices"][0];
    assert_eq!((&last["delta"], &last["finish_reason"]), (&json!({}), &json!("length")));
    assert_eq!((&rest[2]["choices"], &rest[2]["usage"]["total_tokens"]), (&json!([]), &json!(10)));
    assert_eq!(rest[3], "[DONE]");
}

#[tokio::test]
async fn the_callers_tools_reach_a_plain_model_and_its_calls_come_back() {
    let call = || calls("weather", r#"{"city":"서울"}"#);
    let (here, fake) = all([call(), call(), says("맑아요")]).await;
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}});
    let asked = with(with(ask("chat", "날씨?"), "tools", json!([tool])), "tool_choice", json!("required"));
    let reply = here.post(PATH, asked.clone()).await;
    let choice = &reply.body["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let function = json!({"name": "weather", "arguments": "{\"city\":\"서울\"}"});
    let calls = json!([{"id": "call_1", "type": "function", "function": function}]);
    assert_eq!(choice["message"]["tool_calls"], calls);
    let seen = fake.seen.lock()[0].clone();
    assert_eq!(
        (&seen["tools"][0]["function"]["name"], &seen["tool_choice"]),
        (&json!("weather"), &json!("required"))
    );
    let events = Stream::post(&here, PATH, with(asked, "stream", json!(true))).await.rest().await;
    let pieces: Vec<&Value> =
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert_eq!((&pieces[0]["id"], &pieces[0]["index"]), (&json!("call_1"), &json!(0)));
    let arguments: String =
        pieces.iter().filter_map(|piece| piece["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, r#"{"city":"서울"}"#);
    // The results come back as messages.
    let messages = json!([
        {"role": "user", "content": "날씨?"},
        {"role": "assistant", "content": null, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "맑음"},
    ]);
    let reply = here.post(PATH, json!({"model": "chat", "messages": messages})).await;
    assert_eq!(reply.body["choices"][0]["message"]["content"], "맑아요", "{reply:?}");
    assert_eq!(fake.received(2)[2], ("tool".into(), "맑음".into()));
}

#[tokio::test]
async fn an_agent_works_with_its_own_tools_and_keeps_nothing() {
    let sum = || calls("calculator", r#"{"expression":"6*7"}"#);
    let (here, fake) = all([sum(), says("42입니다"), sum(), says("42입니다")]).await;
    let asked = json!({
        "model": "assistant", "temperature": 0.1, "max_tokens": 99,
        "messages": [
            {"role": "system", "content": "짧게"}, {"role": "user", "content": "안녕"},
            {"role": "assistant", "content": "네"}, {"role": "user", "content": "6*7?"},
        ],
    });
    let reply = here.post(PATH, asked.clone()).await;
    let choice = &reply.body["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("42입니다"), &json!("stop"))
    );
    assert_eq!(reply.body["usage"]["total_tokens"], 17, "of both calls of the model: {reply:?}");
    let seen = fake.seen.lock()[1].clone();
    assert!((seen["temperature"].as_f64().unwrap() - 0.1).abs() < 1e-6, "{seen}");
    assert!(seen["max_tokens"] == 99 || seen["max_completion_tokens"] == 99, "{seen}");
    let received: Vec<(String, String)> = fake.received(1).into_iter().skip(1).collect();
    assert_eq!(received[0], ("system".into(), "짧게".into()));
    assert_eq!(received[3], ("user".into(), "6*7?".into()));
    let events = Stream::post(&here, PATH, with(asked, "stream", json!(true))).await.rest().await;
    let said: String =
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str()).collect();
    assert_eq!((said.as_str(), events.last().unwrap()), ("42입니다", &json!("[DONE]")));
    assert_eq!(here.get("/sessions").await.body["sessions"], json!([]));
}

#[tokio::test]
async fn a_task_agent_asks_through_the_conversation_and_goes_on_with_the_answer() {
    let (here, _fake) = all([]).await;
    let say = |messages: Value| here.post(PATH, json!({"model": "trend", "messages": messages}));
    let user = |text: &str| json!({"role": "user", "content": text});
    let task = "라네즈 리뷰를 분석해 주세요";
    let reply = say(json!([user(task)])).await;
    let question = reply.body["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(question.starts_with("보고서를 누구를 위해") && question.contains("3. 마케터"), "{question}");
    let asked = json!({"role": "assistant", "content": question});
    for (answer, wanted) in [("마케터", "마케터"), ("3", "마케터"), (" 소비자 ", "소비자")] {
        let reply = say(
            json!([user("전에는?"), {"role": "assistant", "content": "네"}, user(task), asked, user(answer)]),
        )
        .await;
        let report = reply.body["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(report.starts_with("# ") && report.contains(wanted), "{answer}: {report}");
        assert!(reply.body["usage"]["completion_tokens"].as_u64().unwrap() > 100, "an estimate");
    }
    let body =
        json!({"model": "trend", "stream": true, "messages": [user("Analyse the Anua reviews for buyers")]});
    let events = Stream::post(&here, PATH, body).await.rest().await;
    let text: String =
        events[1..].iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str()).collect();
    assert!(text.starts_with("# "), "{events:?}");
    assert_eq!(events.last().unwrap(), "[DONE]");
    let reply = say(json!([user(task), {"role": "assistant", "content": "네"}])).await;
    assert_eq!(error(&reply), (400, "invalid_request_error", "messages", "invalid_request"));
    assert_eq!(here.get("/sessions").await.body["sessions"], json!([]));
}

#[tokio::test]
async fn without_a_runtime_of_their_own_passing_conversations_are_removed_afterwards() {
    let fake = Fake::start([says("네"), Script::Speak(vec![Do::Say("하나"), Do::Wait])]).await;
    let assistant = Assistant::built_in(fake.model()).unwrap();
    let here = Here::made(Runtime::builder(), |server| server.assistant(assistant)).await;
    let nothing_is_left = || async {
        while here.get("/sessions").await.body["sessions"] != json!([]) {
            tokio::task::yield_now().await;
        }
    };
    let reply = here.post(PATH, ask("assistant", "hi")).await;
    assert_eq!(reply.body["choices"][0]["message"]["content"], "네", "{reply:?}");
    timeout(LONG, nothing_is_left()).await.unwrap();
    let mut stream = Stream::post(&here, PATH, with(ask("assistant", "hi"), "stream", json!(true))).await;
    stream.next().await;
    fake.waits().await;
    assert_ne!(here.get("/sessions").await.body["sessions"], json!([]), "while it runs");
    drop(stream);
    fake.hung_up().await;
    timeout(LONG, nothing_is_left()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_its_name() {
    let (here, fake) = all([]).await;
    let hi = || ask("chat", "hi");
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let said = |message: Value| json!({"model": "chat", "messages": [message]});
    for (body, param, code) in [
        (with(hi(), "n", json!(9)), "n", "invalid_request"),
        (with(hi(), "logprobs", json!("yes")), "logprobs", "invalid_request"),
        (with(hi(), "functions", json!([{}])), "functions", "unsupported_parameter"),
        (with(hi(), "modalities", json!(["audio"])), "modalities", "unsupported_parameter"),
        (with(hi(), "max_tokens", json!(0)), "max_tokens", "invalid_request"),
        (with(hi(), "max_tokens", json!(1.5)), "max_tokens", "invalid_request"),
        (with(hi(), "temperature", json!(2.1)), "temperature", "invalid_request"),
        (with(hi(), "temperature", json!("hot")), "temperature", "invalid_request"),
        (with(hi(), "top_p", json!(-1)), "top_p", "invalid_request"),
        (with(hi(), "stop", json!(["a", "b", "c", "d", "e"])), "stop", "invalid_request"),
        (with(hi(), "stop", json!([1])), "stop", "invalid_request"),
        (with(hi(), "stream", json!("yes")), "stream", "invalid_request"),
        (with(hi(), "stream_options", json!({"include_usage": true})), "stream_options", "invalid_request"),
        (with(hi(), "response_format", json!({"type": "xml"})), "response_format", "invalid_request"),
        (with(hi(), "tools", json!([{"type": "web"}])), "tools[0]", "invalid_request"),
        (with(hi(), "tool_choice", json!("required")), "tool_choice", "invalid_request"),
        (with(hi(), "seed", json!("x")), "seed", "invalid_request"),
        (with(hi(), "messages", json!([])), "messages", "invalid_request"),
        (with(hi(), "messages", json!("hi")), "messages", "invalid_request"),
        (with(hi(), "model", Value::Null), "model", "invalid_request"),
        (said(json!({"role": "robot", "content": "x"})), "messages[0].role", "invalid_request"),
        (said(json!({"role": "user"})), "messages[0].content", "invalid_request"),
        (
            said(json!({"role": "user", "content": [{"type": "input_audio"}]})),
            "messages[0].content[0]",
            "invalid_request",
        ),
        (said(json!({"role": "tool", "content": "x"})), "messages[0].tool_call_id", "invalid_request"),
        (said(json!({"role": "assistant", "tool_calls": [{}]})), "messages[0].tool_calls", "invalid_request"),
        (with(ask("assistant", "hi"), "tools", json!([tool("calculator")])), "tools", "invalid_request"),
        (with(ask("assistant", "hi"), "tools", json!([tool("no spaces")])), "tools", "invalid_request"),
    ] {
        let reply = here.post(PATH, body).await;
        assert_eq!(error(&reply), (400, "invalid_request_error", param, code), "{reply:?}");
    }
    let reply = here.send(Method::POST, PATH, &[], "{").await;
    assert_eq!(error(&reply).3, "invalid_json");
    assert_eq!(error(&here.get(PATH).await).0, 405);
    assert_eq!(fake.seen.lock().len(), 0);
}

#[tokio::test]
async fn a_model_that_fails_has_the_status_that_libraries_branch_on() {
    for (status, model, expected) in [
        (429, "chat", (429, "rate_limit_error", "", "rate_limit_exceeded")),
        (503, "chat", (503, "server_error", "", "model_overloaded")),
        (401, "chat", (502, "server_error", "", "model_auth")),
        (503, "assistant", (503, "server_error", "", "model_overloaded")),
    ] {
        for stream in [false, true] {
            let (here, _fake) = all([Script::Refuse(status, "sk-secret-1234567890")]).await;
            let reply = here.post(PATH, with(ask(model, "hi"), "stream", json!(stream))).await;
            assert_eq!(error(&reply), expected, "{reply:?}");
            assert!(!reply.text.contains("sk-secret"), "{}", reply.text);
        }
    }
    let (here, _fake) = all([Script::Busy(6_100)]).await;
    let reply = here.post(PATH, ask("chat", "hi")).await;
    assert_eq!((reply.status.as_u16(), &reply.headers["retry-after"]), (429, &HeaderValue::from_static("7")));
    let (here, _fake) = all([Script::Speak(vec![Do::Say("음"), Do::Break])]).await;
    let events = Stream::post(&here, PATH, with(ask("chat", "hi"), "stream", json!(true))).await.rest().await;
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(
        events[2]["error"]["type"], "server_error",
        "an error is not dressed up as an end: {events:?}"
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_work_of_every_kind() {
    let begun = || Script::Speak(vec![Do::Say("하나"), Do::Wait]);
    let (here, fake) = all([begun(), begun(), begun(), begun()]).await;
    for model in ["chat", "assistant"] {
        let mut stream = Stream::post(&here, PATH, with(ask(model, "hi"), "stream", json!(true))).await;
        stream.next().await;
        fake.waits().await;
        drop(stream);
        fake.hung_up().await;
        // Whoever waits for the whole may go away too.
        tokio::select! {
            reply = here.post(PATH, ask(model, "hi")) => panic!("{reply:?}"),
            () = fake.waits() => {}
        }
        fake.hung_up().await;
    }
    assert_eq!(here.get("/sessions").await.body["sessions"], json!([]));
}
