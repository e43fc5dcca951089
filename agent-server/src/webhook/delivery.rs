//! Graph of a delivery: waits until the run has ended, and sends the notification.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use agent_core::{
    Context, END, Graph, NodeError, Question, Result, RunStatus, Runtime, START, Session, State,
    clock::{Clock, WallClock},
    graph::{BuildError, NodeExt},
    ids::{RunId, Seq, SessionId},
    retry::RetryPolicy,
    session::SessionStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    GRAPH,
    client::{Outcome, WebhookClient},
};
use crate::{fail_points, metrics::Metrics};

/// Key of the question that is answered when the run has ended.
const ENDED: &str = "ended";

/// A delivery, and its result.
#[derive(State, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) url: String,
    pub(crate) session: String,
    /// The run; 0 while it is not known.
    pub(crate) run: u64,
    /// Name of the request that starts the run; absent in deliveries of earlier versions, which know the run from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    /// Status of the successful response.
    pub(crate) taken: Option<u16>,
    /// The entry that ended the run; absent if a later run had begun before the end was noticed.
    #[serde(default)]
    pub(crate) seq: Option<u64>,
}

/// Access of deliveries to the runs of the server.
pub(crate) trait DeliveryHost: Send + Sync {
    /// Returns the runtime of the runs.
    fn runtime(&self) -> &Runtime;

    /// Returns the answer in a state of a graph.
    fn response(&self, graph: &str, state: &Value) -> String;
}

/// Builds the graph.
///
/// # Errors
///
/// None: the graph is constant.
pub(crate) fn graph(
    client: WebhookClient,
    metrics: Arc<Metrics>,
    host: Weak<dyn DeliveryHost>,
) -> Result<Graph<Delivery>, BuildError> {
    // Ten attempts within about four hours.
    let mut retry = RetryPolicy::attempts(10).first_wait(Duration::from_secs(2));
    retry.factor = 4.0;
    retry.longest_wait = Duration::from_secs(3_600);
    let notify = async move |delivery: &Delivery, cx: &Context| {
        let host = host.upgrade().ok_or_else(|| NodeError::transient("the server is shutting down"))?;
        send(&client, &metrics, &*host, delivery, cx.session()).await
    };
    Graph::<Delivery>::builder(GRAPH)
        .node("wait", wait)
        .node("tell", notify.retry(retry))
        .edge(START, "wait")
        .edge("wait", "tell")
        .edge("tell", END)
        // A delivery does not end the process; it is at work when a run does.
        .max_takeovers(u32::MAX)
        .build()
}

async fn wait(_: &Delivery, cx: &Context) -> Result<DeliveryUpdate> {
    // The journals of pending deliveries contain this text, so it must not change.
    let question = Question::new("Has the run ended? The server answers this by itself.").key(ENDED);
    let answer: Value = cx.ask(question).await?;
    let mut update = Delivery::update();
    if let Some(run) = answer["run"].as_u64() {
        update = update.run(run);
    }
    if let Some(seq) = answer["seq"].as_u64() {
        update = update.seq(seq);
    }
    Ok(update)
}

async fn send(
    client: &WebhookClient,
    metrics: &Metrics,
    host: &dyn DeliveryHost,
    delivery: &Delivery,
    id: &SessionId,
) -> Result<DeliveryUpdate> {
    let now = WallClock.now_ms();
    let body = payload(host, delivery, now).await.to_string();
    fail_points::reach("webhook.send.before");
    let outcome = client.send(&delivery.url, id.as_str(), now / 1_000, body).await;
    fail_points::reach("webhook.send.after");
    metrics.webhook(matches!(outcome, Outcome::Delivered(_)));
    match outcome {
        Outcome::Delivered(status) => Ok(Delivery::update().taken(status)),
        Outcome::Retry(reason) => {
            tracing::info!(
                session = delivery.session,
                run = delivery.run,
                reason,
                "a webhook will be retried"
            );
            Err(NodeError::transient(reason))
        }
        Outcome::Failed(reason) => {
            tracing::warn!(session = delivery.session, run = delivery.run, reason, "a webhook has failed");
            Err(NodeError::permanent(reason))
        }
    }
}

/// The session as the run left it.
struct RunEnd {
    status: SessionStatus,
    /// The state of a completed run.
    state: Option<Value>,
}

impl RunEnd {
    /// Reads the end of the run of a delivery: the same in each try, also when a later run has begun.
    async fn read(session: &Session, delivery: &Delivery) -> Option<Self> {
        let ended = |status: &SessionStatus| status.run == RunId(delivery.run);
        if let Some(seq) = delivery.seq
            && let Ok(view) = session.checkpoint(Seq(seq)).await
        {
            return ended(&view.status).then_some(Self { status: view.status, state: Some(view.state) });
        }
        // The entry is not known, or no longer in the journal.
        let status = session.status().await.ok().filter(ended)?;
        let state = match status.status {
            RunStatus::Completed => session.state_json().await.ok(),
            _ => None,
        };
        Some(Self { status, state })
    }
}

/// Returns the notification: how the run ended, and its result.
async fn payload(host: &dyn DeliveryHost, delivery: &Delivery, now: i64) -> Value {
    let mut data = json!({"session_id": delivery.session, "run": delivery.run});
    let mut kind = "run.ended";
    if let Ok(session) = host.runtime().session(&delivery.session)
        && let Some(RunEnd { status, state }) = RunEnd::read(&session, delivery).await
    {
        kind = match status.status {
            RunStatus::Completed => "run.completed",
            RunStatus::Failed => "run.failed",
            RunStatus::Stopped => "run.stopped",
            _ => kind,
        };
        data["status"] = json!(status.status);
        data["execution_time"] = json!(status.active_ms as f64 / 1_000.0);
        if let Some(failure) = &status.failure {
            data["error"] = json!({"code": failure.code, "message": failure.message});
        }
        if status.status == RunStatus::Completed
            && let Some(state) = state
        {
            data["response"] = json!(host.response(&status.graph, &state));
        }
    }
    let timestamp = jiff::Timestamp::from_millisecond(now).map(|at| at.to_string()).unwrap_or_default();
    json!({"type": kind, "timestamp": timestamp, "data": data})
}
