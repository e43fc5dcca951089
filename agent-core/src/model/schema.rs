//! JSON Schemas of Rust types in the form that model endpoints accept.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// Formats that OpenAI's strict mode supports; it rejects others.
const FORMATS: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Returns the JSON Schema of a type without what endpoints reject: `$schema`, number formats such as `uint32`, and
/// `oneOf`, which becomes `anyOf` (the variants of a Rust enum exclude each other anyway).
///
/// # Examples
///
/// ```
/// use agent_core::model::schema::schema_of;
///
/// assert_eq!(schema_of::<u8>()["type"], "integer");
/// ```
#[must_use]
pub fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    if let Some(map) = schema.as_object_mut() {
        map.shift_remove("$schema");
    }
    soften(&mut schema);
    schema
}

fn soften(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(alternatives) = map.shift_remove("oneOf") {
                map.insert("anyOf".to_owned(), alternatives);
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|format| !FORMATS.contains(&format)) {
                map.shift_remove("format");
            }
            for (key, inner) in map.iter_mut() {
                // Data, not schemas.
                if !matches!(key.as_str(), "const" | "enum" | "default" | "examples") {
                    soften(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(soften),
        _ => {}
    }
}

/// Converts a schema to OpenAI's strict subset with the rules of the `openai` Python package: every object closed,
/// every property required, `allOf` with one element and `$ref` with siblings inlined, `null` defaults removed.
///
/// [`is_strict`] checks whether the result is in the subset.
///
/// # Examples
///
/// ```
/// use agent_core::model::schema::{is_strict, strict};
/// use serde_json::json;
///
/// let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
/// let strict = strict(&schema);
/// assert_eq!(strict["required"], json!(["city"]));
/// assert!(is_strict(&strict));
/// ```
#[must_use]
pub fn strict(schema: &Value) -> Value {
    let mut strict = schema.clone();
    close(&mut strict, schema, 0);
    strict
}

/// Deeper schemas are not changed: only a schema with a circular reference reaches this depth.
const DEPTH: usize = 64;

fn close(schema: &mut Value, root: &Value, depth: usize) {
    let Some(map) = schema.as_object_mut().filter(|_| depth < DEPTH) else { return };
    for key in ["$defs", "definitions"] {
        each(map.get_mut(key), |schema| close(schema, root, depth + 1));
    }
    if map.get("type") == Some(&json!("object")) && !map.contains_key("additionalProperties") {
        map.insert("additionalProperties".to_owned(), json!(false));
    }
    if let Some(properties) = map.get("properties").and_then(Value::as_object) {
        let names: Vec<Value> = properties.keys().map(|name| json!(name)).collect();
        map.insert("required".to_owned(), Value::Array(names));
        each(map.get_mut("properties"), |schema| close(schema, root, depth + 1));
    }
    if let Some(items) = map.get_mut("items").filter(|items| items.is_object()) {
        close(items, root, depth + 1);
    }
    each(map.get_mut("anyOf"), |schema| close(schema, root, depth + 1));
    match map.get_mut("allOf").and_then(Value::as_array_mut) {
        Some(all) if all.len() == 1 => {
            let mut only = all.remove(0);
            close(&mut only, root, depth + 1);
            map.shift_remove("allOf");
            if let Value::Object(only) = only {
                map.extend(only);
            }
        }
        Some(all) => all.iter_mut().for_each(|schema| close(schema, root, depth + 1)),
        None => {}
    }
    if map.get("default") == Some(&Value::Null) {
        map.shift_remove("default");
    }
    // A `$ref` must not have siblings: it is replaced by its target, and the siblings override it.
    if map.len() > 1
        && let Some(target) = map.get("$ref").and_then(Value::as_str)
        && let Some(Value::Object(target)) = target.strip_prefix('#').and_then(|path| root.pointer(path))
    {
        let neighbours = std::mem::replace(map, target.clone());
        map.extend(neighbours);
        map.shift_remove("$ref");
        close(schema, root, depth + 1);
    }
}

fn each(schemas: Option<&mut Value>, visit: impl FnMut(&mut Value)) {
    match schemas {
        Some(Value::Object(map)) => map.values_mut().for_each(visit),
        Some(Value::Array(list)) => list.iter_mut().for_each(visit),
        _ => {}
    }
}

/// Returns `true` if every part of the schema is in OpenAI's strict subset. Maps with arbitrary keys, schemas
/// without constraints, tuples and `allOf` are not.
#[must_use]
pub fn is_strict(schema: &Value) -> bool {
    let root = schema.as_object().is_some_and(|map| map.get("type") == Some(&json!("object")));
    root && inside(schema)
}

fn inside(schema: &Value) -> bool {
    let Some(map) = schema.as_object() else { return false };
    let typed = ["type", "anyOf", "$ref", "enum", "const"].iter().any(|key| map.contains_key(*key));
    let refused = [
        "allOf",
        "oneOf",
        "not",
        "if",
        "prefixItems",
        "patternProperties",
        "dependentRequired",
        "unevaluatedProperties",
    ];
    if !typed || refused.iter().any(|key| map.contains_key(*key)) {
        return false;
    }
    let is = |name: &str| match map.get("type") {
        Some(Value::String(known)) => known == name,
        Some(Value::Array(known)) => known.iter().any(|known| known == name),
        _ => false,
    };
    if is("object") {
        let properties = map.get("properties").and_then(Value::as_object);
        let named = properties.map_or(0, Map::len);
        let required = map.get("required").and_then(Value::as_array).map_or(0, Vec::len);
        if map.get("additionalProperties") != Some(&json!(false)) || named != required {
            return false;
        }
    }
    if is("array") && !map.get("items").is_some_and(Value::is_object) {
        return false;
    }
    let all = |key: &str| match map.get(key) {
        Some(Value::Object(inner)) if key == "items" => inside(&Value::Object(inner.clone())),
        Some(Value::Object(inner)) => inner.values().all(inside),
        Some(Value::Array(inner)) => inner.iter().all(inside),
        _ => true,
    };
    ["properties", "items", "anyOf", "$defs", "definitions"].into_iter().all(all)
}
