//! [`RunReport`]: what is known of a run when it ends or pauses.

use std::{fmt, sync::Arc};

use serde_json::Value;

use super::run_watch::{ErasedState, RunResult};
use crate::{
    engine::RunError,
    ids::RunId,
    interrupt::OpenQuestion,
    run::{BudgetUsage, RunStatus},
    state::State,
    todo::Todo,
};

/// Report of a run that ended or paused; see [`Run::wait`](super::Run::wait).
///
/// It is made from the run in memory, so reading it needs no store. In the report of a run that another process
/// continues (status [`RunStatus::Running`]), and of a paused run that is not in memory, only `run`, `status` and
/// `questions` are set.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, RunOptions, RunStatus, Runtime, START, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u32 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("one", async |_: &Count, _: &Context| Ok(Count::update().n(1u32)))
/// #     .edge(START, "one").edge("one", END).build()?;
/// let session = Runtime::builder().build().session("s")?;
/// let mut run = session.run(&graph, Count::update()).start().await?;
/// let report = run.wait().await;
/// assert_eq!(report.status, RunStatus::Completed);
/// assert_eq!(report.state::<Count>().unwrap().n, 1);
/// assert_eq!(report.state_json()?.unwrap()["n"], 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// Its status. [`RunStatus::Running`]: the process shuts down, and another process continues the run.
    pub status: RunStatus,
    /// The open questions of a paused run.
    pub questions: Vec<OpenQuestion>,
    /// The todos.
    pub todos: Vec<Todo>,
    /// The budget usage.
    pub used: BudgetUsage,
    /// Active time without pauses, in milliseconds.
    pub active_ms: u64,
    /// Number of supersteps that an ended run has begun.
    pub supersteps: u64,
    /// The error of a failed run.
    pub error: Option<Arc<RunError>>,
    state: Option<ErasedState>,
}

impl RunReport {
    /// Creates the report of a result; `None`: the process shuts down.
    pub(super) fn new(run: RunId, result: Option<&RunResult>) -> Self {
        let handed_over;
        let result = match result {
            Some(result) => result,
            None => {
                handed_over = RunResult::new(RunStatus::Running, None);
                &handed_over
            }
        };
        Self {
            run,
            status: result.status,
            questions: result.open_questions(),
            todos: result.todos.clone(),
            used: result.used,
            active_ms: result.active_ms,
            supersteps: result.supersteps,
            error: result.error.clone(),
            state: result.state.clone(),
        }
    }

    /// Returns the state of an ended run, if it is an `S`; `None` while the run is paused or if a failure left no state.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let report = session.run(&graph, Count::update()).start().await?.await;
    /// assert_eq!(report.state::<Count>().ok_or("no state")?.n, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn state<S: State>(&self) -> Option<Arc<S>> {
        self.state.as_ref()?.downcast()
    }

    /// Returns the state of an ended run as JSON; `None` while the run is paused or if a failure left no state.
    ///
    /// # Errors
    ///
    /// Returns [`RunError::StoredState`] if JSON cannot express the state.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let report = session.run(&graph, Count::update()).start().await?.await;
    /// assert_eq!(report.state_json()?, Some(json!({ "n": 1 })));
    /// # Ok(()) }
    /// ```
    pub fn state_json(&self) -> Result<Option<Value>, RunError> {
        self.state.as_ref().map(ErasedState::to_json).transpose()
    }
}

impl fmt::Debug for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunReport")
            .field("run", &self.run)
            .field("status", &self.status)
            .field("questions", &self.questions)
            .field("supersteps", &self.supersteps)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
