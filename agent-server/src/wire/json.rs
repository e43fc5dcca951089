//! JSON from outside: bounded in depth before it is parsed, refused in words that help.

use serde_json::{Map, Value};

use crate::error::{ApiError, Refusal};

/// How deep JSON from outside may nest.
pub(crate) const DEPTH: usize = 64;

/// An object from bytes.
///
/// # Errors
///
/// `too_deep`, `invalid_json`, `invalid_request` when it is no object.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match value(bytes)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(ApiError::new(Refusal::InvalidRequest, "a JSON object is expected")),
    }
}

/// Any JSON from bytes.
///
/// # Errors
///
/// `too_deep`, `invalid_json`.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, ApiError> {
    if is_deeper(bytes, DEPTH) {
        return Err(ApiError::new(Refusal::TooDeep, format!("JSON may nest {DEPTH} levels deep")));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        ApiError::new(Refusal::InvalidJson, format!("this is no JSON (at {place})"))
    })
}

/// Whether brackets outside strings nest deeper than `limit`. Reads each byte once; need not be JSON.
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

/// A field that is text, if it is there; `null` counts as absent.
pub(crate) fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::new(Refusal::InvalidRequest, format!("`{name}` must be text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_are_no_depth() {
        let text = format!(r#"{{"message":"{}\"[["}}"#, "[".repeat(500));
        assert!(object(text.as_bytes()).is_ok());
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let at = |levels| object(format!(r#"{{"a":{}}}"#, deep(levels)).as_bytes());
        assert!(at(DEPTH - 1).is_ok());
        assert_eq!(at(DEPTH).unwrap_err().code, "too_deep");
    }
}
