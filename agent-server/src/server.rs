//! The way in: a runtime and an agent become a server that can be ended without losing anything.

use std::{
    fmt,
    future::{self, Future},
    io,
    net::SocketAddr,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use agent_core::{
    Runtime,
    clock::{Clock, WallClock},
    event::Observer,
    secret::Secret,
};
use bytes::Bytes;
use futures::FutureExt;
use hyper::{Method, Request, Response};
use serde_json::Value;
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Assistant, Auth, Chat, Hosts, Origins, Proxies, TaskAgent, Tls, Webhooks,
    derived::Derived,
    error::{ApiError, Contract, Refusal},
    fanout::Fanouts,
    follow::{self, End, Follower},
    handler::{ready::Readiness, routes},
    http::{
        accept,
        budget::Budget,
        routes::{Access, Handler, Route, Routes},
    },
    limit::Limits,
    metrics::Metrics,
    own::{Body, Socket, requests, sockets},
    webhook::{self, Here, Watcher},
};

/// Bounds of the server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Which web pages may speak to it. Default: its own and this machine's.
    pub origins: Origins,
    /// Which hosts it answers for where callers show no key. Default: this machine's.
    pub hosts: Hosts,
    /// Which proxies are believed when they say whom they pass a request on for. Default: none.
    pub proxies: Proxies,
    /// Connections at once, sockets included. Default: 10,000.
    pub connections: usize,
    /// Time for the head of a request, and the longest a connection may be idle. Default: 30 s.
    pub head_time: Duration,
    /// Connections at once from one address (from one /64 of IPv6), other than this machine's and those of `proxies`; 0: no bound.
    /// Default: 1,000.
    pub connections_per_address: usize,
    /// Requests a minute of one caller: of a subject, or of an address where callers have no names; 0: no bound.
    /// What is open to anybody is not counted. Default: 0.
    pub requests_per_minute: u32,
    /// Sockets and streams of one caller at once, this machine's nameless ones left out; 0: no bound. Default: 1,000.
    pub sockets_per_caller: usize,
    /// Runs of one caller at once, answers of the plain model included, those that wait for a person left out; 0: no bound.
    /// Default: 0.
    pub runs_per_caller: usize,
    /// Sessions that a subject may have; 0: no bound. Default: 0.
    pub sessions_per_subject: u32,
    /// Frames a second that are read from a socket, after 2 s worth of them at once; more wait. 0: no bound. Default: 100.
    pub frames_per_second: u32,
    /// The largest body, in bytes. Default: 1 MiB.
    pub body_bytes: usize,
    /// Memory that all callers' input may take up at once, in bytes: bodies that are read and parsed (a body of small values
    /// takes up a hundred times its size), unfinished messages of sockets. Beyond it requests get 503. Default: 256 MiB.
    pub input_bytes: usize,
    /// Time for a body to arrive. Default: 30 s.
    pub body_time: Duration,
    /// The largest frame of a socket, in bytes. Default: 64 KiB.
    pub frame_bytes: usize,
    /// How often a quiet socket is pinged; one that gives no sign of life for three times as long is closed. Default: 20 s.
    pub ping: Duration,
    /// How long a write to a slow subscriber may take before it is closed. Default: 30 s.
    pub write_time: Duration,
    /// How often sessions are looked for whose process has died, after the first time at the start. Default: 15 s.
    pub sweep: Duration,
    /// Whether each request is a line in the log (target `agent_server::access`), without what was said. Default: no.
    pub access_log: bool,
    /// How long runs may take to reach their next superstep when the server ends, and responses to leave; both together.
    /// Default: 5 s.
    pub grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            origins: Origins::Local,
            hosts: Hosts::Local,
            proxies: Proxies::default(),
            connections: 10_000,
            connections_per_address: 1_000,
            requests_per_minute: 0,
            sockets_per_caller: 1_000,
            runs_per_caller: 0,
            sessions_per_subject: 0,
            frames_per_second: 100,
            head_time: Duration::from_secs(30),
            body_bytes: 1024 * 1024,
            input_bytes: 256 * 1024 * 1024,
            body_time: Duration::from_secs(30),
            frame_bytes: 64 * 1024,
            ping: Duration::from_secs(20),
            write_time: Duration::from_secs(30),
            sweep: Duration::from_secs(15),
            access_log: false,
            grace: Duration::from_secs(5),
        }
    }
}

/// What handlers share.
pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    /// The first is the one that is meant when none is named.
    pub(crate) agents: Vec<Box<dyn TaskAgent>>,
    /// The plain model, if there is one.
    pub(crate) chat: Option<Chat>,
    /// The agent with tools, if there is one; it is among the agents too.
    pub(crate) assistant: Option<Assistant>,
    /// Where conversations run that nobody keeps.
    pub(crate) passing: Runtime,
    /// When the server was made, in seconds since 1970.
    pub(crate) since: i64,
    pub(crate) auth: Auth,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<Tls>,
    pub(crate) webhooks: Option<Webhooks>,
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) options: ServerOptions,
    pub(crate) routes: Routes,
    /// Sockets: they outlive their HTTP connection.
    pub(crate) sockets: TaskTracker,
    /// What the subscribers of a session share.
    pub(crate) fanouts: Arc<Fanouts>,
    /// Counts, for `/metrics`.
    pub(crate) metrics: Arc<Metrics>,
    /// Places for what takes much memory and time: one a processor.
    pub(crate) heavy: Semaphore,
    /// Memory for callers' input.
    pub(crate) input: Budget,
    /// Whether the store can be written, as of a moment ago.
    pub(crate) readiness: Readiness,
    /// Ids that are derived from what callers say.
    pub(crate) derived: Derived,
    /// Places for connections that are free.
    pub(crate) places: Arc<Semaphore>,
    /// The server takes no more connections.
    pub(crate) ending: CancellationToken,
    /// Sockets say goodbye.
    pub(crate) leaving: CancellationToken,
}

impl Inner {
    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.options.connections.saturating_sub(self.places.available_permits())
    }

    /// The agent of a name; without one, the first.
    ///
    /// # Errors
    ///
    /// 400 when there is none of the name, 503 when there is none at all.
    pub(crate) fn agent(&self, name: Option<&str>) -> Result<&dyn TaskAgent, ApiError> {
        let found = match name {
            Some(name) => self.agents.iter().find(|agent| agent.graph() == name),
            None => self.agents.first(),
        };
        found.map(|agent| &**agent).ok_or_else(|| {
            if self.agents.is_empty() {
                return ApiError::new(Refusal::NoAgent, "this server has no task agent");
            }
            let known: Vec<&str> = self.agents.iter().map(|agent| agent.graph()).collect();
            let told = format!("there is no such agent; known: {}", known.join(", "));
            ApiError::new(Refusal::UnknownAgent, told)
        })
    }

    /// The answer in a state of a graph, if one of the agents runs that graph.
    pub(crate) fn response(&self, graph: &str, state: &Value) -> String {
        let agent = self.agents.iter().find(|agent| agent.graph() == graph);
        agent.map(|agent| agent.response(state)).unwrap_or_default()
    }
}

/// What a server is made of.
#[must_use = "a builder does nothing until `bind`"]
pub struct ServerBuilder {
    runtime: Runtime,
    agents: Vec<Box<dyn TaskAgent>>,
    chat: Option<Chat>,
    assistant: Option<Assistant>,
    passing: Option<Runtime>,
    auth: Auth,
    tls: Option<Tls>,
    webhooks: Option<Webhooks>,
    options: ServerOptions,
    secret: Option<Secret>,
    extra: Vec<Route>,
    only_own: bool,
}

impl ServerBuilder {
    /// Adds an agent, whose graph the runtime must know. The first one that is added runs what names none.
    pub fn agent(mut self, agent: impl TaskAgent) -> Self {
        self.agents.push(Box::new(agent));
        self
    }

    /// The model behind `/api/chat/stream`, also a model of `/v1`. Default: none; the path answers 503.
    pub fn chat(mut self, chat: Chat) -> Self {
        self.chat = Some(chat);
        self
    }

    /// The agent behind `/api/v1/chat`, also a model of `/v1` and the last of the agents. Default: none; the path
    /// answers 503.
    pub fn assistant(mut self, assistant: Assistant) -> Self {
        self.assistant = Some(assistant);
        self
    }

    /// Where agents run that are talked to at `/v1`, where the caller keeps the conversation: a runtime without a store that
    /// knows the same graphs, models and things. Default: the server's own, with sessions that are removed afterwards.
    pub fn passing(mut self, runtime: Runtime) -> Self {
        self.passing = Some(runtime);
        self
    }

    /// Adds a path of your own: `/reports/{id}`, say. Its handler gets the request with the whole body, within the
    /// server's limits, and what stood in the path as [`PathParts`](crate::own::PathParts); a panic in it is a 500
    /// that harms nobody else. What callers must show is asked of them here too: who calls is among the request's
    /// extensions as a [`Subject`](crate::auth::Subject).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_server::{Server, own::{Body, PathParts}};
    /// use hyper::{Method, Response};
    ///
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// builder.route(Method::GET, "/reports/{id}", async |request| {
    ///     Response::new(Body::from(format!("report {}", PathParts::of(&request).get("id"))))
    /// })
    /// # }
    /// ```
    pub fn route<F, R>(self, method: Method, path: impl Into<String>, handle: F) -> Self
    where
        F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        self.own_path(method, path.into(), Access::Known, requests(handle))
    }

    /// Adds a WebSocket of your own. The socket is closed when `serve` is ready; it ends when the server ends.
    pub fn socket<F, R>(self, path: impl Into<String>, serve: F) -> Self
    where
        F: Fn(Request<()>, Socket) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.own_path(Method::GET, path.into(), Access::Socket, sockets(serve))
    }

    fn own_path(mut self, method: Method, path: String, access: Access, handler: Handler) -> Self {
        self.extra.push(Route { method, path, access, contract: Contract::TaskAgent, handler });
        self
    }

    /// Leaves out the server's paths: only those of your own are there. It then needs no agent.
    pub const fn only_own_paths(mut self) -> Self {
        self.only_own = true;
        self
    }

    /// Says who may use it. Default: [callers on this machine](Auth::local).
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Sets the secret from which ids of sessions are derived where a caller names none: those of requests with an
    /// `Idempotency-Key`, and of webhooks. It must be the same for all processes on one store, and after a restart. Default:
    /// where callers show keys, one that this process makes up (a key then counts for its lifetime); else a fixed one.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// builder.secret("thirty-two random bytes in any writing")
    /// # }
    /// ```
    pub fn secret(mut self, secret: impl Into<Secret>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Speaks HTTPS, and nothing else.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Tells addresses that requests name when their run has ended.
    pub fn webhooks(mut self, webhooks: Webhooks) -> Self {
        self.webhooks = Some(webhooks);
        self
    }

    /// Changes the bounds.
    pub fn options(mut self, set: impl FnOnce(&mut ServerOptions)) -> Self {
        set(&mut self.options);
        self
    }

    /// Takes an address; port 0 takes any free one. Connections wait until [`Server::serve`].
    ///
    /// # Errors
    ///
    /// The machine's own: the address is in use, or not allowed. `InvalidInput` when a path of your own is taken or is
    /// no path, when there is no agent, or two of one name.
    pub async fn bind(self, address: impl ToSocketAddrs) -> io::Result<Server> {
        let wrong = |told: String| io::Error::new(io::ErrorKind::InvalidInput, told);
        let mut agents = self.agents;
        if let Some(assistant) = &self.assistant {
            self.runtime.register(assistant.agent());
            agents.push(Box::new(assistant.clone()));
        }
        let mut names: Vec<&str> = agents.iter().map(|agent| agent.graph()).collect();
        names.extend(self.chat.as_ref().map(Chat::id));
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(wrong(format!("two agents are named `{}`", twice.1)));
        }
        let mut routes = match (self.only_own, names.is_empty()) {
            (true, _) => Routes::default(),
            (false, true) => return Err(wrong("a server needs an agent; add one with `agent`".to_owned())),
            (false, false) => routes().map_err(wrong)?,
        };
        for route in self.extra {
            routes.add(route).map_err(wrong)?;
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let metrics = Arc::new(Metrics::default());
        let derived = match &self.secret {
            Some(secret) => Derived::new(secret),
            None if self.auth.knows_subjects() => Derived::random(),
            // Callers are not told apart: there is nobody to protect them from.
            None => Derived::new(&Secret::new("agent-server")),
        };
        let watcher = Arc::new(Watcher::new(derived.clone()));
        let (follower, ends) = Follower::new(Arc::clone(&metrics), Arc::clone(&watcher));
        let here = Here::default();
        if self.webhooks.is_some() {
            let graph = webhook::graph(Arc::clone(&here)).map_err(|error| wrong(error.to_string()))?;
            self.runtime.register(&graph);
        }
        if !self.runtime.observe(follower as Arc<dyn Observer>) {
            tracing::warn!(
                "the runtime is observed by somebody else; its runs are not in this server's metrics"
            );
        }
        let inner = Arc::new(Inner {
            passing: self.passing.unwrap_or_else(|| self.runtime.clone()),
            runtime: self.runtime,
            agents,
            chat: self.chat,
            assistant: self.assistant,
            since: WallClock.now_ms() / 1_000,
            auth: self.auth,
            limits: Limits::new(&self.options),
            metrics,
            heavy: Semaphore::new(available_parallelism().map_or(2, usize::from)),
            input: Budget::new(self.options.input_bytes),
            readiness: Readiness::default(),
            derived,
            places: Arc::new(Semaphore::new(self.options.connections)),
            ending: CancellationToken::new(),
            tls: self.tls,
            webhooks: self.webhooks,
            watcher,
            options: self.options,
            routes,
            sockets: TaskTracker::new(),
            fanouts: Arc::default(),
            leaving: CancellationToken::new(),
        });
        if here.set(Arc::downgrade(&inner)).is_err() {
            unreachable!("nobody else has it");
        }
        Ok(Server { listener, address, inner, ends })
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A server with an address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    inner: Arc<Inner>,
    ends: mpsc::Receiver<End>,
}

impl Server {
    /// Begins a server on a runtime.
    pub fn builder(runtime: Runtime) -> ServerBuilder {
        ServerBuilder {
            runtime,
            agents: Vec::new(),
            chat: None,
            assistant: None,
            passing: None,
            auth: Auth::default(),
            tls: None,
            webhooks: None,
            options: ServerOptions::default(),
            secret: None,
            extra: Vec::new(),
            only_own: false,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes up what a process that ended left behind, now and then again, and serves until `end` is ready; then takes no more connections, lets runs reach their next superstep (they go on
    /// at the next start), lets responses leave, and says goodbye to sockets.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops accepting; what is under way goes on in its own tasks.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let Self { listener, inner, mut ends, .. } = self;
        let (connections, closing) = (TaskTracker::new(), inner.ending.clone());
        let accepting = accept::accept(listener, Arc::clone(&inner), &connections, &closing);
        tokio::select! {
            () = accepting => {}
            () = sweep(&inner) => {}
            // Over when another server observes the runtime; this one serves on.
            () = follow::serve(&inner.runtime, &inner.metrics, &inner.watcher, &mut ends).then(|()| future::pending()) => {}
            () = end => {}
        }
        closing.cancel();
        let (grace, begun) = (inner.options.grace, Instant::now());
        // Runs first; what they came to must still get out.
        inner.runtime.shutdown(grace.mul_f64(0.8)).await;
        inner.leaving.cancel();
        connections.close();
        inner.sockets.close();
        let gone = async {
            connections.wait().await;
            inner.sockets.wait().await;
        };
        if tokio::time::timeout(grace.saturating_sub(begun.elapsed()), gone).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

/// Takes up sessions whose process has died: at once, and again for those whose lease had not expired yet.
async fn sweep(inner: &Inner) {
    let runtime = &inner.runtime;
    let mut ticks = tokio::time::interval(inner.options.sweep);
    let mut first = true;
    loop {
        ticks.tick().await;
        let found = if first { runtime.recover().await } else { runtime.sweep().await };
        match found {
            Ok(found) => {
                if first || !found.resumed.is_empty() {
                    tracing::info!(
                        resumed = found.resumed.len(),
                        waiting = found.paused.len(),
                        "sessions taken up"
                    );
                }
                if inner.webhooks.is_some()
                    && let Err(error) = inner.watcher.look(runtime).await
                {
                    tracing::error!(%error, "deliveries could not be looked for");
                }
                for (session, error) in &found.failed {
                    tracing::error!(%session, %error, "a run has failed: it ended one process after another");
                }
                for (session, error) in found.skipped.iter().filter(|_| first) {
                    tracing::warn!(%session, %error, "a session was left as it is");
                }
                first = false;
            }
            Err(error) => tracing::error!(%error, "sessions could not be taken up"),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
