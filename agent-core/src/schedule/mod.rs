//! Schedules: runs that start at a time, or again and again by a cron expression.
//!
//! A schedule is a run of the graph [`GRAPH`] in a separate session: it sleeps until the next time, starts the scheduled
//! run, and sleeps again. So it is as durable as any run: it is stored, leaves the memory while it sleeps, is taken over from
//! a process that died, has one writer among all replicas, and is deleted with its session.

mod graph;
mod timing;

pub use timing::{CronExpression, Timing};

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::SessionId,
    journal::{Label, Recent},
    run::RunStatus,
    session::{BusyPolicy, RunOptions, Runtime, Session, SessionError, Shared},
};
use graph::Plan;

/// Name of the graph of schedules.
pub const GRAPH: &str = "schedule";

/// Prefix of the sessions of schedules.
const PREFIX: &str = "schedule-";
/// Maximum length of a name, in bytes. Ids of sessions contain the name and a time.
const NAME_BYTES: usize = 96;

/// Error of a call on [`Schedules`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The name cannot be that of a schedule.
    #[error("`{name}` is not a name of a schedule: 1 to {NAME_BYTES} letters, digits, `.`, `_`, `:` and `-`")]
    Name {
        /// The name, shortened.
        name: String,
    },
    /// The cron expression or its time zone is invalid.
    #[error("the cron expression `{expression}` in the time zone `{zone}` is invalid: {reason}")]
    Expression {
        /// The expression, shortened.
        expression: String,
        /// The time zone, shortened.
        zone: String,
        /// The reason.
        reason: String,
    },
    /// The schedule has no time in the future.
    #[error("the schedule has no time in the future")]
    NeverDue,
    /// A schedule of this name exists.
    #[error("the schedule `{name}` exists already; delete it first")]
    Exists {
        /// The name.
        name: String,
    },
    /// There is no schedule of this name.
    #[error("there is no schedule `{name}`")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The session of the schedule could not be read or written, or the graph to run is not registered.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// The run that a schedule starts.
///
/// # Examples
///
/// ```
/// use agent_core::schedule::ScheduledRun;
/// use serde_json::json;
///
/// let run = ScheduledRun::new("report", json!({ "topic": "sales" })).label("title", "Sales");
/// assert_eq!(run.graph(), "report");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduledRun {
    graph: String,
    update: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_busy: Option<BusyPolicy>,
}

impl ScheduledRun {
    /// Creates a run of a registered graph with an update as JSON, as [`Session::run_json`]. Each run has a new session,
    /// `NAME-TIME`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::schedule::ScheduledRun;
    /// let run = ScheduledRun::new("report", serde_json::json!({ "topic": "sales" }));
    /// # let _ = run;
    /// ```
    #[must_use]
    pub fn new(graph: impl Into<String>, update: Value) -> Self {
        let (labels, session, context, on_busy) = (BTreeMap::new(), None, None, None);
        Self { graph: graph.into(), update, session, labels, context, on_busy }
    }

    /// Runs in this session each time. A time at which the session is busy is skipped, unless
    /// [`on_busy`](Self::on_busy) is set.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::schedule::ScheduledRun;
    /// let run = ScheduledRun::new("chat", serde_json::json!({})).session("ana".parse()?);
    /// # let _ = run;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// Sets what happens if the session is busy. Default: reject, which skips the time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::schedule::ScheduledRun;
    /// use agent_core::BusyPolicy;
    ///
    /// let run = ScheduledRun::new("chat", serde_json::json!({})).on_busy(BusyPolicy::Enqueue);
    /// # let _ = run;
    /// ```
    #[must_use]
    pub const fn on_busy(mut self, policy: BusyPolicy) -> Self {
        self.on_busy = Some(policy);
        self
    }

    /// Adds a label of the sessions that the schedule creates; see [`RunOptions::label`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::schedule::ScheduledRun;
    /// let run = ScheduledRun::new("report", serde_json::json!({})).label("owner", "ana");
    /// # let _ = run;
    /// ```
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Sets the context of the runs; see [`RunOptions::context`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::schedule::ScheduledRun;
    /// let run = ScheduledRun::new("report", serde_json::json!({})).context(serde_json::json!({ "user": "ana" }));
    /// # let _ = run;
    /// ```
    #[must_use]
    pub fn context(mut self, context: Value) -> Self {
        self.context = Some(context);
        self
    }

    /// Returns the name of the graph.
    #[must_use]
    pub fn graph(&self) -> &str {
        &self.graph
    }
}

/// A start of a scheduled run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Firing {
    /// The time at which the run was due, in milliseconds since 1970.
    pub due: i64,
    /// The time at which it was started.
    pub at: i64,
    /// The session of the run.
    pub session: SessionId,
    /// Why the run was not started, for people; `None` if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A schedule.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// Its times.
    pub timing: Timing,
    /// The run that it starts.
    pub run: ScheduledRun,
    /// The next time, in milliseconds since 1970; `None` if there is none.
    pub next: Option<i64>,
    /// How often it has fired.
    pub fired: u64,
    /// The latest start.
    pub last: Option<Firing>,
    /// `Paused` while it waits for its next time. A schedule that was stopped starts nothing until it is resumed.
    pub status: RunStatus,
    /// Labels of the schedule's session.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// The schedules of a runtime.
///
/// Each time of a schedule starts one run, also over restarts and with several processes on one store: the start is repeated
/// after a crash with the same [request name](RunOptions::request), which a session accepts once. Times that passed while no
/// process ran start one run when a process runs again; further missed times are skipped.
///
/// A process must create this before it calls [`Runtime::recover`], which resumes the schedules in the store.
///
/// # Examples
///
/// ```
/// use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
/// use agent_core::schedule::{ScheduledRun, Schedules, Timing};
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Report { topic: String, text: String }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let report = Graph::<Report>::builder("report")
///     .node("write", async |report: &Report, _: &Context| {
///         Ok(Report::update().text(format!("All about {}", report.topic)))
///     })
///     .path([START, "write", END])
///     .build()?;
/// let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&report).build();
/// let schedules = Schedules::new(&runtime);
/// runtime.recover().await?;
///
/// let run = ScheduledRun::new("report", json!({ "topic": "sales" }));
/// let info = schedules.create("sales", Timing::cron("0 9 * * MON", "Asia/Seoul")?, run).await?;
/// assert!(info.next.is_some());
/// assert_eq!(schedules.list(None, 10).await?.len(), 1);
/// schedules.delete("sales").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Schedules {
    /// Not owned: the graph is registered with the runtime.
    runtime: Weak<Shared>,
}

impl Schedules {
    /// Registers the graph of schedules with a runtime.
    #[must_use]
    pub fn new(runtime: &Runtime) -> Self {
        let shared = Arc::downgrade(&runtime.0);
        runtime.register(&graph::graph(Weak::clone(&shared)));
        Self { runtime: shared }
    }

    /// Creates a schedule. It is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Name`]; [`ScheduleError::NeverDue`]; [`ScheduleError::Exists`]; [`ScheduleError::Session`] if the
    /// graph of the run is not registered, the runtime has no journal, or the store fails.
    ///
    /// # Cancel safety
    ///
    /// As the start of a run: nothing happens, or the schedule is created.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::schedule::{ScheduleError, ScheduleInfo, ScheduledRun, Schedules, Timing};
    /// async fn remind(schedules: &Schedules, at: i64) -> Result<ScheduleInfo, ScheduleError> {
    ///     let run = ScheduledRun::new("mail", serde_json::json!({ "text": "Your trial ends" }));
    ///     schedules.create("trial-ana", Timing::at(at), run).await
    /// }
    /// ```
    pub async fn create(
        &self,
        name: &str,
        timing: Timing,
        run: ScheduledRun,
    ) -> Result<ScheduleInfo, ScheduleError> {
        self.create_with(name, timing, run, RunOptions::default()).await
    }

    /// As [`create`](Self::create), with options of the run of the schedule, for example the labels of its session.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{RunOptions, schedule::{ScheduleError, ScheduleInfo, ScheduledRun, Schedules, Timing}};
    /// async fn of_ana(schedules: &Schedules, run: ScheduledRun) -> Result<ScheduleInfo, ScheduleError> {
    ///     let options = RunOptions::default().label("owner", "ana");
    ///     schedules.create_with("daily-ana", Timing::cron("0 9 * * *", "UTC")?, run, options).await
    /// }
    /// ```
    pub async fn create_with(
        &self,
        name: &str,
        timing: Timing,
        run: ScheduledRun,
        options: RunOptions,
    ) -> Result<ScheduleInfo, ScheduleError> {
        let runtime = self.runtime()?;
        let session = session_of(&runtime, name)?;
        if !runtime.has_journal() {
            return Err(SessionError::CannotResume { session: session.id().clone() }.into());
        }
        if !runtime.graphs().contains(&run.graph) {
            return Err(SessionError::GraphNotFound { graph: run.graph }.into());
        }
        let next = timing.next_after(runtime.0.clock.now_ms()).ok_or(ScheduleError::NeverDue)?;
        let exists = || ScheduleError::Exists { name: name.to_owned() };
        match session.status().await {
            Err(SessionError::NotFound { .. }) => {}
            Ok(_) => return Err(exists()),
            Err(error) => return Err(error.into()),
        }
        let plan = Plan { timing: Some(timing), run: Some(run), next: Some(next), ..Plan::default() };
        let graph = graph::graph(Weak::clone(&self.runtime));
        let options = options.request("create").on_busy(BusyPolicy::Reject);
        match session.run(&graph, crate::state::Input::State(plan)).options(options).start().await {
            Ok(mut run) => {
                // Until it sleeps.
                run.wait_status().await;
                self.get(name).await
            }
            // Created by another caller in the meantime.
            Err(SessionError::SameRequest { .. } | SessionError::Busy { .. }) => Err(exists()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a schedule.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotFound`], [`ScheduleError::Session`].
    pub async fn get(&self, name: &str) -> Result<ScheduleInfo, ScheduleError> {
        read(name, &session_of(&self.runtime()?, name)?).await
    }

    /// Returns the session of a schedule, which may not exist. Stopping it suspends the schedule until it is resumed.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Name`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::schedule::{ScheduleError, Schedules};
    /// async fn suspend(schedules: &Schedules) -> Result<(), ScheduleError> {
    ///     schedules.session("daily")?.stop().await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn session(&self, name: &str) -> Result<Session, ScheduleError> {
        session_of(&self.runtime()?, name)
    }

    /// Returns up to `limit` schedules, the most recently changed first, optionally those with a label of their session.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Session`] if the store fails.
    pub async fn list(&self, label: Option<Label>, limit: usize) -> Result<Vec<ScheduleInfo>, ScheduleError> {
        let runtime = self.runtime()?;
        let wanted = Recent { graph: Some(GRAPH.to_owned()), label, limit, ..Recent::default() };
        let mut found = Vec::new();
        for info in runtime.recent(wanted).await? {
            let Some(name) = info.id.as_str().strip_prefix(PREFIX) else { continue };
            match read(name, &runtime.session_of(info.id.clone())).await {
                Ok(schedule) => found.push(schedule),
                // Deleted since the list was read.
                Err(ScheduleError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Deletes a schedule with its history. Runs that it has started continue.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotFound`], [`ScheduleError::Session`].
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the schedule is stopped or deleted. It can be called again.
    pub async fn delete(&self, name: &str) -> Result<(), ScheduleError> {
        let session = session_of(&self.runtime()?, name)?;
        read(name, &session).await?;
        match session.stop().await {
            Ok(_) | Err(SessionError::NothingToDo { .. }) => {}
            Err(error) => return Err(of_session(name, error)),
        }
        session.delete().await.map_err(|error| of_session(name, error))
    }

    fn runtime(&self) -> Result<Runtime, SessionError> {
        self.runtime.upgrade().map(Runtime).ok_or(SessionError::ShuttingDown)
    }
}

impl fmt::Debug for Schedules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedules").finish_non_exhaustive()
    }
}

/// Returns the id of the session in which a schedule waits.
///
/// # Errors
///
/// [`ScheduleError::Name`] if the name is invalid.
///
/// # Examples
///
/// ```
/// use agent_core::schedule;
///
/// assert_eq!(schedule::session_id("daily").unwrap().as_str(), "schedule-daily");
/// assert!(schedule::session_id("every day").is_err());
/// ```
pub fn session_id(name: &str) -> Result<SessionId, ScheduleError> {
    let invalid = || ScheduleError::Name { name: crate::util::shorten(name, NAME_BYTES) };
    if name.is_empty() || name.len() > NAME_BYTES {
        return Err(invalid());
    }
    format!("{PREFIX}{name}").parse().map_err(|_| invalid())
}

/// Returns the session of a schedule.
fn session_of(runtime: &Runtime, name: &str) -> Result<Session, ScheduleError> {
    Ok(runtime.session_of(session_id(name)?))
}

async fn read(name: &str, session: &Session) -> Result<ScheduleInfo, ScheduleError> {
    let status = session.status().await.map_err(|error| of_session(name, error))?;
    let plan = match &*status.graph {
        GRAPH => session.state::<Plan>().await.map_err(|error| of_session(name, error))?,
        // A session that only has such an id.
        _ => return Err(ScheduleError::NotFound { name: name.to_owned() }),
    };
    let (Some(timing), Some(run)) = (plan.timing, plan.run) else {
        return Err(ScheduleError::NotFound { name: name.to_owned() });
    };
    let (next, fired, last) = (plan.next, plan.fired, plan.last);
    let (status, labels) = (status.status, status.labels);
    Ok(ScheduleInfo { name: name.to_owned(), timing, run, next, fired, last, status, labels })
}

fn of_session(name: &str, error: SessionError) -> ScheduleError {
    match error {
        SessionError::NotFound { .. } => ScheduleError::NotFound { name: name.to_owned() },
        error => error.into(),
    }
}
