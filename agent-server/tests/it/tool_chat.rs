//! System 4 from outside: an agent with tools, and conversations that last.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Agent, Runtime,
    agent::conversation::Window,
    journal::{InMemoryJournal, JournalStore},
    tool,
    tool::{Approval, ToolError, ToolFault, ToolPolicy, ToolRegistry},
};
use agent_server::{
    Assistant, Auth,
    demo::{self, TrendAgent},
};
use hyper::Method;
use serde_json::{Value, json};
use trend_agent::Desk;

use crate::support::{
    Here,
    stream::Stream,
    upstream::{Do, Fake, Script, calls, says},
};

const PATH: &str = "/api/v1/chat";
const STREAM: &str = "/api/v1/chat/stream";

async fn talk(scripts: impl IntoIterator<Item = Script>) -> (Here, Arc<Fake>) {
    let fake = Fake::start(scripts).await;
    let assistant = Assistant::built_in(fake.model()).unwrap();
    (Here::made(Runtime::builder(), |server| server.assistant(assistant)).await, fake)
}

/// The cupboard is locked.
#[tool]
async fn open_cupboard() -> Result<String, ToolError> {
    Err(ToolError::failed("the cupboard is locked"))
}

async fn with_cupboard(fatal: &'static [ToolFault], scripts: Vec<Script>) -> (Here, Arc<Fake>) {
    let fake = Fake::start(scripts).await;
    let (model, tools) = (fake.model(), ToolRegistry::builder().tool(open_cupboard).build().unwrap());
    let assistant = Assistant::new(move || {
        Agent::builder("assistant")
            .model(model.clone())
            .tools(tools.clone())
            .failing_on(fatal.iter().copied())
    });
    let assistant = assistant.unwrap();
    (Here::made(Runtime::builder(), |server| server.assistant(assistant)).await, fake)
}

#[tokio::test]
async fn an_answer_has_its_conversation_and_the_calls_it_took() {
    let sum = r#"{"expression": "1200 * 3"}"#;
    let (here, fake) = talk([calls("calculator", sum), says("3,600원입니다.")]).await;
    let reply = here.post(PATH, json!({"content": "1200원짜리 세 개면?"})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let id = reply.body["conversation_id"].as_str().unwrap();
    let ms = &reply.body["tool_calls"][0]["duration_ms"];
    assert!(ms.is_u64(), "{reply:?}");
    let call = json!({
        "id": "call_1", "name": "calculator", "arguments": {"expression": "1200 * 3"},
        "result": "3600", "duration_ms": ms,
    });
    assert_eq!(reply.body, json!({"content": "3,600원입니다.", "conversation_id": id, "tool_calls": [call]}));
    // The same conversation is a session, and remembers.
    let status = here.get(&format!("/status/{id}")).await;
    assert_eq!(status.body["data"]["response"], "3,600원입니다.");
    let received = fake.received(1);
    assert_eq!(received[0].0, "system");
    assert!(received.contains(&("tool".into(), "3600".into())), "{received:?}");
}

#[tokio::test]
async fn an_answer_without_tools_has_none() {
    let (here, _fake) = talk([says("안녕하세요")]).await;
    let reply = here.post(PATH, json!({"content": "안녕", "conversation_id": "c-1"})).await;
    assert_eq!(reply.body, json!({"content": "안녕하세요", "conversation_id": "c-1", "tool_calls": null}));
}

#[tokio::test]
async fn the_stream_tells_pieces_calls_and_results_as_they_come() {
    let call = vec![
        Do::Say("계산해 "),
        Do::Say("볼게요."),
        Do::Call("call_9", "calculator", r#"{"expression":"2^10"}"#),
        Do::End("tool_calls"),
    ];
    let answer = vec![Do::Drip("1024"), Do::Wait, Do::Say("입니다 💧"), Do::End("stop")];
    let (here, fake) = talk([Script::Speak(call), Script::Speak(answer)]).await;
    let mut stream =
        Stream::post(&here, STREAM, json!({"content": "2의 10제곱?", "conversation_id": "c"})).await;
    assert_eq!(stream.next().await, json!({"conversation_id": "c"}));
    let mut said = String::new();
    let called = loop {
        let event = stream.next().await;
        match event["content"].as_str() {
            Some(text) => said += text,
            None => break event,
        }
    };
    assert_eq!(said, "계산해 볼게요.");
    let arguments = json!({"expression": "2^10"});
    assert_eq!(called, json!({"tool_call": {"id": "call_9", "name": "calculator", "arguments": arguments}}));
    let result = stream.next().await["tool_result"].clone();
    assert_eq!((&result["result"], &result["name"]), (&json!("1024"), &json!("calculator")));
    assert_eq!(stream.next().await, json!({"content": "\n\n"}));
    assert_eq!(stream.next().await, json!({"content": "1024"}), "while the model still speaks");
    fake.waits().await;
    fake.gate.add_permits(1);
    assert_eq!(stream.next().await, json!({"content": "입니다 💧"}));
    let done = stream.next().await;
    assert_eq!(done["done"], true);
    assert_eq!((&done["content"], &done["conversation_id"]), (&json!("1024입니다 💧"), &json!("c")));
    assert_eq!(done["tool_calls"], json!([result]));
    assert_eq!(stream.raw().await, None);
}

#[tokio::test]
async fn calls_that_a_model_writes_as_text_are_calls() {
    let tag =
        "<tool_call>\n{\"name\": \"calculator\", \"arguments\": {\"expression\": \"6*7\"}}\n</tool_call>";
    let (here, _fake) =
        talk([Script::Speak(vec![Do::Say("보자. "), Do::Drip(tag), Do::End("stop")]), says("42")]).await;
    let mut stream = Stream::post(&here, STREAM, json!({"content": "6*7?"})).await;
    let events = stream.rest().await;
    let said: String = events
        .iter()
        .filter(|event| event["done"] != true)
        .filter_map(|event| event["content"].as_str())
        .collect();
    assert!(!said.contains("tool_call") && said.starts_with("보자."), "{said}");
    let done = events.last().unwrap();
    assert_eq!((&done["content"], &done["tool_calls"][0]["result"]), (&json!("42"), &json!("42")));
}

#[tokio::test]
async fn a_conversation_remembers_also_in_another_process() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let fake = Fake::start([says("반가워요"), says("지민")]).await;
    for (content, answer) in [("나는 지민", "반가워요"), ("내 이름은?", "지민")] {
        let assistant = Assistant::built_in(fake.model()).unwrap();
        let runtime = Runtime::builder().journal(Arc::clone(&store));
        let here = Here::kept(runtime, |server| server.assistant(assistant)).await;
        let reply = here.post(PATH, json!({"content": content, "conversation_id": "c"})).await;
        assert_eq!(reply.body["content"], answer, "{reply:?}");
        here.end().await;
    }
    let received: Vec<String> = fake.received(1).into_iter().skip(1).map(|(_, text)| text).collect();
    assert_eq!(received, ["나는 지민", "반가워요", "내 이름은?"]);
}

#[tokio::test]
async fn messages_at_once_wait_for_each_other_and_none_is_lost() {
    let first = Script::Speak(vec![Do::Wait, Do::Say("하나"), Do::End("stop")]);
    let (here, fake) = talk([first, says("둘"), says("셋")]).await;
    let say = |content: &'static str| here.post(PATH, json!({"content": content, "conversation_id": "c"}));
    let rest = async {
        fake.waits().await;
        let others = async { tokio::join!(say("2"), say("3")) };
        tokio::pin!(others);
        // Both are accepted before the first one may end.
        let accepted = async {
            while here.get("/sessions/c/journal").await.text.matches("run_queued").count() < 2 {
                tokio::task::yield_now().await;
            }
            fake.gate.add_permits(1);
        };
        tokio::join!(others, accepted).0
    };
    let (one, (two, three)) = tokio::join!(say("1"), rest);
    let said: Vec<&str> =
        [&one, &two, &three].iter().map(|reply| reply.body["content"].as_str().unwrap()).collect();
    assert_eq!(said[0], "하나");
    assert!(
        said[1..] == ["둘", "셋"] || said[1..] == ["셋", "둘"],
        "each has an answer of its own: {said:?}"
    );
    let all: Vec<String> = fake.received(2).into_iter().skip(1).map(|(_, text)| text).collect();
    assert_eq!(all.len(), 5, "the last one read the whole conversation: {all:?}");
}

#[tokio::test]
async fn a_model_that_is_down_is_a_502_and_in_the_middle_of_a_stream_an_error() {
    let broken = Script::Speak(vec![Do::Say("음"), Do::Wait, Do::Break]);
    let down = || Script::Refuse(503, "sk-secret-1234567890");
    let (here, fake) = talk([down(), down(), broken, says("이제 됩니다")]).await;
    let body = || json!({"content": "안녕", "conversation_id": "c"});
    let reply = here.post(PATH, body()).await;
    assert_eq!(reply.refusal(), (502, "model_overloaded"), "{reply:?}");
    assert_eq!(reply.body["conversation_id"], "c");
    assert!(!reply.text.contains("sk-secret"), "{}", reply.text);
    let refused = Stream::begin(&here, Method::POST, STREAM, &[], body().to_string()).await;
    assert_eq!(
        (refused.status, &refused.headers["content-type"]),
        (502, &"application/json".parse().unwrap())
    );
    let mut stream = Stream::post(&here, STREAM, body()).await;
    assert_eq!(stream.next().await, json!({"conversation_id": "c"}));
    assert_eq!(stream.next().await, json!({"content": "음"}));
    fake.waits().await;
    fake.gate.add_permits(1);
    let rest = stream.rest().await;
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert!(rest[0]["error"].is_string() && rest[0]["code"].is_string(), "{rest:?}");
    assert_eq!((&rest[1]["done"], &rest[1]["conversation_id"]), (&json!(true), &json!("c")));
    assert_eq!(here.post(PATH, body()).await.body["content"], "이제 됩니다", "the conversation lives on");
}

#[tokio::test]
async fn a_tool_that_fails_is_told_to_the_model_unless_it_must_end_the_run() {
    let script = || vec![calls("open_cupboard", "{}"), says("잠겨 있어요")];
    let (here, _fake) = with_cupboard(&[], script()).await;
    let reply = here.post(PATH, json!({"content": "열어 줘"})).await;
    let call = &reply.body["tool_calls"][0];
    assert_eq!((reply.status.as_u16(), &call["result"]), (200, &Value::Null), "{reply:?}");
    assert!(call["error"].as_str().unwrap().contains("the cupboard is locked"), "{call}");
    let (here, _fake) = with_cupboard(&[ToolFault::Failed], script()).await;
    let reply = here.post(PATH, json!({"content": "열어 줘", "conversation_id": "c"})).await;
    assert_eq!(reply.refusal(), (500, "tool_failed"), "{reply:?}");
    assert!(reply.body["error"].as_str().unwrap().contains("open_cupboard"), "{reply:?}");
    // A stream that has told of the call goes on to its end.
    let (here, _fake) = with_cupboard(&[ToolFault::Failed], script()).await;
    let events = Stream::post(&here, STREAM, json!({"content": "열어 줘"})).await.rest().await;
    let error = events.iter().find(|event| event["error"].is_string()).unwrap();
    assert_eq!((&error["code"], &events.last().unwrap()["done"]), (&json!("tool_failed"), &json!(true)));
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_a_call_with_an_error() {
    let (here, _fake) = talk([calls("fly", "{\"to\": \"moon\"}"), says("못 해요")]).await;
    let reply = here.post(PATH, json!({"content": "달까지"})).await;
    let call = &reply.body["tool_calls"][0];
    assert_eq!((&call["name"], &call["arguments"]), (&json!("fly"), &json!({"to": "moon"})));
    assert!(call["error"].is_string() && call["result"].is_null(), "{call}");
}

#[tokio::test]
async fn the_shipped_reviews_can_be_searched() {
    let search = r#"{"query": "촉촉하게", "brand": "라네즈", "min_rating": 4, "limit": 2}"#;
    let fake = Fake::start([calls("search_reviews", search), says("좋다고 해요")]).await;
    let assistant = demo::assistant(fake.model()).unwrap();
    let here = Here::made(Runtime::builder(), |server| server.assistant(assistant)).await;
    let reply = here.post(PATH, json!({"content": "라네즈 촉촉해?"})).await;
    let found = &reply.body["tool_calls"][0]["result"];
    let reviews = found["reviews"].as_array().unwrap();
    assert_eq!(reviews.len(), 2, "{found}");
    assert!(found["found"].as_u64().unwrap() >= 2);
    assert!(reviews.iter().all(|review| review["id"].as_str().unwrap().starts_with("LN-")
        && review["rating"].as_u64().unwrap() >= 4
        && review["text"].as_str().unwrap().contains("촉촉")));
}

#[tokio::test]
async fn a_long_conversation_is_read_through_a_window() {
    let fake = Fake::start((0..12).map(|_| says("네"))).await;
    let model = fake.model();
    let assistant =
        Assistant::new(move || Agent::builder("assistant").model(model.clone()).window(Window::messages(5)));
    let assistant = assistant.unwrap();
    let here = Here::made(Runtime::builder(), |server| server.assistant(assistant)).await;
    for turn in 0..12 {
        let content = format!("{turn}번째");
        let reply = here.post(PATH, json!({"content": content, "conversation_id": "c"})).await;
        assert_eq!(reply.body["content"], "네");
        assert_eq!(fake.received(turn).last().unwrap().1, content);
        assert!(fake.received(turn).len() <= 5, "{:?}", fake.received(turn));
    }
}

#[tokio::test]
async fn hostile_requests_are_refused_before_anything_is_kept() {
    let (here, fake) = talk([]).await;
    let long = "가".repeat(11_000);
    for path in [PATH, STREAM] {
        for (body, code) in [
            (json!({}), "empty_message"),
            (json!({"content": "\t"}), "empty_message"),
            (json!({"content": ["x"]}), "invalid_request"),
            (json!({"content": long}), "message_too_long"),
            (json!({"content": "x", "conversation_id": "a b"}), "invalid_session_id"),
            (json!({"content": "x", "conversation_id": ""}), "invalid_session_id"),
            (json!({"content": "x", "conversation_id": 7}), "invalid_request"),
            (json!("x"), "invalid_request"),
        ] {
            let reply = here.post(path, body).await;
            assert_eq!(reply.refusal(), (400, code), "{reply:?}");
            assert!(reply.body["error"].is_string());
        }
        assert_eq!(here.get(path).await.refusal(), (405, "method_not_allowed"));
    }
    assert_eq!(fake.seen.lock().len(), 0);
    assert_eq!(here.get("/sessions").await.body["sessions"], json!([]));
}

#[tokio::test]
async fn the_session_of_another_agent_is_no_conversation() {
    let fake = Fake::start([says("네")]).await;
    let assistant = Assistant::built_in(fake.model()).unwrap();
    let runtime = TrendAgent::register(Runtime::builder(), Desk::default()).unwrap();
    let here = Here::made(runtime, |server| server.agent(TrendAgent).assistant(assistant)).await;
    let reply =
        here.post("/run", json!({"message": "Analyse the Anua reviews for buyers", "session_id": "r"})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = here.post(PATH, json!({"content": "hi", "conversation_id": "r"})).await;
    assert!(reply.status.is_client_error(), "{reply:?}");
    // And the agent with tools can be run like any other.
    let reply = here.post("/run", json!({"message": "hi", "agent": "assistant"})).await;
    assert_eq!(reply.body["data"]["response"], "네", "{reply:?}");
}

#[tokio::test]
async fn a_silent_model_is_bridged_and_a_caller_that_leaves_loses_no_answer() {
    let speak = Script::Speak(vec![Do::Wait, Do::Say("늦었지만"), Do::End("stop")]);
    let fake = Fake::start([speak, says("네")]).await;
    let assistant = Assistant::built_in(fake.model()).unwrap();
    let here = Here::made(Runtime::builder(), |server| {
        server.assistant(assistant).options(|options| options.ping = Duration::from_millis(5))
    })
    .await;
    let mut stream = Stream::post(&here, STREAM, json!({"content": "느린 것", "conversation_id": "c"})).await;
    assert_eq!(stream.next().await, json!({"conversation_id": "c"}));
    assert_eq!(stream.raw().await.unwrap(), ": ping\n\n");
    drop(stream);
    fake.gate.add_permits(1);
    here.post(PATH, json!({"content": "그리고?", "conversation_id": "c"})).await;
    let received: Vec<String> = fake.received(1).into_iter().skip(1).map(|(_, text)| text).collect();
    assert_eq!(received, ["느린 것", "늦었지만", "그리고?"]);
}

#[tokio::test]
async fn somebody_elses_conversation_does_not_exist() {
    let fake = Fake::start([says("네, 앨리스"), says("네, 밥"), says("또 앨리스")]).await;
    let assistant = Assistant::built_in(fake.model()).unwrap();
    let auth = Auth::required().key("alice", "alice-has-a-key-of-her-own".into()).unwrap();
    let auth = auth.key("bob", "bob-has-a-key-of-his-own-too".into()).unwrap();
    let here = Here::made(Runtime::builder(), |server| server.assistant(assistant).auth(auth)).await;
    let say = async |key: &'static str, path: &'static str, id: &'static str| {
        let body = json!({"content": "안녕", "conversation_id": id}).to_string();
        here.send(Method::POST, path, &[("authorization", key)], body).await
    };
    let (alice, bob) = ("Bearer alice-has-a-key-of-her-own", "Bearer bob-has-a-key-of-his-own-too");
    assert_eq!(say(alice, PATH, "a").await.body["content"], "네, 앨리스");
    for path in [PATH, STREAM] {
        let reply = say(bob, path, "a").await;
        assert_eq!(reply.refusal(), (404, "session_not_found"), "{reply:?}");
        assert!(reply.body["error"].is_string());
        assert_eq!(say("Bearer nobody", path, "a").await.status, 401);
    }
    assert_eq!(say(bob, PATH, "b").await.body["content"], "네, 밥");
    assert_eq!(say(alice, PATH, "a").await.body["content"], "또 앨리스");
    assert_eq!(fake.received(2).len(), 4, "a system prompt and three messages");
}

/// Opens the box.
#[tool(policy = ToolPolicy::read_only().approval(Approval::Always))]
async fn open_box() -> Result<String, ToolError> {
    Ok("a ring".to_owned())
}

#[tokio::test]
async fn the_next_message_answers_a_question_even_where_no_other_run_may_begin() {
    let slow = Script::Speak(vec![Do::Wait, Do::Say("끝"), Do::End("stop")]);
    let fake = Fake::start([calls("open_box", "{}"), slow, says("반지입니다.")]).await;
    let (model, tools) = (fake.model(), ToolRegistry::builder().tool(open_box).build().unwrap());
    let assistant =
        Assistant::new(move || Agent::builder("assistant").model(model.clone()).tools(tools.clone()));
    let assistant = assistant.unwrap();
    let here = Here::made(Runtime::builder(), |server| {
        server.assistant(assistant).options(|options| options.runs_per_caller = 1)
    })
    .await;
    let asked = here.post(PATH, json!({"content": "상자를 열어 줘", "conversation_id": "box"})).await;
    assert_eq!(asked.status, 200, "{}", asked.body);
    assert!(asked.body["content"].as_str().unwrap().contains("open_box"), "{}", asked.body);

    // The run that waits leaves its place, soon after it said so.
    let busy = async {
        loop {
            let busy = here.post(PATH, json!({"content": "이야기해 줘", "conversation_id": "tale"})).await;
            if busy.status != 429 {
                return busy;
            }
        }
    };
    let others = async {
        fake.waits().await;
        let refused = here.post(PATH, json!({"content": "나도", "conversation_id": "third"})).await;
        assert_eq!(refused.status, 429, "{}", refused.body);
        let answered = here.post(PATH, json!({"content": "approve", "conversation_id": "box"})).await;
        assert_eq!(answered.status, 200, "{}", answered.body);
        assert_eq!(answered.body["content"], "반지입니다.");
        assert_eq!(answered.body["tool_calls"][0]["result"], "a ring", "{}", answered.body);
        fake.gate.add_permits(1);
    };
    let (busy, ()) = tokio::join!(busy, others);
    assert_eq!(busy.body["content"], "끝", "{}", busy.body);
}
