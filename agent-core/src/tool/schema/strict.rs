//! Conversion to strict schemas with the same result as `_ensure_strict_json_schema` of the openai Python package.

use serde_json::{Map, Value};

use super::{MAX_DEPTH, depth, resolve};

/// A schema that cannot be converted to a strict one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A subschema is not an object; `true` and `false` are not supported here.
    #[error("the schema at `{path}` is not an object; write it as an object")]
    NotAnObject {
        /// JSON pointer to the subschema.
        path: String,
    },
    /// A `$ref` does not resolve inside the document.
    #[error("`$ref` at `{path}` does not resolve to a schema in the same document")]
    Dangling {
        /// JSON pointer to the reference.
        path: String,
    },
    /// Nested too deeply, or infinite because a `$ref` with siblings refers to itself.
    #[error("the schema is nested too deeply at `{path}`; it may refer to itself")]
    TooDeep {
        /// JSON pointer to the subschema.
        path: String,
    },
}

/// Converts a schema to a strict one: closes objects, requires all properties, inlines each `$ref` that has
/// siblings and each `allOf` with one element, and removes `null` defaults.
///
/// Does not make optional properties nullable and does not check that the result is in the strict subset;
/// [`for_model`](super::for_model) does both.
///
/// # Errors
///
/// See [`SchemaError`].
pub fn strict(schema: &Value) -> Result<Value, SchemaError> {
    if depth(schema) > MAX_DEPTH * 2 {
        return Err(SchemaError::TooDeep { path: String::new() });
    }
    let mut made = schema.clone();
    ensure(&mut made, "", schema, 0)?;
    Ok(made)
}

fn ensure(schema: &mut Value, path: &str, root: &Value, level: usize) -> Result<(), SchemaError> {
    if level > MAX_DEPTH {
        return Err(SchemaError::TooDeep { path: path.to_owned() });
    }
    let Some(object) = schema.as_object_mut() else {
        return Err(SchemaError::NotAnObject { path: path.to_owned() });
    };
    for key in ["$defs", "definitions"] {
        named(object, key, path, root, level)?;
    }
    if object.get("type").is_some_and(|kind| kind == "object") && !object.contains_key("additionalProperties")
    {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if let Some(properties) = object.get("properties").and_then(Value::as_object) {
        let all = properties.keys().map(|name| Value::from(name.as_str())).collect();
        object.insert("required".to_owned(), Value::Array(all));
        named(object, "properties", path, root, level)?;
    }
    if let Some(items) = object.get_mut("items").filter(|items| items.is_object()) {
        ensure(items, &format!("{path}/items"), root, level + 1)?;
    }
    list(object, "anyOf", path, root, level)?;
    list(object, "allOf", path, root, level)?;
    if let Some(Value::Array(all)) = object.get_mut("allOf")
        && all.len() == 1
        && let Some(Value::Object(only)) = all.pop()
    {
        object.extend(only);
        object.shift_remove("allOf");
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.shift_remove("default");
    }
    if object.len() > 1
        && let Some(reference) = object.get("$ref").filter(|reference| reference.as_str() != Some(""))
    {
        let dangling = || SchemaError::Dangling { path: path.to_owned() };
        let resolved = reference.as_str().and_then(|reference| resolve(root, reference));
        let resolved = resolved.and_then(Value::as_object).ok_or_else(dangling)?.clone();
        object.shift_remove("$ref");
        // Keywords of the referring schema override those of the referenced one.
        for (key, value) in resolved {
            object.entry(key).or_insert(value);
        }
        return ensure(schema, path, root, level + 1);
    }
    Ok(())
}

fn named(
    object: &mut Map<String, Value>,
    key: &str,
    path: &str,
    root: &Value,
    level: usize,
) -> Result<(), SchemaError> {
    let Some(children) = object.get_mut(key).and_then(Value::as_object_mut) else { return Ok(()) };
    for (name, child) in children {
        ensure(child, &format!("{path}/{key}/{name}"), root, level + 1)?;
    }
    Ok(())
}

fn list(
    object: &mut Map<String, Value>,
    key: &str,
    path: &str,
    root: &Value,
    level: usize,
) -> Result<(), SchemaError> {
    let Some(children) = object.get_mut(key).and_then(Value::as_array_mut) else { return Ok(()) };
    for (at, child) in children.iter_mut().enumerate() {
        ensure(child, &format!("{path}/{key}/{at}"), root, level + 1)?;
    }
    Ok(())
}
