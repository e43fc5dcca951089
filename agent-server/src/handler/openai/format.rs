//! `response_format` for agents: the answer is checked, and a model puts it into the form if it has another one.

use agent_core::{
    model::{Message, Model, ModelError, ModelErrorKind, ModelRequest, ResponseFormat, ToolCall, Usage},
    tool::{DynamicTool, ToolError, ToolRegistry},
};
use serde_json::{Value, json};

use crate::error::{ApiError, Contract, Rejection};

/// Name of the schema in the registry that checks answers.
const ANSWER: &str = "answer";
/// Maximum number of model calls for one answer in the form.
const ATTEMPTS: u32 = 2;

/// The form of an answer, and the model that writes it.
pub(super) struct AnswerFormat {
    format: ResponseFormat,
    schema: Value,
    checker: ToolRegistry,
    model: Model,
}

impl AnswerFormat {
    /// Prepares the check of an answer.
    ///
    /// # Errors
    ///
    /// 400 for an invalid schema.
    pub(super) fn new(format: &ResponseFormat, model: &Model) -> Result<Self, ApiError> {
        let schema = match format {
            ResponseFormat::JsonSchema { schema, .. } => Value::clone(schema),
            _ => json!({"type": "object", "additionalProperties": true}),
        };
        let unused = async |_, _| Err(ToolError::failed("it is never called"));
        let tool = DynamicTool::new(ANSWER, "The answer.", schema.clone(), unused);
        let checker = ToolRegistry::builder().tool(tool).build().map_err(|error| {
            let message = format!("the schema cannot be used: {error}");
            ApiError::new(Rejection::InvalidRequest, message).at("response_format")
        })?;
        Ok(Self { format: format.clone(), schema, checker, model: model.clone() })
    }

    /// Returns the instruction for the agent, with which most models need no second call.
    pub(super) fn instruction(&self) -> Message {
        Message::system(format!(
            "Your final answer must be one JSON value and nothing else. It must match this JSON Schema:\n{}",
            self.schema
        ))
    }

    /// Returns an answer in the form, and the usage of further calls of the model.
    ///
    /// # Errors
    ///
    /// The model failed, or its answers do not match the schema.
    pub(super) async fn apply(&self, answer: &str) -> Result<(String, Usage), ApiError> {
        let mut fault = match self.check(answer) {
            Ok(json) => return Ok((json, Usage::default())),
            Err(fault) => fault,
        };
        let mut usage = Usage::default();
        let mut last = answer.to_owned();
        for _ in 0..ATTEMPTS {
            let ask = format!(
                "Write this answer as one JSON value and nothing else. Change and add nothing. It must match this JSON \
                 Schema:\n{}\n\nThe answer:\n{answer}\n\nYour last attempt cannot be used: {fault}\n{last}",
                self.schema
            );
            let request = ModelRequest::new(ask).response_format(self.format.clone());
            let reply = self.model.complete(request).await;
            let reply = reply.map_err(|error| ApiError::of_model(Contract::OpenAi, &error))?;
            usage += reply.usage.unwrap_or_default();
            last = reply.message.text().into_owned();
            match self.check(&last) {
                Ok(json) => return Ok((json, usage)),
                Err(next) => fault = next,
            }
        }
        let error = ModelError::new(ModelErrorKind::Malformed).with_detail(fault);
        Err(ApiError::of_model(Contract::OpenAi, &error))
    }

    /// Returns the JSON in a text, if it matches the schema.
    fn check(&self, text: &str) -> Result<String, String> {
        let text = unfenced(text);
        let call = ToolCall { arguments: text.to_owned(), ..ToolCall::new(ANSWER, &Value::Null) };
        match self.checker.prepare(call) {
            Ok(call) => Ok(call.args().to_string()),
            Err(error) => {
                // Without the lines around them, which are about a call.
                let faults: Vec<&str> =
                    error.for_model().lines().filter(|line| line.starts_with("- ")).collect();
                Err(if faults.is_empty() { "it is not valid JSON".to_owned() } else { faults.join("\n") })
            }
        }
    }
}

/// Returns the text without a code fence around it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}
