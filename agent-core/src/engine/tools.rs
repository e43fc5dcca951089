//! [`RecordedTools`]: tool calls as recorded steps, validated and approved.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use futures::{FutureExt, future::join_all, task::AtomicWaker};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Ask, Context, scope::InScope, tool_host::ContextToolHost};
use crate::{
    event::{EventBody, payload},
    graph::{NodeError, Result},
    interrupt::Question,
    journal::entry::{Fact, ToolBegun},
    model::Message,
    run::BudgetUsage,
    telemetry,
    tool::{
        ApprovalRequest, Decision, DecisionOutcome, InterruptedCallPolicy, PreparedCall, RegistryError,
        StandingApprovals, ToolCall, ToolContext, ToolError, ToolFault, ToolOutput, ToolRegistry, ToolReply,
        ToolSpec, Truncation, keep_result,
    },
};

/// A set of tools with recorded calls; see [`Context::tools`].
///
/// A fault of a call (unknown tool, invalid arguments, failure, timeout, rejection) is returned to the model as the
/// result of the call, unless [`failing_on`](RecordedTools::failing_on) makes it end the run.
#[derive(Debug)]
pub struct RecordedTools {
    cx: Context,
    registry: ToolRegistry,
    remembered: Mutex<StandingApprovals>,
    fatal: Vec<ToolFault>,
    /// A result in this task was too long for the model and is stored completely.
    kept: AtomicBool,
    /// Parent of todos added by tools.
    under: Option<String>,
    /// Values that tools read.
    values: Arc<Map<String, Value>>,
    /// Values that calls set, by the number of the call.
    changed: Mutex<BTreeMap<u64, Map<String, Value>>>,
    /// Number of calls so far.
    calls: AtomicU64,
}

/// Error of a tool call with a fault that ends the run; see [`RecordedTools::failing_on`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool `{tool}` ({}): {reason}", .fault.code())]
#[non_exhaustive]
pub struct ToolFailed {
    /// The tool, as the model wrote it, cut.
    pub tool: String,
    /// The call.
    pub call_id: String,
    /// The kind of fault.
    pub fault: ToolFault,
    /// The message that the model would have read.
    pub reason: String,
}

/// Recorded result of a call. The message is stored as it will be in the state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecordedResult {
    pub(super) message: Message,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<ToolFault>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<Truncation>,
    /// The whole result is kept in the long-term memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) kept: bool,
    /// Values that the tool set.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    values: Map<String, Value>,
}

impl From<ToolReply> for RecordedResult {
    fn from(reply: ToolReply) -> Self {
        let (fault, cut) = (reply.fault, reply.cut);
        Self { message: reply.into_message(), fault, cut, kept: false, values: Map::new() }
    }
}

/// Whether a call runs in the task of the node or in a spawned task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spawned {
    No,
    Yes,
}

impl RecordedTools {
    pub(super) fn new(cx: Context, registry: ToolRegistry) -> Self {
        let kept = AtomicBool::new(false);
        let (values, changed) = (Arc::default(), Mutex::default());
        let (remembered, fatal, under) = (Mutex::default(), Vec::new(), None);
        Self { cx, registry, remembered, fatal, kept, under, values, changed, calls: AtomicU64::new(0) }
    }

    /// Limits the set to the tools in `allowed`, which contains names of tools and of groups.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] with every name that is neither a tool nor a group.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool, tool::{ToolError, ToolRegistry}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let tools = cx.tools()?.allow(["count_words"])?;
    ///     assert_eq!(tools.specs().len(), 1);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn allow<I>(mut self, allowed: I) -> Result<Self, RegistryError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.registry = self.registry.allow(allowed)?;
        Ok(self)
    }

    /// Sets the faults that fail the run instead of being returned to the model. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::{engine::ToolFailed, tool::{ToolCall, ToolError, ToolFault, ToolRegistry}};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let tools = cx.tools()?.failing_on([ToolFault::Unknown]);
    ///     let error = tools.call(ToolCall::new("count_pages", &json!({}))).await.unwrap_err();
    ///     let failed = error.downcast_ref::<ToolFailed>().expect("an unknown tool ends the run");
    ///     assert_eq!(failed.fault, ToolFault::Unknown);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn failing_on(mut self, faults: impl IntoIterator<Item = ToolFault>) -> Self {
        self.fatal.extend(faults);
        self
    }

    /// Sets the todo that is the parent of todos added by tools. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::tool::{ToolCall, ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().start("check", "Check the text")?;
    ///     let tools = cx.tools()?.under(todo.id());
    /// #     tools.call(ToolCall::new("count_words", &json!({ "text": "Dear Ana" }))).await?;
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn under(mut self, todo: impl Into<String>) -> Self {
        self.under = Some(todo.into());
        self
    }

    /// Sets the values that tools read with [`ToolContext::value`] and change with [`ToolContext::set_value`]. Keep the
    /// [changed](Self::changed_values) ones in the state. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool, tool::{ToolContext, ToolError, ToolRegistry}};
    /// # use agent_core::tool::ToolCall;
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::{Map, Value, json};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { values: Map<String, Value> }
    /// /// Notes the tone of the text.
    /// #[tool]
    /// async fn set_tone(tone: String, cx: &ToolContext) -> Result<String, ToolError> {
    ///     let before = cx.value("tone").unwrap_or_default();
    ///     cx.set_value("tone", tone)?;
    ///     Ok(format!("it was {before}"))
    /// }
    ///
    /// async fn write(draft: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let tools = cx.tools()?.with_values(draft.values.clone());
    ///     tools.call(ToolCall::new("set_tone", &json!({ "tone": "friendly" }))).await?;
    ///     let mut values = draft.values.clone();
    ///     values.extend(tools.changed_values());
    ///     Ok(Draft::update().values(values))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(set_tone).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write).path([START, "write", END]).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// let outcome = session.run(&graph, Draft::update()).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.values["tone"], "friendly");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_values(mut self, values: Map<String, Value>) -> Self {
        self.values = Arc::new(values);
        self
    }

    /// Returns the values that calls have set. Of two calls that set the same one, the later call counts. A call that
    /// failed sets none.
    ///
    /// # Examples
    ///
    /// See [`with_values`](Self::with_values).
    #[must_use]
    pub fn changed_values(&self) -> Map<String, Value> {
        self.changed.lock().values().flat_map(Map::clone).collect()
    }

    /// Sets the standing approvals. Keep them in the state, so that they last as long as the session. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::tool::{StandingApprovals, ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     // From the state of the session.
    ///     let approvals = StandingApprovals::default();
    ///     let tools = cx.tools()?.with_approvals(approvals);
    /// #     assert_eq!(tools.remembered(), StandingApprovals::default());
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_approvals(self, remembered: StandingApprovals) -> Self {
        *self.remembered.lock() = remembered;
        self
    }

    /// Returns the standing approvals, including those given through this set.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::tool::{StandingApprovals, ToolCall, ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let tools = cx.tools()?;
    ///     tools.call(ToolCall::new("count_words", &json!({ "text": "Dear Ana" }))).await?;
    ///     // The call needed no approval, so none is remembered.
    ///     assert_eq!(tools.remembered(), StandingApprovals::default());
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn remembered(&self) -> StandingApprovals {
        self.remembered.lock().clone()
    }

    /// Returns `true` if a result in this task was too long for the model and is stored completely in the long-term
    /// memory, where [`ReadResult`](crate::tool::ReadResult) reads it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::tool::{ToolCall, ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let tools = cx.tools()?;
    ///     tools.call(ToolCall::new("count_words", &json!({ "text": "Dear Ana" }))).await?;
    ///     assert!(!tools.kept_results());
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn kept_results(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Returns the underlying registry.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool, tool::{ToolError, ToolRegistry}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     assert!(cx.tools()?.registry().tool("count_words").is_some());
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn registry(&self) -> &ToolRegistry {
        &self.registry
    }

    /// Returns the specifications for the model, in the order in which the tools were added.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::model::{Model, ModelRequest, testing::{Scripted, Turn}};
    /// # use agent_core::tool::{ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let request = ModelRequest::new("How many words has \"Dear Ana\"?").tools(cx.tools()?.specs());
    ///     let reply = cx.model()?.complete(request).await?;
    /// #     assert_eq!(reply.message.text(), "two");
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let model = Model::new(Scripted::new([Turn::text("two")]));
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).model(model).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn specs(&self) -> Arc<[ToolSpec]> {
        self.registry.specs()
    }

    /// Executes one call and returns the message that answers it.
    ///
    /// A call that needs approval is a question with the key `approve:<call id>`; its details are the
    /// [`ApprovalRequest`], an answer is a [`Decision`] (or just `"approve"`, `"reject"`, `true`, `false`).
    /// The call itself is a step with the key `tool:<call id>`, so it is executed once in this task. After a crash or a stop
    /// during a call, the call is repeated with the same idempotency key if its [`Effect`](crate::tool::Effect) allows it;
    /// otherwise the result says that the outcome is unknown, or a person is asked: see [`InterruptedCallPolicy`].
    ///
    /// # Errors
    ///
    /// [`LimitError`](super::LimitError) if the budget does not allow the call; [`ToolFailed`] for a fault that ends the run;
    /// an error if the journal cannot be written.
    ///
    /// # Cancel safety
    ///
    /// As [`Context::step`] and [`Context::ask`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::tool::{ToolCall, ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let call = ToolCall::new("count_words", &json!({ "text": "Dear Ana" }));
    ///     let message = cx.tools()?.call(call.clone()).await?;
    ///     assert_eq!(message.tool_call_id, Some(call.id));
    ///     assert_eq!(message.text(), "2");
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn call(&self, call: ToolCall) -> Result<Message> {
        let name = self.next_name(&call);
        self.execute_call(name, call, Spawned::No).await
    }

    /// Executes the calls of one turn in parallel and returns their messages in the order of the calls.
    ///
    /// With two or more calls, each tool runs in a spawned task, so that tools that compute or block overlap on a runtime
    /// with several threads. A panic of a tool is the result of its call.
    ///
    /// # Errors
    ///
    /// As [`call`](RecordedTools::call). If several calls fail, the error of the first one is returned once all calls have
    /// ended and are recorded.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the calls that have not finished. What is recorded stays recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::tool::{ToolCall, ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let calls = ["Dear Ana", "Yours"].map(|text| ToolCall::new("count_words", &json!({ "text": text })));
    ///     let messages = cx.tools()?.call_all(calls).await?;
    ///     assert_eq!(messages.iter().map(|message| message.text()).collect::<Vec<_>>(), ["2", "1"]);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn call_all(&self, calls: impl IntoIterator<Item = ToolCall>) -> Result<Vec<Message>> {
        let named: Vec<((String, u64), ToolCall)> =
            calls.into_iter().map(|call| (self.next_name(&call), call)).collect();
        if named.len() < 2 {
            let mut messages = Vec::with_capacity(1);
            for (name, call) in named {
                messages.push(self.execute_call(name, call, Spawned::No).await?);
            }
            return Ok(messages);
        }
        let calls = named.into_iter().map(|(name, call)| self.execute_call(name, call, Spawned::Yes));
        let mut calls = join_all(calls);
        let mut held = Some(self.cx.attempt_handle().hold()?);
        let polled = std::future::poll_fn(|cx| {
            let polled = calls.poll_unpin(cx);
            // All calls have started.
            drop(held.take());
            polled
        });
        polled.await.into_iter().collect()
    }

    /// Returns the name of a call within its task, and its number among those of this set.
    fn next_name(&self, call: &ToolCall) -> (String, u64) {
        let name = self.cx.attempt_handle().next_call_name(&call.id);
        (name, self.calls.fetch_add(1, Ordering::Relaxed))
    }

    async fn execute_call(
        &self,
        (name, number): (String, u64),
        call: ToolCall,
        spawned: Spawned,
    ) -> Result<Message> {
        let settled = match self.registry.prepare(call.clone()) {
            Ok(prepared) => self.approved(&name, prepared).await?,
            Err(error) => CallDecision::Answer(Err(error), usize::MAX),
        };
        let key = format!("tool:{name}");
        let one = BudgetUsage { tool_calls: 1, ..BudgetUsage::default() };
        let settled = match settled {
            CallDecision::Run(prepared) => self.known_outcome(&name, &key, prepared).await?,
            settled => settled,
        };
        let recorded: RecordedResult = match settled {
            CallDecision::Run(prepared) => {
                let run = self.run(&name, key.clone(), prepared, spawned);
                self.cx.step_as("tool", key, Some(one), run).await?
            }
            CallDecision::CutShort(prepared) => {
                // The call may have had an effect, so it is charged.
                let reply =
                    RecordedResult::from(prepared.reply(&Err(ToolError::outcome_unknown(prepared.name()))));
                self.cx.step_as("tool", key, Some(one), async { (Ok(reply), Some(one)) }).await?
            }
            CallDecision::Answer(result, limit) => {
                let reply = RecordedResult::from(ToolReply::new(&call, &result, limit));
                self.cx.step_as("tool", key, None, async { (Ok(reply), None) }).await?
            }
        };
        if !recorded.values.is_empty() {
            self.changed.lock().insert(number, recorded.values);
        }
        if recorded.kept {
            self.kept.store(true, Ordering::Relaxed);
        }
        match recorded.fault {
            Some(fault) if self.fatal.contains(&fault) => Err(ToolFailed {
                tool: crate::util::shorten(&call.name, 64),
                call_id: call.id,
                fault,
                reason: crate::util::shorten(&recorded.message.text(), 1_000),
            }
            .into()),
            _ => Ok(recorded.message),
        }
    }

    /// Handles a call that started earlier and has no result, by its [`InterruptedCallPolicy`].
    async fn known_outcome(&self, name: &str, key: &str, prepared: PreparedCall) -> Result<CallDecision> {
        let times = if prepared.policy().notes_begin() { self.cx.replay().call_attempts(key) } else { 0 };
        if times == 0 {
            return Ok(CallDecision::Run(prepared));
        }
        if prepared.policy().interrupted != InterruptedCallPolicy::Ask {
            return Ok(CallDecision::CutShort(prepared));
        }
        for time in 1..=times {
            let prompt = format!(
                "the call of `{}` was interrupted, and its effect may have happened; call it again?",
                prepared.name()
            );
            let details = json!({
                "call_id": prepared.id(), "tool": prepared.name(), "arguments": prepared.args(), "times": time,
            });
            let question = Question::choose(prompt, ["repeat", "leave"]).details(details);
            let key = format!("repeat:{name}/{time}");
            if Ask::<String>::engine(self.cx.attempt_handle(), key, question).await? != "repeat" {
                return Ok(CallDecision::CutShort(prepared));
            }
        }
        Ok(CallDecision::Run(prepared))
    }

    /// Requests an approval if the call needs one. Runs before the call's step.
    async fn approved(&self, name: &str, prepared: PreparedCall) -> Result<CallDecision> {
        let limit = prepared.policy().result_limit;
        let Some(shown) = prepared.approval_for(&self.remembered.lock()) else {
            return Ok(CallDecision::Run(prepared));
        };
        let mut refused = None;
        for round in 1_u32.. {
            let key = if round == 1 { format!("approve:{name}") } else { format!("approve:{name}/{round}") };
            let question = question(&shown, refused.as_deref())?;
            let answer: Value = Ask::engine(self.cx.attempt_handle(), key, question).await?;
            let decision = read(answer)?;
            let given = matches!(decision, Decision::Approve {});
            match prepared.clone().decide(&shown, decision) {
                Ok(DecisionOutcome::Run(prepared)) => {
                    if given {
                        self.remembered.lock().remember(&prepared);
                    }
                    return Ok(CallDecision::Run(prepared));
                }
                Ok(DecisionOutcome::Answer(result)) => return Ok(CallDecision::Answer(result, limit)),
                // The edited arguments are invalid: ask again, with the reason.
                Err(error) => refused = Some(error.for_model().to_owned()),
            }
        }
        unreachable!("a person is asked until the answer can be used")
    }

    async fn run(
        &self,
        name: &str,
        key: String,
        prepared: PreparedCall,
        spawned: Spawned,
    ) -> (Result<RecordedResult>, Option<BudgetUsage>) {
        let cx = &self.cx;
        let used = Some(BudgetUsage { tool_calls: 1, ..BudgetUsage::default() });
        let noted = prepared.policy().notes_begin().then(|| ToolBegun {
            task: cx.task(),
            key: key.clone(),
            call_id: prepared.id().to_owned(),
            name: prepared.name().to_owned(),
            arguments: prepared.args().clone(),
        });
        if noted.is_some()
            && let Err(ended) = cx.attempt_handle().mark_call_started(&key)
        {
            return (Err(ended.into()), None);
        }
        if let Some(begun) = noted.as_ref().filter(|_| cx.scope.env.writer.is_durable()) {
            if let Err(error) = cx.attempt_handle().record(Fact::ToolBegun(begun.clone())).await {
                return (Err(error), None);
            }
        } else if cx.scope.env.writer.is_watched() {
            cx.emit_ephemeral(EventBody::ToolCalled(payload::ToolCalled {
                call_id: prepared.id().to_owned(),
                name: prepared.name().to_owned(),
                arguments: prepared.args().clone(),
                key: key.clone(),
            }));
        }
        let idempotency_key = cx.idempotency_key(&key);
        let values = Arc::clone(&self.values);
        let host = Arc::new(ContextToolHost::new(cx.clone(), self.under.clone(), name, noted, values));
        let context =
            ToolContext::new(prepared.id(), idempotency_key.clone(), cx.scope.env.control.stop.token())
                .hosted(Arc::clone(&host) as _);
        let span = telemetry::tool(prepared.name(), prepared.id(), cx.session());
        telemetry::tool_called(&span, prepared.args());
        let result = match spawned {
            Spawned::No => prepared.run(&context).instrument(span.clone()).await,
            Spawned::Yes => {
                let own = prepared.clone();
                self.in_a_task(async move { own.run(&context).await }.instrument(span.clone())).await
            }
        };
        if let Err(error) = &result {
            if error.fault() == ToolFault::Cancelled && cx.scope.env.control.stop.is_cancelled() {
                // A call that a stop interrupts is not recorded: a resume repeats it with the same key.
                return std::future::pending().await;
            }
            telemetry::failed(&span, error.fault().code());
            tracing::debug!(tool = prepared.name(), fault = error.fault().code(), cause = ?error.cause(), "tool call failed");
        }
        let mut reply = prepared.reply(&result);
        telemetry::tool_replied(&span, &reply.text);
        let mut kept = false;
        if let (Some(_), Ok(output)) = (reply.cut, &result)
            && let Some(note) = self.keep(&idempotency_key, prepared.name(), &output.to_text()).await
        {
            reply.text.push_str(&note);
            kept = true;
        }
        let values = if result.is_ok() { host.take_values() } else { Map::new() };
        (Ok(RecordedResult { kept, values, ..reply.into() }), used)
    }

    /// Runs a tool as a task of the run. Dropping this future cancels the task.
    async fn in_a_task<F>(&self, tool: F) -> Result<ToolOutput, ToolError>
    where
        F: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
    {
        let of = self.cx.attempt_handle();
        let (answer, mut result) = oneshot::channel();
        let cancelled = CancellationToken::new();
        let _cancel = cancelled.clone().drop_guard();
        let node = Arc::new(AtomicWaker::new());
        let waiting = Arc::clone(&node);
        let mut tool = AssertUnwindSafe(InScope::inherit(of.clone(), tool)).catch_unwind();
        let mut waited = false;
        let tool = std::future::poll_fn(move |cx| {
            if std::mem::take(&mut waited) {
                // The wait may have ended: restart the timeouts of the node before the tool continues, because it may
                // block this thread.
                node.wake();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let polled = tool.poll_unpin(cx);
            if polled.is_pending() {
                // Polled by the node's future, which checks for open questions and for the requests of a replay.
                node.wake();
                waited = of.is_partly_suspended();
            }
            polled
        });
        self.cx.scope.env.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => {}
                done = tool => {
                    // The receiver does not exist if the call was dropped at the same time.
                    answer.send(done).ok();
                }
            }
        });
        let result = std::future::poll_fn(|cx| {
            waiting.register(cx.waker());
            result.poll_unpin(cx)
        });
        match result.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(ToolError::panicked(&*panic)),
            // The run is ending, and this future will be dropped.
            Err(_) => std::future::pending().await,
        }
    }

    /// Keeps a result that is too long for the model in the long-term memory. Returns a note for the model.
    async fn keep(&self, id: &str, tool: &str, whole: &str) -> Option<String> {
        let memory = self.cx.scope.env.deps.memory.as_ref()?;
        if let Err(error) = keep_result(&**memory, self.cx.session(), id, tool, whole).await {
            tracing::warn!(tool, %error, "a long result was not kept");
            return None;
        }
        Some(format!("\n[the whole result has {} bytes and is kept as `{id}`]", whole.len()))
    }
}

enum CallDecision {
    Run(PreparedCall),
    /// The call started earlier, and its outcome is unknown.
    CutShort(PreparedCall),
    /// The result is known; the limit is the number of bytes that the model gets.
    Answer(Result<ToolOutput, ToolError>, usize),
}

fn question(shown: &ApprovalRequest, refused: Option<&str>) -> Result<Question> {
    let mut prompt = format!("May `{}` run?", shown.tool);
    if let Some(reason) = refused {
        prompt = format!("{prompt} The edited arguments cannot be used: {reason}");
    }
    let decision = schemars::schema_for!(Decision).to_value();
    let schema = json!({ "anyOf": [{ "enum": ["approve", "reject", true, false] }, decision] });
    let details = serde_json::to_value(shown).map_err(NodeError::permanent)?;
    let labels = [["yes", "y", "승인", "예", "네"], ["no", "n", "거절", "아니요", "아니오"]];
    let question = Question::choose(prompt, ["approve", "reject"]).labels(labels).or_anything();
    Ok(question.schema(hoisted(schema)).details(details))
}

/// Moves definitions to the root of the schema, where references expect them.
fn hoisted(mut schema: Value) -> Value {
    let definitions = schema["anyOf"][1].as_object_mut().and_then(|inner| inner.shift_remove("$defs"));
    if let (Some(definitions), Some(outer)) = (definitions, schema.as_object_mut()) {
        outer.insert("$defs".to_owned(), definitions);
    }
    schema
}

fn read(answer: Value) -> Result<Decision> {
    match &answer {
        Value::Bool(true) => return Ok(Decision::Approve {}),
        Value::Bool(false) => return Ok(Decision::Reject { reason: String::new() }),
        Value::String(word) if word == "approve" => return Ok(Decision::Approve {}),
        Value::String(word) if word == "reject" => return Ok(Decision::Reject { reason: String::new() }),
        _ => {}
    }
    serde_json::from_value(answer).map_err(NodeError::permanent)
}
