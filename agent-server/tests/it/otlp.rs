//! Traces that the real binary sends to an OpenTelemetry collector; some data is never sent, and no run waits for it.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use parking_lot::Mutex;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::watch,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::support::{
    LONG, Reply, send,
    socket::Client,
    upstream::{Fake, calls, says},
};

/// How a collector responds to a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    Refuses,
    NeverAnswers,
}

#[derive(Default)]
struct Got {
    heads: Vec<(String, HeaderMap)>,
    bodies: Vec<Bytes>,
}

/// A collector that takes OTLP over HTTP.
struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Got>>,
    count: watch::Receiver<usize>,
}

impl Collector {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Got::default())));
        let (counted, count) = watch::channel(0);
        let (kept, tasks) = (Arc::clone(&got), TaskTracker::new());
        let inner = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (got, counted) = (Arc::clone(&kept), counted.clone());
                inner.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (got, counted) = (Arc::clone(&got), counted.clone());
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await.unwrap().to_bytes();
                            {
                                let mut got = got.lock();
                                got.heads.push((head.uri.path().to_owned(), head.headers));
                                got.bodies.push(body);
                            }
                            counted.send_modify(|count| *count += 1);
                            if mood == Mood::NeverAnswers {
                                std::future::pending::<()>().await;
                            }
                            let status = if mood == Mood::Takes { 200 } else { 400 };
                            let answer = Response::builder().status(status).body(Full::<Bytes>::default());
                            Ok::<_, Infallible>(answer.unwrap())
                        }
                    });
                    // A process that ends breaks its connection off.
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { address, got, count }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it has received a span of this name.
    async fn gets(&self, name: &str) -> Span {
        let mut count = self.count.clone();
        timeout(LONG, async {
            loop {
                count.borrow_and_update();
                match self.named(name).pop() {
                    Some(span) => return span,
                    None => count.changed().await.unwrap(),
                }
            }
        })
        .await
        .unwrap()
    }

    /// Waits until it has received this many batches.
    async fn reaches(&self, batches: usize) {
        let mut count = self.count.clone();
        timeout(LONG, count.wait_for(|count| *count >= batches)).await.unwrap().unwrap();
    }

    fn bytes(&self) -> Vec<u8> {
        self.got.lock().bodies.iter().flat_map(|body| body.iter().copied()).collect()
    }

    fn holds(&self, text: &str) -> bool {
        self.bytes().windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.got.lock().bodies.iter().map(|body| Message::decode(&**body).unwrap()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.requests().into_iter();
        let scopes =
            requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }

    fn one(&self, name: &str) -> Span {
        let found = self.named(name);
        let names: Vec<String> = self.spans().into_iter().map(|span| span.name).collect();
        assert_eq!(found.len(), 1, "{name}: {names:?}");
        found[0].clone()
    }

    /// The names of the spans around one, the nearest first.
    fn around(&self, span: &Span) -> Vec<String> {
        let all: HashMap<Vec<u8>, Span> =
            self.spans().into_iter().map(|span| (span.span_id.clone(), span)).collect();
        let mut names = Vec::new();
        let mut span = span.clone();
        while let Some(parent) = all.get(&span.parent_span_id) {
            assert_eq!(parent.trace_id, span.trace_id);
            names.push(parent.name.clone());
            span = parent.clone();
        }
        names
    }
}

fn plain(value: Option<AnyValue>) -> Value {
    match value.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(|value| plain(Some(value))).collect(),
        _ => Value::Null,
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, Value> {
    attributes.iter().map(|pair| (pair.key.clone(), plain(pair.value.clone()))).collect()
}

/// The named attributes of a span, as JSON.
fn reported(span: &Span, names: &[&str]) -> Value {
    let all = attributes(&span.attributes);
    names.iter().map(|name| all.get(*name).cloned().unwrap_or_default()).collect()
}

/// The binary, sending traces.
struct Process {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    reading: TaskTracker,
}

impl Process {
    async fn start(home: &Path, endpoint: &str, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agent-server"))
            .current_dir(home)
            .env_clear()
            .env("API_HOST", "127.0.0.1")
            .env("API_PORT", "0")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            // Milliseconds between batches.
            .env("OTEL_BSP_SCHEDULE_DELAY", "20")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = None;
        let log = Arc::new(Mutex::new(Vec::new()));
        while address.is_none() {
            let line = timeout(LONG, lines.next_line()).await.unwrap().unwrap().expect("it listens");
            let rest = line.split_once("listening on http://").map(|(_, rest)| rest.to_owned());
            address = rest.map(|rest| rest.split(',').next().unwrap().parse().unwrap());
            log.lock().push(line);
        }
        let (kept, reading) = (Arc::clone(&log), TaskTracker::new());
        reading.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().push(line);
            }
        });
        Self { child, address: address.unwrap(), log, reading }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        send(self.address, Method::POST, path, headers, body.to_string()).await
    }

    /// Ends it as an operator does; returns its log and the duration.
    async fn end(mut self) -> (String, Duration) {
        let begun = Instant::now();
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(id).status().await.unwrap().success());
        let status = timeout(LONG, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success());
        let took = begun.elapsed();
        self.reading.close();
        timeout(LONG, self.reading.wait()).await.unwrap();
        (self.log.lock().join("\n"), took)
    }
}

const KEY: &str = "sk-secret-1234567890abcdef";
const SAID: &str = "제 비밀은 사과 세 개입니다";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_request_its_run_its_nodes_and_its_calls_are_one_trace_without_what_was_said() {
    let (collector, home) = (Collector::start(Mood::Takes).await, TempDir::new().unwrap());
    let fake =
        Fake::start([calls("calculator", r#"{"expression": "1234 * 3"}"#), says("모두 3,702원입니다.")])
            .await;
    let vllm = format!("http://{}", fake.address);
    let settings = [
        ("VLLM_BASE_URL", &*vllm),
        ("OPENAI_API_KEY", KEY),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector-key"),
        ("LOG_LEVEL", "trace"),
    ];
    let server = Process::start(home.path(), &collector.url(), &settings).await;
    let body = json!({"content": SAID, "conversation_id": "talk-1"});
    let reply = server.post("/api/v1/chat", &[("traceparent", CALLER)], body).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.body["content"]),
        (200, &json!("모두 3,702원입니다.")),
        "{reply:?}"
    );
    let (log, _) = server.end().await;

    let (path, headers) = collector.got.lock().heads[0].clone();
    assert_eq!(path, "/v1/traces");
    assert_eq!(
        (&headers["content-type"], &headers["authorization"]),
        (&"application/x-protobuf".parse().unwrap(), &"Bearer collector-key".parse().unwrap())
    );
    let resource = collector.requests()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(attributes(&resource.attributes)["service.name"], "shop");

    let request = collector.one("POST /api/v1/chat");
    assert_eq!(hex::encode(&request.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex::encode(&request.parent_span_id), "00f067aa0ba902b7", "the caller's span is the parent");
    assert_eq!(request.kind(), SpanKind::Server);
    let names = ["http.request.method", "http.route", "http.response.status_code"];
    assert_eq!(reported(&request, &names), json!(["POST", "/api/v1/chat", 200]));

    let run = collector.one("invoke_agent assistant");
    assert_eq!(collector.around(&run), ["POST /api/v1/chat"]);
    let names = ["gen_ai.operation.name", "gen_ai.agent.name", "gen_ai.conversation.id", "agent_core.status"];
    assert_eq!(reported(&run, &names), json!(["invoke_agent", "assistant", "talk-1", "completed"]));

    let mut chats: Vec<Span> =
        collector.spans().into_iter().filter(|span| span.name.starts_with("chat ")).collect();
    chats.sort_by_key(|span| span.start_time_unix_nano);
    assert_eq!(chats.len(), 2);
    for chat in &chats {
        assert_eq!(collector.around(chat)[1..], ["invoke_agent assistant", "POST /api/v1/chat"]);
        assert_eq!(chat.kind(), SpanKind::Client);
    }
    let names = [
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.response.finish_reasons",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
    ];
    let model = "Qwen/Qwen2.5-7B-Instruct";
    assert_eq!(reported(&chats[0], &names), json!(["chat", "openai", model, "fake", ["tool_call"], 5, 2]));
    assert_eq!(reported(&chats[1], &names), json!(["chat", "openai", model, "fake", ["stop"], 7, 3]));

    let tool = collector.one("execute_tool calculator");
    assert_eq!(collector.around(&tool)[1..], ["invoke_agent assistant", "POST /api/v1/chat"]);
    let names = ["gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.tool.type"];
    assert_eq!(reported(&tool, &names), json!(["execute_tool", "calculator", "call_1", "function"]));

    for secret in [SAID, "사과", KEY, "sk-secret", "1234", "3702", "3,702", "expression", "collector-key"] {
        assert!(!collector.holds(secret), "{secret} was sent");
    }
    assert!(collector.spans().iter().all(|span| span.events.is_empty()), "the log is not sent");
    assert!(!log.contains("gen_ai") && !log.contains("otel.name"), "{log}");
    assert!(!log.contains("collector-key") && !log.contains(KEY), "{log}");
}

#[tokio::test]
async fn a_run_that_lives_on_stays_in_the_trace_of_its_request_which_ends_before() {
    let (collector, home) = (Collector::start(Mood::Takes).await, TempDir::new().unwrap());
    let server = Process::start(home.path(), &collector.url(), &[("TREND_PACE_MS", "5")]).await;
    let ask = json!({"message": "라네즈 리뷰를 소비자용으로 분석해 줘", "session_id": "s"});
    assert_eq!(server.post("/api/agent/run-async", &[], ask).await.status, 200);
    let mut socket = Client::connect(server.address, "s", "?after=0").await.unwrap();
    socket.until("complete").await;
    drop(socket);
    server.end().await;
    let (request, run) = (collector.one("POST /api/agent/run-async"), collector.one("invoke_agent trend"));
    assert_eq!(run.parent_span_id, request.span_id);
    assert_eq!(run.trace_id, request.trace_id);
    assert!(request.end_time_unix_nano < run.end_time_unix_nano, "the request did not wait for its run");
    let nodes: Vec<Span> =
        collector.spans().into_iter().filter(|span| span.name.starts_with("node ")).collect();
    assert!(nodes.len() > 3);
    let outermost = ["invoke_agent trend", "POST /api/agent/run-async"].map(str::to_owned);
    for node in &nodes {
        assert!(collector.around(node).ends_with(&outermost), "{node:?}");
    }
    assert!(!collector.holds("라네즈"), "the subject was sent");
}

#[tokio::test]
async fn a_request_is_sent_while_its_run_still_waits_for_a_person() {
    let (collector, home) = (Collector::start(Mood::Takes).await, TempDir::new().unwrap());
    let server = Process::start(home.path(), &collector.url(), &[]).await;
    let ask = json!({"message": "라네즈 리뷰를 분석해 줘", "session_id": "s"});
    let reply = server.post("/run", &[], ask).await;
    assert_eq!(reply.body["status"], "paused", "{reply:?}");
    let request = collector.gets("POST /run").await;
    assert!(collector.named("invoke_agent trend").is_empty(), "the run is not at its end");
    assert_eq!(server.post("/resume/s", &[], json!({"value": "소비자"})).await.status, 200);
    let run = collector.gets("invoke_agent trend").await;
    assert_eq!((run.parent_span_id, run.trace_id), (request.span_id, request.trace_id));
    server.end().await;
}

#[tokio::test]
async fn a_failed_run_is_marked_and_its_words_stay_here() {
    let (collector, home) = (Collector::start(Mood::Takes).await, TempDir::new().unwrap());
    // Nothing listens there.
    let settings = [("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"), ("OPENAI_API_KEY", KEY)];
    let server = Process::start(home.path(), &collector.url(), &settings).await;
    let ask = json!({"message": "라네즈 리뷰를 소비자용으로 분석해 줘", "session_id": "s"});
    assert_eq!(server.post("/run", &[], ask).await.status, 500);
    server.end().await;
    let request = collector.one("POST /run");
    assert_eq!(reported(&request, &["http.response.status_code", "error.type"]), json!([500, "500"]));
    for (name, code) in [("invoke_agent trend", "model_failed"), ("chat gpt-4o-mini", "model_transport")] {
        let span = collector.named(name).pop().unwrap();
        assert_eq!(reported(&span, &["error.type"]), json!([code]));
        let status = span.status.unwrap();
        assert_eq!((status.code(), &*status.message), (StatusCode::Error, ""));
    }
    assert!(!collector.holds("라네즈") && !collector.holds(KEY) && !collector.holds("127.0.0.1"));
}

#[tokio::test]
async fn a_collector_that_is_down_is_told_of_once_and_nobody_waits_for_it() {
    let home = TempDir::new().unwrap();
    let collector = Collector::start(Mood::Refuses).await;
    let server = Process::start(home.path(), &collector.url(), &[("GRACE_SECONDS", "1")]).await;
    for _ in 0..3 {
        let before = collector.got.lock().bodies.len();
        assert_eq!(server.post("/run", &[], json!({"message": "Analyse Anua for buyers"})).await.status, 200);
        collector.reaches(before + 1).await;
    }
    let (log, _) = server.end().await;
    assert_eq!(log.matches("traces cannot be exported").count(), 1, "{log}");
    assert!(log.contains("the collector responded with 400"), "{log}");
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_neither_requests_nor_the_end() {
    let home = TempDir::new().unwrap();
    let collector = Collector::start(Mood::NeverAnswers).await;
    let server = Process::start(home.path(), &collector.url(), &[("GRACE_SECONDS", "1")]).await;
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(server.post("/run", &[], json!({"message": "Analyse Anua for buyers"})).await.status, 200);
        assert!(begun.elapsed() < Duration::from_secs(8), "a request waited for the collector");
    }
    collector.reaches(1).await;
    let (log, took) = server.end().await;
    assert!(took < Duration::from_secs(8), "the end took {took:?}");
    assert!(log.contains("the last traces were not exported"), "{log}");
}

#[tokio::test]
async fn with_a_setting_spans_have_the_messages_without_what_is_redacted() {
    let (collector, home) = (Collector::start(Mood::Takes).await, TempDir::new().unwrap());
    let fake =
        Fake::start([calls("calculator", r#"{"expression": "1234 * 3"}"#), says("모두 3,702원입니다.")])
            .await;
    let vllm = format!("http://{}", fake.address);
    let settings =
        [("VLLM_BASE_URL", &*vllm), ("TRACE_CONTENT", "true"), ("CONTENT_REDACT", "사과 [가-힣]+ 개")];
    let server = Process::start(home.path(), &collector.url(), &settings).await;
    let reply = server.post("/api/v1/chat", &[], json!({"content": SAID})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let (log, _) = server.end().await;
    assert!(log.contains("TRACE_CONTENT"), "the operator is warned: {log}");

    let mut chats: Vec<Span> =
        collector.spans().into_iter().filter(|span| span.name.starts_with("chat ")).collect();
    chats.sort_by_key(|span| span.start_time_unix_nano);
    let json_of = |span: &Span, name: &str| -> Value {
        serde_json::from_str(attributes(&span.attributes)[name].as_str().unwrap()).unwrap()
    };
    let said = json_of(&chats[0], "gen_ai.input.messages");
    assert_eq!(
        said,
        json!([{"role": "user", "parts": [{"type": "text", "content": "제 비밀은 [redacted]입니다"}]}])
    );
    let called = json_of(&chats[0], "gen_ai.output.messages");
    assert_eq!(called[0]["parts"][0]["arguments"], json!({"expression": "1234 * 3"}), "{called}");
    assert_eq!(called[0]["finish_reason"], "tool_call");
    assert_eq!(attributes(&chats[1].attributes)["output.value"], "모두 3,702원입니다.");
    let tool = collector.one("execute_tool calculator");
    let names = ["openinference.span.kind", "gen_ai.tool.call.result", "output.value"];
    assert_eq!(reported(&tool, &names), json!(["TOOL", "3702", "3702"]));
    let kinds: Vec<Value> = collector
        .spans()
        .iter()
        .map(|span| reported(span, &["openinference.span.kind"])[0].clone())
        .collect();
    for kind in ["AGENT", "LLM", "TOOL"] {
        assert!(kinds.contains(&json!(kind)), "{kinds:?}");
    }
    let run = collector.one("invoke_agent assistant");
    assert_eq!(json_of(&run, "input.value")["messages"][0]["role"], "user");
    let end = json_of(&run, "output.value");
    assert!(end["messages"].as_array().unwrap().len() > 3, "{end}");
    assert!(collector.spans().iter().all(|span| !format!("{span:?}").contains("사과")));
}
