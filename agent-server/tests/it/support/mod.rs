//! A server in this process, a small HTTP client, a socket client, and an agent that does what the message requests.

pub(crate) mod agent;
pub(crate) mod openai;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod upstream;

use std::{net::SocketAddr, sync::Arc};

use agent_core::{
    Runtime,
    journal::{InMemoryJournal, JournalStore},
    model::Model,
    session::RuntimeBuilder,
};
use agent_server::{Server, ServerBuilder, ServerOptions, TaskAgent, demo::TrendAgent};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::oneshot, time::timeout};
use tokio_util::task::TaskTracker;
use trend_agent::Desk;

/// Timeout of every wait. It is only reached if a test fails.
pub(crate) const LONG: std::time::Duration = std::time::Duration::from_secs(30);

/// A server that ends with the test.
pub(crate) struct Here {
    pub(crate) address: SocketAddr,
    pub(crate) runtime: Runtime,
    end: Option<oneshot::Sender<()>>,
    tasks: TaskTracker,
}

impl Here {
    /// The K-beauty agent with the built-in analyst.
    pub(crate) async fn trend() -> Self {
        Self::trend_with(None, |_| {}).await
    }

    pub(crate) async fn trend_with(model: Option<Model>, set: impl FnOnce(&mut ServerOptions)) -> Self {
        let desk = Desk { model: model.is_some(), ..Desk::default() };
        let mut runtime = TrendAgent::register(Runtime::builder(), desk).unwrap();
        if let Some(model) = model {
            runtime = runtime.model(model);
        }
        Self::of(runtime, TrendAgent, set).await
    }

    /// A server with any agent, on a separate store.
    pub(crate) async fn of(
        runtime: RuntimeBuilder,
        agent: impl TaskAgent,
        set: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        Self::made(runtime, |server| server.agent(agent).options(set)).await
    }

    /// The same, with other options.
    pub(crate) async fn with(
        runtime: RuntimeBuilder,
        agent: impl TaskAgent,
        set: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        Self::made(runtime, |server| set(server.agent(agent))).await
    }

    /// Any server, on a separate store.
    pub(crate) async fn made(
        runtime: RuntimeBuilder,
        make: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
        Self::kept(runtime.journal(store), make).await
    }

    /// Any server, on the store of the runtime.
    pub(crate) async fn kept(
        runtime: RuntimeBuilder,
        make: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let runtime = runtime.build();
        let server = make(Server::builder(runtime.clone())).bind("127.0.0.1:0").await.unwrap();
        let (address, tasks) = (server.address(), TaskTracker::new());
        let (end, ended) = oneshot::channel::<()>();
        tasks.spawn(server.serve(async {
            // Ends with the test as well.
            ended.await.ok();
        }));
        Self { address, runtime, end: Some(end), tasks }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, &[], body.to_string()).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        send(self.address, method, path, headers, body).await
    }

    pub(crate) async fn start(&self, session: &str, message: &str) {
        let reply = self.post("/run-async", json!({"message": message, "session_id": session})).await;
        assert_eq!(
            (reply.status, reply.body["status"].as_str()),
            (StatusCode::OK, Some("started")),
            "{reply:?}"
        );
    }

    /// Waits for a status, by the socket rather than by polling.
    pub(crate) async fn reaches(&self, session: &str, wanted: &str) -> Value {
        let mut socket = self.socket(session, "?events=status").await;
        loop {
            let now = self.get(&format!("/status/{session}")).await.body;
            if now["status"] == wanted {
                return now;
            }
            socket.next().await;
        }
    }

    pub(crate) async fn socket(&self, session: &str, query: &str) -> socket::Client {
        socket::Client::connect(self.address, session, query).await.unwrap()
    }

    /// Ends the server and waits for it.
    pub(crate) async fn end(mut self) {
        drop(self.end.take());
        self.tasks.close();
        timeout(LONG, self.tasks.wait()).await.unwrap();
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// `null` if it is not JSON.
    pub(crate) body: Value,
}

impl Reply {
    /// Status and code: what a client branches on.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default())
    }
}

pub(crate) async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    timeout(LONG, async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut request = Request::builder().method(method).uri(path).header("host", address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let exchange = async {
            let (parts, body) = client.send_request(request).await.unwrap().into_parts();
            let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
            let body = serde_json::from_str(&text).unwrap_or_default();
            Reply { status: parts.status, headers: parts.headers, text, body }
        };
        tokio::pin!(exchange);
        tokio::select! {
            reply = &mut exchange => reply,
            // All that was sent has arrived.
            _ = connection => exchange.await,
        }
    })
    .await
    .unwrap()
}
