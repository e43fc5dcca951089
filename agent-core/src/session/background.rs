//! Background agents: tools with which an agent starts, checks and cancels the work of another one in a separate session.

use std::{fmt, sync::Weak};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{RunOptions, Runtime, Session, SessionError, runtime::Shared};
use crate::{
    agent::AgentState,
    graph::Graph,
    ids::SessionId,
    run::RunStatus,
    tool::{
        DynamicTool, Effect, RegistryError, ToolContext, ToolError, ToolOutput, ToolPolicy, ToolRegistry,
    },
};

/// Label of a background session: the session that started it.
const STARTED_BY: &str = "started_by";

/// An agent that works in the background: it is started by a tool call, in a separate session, and outlives the turn, the
/// run and the process that started it.
///
/// The tools are `start_<agent>` (a task in words; returns an id), `check_<agent>` (status and answer of an id) and
/// `cancel_<agent>`. A session sees only what it started. The context of the run is that of the run that started it. After a
/// restart, [`Runtime::recover`] resumes background runs like all others. For work that the agent waits for, use
/// [`AgentBuilder::sub_agent`](crate::agent::AgentBuilder::sub_agent).
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}, session::BackgroundAgent};
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::builder().build();
/// let model = Model::new(Scripted::new([Turn::text("Ten pages.")]));
/// let researcher = Agent::builder("researcher").model(model).build()?;
/// let tools = BackgroundAgent::new(&runtime, &researcher).tools()?;
///
/// let script = [Turn::call("start_researcher", json!({ "task": "Sun cream" })), Turn::text("It is being researched.")];
/// let lead = Agent::builder("lead").tools(tools).model(Model::new(Scripted::new(script))).build()?;
/// let reply = runtime.session("s1")?.chat(&lead, "Research sun cream.").await?.text().to_owned();
/// assert_eq!(reply, "It is being researched.");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct BackgroundAgent {
    /// Not owned: an agent with these tools may be registered with the runtime.
    runtime: Weak<Shared>,
    agent: Graph<AgentState>,
}

#[derive(Deserialize)]
struct Start {
    task: String,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

impl BackgroundAgent {
    /// Creates the tools for an agent, and registers it with the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}, session::BackgroundAgent};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = Runtime::builder().build();
    /// let model = Model::new(Scripted::new([Turn::text("Ten pages.")]));
    /// let researcher = Agent::builder("researcher").model(model).build()?;
    /// let background = BackgroundAgent::new(&runtime, &researcher);
    /// # drop(background);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn new(runtime: &Runtime, agent: &Graph<AgentState>) -> Self {
        runtime.register(agent);
        Self { runtime: runtime.0.me.clone(), agent: agent.clone() }
    }

    /// Returns the three tools.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]: the name of the agent is too long.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}, session::BackgroundAgent};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = Runtime::builder().build();
    /// let model = Model::new(Scripted::new([Turn::text("Ten pages.")]));
    /// let researcher = Agent::builder("researcher").model(model).build()?;
    /// let tools = BackgroundAgent::new(&runtime, &researcher).tools()?;
    /// assert_eq!(tools.names().count(), 3);
    /// assert!(tools.names().any(|name| name == "start_researcher"));
    /// # Ok(()) }
    /// ```
    pub fn tools(&self) -> Result<ToolRegistry, RegistryError> {
        let name = self.agent.name();
        let field = |field: &str, text: &str| {
            json!({
                "type": "object",
                "properties": { field: { "type": "string", "description": text } },
                "required": [field],
                "additionalProperties": false,
            })
        };
        let (start, check, cancel) = (self.clone(), self.clone(), self.clone());
        let start = DynamicTool::new(
            format!("start_{name}"),
            format!(
                "Starts `{name}` in the background and returns an id at once. It continues after this turn."
            ),
            field("task", "The whole task in words; the agent sees nothing else of this conversation."),
            move |args, cx| {
                let own = start.clone();
                async move { own.start(serde_json::from_value(args)?, &cx).await }
            },
        );
        let check = DynamicTool::new(
            format!("check_{name}"),
            format!("Returns the status of a task of `{name}`, and its answer when it has one."),
            field("id", "The id that the start returned."),
            move |args, cx| {
                let own = check.clone();
                async move { own.check(serde_json::from_value(args)?, &cx).await }
            },
        );
        let cancel = DynamicTool::new(
            format!("cancel_{name}"),
            format!("Stops a task of `{name}`."),
            field("id", "The id that the start returned."),
            move |args, cx| {
                let own = cancel.clone();
                async move { own.cancel(serde_json::from_value(args)?, &cx).await }
            },
        );
        ToolRegistry::builder()
            .tool(start.with_policy(ToolPolicy::default().effect(Effect::Idempotent)))
            .tool(check.with_policy(ToolPolicy::read_only()))
            .tool(cancel.with_policy(ToolPolicy::default().effect(Effect::Idempotent)))
            .build()
    }

    async fn start(&self, args: Start, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
        let starter = starter(cx)?;
        // The same in every attempt of this call: a repeated start finds the run of the first.
        let id = format!("{}-{}", self.agent.name(), crate::util::digest(&cx.idempotency_key, 12));
        let session = self.session(&id)?;
        let options = RunOptions::default().request("start").label(STARTED_BY, starter.as_str());
        let options = options.with_context_of(cx);
        match session.run(&self.agent, args.task).options(options).start().await {
            Ok(_) | Err(SessionError::SameRequest { .. }) => {}
            Err(error) => return Err(failed("the task could not be started", error)),
        }
        Ok(json!({ "id": id, "status": RunStatus::Running.as_str() }).into())
    }

    async fn check(&self, args: Named, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
        let session = self.started(&args.id, cx).await?;
        let status = session.status().await.map_err(|error| failed("the status could not be read", error))?;
        let mut shown = json!({ "id": args.id, "status": status.status.as_str() });
        match status.status {
            RunStatus::Completed => {
                let state = session.state::<AgentState>().await;
                let state = state.map_err(|error| failed("the answer could not be read", error))?;
                shown["answer"] = state.answer().into();
            }
            RunStatus::Failed => {
                shown["error"] = status.failure.map_or(Value::Null, |failure| failure.code.into());
            }
            RunStatus::Paused => {
                let prompts = status.questions.into_iter().map(|open| open.question.prompt);
                shown["waits_for"] = prompts.collect::<Vec<_>>().into();
            }
            _ => {}
        }
        Ok(shown.into())
    }

    async fn cancel(&self, args: Named, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
        let session = self.started(&args.id, cx).await?;
        let status = match session.stop().await {
            Ok(status) | Err(SessionError::NothingToDo { status, .. }) => status,
            Err(error) => return Err(failed("the task could not be stopped", error)),
        };
        Ok(json!({ "id": args.id, "status": status.as_str() }).into())
    }

    /// Returns a session that the session of this call started.
    async fn started(&self, id: &str, cx: &ToolContext) -> Result<Session, ToolError> {
        let starter = starter(cx)?;
        let unknown = || ToolError::failed("no task has this id");
        let session = self.session(id)?;
        let status = match session.status().await {
            Err(SessionError::NotFound { .. }) => return Err(unknown()),
            status => status.map_err(|error| failed("the status could not be read", error))?,
        };
        let is_own = status.labels.get(STARTED_BY).is_some_and(|label| label == starter.as_str());
        if is_own { Ok(session) } else { Err(unknown()) }
    }

    fn session(&self, id: &str) -> Result<Session, ToolError> {
        let runtime = self.runtime.upgrade().map(Runtime);
        let runtime = runtime.ok_or_else(|| ToolError::failed("the runtime has ended"))?;
        runtime.session(id).map_err(|_| ToolError::failed("no task has this id"))
    }
}

fn starter(cx: &ToolContext) -> Result<&SessionId, ToolError> {
    cx.session().ok_or_else(|| ToolError::failed("there is no session here"))
}

fn failed(text: &str, error: SessionError) -> ToolError {
    ToolError::failed(text).with_cause(error.to_string())
}

impl fmt::Debug for BackgroundAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackgroundAgent").field("agent", &self.agent.name()).finish_non_exhaustive()
    }
}
