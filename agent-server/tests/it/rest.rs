//! The REST paths: their responses when all is well, and questions to a person.

use agent_core::ids::RunId;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{
    Here,
    agent::{Puppeteer, puppet},
    send,
};

const ASK: &str = "라네즈 리뷰를 분석해 주세요 💧";
const NAMED: &str = "Analyse the Laneige reviews for buyers";

async fn puppets() -> (Here, std::sync::Arc<crate::support::agent::Strings>) {
    let (runtime, strings) = puppet();
    (Here::of(runtime, Puppeteer, |_| {}).await, strings)
}

#[tokio::test]
async fn a_run_is_started_asks_is_answered_and_leaves_its_report_in_the_status() {
    let here = Here::trend().await;
    here.start("s", ASK).await;
    let paused = here.reaches("s", "paused").await;
    let question = &paused["data"]["questions"][0];
    assert_eq!(question["options"], json!(["소비자", "브랜드·제품 담당자", "마케터"]));
    let needed = here.post("/resume/s", json!({})).await;
    assert_eq!(needed.refusal(), (409, "answer_needed"));
    assert_eq!(needed.body["data"]["questions"][0]["id"], question["id"]);
    let answered = here.post("/api/agent/resume/s", json!({"value": "마케터"})).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    let done = here.reaches("s", "completed").await;
    let data = &done["data"];
    assert!(data["response"].as_str().unwrap().contains("마케터"), "{data}");
    assert!(data["execution_time"].is_f64());
    assert!(data["todos"].as_array().unwrap().iter().all(|todo| todo["status"] == "completed"), "{data}");
}

#[tokio::test]
async fn a_run_that_needs_nobody_answers_with_its_result() {
    let here = Here::trend().await;
    for path in ["/run", "/api/agent/run"] {
        let reply = here.post(path, json!({"message": NAMED})).await;
        assert_eq!((reply.status.as_u16(), &reply.body["status"]), (200, &json!("completed")), "{reply:?}");
        assert!(reply.body["data"]["response"].as_str().unwrap().contains("offline"), "it says who wrote it");
        assert!(!reply.body["session_id"].as_str().unwrap().is_empty());
    }
    let context = json!({"message": "Analyse Anua", "context": {"audience": "makers"}});
    assert_eq!(here.post("/run", context).await.body["status"], "completed");
}

#[tokio::test]
async fn a_second_run_on_a_session_knows_nothing_of_the_findings_of_the_first() {
    let here = Here::trend().await;
    let run = |message: &'static str| here.post("/run", json!({"message": message, "session_id": "s"}));
    run("Analyse Anua for buyers").await;
    let second = run(NAMED).await.body;
    let fresh = here.post("/run", json!({"message": NAMED})).await.body;
    assert_eq!(second["data"]["response"], fresh["data"]["response"]);
}

#[tokio::test]
async fn a_run_that_must_ask_answers_paused_with_its_questions_and_todos() {
    let here = Here::trend().await;
    let reply = here.post("/run", json!({"message": ASK, "session_id": "s"})).await;
    assert_eq!((reply.status.as_u16(), &reply.body["status"]), (200, &json!("paused")));
    assert_eq!(reply.body["data"]["questions"].as_array().unwrap().len(), 1);
    assert!(reply.body["data"]["todos"].as_array().unwrap().len() >= 4);
}

#[tokio::test]
async fn a_failed_run_is_a_500_that_names_the_node_and_is_resumed_when_the_cause_is_gone() {
    let (here, strings) = puppets().await;
    for (message, code) in [("fail", "node_failed"), ("panic", "panicked")] {
        let reply = here.post("/run", json!({"message": message, "session_id": message})).await;
        assert_eq!(reply.refusal(), (500, code), "{reply:?}");
        assert_eq!((&reply.body["status"], &reply.body["where"]["node"]), (&json!("failed"), &json!("act")));
        assert!(reply.body["message"].as_str().unwrap().contains("act"));
        let status = here.get(&format!("/status/{message}")).await.body;
        assert_eq!((&status["status"], &status["data"]["error"]["code"]), (&json!("failed"), &json!(code)));
    }
    strings.broken.store(false, std::sync::atomic::Ordering::SeqCst);
    for message in ["fail", "panic"] {
        assert_eq!(here.post(&format!("/resume/{message}"), json!({})).await.status, 200);
        here.reaches(message, "completed").await;
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_its_run() {
    let (here, strings) = puppets().await;
    let call = here.post("/run", json!({"message": "wait", "session_id": "s"}));
    tokio::select! {
        biased;
        reply = call => panic!("{reply:?}"),
        () = strings.waiting.notified() => {}
    }
    strings.gate.add_permits(1);
    assert_eq!(here.reaches("s", "completed").await["data"]["response"], "waited");
}

#[tokio::test]
async fn a_stopped_run_goes_on_when_it_is_resumed() {
    let (here, strings) = puppets().await;
    here.start("s", "wait").await;
    strings.waiting.notified().await;
    let stopped = here.post("/stop/s", json!({})).await.body;
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(stopped["data"]["todos"][0]["status"], "cancelled");
    assert_eq!(here.post("/stop/s", json!({})).await.refusal(), (409, "nothing_to_do"));
    assert_eq!(here.post("/resume/s", json!({})).await.body["status"], "running");
    strings.gate.add_permits(1);
    here.reaches("s", "completed").await;
    assert_eq!(here.post("/resume/s", json!({})).await.refusal(), (409, "nothing_to_do"));
}

#[tokio::test]
async fn each_question_takes_one_answer_and_says_who_was_first() {
    let (here, _) = puppets().await;
    here.start("s", "ask two").await;
    let open = here.reaches("s", "paused").await["data"]["questions"].clone();
    let id = |at: usize| open[at]["id"].clone();
    let answer = |body: Value| here.post("/resume/s", body);
    assert_eq!(answer(json!({"value": 1})).await.refusal(), (409, "ambiguous_answer"));
    assert_eq!(answer(json!({"value": 1, "id": "act#9:x"})).await.refusal(), (404, "question_not_found"));
    assert_eq!(answer(json!({"id": id(0)})).await.refusal(), (400, "invalid_request"));
    assert_eq!(answer(json!({"value": null, "id": id(0)})).await.status, 200);
    let again = answer(json!({"value": 2, "id": id(0)})).await;
    assert_eq!(again.refusal(), (409, "already_answered"));
    assert!(again.body["message"].as_str().unwrap().contains("a REST client"));
    assert_eq!(answer(json!({"value": false})).await.status, 200);
    assert_eq!(here.reaches("s", "completed").await["data"]["response"], "null false");
    assert_eq!(answer(json!({"value": 1})).await.refusal(), (404, "question_not_found"));
    let here = Here::trend().await;
    here.start("t", ASK).await;
    here.reaches("t", "paused").await;
    assert_eq!(
        here.post("/resume/t", json!({"value": "everybody"})).await.refusal(),
        (422, "invalid_answer")
    );
}

#[tokio::test]
async fn a_busy_session_refuses_queues_or_makes_way_as_it_is_told() {
    let (here, strings) = puppets().await;
    let run = |message: &'static str, policy: &'static str| {
        here.post("/run", json!({"message": message, "session_id": "s", "on_busy": policy}))
    };
    here.start("s", "wait").await;
    strings.waiting.notified().await;
    assert_eq!(run("hello", "reject").await.refusal(), (409, "session_busy"));
    assert_eq!(run("hello", "push").await.refusal(), (400, "invalid_request"));
    for policy in ["interrupt", "rollback"] {
        let next = run("wait", policy);
        tokio::pin!(next);
        tokio::select! {
            biased;
            reply = &mut next => panic!("{reply:?}"),
            () = strings.waiting.notified() => {}
        }
    }
    // A queued run is accepted at once and answered with its own result, though another follows it.
    let queued = json!({"message": "ask two", "session_id": "s", "on_busy": "enqueue"});
    let queued = here.post("/run-async", queued).await;
    assert_eq!(
        (&queued.body["status"], &queued.body["message"]),
        (&json!("started"), &json!("the run is queued"))
    );
    strings.gate.add_permits(1);
    here.reaches("s", "paused").await;
    let (next, last) = (run("next", "enqueue"), run("last", "enqueue"));
    let (next, last) = tokio::join!(next, async {
        assert_eq!(here.post("/stop/s", json!({})).await.status, 200);
        last.await
    });
    assert_eq!(next.body["data"]["response"], "next", "{next:?}");
    assert_eq!(last.body["data"]["response"], "last", "{last:?}");
}

#[tokio::test]
async fn text_of_every_script_comes_back_byte_for_byte() {
    let (here, _) = puppets().await;
    let text = "한국어 👩‍🔬 עִבְרִית مرحبا \u{202e}rtl e\u{301}\0\u{7f}";
    let reply = here.post("/run", json!({"message": text, "session_id": "s"})).await;
    assert_eq!(reply.body["data"]["response"], text);
    let mut socket = here.socket("s", "").await;
    assert_eq!(socket.until("complete").await["data"]["response"], text);
}

#[tokio::test]
async fn pages_of_this_machine_and_of_listed_origins_may_call_and_others_may_not() {
    let (runtime, _) = puppet();
    let listed = agent_server::Origins::parse("https://app.example").unwrap();
    let here = Here::of(runtime, Puppeteer, |options| options.origins = listed).await;
    let own = format!("http://{}", here.address);
    for (origin, allowed) in [
        ("https://app.example", Some("https://app.example")),
        ("http://localhost:5173", Some("http://localhost:5173")),
        (&*own, None),
    ] {
        let headers = [("origin", origin)];
        let reply = here.send(Method::POST, "/run", &headers, r#"{"message":"hi"}"#).await;
        assert_eq!(reply.status, 200, "{origin}");
        let reported = reply.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(reported, allowed, "{origin}");
        let preflight = here.send(Method::OPTIONS, "/api/agent/run", &headers, "").await;
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.headers.contains_key("access-control-allow-methods"), allowed.is_some());
    }
    let foreign = [("origin", "https://evil.example")];
    let reply = here.send(Method::POST, "/run", &foreign, r#"{"message":"hi"}"#).await;
    assert_eq!(reply.refusal(), (403, "origin_not_allowed"));
    let reply = here.send(Method::GET, "/health", &foreign, "").await;
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn health_and_the_page_are_there() {
    let here = Here::trend().await;
    for path in ["/health", "/api/agent/health"] {
        assert_eq!(here.get(path).await.body["status"], "healthy");
    }
    let page = send(here.address, Method::GET, "/", &[], "").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.text.contains("/static/app.js"));
}

#[tokio::test]
async fn a_repeated_request_gets_the_end_of_its_run_also_if_a_run_with_a_lower_number_came_after_it() {
    let (here, _) = puppets().await;
    let request = async |key: &str, path: &str, message: &str, on_busy: &str| {
        let body = json!({"message": message, "session_id": "s", "on_busy": on_busy}).to_string();
        let headers = [("idempotency-key", key)];
        let sent = here.send(Method::POST, path, &headers, body);
        tokio::time::timeout(crate::support::LONG, sent).await.expect("the request is answered")
    };
    assert_eq!(request("first", "/run", "ask two", "reject").await.body["status"], "paused");
    assert_eq!(request("removed", "/run-async", "removed", "enqueue").await.body["data"]["run"], 2);
    assert_eq!(request("queued", "/run-async", "queued", "enqueue").await.body["data"]["run"], 3);
    here.runtime.session("s").unwrap().cancel_queued(RunId(2)).await.unwrap();
    // It interrupts the first run, fails, and is followed by the queued one.
    let failed = request("failing", "/run", "fail", "interrupt").await;
    assert_eq!(failed.refusal(), (500, "node_failed"));
    assert_eq!(request("queued", "/run", "queued", "enqueue").await.body["data"]["response"], "queued");
    assert_eq!(here.reaches("s", "completed").await["data"]["run"], 3);

    let again = request("failing", "/run", "fail", "interrupt").await;
    assert_eq!(again.refusal(), (500, "node_failed"));
    assert_eq!(request("first", "/run", "ask two", "reject").await.body["status"], "stopped");
    assert_eq!(request("removed", "/run", "removed", "enqueue").await.body["status"], "stopped");
}
