//! An endpoint that speaks OpenAI's chat completions: streams, counts, and fails when a test requests it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

#[derive(Default)]
pub(crate) struct Upstream {
    pub(crate) plans: AtomicU32,
    pub(crate) reports: AtomicU32,
    /// Reports get a 503 while this holds.
    pub(crate) down: AtomicBool,
    /// Everything gets a 401 that repeats the key, as careless endpoints do.
    pub(crate) locked: AtomicBool,
    pub(crate) seen: Mutex<Vec<Value>>,
}

pub(crate) const PLAN: &str = r#"Sure:
```json
{"request": {"brands": ["laneige"], "audience": "buyers"},
 "steps": [{"id": "collect-laneige", "title": "라네즈 리뷰 모으기"}, {"id": "read", "title": "주제와 감성 분석"}, {"id": "report", "title": "보고서"}]}
```"#;
pub(crate) const REPORT: &str = "# 모델의 보고서\n\n보습이 좋다는 의견이 많습니다 💧";

impl Upstream {
    pub(crate) async fn start() -> (SocketAddr, Arc<Self>) {
        let upstream = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, tasks) = (listener.local_addr().unwrap(), TaskTracker::new());
        let (served, inner) = (Arc::clone(&upstream), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let upstream = Arc::clone(&served);
                inner.spawn(async move {
                    let service = service_fn(move |request| {
                        let upstream = Arc::clone(&upstream);
                        async move { Ok::<_, Infallible>(upstream.answer(request).await) }
                    });
                    // A client that drops the connection is no fault.
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        (address, upstream)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        assert_eq!(request.uri().path(), "/v1/chat/completions");
        let key = request.headers()["authorization"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["stream"], true);
        let fault = |status: u16, message: String| {
            let body = json!({"error": {"message": message, "type": "server_error"}}).to_string();
            Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(Full::from(body))
                .unwrap()
        };
        if self.locked.load(Ordering::SeqCst) {
            return fault(401, format!("Incorrect API key provided: {key}"));
        }
        let plans = body["messages"][0]["content"].to_string().contains("You plan");
        if !plans && self.down.load(Ordering::SeqCst) {
            return fault(503, "overloaded".to_owned());
        }
        let text = if plans {
            self.plans.fetch_add(1, Ordering::SeqCst);
            PLAN
        } else {
            self.reports.fetch_add(1, Ordering::SeqCst);
            REPORT
        };
        self.seen.lock().push(body);
        let chunk = |delta: Value, end: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": end});
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
            format!("data: {chunk}\n\n")
        };
        let mut stream = chunk(json!({"role": "assistant", "content": ""}), Value::Null);
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(7) {
            stream += &chunk(json!({"content": piece.iter().collect::<String>()}), Value::Null);
        }
        stream += &chunk(json!({}), json!("stop"));
        stream += "data: [DONE]\n\n";
        Response::builder().header("content-type", "text/event-stream").body(Full::from(stream)).unwrap()
    }
}
