//! OpenAI's chat completions with what frameworks send: reasoning, further parameters, tools and formats for agents.

use agent_core::Runtime;
use agent_server::{Assistant, Chat, demo::TrendAgent};
use serde_json::{Value, json};
use trend_agent::Desk;

use crate::{
    openai::{PATH, all, ask, error, with},
    support::{
        Here,
        stream::Stream,
        upstream::{Do, Fake, Script, calls, says},
    },
};

/// The parts of one field of the deltas, joined.
fn joined(events: &[Value], field: &str) -> String {
    let at = format!("/choices/0/delta/{field}");
    events.iter().filter_map(|event| event.pointer(&at)?.as_str()).collect()
}

/// The steps of an agent in a stream.
fn steps(events: &[Value]) -> Vec<Value> {
    let steps = events.iter().filter_map(|event| event.pointer("/choices/0/delta/agent_events")?.as_array());
    steps.flatten().cloned().collect()
}

fn weather() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    });
    json!({"type": "function", "function": {"name": "weather", "description": "weather", "parameters": parameters}})
}

#[tokio::test]
async fn reasoning_is_passed_on_whole_and_streamed_and_back() {
    let thinks = || {
        Script::Speak(vec![
            Do::Choice(r#"{"index": 0, "delta": {"reasoning_content": "음, "}}"#),
            Do::Choice(r#"{"index": 0, "delta": {"reasoning": "생각"}}"#),
            Do::Say("네"),
            Do::End("stop"),
        ])
    };
    for model in ["chat", "assistant"] {
        let (here, _fake) = all([thinks(), thinks()]).await;
        let reply = here.post(PATH, ask(model, "hi")).await;
        let message = &reply.body["choices"][0]["message"];
        assert_eq!(
            (&message["content"], &message["reasoning_content"]),
            (&json!("네"), &json!("음, 생각")),
            "{model}: {reply:?}"
        );
        let events =
            Stream::post(&here, PATH, with(ask(model, "hi"), "stream", json!(true))).await.rest().await;
        assert_eq!(
            (joined(&events, "reasoning_content"), joined(&events, "content")),
            ("음, 생각".into(), "네".into())
        );
    }
    // Within a turn it goes back to the endpoint, which may need it.
    let (here, fake) = all([says("네")]).await;
    let call = json!({"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": "날씨?"},
        {"role": "assistant", "content": null, "reasoning_content": "음", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "맑음"},
    ]);
    here.post(PATH, json!({"model": "chat", "messages": messages, "tools": [weather()]})).await;
    assert_eq!(fake.seen.lock()[0]["messages"][1]["reasoning_content"], "음");
}

#[tokio::test]
async fn parameters_that_only_the_endpoint_knows_reach_it() {
    let (here, fake) = all([says("네")]).await;
    let further = json!({
        "top_k": 40, "min_p": 0.05, "verbosity": "low", "repetition_penalty": 1.1, "logprobs": true, "top_logprobs": 2,
        "prediction": {"type": "content", "content": "x"}, "chat_template_kwargs": {"enable_thinking": false},
    });
    let mut body = ask("chat", "hi");
    body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    let reply = here.post(PATH, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(!reply.headers.contains_key("x-ignored-parameters"));
    let seen = fake.seen.lock()[0].clone();
    for (name, value) in further.as_object().unwrap() {
        assert_eq!(&seen[name], value, "{name}");
    }
}

#[tokio::test]
async fn log_probabilities_come_back() {
    let likely = || {
        Script::Speak(vec![
            Do::Choice(
                r#"{"index": 0, "delta": {"content": "네"}, "logprobs": {"content": [{"token": "네", "logprob": -0.1}]}}"#,
            ),
            Do::End("stop"),
        ])
    };
    let (here, _fake) = all([likely(), likely()]).await;
    let body = with(ask("chat", "hi"), "logprobs", json!(true));
    let reply = here.post(PATH, body.clone()).await;
    assert_eq!(reply.body["choices"][0]["logprobs"]["content"], json!([{"token": "네", "logprob": -0.1}]));
    let events = Stream::post(&here, PATH, with(body, "stream", json!(true))).await.rest().await;
    assert!(
        events.iter().any(|event| event.pointer("/choices/0/logprobs/content/0/token") == Some(&json!("네")))
    );
}

#[tokio::test]
async fn several_answers_have_their_indices() {
    let (here, fake) = all([says("하나"), says("둘"), says("셋"), says("넷")]).await;
    let body = with(ask("chat", "hi"), "n", json!(2));
    let reply = here.post(PATH, body.clone()).await;
    let choices = reply.body["choices"].as_array().unwrap();
    assert_eq!((choices.len(), &choices[1]["index"]), (2, &json!(1)), "{reply:?}");
    assert_ne!(choices[0]["message"]["content"], choices[1]["message"]["content"]);
    assert_eq!(reply.body["usage"]["total_tokens"], 7 + 3 + 3, "the prompt is counted once");
    let body = with(with(body, "stream", json!(true)), "stream_options", json!({"include_usage": true}));
    let events = Stream::post(&here, PATH, body).await.rest().await;
    for index in 0..2 {
        let own: Vec<&Value> = events
            .iter()
            .map(|event| &event["choices"][0])
            .filter(|choice| choice["index"] == index)
            .collect();
        assert_eq!(own[0]["delta"]["role"], "assistant");
        assert_eq!(own.last().unwrap()["finish_reason"], "stop");
    }
    let ends = events.iter().filter(|event| *event == "[DONE]").count();
    assert_eq!((ends, events.last().unwrap()), (1, &json!("[DONE]")));
    assert_eq!(events[events.len() - 2]["usage"]["total_tokens"], 13, "{events:?}");
    assert_eq!(fake.seen.lock().len(), 4);
}

#[tokio::test]
async fn what_an_agent_does_not_follow_is_named_in_a_header() {
    let (here, fake) = all([says("네")]).await;
    let extra = |body: Value| with(with(with(body, "top_k", json!(5)), "seed", json!(7)), "n", json!(2));
    let reply = here.post(PATH, extra(ask("assistant", "hi"))).await;
    assert_eq!(reply.headers["x-ignored-parameters"], "n, seed, top_k", "{reply:?}");
    assert!(fake.seen.lock()[0].get("top_k").is_none());
    let body = with(
        with(ask("trend", "Analyse the Anua reviews for buyers"), "tools", json!([weather()])),
        "temperature",
        json!(0),
    );
    let reply = here.post(PATH, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.headers["x-ignored-parameters"], "tools, temperature");
}

#[tokio::test]
async fn a_callers_tools_work_on_an_agent_beside_its_own() {
    let both = Script::Speak(vec![
        Do::Call("call_1", "calculator", r#"{"expression":"6*7"}"#),
        Do::Call("call_2", "weather", r#"{"unit":null,"city":"서울"}"#),
        Do::Used(5, 2),
        Do::End("tool_calls"),
    ]);
    let again = calls("weather", r#"{"city":"부산"}"#);
    let (here, fake) = all([both, says("맑고 42입니다"), again, says("흐려요")]).await;
    let body = with(ask("assistant", "6*7과 날씨?"), "tools", json!([weather()]));
    let reply = here.post(PATH, body.clone()).await;
    let choice = &reply.body["choices"][0];
    let function = json!({"name": "weather", "arguments": "{\"city\":\"서울\"}"});
    let expected = json!([{"id": "call_2", "type": "function", "function": function}]);
    assert_eq!(choice["message"]["tool_calls"], expected, "only the caller's, checked: {reply:?}");
    assert_eq!(choice["finish_reason"], "tool_calls");
    let own: Vec<&Value> = choice["message"]["agent_events"].as_array().unwrap().iter().collect();
    assert_eq!((&own[0]["name"], &own[1]["result"]), (&json!("calculator"), &json!("42")), "{own:?}");
    let tools: Vec<String> = fake.seen.lock()[0]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].to_string())
        .collect();
    assert!(
        tools.contains(&"\"weather\"".to_owned()) && tools.contains(&"\"calculator\"".to_owned()),
        "{tools:?}"
    );
    let messages = json!([
        {"role": "user", "content": "6*7과 날씨?"},
        {"role": "assistant", "content": null, "tool_calls": expected},
        {"role": "tool", "tool_call_id": "call_2", "content": "맑음"},
    ]);
    let next = json!({"model": "assistant", "messages": messages, "tools": [weather()]});
    let reply = here.post(PATH, next).await;
    assert_eq!(reply.body["choices"][0]["message"]["content"], "맑고 42입니다", "{reply:?}");
    assert!(fake.received(1).contains(&("tool".into(), "맑음".into())), "{:?}", fake.received(1));
    let events = Stream::post(&here, PATH, with(body, "stream", json!(true))).await.rest().await;
    let pieces: Vec<&Value> =
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert_eq!((&pieces[0]["id"], &pieces[0]["function"]["name"]), (&json!("call_1"), &json!("weather")));
    let arguments: String =
        pieces.iter().filter_map(|piece| piece["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, r#"{"city":"부산"}"#);
    let last = &events[events.len() - 2]["choices"][0];
    assert_eq!(last["finish_reason"], "tool_calls");
    assert_eq!(here.get("/sessions").await.body["sessions"], json!([]));
}

#[tokio::test]
async fn the_answer_of_an_agent_has_the_format_of_the_caller() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["reasoning", "answer"],
        "properties": {"reasoning": {"type": "string"}, "answer": {"type": "integer"}},
    });
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": true}});
    // An agent that follows the format without instructions, one that does not, and one without a model.
    let form = r#"{"reasoning":"6*7","answer":42}"#;
    let (here, fake) =
        all([says(form), says("42입니다"), says("{\"answer\": 42}"), says(form), says(form)]).await;
    let said = async |model: &str, text: &str| {
        let reply = here.post(PATH, with(ask(model, text), "response_format", format.clone())).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(said("assistant", "6*7?").await, form);
    assert!(fake.received(0)[1].1.contains("JSON Schema"), "the agent knows: {:?}", fake.received(0));
    assert_eq!(said("assistant", "6*7?").await, form);
    let asked = fake.seen.lock()[2].clone();
    let names: Vec<&String> =
        asked["response_format"]["json_schema"]["schema"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["reasoning", "answer"], "in the order of the author");
    assert_eq!(said("trend", "Analyse the Anua reviews for buyers").await, form);
    // Streamed: nothing of another format is shown.
    let (here, _fake) = all([says("42입니다"), says(form)]).await;
    let body = with(with(ask("assistant", "6*7?"), "response_format", format.clone()), "stream", json!(true));
    let events = Stream::post(&here, PATH, body).await.rest().await;
    assert_eq!(joined(&events, "content"), form);
    // A model that never follows the format is a failure, not an answer.
    let (here, _fake) = all([says("a"), says("b"), says("c")]).await;
    let reply = here.post(PATH, with(ask("assistant", "6*7?"), "response_format", format)).await;
    assert_eq!(error(&reply).0, 502, "{reply:?}");
}

#[tokio::test]
async fn the_steps_calls_and_questions_of_an_agent_show_in_its_stream() {
    let (here, _fake) = all([calls("calculator", r#"{"expression":"6*7"}"#), says("42입니다")]).await;
    let events =
        Stream::post(&here, PATH, with(ask("assistant", "6*7?"), "stream", json!(true))).await.rest().await;
    let kinds: Vec<String> =
        steps(&events).iter().map(|step| step["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["tool_call", "tool_result"]);
    assert_eq!(
        joined(&events, "reasoning_content"),
        "calculator({\"expression\":\"6*7\"})\ncalculator: 42\n"
    );
    let body = with(ask("trend", "라네즈 리뷰를 분석해 주세요"), "stream", json!(true));
    let events = Stream::post(&here, PATH, body).await.rest().await;
    let steps = steps(&events);
    assert!(
        steps.iter().any(|step| step["type"] == "todo_update" && step["status"] == "completed"),
        "{steps:?}"
    );
    let question = steps.last().unwrap();
    assert_eq!(question["type"], "question");
    assert_eq!(question["options"].as_array().unwrap().len(), 3, "{question}");
    assert!(joined(&events, "content").starts_with("보고서를 누구를 위해"));
}

#[tokio::test]
async fn an_assistant_added_as_an_agent_streams_and_gets_the_whole_conversation() {
    let fake = Fake::start([says("네")]).await;
    let assistant = Assistant::built_in(fake.model()).unwrap();
    let runtime = Runtime::builder().graph(assistant.agent());
    let here = Here::made(runtime, |server| server.agent(assistant).chat(Chat::new(fake.model()))).await;
    let messages = json!([
        {"role": "user", "content": "안녕"}, {"role": "assistant", "content": "네"}, {"role": "user", "content": "이름?"},
    ]);
    let body = json!({"model": "assistant", "stream": true, "messages": messages});
    let events = Stream::post(&here, PATH, body).await.rest().await;
    assert_eq!(joined(&events, "content"), "네");
    let received: Vec<String> = fake.received(0).into_iter().skip(1).map(|(_, text)| text).collect();
    assert_eq!(received, ["안녕", "네", "이름?"]);
}

#[tokio::test]
async fn a_follow_up_to_the_sample_agent_changes_the_request_before_it() {
    let here = Here::made(TrendAgent::register(Runtime::builder(), Desk::default()).unwrap(), |server| {
        server.agent(TrendAgent)
    })
    .await;
    let messages = json!([
        {"role": "user", "content": "Analyse the Laneige reviews for buyers"},
        {"role": "assistant", "content": "# ..."},
        {"role": "user", "content": "Rewrite that report for marketers"},
    ]);
    let reply = here.post(PATH, json!({"model": "trend", "messages": messages})).await;
    let report = reply.body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(report.contains("Laneige") && report.to_lowercase().contains("marketer"), "{report}");
}

#[tokio::test]
async fn a_failure_says_whether_a_client_should_try_again() {
    let (here, _fake) = all([
        Script::Refuse(503, "x"),
        Script::Busy(1_000),
        Script::Refuse(400, "maximum context length is 8192 tokens"),
    ])
    .await;
    for (status, code, retry) in [
        (503, "model_overloaded", "false"),
        (429, "rate_limit_exceeded", "false"),
        (400, "context_length_exceeded", "false"),
    ] {
        let reply = here.post(PATH, ask("chat", "hi")).await;
        assert_eq!((error(&reply).0, error(&reply).3), (status, code), "{reply:?}");
        assert_eq!(reply.headers["x-should-retry"], retry, "the server has tried again already");
        if code == "context_length_exceeded" {
            let message = reply.body["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("This model's maximum context length is"), "{message}");
        }
    }
    let here = Here::trend_with(None, |options| options.requests_per_minute = 1).await;
    here.post(PATH, ask("nobody", "hi")).await;
    let reply = here.post(PATH, ask("nobody", "hi")).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.headers["x-should-retry"].to_str().unwrap()),
        (429, &"true"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_tool_call_that_a_model_writes_as_text_is_never_the_answer() {
    const CALL: &str =
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"서울\"}}\n</tool_call>";
    // With tools it is a call.
    let (here, _fake) = all([says(CALL)]).await;
    let reply = here.post(PATH, with(ask("chat", "날씨?"), "tools", json!([weather()]))).await;
    let choice = &reply.body["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "weather", "{reply:?}");
    // Without tools it is an error, or missing from the text around it.
    for stream in [false, true] {
        let (here, _fake) = all([says(CALL)]).await;
        let reply = here.post(PATH, with(ask("chat", "날씨?"), "stream", json!(stream))).await;
        assert!(!reply.text.contains("tool_call>"), "{reply:?}");
        assert!(reply.text.contains("model_malformed"), "{reply:?}");
    }
    let around = Script::Speak(vec![Do::Say("볼게요. "), Do::Say(CALL), Do::End("stop")]);
    let (here, _fake) = all([around, says("{\"a\": 1}")]).await;
    let reply = here.post(PATH, ask("chat", "날씨?")).await;
    assert_eq!(reply.body["choices"][0]["message"]["content"].as_str().unwrap().trim(), "볼게요.");
    // JSON is an answer.
    let reply = here.post(PATH, ask("chat", "JSON?")).await;
    assert_eq!(reply.body["choices"][0]["message"]["content"], "{\"a\": 1}");
}

#[tokio::test]
async fn a_call_as_text_that_cannot_be_parsed_is_not_shown_by_a_model_with_tools() {
    for call in
        ["<tool_call>{\"name\": \"weather\", \"arguments\": {", "<function=weather>{\"city\": }</function>"]
    {
        let (here, _fake) = all([says(call), says(call)]).await;
        let reply = here.post(PATH, with(ask("chat", "날씨?"), "tools", json!([weather()]))).await;
        assert!(reply.text.contains("model_malformed") && !reply.text.contains('<'), "{reply:?}");
        let events = Stream::post(&here, "/api/chat/stream", json!({"message": "날씨?"})).await.rest().await;
        let text = json!(events).to_string();
        assert!(text.contains("model_malformed") && !text.contains("chunk"), "{text}");
    }
}

#[tokio::test]
async fn an_answer_of_an_agent_without_text_says_why() {
    const CALL: &str = "<tool_call>{\"name\": \"x\", \"arguments\": {";
    for (script, message, notice) in [
        (says(""), "hi", "The model sent an empty answer. Try again."),
        (says(""), "안녕", "모델이 빈 답변을 보냈습니다. 다시 시도해 주세요."),
        (says(CALL), "hi", "The model sent a tool call that cannot be read. Try again."),
    ] {
        let (here, _fake) = all([script.clone(), script]).await;
        let reply = here.post(PATH, ask("assistant", message)).await;
        assert_eq!(reply.body["choices"][0]["message"]["content"], notice, "{reply:?}");
        let page = json!({"id": "c", "trigger": "submit-message", "agent": "assistant", "messages": [
            {"id": "m", "role": "user", "parts": [{"type": "text", "text": message}]},
        ]});
        let events = Stream::post(&here, "/api/chat/ui", page).await.rest().await;
        let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(text, notice, "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_a_journal_answers_each_of_many_requests() {
    let fake = Fake::start(std::iter::repeat_with(|| says("no")).take(600)).await;
    let desk = Desk { model: true, ..Desk::default() };
    let register = || TrendAgent::register(Runtime::builder(), desk).unwrap().model(fake.model());
    let runtime = register().build();
    let here = Here::made(register(), |server| server.agent(TrendAgent).ephemeral_runtime(runtime)).await;
    for at in 0..60 {
        let reply = here.post(PATH, ask("trend", "Analyse the Laneige reviews for buyers")).await;
        assert_eq!(reply.status.as_u16(), 200, "request {at}: {reply:?}");
    }
}

#[tokio::test]
async fn calls_outside_of_sessions_are_counted_by_model_and_tool() {
    let (here, _fake) = all([
        says("네"),
        Script::Refuse(400, "no"),
        calls("calculator", "{\"expression\": \"6*7\"}"),
        calls("invented", "{}"),
        says("42"),
    ])
    .await;
    here.post(PATH, ask("chat", "hi")).await;
    here.post(PATH, ask("chat", "hi")).await;
    here.post(PATH, ask("assistant", "6*7?")).await;
    let metrics = here.get("/metrics").await.text;
    for line in [
        "agent_model_calls_total 5",
        "agent_model_failures_total 1",
        "agent_tool_call_duration_seconds_count{tool=\"calculator\"} 1",
        "agent_tool_errors_total{tool=\"unknown\"} 1",
        "agent_run_duration_seconds_count{agent=\"assistant\"} 1",
        "agent_runs_ended_total{agent=\"assistant\",status=\"completed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("invented"), "{metrics}");
}

#[tokio::test]
async fn parameters_without_an_effect_on_an_agent_are_named() {
    let (here, fake) = all([says("네"), says("네")]).await;
    let further = json!({"user": "u1", "metadata": {"a": "b"}, "service_tier": "flex"});
    let mut body = ask("chat", "hi");
    body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    assert_eq!(here.post(PATH, body.clone()).await.status.as_u16(), 200);
    let request = fake.seen.lock()[0].clone();
    for (name, value) in further.as_object().unwrap() {
        assert_eq!(&request[name], value, "{request}");
    }
    body["model"] = json!("assistant");
    let reply = here.post(PATH, body.clone()).await;
    let ignored = reply.headers["x-ignored-parameters"].to_str().unwrap();
    for name in ["user", "metadata", "service_tier"] {
        assert!(ignored.contains(name), "{ignored}");
    }
    body["user"] = json!(5);
    assert_eq!(here.post(PATH, body).await.status.as_u16(), 400);
    for (slip, meant) in [("mesages", "messages"), ("temprature", "temperature"), ("steam", "stream")] {
        let reply = here.post(PATH, with(ask("chat", "hi"), slip, json!(true))).await;
        assert_eq!(reply.status.as_u16(), 400, "{reply:?}");
        assert!(reply.text.contains(&format!("did you mean `{meant}`")), "{reply:?}");
    }
}
