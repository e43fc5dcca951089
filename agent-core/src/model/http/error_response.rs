//! Error responses of endpoints: many formats, one kind of error.

use std::time::Duration;

use futures::StreamExt;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::model::error::{ModelError, ModelErrorKind};

/// Maximum number of bytes read of an error response.
const BODY_BYTES: usize = 64 * 1024;
/// Timeout for the rest of an error response.
const BODY_WAIT: Duration = Duration::from_secs(5);

/// Converts a response with an error status into an error.
pub(crate) async fn refused(response: reqwest::Response) -> ModelError {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    let read = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            let room = BODY_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == BODY_BYTES {
                break;
            }
        }
    };
    // If the body never ends, the status is sufficient.
    if tokio::time::timeout(BODY_WAIT, read).await.is_err() {
        tracing::debug!(status, "the body of an error response did not arrive in time");
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    read_fault(status, retry_after(&headers), &body)
}

/// Converts an error response that was already read.
#[cfg(feature = "native")]
pub(crate) fn of(status: u16, headers: &HeaderMap, body: &str) -> ModelError {
    read_fault(status, retry_after(headers), &serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Converts an error object inside an answer that had begun successfully.
pub(crate) fn inside(body: &Value) -> ModelError {
    let said = ErrorContent::read(body);
    let status = said.code.parse().ok().filter(|status| (400..600).contains(status));
    // Without a status, the words decide; without known words, the endpoint has failed.
    let guess =
        if ["invalid", "unsupported"].iter().any(|word| said.words.contains(word)) { 400 } else { 500 };
    let mut error = read_fault(status.unwrap_or(guess), None, body);
    if status.is_none() {
        error = strip_status(error);
    }
    error
}

fn strip_status(error: ModelError) -> ModelError {
    let stripped = ModelError::new(error.kind());
    match error.detail() {
        Some(detail) => stripped.with_detail(detail),
        None => stripped,
    }
}

fn read_fault(status: u16, retry_after: Option<Duration>, body: &Value) -> ModelError {
    let said = ErrorContent::read(body);
    let retry_after = retry_after.or(said.retry_after);
    let has = |words: &[&str]| words.iter().any(|word| said.words.contains(word));
    let fault = if has(CONTEXT) && status < 500 || has(&["context_length_exceeded", "exceed_context_size"]) {
        ModelErrorKind::ContextTooLong
    } else if has(FILTERED) {
        ModelErrorKind::Filtered
    } else if has(QUOTA) {
        ModelErrorKind::Quota
    } else if has(KEY) && status < 500 {
        ModelErrorKind::Auth
    } else if has(&["rate_limit", "too_many_requests", "rate limit reached"]) {
        ModelErrorKind::RateLimited { retry_after }
    } else if has(&["overloaded", "server_is_busy"]) {
        ModelErrorKind::Overloaded { retry_after }
    } else {
        match status {
            401 | 403 | 407 => ModelErrorKind::Auth,
            402 => ModelErrorKind::Quota,
            404 => ModelErrorKind::UnknownModel,
            400 if has(&["model_not_found"]) => ModelErrorKind::UnknownModel,
            429 => ModelErrorKind::RateLimited { retry_after },
            501 => ModelErrorKind::Unsupported,
            // 408 and 409 are transient; 5xx are errors of the endpoint.
            408 | 409 | 425 | 500.. => ModelErrorKind::Overloaded { retry_after },
            _ => ModelErrorKind::BadRequest,
        }
    };
    let error = ModelError::new(fault).with_status(status);
    if said.message.is_empty() { error } else { error.with_detail(said.message) }
}

const CONTEXT: &[&str] = &[
    "context_length_exceeded",
    "exceed_context_size",
    "maximum context length",
    "context window",
    "context size",
    "context length",
    "maximum model length",
    "max_model_len",
    "prompt is too long",
    "input is too long",
    "request_too_large",
    "input token count",
];
const FILTERED: &[&str] =
    &["content_filter", "content_policy", "responsibleaipolicyviolation", "content management policy"];
const QUOTA: &[&str] =
    &["insufficient_quota", "billing_hard_limit", "billing_not_active", "credit balance", "out of credits"];
const KEY: &[&str] =
    &["invalid_api_key", "api_key_invalid", "api key not valid", "authentication_error", "permission_denied"];

/// Content of an error object, in any format.
struct ErrorContent {
    message: String,
    code: String,
    /// Code, type, status and message in lower case, for the word search.
    words: String,
    retry_after: Option<Duration>,
}

impl ErrorContent {
    fn read(body: &Value) -> Self {
        // Gemini wraps its errors in a list.
        let body = body.get(0).unwrap_or(body);
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let word = |value: &Value, key: &str| match value.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let message = match error {
            Value::String(text) => text.clone(),
            _ => ["message", "detail", "error", "msg"]
                .iter()
                .map(|key| word(error, key))
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
        };
        let code = word(error, "code");
        let mut words =
            [&code, &word(error, "type"), &word(error, "status"), &message].map(String::as_str).join(" ");
        let details = error.get("details").and_then(Value::as_array);
        let mut retry_after = None;
        for detail in details.into_iter().flatten() {
            words.push(' ');
            words.push_str(&word(detail, "reason"));
            // "17s" or "0.5s"
            retry_after = retry_after.or_else(|| seconds(word(detail, "retryDelay").strip_suffix('s')?));
        }
        words.make_ascii_lowercase();
        Self { message, code, words, retry_after }
    }
}

/// Returns the wait requested by the endpoint: milliseconds, seconds, or a date compared with its own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(wait) = text("retry-after-ms").and_then(seconds) {
        return Some(wait / 1_000);
    }
    let value = text("retry-after")?;
    if let Some(wait) = seconds(value) {
        return Some(wait);
    }
    let until = jiff::fmt::rfc2822::parse(value).ok()?;
    let now = jiff::fmt::rfc2822::parse(text("date")?).ok()?;
    let wait = until.timestamp().as_second().saturating_sub(now.timestamp().as_second());
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

/// Parses a number of seconds, with fractions, of less than a day.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (0.0..100_000_000.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds.min(86_400_000.0)))
}
