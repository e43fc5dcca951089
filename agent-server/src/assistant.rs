//! The agent with tools. The journal of a session is the memory of its conversation.

use std::{fmt, sync::Arc};

use agent_core::{
    Agent, AgentState, Graph,
    agent::{AgentBuilder, AgentError, Prompt, conversation::Window},
    model::{Message, Model, ModelRequest, TextTools},
    tool::{ToolFault, ToolRegistry, ToolRegistryBuilder},
};
use serde_json::{Map, Value};

use crate::TaskAgent;

/// Window of the built-in assistant, in tokens and messages. It fits a model with a context of 16,000 tokens.
const WINDOW: (u64, usize) = (10_000, 200);
/// Maximum number of model calls per message of the built-in assistant.
const TURNS: u32 = 10;

/// An agent behind `/api/v1/chat` and, under its name, `/v1/chat/completions`.
///
/// It is made of a recipe, because a request to `/v1/chat/completions` may have other settings: the agent is then rebuilt
/// with them.
///
/// # Examples
///
/// ```no_run
/// use agent_core::{Agent, Runtime, model::Model};
/// use agent_server::{Assistant, Server};
///
/// # fn of(runtime: Runtime, model: Model) -> Result<(), Box<dyn std::error::Error>> {
/// let assistant = Assistant::new(move || Agent::builder("helper").model(model.clone()))?;
/// let builder = Server::builder(runtime).assistant(assistant);
/// # drop(builder); Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "give it to `ServerBuilder::assistant`"]
pub struct Assistant {
    graph: Graph<AgentState>,
    recipe: Arc<dyn Fn() -> AgentBuilder + Send + Sync>,
    /// Why requests are refused, if the model cannot be called.
    refusal: Option<Arc<str>>,
}

impl Assistant {
    /// Creates an assistant from a recipe for its agent.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, model::Model};
    /// use agent_server::Assistant;
    ///
    /// # fn of(model: Model) -> Result<Assistant, agent_core::agent::AgentError> {
    /// Assistant::new(move || Agent::builder("helper").system("Answer in one sentence.").model(model.clone()))
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Errors of [`AgentBuilder::build`].
    pub fn new(recipe: impl Fn() -> AgentBuilder + Send + Sync + 'static) -> Result<Self, AgentError> {
        Ok(Self { graph: recipe().build()?, recipe: Arc::new(recipe), refusal: None })
    }

    /// Creates the built-in assistant, with the tools calculator, date and time. Tool calls that the model writes as text
    /// are recognized.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// use agent_server::Assistant;
    ///
    /// let assistant = Assistant::built_in(Model::new(Scripted::new([Turn::text("Hello.")])))?;
    /// assert_eq!(assistant.agent().name(), "assistant");
    /// # Ok::<(), agent_core::agent::AgentError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn built_in(model: Model) -> Result<Self, AgentError> {
        Self::built_in_with(model, &ToolRegistry::default())
    }

    /// As [`built_in`](Self::built_in), with further tools.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{model::Model, tool::ToolRegistry};
    /// use agent_server::Assistant;
    ///
    /// # fn of(model: Model, tools: ToolRegistry) -> Result<Assistant, agent_core::agent::AgentError> {
    /// Assistant::built_in_with(model, &tools)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and a tool with the name of another one.
    pub fn built_in_with(model: Model, tools: &ToolRegistry) -> Result<Self, AgentError> {
        let prompt = Prompt::new(include_str!("../prompts/assistant.system.md"))
            .expect("the prompt of the built-in assistant is a template");
        let description = "Calculates, and knows the date and the time.";
        Self::with_tools(model, description, prompt, basic_tools().build()?.join(tools)?)
    }

    /// Builds the built-in assistant with another prompt and other tools.
    pub(crate) fn with_tools(
        model: Model,
        description: &'static str,
        prompt: Prompt,
        tools: ToolRegistry,
    ) -> Result<Self, AgentError> {
        let model = Model::new(TextTools::new(model));
        Self::new(move || {
            Agent::builder("assistant")
                .description(description)
                .system_template(prompt.clone())
                .tools(tools.clone())
                .model(model.clone())
                .window(Window::tokens(WINDOW.0).and_messages(WINDOW.1))
                .max_turns(TURNS)
                .failing_on([ToolFault::Panicked])
        })
    }

    /// Returns its graph, to register it with another [`Runtime`](agent_core::Runtime). The server registers it with its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(assistant: agent_server::Assistant) {
    /// use agent_core::Runtime;
    ///
    /// let without_store = Runtime::builder().graph(assistant.agent()).build();
    /// # drop(without_store);
    /// # }
    /// ```
    #[must_use]
    pub const fn agent(&self) -> &Graph<AgentState> {
        &self.graph
    }

    /// Refuses all requests, because the endpoint of the model is this server.
    #[cfg(feature = "cli")]
    pub(crate) fn refuse(mut self, reason: Option<&str>) -> Self {
        self.refusal = reason.map(Arc::from);
        self
    }

    /// Returns why requests are refused.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Rebuilds the agent with other settings and with further tools.
    pub(crate) fn with_settings(
        &self,
        set: impl FnOnce(ModelRequest) -> ModelRequest,
        tools: &ToolRegistry,
    ) -> Result<Graph<AgentState>, AgentError> {
        (self.recipe)().request(set).further_tools(tools)?.build()
    }
}

/// For `/run` and `/status`.
impl TaskAgent for Assistant {
    fn graph(&self) -> &str {
        self.graph.name()
    }

    fn input(&self, message: String, context: Map<String, Value>) -> Value {
        let update = AgentState::user(message).context(context);
        serde_json::to_value(update).expect("an update of messages and JSON is JSON")
    }

    fn response(&self, state: &Value) -> String {
        use serde::Deserialize;
        AgentState::deserialize(state).map(|state| state.answer()).unwrap_or_default()
    }

    fn conversation(&self, _: String, messages: &[Message], context: Map<String, Value>) -> Value {
        let update = AgentState::says(messages.iter().cloned()).context(context);
        serde_json::to_value(update).expect("an update of messages and JSON is JSON")
    }

    fn as_assistant(&self) -> Option<&Assistant> {
        Some(self)
    }
}

impl fmt::Debug for Assistant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assistant").field("name", &self.graph.name()).finish_non_exhaustive()
    }
}

/// Returns the tools of every built-in assistant.
pub(crate) fn basic_tools() -> ToolRegistryBuilder {
    ToolRegistry::builder().tool(agent_tools::Calculator::default()).tool(agent_tools::DateTime::default())
}
