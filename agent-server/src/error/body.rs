//! Bodies of error responses, one type per contract.

use agent_core::ids::SessionId;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{ApiError, Contract, help, is_retryable};

/// Error of a request or of a run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct TaskAgentError {
    /// Error code; each has a page under `/docs/errors`.
    #[schema(value_type = String)]
    code: &'static str,
    /// Error message; never contains a secret.
    message: String,
    /// The message again, under the name that FastAPI uses.
    detail: String,
    /// Path of the page about the code.
    help: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Id of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    session_id: Option<SessionId>,
    /// `failed` if the run failed, rather than the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false, pattern = "^failed$")]
    status: Option<&'static str>,
    /// Location in the graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    r#where: Option<Location>,
    /// Details of the session, if they are useful.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    data: Option<Value>,
}

/// Location in a graph.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Place)]
struct Location {
    /// Name of the node that failed.
    node: String,
}

impl From<&ApiError> for TaskAgentError {
    fn from(error: &ApiError) -> Self {
        Self {
            code: error.code,
            message: error.message.clone(),
            detail: error.message.clone(),
            help: help(error.code),
            retryable: is_retryable(error.code),
            session_id: error.session.clone(),
            status: error.run_failed.then_some("failed"),
            r#where: error.node.as_ref().map(|node| Location { node: node.to_string() }),
            data: error.data.as_deref().cloned(),
        }
    }
}

/// Error of the chats.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatError {
    /// Error message; never contains a secret.
    error: String,
    /// Error code.
    #[schema(value_type = String)]
    code: &'static str,
    /// The error message again.
    message: String,
    /// The error message again, under the name that FastAPI uses.
    detail: String,
    /// Path of the page about the code.
    help: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Id of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    conversation_id: Option<SessionId>,
}

/// Error in OpenAI's format.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenAiError {
    /// The error.
    error: OpenAiErrorDetails,
}

/// The error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiFault)]
pub(crate) struct OpenAiErrorDetails {
    /// Error message; never contains a secret.
    message: String,
    /// Type of the error.
    #[schema(value_type = String)]
    r#type: &'static str,
    /// The invalid parameter.
    #[schema(required = true)]
    param: Option<String>,
    /// Error code.
    #[schema(value_type = String)]
    code: &'static str,
    /// Path of the page about the code.
    help: String,
}

impl From<&ApiError> for OpenAiError {
    fn from(error: &ApiError) -> Self {
        let kind = match error.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        Self {
            error: OpenAiErrorDetails {
                message: error.message.clone(),
                r#type: kind,
                param: error.param.as_deref().map(str::to_owned),
                code: error.code,
                help: help(error.code),
            },
        }
    }
}

impl ApiError {
    /// Returns the response body in the format of a contract.
    pub(crate) fn body(&self, contract: Contract) -> Value {
        let chat = |session: Option<&SessionId>| ChatError {
            error: self.message.clone(),
            code: self.code,
            message: self.message.clone(),
            detail: self.message.clone(),
            help: help(self.code),
            retryable: is_retryable(self.code),
            conversation_id: session.cloned(),
        };
        match contract {
            Contract::TaskAgent => json!(TaskAgentError::from(self)),
            Contract::Chat => json!(chat(None)),
            Contract::ToolChat => json!(chat(self.session.as_ref())),
            Contract::OpenAi => json!(OpenAiError::from(self)),
        }
    }
}
