//! The sample agents of the binary, from the crate `trend-agent`: the K-beauty agent, and an assistant that searches its reviews.

use agent_core::{
    agent::{AgentError, Prompt},
    graph::BuildError,
    model::Model,
    session::RuntimeBuilder,
};
use serde_json::{Map, Value};
use trend_agent::{
    Audience, REVIEW_ASSISTANT_PROMPT, ReviewSearch,
    graph::{Desk, Trend, trend_graph},
};

use crate::{Assistant, ContextField, TaskAgent, assistant::basic_tools};

/// The K-beauty agent as a task agent.
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
}

/// Creates the [built-in assistant](Assistant::built_in) with one more tool: a search of the sample reviews.
///
/// # Errors
///
/// As [`Assistant::new`].
pub fn assistant(model: Model) -> Result<Assistant, AgentError> {
    let prompt =
        Prompt::new(REVIEW_ASSISTANT_PROMPT).expect("the prompt of the sample assistant is a template");
    let description = "Calculates, knows the time, and searches the shipped reviews.";
    Assistant::with_tools(model, description, prompt, basic_tools().tool(ReviewSearch).build()?)
}
