//! The service in this process, its clients, and a model server.

pub(crate) mod client;
pub(crate) mod upstream;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use agent_core::{
    journal::InMemoryJournal,
    memory::InMemoryStore,
    model::{Model, RetryModel, openai::OpenAi},
    retry::RetryPolicy,
};
use agent_server::ServerBuilder;
use bytes::Bytes;
use counselling::{Conversations, Counselling, Settings, Stores};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, sync::oneshot, time::timeout};
use tokio_util::task::TaskTracker;

use client::Client;
use upstream::{Script, Upstream};

/// Longer than anything here takes. Nothing waits so long unless it fails.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Stores in memory.
pub(crate) fn in_memory() -> Stores {
    let memory = Arc::new(InMemoryStore::new());
    Stores {
        journal: Arc::new(InMemoryJournal::new()),
        memory: Arc::clone(&memory) as Arc<_>,
        conversations: Conversations::embedded(memory),
    }
}

/// Settings without a pause between chunks.
pub(crate) fn quick() -> Settings {
    Settings { pace: Duration::ZERO, ..Settings::default() }
}

/// The service, which ends with the test.
pub(crate) struct Here {
    pub(crate) address: SocketAddr,
    pub(crate) service: Counselling,
    pub(crate) stores: Stores,
    pub(crate) upstream: Arc<Upstream>,
    end: Option<oneshot::Sender<()>>,
    tasks: TaskTracker,
}

impl Here {
    /// The service with a model server that follows scripts, one per request.
    pub(crate) async fn start(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self::with(quick(), in_memory(), scripts, |server| server).await
    }

    pub(crate) async fn with(
        settings: Settings,
        stores: Stores,
        scripts: impl IntoIterator<Item = Script>,
        set: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let upstream = Upstream::start(scripts).await;
        let url = format!("http://{}/v1", upstream.address);
        let model = OpenAi::builder().base_url(url).model("counsellor").build().unwrap();
        let policy = RetryPolicy::attempts(2).first_wait(Duration::from_millis(1));
        let model = Model::new(RetryModel::new(model).policy(policy));
        let service = Counselling::new(settings, stores.clone(), model).unwrap();
        let server = set(service.server()).bind("127.0.0.1:0").await.unwrap();
        let (address, tasks) = (server.address(), TaskTracker::new());
        let (end, ended) = oneshot::channel::<()>();
        let served = service.clone();
        tasks.spawn(async move {
            // Ends with the test as well.
            served.serve(server, async { drop(ended.await) }).await;
        });
        Self { address, service, stores, upstream, end: Some(end), tasks }
    }

    pub(crate) async fn client(&self, session: &str) -> Client {
        Client::connect(self.address, session).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        send(self.address, Method::GET, path, &[], "").await
    }

    /// Waits until the latest run of a session has ended, so that its exchange is saved.
    pub(crate) async fn settled(&self, session: &str) {
        let session = self.service.runtime().session(session).unwrap();
        timeout(LONG, session.wait_status()).await.unwrap().unwrap();
    }

    /// Ends the service and waits for it.
    pub(crate) async fn end(mut self) -> Stores {
        drop(self.end.take());
        self.tasks.close();
        timeout(LONG, self.tasks.wait()).await.unwrap();
        self.stores
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// `null` if it is not JSON.
    pub(crate) body: Value,
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
            Reply { status: parts.status.as_u16(), headers: parts.headers, text, body }
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
