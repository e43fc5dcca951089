//! With a model configured, it plans and writes the report; without its endpoint, the run fails with a clear error.

use std::{net::SocketAddr, sync::atomic::Ordering};

use agent_core::model::{Model, openai::OpenAi};
use serde_json::json;

use crate::support::{
    Here,
    openai::{REPORT, Upstream},
};

const NAMED: &str = "라네즈 리뷰를 소비자용으로 분석해 줘";
const KEY: &str = "sk-test-1234567890abcdef";

async fn with_model(upstream: SocketAddr) -> Here {
    let model = OpenAi::builder().base_url(format!("http://{upstream}/v1")).key(KEY).build().unwrap();
    Here::trend_with(Some(Model::new(model)), |_| {}).await
}

#[tokio::test]
async fn the_plan_and_the_report_are_the_models_and_the_work_hangs_under_its_plan() {
    let (address, upstream) = Upstream::start().await;
    let here = with_model(address).await;
    let reply = here.post("/run", json!({"message": NAMED, "session_id": "s"})).await;
    let response = reply.body["data"]["response"].as_str().unwrap();
    assert!(response.starts_with("# 라네즈") && response.ends_with(REPORT), "{response}");
    let todos = reply.body["data"]["todos"].as_array().unwrap();
    let parent = |id: &str| todos.iter().find(|todo| todo["todo_id"] == id).unwrap()["parent"].clone();
    assert_eq!(parent("collect:laneige"), "plan:collect-laneige");
    assert_eq!(parent("analyse:laneige"), "plan:read");
    assert_eq!(parent("write"), "plan:report");
    assert!(todos.iter().all(|todo| todo["status"] == "completed"), "{todos:?}");
    let seen = upstream.seen.lock();
    assert_eq!((seen.len(), &seen[0]["model"]), (2, &json!("gpt-4o-mini")));
    assert!(
        seen[1]["messages"][1]["content"].as_str().unwrap().contains("LN-"),
        "the model writes from real quotes"
    );
}

#[tokio::test]
async fn an_endpoint_that_is_down_fails_the_run_clearly_and_a_resume_pays_for_nothing_twice() {
    let (address, upstream) = Upstream::start().await;
    let here = with_model(address).await;
    upstream.down.store(true, Ordering::SeqCst);
    let reply = here.post("/run", json!({"message": NAMED, "session_id": "s"})).await;
    assert_eq!(reply.refusal(), (500, "model_failed"), "{reply:?}");
    assert_eq!(reply.body["where"]["node"], "write");
    let mut socket = here.socket("s", "").await;
    let fault = loop {
        let message = socket.next().await;
        if message["type"] == "error" {
            break message;
        }
    };
    let details = &fault["data"]["details"];
    assert_eq!((&details["code"], &details["node"]), (&json!("model_failed"), &json!("write")));
    upstream.down.store(false, Ordering::SeqCst);
    assert_eq!(here.post("/resume/s", json!({})).await.status, 200);
    let done = here.reaches("s", "completed").await;
    assert!(done["data"]["response"].as_str().unwrap().ends_with(REPORT), "{done}");
    assert_eq!((upstream.plans.load(Ordering::SeqCst), upstream.reports.load(Ordering::SeqCst)), (1, 1));
    let mut all = here.socket("s", "?events=all").await;
    loop {
        if all.next().await["type"] == "complete" {
            break;
        }
    }
    let analysed = all
        .got
        .iter()
        .filter(|m| m["data"]["type"] == "step_recorded" && m["data"]["data"]["key"] == "topics");
    assert_eq!(analysed.count(), 1, "what was analysed stays analysed");
}

#[tokio::test]
async fn nobody_at_the_address_fails_the_run_at_its_first_node() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let here = with_model(closed).await;
    let reply = here.post("/run", json!({"message": NAMED})).await;
    assert_eq!((reply.refusal(), &reply.body["where"]["node"]), ((500, "model_failed"), &json!("plan")));
}

#[tokio::test]
async fn what_the_endpoint_says_and_a_key_that_it_repeats_reach_no_client() {
    let (address, upstream) = Upstream::start().await;
    upstream.locked.store(true, Ordering::SeqCst);
    let here = with_model(address).await;
    let reply = here.post("/run", json!({"message": NAMED, "session_id": "s"})).await;
    assert_eq!(reply.refusal(), (500, "model_failed"));
    let silent = |text: &str| !text.contains(KEY) && !text.contains("Incorrect");
    assert!(silent(&reply.text), "{}", reply.text);
    assert!(silent(&here.get("/status/s").await.text));
    let mut socket = here.socket("s", "?events=all").await;
    while socket.next().await["type"] != "error" {}
    assert!(socket.got.iter().all(|message| silent(&message.to_string())));
}
