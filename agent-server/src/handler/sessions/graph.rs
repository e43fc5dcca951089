//! `GET /sessions/{session_id}/graph` and `GET /agents/{agent}/graph`: nodes and edges, to draw; and `GET /agents`.

use agent_core::Code;
use serde_json::{Value, json};

use crate::{
    error::{ApiError, Refusal},
    handler::refused,
    http::{
        call::Call,
        reply::{Reply, ok},
    },
    server::Inner,
};

/// The graph of the session's latest run.
pub(crate) async fn of_session(call: Call) -> Reply {
    let session = call.session().await?;
    let status = session.status().await.map_err(refused(session.id()))?;
    told(&call.inner, &status.graph).map(|graph| ok(&graph))
}

/// The graph of an agent.
pub(crate) async fn of_agent(call: Call) -> Reply {
    told(&call.inner, call.part("agent")).map(|graph| ok(&graph))
}

/// The agents that can be run.
pub(crate) async fn agents(call: Call) -> Reply {
    let agents: Vec<Value> =
        call.inner.agents.iter().map(|agent| json!({"name": agent.graph(), "kind": "task"})).collect();
    Ok(ok(&json!({"agents": agents})))
}

fn told(inner: &Inner, name: &str) -> Result<Value, ApiError> {
    let unknown = || {
        let mut error = ApiError::new(Refusal::NotFound, "this process knows no graph of that name");
        error.code = Code::GraphNotFound.name();
        error
    };
    let outline = inner.runtime.description(name).ok_or_else(unknown)?;
    let mut graph = json!(outline);
    graph["mermaid"] = json!(inner.runtime.mermaid(name));
    Ok(graph)
}
