//! `GET /sessions/{session_id}/graph`, `GET /agents/{agent}/graph` and `GET /agents`.

use agent_core::Code;
use hyper::Method;
use serde_json::json;

use crate::{
    api::{
        schema::GraphResponse,
        sessions::{AgentInfo, Agents},
    },
    app::{AppState, RequestContext},
    docs::openapi::RouteDoc,
    error::{ApiError, Rejection, map_session_error},
    http::response::{HandlerResult, ok},
};

pub(super) fn docs() -> [RouteDoc; 3] {
    [
        RouteDoc::new(Method::GET, "/agents", "agents", "agents", "List the agents")
            .response::<Agents>(200, "The first agent is the default."),
        RouteDoc::new(
            Method::GET,
            "/agents/{agent}/graph",
            "agent_graph",
            "agents",
            "Get the graph of an agent",
        )
        .parameter("path", "agent", true, &json!({"type": "string"}), "Name of the agent.")
        .codes(&[Code::GraphNotFound])
        .response::<GraphResponse>(200, "The nodes and edges."),
        RouteDoc::new(
            Method::GET,
            "/sessions/{session_id}/graph",
            "session_graph",
            "sessions",
            "Get the graph of a session's latest run",
        )
        .of_session()
        .codes(&[Code::GraphNotFound])
        .response::<GraphResponse>(200, "The nodes and edges."),
    ]
}

/// Returns the graph of the session's latest run.
pub(in crate::handler) async fn of_session(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let status = session.status().await.map_err(map_session_error(session.id()))?;
    graph(&context.app, &status.graph).map(|graph| ok(&graph))
}

/// Returns the graph of an agent.
pub(in crate::handler) async fn of_agent(context: RequestContext) -> HandlerResult {
    graph(&context.app, context.path_param("agent")).map(|graph| ok(&graph))
}

/// Returns the agents.
pub(in crate::handler) async fn agents(context: RequestContext) -> HandlerResult {
    let agents = context.app.agents.iter();
    let agents = agents.map(|agent| AgentInfo { name: agent.graph().to_owned(), kind: "task" }).collect();
    Ok(ok(&Agents { agents }))
}

fn graph(app: &AppState, name: &str) -> Result<GraphResponse, ApiError> {
    let unknown = || {
        let mut error = ApiError::new(Rejection::NotFound, "this process has no graph with this name");
        error.code = Code::GraphNotFound.name();
        error
    };
    let description = app.runtime.description(name).ok_or_else(unknown)?;
    Ok(GraphResponse { description, mermaid: app.runtime.mermaid(name) })
}
