//! Options of runs and runtimes.

use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::SessionError;
use crate::{
    graph::Graph,
    journal::StoreRetry,
    run::{ContextValue, Durability, Limits, Pauses},
    state::State,
    tool::ToolContext,
};

/// Policy for a new run on a session with an unfinished run (running or paused).
///
/// # Examples
///
/// ```
/// # use agent_core::{BusyPolicy, Context, END, Graph, RunOptions, Runtime, SessionError, START, State};
/// # use agent_core::journal::InMemoryJournal;
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
/// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
/// # let session = runtime.session("s-1")?;
/// session.run(&graph, Greeting::update()).await?;
/// let refused = session.run(&graph, Greeting::update()).await;
/// assert!(matches!(refused, Err(SessionError::Busy { .. })));
///
/// let options = RunOptions::default().on_busy(BusyPolicy::Rollback);
/// assert!(session.run(&graph, Greeting::update()).options(options).await?.is_paused());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusyPolicy {
    /// Refuses the new run.
    #[default]
    Reject,
    /// Queues the new run until the current one has completed, failed or been stopped.
    Enqueue,
    /// Stops the current run, keeps what it committed, and starts the new one.
    Interrupt,
    /// Stops and undoes the current run, and starts the new one from the state before it.
    Rollback,
}

/// Options of a run. Default: those of the runtime and the graph.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State, journal::InMemoryJournal};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
/// #     .edge(START, "add").edge("add", END).build()?;
/// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
/// # let session = runtime.session("s-1")?;
/// let options = RunOptions::default().request("order-7").label("owner", "ana");
/// session.run(&graph, Count::update()).options(options).await?;
/// assert_eq!(session.status().await?.labels["owner"], "ana");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// Policy for a busy session. Default: reject.
    pub on_busy: BusyPolicy,
    /// When commits are stored. Default: the runtime's.
    pub durability: Option<Durability>,
    /// Limits of the run. Default: the runtime's, then the graph's.
    pub limits: Option<Limits>,
    /// Request name for deduplication: the same name starts no second run. A session remembers the latest 1,024 names.
    pub request: Option<String>,
    /// Labels of the session, such as its owner. A label cannot be changed; a run with another value is refused. At most 16,
    /// with names of 1 to 64 of `a-z 0-9 _ . -` and values of at most 512 bytes.
    pub labels: BTreeMap<String, String>,
    /// Labels that are set if the session has none of the name. Same limits as `labels`.
    pub default_labels: BTreeMap<String, String>,
    /// The context of the run; see [`context`](Self::context).
    pub(super) context: Option<Arc<ContextValue>>,
    /// Breakpoints and the start time; see [`break_before`](Self::break_before).
    pub(super) pauses: Option<Arc<Pauses>>,
}

/// Separates the name of a request from the hash of its content. A name that contains it ends with one, so that no part
/// of a name is read as a hash.
const CONTENT: char = '\n';

/// Returns the name in a stored request: the part before the last separator.
pub(super) fn name_of(request: &str) -> &str {
    request.rsplit_once(CONTENT).map_or(request, |(name, _)| name)
}

/// Returns whether a stored request has this name, with or without a hash of its content.
pub(super) fn is_request(stored: &str, name: &str) -> bool {
    name_of(stored) == name
}

impl RunOptions {
    /// Sets the policy for a busy session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{BusyPolicy, Context, END, Graph, RunOptions, Runtime, START, State};
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
    /// session.run(&graph, Greeting::update()).await?;
    /// let options = RunOptions::default().on_busy(BusyPolicy::Interrupt);
    /// let second = session.run(&graph, Greeting::update()).options(options).await?;
    /// assert_eq!(second.run().0, 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn on_busy(mut self, policy: BusyPolicy) -> Self {
        self.on_busy = policy;
        self
    }

    /// Sets when commits are stored.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, Durability, END, Graph, RunOptions, Runtime, START, State};
    /// # use agent_core::journal::InMemoryJournal;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let options = RunOptions::default().durability(Durability::Sync);
    /// session.run(&graph, Count::update()).options(options).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Sets the limits of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State};
    /// # use agent_core::{journal::InMemoryJournal, run::Limits};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let options = RunOptions::default().limits(Limits::default().model_calls(20));
    /// session.run(&graph, Count::update()).options(options).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the request name: the same name again on the session starts no second run, and is refused with the number of
    /// the first one ([`SessionError::SameRequest`](super::SessionError::SameRequest)).
    ///
    /// A session remembers the names of its latest 1,024 named requests, across restarts and retention. A name older
    /// than those starts a run again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, SessionError, START, State};
    /// # use agent_core::journal::InMemoryJournal;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let options = RunOptions::default().request("order-7");
    /// session.run(&graph, Count::update()).options(options.clone()).await?;
    /// let again = session.run(&graph, Count::update()).options(options).await;
    /// assert!(matches!(again, Err(SessionError::SameRequest { run, .. }) if run.0 == 1));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn request(mut self, name: impl Into<String>) -> Self {
        let mut name = name.into();
        if name.contains(CONTENT) {
            name.push(CONTENT);
        }
        self.request = Some(name);
        self
    }

    /// Sets the request name together with a hash of its content: the same name with other content is refused
    /// ([`SessionError::RequestDiffers`](super::SessionError::RequestDiffers)).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, SessionError, START, State};
    /// # use agent_core::journal::InMemoryJournal;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let first = RunOptions::default().request_of("order-7", b"2 pens");
    /// session.run(&graph, Count::update()).options(first).await?;
    /// let other = RunOptions::default().request_of("order-7", b"3 pens");
    /// let refused = session.run(&graph, Count::update()).options(other).await;
    /// assert!(matches!(refused, Err(SessionError::RequestDiffers { .. })));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn request_of(mut self, name: &str, content: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        let hash = hex::encode(&Sha256::digest(content)[..12]);
        self.request = Some(format!("{name}{CONTENT}{hash}"));
        self
    }

    /// Adds a label to the session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let options = RunOptions::default().label("owner", "ana");
    /// session.run(&graph, Count::update()).options(options).await?;
    /// assert_eq!(session.status().await?.labels["owner"], "ana");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Adds a label to the session unless it has one of that name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).options(RunOptions::default().label("owner", "ana")).await?;
    /// let options = RunOptions::default().default_label("owner", "team");
    /// session.run(&graph, Count::update()).options(options).await?;
    /// assert_eq!(session.status().await?.labels["owner"], "ana");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn default_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.default_labels.insert(name.into(), value.into());
        self
    }

    /// Sets the context of the run, such as the user it works for: nodes read it with
    /// [`Context::context`](crate::Context::context), tools with [`ToolContext::context`](crate::tool::ToolContext::context),
    /// prompt templates as `context`. It is stored with the run, so another process that resumes the run has it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// #[derive(Serialize, Deserialize)]
    /// struct User { name: String }
    ///
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     Ok(Draft::update().text(format!("Dear {}", cx.context::<User>()?.name)))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write).path([START, "write", END]).build()?;
    /// # let session = Runtime::builder().journal(InMemoryJournal::new()).build().session("s-1")?;
    /// let options = RunOptions::default().context(User { name: "Ana".to_owned() });
    /// let outcome = session.run(&graph, Draft::update()).options(options).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.text, "Dear Ana");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn context<T: Serialize + Any + Send + Sync>(mut self, value: T) -> Self {
        self.context = Some(Arc::new(ContextValue::stored(value)));
        self
    }

    /// Sets a context that cannot be stored, such as a connection. Nodes read it with
    /// [`Context::transient_context`](crate::Context::transient_context). A process that resumes the run does not have it:
    /// reading it fails with [`ContextError::NotStored`](crate::run::ContextError::NotStored) until the run is resumed
    /// with [`ResumeRequest::transient_context`](super::ResumeRequest::transient_context).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// struct Printer(&'static str);
    ///
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     Ok(Draft::update().text(cx.transient_context::<Printer>()?.0))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write).path([START, "write", END]).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let options = RunOptions::default().transient_context(Printer("LPT1"));
    /// let outcome = session.run(&graph, Draft::update()).options(options).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.text, "LPT1");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn transient_context<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.context = Some(Arc::new(ContextValue::transient(value)));
        self
    }

    /// Pauses the run before each activation of these nodes of the graph, until the question of the breakpoint is
    /// answered, with any value. Default: none. Names that the graph does not have are refused.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, RunOptions, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .path([START, "add", END]).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let options = RunOptions::default().break_before(["add"]);
    /// let outcome = session.run(&graph, Count::update()).options(options).await?;
    /// assert_eq!(outcome.questions()[0].question.prompt, "Breakpoint before `add`");
    /// let run = session.answer(Answers::only("continue")).await?;
    /// assert_eq!(run.outcome::<Count>().await?.state().ok_or("paused")?.n, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn break_before<N: Into<String>>(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        self.pauses_mut().before.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// As [`break_before`](Self::break_before), after the node has returned and before its update is applied. After a
    /// restart the node is entered again, with what it recorded. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, RunOptions, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .path([START, "add", END]).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let options = RunOptions::default().break_after(["add"]);
    /// let outcome = session.run(&graph, Count::update()).options(options).await?;
    /// assert_eq!(outcome.questions()[0].question.prompt, "Breakpoint after `add`");
    /// # session.answer(Answers::only("continue")).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn break_after<N: Into<String>>(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        self.pauses_mut().after.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// Starts the work of the run at this time, in milliseconds since 1970. The run is accepted and stored at once, and
    /// paused with a timer until then ([`Context::sleep`](crate::Context::sleep)); the session is busy in the meantime.
    /// Default: at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, RunOptions, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .path([START, "add", END]).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let options = RunOptions::default().start_at(4_102_444_800_000);
    /// let outcome = session.run(&graph, Count::update()).options(options).await?;
    /// assert_eq!(outcome.questions()[0].question.prompt, "Sleeps until 2100-01-01 00:00:00 UTC");
    /// # session.stop().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn start_at(mut self, at: i64) -> Self {
        self.pauses_mut().start_at = Some(at);
        self
    }

    /// Sets the context of the run that makes a tool call, if it has one.
    pub(super) fn with_context_of(mut self, cx: &ToolContext) -> Self {
        self.context = cx.run_context().ok();
        self
    }

    /// Returns a node of a breakpoint that the graph does not have.
    pub(super) fn unknown_node<S: State>(&self, graph: &Graph<S>) -> Option<String> {
        let names = &graph.0.topology.names;
        let mut nodes = self.pauses.as_ref()?.nodes();
        nodes
            .find(|node| !names.iter().any(|name| &**name == *node))
            .map(|node| crate::util::shorten(node, 128))
    }

    fn pauses_mut(&mut self) -> &mut Pauses {
        Arc::make_mut(self.pauses.get_or_insert_default())
    }

    /// Returns an error if the context cannot be stored.
    pub(super) fn check_context(&self) -> Result<(), SessionError> {
        match self.context.as_ref().and_then(|context| context.fault()) {
            Some(fault) => Err(fault.clone().into()),
            None => Ok(()),
        }
    }

    /// Converts default labels that the session does not have into labels.
    pub(super) fn resolve_default_labels(&mut self, known: &BTreeMap<String, String>) {
        for (name, value) in std::mem::take(&mut self.default_labels) {
            if !known.contains_key(&name) {
                self.labels.entry(name).or_insert(value);
            }
        }
    }
}

/// Retention of journal entries. Entries are removed only if a snapshot covers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Entries kept behind the newest snapshot for history, fork and late subscribers. Default: 10,000.
    pub entries: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { entries: 10_000 }
    }
}

impl Retention {
    /// Keeps this many entries.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal, session::Retention};
    /// let runtime = Runtime::builder()
    ///     .journal(InMemoryJournal::new())
    ///     .options(|options| options.retention = Retention::entries(1_000))
    ///     .build();
    /// # assert!(runtime.has_journal());
    /// ```
    #[must_use]
    pub const fn entries(entries: u64) -> Self {
        Self { entries }
    }

    /// Keeps everything.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal, session::Retention};
    /// let runtime = Runtime::builder()
    ///     .journal(InMemoryJournal::new())
    ///     .options(|options| options.retention = Retention::everything())
    ///     .build();
    /// # assert!(runtime.has_journal());
    /// ```
    #[must_use]
    pub const fn everything() -> Self {
        Self { entries: u64::MAX }
    }
}

/// Options of a runtime.
///
/// # Examples
///
/// ```
/// # use agent_core::Runtime;
/// let runtime = Runtime::builder().options(|options| options.max_runs = 1_000).build();
/// # assert_eq!(runtime.live_runs(), 0);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuntimeOptions {
    /// When commits are stored. Default: [`Durability::Async`].
    pub durability: Durability,
    /// Limits of each run. Default: those of the graph.
    pub limits: Limits,
    /// Grace period after a stop for tasks that listen for cancellation. Default: 5 s.
    pub grace: Duration,
    /// Time after which a paused run is evicted from memory (only with a store). Default: 10 min.
    pub evict_paused_after: Duration,
    /// Maximum number of suspended runs: paused runs in memory. Default: 1,000.
    pub max_suspended_runs: usize,
    /// Maximum number of runs in memory, including suspended ones. Default: 100,000.
    pub max_runs: usize,
    /// Maximum number of runs that execute at once in this process; 0: no limit. Further runs are accepted and wait, in turns
    /// between the values of [`turn_label`](Self::turn_label): no subject begins a second waiting run before each other one
    /// has begun a first. Paused runs do not count; a run that continues after an answer does not wait. Processes on one
    /// store take over waiting runs of each other when they have room, unless a caller awaits the result; between processes
    /// no order is guaranteed. Default: 0.
    pub max_active_runs: usize,
    /// Label of sessions by which waiting runs take turns. Default: `owner`.
    pub turn_label: String,
    /// Maximum number of idle sessions in memory. Default: 256.
    pub max_idle_sessions: usize,
    /// Maximum size of idle sessions in memory, estimated in bytes from their journals; the largest are evicted first. A
    /// state needs several times as much memory as in the journal. Only with a store. Default: 64 MiB.
    pub max_idle_bytes: u64,
    /// Time after which a lease expires if this process does not renew it. Default: 15 s.
    pub lease_ttl: Duration,
    /// Retention of each journal.
    pub retention: Retention,
    /// Bytes journalled between two snapshots (or twice the size of the last snapshot, if that is more). Default: 64 KiB.
    pub snapshot_bytes: u64,
    /// Retry policy for appends that fail with a transient error. Default: 8 attempts within 5 s.
    pub store_retry: StoreRetry,
    /// Number of attempts to open a session again after its store failed for longer than these retries; its run then
    /// continues. The waits double from 1 s to 30 s. With 0, only [`recover`](super::Runtime::recover) and a resume reopen
    /// it. Default: 120, about an hour.
    pub store_reopen: u32,
    /// Maximum number of takeovers of a run in a row without progress: a finished task, a recorded step, a failed attempt or an
    /// answer. The next takeover fails the run with `crash_loop`. A process that ends while all tasks of the run wait for a
    /// retry is not counted. Default: 3; for one graph: [`GraphBuilder::max_takeovers`](crate::graph::GraphBuilder::max_takeovers).
    ///
    /// A run that ends its process interrupts all other runs in it, and their takeovers are counted too. To find the one that
    /// ends the process, the last two takeovers of a run (never the first one) are made in the background, one run at a time
    /// in random order. The next run follows when the one before has made progress, has paused, has ended, or has executed
    /// for a time limit: 10 s, before the last takeover 60 s, and less if many runs wait, so that all of them take at most
    /// 10 min. A run that executes for its whole time limit after the last takeover is permitted one more.
    ///
    /// If a single run ends each process within its time limit, only this run fails. If it ends the process later, it fails one
    /// takeover later, and other runs without progress for minutes may fail with it. With a maximum of 1, takeovers are not
    /// made one at a time.
    pub max_takeovers: u32,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            limits: Limits::default(),
            grace: Duration::from_secs(5),
            evict_paused_after: Duration::from_secs(600),
            max_suspended_runs: 1_000,
            max_runs: 100_000,
            max_active_runs: 0,
            turn_label: "owner".to_owned(),
            max_idle_sessions: 256,
            max_idle_bytes: 64 * 1024 * 1024,
            lease_ttl: Duration::from_secs(15),
            retention: Retention::default(),
            snapshot_bytes: 64 * 1024,
            store_retry: StoreRetry::default(),
            store_reopen: 120,
            max_takeovers: 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_name_is_read_as_a_hash() {
        let plain = |name: &str| RunOptions::default().request(name).request.unwrap();
        let hashed =
            |name: &str, content: &[u8]| RunOptions::default().request_of(name, content).request.unwrap();
        for name in ["a", "a\nb", "\n", "", "a\n"] {
            assert_eq!((name_of(&plain(name)), name_of(&hashed(name, b"x"))), (name, name));
            assert_ne!(plain(name), hashed(name, b"x"));
        }
        let forged = hashed("a", b"x");
        assert_ne!(plain(&forged), forged);
    }
}
