//! `GET /status/{session_id}`: where the run stands, what it knows, what it used up.

use agent_core::session::StateView;
use serde_json::json;

use super::{refused, standing_of, words};
use crate::{
    http::{
        call::Call,
        reply::{Reply, ok},
    },
    title::TITLE,
    wire::task_agent::response,
};

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session().await?;
    // Read once, so that all of it is of one moment.
    let status = session.status().await.map_err(refused(session.id()))?;
    // A state that this process cannot read (its graph is gone) is no reason to keep the rest back.
    let StateView { state, active_tasks, .. } = session.state_and_active_tasks().await.unwrap_or_default();
    let mut data = standing_of(&call.inner, &status, &state);
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
    Ok(ok(&response(session.id(), status.status.as_str(), &words(&status), Some(data))))
}
