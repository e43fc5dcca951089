//! The sample agents of the binary, from the crate `trend-agent`: the K-beauty agent, and an assistant that searches its reviews.

use agent_core::{
    agent::{AgentError, Prompt},
    graph::BuildError,
    model::{Message, Model, Role},
    session::RuntimeBuilder,
    tool::ToolRegistry,
};
use serde_json::{Map, Value};
use trend_agent::{
    Audience, REVIEW_ASSISTANT_PROMPT, ReviewSearch,
    graph::{Desk, Trend, trend_graph},
    request::{Request, Scope},
};

use crate::{Assistant, ContextField, TaskAgent, assistant::basic_tools};

/// The K-beauty agent as a task agent.
///
/// # Examples
///
/// ```
/// use agent_core::Runtime;
/// use agent_server::{Server, demo::TrendAgent};
/// use trend_agent::graph::Desk;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = TrendAgent::register(Runtime::builder(), Desk::default())?.build();
/// let builder = Server::builder(runtime).agent(TrendAgent);
/// # drop(builder); Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TrendAgent;

impl TrendAgent {
    /// Name of its graph.
    pub const NAME: &str = "trend";

    /// Registers its graph and its [`Desk`] with a runtime.
    ///
    /// # Errors
    ///
    /// None: the graph is constant.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Runtime;
    /// use agent_server::{Server, demo::TrendAgent};
    /// use trend_agent::graph::Desk;
    ///
    /// let runtime = TrendAgent::register(Runtime::builder(), Desk::default())?.build();
    /// let server = Server::builder(runtime).agent(TrendAgent);
    /// # Ok::<_, agent_core::graph::BuildError>(())
    /// ```
    pub fn register(runtime: RuntimeBuilder, desk: Desk) -> Result<RuntimeBuilder, BuildError> {
        Ok(runtime.graph(&trend_graph()?).provide(desk))
    }
}

impl TaskAgent for TrendAgent {
    fn graph(&self) -> &str {
        Self::NAME
    }

    fn description(&self) -> &str {
        "Analyses reviews of K-beauty products (topics, sentiment, figures) and writes a report. Takes a request in Korean or English."
    }

    fn input(&self, message: String, context: Map<String, Value>) -> Value {
        serde_json::to_value(Trend::begin(message, context)).expect("an update of strings and JSON is JSON")
    }

    fn response(&self, state: &Value) -> String {
        state.get("response").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn context_fields(&self) -> &[ContextField] {
        const AUDIENCE: ContextField = ContextField::new("audience").values(
            &["buyers", "makers", "marketers", "소비자", "브랜드·제품 담당자", "마케터"],
            |text| Audience::parse(text).is_some(),
        );
        &[AUDIENCE]
    }

    /// The request before the message is read from the user's earlier messages, so that a follow-up can change it.
    fn conversation(&self, message: String, messages: &[Message], context: Map<String, Value>) -> Value {
        let said = messages.iter().filter(|message| message.role == Role::User);
        let texts: Vec<String> = said.map(|message| message.text().into_owned()).collect();
        let earlier = texts.iter().rposition(|text| *text == message).map_or(&[][..], |at| &texts[..at]);
        let mut previous: Option<Request> = None;
        for text in earlier {
            let request = Request::parse_after(text, previous.as_ref());
            if matches!(request.scope, Scope::Named | Scope::All) {
                previous = Some(request);
            }
        }
        let update = Trend::begin(message, context).request(previous);
        serde_json::to_value(update).expect("an update of strings and JSON is JSON")
    }
}

/// Creates the [built-in assistant](Assistant::built_in) with one more tool: a search of the sample reviews.
///
/// # Examples
///
/// ```
/// use agent_core::model::{Model, testing::{Scripted, Turn}};
///
/// let assistant = agent_server::demo::assistant(Model::new(Scripted::new([Turn::text("Hello.")])))?;
/// # drop(assistant); Ok::<(), agent_core::agent::AgentError>(())
/// ```
///
/// # Errors
///
/// As [`Assistant::new`].
pub fn assistant(model: Model) -> Result<Assistant, AgentError> {
    assistant_with(model, &ToolRegistry::default())
}

/// As [`assistant`], with further tools.
///
/// # Examples
///
/// ```
/// # fn of(model: agent_core::model::Model, tools: agent_core::tool::ToolRegistry)
/// # -> Result<agent_server::Assistant, agent_core::agent::AgentError> {
/// agent_server::demo::assistant_with(model, &tools)
/// # }
/// ```
///
/// # Errors
///
/// As [`Assistant::new`], and a tool with the name of another one.
pub fn assistant_with(model: Model, tools: &ToolRegistry) -> Result<Assistant, AgentError> {
    let prompt =
        Prompt::new(REVIEW_ASSISTANT_PROMPT).expect("the prompt of the sample assistant is a template");
    let description = "Calculates, knows the time, and searches the shipped reviews.";
    Assistant::with_tools(model, description, prompt, own_tools()?.join(tools)?)
}

/// Returns the tools of the sample assistant.
pub(crate) fn own_tools() -> Result<ToolRegistry, AgentError> {
    Ok(basic_tools().tool(ReviewSearch).build()?)
}
