//! Failures as front ends see them: one table from code to status, one JSON shape.

use std::fmt;

use agent_core::{
    SessionError,
    error::{Code, Family},
    ids::SessionId,
};
use hyper::StatusCode;
use serde_json::{Value, json};

/// Whose front ends are spoken to: the same failure has another status in another contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contract {
    /// System 1 of `systems.md`, and whatever is in no contract.
    TaskAgent,
}

impl Contract {
    /// Whose words are used where no route was found.
    pub(crate) const fn of_path(_path: &str) -> Self {
        Self::TaskAgent
    }
}

/// The status of a failure that `agent-core` names.
pub(crate) const fn status(contract: Contract, code: Code) -> StatusCode {
    match (code.family(), code, contract) {
        (_, Code::InvalidAnswer | Code::RequestDiffers, _) => StatusCode::UNPROCESSABLE_ENTITY,
        (_, Code::AmbiguousAnswer | Code::CannotResume, _) | (Family::Conflict, _, _) => StatusCode::CONFLICT,
        (Family::Input, _, _) => StatusCode::BAD_REQUEST,
        (Family::NotFound, _, _) => StatusCode::NOT_FOUND,
        (_, Code::TooManyRuns | Code::ShuttingDown | Code::StoreUnavailable, _) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

macro_rules! refusals {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $status:ident;)*) => {
        /// What the server refuses before `agent-core` sees it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Refusal { $($(#[$meta])* $variant,)* }

        impl Refusal {
            /// Every refusal.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }
        }
    };
}

refusals! {
    /// The body or frame is no JSON.
    InvalidJson = "invalid_json", BAD_REQUEST;
    /// The JSON is not what is asked for.
    InvalidRequest = "invalid_request", BAD_REQUEST;
    /// The message is empty or blank.
    EmptyMessage = "empty_message", BAD_REQUEST;
    /// The message is longer than allowed.
    MessageTooLong = "message_too_long", BAD_REQUEST;
    /// The JSON is nested deeper than allowed.
    TooDeep = "too_deep", BAD_REQUEST;
    /// The body is larger than allowed.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE;
    /// The frame is larger than allowed.
    FrameTooLarge = "frame_too_large", PAYLOAD_TOO_LARGE;
    /// The body did not arrive in time.
    BodyTimedOut = "body_timed_out", REQUEST_TIMEOUT;
    /// No agent of this name.
    UnknownAgent = "unknown_agent", BAD_REQUEST;
    /// No such path.
    NotFound = "not_found", NOT_FOUND;
    /// The path has other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The path is a WebSocket.
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED;
    /// A page of another origin must not do this.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN;
    /// The run waits for answers: send one.
    AnswerNeeded = "answer_needed", CONFLICT;
    /// Too many refused frames on one socket.
    TooManyErrors = "too_many_errors", BAD_REQUEST;
    /// A handler panicked.
    Internal = "internal", INTERNAL_SERVER_ERROR;
}

/// A refused or failed request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) session: Option<SessionId>,
    /// The node at fault.
    pub(crate) node: Option<Box<str>>,
    pub(crate) data: Option<Box<Value>>,
    /// Methods that the path has.
    pub(crate) allow: Option<Box<str>>,
    /// Whether a run failed rather than a request.
    pub(crate) run_failed: bool,
}

impl ApiError {
    pub(crate) fn new(refusal: Refusal, message: impl Into<String>) -> Self {
        Self {
            status: refusal.status(),
            code: refusal.name(),
            message: message.into(),
            session: None,
            node: None,
            data: None,
            allow: None,
            run_failed: false,
        }
    }

    pub(crate) fn of(contract: Contract, error: &SessionError) -> Self {
        let code = error.code();
        let (message, node, run_failed) = match error {
            SessionError::Run(run) => (run.report(), run.node().map(Box::from), true),
            SessionError::Store(store) => {
                // What a store says is for the operator.
                tracing::error!(error = %store, "the store failed");
                ("the store cannot do this now".to_owned(), None, false)
            }
            other => (other.to_string(), None, false),
        };
        Self {
            status: status(contract, code),
            code: code.name(),
            message,
            session: None,
            node,
            data: None,
            allow: None,
            run_failed,
        }
    }

    pub(crate) fn about(mut self, session: &SessionId) -> Self {
        self.session = Some(session.clone());
        self
    }

    pub(crate) fn with(mut self, data: Value) -> Self {
        self.data = Some(Box::new(data));
        self
    }

    /// `{code, message, where?, data?}`, and for a failed run the fields of a response as well.
    pub(crate) fn body(&self, contract: Contract) -> Value {
        match contract {
            Contract::TaskAgent => self.own_body(),
        }
    }

    fn own_body(&self) -> Value {
        let mut body = json!({"code": self.code, "message": self.message});
        if let Some(session) = &self.session {
            body["session_id"] = json!(session);
        }
        if self.run_failed {
            body["status"] = json!("failed");
        }
        if let Some(node) = &self.node {
            body["where"] = json!({"node": node});
        }
        if let Some(data) = &self.data {
            body["data"] = (**data).clone();
        }
        body
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_4xx_for_what_they_can_change_and_5xx_for_the_rest() {
        for code in Code::ALL {
            let status = status(Contract::TaskAgent, *code);
            let callers = matches!(code.family(), Family::Input | Family::NotFound | Family::Conflict)
                || *code == Code::CannotResume;
            assert_eq!(status.is_client_error(), callers, "{code} is {status}");
        }
    }
}
