//! Events: journal entries as subscribers see them, plus streamed text and progress.

mod broadcast;
mod filter;
mod observer;
mod outbox;
mod partial;
pub mod payload;
mod subscription;

pub use crate::json::EventValue;
pub(crate) use broadcast::EventBroadcast;
pub(crate) use filter::Interest;
pub use filter::{EventFilter, EventKind, UpdateForm};
pub(crate) use observer::ObserverCells;
pub use observer::{JournalNotice, JournalNoticeKind, Observer};
pub(crate) use outbox::{Outbox, Outgoing};
pub use subscription::{Subscription, SubscriptionError};

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::{RunId, Seq, SessionId, TaskId},
    journal::entry::{CustomFact, DueNodes, Entry, Fact, Raw},
    journal::stored_schedule::StoredSchedule,
};

/// An event of a session, as subscribers receive it.
///
/// A numbered event is published only after its journal entry is stored, so a crash cannot undo an event that was
/// delivered. Events without a number (tokens, progress, node starts) are not stored. See
/// [`Subscription::next`] and [`Session::events`](crate::Session::events) for examples.
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
///     let event = event?;
///     println!("{} {:?}: {:?}", event.session, event.seq, event.body.kind());
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
// Without the example.
#[schemars(
    description = "An event of a session, as subscribers receive it.\n\nA numbered event is published only after its journal entry is stored, so a crash cannot undo an event that was\ndelivered. Events without a number (tokens, progress, node starts) are not stored. See\n[`Subscription::next`] and [`Session::events`](crate::Session::events) for examples."
)]
pub struct Event {
    /// Number of the entry in the journal. Numbers increase but need not be consecutive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// Time of the event, in milliseconds since 1970.
    pub at: i64,
    /// The session.
    #[schemars(with = "String")]
    pub session: SessionId,
    /// The run.
    pub run: RunId,
    /// The task of the event; `outer#3/inner#2` inside a subgraph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub task: Option<Arc<TaskId>>,
    /// Kind and payload of the event.
    #[serde(flatten)]
    pub body: EventBody,
}

/// Kind and payload of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "each variant carries the struct of its name, which is documented in `payload`"
)]
pub enum EventBody {
    RunQueued(payload::RunQueued),
    RunDequeued(payload::RunDequeued),
    RunStarted(payload::RunStarted),
    RunPaused(payload::RunPaused),
    RunResumed(payload::RunResumed),
    RunStopped(payload::RunStopped),
    RunFailed(payload::RunFailed),
    RunCompleted(payload::RunCompleted),
    RunRolledBack(payload::RunRolledBack),
    SuperstepCommitted(payload::SuperstepCommitted),
    NodeStarted(payload::NodeStarted),
    NodeFinished(payload::NodeFinished),
    NodeFailed(payload::NodeFailed),
    StepRecorded(payload::StepRecorded),
    ToolCalled(payload::ToolCalled),
    ToolArguments(payload::ToolArguments),
    Token(payload::Token),
    Reasoning(payload::Reasoning),
    TokensVoided(payload::TokensVoided),
    QuestionAsked(payload::QuestionAsked),
    QuestionAnswered(payload::QuestionAnswered),
    QuestionWithdrawn(payload::QuestionWithdrawn),
    TodoUpdated(payload::TodoUpdated),
    Custom(payload::Custom),
    Progress(payload::Progress),
    SubgraphStarted(payload::SubgraphStarted),
    StateEdited(payload::StateEdited),
    SessionForked(payload::SessionForked),
    Gap(payload::Gap),
}

/// Policy for events of one kind if a subscriber is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropPolicy {
    /// Never dropped: read from the journal, or reported as a gap.
    Never,
    /// The text is joined with the following text.
    Merge,
    /// Only the latest one is kept.
    Latest,
}

impl EventBody {
    /// Returns the policy for events of this kind if a subscriber is too slow.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, ids::Seq, journal::InMemoryJournal};
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
    /// # use agent_core::event::DropPolicy;
    /// session.run(&graph, Count::update()).await?;
    /// let first = &session.events(Seq::ZERO, 1).await?[0];
    /// assert_eq!(first.body.drop_policy(), DropPolicy::Never);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn drop_policy(&self) -> DropPolicy {
        match self {
            // No `_`: a new event must choose.
            Self::RunQueued(_)
            | Self::RunDequeued(_)
            | Self::RunStarted(_)
            | Self::RunPaused(_)
            | Self::RunResumed(_)
            | Self::RunStopped(_)
            | Self::RunFailed(_)
            | Self::RunCompleted(_)
            | Self::RunRolledBack(_)
            | Self::SuperstepCommitted(_)
            | Self::NodeFinished(_)
            | Self::NodeFailed(_)
            | Self::StepRecorded(_)
            | Self::ToolCalled(_)
            | Self::TokensVoided(_)
            | Self::QuestionAsked(_)
            | Self::QuestionAnswered(_)
            | Self::QuestionWithdrawn(_)
            | Self::TodoUpdated(_)
            | Self::Custom(_)
            | Self::SubgraphStarted(_)
            | Self::StateEdited(_)
            | Self::SessionForked(_)
            | Self::Gap(_) => DropPolicy::Never,
            Self::Token(_) | Self::Reasoning(_) | Self::ToolArguments(_) => DropPolicy::Merge,
            Self::Progress(_) | Self::NodeStarted(_) => DropPolicy::Latest,
        }
    }

    /// Returns whether the run ends or pauses with this event.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, ids::Seq, journal::InMemoryJournal};
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
    /// session.run(&graph, Count::update()).await?;
    /// let events = session.events(Seq::ZERO, 100).await?;
    /// assert!(events.last().is_some_and(|event| event.body.ends_run()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn ends_run(&self) -> bool {
        matches!(self, Self::RunPaused(_) | Self::RunStopped(_) | Self::RunFailed(_) | Self::RunCompleted(_))
    }
}

impl Event {
    /// Converts a journal entry into an event.
    pub(crate) fn of(session: &SessionId, entry: &Entry) -> Self {
        let (task, body) = read(&entry.fact);
        Self { seq: Some(entry.seq), at: entry.at, session: session.clone(), run: entry.run, task, body }
    }

    /// As [`of`](Self::of). Moves the content of custom events, of which a node may emit many.
    pub(crate) fn from_entry(session: &SessionId, entry: Entry) -> Self {
        let Fact::Custom(custom) = entry.fact else { return Self::of(session, &entry) };
        let (task, body) = read_custom(custom);
        Self { seq: Some(entry.seq), at: entry.at, session: session.clone(), run: entry.run, task, body }
    }

    /// Returns the JSON Schema of a serialized event.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Event;
    /// let schema = Event::schema();
    /// assert!(schema["properties"].get("session").is_some());
    /// ```
    #[must_use]
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }
}

/// Name of the custom event of a message that steers the agent; see [`Session::steer`](crate::Session::steer).
pub const STEERED: &str = "steered";

/// The event of a gap.
fn gap(session: &SessionId, gap: payload::Gap) -> Event {
    Event { seq: None, at: 0, session: session.clone(), run: RunId(0), task: None, body: EventBody::Gap(gap) }
}

fn read_custom(CustomFact { task, name, value }: CustomFact) -> (Option<Arc<TaskId>>, EventBody) {
    (Some(task), EventBody::Custom(payload::Custom { name, value }))
}

fn read(fact: &Fact) -> (Option<Arc<TaskId>>, EventBody) {
    match fact {
        Fact::RunAccepted(accepted) => {
            let pauses = accepted.pauses.as_deref();
            (
                None,
                EventBody::RunStarted(payload::RunStarted {
                    graph: accepted.graph.to_string(),
                    next: due(accepted.due.as_ref(), &accepted.schedule).next,
                    break_before: pauses.map(|pauses| pauses.before.clone()).unwrap_or_default(),
                    break_after: pauses.map(|pauses| pauses.after.clone()).unwrap_or_default(),
                }),
            )
        }
        Fact::RunQueued(queued) => {
            (None, EventBody::RunQueued(payload::RunQueued { graph: queued.graph.to_string() }))
        }
        Fact::RunDequeued(dequeued) => (
            None,
            EventBody::RunDequeued(payload::RunDequeued {
                code: dequeued.code.clone(),
                message: dequeued.message.clone(),
            }),
        ),
        Fact::RunResumed(_) => (None, EventBody::RunResumed(payload::RunResumed {})),
        Fact::RunPaused(paused) => {
            (None, EventBody::RunPaused(payload::RunPaused { questions: paused.questions.clone() }))
        }
        Fact::RunStopped(stopped) => {
            (None, EventBody::RunStopped(payload::RunStopped { drained: stopped.drained }))
        }
        Fact::RunFailed(failure) => (
            failure.task.clone().map(Arc::new),
            EventBody::RunFailed(payload::RunFailed {
                code: failure.code.clone(),
                message: failure.message.clone(),
                node: failure.node.clone(),
            }),
        ),
        Fact::RunCompleted(completed) => (
            None,
            EventBody::RunCompleted(payload::RunCompleted {
                active_ms: completed.active_ms,
                supersteps: completed.supersteps,
            }),
        ),
        Fact::RunRolledBack(_) => (None, EventBody::RunRolledBack(payload::RunRolledBack {})),
        Fact::SuperstepCommitted(committed) => {
            let DueNodes { superstep, next } = due(committed.due.as_ref(), &committed.schedule);
            let body = payload::SuperstepCommitted { superstep, next, committed: None };
            (committed.of.clone(), EventBody::SuperstepCommitted(body))
        }
        Fact::TaskCommitted(committed) => {
            let next = due(committed.due.as_ref(), &committed.schedule).next;
            let (superstep, task) = (committed.version, committed.task.to_string());
            let body = payload::SuperstepCommitted { superstep, next, committed: Some(task) };
            (committed.task.parent().cloned(), EventBody::SuperstepCommitted(body))
        }
        Fact::TaskFinished(finished) => (
            Some(Arc::clone(&finished.task)),
            EventBody::NodeFinished(payload::NodeFinished {
                node: finished.task.node().to_string(),
                update: finished.shown.clone().unwrap_or_else(|| value(finished.update())),
                cached: finished.cached,
            }),
        ),
        Fact::TaskFailed(failure) => (
            Some(Arc::clone(&failure.task)),
            EventBody::NodeFailed(payload::NodeFailed {
                node: failure.task.node().to_string(),
                attempt: failure.attempt,
                code: failure.code.clone(),
                message: failure.message.clone(),
                retry_in_ms: failure.retry_in_ms,
                handler: failure.handler.clone(),
            }),
        ),
        Fact::StepRecorded(recorded) => (
            Some(Arc::clone(&recorded.task)),
            EventBody::StepRecorded(payload::StepRecorded {
                key: recorded.key.clone(),
                kind: recorded.kind.clone(),
                ms: recorded.ms,
                error: recorded.error.clone(),
                value: (recorded.kind != "step").then(|| value(recorded.value.as_ref())),
                usage: recorded.usage,
            }),
        ),
        Fact::ToolBegun(begun) => (
            Some(Arc::clone(&begun.task)),
            EventBody::ToolCalled(payload::ToolCalled {
                call_id: begun.call_id.clone(),
                name: begun.name.clone(),
                arguments: begun.arguments.clone(),
                key: begun.key.clone(),
            }),
        ),
        Fact::QuestionAsked(open) => (
            Some(Arc::clone(&open.task)),
            EventBody::QuestionAsked(payload::QuestionAsked { open: open.clone() }),
        ),
        Fact::QuestionAnswered(answered) => (
            Some(Arc::clone(&answered.task)),
            EventBody::QuestionAnswered(payload::QuestionAnswered {
                id: answered.id.clone(),
                value: answered.value.clone(),
                by: answered.by.clone(),
            }),
        ),
        Fact::QuestionWithdrawn(withdrawn) => (
            Some(Arc::clone(&withdrawn.task)),
            EventBody::QuestionWithdrawn(payload::QuestionWithdrawn { id: withdrawn.id.clone() }),
        ),
        Fact::TodoChanged(change) => (
            change.by.as_ref().map(|(task, _)| Arc::clone(task)),
            EventBody::TodoUpdated(payload::TodoUpdated { todo: change.todo.clone() }),
        ),
        Fact::Custom(custom) => read_custom(custom.clone()),
        Fact::FrameOpened(frame) => (
            Some(Arc::clone(&frame.task)),
            EventBody::SubgraphStarted(payload::SubgraphStarted {
                next: due(frame.due.as_ref(), &frame.schedule).next,
            }),
        ),
        Fact::Steered(steered) => (
            None,
            EventBody::Custom(payload::Custom {
                name: STEERED.to_owned(),
                value: serde_json::json!({ "message": steered.message.id, "text": steered.message.text() })
                    .into(),
            }),
        ),
        Fact::StateEdited(edited) => (
            None,
            EventBody::StateEdited(payload::StateEdited {
                node: edited.node.clone(),
                update: value(Some(&edited.update)),
            }),
        ),
        Fact::SessionForked(forked) => (
            None,
            EventBody::SessionForked(payload::SessionForked {
                from: forked.from.to_string(),
                seq: forked.seq,
            }),
        ),
    }
}

fn value(raw: Option<&Raw>) -> EventValue {
    raw.map_or_else(EventValue::default, EventValue::raw)
}

/// The superstep that a commit closed, and the nodes that are due next: as the writer knew them, or read from the stored
/// schedule, which already counts the superstep that is due.
fn due(known: Option<&DueNodes>, schedule: &Raw) -> DueNodes {
    if let Some(known) = known {
        return known.clone();
    }
    let stored: StoredSchedule = crate::json::read(schedule.get()).unwrap_or_default();
    let superstep = stored.superstep - u64::from(!stored.due.is_empty() && stored.superstep > 0);
    DueNodes { superstep, next: stored.due.into_iter().map(|task| task.1).collect() }
}
