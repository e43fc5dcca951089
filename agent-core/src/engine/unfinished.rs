//! Unfinished tasks of a run that was stopped or failed, and the closing update of its graph.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use super::{contain, read_update, tools::RecordedResult};
use crate::{
    graph::Graph,
    journal::{
        entry::Closing,
        keys,
        projection::TaskRecord,
        stored_schedule::{StoredSchedule, StoredTask},
    },
    json::{self, Stored},
    model::{Message, ToolCall},
    state::State,
};

/// A task that was due when its run was stopped or failed; see
/// [`GraphBuilder::on_stop`](crate::graph::GraphBuilder::on_stop).
#[derive(Debug)]
pub struct UnfinishedTask<'a> {
    image: &'a StoredTask,
    record: Option<&'a TaskRecord>,
}

/// The outcome of a tool call in an unfinished task.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CallOutcome {
    /// The call has a result, which is recorded.
    Recorded {
        /// The message that answers the call.
        message: Message,
        /// Whether the message is a preview and the whole result is kept in the long-term memory.
        kept: bool,
    },
    /// The call began and has no result: it may have happened.
    Unknown,
    /// Nothing is recorded: the call did not begin, or only reads.
    Missing,
}

impl UnfinishedTask<'_> {
    /// Returns the name of the node.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .on_stop(|_, unfinished| {
    ///         let nodes: Vec<&str> = unfinished.iter().map(|task| task.node()).collect();
    ///         Some(Draft::update().text(format!("unfinished: {}", nodes.join(", "))))
    ///     })
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn node(&self) -> &str {
        &self.image.1
    }

    /// Returns the input that it was sent, if it has one of this type.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Report { #[state(append)] missing: Vec<String> }
    /// # async fn study(_: &Report, _topic: String, _: &Context) -> agent_core::Result<()> { Ok(()) }
    /// # async fn plan(_: &Report, _: &Context) -> agent_core::Result<()> { Ok(()) }
    /// let graph = Graph::<Report>::builder("report")
    ///     .node("plan", plan)
    ///     .node("study", study)
    ///     .edge(START, "plan")
    ///     .declare_targets("plan", ["study"])
    ///     .edge("study", END)
    ///     .on_stop(|_, unfinished| {
    ///         let topics = unfinished.iter().filter_map(|task| task.input::<String>());
    ///         Some(Report::update().missing(topics))
    ///     })
    ///     .build()?;
    /// # assert_eq!(graph.name(), "report");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn input<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.image.2.as_ref()?.get()).ok()
    }

    /// Returns `true` if the task recorded a step, a tool call, a question or an event.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .on_stop(|_, unfinished| {
    ///         let begun = unfinished.iter().any(|task| task.has_recorded());
    ///         begun.then(|| Draft::update().text("unfinished"))
    ///     })
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn has_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// Returns its update, if the task itself had finished and only its superstep had not.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     // Keeps the update of a task that finished although its superstep did not.
    ///     .on_stop(|_, unfinished| unfinished.iter().find_map(|task| task.update::<Draft>()))
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn update<S: State>(&self) -> Option<S::Update> {
        let finished = self.record?.finished.as_ref()?;
        read_update::<S>(finished.version, finished.update()?, &finished.form).ok()
    }

    /// Returns the outcomes of tool calls, in their order. `calls` must be those that the task handed to
    /// [`RecordedTools`](super::RecordedTools), in the same order.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, engine::CallOutcome, tool::ToolCall};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Chat { calls: Vec<ToolCall>, #[state(append)] log: Vec<String> }
    /// # async fn act(_: &Chat, _: &Context) -> agent_core::Result<()> { Ok(()) }
    /// let graph = Graph::<Chat>::builder("chat")
    ///     .node("act", act)
    ///     .edge(START, "act")
    ///     .edge("act", END)
    ///     .on_stop(|chat, unfinished| {
    ///         let task = unfinished.iter().find(|task| task.node() == "act")?;
    ///         let outcomes = task.call_outcomes(&chat.calls).into_iter().map(|outcome| match outcome {
    ///             CallOutcome::Recorded { message, .. } => message.text().into_owned(),
    ///             CallOutcome::Unknown => "may have happened".to_owned(),
    ///             _ => "did not happen".to_owned(),
    ///         });
    ///         Some(Chat::update().log(outcomes))
    ///     })
    ///     .build()?;
    /// # assert_eq!(graph.name(), "chat");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn call_outcomes<'c>(&self, calls: impl IntoIterator<Item = &'c ToolCall>) -> Vec<CallOutcome> {
        let mut used = HashMap::new();
        let outcome = |call: &ToolCall| {
            let key = format!("tool:{}", keys::next_call(&mut used, None, &call.id));
            let Some(record) = self.record else { return CallOutcome::Missing };
            let step = record.steps.get(&key).and_then(|step| step.result.as_ref().ok());
            match step.and_then(|stored| stored.read::<RecordedResult>().ok()) {
                Some(RecordedResult { message, kept, .. }) => CallOutcome::Recorded { message, kept },
                None if record.call_attempts.get(&key).is_some_and(|times| *times > 0) => {
                    CallOutcome::Unknown
                }
                None => CallOutcome::Missing,
            }
        };
        calls.into_iter().map(outcome).collect()
    }
}

/// Computes the update of `on_stop` for a run that ends early, and its stored form.
pub(crate) fn closing_update<S: State>(
    graph: &Graph<S>,
    state: &S,
    schedule: &StoredSchedule,
    tasks: &HashMap<u64, TaskRecord>,
) -> Option<(Closing, S::Update)> {
    let close = graph.0.on_stop.as_ref()?;
    let due = schedule.due.iter().chain(&schedule.deferred);
    let unfinished: Vec<UnfinishedTask<'_>> =
        due.map(|image| UnfinishedTask { image, record: tasks.get(&image.0) }).collect();
    let closed = contain("(on_stop)", || {
        let update = close(state, &unfinished)?;
        let stored = Stored::update(&update, json::NEW).ok()?;
        Some((Closing { version: S::VERSION, update: stored.json, form: stored.form }, update))
    });
    closed.unwrap_or_else(|error| {
        tracing::error!(graph = graph.name(), %error, "the update for a run that was cut short could not be made");
        None
    })
}
