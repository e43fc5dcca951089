//! Checks of JSON that exists already: a text or a tree, without recursion.

use serde_json::{Map, Value};

use super::{MAX_BYTES, MAX_DEPTH, ValueError, ValueFault, write::RESERVED};

/// Nesting depth of a JSON text: brackets outside of strings. Reads each byte once; need not be JSON.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text {
        match (quoted, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Checks whether a tree may be stored: its depth, size and keys. Does not recurse.
///
/// # Errors
///
/// [`ValueError`] with the place.
///
/// # Examples
///
/// ```
/// use agent_core::json;
///
/// assert!(json::check(&serde_json::json!({"a": [1, 2]})).is_ok());
/// let deep = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
/// assert!(json::check(&deep).is_err());
/// ```
pub fn check(value: &Value) -> Result<(), ValueError> {
    check_within(value, MAX_DEPTH)
}

/// As [`check`], with another maximum depth.
pub(crate) fn check_within(value: &Value, depth: usize) -> Result<(), ValueError> {
    walk(value, Some(depth)).map(drop)
}

/// Returns about the length of the JSON text of `value`, up to [`MAX_BYTES`].
pub(crate) fn size(value: &Value) -> usize {
    walk(value, None).unwrap_or(MAX_BYTES)
}

/// As [`check`], for a tree with a depth and keys that are known to be legal.
pub(super) fn check_size(value: &Value) -> Result<(), ValueError> {
    walk(value, None).map(drop)
}

/// The children of an array or object, and the one being looked at.
enum Level<'a> {
    List(std::iter::Enumerate<std::slice::Iter<'a, Value>>, usize),
    Map(serde_json::map::Iter<'a>, &'a str),
}

/// Checks size and, with a maximum depth, depth and keys. Returns the size.
fn walk(value: &Value, depth: Option<usize>) -> Result<usize, ValueError> {
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut bytes = 0_usize;
    let mut next = Some(value);
    loop {
        if let Some(value) = next {
            // A lower bound of its text, exact up to the escapes in strings and the digits of numbers.
            bytes += match value {
                Value::String(text) => text.len() + 3,
                Value::Null | Value::Bool(_) => 5,
                Value::Number(_) => 2,
                Value::Array(_) | Value::Object(_) => 3,
            };
            if bytes > MAX_BYTES {
                return Err(ValueError::new(String::new(), ValueFault::TooLarge { bytes, limit: MAX_BYTES }));
            }
            match value {
                Value::Array(items) => levels.push(Level::List(items.iter().enumerate(), 0)),
                Value::Object(fields) => levels.push(Level::Map(fields.iter(), "")),
                _ => {}
            }
            if let Some(limit) = depth
                && levels.len() > limit
            {
                return Err(fault(&levels, ValueFault::TooDeep { limit }));
            }
        }
        next = match levels.last_mut() {
            None => return Ok(bytes),
            Some(Level::List(items, at)) => items.next().map(|(index, item)| {
                *at = index;
                item
            }),
            Some(Level::Map(fields, at)) => fields.next().map(|(key, item)| {
                *at = key.as_str();
                bytes += key.len() + 4;
                item
            }),
        };
        match (next, levels.last()) {
            (Some(_), Some(Level::Map(_, key))) if depth.is_some() && key.starts_with(RESERVED) => {
                levels.pop();
                return Err(fault(&levels, ValueFault::ReservedKey));
            }
            (None, _) => drop(levels.pop()),
            _ => {}
        }
    }
}

fn fault(levels: &[Level<'_>], fault: ValueFault) -> ValueError {
    let mut place = String::new();
    let above = if matches!(fault, ValueFault::TooDeep { .. }) { levels.len() - 1 } else { levels.len() };
    for level in &levels[..above] {
        place.push('/');
        match level {
            Level::List(_, at) => place.push_str(&at.to_string()),
            Level::Map(_, key) => place.push_str(&super::fragment::escaped(key)),
        }
    }
    ValueError::new(place, fault)
}

/// Drops a tree without recursion: the `Drop` of a deep one would overflow the stack.
pub(crate) fn dismantle(value: Value) {
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(fields) => rest.extend(values(fields)),
            _ => {}
        }
    }
}

fn values(fields: Map<String, Value>) -> impl Iterator<Item = Value> {
    fields.into_iter().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert_eq!(depth(br#"{"a":["[[[",{"b\"[":[]}]}"#), 4);
        assert_eq!(depth(b"3"), 0);
    }

    #[test]
    fn the_place_of_a_fault_is_named() {
        assert!(check(&nested(MAX_DEPTH)).is_ok());
        let deep = json!({"a/b": [0, nested(MAX_DEPTH)]});
        let error = check(&deep).unwrap_err();
        assert!(error.place.starts_with("/a~1b/1/0/0"), "{error}");
        let reserved = json!({"a": {"b": 1, "$serde_json::private::RawValue": "x"}});
        assert_eq!(check(&reserved).unwrap_err(), ValueError::new("/a".into(), ValueFault::ReservedKey));
        let huge = json!(["x".repeat(MAX_BYTES)]);
        assert!(matches!(check(&huge).unwrap_err().fault, ValueFault::TooLarge { .. }));
    }

    #[test]
    fn a_very_deep_tree_is_refused_and_dropped_without_recursion() {
        let mut deep = json!(1);
        for _ in 0..200_000 {
            deep = Value::Array(vec![deep]);
        }
        assert!(check(&deep).is_err());
        dismantle(deep);
    }
}
