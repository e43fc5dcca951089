//! A server of meetings over a local upstream, and its clients.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use agent_core::{
    Runtime,
    clock::{Clock, ManualClock},
    journal::InMemoryJournal,
    model::{
        Model,
        http::{HttpOptions, client_builder},
        realtime::RealtimeOptions,
    },
    retry::RetryPolicy,
};
use agent_server::Server;
use futures::{SinkExt, StreamExt};
use meeting::{
    agents::{Agents, Desk},
    demo,
    hosted::{MinutesAgent, ModeratorAgent, TriageAgent},
    http::routes,
    principles::Principles,
    service::{Meetings, MeetingsOptions},
    store::MeetingStore,
    transcribe::Upstream,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::oneshot, task::JoinSet};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What few tests need.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) idle: Option<Duration>,
    pub(crate) model: Option<Model>,
}

/// A running server. Dropping it ends it at once.
pub(crate) struct Running {
    pub(crate) base: String,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) meetings: Meetings,
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

pub(crate) fn realtime(url: &str) -> Upstream {
    let backoff =
        RetryPolicy::default().first_wait(Duration::from_millis(5)).longest_wait(Duration::from_millis(20));
    Upstream::Realtime(Box::new(RealtimeOptions::new(url).backoff(backoff)))
}

impl Running {
    pub(crate) async fn start(upstream: Upstream) -> Self {
        let clock = Arc::new(ManualClock::new(1_790_000_000_000));
        Self::start_in(Arc::new(TempDir::new().unwrap()), upstream, clock).await
    }

    pub(crate) async fn start_in(folder: Arc<TempDir>, upstream: Upstream, clock: Arc<ManualClock>) -> Self {
        Self::start_with(folder, upstream, clock, Extra::default()).await
    }

    pub(crate) async fn start_with(
        folder: Arc<TempDir>,
        upstream: Upstream,
        clock: Arc<ManualClock>,
        extra: Extra,
    ) -> Self {
        let agents = Agents::new().unwrap();
        let desk = Desk { model: extra.model.is_some() };
        let runtime = agents.register(Runtime::builder(), desk).journal(InMemoryJournal::new());
        let runtime = match extra.model {
            Some(model) => runtime.model(model).build(),
            None => runtime.build(),
        };
        let store = MeetingStore::open(folder.path().join("meetings")).unwrap();
        let principles = Principles::open(folder.path().join("principles")).unwrap();
        let mut options = MeetingsOptions::new(store, principles, upstream);
        options.demo = Some(demo::recording());
        options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        options.idle = extra.idle.unwrap_or(options.idle);
        let meetings = Meetings::new(options, runtime.clone(), agents);
        meetings.recover();
        let server = Server::builder(runtime).agent(MinutesAgent).agent(TriageAgent).agent(ModeratorAgent);
        let server = server.options(|options| options.grace = Duration::from_millis(500));
        let server = routes(server, &meetings).bind("127.0.0.1:0").await.unwrap();
        let base = server.address().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        let serving = meetings.clone();
        tasks.spawn(async move {
            server.serve(async { drop(stopped.await) }).await;
            serving.close().await;
        });
        Self { base, folder, clock, meetings, stop: Some(stop), tasks }
    }

    /// Shuts down gracefully.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, self.tasks.join_next()).await.expect("the server does not stop");
    }

    pub(crate) async fn join(&self, meeting: &str) -> Client {
        Client::join(&self.base, meeting).await
    }

    /// Sends a request; returns the status and the body.
    pub(crate) async fn http(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let url = format!("http://{}{path}", self.base);
        let client = client_builder(&HttpOptions::default()).unwrap().build().unwrap();
        let mut request = client.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.http("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("meetings").join(name)).unwrap()
    }
}

/// A client of a meeting.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Messages that were passed over.
    seen: VecDeque<Value>,
}

impl Client {
    pub(crate) async fn join(base: &str, meeting: &str) -> Self {
        let url = format!("ws://{base}/ws/meetings/{meeting}");
        Self { socket: connect_async(url).await.unwrap().0, seen: VecDeque::new() }
    }

    pub(crate) async fn send(&mut self, kind: &str, data: Value) {
        self.text(&json!({"type": kind, "data": data}).to_string()).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn audio(&mut self, pcm: &[u8]) {
        self.socket.send(Message::binary(pcm.to_vec())).await.unwrap();
    }

    pub(crate) async fn any(&mut self) -> Value {
        match self.seen.pop_front() {
            Some(message) => message,
            None => tokio::time::timeout(PATIENCE, self.read()).await.expect("no message"),
        }
    }

    async fn read(&mut self) -> Value {
        loop {
            let message = self.socket.next().await;
            match message.expect("the server has disconnected").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    }

    /// The next message of this type; its data. Messages of other types are kept.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        if let Some(at) = self.seen.iter().position(|message| message["type"] == kind) {
            return self.seen.remove(at).unwrap()["data"].take();
        }
        let find = async {
            loop {
                let mut message = self.read().await;
                if message["type"] == kind {
                    return message["data"].take();
                }
                self.seen.push_back(message);
            }
        };
        tokio::time::timeout(PATIENCE, find).await.unwrap_or_else(|_| panic!("no {kind}"))
    }

    /// Forgets messages that were passed over.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Sends a message that is refused; returns the code.
    pub(crate) async fn refused(&mut self, text: &str) -> String {
        self.text(text).await;
        let error = self.next("error").await;
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        error["details"]["code"].as_str().unwrap().to_owned()
    }

    /// Everything that was sent before this point was handled: a pong arrives.
    pub(crate) async fn settled(&mut self) {
        self.send("ping", json!({})).await;
        self.next("pong").await;
    }
}

/// The setup of most tests.
pub(crate) fn setup() -> Value {
    json!({
        "title": "제품 출시", "language": "ko", "planned_minutes": 30, "principles": ["clear-owner", "respect"],
        "participants": [{"id": "minsu", "name": "민수"}, {"id": "jimin", "name": "김지민"}],
    })
}

/// Audio of this length.
pub(crate) fn audio(ms: usize) -> Vec<u8> {
    (0..ms * 24).flat_map(|sample| ((sample % 251) as i16).to_le_bytes()).collect()
}

/// The recording of the demonstration at 24 kHz.
pub(crate) fn demo_audio() -> Vec<u8> {
    demo::audio().unwrap()
}
