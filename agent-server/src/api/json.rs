//! Parsing of JSON in requests: a nesting limit, typed messages, and errors that name the field.

use agent_core::{
    Code,
    ids::{InvalidSessionId, SessionId},
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::strict::{MISSPELLED, Strict};
use crate::{
    error::{ApiError, Rejection},
    http::{budget::InputBudget, request::RequestContext},
};

/// Maximum nesting depth.
pub(crate) const DEPTH: usize = 64;

/// Factor by which the memory of a parsed body may exceed the maximum size of a body.
const EXPANSION: usize = 40;

impl<A: InputBudget> RequestContext<A> {
    /// Reads the whole body as JSON text, within the limits of size and time. The memory of the parsed body stays reserved
    /// until `memory` is dropped.
    ///
    /// # Errors
    ///
    /// 413, 408, 503, and 400 for a body that ends early.
    pub(crate) async fn json(&mut self) -> Result<Bytes, ApiError> {
        let body = self.body().await?;
        let (needed, maximum) = (weight(&body), self.body_limits.bytes.saturating_mul(EXPANSION));
        if needed > maximum {
            let message = format!(
                "the values of the body need {needed} bytes of memory, more than {maximum} (40 times BODY_BYTES)"
            );
            return Err(ApiError::new(Rejection::BodyTooLarge, message));
        }
        self.reserve(needed)?;
        Ok(body)
    }
}

/// Parses a session id.
///
/// # Errors
///
/// 400 with the code `invalid_session_id`.
pub(crate) fn session_id(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map_err(|error: InvalidSessionId| {
        let mut invalid = ApiError::new(Rejection::InvalidRequest, error.to_string());
        invalid.code = Code::InvalidSessionId.name();
        invalid
    })
}

/// Parses an object.
///
/// # Errors
///
/// `too_deep`, `invalid_json`, and `invalid_request` if it is not an object.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match value(bytes)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(ApiError::new(Rejection::InvalidRequest, "a JSON object is expected")),
    }
}

/// Parses a JSON value.
///
/// # Errors
///
/// `too_deep`, `invalid_json`.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, ApiError> {
    if is_deeper(bytes, DEPTH) {
        let message = format!("the JSON is nested deeper than {DEPTH} levels");
        return Err(ApiError::new(Rejection::TooDeep, message));
    }
    let value = agent_core::json::parse(bytes).map_err(|error| {
        let (line, column, text) = (error.line(), error.column(), error.to_string());
        // The text of the library repeats the place.
        let place = format!(" at line {line} column {column}");
        let why = in_plain_words(text.strip_suffix(&place).unwrap_or(&text));
        ApiError::new(Rejection::InvalidJson, format!("invalid JSON{place}: {why}"))
    })?;
    // Keys that the JSON library reserves could be stored, but not read again.
    match agent_core::json::check(&value) {
        Ok(()) => Ok(value),
        Err(error) => Err(ApiError::new(Rejection::InvalidRequest, error.to_string())),
    }
}

/// Rewords a message of the JSON library that a reader without knowledge of its parser cannot act on.
fn in_plain_words(why: &str) -> &str {
    match why {
        "EOF while parsing an object" => "the text ends inside an object; `}` is missing",
        "EOF while parsing a list" => "the text ends inside a list; `]` is missing",
        "EOF while parsing a string" => "the text ends inside a string; `\"` is missing",
        "EOF while parsing a value" => "the text ends where a value is expected",
        "expected ident" | "expected value" => {
            "a value is expected: an object, a list, a string in double quotes, a number, `true`, `false` or `null`"
        }
        "key must be a string" => "the name of a field must be a string in double quotes",
        _ => why,
    }
}

/// Parses a message from an object in which `null` fields count as absent.
///
/// # Errors
///
/// As [`object`], and `invalid_request` that names an invalid field.
pub(crate) fn message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    from_value(without_nulls(bytes)?)
}

/// As [`message`], and rejects misspelled fields.
///
/// # Errors
///
/// As [`message`], and `invalid_request` that names a misspelled field.
pub(crate) fn strict_message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    strict(without_nulls(bytes)?)
}

fn without_nulls(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut fields = object(bytes)?;
    fields.retain(|_, value| !value.is_null());
    Ok(Value::Object(fields))
}

/// Reads a message from a value, and rejects misspelled fields.
///
/// # Errors
///
/// `invalid_request` that names an invalid or misspelled field.
pub(crate) fn strict<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    read(Strict(value))
}

/// Reads a message from a value.
///
/// # Errors
///
/// `invalid_request` that names an invalid field.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    read(value)
}

fn read<'de, T: DeserializeOwned>(
    deserializer: impl Deserializer<'de, Error = serde_json::Error>,
) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        invalid_field(if path == "." { "" } else { &path }, &error.inner().to_string())
    })
}

/// Returns the error for an invalid field, from serde's error text.
fn invalid_field(path: &str, text: &str) -> ApiError {
    let expected = |text: &str| text.split_once(", expected ").map(|(_, expected)| expected.to_owned());
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    if let Some((field, meant)) =
        text.strip_prefix(MISSPELLED).and_then(|text| text.rsplit_once("; did you mean "))
    {
        let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
        let message = format!("unknown field {field}{place}; did you mean {meant}");
        return ApiError::new(Rejection::InvalidRequest, message).at(field.trim_matches('`'));
    }
    if text.starts_with("unknown field") {
        let mut error =
            ApiError::new(Rejection::Unsupported, format!("unknown parameter `{}`", quoted(text)));
        error.param = Some(quoted(text).into());
        return error;
    }
    if text.starts_with("missing field") {
        let name = if path.is_empty() { quoted(text) } else { format!("{path}.{}", quoted(text)) };
        return ApiError::new(Rejection::InvalidRequest, format!("`{name}` is missing")).at(name);
    }
    let message = match expected(text) {
        Some(expected) if text.starts_with("unknown variant") => {
            format!("must be {}", alternatives(&expected))
        }
        Some(expected) => format!("must be {}", kind(&expected)),
        None => text.to_owned(),
    };
    let place = if path.is_empty() { "the message" } else { &format!("`{path}`") };
    ApiError::new(Rejection::InvalidRequest, format!("{place} {message}")).at(path)
}

/// `one of `a`, `b`, `c`` as `` `a`, `b` or `c` ``.
fn alternatives(expected: &str) -> String {
    let list = expected.strip_prefix("one of ").unwrap_or(expected);
    match list.rsplit_once(", ") {
        Some((first, last)) => format!("{first} or {last}"),
        None => list.to_owned(),
    }
}

/// A kind of value as serde names it, in the terms of JSON.
fn kind(expected: &str) -> &str {
    match expected {
        "a string" | "string or map" => "text",
        "a boolean" => "true or false",
        "a map" => "an object",
        "a sequence" => "a list",
        "f32" | "f64" => "a number",
        "u8" | "u32" | "u64" | "usize" => "a whole number",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// Deserializes a field that may be `null`: `None` only if the field is absent.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Deserializes a non-negative integer. `3.0` counts as one, as in JSON Schema.
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let invalid = || serde::de::Error::custom("must be a whole number");
    whole(&value).map(Some).ok_or_else(invalid)
}

/// Estimates the memory of JSON as a [`Value`] in bytes, without parsing it. For small values it is up to a hundred times
/// the size of the text. The bytes need not be valid JSON.
pub(crate) fn weight(bytes: &[u8]) -> usize {
    /// A value in a list that grows by doubling.
    const VALUE: usize = 2 * size_of::<Value>();
    /// The first node of an object, which has room for eleven fields.
    const OBJECT: usize = 640;
    /// A field: its name, and its part of the further nodes.
    const FIELD: usize = 24 + OBJECT / 6;
    /// Overhead of the allocation of a text.
    const TEXT: usize = 16;
    let (mut sum, mut quoted, mut escaped) = (bytes.len() + VALUE, false, false);
    for byte in bytes {
        match (quoted, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => (quoted, sum) = (false, sum + TEXT),
            (false, b'"') => quoted = true,
            (false, b'{') => sum += VALUE + OBJECT,
            (false, b'[' | b',') => sum += VALUE,
            (false, b':') => sum += FIELD,
            _ => {}
        }
    }
    sum
}

/// Returns whether brackets outside of strings are nested deeper than `limit`. The bytes need not be valid JSON.
fn is_deeper(bytes: &[u8], limit: usize) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match (quoted, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Returns a non-negative integer. `3.0` counts as one, as in JSON Schema.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    /// Integers beyond it are not exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fraction = || value.as_f64().filter(|number| (0.0..EXACT).contains(number) && number.fract() == 0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within bounds")]
    value.as_u64().or_else(|| fraction().map(|number| number as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors are read")]
    struct Message {
        text: String,
        #[serde(default, deserialize_with = "integer")]
        at: Option<u64>,
        list: Option<Vec<Item>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors are read")]
    struct Item {
        kind: Kind,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        First,
        Second,
        Third,
    }

    #[test]
    fn an_error_names_the_field_and_what_is_expected() {
        let error = |text: &str| {
            let error = message::<Message>(text.as_bytes()).unwrap_err();
            (error.message, error.param.unwrap_or_default().into_string())
        };
        let expect = |text: &str, message: &str, param: &str| {
            assert_eq!(error(text), (message.to_owned(), param.to_owned()), "{text}");
        };
        expect("{}", "`text` is missing", "text");
        expect(r#"{"text": 1}"#, "`text` must be text", "text");
        expect(r#"{"text": "", "at": "x"}"#, "`at` must be a whole number", "at");
        expect(r#"{"text": "", "at": -1}"#, "`at` must be a whole number", "at");
        expect(r#"{"text": "", "list": 1}"#, "`list` must be a list", "list");
        expect(r#"{"text": "", "list": [1]}"#, "`list[0]` must be an object", "list[0]");
        expect(r#"{"text": "", "list": [{}]}"#, "`list[0].kind` is missing", "list[0].kind");
        let message = "`list[0].kind` must be `first`, `second` or `third`";
        expect(r#"{"text": "", "list": [{"kind": "x"}]}"#, message, "list[0].kind");
        assert!(super::message::<Message>(br#"{"text": "", "at": 3.0, "list": null}"#).is_ok());
    }

    #[test]
    fn a_misspelled_field_is_named_with_its_place_and_others_are_ignored() {
        let error = |text: &str| strict_message::<Message>(text.as_bytes()).unwrap_err().message;
        assert_eq!(error(r#"{"txet": "x"}"#), "unknown field `txet`; did you mean `text`?");
        assert_eq!(
            error(r#"{"text": "", "list": [{"kind": "first"}, {"knd": "first"}]}"#),
            "unknown field `knd` in `list[1]`; did you mean `kind`?"
        );
        assert!(strict_message::<Message>(br#"{"text": "", "zebra": {"txet": 1}}"#).is_ok());
    }

    #[test]
    fn invalid_json_says_once_where_and_what_was_expected() {
        let error = |text: &str| object(text.as_bytes()).unwrap_err().message;
        assert_eq!(
            error("{x"),
            "invalid JSON at line 1 column 2: the name of a field must be a string in double quotes"
        );
        assert!(
            error("nonsense").starts_with("invalid JSON at line 1 column 2: a value is expected: an object,")
        );
        assert_eq!(error(""), "invalid JSON at line 1 column 0: the text ends where a value is expected");
        assert_eq!(
            error("{"),
            "invalid JSON at line 1 column 1: the text ends inside an object; `}` is missing"
        );
        assert_eq!(
            error("{\"a"),
            "invalid JSON at line 1 column 3: the text ends inside a string; `\"` is missing"
        );
        assert_eq!(error("{\"a\":\n1 2}"), "invalid JSON at line 2 column 3: expected `,` or `}`");
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let read = |text: &str| whole(&serde_json::from_str(text).unwrap());
        assert_eq!(
            (read("3"), read("3.0"), read("3e2"), read("0.0")),
            (Some(3), Some(3), Some(300), Some(0))
        );
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for none in ["3.5", "-1", "-1.0", "1e300", "\"3\"", "null", "true"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn the_weight_of_small_values_is_many_times_their_text_and_that_of_a_long_text_is_not() {
        let small = format!("[{}0]", r#"{"a":1},"#.repeat(1_000));
        assert!(
            (80..160).contains(&(weight(small.as_bytes()) / small.len())),
            "{}",
            weight(small.as_bytes())
        );
        let numbers = format!("[{}0]", "1,".repeat(1_000));
        assert!((16..=80).contains(&(weight(numbers.as_bytes()) / numbers.len())));
        let text = format!("\"{}\\\"[[{{\"", "가".repeat(1_000));
        assert!(weight(text.as_bytes()) < text.len() + 200);
    }

    #[test]
    fn brackets_in_strings_do_not_count_as_depth() {
        let text = format!(r#"{{"message":"{}\"[["}}"#, "[".repeat(500));
        assert!(object(text.as_bytes()).is_ok());
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let at = |levels| object(format!(r#"{{"a":{}}}"#, deep(levels)).as_bytes());
        assert!(at(DEPTH - 1).is_ok());
        assert_eq!(at(DEPTH).unwrap_err().code, "too_deep");
    }

    #[test]
    fn json_inside_a_text_does_not_bypass_the_depth_limit() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for key in ["$serde_json::private::RawValue", "\\u0024serde_json::private::RawValue"] {
            let text = format!(r#"{{"answer":{{"{key}":"{deep}"}}}}"#);
            assert_eq!(object(text.as_bytes()).unwrap_err().code, "invalid_request");
        }
    }
}
