//! `GET /sessions/{session_id}/graph`, `GET /agents/{agent}/graph` and `GET /agents`.

use agent_core::Code;
use serde_json::{Value, json};

use crate::{
    app::{AppState, RequestContext},
    error::{ApiError, Rejection, map_session_error},
    http::response::{HandlerResult, ok},
};

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
    let agents: Vec<Value> =
        context.app.agents.iter().map(|agent| json!({"name": agent.graph(), "kind": "task"})).collect();
    Ok(ok(&json!({"agents": agents})))
}

fn graph(app: &AppState, name: &str) -> Result<Value, ApiError> {
    let unknown = || {
        let mut error = ApiError::new(Rejection::NotFound, "this process has no graph with this name");
        error.code = Code::GraphNotFound.name();
        error
    };
    let outline = app.runtime.description(name).ok_or_else(unknown)?;
    let mut graph = json!(outline);
    graph["mermaid"] = json!(app.runtime.mermaid(name));
    Ok(graph)
}
