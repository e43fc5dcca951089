//! Errors of the API: the table from error codes to statuses. [`body`] has the response body of each contract.

pub(crate) mod body;
pub(crate) mod pages;

use std::{fmt, sync::Arc};

use agent_core::{
    RunError, Session, SessionError,
    error::{Code, Family},
    ids::SessionId,
    model::{ModelError, ModelErrorKind, TimeoutPhase},
};
use hyper::{StatusCode, header::HeaderValue};
use serde_json::Value;

/// The API contract of a route. It determines the status and the body of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contract {
    /// System 1: task agents, and all routes without a contract.
    TaskAgent,
    /// System 2: the streaming chat.
    Chat,
    /// System 4: the agent with tools.
    ToolChat,
    /// OpenAI's chat completions.
    OpenAi,
}

impl Contract {
    /// Returns the contract for a path without a route.
    pub(crate) fn of_path(path: &str) -> Self {
        let under =
            |at: &str| path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match path {
            _ if under("/v1") => Self::OpenAi,
            _ if under("/api/chat") => Self::Chat,
            _ if under("/api/v1/chat") => Self::ToolChat,
            _ => Self::TaskAgent,
        }
    }
}

/// Returns the status of an error code of `agent-core`.
pub(crate) const fn status(contract: Contract, code: Code) -> StatusCode {
    match (code.family(), code, contract) {
        (_, Code::InvalidAnswer | Code::RequestDiffers, _) => StatusCode::UNPROCESSABLE_ENTITY,
        (_, Code::AmbiguousAnswer | Code::CannotResume, _) | (Family::Conflict, _, _) => StatusCode::CONFLICT,
        (Family::Input, _, _) => StatusCode::BAD_REQUEST,
        (Family::NotFound, _, _) => StatusCode::NOT_FOUND,
        (_, Code::TooManyRuns | Code::ShuttingDown | Code::StoreUnavailable, _) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        // The contract of task agents has only 500 for failed runs.
        (Family::Model, _, Contract::Chat | Contract::ToolChat | Contract::OpenAi) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns the status and the code of a model error, for callers that requested a model.
const fn model_status(contract: Contract, kind: ModelErrorKind) -> (StatusCode, &'static str) {
    if !matches!(contract, Contract::OpenAi) {
        return (StatusCode::BAD_GATEWAY, kind.code());
    }
    match kind {
        // OpenAI's codes, which client libraries branch on.
        ModelErrorKind::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        ModelErrorKind::ContextTooLong => (StatusCode::BAD_REQUEST, "context_length_exceeded"),
        ModelErrorKind::Filtered => (StatusCode::BAD_REQUEST, "content_filter"),
        ModelErrorKind::BadRequest | ModelErrorKind::Unsupported => (StatusCode::BAD_REQUEST, kind.code()),
        ModelErrorKind::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, kind.code()),
        ModelErrorKind::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, kind.code()),
        _ => (StatusCode::BAD_GATEWAY, kind.code()),
    }
}

macro_rules! rejections {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $status:ident;)*) => {
        /// Reasons for which the server rejects a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Rejection { $($(#[$meta])* $variant,)* }

        impl Rejection {
            /// All rejections.
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

/// Kinds of model errors.
const MODEL_KINDS: [ModelErrorKind; 13] = [
    ModelErrorKind::Auth,
    ModelErrorKind::Quota,
    ModelErrorKind::RateLimited { retry_after: None },
    ModelErrorKind::ContextTooLong,
    ModelErrorKind::Filtered,
    ModelErrorKind::Overloaded { retry_after: None },
    ModelErrorKind::TimedOut { waited: TimeoutPhase::FirstToken },
    ModelErrorKind::Malformed,
    ModelErrorKind::Cut,
    ModelErrorKind::Transport,
    ModelErrorKind::BadRequest,
    ModelErrorKind::UnknownModel,
    ModelErrorKind::Unsupported,
];

/// Codes of other errors: those in WebSocket messages, and OpenAI's, with whether a retry helps.
const OTHER_CODES: [(&str, bool); 6] = [
    ("run_stopped", false),
    ("gap", false),
    ("seq_ahead", false),
    ("rate_limit_exceeded", true),
    ("context_length_exceeded", false),
    ("content_filter", false),
];

/// Returns all codes beside those of `agent-core` and of rejections: of model calls, of WebSocket messages, OpenAI's.
pub(crate) fn further_codes() -> impl Iterator<Item = &'static str> {
    MODEL_KINDS.iter().map(|kind| kind.code()).chain(OTHER_CODES.iter().map(|(code, _)| *code))
}

/// Returns whether the same request may succeed later.
pub(crate) fn is_retryable(code: &str) -> bool {
    let of_core = || Code::named(code).map(Code::is_retryable);
    let of_model = || MODEL_KINDS.iter().find(|kind| kind.code() == code).map(|kind| kind.is_retryable());
    let other = || OTHER_CODES.iter().find(|(known, _)| *known == code).map(|(_, retryable)| *retryable);
    let rejected = || {
        let retryable = [
            Rejection::Overloaded,
            Rejection::BodyTimedOut,
            Rejection::RateLimited,
            Rejection::QuotaExceeded,
            Rejection::EmptyAnswer,
        ];
        retryable.iter().any(|rejection| rejection.name() == code)
    };
    of_core().or_else(of_model).or_else(other).unwrap_or_else(rejected)
}

/// Returns the path of the page about an error code.
pub(crate) fn help(code: &str) -> String {
    match pages::markdown(code) {
        Some(_) => format!("/docs/errors/{code}"),
        None => "/docs/errors".to_owned(),
    }
}

rejections! {
    /// The body or frame is not JSON.
    InvalidJson = "invalid_json", BAD_REQUEST;
    /// The request is invalid.
    InvalidRequest = "invalid_request", BAD_REQUEST;
    /// The message is empty or blank.
    EmptyMessage = "empty_message", BAD_REQUEST;
    /// The message is longer than allowed.
    MessageTooLong = "message_too_long", BAD_REQUEST;
    /// The JSON exceeds the nesting limit.
    TooDeep = "too_deep", BAD_REQUEST;
    /// The body is larger than allowed.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE;
    /// The frame is larger than allowed.
    FrameTooLarge = "frame_too_large", PAYLOAD_TOO_LARGE;
    /// The memory for callers' input is used up.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE;
    /// The body did not arrive in time.
    BodyTimedOut = "body_timed_out", REQUEST_TIMEOUT;
    /// No agent has this name.
    UnknownAgent = "unknown_agent", BAD_REQUEST;
    /// The server has no task agent.
    NoAgent = "no_agent", SERVICE_UNAVAILABLE;
    /// The path does not exist.
    NotFound = "not_found", NOT_FOUND;
    /// The path does not support the method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The path is a WebSocket.
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED;
    /// The request has no credentials.
    Unauthorized = "unauthorized", UNAUTHORIZED;
    /// Too many requests in a short time.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS;
    /// The caller's quota is used up.
    QuotaExceeded = "quota_exceeded", TOO_MANY_REQUESTS;
    /// The credentials are invalid.
    InvalidToken = "invalid_token", UNAUTHORIZED;
    /// The origin of the page is not allowed.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN;
    /// The times of a schedule are invalid, or none of them is in the future.
    InvalidSchedule = "invalid_schedule", BAD_REQUEST;
    /// There is no schedule with this id.
    ScheduleNotFound = "schedule_not_found", NOT_FOUND;
    /// There is a schedule with this id.
    ScheduleExists = "schedule_exists", CONFLICT;
    /// The run is paused; it needs an answer.
    AnswerNeeded = "answer_needed", CONFLICT;
    /// Too many rejected messages on one WebSocket.
    TooManyErrors = "too_many_errors", BAD_REQUEST;
    /// No model is configured.
    NoModel = "no_model", SERVICE_UNAVAILABLE;
    /// No model has this name.
    ModelNotFound = "model_not_found", NOT_FOUND;
    /// The parameter, or its value, is not supported.
    Unsupported = "unsupported_parameter", BAD_REQUEST;
    /// The configured model endpoint is this server.
    OwnEndpoint = "model_endpoint_is_this_server", BAD_GATEWAY;
    /// The answer of the model is empty.
    EmptyAnswer = "model_answer_empty", BAD_GATEWAY;
    /// The run was stopped by another request.
    Stopped = "stopped", CONFLICT;
    /// Internal server error.
    Internal = "internal", INTERNAL_SERVER_ERROR;
}

/// A rejected or failed request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) session: Option<SessionId>,
    /// The node that failed.
    pub(crate) node: Option<Box<str>>,
    pub(crate) data: Option<Box<Value>>,
    /// Value of `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u32>,
    /// Value of `Allow`: the methods of the path.
    pub(crate) allow: Option<Box<HeaderValue>>,
    /// Whether the run failed, rather than the request.
    pub(crate) run_failed: bool,
    /// The invalid parameter.
    pub(crate) param: Option<Box<str>>,
}

impl ApiError {
    pub(crate) fn new(refusal: Rejection, message: impl Into<String>) -> Self {
        Self {
            status: refusal.status(),
            code: refusal.name(),
            message: message.into(),
            session: None,
            node: None,
            data: None,
            retry_after: None,
            allow: None,
            run_failed: false,
            param: None,
        }
    }

    /// Returns the error of a failure that is not the caller's. Details are only logged.
    pub(crate) fn internal() -> Self {
        Self::new(Rejection::Internal, "internal server error")
    }

    /// Returns the error of a journal that cannot be read.
    pub(crate) fn store_unavailable() -> Self {
        Self::new(Rejection::Internal, "the journal store is unavailable; try again later")
    }

    /// Returns the error of a failed call on a session.
    pub(crate) fn of(contract: Contract, error: &SessionError) -> Self {
        let code = error.code();
        let (message, node, run_failed) = match error {
            SessionError::Run(run) => {
                let kind = model_error_of(run).map(ModelError::kind);
                let report = kind.map_or_else(|| run.report(), |kind| with_setting(run.report(), kind));
                (report, run.node().map(Box::from), true)
            }
            SessionError::Store(store) if code.family() == Family::Store => {
                // Details of the store are only for the operator.
                tracing::error!(error = %store, "the journal store failed");
                ("the journal store is unavailable; try again later".to_owned(), None, false)
            }
            other => (other.to_string(), None, false),
        };
        // Invalid input is the caller's error in a request, and the graph's in a run.
        let status = match (run_failed, code.family()) {
            (true, Family::Input) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => status(contract, code),
        };
        Self {
            status,
            code: code.name(),
            message,
            session: None,
            node,
            data: None,
            retry_after: None,
            allow: None,
            run_failed,
            param: None,
        }
    }

    /// Returns the error for a failed model call.
    pub(crate) fn of_model(contract: Contract, error: &ModelError) -> Self {
        log_model(error);
        let (status, code) = model_status(contract, error.kind());
        let waits = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let wait = error.retry_after().filter(|_| waits);
        // Frameworks recognise a conversation that is too long by these words.
        let message = match (contract, error.kind()) {
            (Contract::OpenAi, ModelErrorKind::ContextTooLong) => {
                format!("This model's maximum context length is exceeded by the conversation: {error}")
            }
            _ => error.to_string(),
        };
        Self {
            status,
            code,
            // Rounded up, because an early retry would fail again.
            retry_after: wait.and_then(|wait| u32::try_from(wait.as_millis().div_ceil(1_000)).ok()),
            ..Self::new(Rejection::Internal, with_setting(message, error.kind()))
        }
    }

    /// Returns the error for a failed run. If a model call failed, it describes the model rather than the graph.
    pub(crate) fn of_run(contract: Contract, error: &Arc<RunError>) -> Self {
        match &**error {
            RunError::Node { source, .. } => match source.0.downcast_ref::<ModelError>() {
                Some(model) => Self::of_model(contract, model),
                None => Self::of(contract, &SessionError::Run(Arc::clone(error))),
            },
            _ => Self::of(contract, &SessionError::Run(Arc::clone(error))),
        }
    }

    /// Returns whether a client should send the request again: only if this server refused it for the moment.
    pub(crate) fn is_worth_repeating(&self) -> bool {
        let moment = [
            Rejection::RateLimited,
            Rejection::QuotaExceeded,
            Rejection::Overloaded,
            Rejection::BodyTimedOut,
        ];
        moment.iter().any(|rejection| rejection.name() == self.code)
            || [Code::ShuttingDown, Code::TooManyRuns].iter().any(|code| code.name() == self.code)
    }

    /// Sets the invalid parameter.
    pub(crate) fn at(mut self, param: impl Into<Box<str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Sets the session.
    pub(crate) fn about(mut self, session: &SessionId) -> Self {
        self.session = Some(session.clone());
        self
    }

    /// Sets additional data.
    pub(crate) fn with(mut self, data: Value) -> Self {
        self.data = Some(Box::new(data));
        self
    }
}

/// Returns the model error that failed a run.
fn model_error_of(error: &RunError) -> Option<&ModelError> {
    match error {
        RunError::Node { source, .. } => source.0.downcast_ref(),
        _ => None,
    }
}

/// Adds the settings to check to the text of a model error. The names are those of the binary.
pub(crate) fn with_setting(text: String, kind: ModelErrorKind) -> String {
    let hint = match kind {
        ModelErrorKind::Auth => {
            "check the key of the endpoint (OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY)"
        }
        ModelErrorKind::Quota => "add credit to the account, or set another key (OPENAI_API_KEY)",
        ModelErrorKind::RateLimited { .. } | ModelErrorKind::Overloaded { .. } => "try again later",
        ModelErrorKind::ContextTooLong => {
            "shorten the conversation, or choose another model (DEFAULT_LLM_MODEL, VLLM_MODEL)"
        }
        ModelErrorKind::Filtered => "change the request; the same one fails again",
        ModelErrorKind::Transport => {
            "check that the endpoint runs and its address (OPENAI_BASE_URL, VLLM_BASE_URL), then try again"
        }
        ModelErrorKind::UnknownModel => {
            "check the name of the model (DEFAULT_LLM_MODEL, VLLM_MODEL) and the address (OPENAI_BASE_URL, VLLM_BASE_URL)"
        }
        ModelErrorKind::Unsupported => "choose another model (DEFAULT_LLM_MODEL, VLLM_MODEL)",
        ModelErrorKind::TimedOut { waited: TimeoutPhase::FirstToken } => {
            "try again, or allow the model more time (FIRST_TOKEN_SECONDS)"
        }
        ModelErrorKind::TimedOut { .. } | ModelErrorKind::Malformed | ModelErrorKind::Cut => "try again",
        _ => "the log of the server has the details",
    };
    format!("{text}; {hint}")
}

/// Returns the stored message of a failed run, with the settings to check if a model failed.
pub(crate) fn run_message(code: &str, message: &str) -> String {
    if code == Code::ModelFailed.name() {
        return format!(
            "{message}; check the model (OPENAI_API_KEY, OPENAI_BASE_URL, DEFAULT_LLM_MODEL), then resume the run"
        );
    }
    message.to_owned()
}

/// Maps errors of calls on a session.
pub(crate) fn map_session_error(session: &SessionId) -> impl Fn(SessionError) -> ApiError + '_ {
    |error| ApiError::of(Contract::TaskAgent, &error).about(session)
}

/// Returns the error for a session that does not exist, or is owned by another subject.
pub(crate) fn session_not_found(session: &Session) -> ApiError {
    let error = SessionError::NotFound { session: session.id().clone() };
    ApiError::of(Contract::TaskAgent, &error).about(session.id())
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Characters of a model endpoint's error text that are logged. The text may quote the conversation.
const LOGGED: usize = 50;

/// Logs a failed model call.
pub(crate) fn log_model(error: &ModelError) {
    tracing::warn!(%error, detail = logged(error), "a model call failed");
}

fn logged(error: &ModelError) -> Option<String> {
    error.detail().map(|detail| detail.chars().take(LOGGED).collect())
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

    #[test]
    fn a_model_that_fails_is_a_bad_gateway_for_chats_and_a_tool_that_fails_is_not() {
        for contract in [Contract::Chat, Contract::ToolChat, Contract::OpenAi] {
            assert_eq!(status(contract, Code::ModelFailed), StatusCode::BAD_GATEWAY);
            assert_eq!(status(contract, Code::ToolFailed), StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert_eq!(status(Contract::TaskAgent, Code::ModelFailed), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn where_no_route_is_the_words_are_those_of_the_neighbours() {
        assert_eq!(Contract::of_path("/v1/embeddings"), Contract::OpenAi);
        assert_eq!(Contract::of_path("/v1x"), Contract::TaskAgent);
        assert_eq!(Contract::of_path("/api/v1/chat/x"), Contract::ToolChat);
        assert_eq!(Contract::of_path("/api/chat"), Contract::Chat);
    }

    #[test]
    fn no_more_is_logged_of_an_endpoints_words_than_of_a_persons() {
        let error = ModelError::new(agent_core::model::ModelErrorKind::Cut).with_detail("가".repeat(200));
        assert_eq!(logged(&error).map(|words| words.chars().count()), Some(50));
    }
}
