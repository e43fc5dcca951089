//! What comes from the library: health, metrics, dashboard, CORS, the page's files, graceful shutdown.

use agent_core::RunStatus;
use hyper::Method;
use serde_json::json;

use crate::support::{
    Here, send,
    upstream::{says, says_slowly},
};

#[tokio::test]
async fn health_metrics_dashboard_and_page_are_served() {
    let here = Here::start([says(&["네."])]).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    client.answer().await;
    here.settled("s").await;
    assert_eq!(here.get("/health").await.body["status"], "healthy");
    let metrics = here.get("/metrics").await.text;
    assert!(metrics.contains("/ws/session/{session_id}"), "{metrics}");
    let dashboard = send(here.address, Method::GET, "/", &[("accept", "text/html")], "").await;
    assert!(dashboard.text.contains("<html"));
    let sessions = here.get("/sessions").await.body;
    assert_eq!(sessions["sessions"][0]["agent"], "counselling");
    for (path, media_type) in [
        ("/counselling", "text/html; charset=utf-8"),
        ("/counselling/", "text/html; charset=utf-8"),
        ("/counselling/app.css", "text/css; charset=utf-8"),
        ("/counselling/app.js", "text/javascript; charset=utf-8"),
    ] {
        let file = here.get(path).await;
        assert_eq!(
            (file.status, &file.headers["content-type"]),
            (200, &media_type.parse().unwrap()),
            "{path}"
        );
        assert!(file.headers["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    }
    let origin = [("origin", "http://localhost:5173")];
    let health = send(here.address, Method::GET, "/health", &origin, "").await;
    assert_eq!(health.headers["access-control-allow-origin"], "http://localhost:5173");
}

#[tokio::test]
async fn the_dashboard_can_send_a_message() {
    let here = Here::start([says(&["반가워요."])]).await;
    let body = json!({"message": "안녕", "session_id": "d", "context": {"emotion": "happy"}}).to_string();
    let json = [("content-type", "application/json")];
    let reply = send(here.address, Method::POST, "/run", &json, body).await;
    assert_eq!((reply.status, &reply.body["data"]["response"]), (200, &json!("반가워요.")), "{reply:?}");
    here.settled("d").await;
    assert_eq!(here.stores.conversations.recent("d").await.unwrap()[0].ai_response, "반가워요.");
}

#[tokio::test]
async fn a_shutdown_lets_the_answer_end() {
    let here = Here::start([says_slowly(&["하나."])]).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    client.begins().await;
    assert_eq!(client.chunk().await, "하나.");
    here.upstream.waits().await;
    let (runtime, upstream) = (here.service.runtime().clone(), here.upstream.clone());
    let (stores, rest) = tokio::join!(here.end(), async {
        upstream.release();
        client.rest().await
    });
    assert_eq!(rest.error, None);
    let session = runtime.session("s").unwrap();
    let status = session.status().await.unwrap().status;
    if status == RunStatus::Completed {
        assert_eq!(stores.conversations.recent("s").await.unwrap()[0].ai_response, "하나.");
    }
}
