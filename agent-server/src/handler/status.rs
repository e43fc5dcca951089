//! `GET /status/{session_id}` and `GET /sessions/{session_id}`: the status of a session, its state and usage.

use agent_core::session::StateView;
use serde_json::json;

use super::{session_data, status_message};
use crate::{
    api::task_agent::response,
    app::RequestContext,
    error::map_session_error,
    http::response::{HandlerResult, ok},
    session_title::TITLE,
};

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    // Read once, so that all fields are consistent.
    let status = session.status().await.map_err(map_session_error(session.id()))?;
    // If the state cannot be read, for example because its graph is not registered, the rest is still returned.
    let StateView { state, active_tasks, .. } = session.state_and_active_tasks().await.unwrap_or_default();
    let mut data = session_data(&context.app, &status, &state);
    data["agent"] = json!(status.graph);
    data["title"] = json!(status.labels.get(TITLE));
    data["running"] = json!(if status.status.is_busy() { active_tasks } else { Vec::new() });
    data["usage"] = json!({
        "model_calls": status.used.model_calls,
        "tool_calls": status.used.tool_calls,
        "input_tokens": status.used.input_tokens,
        "output_tokens": status.used.output_tokens,
        "cost_micros": status.used.cost_micros,
    });
    data["state"] = state;
    if let Ok(head) = session.head().await {
        data["sizes"] = json!({
            "entries": head.last.0.saturating_sub(head.first.0.saturating_sub(1)),
            "journal_bytes": head.journal_bytes,
            "snapshot_bytes": head.snapshot_bytes,
        });
    }
    Ok(ok(&response(session.id(), status.status.as_str(), &status_message(&status), Some(data))))
}
