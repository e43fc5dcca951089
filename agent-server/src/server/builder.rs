//! Builder of a server: its agents, models, access and limits.

use std::{fmt, future::Future, io, sync::Arc, thread::available_parallelism};

use agent_core::{
    Runtime,
    clock::{Clock, WallClock},
    schedule::Schedules,
    secret::Secret,
};
use bytes::Bytes;
use hyper::{Method, Request, Response};
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Server;
use crate::{
    Assistant, Auth, Chat, ServerOptions, TaskAgent, Tls, Webhooks,
    app::{AppState, Handler},
    custom_routes::{Body, Socket, SocketRoute, http_handler},
    derived::Derived,
    error::Contract,
    handler::routes,
    http::{
        budget::Budget,
        router::{AuthPolicy, Route, Router},
    },
    journal_observer::JournalObserver,
    limits::CallerLimits,
    metrics::{CustomMetric, Metrics, check_custom},
    readiness::Readiness,
    webhook::{self, DeliveryRegistry},
};

/// Builder of a [`Server`].
///
/// # Examples
///
/// ```no_run
/// use agent_core::Runtime;
/// use agent_server::{Auth, Server, TaskAgent};
///
/// # async fn serve(agent: impl TaskAgent) -> std::io::Result<()> {
/// let builder = Server::builder(Runtime::builder().build()).agent(agent).auth(Auth::off());
/// let server = builder.bind("127.0.0.1:8000").await?;
/// server.serve(std::future::pending()).await;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `bind`"]
pub struct ServerBuilder {
    runtime: Runtime,
    agents: Vec<Arc<dyn TaskAgent>>,
    chat: Option<Chat>,
    assistant: Option<Assistant>,
    ephemeral_runtime: Option<Runtime>,
    auth: Auth,
    tls: Option<Tls>,
    webhooks: Option<Webhooks>,
    options: ServerOptions,
    secret: Option<Secret>,
    custom_routes: Vec<Route<AppState>>,
    custom_metrics: Vec<CustomMetric>,
    without_builtin_routes: bool,
    #[cfg(feature = "mcp")]
    mcp_tools: Option<agent_core::tool::ToolRegistry>,
}

impl ServerBuilder {
    pub(super) fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            agents: Vec::new(),
            chat: None,
            assistant: None,
            ephemeral_runtime: None,
            auth: Auth::default(),
            tls: None,
            webhooks: None,
            options: ServerOptions::default(),
            secret: None,
            custom_routes: Vec::new(),
            custom_metrics: Vec::new(),
            without_builtin_routes: false,
            #[cfg(feature = "mcp")]
            mcp_tools: None,
        }
    }

    /// Adds an agent. Its graph must be registered with the runtime. The first agent is the default of requests that
    /// name none.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, summary: impl agent_server::TaskAgent) -> agent_server::ServerBuilder {
    /// builder.agent(summary)
    /// # }
    /// ```
    pub fn agent(mut self, agent: impl TaskAgent) -> Self {
        self.agents.push(Arc::new(agent));
        self
    }

    /// Adds agents, as [`agent`](Self::agent).
    #[cfg(feature = "cli")]
    pub(crate) fn task_agents(mut self, agents: impl IntoIterator<Item = Arc<dyn TaskAgent>>) -> Self {
        self.agents.extend(agents);
        self
    }

    /// Sets the model of `/api/chat/stream`, which is also a model of `/v1`. Default: none; the path responds with 503.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, model: agent_core::model::Model) -> agent_server::ServerBuilder {
    /// builder.chat(agent_server::Chat::new(model))
    /// # }
    /// ```
    pub fn chat(mut self, chat: Chat) -> Self {
        self.chat = Some(chat);
        self
    }

    /// Sets the agent of `/api/v1/chat`, which is also a model of `/v1` and the last of the task agents. Default: none;
    /// the path responds with 503.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, assistant: agent_server::Assistant) -> agent_server::ServerBuilder {
    /// builder.assistant(assistant)
    /// # }
    /// ```
    pub fn assistant(mut self, assistant: Assistant) -> Self {
        self.assistant = Some(assistant);
        self
    }

    /// Sets the runtime for agents at `/v1`, where the client keeps the conversation: a runtime without a store, with the
    /// same graphs, models and dependencies. Default: the server's runtime, with sessions that are deleted afterwards.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, graph: agent_core::Graph<agent_core::AgentState>) -> agent_server::ServerBuilder {
    /// use agent_core::Runtime;
    ///
    /// builder.ephemeral_runtime(Runtime::builder().graph(&graph).build())
    /// # }
    /// ```
    pub fn ephemeral_runtime(mut self, runtime: Runtime) -> Self {
        self.ephemeral_runtime = Some(runtime);
        self
    }

    /// Serves these tools, and the agents as tools, to MCP clients at `/mcp`. Default: not served.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// use agent_core::tool::ToolRegistry;
    ///
    /// builder.mcp(ToolRegistry::default()) // only the agents
    /// # }
    /// ```
    #[cfg(feature = "mcp")]
    pub fn mcp(mut self, tools: agent_core::tool::ToolRegistry) -> Self {
        self.mcp_tools = Some(tools);
        self
    }

    /// Adds a custom route, for example `/reports/{id}`.
    ///
    /// The handler gets the request with its whole body, within the limits of the server. The extensions of the request
    /// contain the [`PathParams`](crate::custom_routes::PathParams) and, if callers are authenticated, the
    /// [`Subject`](crate::auth::Subject). A panic of the handler becomes a 500.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_server::{Server, custom_routes::{Body, PathParams}};
    /// use hyper::{Method, Response};
    ///
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// builder.route(Method::GET, "/reports/{id}", async |request| {
    ///     Response::new(Body::from(format!("report {}", PathParams::of(&request).get("id"))))
    /// })
    /// # }
    /// ```
    pub fn route<F, R>(self, method: Method, path: impl Into<String>, handle: F) -> Self
    where
        F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        self.add_custom_route(method, path.into(), AuthPolicy::Authenticated, false, http_handler(handle))
    }

    /// Adds a custom route for everyone, for example a page. Callers are not authenticated, and the extensions of the
    /// request contain no [`Subject`](crate::auth::Subject). Otherwise as [`route`](Self::route).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_server::custom_routes::Body;
    /// use hyper::{Method, Response};
    ///
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// builder.public_route(Method::GET, "/about", async |_| Response::new(Body::from("a server of agents")))
    /// # }
    /// ```
    pub fn public_route<F, R>(self, method: Method, path: impl Into<String>, handle: F) -> Self
    where
        F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        self.add_custom_route(method, path.into(), AuthPolicy::Public, false, http_handler(handle))
    }

    /// Adds a custom WebSocket. It is closed when the future of `serve` resolves, and on shutdown.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// builder.socket("/echo", async |_, mut socket| {
    ///     use agent_server::custom_routes::SocketMessage;
    ///
    ///     while let Some(message) = socket.next().await {
    ///         let SocketMessage::Text(text) = message else { continue };
    ///         if socket.send(text).await.is_err() {
    ///             return;
    ///         }
    ///     }
    /// })
    /// # }
    /// ```
    pub fn socket<F, R>(self, path: impl Into<String>, serve: F) -> Self
    where
        F: Fn(Request<()>, Socket) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.socket_route(SocketRoute::new(path, serve))
    }

    /// Adds a custom WebSocket with settings, for example a check before the handshake.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_server::custom_routes::SocketRoute;
    ///
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// let route = SocketRoute::new("/clock", async |_, mut socket| {
    ///     socket.send("12:00").await.ok();
    /// });
    /// builder.socket_route(route.query_token())
    /// # }
    /// ```
    pub fn socket_route(self, mut route: SocketRoute) -> Self {
        let (path, query_token) = (std::mem::take(&mut route.path), route.query_token);
        let auth = AuthPolicy::AuthenticatedSameOrigin;
        self.add_custom_route(Method::GET, path, auth, query_token, route.into_handler())
    }

    fn add_custom_route(
        mut self,
        method: Method,
        path: String,
        auth: AuthPolicy,
        query_token: bool,
        handler: Handler,
    ) -> Self {
        let contract = Contract::TaskAgent;
        self.custom_routes.push(Route {
            method,
            path,
            auth,
            query_token,
            contract,
            query: |_, _| &[],
            handler,
        });
        self
    }

    /// Adds a gauge of the program to `/metrics`: a value that goes up and down. `read` is called for each request of the
    /// page and must not block.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// builder.gauge("rooms_open", "Open rooms.", || 3.0)
    /// # }
    /// ```
    pub fn gauge(
        mut self,
        name: impl Into<String>,
        help: impl Into<String>,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.custom_metrics.push(CustomMetric::new("gauge", name, help, read));
        self
    }

    /// Adds a counter of the program to `/metrics`: a value that only increases while the process runs. Its name should end
    /// in `_total`. Otherwise as [`gauge`](Self::gauge).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    ///
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// let messages = Arc::new(AtomicU64::new(0));
    /// let read = Arc::clone(&messages);
    /// builder.counter("room_messages_total", "Messages of all rooms.", move || read.load(Ordering::Relaxed) as f64)
    /// # }
    /// ```
    pub fn counter(
        mut self,
        name: impl Into<String>,
        help: impl Into<String>,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.custom_metrics.push(CustomMetric::new("counter", name, help, read));
        self
    }

    /// Serves only custom routes. The server then needs no agent.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, ) -> agent_server::ServerBuilder {
    /// use agent_server::custom_routes::Body;
    /// use hyper::{Method, Response};
    ///
    /// builder
    ///     .without_builtin_routes()
    ///     .route(Method::GET, "/", async |_| Response::new(Body::from("the only route")))
    /// # }
    /// ```
    pub const fn without_builtin_routes(mut self) -> Self {
        self.without_builtin_routes = true;
        self
    }

    /// Sets who may use the server. Default: [callers on this machine](Auth::local).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, ) -> agent_server::ServerBuilder {
    /// use agent_core::secret::Secret;
    /// use agent_server::{Auth, auth::Jwt};
    ///
    /// let tokens = Jwt::hs256(&Secret::new("thirty-two random bytes, at least"));
    /// builder.auth(Auth::required().tokens(tokens))
    /// # }
    /// ```
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Sets the secret from which the server derives ids of sessions that a request does not name: of requests with an
    /// `Idempotency-Key`, and of webhook deliveries. All processes on one store must use the same secret.
    ///
    /// Default: if callers are authenticated, a random secret, with which keys are valid until the process exits;
    /// otherwise a fixed one.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
    /// builder.secret("thirty-two random bytes in any encoding")
    /// # }
    /// ```
    pub fn secret(mut self, secret: impl Into<Secret>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Serves HTTPS instead of HTTP.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, tls: agent_server::Tls) -> agent_server::ServerBuilder {
    /// builder.tls(tls)
    /// # }
    /// ```
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Enables webhooks: requests may name a URL that is notified of the end of their run.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, webhooks: agent_server::Webhooks) -> agent_server::ServerBuilder {
    /// builder.webhooks(webhooks)
    /// # }
    /// ```
    pub fn webhooks(mut self, webhooks: Webhooks) -> Self {
        self.webhooks = Some(webhooks);
        self
    }

    /// Changes the limits and timeouts.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder, ) -> agent_server::ServerBuilder {
    /// builder.options(|options| options.requests_per_minute = 120)
    /// # }
    /// ```
    pub fn options(mut self, set: impl FnOnce(&mut ServerOptions)) -> Self {
        set(&mut self.options);
        self
    }

    /// Binds an address; port 0 selects a free port. Connections are accepted by [`Server::serve`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(builder: agent_server::ServerBuilder) -> std::io::Result<()> {
    /// let server = builder.bind("127.0.0.1:0").await?;
    /// println!("http://{}", server.address());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The address cannot be bound. `InvalidInput` if a custom route or metric is invalid or duplicates another one, if there
    /// is no agent, or if two agents have the same name.
    pub async fn bind(self, address: impl ToSocketAddrs) -> io::Result<Server> {
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
        let mut agents = self.agents;
        if let Some(assistant) = &self.assistant {
            self.runtime.register(assistant.agent());
            agents.push(Arc::new(assistant.clone()));
        }
        let mut names: Vec<&str> = agents.iter().map(|agent| agent.graph()).collect();
        names.extend(self.chat.as_ref().map(Chat::id));
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(invalid(format!("two agents are named `{}`", twice.1)));
        }
        let mut router = match (self.without_builtin_routes, names.is_empty()) {
            (true, _) => Router::default(),
            (false, true) => {
                return Err(invalid("the server has no agent; add one with `agent`".to_owned()));
            }
            (false, false) => routes().map_err(invalid)?,
        };
        for route in self.custom_routes {
            router.add(route).map_err(invalid)?;
        }
        check_custom(&self.custom_metrics).map_err(invalid)?;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let metrics = Arc::new(Metrics::default());
        let derived = match &self.secret {
            Some(secret) => Derived::new(secret),
            None if self.auth.knows_subjects() => Derived::random(),
            // Callers are anonymous, so ids need not be unpredictable.
            None => Derived::new(&Secret::new("agent-server")),
        };
        let deliveries = Arc::new(DeliveryRegistry::new(derived.clone()));
        let (observer, ended_runs) = JournalObserver::new(Arc::clone(&metrics), Arc::clone(&deliveries));
        self.runtime.observe(observer);
        let tasks = TaskTracker::new();
        let ephemeral_runtime = match self.ephemeral_runtime {
            Some(runtime) => {
                runtime.observe(JournalObserver::without_deliveries(Arc::clone(&metrics)));
                if let Some(assistant) = &self.assistant {
                    runtime.register(assistant.agent());
                }
                runtime
            }
            None => self.runtime.clone(),
        };
        #[cfg(feature = "mcp")]
        let mcp = match &self.mcp_tools {
            Some(tools) => {
                let server = crate::mcp::server(tools, &agents, &ephemeral_runtime, &tasks);
                let server = server.map_err(|error| invalid(error.to_string()))?;
                Some(crate::mcp::service(server, self.options.body_bytes))
            }
            None => None,
        };
        let limits = CallerLimits::new(&self.options, &self.runtime, webhook::GRAPH);
        let app = Arc::new(AppState {
            #[cfg(feature = "mcp")]
            mcp,
            ephemeral_runtime,
            schedules: Schedules::new(&self.runtime),
            runtime: self.runtime,
            agents,
            chat: self.chat.map(|chat| chat.metered(&metrics)),
            assistant: self.assistant,
            started_at: WallClock.now_ms() / 1_000,
            auth: self.auth,
            limits,
            metrics,
            custom_metrics: self.custom_metrics,
            heavy_permits: Semaphore::new(available_parallelism().map_or(2, usize::from)),
            input: Budget::new(self.options.input_bytes),
            readiness: Readiness::default(),
            derived,
            connection_permits: Arc::new(Semaphore::new(self.options.connections)),
            shutdown: CancellationToken::new(),
            tls: self.tls,
            webhooks: self.webhooks,
            deliveries,
            options: self.options,
            router,
            tasks,
            fanouts: Arc::default(),
            close_sockets: CancellationToken::new(),
        });
        if let Some(webhooks) = &app.webhooks {
            // Weak, because the runtime that the server owns keeps the graph.
            let host = Arc::downgrade(&app) as std::sync::Weak<dyn webhook::DeliveryHost>;
            let graph = webhook::graph(webhooks.client.clone(), Arc::clone(&app.metrics), host);
            app.runtime.register(&graph.map_err(|error| invalid(error.to_string()))?);
        }
        Ok(Server { listener, address, app, ended_runs })
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}
