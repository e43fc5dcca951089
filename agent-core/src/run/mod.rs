//! Status and outcome of a run.

mod context_value;
mod durability;
mod grants;
mod limits;
mod node_ended;
mod pauses;

pub use context_value::ContextError;
pub(crate) use context_value::ContextValue;
pub use durability::Durability;
pub(crate) use grants::{BUDGET_PREFIX, BudgetGrants, read_grant};
pub use limits::{BudgetUsage, LimitError, LimitKind, Limits, OverrunPolicy};
pub(crate) use pauses::Pauses;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::node_ended::NodeEnded;
use crate::{ids::RunId, interrupt::OpenQuestion, state::State};

/// Status of a session's latest run.
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
/// # use agent_core::RunStatus;
/// session.run(&graph, Count::update()).await?;
/// assert_eq!(session.status().await?.status, RunStatus::Completed);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// No run was accepted yet.
    #[default]
    Idle,
    /// The run is executing, or waits to be recovered after a restart.
    Running,
    /// The run waits for an answer.
    Paused,
    /// The run completed.
    Completed,
    /// The run failed. It can be resumed from its last commit.
    Failed,
    /// The run was stopped. It can be resumed.
    Stopped,
}

impl RunStatus {
    /// Returns the name used on the wire and in stores.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::RunStatus;
    ///
    /// assert_eq!(RunStatus::Paused.as_str(), "paused");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Returns `true` if a run is active (running or paused).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::RunStatus;
    ///
    /// assert!(RunStatus::Paused.is_busy());
    /// assert!(!RunStatus::Failed.is_busy());
    /// ```
    #[must_use]
    pub const fn is_busy(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Outcome of a run that ended or paused. Pausing and stopping are outcomes, not errors, so that `?` does not
/// discard a question.
///
/// # Examples
///
/// ```
/// use agent_core::{Answers, Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Order { size: Option<u32> }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let graph = Graph::<Order>::builder("order")
///     .node("size", async |_: &Order, cx: &Context| {
///         let size: u32 = cx.ask("Which size?").await?;
///         Ok(Order::update().size(size))
///     })
///     .edge(START, "size")
///     .edge("size", END)
///     .build()?;
/// let session = Runtime::builder().journal(InMemoryJournal::new()).build().session("s1")?;
/// let paused = session.run(&graph, Order::update()).await?;
/// assert_eq!(paused.questions()[0].question.prompt, "Which size?");
/// let outcome = session.answer(Answers::only(38)).await?.outcome::<Order>().await?;
/// assert!(outcome.is_completed());
/// assert_eq!(outcome.state().and_then(|state| state.size), Some(38));
/// # Ok(()) }
/// ```
#[non_exhaustive]
pub enum RunOutcome<S: State> {
    /// The run completed.
    Completed(Finished<S>),
    /// The run waits for answers; see [`Session::answer`](crate::session::Session::answer). The run owns its state
    /// until it ends; [`Session::state`](crate::session::Session::state) returns a copy.
    Paused {
        /// The run.
        run: RunId,
        /// The open questions.
        questions: Vec<OpenQuestion>,
    },
    /// The run was stopped or drained; continue it with [`Session::resume`](crate::session::Session::resume).
    Stopped(Finished<S>),
}

/// Result of a run that completed or was stopped.
pub struct Finished<S: State> {
    /// The run.
    pub run: RunId,
    /// The state as of the last committed superstep.
    pub state: Arc<S>,
    /// Number of supersteps that the run has begun.
    pub supersteps: u64,
}

impl<S: State> RunOutcome<S> {
    /// Returns the state as of the last committed superstep; `None` while the run is paused.
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
    /// let outcome = session.run(&graph, Count::update()).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.n, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn state(&self) -> Option<&S> {
        match self {
            Self::Completed(finished) | Self::Stopped(finished) => Some(&finished.state),
            Self::Paused { .. } => None,
        }
    }

    /// Returns the result if the run completed.
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
    /// let finished = session.run(&graph, Count::update()).await?.completed().ok_or("paused or stopped")?;
    /// assert_eq!((finished.state.n, finished.supersteps), (1, 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn completed(self) -> Option<Finished<S>> {
        match self {
            Self::Completed(finished) => Some(finished),
            _ => None,
        }
    }

    /// Returns the open questions; empty unless the run is paused.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Greeting { name: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Greeting>::builder("greet")
    /// #     .node("ask", async |_: &Greeting, cx: &Context| {
    /// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let outcome = session.run(&graph, Greeting::update()).await?;
    /// for open in outcome.questions() {
    ///     println!("{}: {}", open.id, open.question.prompt);
    /// }
    /// # assert_eq!(outcome.questions().len(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn questions(&self) -> &[OpenQuestion] {
        match self {
            Self::Paused { questions, .. } => questions,
            Self::Completed(_) | Self::Stopped(_) => &[],
        }
    }

    /// Returns the number of the run.
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
    /// let outcome = session.run(&graph, Count::update()).await?;
    /// assert_eq!(outcome.run().to_string(), "run-1");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn run(&self) -> RunId {
        match self {
            Self::Completed(finished) | Self::Stopped(finished) => finished.run,
            Self::Paused { run, .. } => *run,
        }
    }

    /// Returns the status of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Greeting { name: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Greeting>::builder("greet")
    /// #     .node("ask", async |_: &Greeting, cx: &Context| {
    /// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let outcome = session.run(&graph, Greeting::update()).await?;
    /// assert_eq!(outcome.status(), RunStatus::Paused);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        match self {
            Self::Completed(_) => RunStatus::Completed,
            Self::Paused { .. } => RunStatus::Paused,
            Self::Stopped(_) => RunStatus::Stopped,
        }
    }

    /// Returns `true` if the run completed.
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
    /// assert!(session.run(&graph, Count::update()).await?.is_completed());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn is_completed(&self) -> bool {
        matches!(self, Self::Completed(_))
    }

    /// Returns `true` if the run waits for answers.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Greeting { name: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Greeting>::builder("greet")
    /// #     .node("ask", async |_: &Greeting, cx: &Context| {
    /// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// assert!(session.run(&graph, Greeting::update()).await?.is_paused());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        matches!(self, Self::Paused { .. })
    }

    /// Returns `true` if the run was stopped or drained.
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
    /// # let graph = Graph::<Count>::builder("slow")
    /// #     .node("add", async |_: &Count, _: &Context| {
    /// #         std::future::pending::<()>().await;
    /// #         Ok(Count::update().n(1))
    /// #     })
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let run = session.run(&graph, Count::update()).start().await?;
    /// session.stop().await?;
    /// assert!(run.outcome::<Count>().await?.is_stopped());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped(_))
    }
}

impl<S: State> Clone for RunOutcome<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Completed(finished) => Self::Completed(finished.clone()),
            Self::Paused { run, questions } => Self::Paused { run: *run, questions: questions.clone() },
            Self::Stopped(finished) => Self::Stopped(finished.clone()),
        }
    }
}

impl<S: State> Clone for Finished<S> {
    fn clone(&self) -> Self {
        Self { run: self.run, state: Arc::clone(&self.state), supersteps: self.supersteps }
    }
}

// By hand: `derive` would ask for `S: Debug`, and states are often large and private.
impl<S: State> fmt::Debug for RunOutcome<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOutcome")
            .field("status", &self.status())
            .field("run", &self.run())
            .field("questions", &self.questions())
            .finish_non_exhaustive()
    }
}

impl<S: State> fmt::Debug for Finished<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished")
            .field("run", &self.run)
            .field("supersteps", &self.supersteps)
            .finish_non_exhaustive()
    }
}
