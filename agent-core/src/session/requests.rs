//! Requests: calls on a session that are described first and executed when they are awaited.

use std::{any::Any, fmt, future::IntoFuture, sync::Arc};

use futures::future::BoxFuture;
use serde_json::Value;

use super::{
    EventStream, Run, RunOptions, Session, SessionError,
    lock::LockedSession,
    replicas::ReplicaCommand,
    start::{AckMode, NewRun},
    takeover::Resumption,
};
use crate::{
    event::EventFilter,
    graph::Graph,
    interrupt::Answers,
    run::{Limits, RunOutcome, RunStatus},
    state::{Input, State},
};

/// A run of a graph on a session that is not started yet. Created by [`Session::run`].
///
/// | call | returns when | value |
/// |---|---|---|
/// | `.await` | the run has ended or paused | [`RunOutcome`] |
/// | [`start`](RunRequest::start) | the run is stored | [`Run`], a handle |
/// | [`stream`](RunRequest::stream) | the run is stored | [`EventStream`], its events |
///
/// # Errors
///
/// [`SessionError::Busy`] and other conflicts; [`SessionError::InvalidInput`] if the input cannot be applied. Nothing is
/// changed then. Awaiting the request itself also returns [`SessionError::Run`] if the run failed.
///
/// # Cancel safety
///
/// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run is accepted and
/// executed, or refused. Dropping never stops a run.
///
/// # Examples
///
/// ```
/// use agent_core::{BusyPolicy, Context, END, Graph, RunOptions, Runtime, START, State};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Count {
///     #[state(add)]
///     n: u64,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let graph = Graph::<Count>::builder("count")
///     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
///     .edge(START, "add")
///     .edge("add", END)
///     .build()?;
/// let session = Runtime::builder().build().session("s1")?;
///
/// // To its end.
/// let outcome = session.run(&graph, Count::update().n(1)).await?;
/// assert_eq!(outcome.state().ok_or("paused")?.n, 2);
///
/// // With options, and a handle.
/// let options = RunOptions::default().on_busy(BusyPolicy::Enqueue);
/// let run = session.run(&graph, Count::update()).options(options).start().await?;
/// assert_eq!(run.outcome::<Count>().await?.state().ok_or("paused")?.n, 3);
///
/// // With its events.
/// let mut events = session.run(&graph, Count::update()).stream().await?;
/// while let Some(event) = events.next().await {
///     println!("{:?}", event?.seq);
/// }
/// # Ok(()) }
/// ```
#[must_use = "a run starts when the request is awaited, or by `start` or `stream`"]
pub struct RunRequest<'a, S: State> {
    session: &'a Session,
    graph: &'a Graph<S>,
    input: Input<S>,
    options: RunOptions,
    resumes: bool,
}

impl<'a, S: State> RunRequest<'a, S> {
    pub(super) fn new(session: &'a Session, graph: &'a Graph<S>, input: Input<S>) -> Self {
        Self { session, graph, input, options: RunOptions::default(), resumes: false }
    }

    /// Sets the options of the run. Default: those of the runtime and the graph.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State, run::Limits};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let options = RunOptions::default().limits(Limits::default().supersteps(10));
    /// session.run(&graph, Count::update()).options(options).await?;
    /// # Ok(()) }
    /// ```
    pub fn options(mut self, options: RunOptions) -> Self {
        self.options = options;
        self
    }

    /// Continues the unfinished run of this graph on the session, if there is one, instead of starting another; the input
    /// is not used then. A run that another process left is resumed, one that runs or is paused here is joined. For a
    /// program that begins again after a crash.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
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
    /// let session = Runtime::builder().journal(InMemoryJournal::new()).build().session("s-1")?;
    /// let first = session.run(&graph, Greeting::update()).or_resume().await?;
    /// let again = session.run(&graph, Greeting::update()).or_resume().await?;
    /// assert_eq!(first.run(), again.run());
    /// # Ok(()) }
    /// ```
    pub const fn or_resume(mut self) -> Self {
        self.resumes = true;
        self
    }

    /// Moves the input and the options into a box, which the futures of the start pass on.
    fn into_new(self, ack: AckMode) -> (Box<NewRun<S>>, bool) {
        (NewRun::new(self.graph, self.input, self.options, ack), self.resumes)
    }

    /// Starts the run and returns its handle.
    ///
    /// When this returns, the run is stored: if the process dies, another process resumes it (unless the durability is
    /// [`Exit`](crate::run::Durability::Exit)).
    ///
    /// # Errors
    ///
    /// See [`RunRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`RunRequest`].
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
    /// let run = session.run(&graph, Count::update()).start().await?;
    /// println!("accepted as {}", run.id());
    /// let outcome = run.outcome::<Count>().await?;
    /// assert!(outcome.is_completed());
    /// # Ok(()) }
    /// ```
    pub async fn start(self) -> Result<Run, SessionError> {
        let session = self.session;
        let (new, resumes) = self.into_new(AckMode::AfterAccept);
        begin(session, new, resumes).await
    }

    /// Starts the run and returns its events, from its acceptance to its end or pause.
    ///
    /// # Errors
    ///
    /// See [`RunRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`RunRequest`].
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
    /// let mut events = session.run(&graph, Count::update()).stream().await?;
    /// while let Some(event) = events.next().await {
    ///     println!("{:?}", event?.body);
    /// }
    /// assert!(events.outcome::<Count>().await?.is_completed());
    /// # Ok(()) }
    /// ```
    pub async fn stream(self) -> Result<EventStream, SessionError> {
        self.stream_of(EventFilter::all()).await
    }

    /// As [`stream`](RunRequest::stream), with the events that `filter` wants and the one that ends or pauses the run.
    ///
    /// # Errors
    ///
    /// See [`RunRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`RunRequest`].
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
    /// # use agent_core::event::{EventFilter, EventKind};
    /// let filter = EventFilter::none().with(EventKind::NodeFinished);
    /// let mut events = session.run(&graph, Count::update()).stream_of(filter).await?;
    /// let mut kinds = Vec::new();
    /// while let Some(event) = events.next().await {
    ///     kinds.push(event?.body.kind());
    /// }
    /// assert_eq!(kinds, [EventKind::NodeFinished, EventKind::RunCompleted]);
    /// # Ok(()) }
    /// ```
    pub async fn stream_of(self, filter: EventFilter) -> Result<EventStream, SessionError> {
        let events = self.session.subscribe_to(None, filter.with_ends());
        let resumes = self.resumes;
        let run = self.start().await?;
        // A run that was paused before has no event to come.
        Ok(if resumes && run.status() == RunStatus::Paused {
            EventStream::ended(run, events)
        } else {
            EventStream::new(run, events)
        })
    }
}

impl<'a, S: State> IntoFuture for RunRequest<'a, S> {
    type Output = Result<RunOutcome<S>, SessionError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let session = self.session;
        let (new, resumes) = self.into_new(AckMode::AfterRun);
        Box::pin(async move {
            let run = begin(session, new, resumes).await?;
            run.outcome().await
        })
    }
}

/// Starts a run, or continues the unfinished one of its graph if `resumes`.
async fn begin<S: State>(session: &Session, new: Box<NewRun<S>>, resumes: bool) -> Result<Run, SessionError> {
    if resumes && let Some(run) = Box::pin(session.continue_unfinished(&new.graph)).await? {
        return Ok(run);
    }
    session.accept(new).await
}

/// A run of a registered graph, with an update as JSON, that is not started yet. Created by [`Session::run_json`].
///
/// # Errors
///
/// As [`RunRequest`], and [`SessionError::GraphNotFound`].
///
/// # Cancel safety
///
/// As [`RunRequest`].
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
/// # use serde::{Deserialize, Serialize};
/// # use serde_json::json;
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
/// #     .edge(START, "add").edge("add", END).build()?;
/// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
/// # let session = runtime.session("s-1")?;
/// let mut run = session.run_json("count", json!({ "n": 1 })).start().await?;
/// assert_eq!(run.wait().await.status, RunStatus::Completed);
/// # Ok(()) }
/// ```
#[must_use = "a run starts by `start` or `start_unacknowledged`"]
pub struct JsonRunRequest<'a> {
    session: &'a Session,
    graph: &'a str,
    update: Value,
    options: RunOptions,
}

impl<'a> JsonRunRequest<'a> {
    pub(super) fn new(session: &'a Session, graph: &'a str, update: Value) -> Self {
        Self { session, graph, update, options: RunOptions::default() }
    }

    /// Sets the options of the run. Default: those of the runtime and the graph.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
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
    /// session.run_json("count", json!({})).options(options).start().await?;
    /// # Ok(()) }
    /// ```
    pub fn options(mut self, options: RunOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts the run and returns its handle when the run is stored. See [`RunRequest::start`].
    ///
    /// # Errors
    ///
    /// See [`JsonRunRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`JsonRunRequest`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let mut run = session.run_json("count", json!({ "n": 1 })).start().await?;
    /// assert_eq!(run.wait().await.status, RunStatus::Completed);
    /// # Ok(()) }
    /// ```
    pub async fn start(self) -> Result<Run, SessionError> {
        self.start_with(AckMode::AfterAccept).await
    }

    /// Starts the run for a caller that reports only its result.
    ///
    /// The acceptance is stored together with the entries that follow, and a short run has ended when this returns. Wait
    /// for the result with [`Run::wait`]; report nothing before.
    ///
    /// # Errors
    ///
    /// See [`JsonRunRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`JsonRunRequest`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let run = session.run_json("count", json!({ "n": 1 })).start_unacknowledged().await?;
    /// let report = run.await;
    /// assert_eq!(report.status, RunStatus::Completed);
    /// # Ok(()) }
    /// ```
    pub async fn start_unacknowledged(self) -> Result<Run, SessionError> {
        self.start_with(AckMode::AfterRun).await
    }

    async fn start_with(self, ack: AckMode) -> Result<Run, SessionError> {
        let graph = self.session.shared.graph(self.graph)?;
        graph.start(self.session, self.update, self.options, ack).await
    }
}

/// A resumption that is not executed yet. Created by [`Session::resume`]; awaiting it returns the [`Run`].
///
/// # Errors
///
/// [`SessionError::NothingToDo`] if the run is executing, paused or completed;
/// [`RunError::GraphChanged`](crate::engine::RunError::GraphChanged) if the graph lacks pending nodes. Nothing is changed
/// then.
///
/// # Cancel safety
///
/// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
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
/// session.stop().await?;
/// let run = session.resume().await?;
/// assert_eq!(run.await.status, RunStatus::Paused);
/// # Ok(()) }
/// ```
#[must_use = "a run is resumed when the request is awaited"]
pub struct ResumeRequest<'a> {
    session: &'a Session,
    limits: Option<Limits>,
    transient: Option<Arc<dyn Any + Send + Sync>>,
}

impl<'a> ResumeRequest<'a> {
    pub(super) const fn new(session: &'a Session) -> Self {
        Self { session, limits: None, transient: None }
    }

    /// Gives the run its context again, if that is one that cannot be stored; see
    /// [`RunOptions::transient_context`]. A stored context is not replaced.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn resume(session: agent_core::Session) -> Result<(), agent_core::SessionError> {
    /// struct Printer(&'static str);
    ///
    /// session.resume().transient_context(Printer("LPT1")).await?;
    /// # Ok(()) }
    /// ```
    pub fn transient_context<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.transient = Some(Arc::new(value));
        self
    }

    /// Replaces the limits of the run. Default: the limits it has.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use agent_core::{journal::InMemoryJournal, run::Limits};
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
    /// session.stop().await?;
    /// session.resume().limits(Limits::default().model_calls(40)).await?;
    /// assert_eq!(session.wait_status().await?, RunStatus::Paused);
    /// # Ok(()) }
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }
}

impl<'a> IntoFuture for ResumeRequest<'a> {
    type Output = Result<Run, SessionError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if self.session.cell.live().is_none() {
                // A session that does not exist must not get a lease.
                self.session.peek().await?;
            }
            if let Some(value) = self.transient {
                self.session.cell.inner.lock().transient = Some(value);
            }
            let limits = self.limits;
            let resume = async move |locked: LockedSession| locked.resume(limits, Resumption::Asked).await;
            self.session.lock().await.complete(resume).await
        })
    }
}

/// Answers that are not given yet. Created by [`Session::answer`]; awaiting it returns the [`Run`].
///
/// # Errors
///
/// [`AnswerError`](crate::interrupt::AnswerError); [`SessionError::Run`] when the run cannot be resumed with the present
/// graph. Nothing has changed then, and the questions are open.
///
/// # Cancel safety
///
/// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes: the
/// answers are stored and delivered, or refused.
///
/// # Examples
///
/// ```
/// # use agent_core::{Answers, Context, END, Graph, RunStatus, Runtime, START, State};
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
/// let run = session.answer(Answers::only("Ana")).by("ana@example.org").await?;
/// assert_eq!(run.await.status, RunStatus::Completed);
/// # Ok(()) }
/// ```
#[must_use = "a question is answered when the request is awaited"]
pub struct AnswerRequest<'a> {
    session: &'a Session,
    answers: Answers,
    by: String,
}

impl<'a> AnswerRequest<'a> {
    pub(super) fn new(session: &'a Session, answers: Answers) -> Self {
        Self { session, answers, by: "an unnamed caller".to_owned() }
    }

    /// Names the person who answers, for the journal. At most 200 characters are kept. Default: `an unnamed caller`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
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
    /// session.answer(Answers::only("Ana")).by("ana@example.org").await?;
    /// session.wait_status().await?;
    /// let question = session.provenance("name").await?;
    /// # assert_eq!(question.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn by(mut self, name: &str) -> Self {
        self.by = crate::util::shorten(name, 200);
        self
    }
}

impl<'a> IntoFuture for AnswerRequest<'a> {
    type Output = Result<Run, SessionError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (session, by) = (self.session, self.by);
            let answers = self.answers.checked()?;
            let forwarded = session.shared.replicas.is_some().then(|| {
                let (only, each) = match answers.clone() {
                    Answers::Only(value) => (Some(value), Vec::new()),
                    Answers::Each(each) => (None, each.into_iter().collect()),
                };
                ReplicaCommand::Answer { only, each, by: by.clone() }
            });
            let answer = async move |locked: LockedSession| locked.answer(answers, &by).await;
            match (session.lock().await.complete(answer).await, forwarded) {
                (Err(busy @ SessionError::Busy { .. }), Some(command)) => {
                    session.forward(command, busy).await?;
                    let projection = session.peek().await?;
                    Ok(Run::waiting(session.clone(), projection.run, projection.status, projection.open))
                }
                (answered, _) => answered,
            }
        })
    }
}

impl<S: State> fmt::Debug for RunRequest<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (session, graph) = (self.session.id(), self.graph.name());
        f.debug_struct("RunRequest").field("session", session).field("graph", &graph).finish_non_exhaustive()
    }
}

impl fmt::Debug for JsonRunRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.session.id();
        f.debug_struct("JsonRunRequest")
            .field("session", session)
            .field("graph", &self.graph)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ResumeRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeRequest").field("session", self.session.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for AnswerRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerRequest")
            .field("session", self.session.id())
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}
