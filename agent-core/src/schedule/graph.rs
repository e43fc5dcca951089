//! The graph of a schedule: sleeps until the next time, starts the run, and sleeps again.

use std::{sync::Weak, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Firing, GRAPH, PREFIX, ScheduledRun, Timing};
use crate::{
    State,
    engine::Context,
    graph::{END, Graph, NodeError, NodeExt, Result, START},
    ids::SessionId,
    retry::RetryPolicy,
    session::{RunOptions, Runtime, SessionError, Shared},
};

/// Attempts to start a run. An error that does not pass is recorded, and the schedule continues.
const ATTEMPTS: u32 = 5;
/// Label of a session that a schedule created.
const SCHEDULED_BY: &str = "scheduled_by";

/// State of a schedule. Stored: add fields, never change them.
#[derive(State, Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) timing: Option<Timing>,
    pub(super) run: Option<ScheduledRun>,
    pub(super) next: Option<i64>,
    #[state(add)]
    pub(super) fired: u64,
    pub(super) last: Option<Firing>,
}

pub(super) fn graph(runtime: Weak<Shared>) -> Graph<Plan> {
    let retry = RetryPolicy::attempts(ATTEMPTS).first_wait(Duration::from_secs(1));
    let fire_due = async move |plan: &Plan, cx: &Context| fire(&runtime, plan, cx).await;
    Graph::<Plan>::builder(GRAPH)
        .node("wait", async |plan: &Plan, cx: &Context| cx.sleep_until(plan.next.unwrap_or(0)).await)
        .node("fire", fire_due.retry(retry))
        .path([START, "wait", "fire"])
        .branch("fire", |plan| if plan.next.is_some() { "wait" } else { END }, ["wait", END])
        .max_supersteps(u64::MAX)
        .build()
        .expect("the graph is constant")
}

async fn fire(runtime: &Weak<Shared>, plan: &Plan, cx: &Context) -> Result<PlanUpdate> {
    let (Some(timing), Some(run), Some(due)) = (&plan.timing, &plan.run, plan.next) else {
        return Err(NodeError::permanent("the schedule has no time or no run"));
    };
    let gone = || NodeError::transient("the runtime has ended");
    let runtime = runtime.upgrade().map(Runtime).ok_or_else(gone)?;
    let now = runtime.0.clock.now_ms();
    let firing = start(&runtime, run, due, now, cx).await?;
    // Times that passed since are skipped.
    Ok(Plan::update().fired(1u64).last(Some(firing)).next(timing.next_after(due.max(now))))
}

/// Starts the run of a time. A repeated start finds the run of the first.
async fn start(runtime: &Runtime, run: &ScheduledRun, due: i64, at: i64, cx: &Context) -> Result<Firing> {
    let name = cx.session().as_str().strip_prefix(PREFIX).unwrap_or_default();
    let session = match &run.session {
        Some(session) => session.clone(),
        None => new_session(name, due)?,
    };
    let mut options = RunOptions::default()
        .request(format!("{PREFIX}{name}@{due}"))
        .on_busy(run.on_busy.unwrap_or_default())
        .default_label(SCHEDULED_BY, name);
    for (label, value) in &run.labels {
        options = options.label(label.as_str(), value.as_str());
    }
    if let Some(context) = &run.context {
        options = options.context(context.clone());
    }
    let target = runtime.session_of(session.clone());
    let started = target.run_json(&run.graph, run.update.clone()).options(options).start().await;
    let error = match started {
        Ok(_) | Err(SessionError::SameRequest { .. }) => None,
        Err(error @ SessionError::Busy { .. }) => Some(error),
        Err(error) if error.code().is_retryable() && cx.attempt() < ATTEMPTS => {
            return Err(NodeError::transient(error.to_string()));
        }
        Err(error) => Some(error),
    };
    if let Some(error) = &error {
        tracing::warn!(schedule = name, %session, %error, "a scheduled run was not started");
    }
    let error =
        error.map(|error| format!("{}: {}", error.code(), crate::util::shorten(&error.to_string(), 500)));
    Ok(Firing { due, at, session, error })
}

/// Returns the session of a time: `NAME-20251124T160000Z`.
fn new_session(name: &str, due: i64) -> Result<SessionId> {
    let time = jiff::Timestamp::from_millisecond(due).map_err(NodeError::permanent)?;
    format!("{name}-{}", time.strftime("%Y%m%dT%H%M%SZ")).parse().map_err(NodeError::permanent)
}
