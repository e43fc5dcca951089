//! Application state: what request handlers share. Knows no route.

use std::sync::Arc;

use agent_core::{Runtime, schedule::Schedules};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Assistant, Auth, Chat, ServerOptions, TaskAgent, Tls, Webhooks,
    derived::Derived,
    error::{ApiError, Rejection},
    fanout::Fanouts,
    http::{
        budget::{Budget, InputBudget},
        router::Router,
    },
    limits::CallerLimits,
    metrics::{CustomMetric, Metrics},
    readiness::Readiness,
    webhook::{DeliveryHost, DeliveryRegistry},
};

/// A request on its way to a handler.
pub(crate) type RequestContext = crate::http::request::RequestContext<AppState>;
/// A handler of requests.
pub(crate) type Handler = crate::http::router::Handler<AppState>;

/// State shared by the request handlers.
pub(crate) struct AppState {
    pub(crate) runtime: Runtime,
    pub(crate) schedules: Schedules,
    /// The task agents. The first one is the default.
    pub(crate) agents: Vec<Arc<dyn TaskAgent>>,
    /// The plain model, if there is one.
    pub(crate) chat: Option<Chat>,
    /// The agent with tools, if there is one. It is also one of `agents`.
    pub(crate) assistant: Option<Assistant>,
    /// MCP service of the tools and agents.
    #[cfg(feature = "mcp")]
    pub(crate) mcp: Option<agent_tools::mcp::HttpService>,
    /// Runtime of conversations that last for one request.
    pub(crate) ephemeral_runtime: Runtime,
    /// Start of the server, in seconds since 1970.
    pub(crate) started_at: i64,
    pub(crate) auth: Auth,
    pub(crate) limits: CallerLimits,
    pub(crate) tls: Option<Tls>,
    pub(crate) webhooks: Option<Webhooks>,
    pub(crate) deliveries: Arc<DeliveryRegistry>,
    pub(crate) options: ServerOptions,
    pub(crate) router: Router<AppState>,
    /// Tasks of WebSockets, which outlive their HTTP connection, and of permits.
    pub(crate) tasks: TaskTracker,
    /// Messages shared by the subscribers of a session.
    pub(crate) fanouts: Arc<Fanouts>,
    pub(crate) metrics: Arc<Metrics>,
    /// Metrics of the embedding program.
    pub(crate) custom_metrics: Vec<CustomMetric>,
    /// Permits for expensive requests, one per processor.
    pub(crate) heavy_permits: Semaphore,
    /// Memory for the input of all callers.
    pub(crate) input: Budget,
    pub(crate) readiness: Readiness,
    /// Derives ids from request data.
    pub(crate) derived: Derived,
    pub(crate) connection_permits: Arc<Semaphore>,
    /// Cancelled when the server stops accepting connections.
    pub(crate) shutdown: CancellationToken,
    /// Cancelled when WebSockets and streams must be closed.
    pub(crate) close_sockets: CancellationToken,
}

impl AppState {
    /// Returns the number of open connections.
    pub(crate) fn connections(&self) -> usize {
        self.options.connections.saturating_sub(self.connection_permits.available_permits())
    }

    /// Returns the agent with this name, or the default agent.
    ///
    /// # Errors
    ///
    /// 400 if no agent has the name, 503 if the server has no agent.
    pub(crate) fn agent(&self, name: Option<&str>) -> Result<&dyn TaskAgent, ApiError> {
        let found = match name {
            Some(name) => self.agents.iter().find(|agent| agent.graph() == name),
            None => self.agents.first(),
        };
        found.map(|agent| &**agent).ok_or_else(|| {
            if self.agents.is_empty() {
                return ApiError::new(
                    Rejection::NoAgent,
                    "this server has no task agent; its program can add one",
                );
            }
            let known: Vec<&str> = self.agents.iter().map(|agent| agent.graph()).collect();
            let message = format!("unknown agent; known agents: {}", known.join(", "));
            ApiError::new(Rejection::UnknownAgent, message)
        })
    }

    /// Returns the answer in a state of a graph, or an empty text if no agent runs the graph.
    pub(crate) fn response(&self, graph: &str, state: &Value) -> String {
        let agent = self.agents.iter().find(|agent| agent.graph() == graph);
        agent.map(|agent| agent.response(state)).unwrap_or_default()
    }
}

impl InputBudget for AppState {
    fn input_budget(&self) -> &Budget {
        &self.input
    }
}

impl DeliveryHost for AppState {
    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn response(&self, graph: &str, state: &Value) -> String {
        self.response(graph, state)
    }
}
