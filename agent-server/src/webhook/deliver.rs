//! The graph of a delivery: wait until the run has ended, tell it.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use agent_core::{
    Context, END, Graph, NodeError, Question, Result, RunStatus, START, State,
    clock::{Clock, WallClock},
    graph::BuildError,
    ids::{RunId, SessionId},
    retry::RetryPolicy,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{GRAPH, post::Taken};
use crate::server::Inner;

/// The question that waits for the run.
pub(super) const ENDED: &str = "ended";

/// What is delivered, and what came of it.
#[derive(State, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) url: String,
    pub(crate) session: String,
    pub(crate) run: u64,
    /// The status with which it was taken.
    pub(crate) taken: Option<u16>,
}

/// The server, once there is one.
pub(crate) type Here = Arc<OnceLock<Weak<Inner>>>;

/// # Errors
///
/// None that can happen: the graph is always the same.
pub(crate) fn graph(here: Here) -> Result<Graph<Delivery>, BuildError> {
    // Ten tries over about four hours.
    let mut retry = RetryPolicy::attempts(10).first_wait(Duration::from_secs(2));
    retry.factor = 4.0;
    retry.longest_wait = Duration::from_secs(3_600);
    Graph::<Delivery>::builder(GRAPH)
        .node("wait", wait)
        .node("tell", async move |delivery: &Delivery, cx: &Context| {
            tell(&here, delivery, cx.session()).await
        })
        .retry(retry)
        .edge(START, "wait")
        .edge("wait", "tell")
        .edge("tell", END)
        .build()
}

async fn wait(_: &Delivery, cx: &Context) -> Result<DeliveryUpdate> {
    let _: Value =
        cx.ask(Question::new("Has the run ended? The server answers this by itself.").key(ENDED)).await?;
    Ok(Delivery::update())
}

async fn tell(here: &Here, delivery: &Delivery, own: &SessionId) -> Result<DeliveryUpdate> {
    let ending = || NodeError::transient("the server is ending");
    let inner = here.get().and_then(Weak::upgrade).ok_or_else(ending)?;
    let Some(webhooks) = &inner.webhooks else {
        return Err(NodeError::permanent("this server has no webhooks"));
    };
    let run = RunId(delivery.run);
    let now = WallClock.now_ms();
    let body = told(&inner, delivery, run, now).await.to_string();
    let taken = webhooks.post.send(&delivery.url, own.as_str(), now / 1_000, body).await;
    inner.metrics.webhook(matches!(taken, Taken::Yes(_)));
    match taken {
        Taken::Yes(status) => Ok(Delivery::update().taken(status)),
        Taken::Later(why) => {
            tracing::info!(
                session = delivery.session,
                run = delivery.run,
                why,
                "a webhook was not taken yet"
            );
            Err(NodeError::transient(why))
        }
        Taken::Never(why) => {
            tracing::warn!(session = delivery.session, run = delivery.run, why, "a webhook was given up");
            Err(NodeError::permanent(why))
        }
    }
}

/// What is told: how the run ended, and with what.
async fn told(inner: &Inner, delivery: &Delivery, run: RunId, now: i64) -> Value {
    let mut data = json!({"session_id": delivery.session, "run": delivery.run});
    let mut kind = "run.ended";
    if let Ok(session) = inner.runtime.session(&delivery.session)
        && let Ok(status) = session.status().await
        && status.run == run
    {
        kind = match status.status {
            RunStatus::Completed => "run.completed",
            RunStatus::Failed => "run.failed",
            RunStatus::Stopped => "run.stopped",
            _ => kind,
        };
        data["status"] = json!(status.status);
        data["execution_time"] = json!(crate::wire::task_agent::seconds(status.active_ms));
        if let Some(failure) = &status.failure {
            data["error"] = json!({"code": failure.code, "message": failure.message});
        }
        if status.status == RunStatus::Completed
            && let Ok(state) = session.state_json().await
        {
            data["response"] = json!(inner.response(&status.graph, &state));
        }
    }
    let timestamp = jiff::Timestamp::from_millisecond(now).map(|at| at.to_string()).unwrap_or_default();
    json!({"type": kind, "timestamp": timestamp, "data": data})
}
