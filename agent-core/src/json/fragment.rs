//! Parts of JSON text: fragments that are written as they are, keys, and steps of pointers.

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// The name under which serde_json passes a text of JSON through.
pub(super) const RAW: &str = "$serde_json::private::RawValue";

/// Returns whether JSON writes every byte of a text as it is. Without branches, so that it is compiled to vector instructions.
pub(super) fn has_no_escapes(text: &str) -> bool {
    let escapes = |bytes: &[u8]| {
        bytes.iter().fold(0, |any, &byte| {
            any | u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\')
        })
    };
    let (chunks, rest) = text.as_bytes().as_chunks::<64>();
    chunks.iter().all(|chunk| escapes(chunk) == 0) && escapes(rest) == 0
}

/// Writes parts of JSON text as they are, by the way in which serde_json writes a `RawValue`.
pub(super) fn write_parts<S: Serializer>(inner: S, parts: &[&str]) -> Result<S::Ok, S::Error> {
    let mut raw = inner.serialize_struct(RAW, 1)?;
    for part in parts {
        raw.serialize_field(RAW, part)?;
    }
    raw.end()
}

/// One step of a JSON Pointer (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A key as its text.
pub(super) fn key_text<T: Serialize + ?Sized>(key: &T) -> String {
    match serde_json::to_value(key) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}
