//! Tools of the caller for an agent: a call ends the response, and the caller's next request has its result.

use agent_core::{
    Question,
    model::{Delta, ToolCall, ToolSpec},
    tool::{DynamicTool, ExactSchema, ToolOutput, ToolPolicy, ToolRegistry},
};

use crate::{
    conversation::ToolCallRecord,
    error::{ApiError, Rejection},
};

/// Tools that the caller executes.
#[derive(Debug, Clone, Default)]
pub(super) struct CallerTools(ToolRegistry);

impl CallerTools {
    /// Makes tools that pause the run: each call asks a question without an answer.
    ///
    /// # Errors
    ///
    /// 400 for an invalid name or schema.
    pub(super) fn new(specs: &[ToolSpec]) -> Result<Self, ApiError> {
        let mut tools = ToolRegistry::builder();
        for spec in specs {
            let call = async |_, cx: agent_core::tool::ToolContext| {
                let question = Question::new("The caller executes this tool.").key("caller-tool");
                cx.ask(question).await.map(|answer| ToolOutput::text(answer.to_string()))
            };
            let tool =
                DynamicTool::new(spec.name.clone(), spec.description.clone(), spec.parameters.clone(), call);
            // The model gets the schema of the caller, who may check the arguments against it.
            let exact = if spec.strict { ExactSchema::Strict } else { ExactSchema::Loose };
            let tool = tool.with_exact_schema(exact).with_policy(ToolPolicy::read_only());
            tools = tools.tool(tool);
        }
        tools.build().map(Self).map_err(|error| {
            ApiError::new(Rejection::InvalidRequest, format!("`tools` cannot be used: {error}")).at("tools")
        })
    }

    /// Returns the tools for an agent.
    pub(super) const fn registry(&self) -> &ToolRegistry {
        &self.0
    }

    /// Returns the deltas of the open calls of these tools; empty if there is none.
    pub(super) fn deltas<'a>(&self, open: impl Iterator<Item = &'a ToolCallRecord>) -> Vec<Delta> {
        let own = open.filter(|call| self.0.tool(&call.name).is_some());
        let mut deltas = Vec::new();
        for (index, call) in (0..).zip(own) {
            // As the agent checked them: without the `null`s by which a strict schema expresses absence.
            let checked = self.0.prepare(ToolCall::new(call.name.as_str(), &call.arguments));
            let arguments = checked.map_or_else(|_| call.arguments.clone(), |call| call.args().clone());
            deltas.push(Delta::ToolCallStarted { index, id: call.id.clone(), name: call.name.clone() });
            deltas.push(Delta::ToolCallArguments { index, text: arguments.to_string() });
        }
        deltas
    }
}
