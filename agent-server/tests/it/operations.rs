//! Operation: readiness, metrics, request ids, and a shutdown that loses nothing.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Runtime,
    journal::{InMemoryJournal, JournalStore},
};
use agent_server::Assistant;
use hyper::Method;
use serde_json::json;
use tests::Dying;
use tokio::time::timeout;

use crate::support::{
    Here,
    agent::{Puppeteer, puppet},
    upstream::{Fake, calls, says},
};

#[tokio::test]
async fn every_answer_has_a_name_and_a_callers_own_name_is_kept_if_it_is_one() {
    let here = Here::of(puppet().0, Puppeteer, |_| {}).await;
    let named = async |id: &str| {
        let reply = here.send(Method::GET, "/health", &[("x-request-id", id)], "").await;
        reply.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(named("order-17").await, "order-17");
    let long = "x".repeat(129);
    for wrong in ["", "two words", &long] {
        let id = named(wrong).await;
        assert!(id != wrong && id.len() == 16, "{id}");
    }
    for path in ["/nothing", "/status/nobody"] {
        assert!(here.get(path).await.headers.contains_key("x-request-id"), "{path}");
    }
}

#[tokio::test]
async fn it_is_ready_while_its_store_answers() {
    let here = Here::of(puppet().0, Puppeteer, |_| {}).await;
    let ready = here.get("/ready").await;
    assert_eq!((ready.status.as_u16(), &ready.body["status"]), (200, &json!("ready")));
}

#[tokio::test]
async fn it_is_not_ready_while_its_store_can_be_read_and_not_written() {
    let inner = Arc::new(InMemoryJournal::new());
    let store = Dying::never(&inner);
    let runtime = puppet().0.journal(Arc::clone(&store) as Arc<dyn JournalStore>);
    let here = Here::kept(runtime, |server| server.agent(Puppeteer)).await;
    assert_eq!(here.get("/ready").await.status, 200);
    store.kill();
    let refused = async {
        loop {
            let reply = here.get("/ready").await;
            if reply.status != 200 {
                return reply;
            }
            // The answer is kept for a second.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let refused = timeout(Duration::from_secs(5), refused).await.expect("it is not ready any more");
    assert_eq!((refused.status.as_u16(), &refused.body["status"]), (503, &json!("not_ready")));
    assert!(here.runtime.sessions(None, &[], 10).await.unwrap().is_empty(), "a check leaves nothing behind");
}

#[tokio::test]
async fn what_happens_is_counted_by_route_and_agent_and_never_by_what_callers_send() {
    let here = Here::of(puppet().0, Puppeteer, |_| {}).await;
    for session in ["secret-name-1", "secret-name-2"] {
        here.post("/run", json!({"message": "hi", "session_id": session})).await;
        here.get(&format!("/status/{session}")).await;
    }
    here.post("/run", json!({"message": "fail", "session_id": "f"})).await;
    here.post("/run", json!({"message": "ask two", "session_id": "q"})).await;
    for path in ["/made/up/1", "/made/up/2", "/run"] {
        here.get(path).await;
    }
    let _socket = here.socket("q", "").await;
    let page = here.get("/metrics").await;
    assert_eq!(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        r#"agent_runs_started_total{agent="puppet"} 4"#,
        r#"agent_runs_ended_total{agent="puppet",status="completed"} 2"#,
        r#"agent_runs_ended_total{agent="puppet",status="failed"} 1"#,
        "agent_questions_asked_total 2",
        "agent_live_runs 1",
        "agent_sockets 1",
        r#"agent_http_requests_total{method="GET",route="/status/{session_id}",status="200"} 2"#,
        r#"agent_http_requests_total{method="POST",route="/run",status="500"} 1"#,
        r#"agent_http_requests_total{method="",route="",status="404"} 2"#,
        r#"agent_http_requests_total{method="",route="",status="405"} 1"#,
        r#"agent_http_request_seconds_count{method="POST",route="/run"} 4"#,
        r#"agent_http_request_seconds_bucket{method="POST",route="/run",le="+Inf"} 4"#,
    ] {
        assert!(page.text.lines().any(|known| known == line), "{line}\n{}", page.text);
    }
    assert!(!page.text.contains("secret-name") && !page.text.contains("made"), "{}", page.text);
}

#[tokio::test]
async fn models_and_tools_are_counted_by_name_in_base_units() {
    let fake = Fake::start([calls("calculator", r#"{"expression":"6*7"}"#), says("42")]).await;
    let assistant = Assistant::built_in(fake.model()).unwrap();
    let here = Here::made(Runtime::builder(), |server| server.assistant(assistant)).await;
    let reply = here.post("/api/v1/chat", json!({"content": "6*7?"})).await;
    assert_eq!(reply.body["content"], "42", "{reply:?}");
    let page = here.get("/metrics").await.text;
    for line in [
        r#"agent_model_call_duration_seconds_count{model="fake"} 2"#,
        r#"agent_model_call_duration_seconds_bucket{model="fake",le="+Inf"} 2"#,
        r#"agent_model_tokens_total{model="fake",type="input"} 12"#,
        r#"agent_model_tokens_total{model="fake",type="output"} 5"#,
        r#"agent_model_errors_total{model="fake"} 0"#,
        r#"agent_tool_call_duration_seconds_count{tool="calculator"} 1"#,
        r#"agent_tool_errors_total{tool="calculator"} 0"#,
        r#"agent_run_duration_seconds_count{agent="assistant"} 1"#,
        "agent_model_calls_total 2",
    ] {
        assert!(page.lines().any(|known| known == line), "{line}\n{page}");
    }
    let replaced = ["agent_model_milliseconds_total", "agent_model_cost_micros_total"];
    assert!(replaced.iter().all(|name| !page.contains(name)));
    let page = here.get("/metrics?replaced=true").await.text;
    assert!(replaced.iter().all(|name| page.contains(name)), "{page}");
}

#[tokio::test]
async fn a_server_told_to_end_is_gone_in_its_grace_time_though_a_node_hangs() {
    let (runtime, strings) = puppet();
    let here = Here::of(runtime, Puppeteer, |options| options.grace = Duration::from_secs(1)).await;
    let waiting = strings.waiting.notified();
    here.start("s", "wait").await;
    waiting.await;
    let _socket = here.socket("s", "").await;
    let begun = std::time::Instant::now();
    here.end().await;
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
}
