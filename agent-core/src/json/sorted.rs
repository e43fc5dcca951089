//! JSON values with the members of objects in the order of their names: the form that is hashed and compared.
//!
//! Objects keep the order in which they were written, because models generate fields in the order of a schema. What is
//! hashed must not depend on it.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// Serializes a value with sorted members.
pub(crate) struct Sorted<'a>(pub(crate) &'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, &Sorted(value))?;
                }
                map.end()
            }
            Value::Array(values) => serializer.collect_seq(values.iter().map(Sorted)),
            plain => plain.serialize(serializer),
        }
    }
}

/// Returns the value with sorted members.
pub(crate) fn sorted(value: &Value) -> Value {
    let mut value = value.clone();
    value.sort_all_objects();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashed_form_does_not_depend_on_the_order_of_members() {
        let text = r#"{"b":[{"z":1,"a":2.50}],"a":{"y":null,"x":"\u2028"}}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        let written = serde_json::to_string(&Sorted(&value)).unwrap();
        assert_eq!(written, sorted(&value).to_string());
        assert_eq!(written, "{\"a\":{\"x\":\"\u{2028}\",\"y\":null},\"b\":[{\"a\":2.5,\"z\":1}]}");
        assert_ne!(written, value.to_string());
    }
}
