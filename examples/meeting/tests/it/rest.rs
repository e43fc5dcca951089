//! REST: meetings, principles, health, page, metrics.

use meeting::transcribe::Upstream;
use serde_json::{Value, json};

use crate::support::{Running, setup};

fn parse(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn meetings_are_created_listed_and_read() {
    let running = Running::start(Upstream::None).await;
    let mut body = setup();
    body["meeting_id"] = json!("weekly:1");
    let (status, created) = running.http("POST", "/api/v1/meetings", Some(body.clone())).await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(parse(&created)["meeting_id"], "weekly:1");
    assert_eq!(running.http("POST", "/api/v1/meetings", Some(body)).await.0, 409);
    let (status, anonymous) = running.http("POST", "/api/v1/meetings", None).await;
    assert_eq!((status, parse(&anonymous)["meeting_id"].as_str().unwrap().len()), (201, 16));
    let list = running.get("/api/v1/meetings/").await;
    assert_eq!(list["meetings"].as_array().unwrap().len(), 2);
    let one = running.get("/api/v1/meetings/weekly:1").await;
    assert_eq!((&one["title"], &one["status"]), (&json!("제품 출시"), &json!("running")));
    for field in ["transcript", "decisions", "action_items", "questions", "interventions"] {
        assert_eq!(one[field], json!([]), "{field}");
    }
    let (status, text) = running.http("GET", "/api/v1/meetings/weekly:1/markdown", None).await;
    assert!(status == 200 && text.starts_with("---\nmeeting_id: \"weekly:1\"\n"), "{text}");
    assert_eq!(text, running.file("weekly:1.md"));
    for path in ["/api/v1/meetings/none", "/api/v1/meetings/none/markdown"] {
        let (status, body) = running.http("GET", path, None).await;
        assert_eq!((status, &parse(&body)["detail"]), (404, &json!("there is no such meeting")));
    }
    for path in ["/api/v1/meetings/a%20b", "/api/v1/meetings/%2e%2e%2fx"] {
        assert_eq!(running.http("GET", path, None).await.0, 400, "{path}");
    }
    for body in [
        json!([]),
        json!({"title": 3}),
        json!({"planned_minutes": 0}),
        json!({"meeting_id": "가"}),
        json!({"principles": ["x"]}),
    ] {
        let (status, answer) = running.http("POST", "/api/v1/meetings", Some(body.clone())).await;
        let answer = parse(&answer);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["detail"].is_string() && answer["code"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn principles_are_listed_edited_attached_and_deleted() {
    let running = Running::start(Upstream::None).await;
    let names = |list: Value| {
        let names = list["principles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| found["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names(running.get("/api/v1/principles").await),
        ["clear-owner", "equal-voice", "focus", "respect"]
    );
    let put = json!({"content": "# 존댓말\n\n- 감지: \"야 너\"\n"});
    let path = "/api/v1/principles/존댓말";
    assert_eq!(running.http("PUT", path, Some(put.clone())).await.0, 201);
    assert_eq!(running.http("PUT", path, Some(put)).await.0, 200);
    let found = running.get(path).await;
    assert_eq!((&found["name"], &found["title"]), (&json!("존댓말"), &json!("존댓말")));
    let body = json!({"meeting_id": "m", "principles": ["존댓말"]});
    assert_eq!(running.http("POST", "/api/v1/meetings", Some(body)).await.0, 201);
    assert_eq!(running.http("DELETE", path, None).await.0, 204);
    assert_eq!(running.http("DELETE", path, None).await.0, 404);
    assert_eq!(running.http("GET", path, None).await.0, 404);
    for name in ["..%2f..%2fx", "a.b", "a%20b", &"x".repeat(65)] {
        let path = format!("/api/v1/principles/{name}");
        assert_eq!(running.http("PUT", &path, Some(json!({"content": "x"}))).await.0, 400, "{name}");
    }
    for content in
        [json!({"content": " "}), json!({"content": "x".repeat(64 * 1024 + 1)}), json!({}), json!(3)]
    {
        assert_eq!(running.http("PUT", "/api/v1/principles/x", Some(content)).await.0, 400);
    }
}

#[tokio::test]
async fn health_page_dashboard_and_metrics_are_there() {
    let running = Running::start(Upstream::None).await;
    assert_eq!(running.get("/api/v1/health").await["status"], "healthy");
    for (path, has) in [
        ("/meeting", "<title>"),
        ("/meeting/app.js", "AudioWorklet"),
        ("/meeting/capture.js", "registerProcessor"),
        ("/meeting/style.css", "body"),
        ("/", "<html"),
    ] {
        let (status, body) = running.http("GET", path, None).await;
        assert!(status == 200 && body.contains(has), "{path}: {status}");
    }
    running.join("m1").await.settled().await;
    let (_, metrics) = running.http("GET", "/metrics", None).await;
    assert!(metrics.contains("/api/v1/health") && metrics.contains("/ws/meetings/{meeting_id}"), "{metrics}");
    let agents = running.get("/agents").await;
    for name in ["minutes", "triage", "moderator"] {
        assert!(agents.to_string().contains(name), "{agents}");
    }
}
