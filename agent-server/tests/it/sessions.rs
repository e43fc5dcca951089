//! `/sessions`: lists, the journal, states and their differences, forks, removal, the event stream; and keys that make
//! a request count once.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::{
    Here,
    agent::{Puppeteer, puppet},
    stream::Stream,
};

async fn puppets() -> (Here, std::sync::Arc<crate::support::agent::Strings>) {
    let (runtime, strings) = puppet();
    (Here::of(runtime, Puppeteer, |_| {}).await, strings)
}

async fn run(here: &Here, session: &str, message: &str) -> Value {
    here.post("/run", json!({"message": message, "session_id": session})).await.body
}

#[tokio::test]
async fn sessions_are_listed_with_the_latest_first_page_by_page_and_by_status() {
    let (here, _) = puppets().await;
    for number in 0..5 {
        run(&here, &format!("s{number}"), "hi").await;
    }
    run(&here, "waits", "ask two").await;
    let mut seen = Vec::new();
    let mut at = "/sessions?limit=2".to_owned();
    loop {
        let page = here.get(&at).await.body;
        seen.extend(page["sessions"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        at = format!("/sessions?limit=2&before={next}");
    }
    let times: Vec<i64> = seen.iter().map(|session| session["at"].as_i64().unwrap()).collect();
    assert_eq!(seen.len(), 6);
    assert!(times.is_sorted_by(|left, right| left >= right), "{times:?}");
    let paused = here.get("/sessions?status=paused").await.body;
    assert_eq!(paused["sessions"][0]["session_id"], "waits");
    assert_eq!(paused["sessions"].as_array().unwrap().len(), 1);
    for wrong in ["limit=x", "status=sleeping", "before=yesterday"] {
        assert_eq!(
            here.get(&format!("/sessions?{wrong}")).await.refusal(),
            (400, "invalid_request"),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_session_tells_its_journal_its_state_at_any_place_and_what_changed() {
    let (here, _) = puppets().await;
    run(&here, "s", "하나").await;
    run(&here, "s", "둘").await;
    let mut entries: Vec<Value> = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = here.get(&format!("/sessions/s/journal?limit=3&after={after}")).await.body;
        entries.extend(page["entries"].as_array().unwrap().clone());
        after = page["next"].clone();
    }
    let seqs: Vec<u64> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted() && seqs[0] == 1, "{seqs:?}");
    let ends: Vec<u64> = entries
        .iter()
        .filter(|entry| entry["type"] == "run_completed")
        .map(|entry| entry["seq"].as_u64().unwrap())
        .collect();
    let at = |seq: u64| format!("/sessions/s/state?at={seq}");
    assert_eq!(here.get(&at(ends[0])).await.body["state"]["response"], "하나");
    assert_eq!(here.get("/sessions/s/state").await.body["state"]["response"], "둘");
    assert_eq!(here.get(&at(99_999)).await.refusal(), (404, "checkpoint_not_found"));
    let diff = here.get(&format!("/sessions/s/diff?from={}&to={}", ends[0], ends[1])).await.body;
    let change = json!({"op": "replace", "path": "/response", "from": "하나", "to": "둘"});
    assert!(diff["changes"].as_array().unwrap().contains(&change), "{diff}");
    assert_eq!(here.get("/sessions/s/diff?from=1").await.refusal(), (400, "invalid_request"));
    let status = here.get("/sessions/s").await.body;
    assert_eq!(
        (&status["data"]["agent"], &status["data"]["state"]["response"]),
        (&json!("puppet"), &json!("둘"))
    );
    assert!(status["data"]["sizes"]["journal_bytes"].as_u64().unwrap() > 0);
    assert_eq!(status["data"]["usage"]["model_calls"], 0);
}

#[tokio::test]
async fn a_fork_goes_its_own_way_from_the_place_it_was_taken_at() {
    let (here, _) = puppets().await;
    let paused = run(&here, "s", "ask two").await;
    let at = paused["data"]["last_seq"].clone();
    let fork = here.post("/sessions/s/fork", json!({"at": at, "session_id": "other"})).await.body;
    assert_eq!(fork, json!({"session_id": "other", "forked_from": "s", "at": at}));
    let again = here.post("/sessions/s/fork", json!({"session_id": "other"})).await;
    assert_eq!((again.refusal(), &again.body["session_id"]), ((409, "session_exists"), &json!("other")));
    assert_eq!(here.post("/sessions/s/fork", json!({"at": "x"})).await.refusal(), (400, "invalid_request"));
    for (session, left) in [("s", "one"), ("other", "two")] {
        let questions = here.get(&format!("/status/{session}")).await.body["data"]["questions"].clone();
        for (question, value) in questions.as_array().unwrap().iter().zip([left, "right"]) {
            here.post(&format!("/resume/{session}"), json!({"id": question["id"], "value": value})).await;
        }
    }
    assert_eq!(here.reaches("s", "completed").await["data"]["response"], r#""one" "right""#);
    assert_eq!(here.reaches("other", "completed").await["data"]["response"], r#""two" "right""#);
}

#[tokio::test]
async fn a_removed_session_is_gone_and_a_busy_one_stays() {
    let (here, strings) = puppets().await;
    run(&here, "s", "hi").await;
    let remove = |id: &'static str| here.send(Method::DELETE, id, &[], "");
    assert_eq!(remove("/sessions/s").await.status, 204);
    assert_eq!(remove("/sessions/s").await.refusal(), (404, "session_not_found"));
    for path in ["/status/s", "/sessions/s", "/sessions/s/journal", "/sessions/s/state", "/sessions/s/graph"]
    {
        assert_eq!(here.get(path).await.refusal(), (404, "session_not_found"), "{path}");
    }
    here.start("busy", "wait").await;
    strings.waiting.notified().await;
    assert_eq!(remove("/sessions/busy").await.refusal(), (409, "session_busy"));
    strings.gate.add_permits(1);
    here.reaches("busy", "completed").await;
}

#[tokio::test]
async fn the_graph_is_told_as_nodes_and_edges() {
    let (here, _) = puppets().await;
    run(&here, "s", "hi").await;
    let graph = here.get("/sessions/s/graph").await.body;
    assert_eq!(graph, here.get("/agents/puppet/graph").await.body);
    assert_eq!(graph["nodes"][1], json!({"id": "act", "label": "act", "kind": "node"}));
    assert_eq!(graph["edges"][0], json!({"from": "__start__", "to": "act", "kind": "edge"}));
    assert!(graph["mermaid"].as_str().unwrap().starts_with("flowchart"));
    assert_eq!(here.get("/agents").await.body, json!({"agents": [{"name": "puppet", "kind": "task"}]}));
    assert_eq!(here.get("/agents/nobody/graph").await.refusal(), (404, "graph_not_found"));
    let other = here.post("/run", json!({"message": "hi", "agent": "nobody"})).await;
    assert_eq!(other.refusal(), (400, "unknown_agent"));
}

#[tokio::test]
async fn a_stopped_session_and_a_fork_wait_for_nothing_and_work_on_nothing() {
    let (here, _) = puppets().await;
    let paused = run(&here, "s", "ask two").await;
    assert_eq!(paused["data"]["todos"][0]["status"], "in_progress");
    // Between the start of the todo and the pause, the run was running.
    let journal = here.get("/sessions/s/journal").await.body;
    let entries = journal["entries"].as_array().unwrap();
    let at = entries.iter().find(|entry| entry["type"] == "todo_updated").unwrap()["seq"].clone();
    let fork = here.post("/sessions/s/fork", json!({"at": at, "session_id": "fork"})).await;
    assert_eq!(fork.status, 200, "{fork:?}");
    here.post("/stop/s", json!({})).await;
    for session in ["s", "fork"] {
        let status = here.get(&format!("/status/{session}")).await.body;
        assert_eq!(status["status"], "stopped", "{status}");
        let data = &status["data"];
        assert_eq!(data["todos"][0]["status"], "cancelled", "{status}");
        assert_eq!((&data["questions"], &data["running"]), (&json!([]), &json!([])), "{status}");
        let state = here.get(&format!("/sessions/{session}/state")).await.body;
        assert_eq!((&state["questions"], &state["todos"]), (&json!([]), &data["todos"]), "{state}");
    }
}

#[tokio::test]
async fn an_event_stream_that_reconnects_gets_what_it_missed_once_and_in_order() {
    let (here, _) = puppets().await;
    run(&here, "s", "hi").await;
    let mut whole = Stream::open(&here, "/sessions/s/events?after=0", &[]).await;
    let mut all = Vec::new();
    while all.last().is_none_or(|event: &Value| event["type"] != "run_completed") {
        all.push(whole.next().await);
    }
    let middle = all[all.len() / 2]["seq"].as_u64().unwrap();
    // A browser sends the header automatically; it takes precedence over the number in the address.
    let header = [("last-event-id", &*middle.to_string())];
    let mut rest = Stream::open(&here, "/sessions/s/events?after=0", &header).await;
    for expected in all.iter().filter(|event| event["seq"].as_u64() > Some(middle)) {
        assert_eq!(rest.next().await, *expected);
    }
    run(&here, "s", "again").await;
    assert!(rest.next().await["seq"].as_u64() > all.last().unwrap()["seq"].as_u64());
    let wrong = here.send(Method::GET, "/sessions/s/events", &[("last-event-id", "x")], "").await;
    assert_eq!(wrong.refusal(), (400, "invalid_request"));
}

#[tokio::test]
async fn a_request_with_a_key_counts_once_however_often_it_is_sent() {
    let (here, strings) = puppets().await;
    let key = [("idempotency-key", "order-1")];
    let body = json!({"message": "wait"}).to_string();
    let send = |path: &'static str, body: &str| here.send(Method::POST, path, &key, body.to_owned());
    let first = send("/run-async", &body).await.body;
    strings.waiting.notified().await;
    let again = send("/run-async", &body).await;
    assert_eq!(
        (again.status.as_u16(), &again.body["session_id"], &again.body["data"]["run"]),
        (200, &first["session_id"], &json!(1))
    );
    let other = send("/run", r#"{"message":"something else"}"#).await;
    assert_eq!(other.refusal(), (422, "request_differs"), "{other:?}");
    let (late, ()) = tokio::join!(send("/run", &body), async { strings.gate.add_permits(1) });
    assert_eq!(late.body["data"]["response"], "waited", "{late:?}");
    // A failed run is not repeated without a request from the caller.
    let key = [("idempotency-key", "order-2")];
    let failing = json!({"message": "fail", "session_id": "f"}).to_string();
    for _ in 0..2 {
        let failed = here.send(Method::POST, "/run", &key, failing.clone()).await;
        assert_eq!(
            (failed.refusal(), &failed.body["data"]["run"]),
            ((500, "node_failed"), &json!(1)),
            "{failed:?}"
        );
    }
    for key in ["", "a b", &*"k".repeat(129)] {
        let reply = here.send(Method::POST, "/run", &[("idempotency-key", key)], body.clone()).await;
        assert_eq!(reply.refusal(), (400, "invalid_request"), "{key}");
    }
}

#[tokio::test]
async fn a_list_tells_what_a_session_is_called_and_how_much_is_asked_in_it() {
    let (here, strings) = puppets().await;
    let listed = async |session: &str| {
        let list = here.get("/sessions").await.body;
        let found = list["sessions"].as_array().unwrap().iter().find(|one| one["session_id"] == session);
        found.cloned().unwrap()
    };
    run(&here, "long", &format!("  라네즈\n {}", "리뷰를 분석해 줘 ".repeat(100))).await;
    let title = listed("long").await["title"].as_str().unwrap().to_owned();
    assert!(title.starts_with("라네즈 리뷰를 분석해 줘 ") && title.ends_with('…'), "{title}");
    assert_eq!(title.chars().count(), 80);
    // The first message gives the name, later ones do not.
    run(&here, "long", "둘째").await;
    assert_eq!(listed("long").await["title"], title.as_str());
    assert_eq!(here.get("/sessions/long").await.body["data"]["title"], title.as_str());
    here.post("/sessions/long/fork", json!({"session_id": "fork"})).await;
    assert_eq!(listed("fork").await["title"], title.as_str());

    run(&here, "asks", "ask two").await;
    let of = |one: &Value| (one["status"].clone(), one["questions"].clone());
    assert_eq!(of(&listed("asks").await), (json!("paused"), json!(2)));
    here.post("/sessions/asks/fork", json!({"session_id": "asks-too"})).await;
    assert_eq!(of(&listed("asks-too").await), (json!("paused"), json!(2)));
    let questions = here.get("/status/asks").await.body["data"]["questions"].clone();
    for (at, left) in [(0, json!(1)), (1, json!(0))] {
        let answer = json!({"id": questions[at]["id"], "value": 1});
        for session in ["asks", "asks-too"] {
            assert_eq!(
                here.post(&format!("/resume/{session}"), answer.clone()).await.status,
                200,
                "{session}"
            );
        }
        if at == 1 {
            here.reaches("asks", "completed").await;
            here.reaches("asks-too", "completed").await;
        }
        assert_eq!(listed("asks").await["questions"], left);
        assert_eq!(listed("asks-too").await["questions"], left);
    }
    drop(strings);
}

#[tokio::test]
async fn a_status_tells_the_tasks_that_the_run_is_at() {
    let (here, strings) = puppets().await;
    let at =
        async |session: &str| here.get(&format!("/status/{session}")).await.body["data"]["running"].clone();
    here.start("s", "wait").await;
    strings.waiting.notified().await;
    let running = at("s").await;
    let task = running[0].as_str().unwrap().to_owned();
    assert!(task.starts_with("act#") && running.as_array().unwrap().len() == 1, "{running}");
    strings.gate.add_permits(1);
    here.reaches("s", "completed").await;
    assert_eq!(at("s").await, json!([]));
    run(&here, "q", "ask two").await;
    let questions = here.get("/status/q").await.body["data"]["questions"].clone();
    let waits = at("q").await[0].as_str().unwrap().to_owned();
    assert!(questions[0]["id"].as_str().unwrap().starts_with(&waits), "{waits} {questions}");
    here.post("/stop/q", Value::Null).await;
    assert_eq!(at("q").await, json!([]), "nothing is at work");
}
