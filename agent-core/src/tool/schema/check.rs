//! Validates tool arguments against their schema and reports violations in terms a model can act on.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::{MAX_DEPTH, accepts_null, depth, for_each_child, required, resolve};
use crate::{
    json,
    tool::{ToolCall, ToolError},
    validation::validator,
};

/// Maximum length of the arguments in bytes. Longer ones are treated as a runaway model.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Maximum number of reported violations, and of characters of each.
const MAX_FAULTS: usize = 8;
const FAULT_CHARS: usize = 300;

/// Schema of a tool's arguments.
pub(in crate::tool) struct Checker {
    schema: Value,
    /// Compiled at the first call, unless the schema may have a fault.
    validator: OnceLock<Validator>,
}

impl Checker {
    pub(in crate::tool) fn new(schema: &Value) -> Result<Self, String> {
        if schema.get("type").is_none_or(|kind| kind != "object") {
            return Err("arguments are named, so the schema's `type` is `object`".to_owned());
        }
        if depth(schema) > MAX_DEPTH * 2 {
            return Err("the schema is nested too deeply".to_owned());
        }
        let checker = Self { schema: schema.clone(), validator: OnceLock::new() };
        if !is_plain(schema) {
            checker.validator()?;
        }
        Ok(checker)
    }

    fn validator(&self) -> Result<&Validator, String> {
        if let Some(validator) = self.validator.get() {
            return Ok(validator);
        }
        let mut closed = self.schema.clone();
        close(&mut closed);
        let validator = validator(&closed).map_err(|error| shorten(&error.to_string()))?;
        Ok(self.validator.get_or_init(|| validator))
    }

    pub(in crate::tool) fn parse(&self, call: &ToolCall) -> Result<Value, ToolError> {
        if call.arguments.len() > MAX_BYTES {
            return Err(ToolError::bad_arguments(
                &call.name,
                &[format!("they are longer than {MAX_BYTES} bytes")],
            ));
        }
        let deep = |text: &str| json::depth(text.as_bytes()) > json::MAX_DEPTH;
        if deep(&call.arguments) {
            return Err(too_deep(&call.name));
        }
        let no_json = |error: serde_json::Error| {
            ToolError::bad_arguments(&call.name, &[format!("they are not valid JSON: {error}")])
        };
        let args = match call.parse_arguments().map_err(no_json)? {
            // Some models write no arguments as `null`.
            Value::Null => serde_json::json!({}),
            // Object that was encoded twice.
            Value::String(inner) if inner.trim_start().starts_with('{') => {
                if deep(&inner) {
                    return Err(too_deep(&call.name));
                }
                json::parse(inner.as_bytes()).map_err(no_json)?
            }
            args => args,
        };
        self.check(&call.name, args)
    }

    /// Returns the arguments as the tool takes them, or the violations (up to a limit).
    pub(in crate::tool) fn check(&self, tool: &str, mut args: Value) -> Result<Value, ToolError> {
        // A call is stored before it is made.
        if let Err(error) = json::check(&args) {
            json::dismantle(args);
            return Err(ToolError::bad_arguments(tool, &[shorten(&error.to_string())]));
        }
        let validator = self.validator().map_err(ToolError::failed)?;
        if validator.is_valid(&args) {
            return Ok(args);
        }
        // A strict endpoint makes the model write every property; `null` then means that it is absent.
        drop_nulls(&self.schema, &self.schema, &mut args, 0);
        let faults: Vec<String> = validator
            .iter_errors(&args)
            .take(MAX_FAULTS)
            .map(|error| {
                let place = error.instance_path().to_string();
                let text = shorten(&error.to_string());
                if place.is_empty() { text } else { format!("`{place}`: {text}") }
            })
            .collect();
        if faults.is_empty() { Ok(args) } else { Err(ToolError::bad_arguments(tool, &faults)) }
    }
}

fn too_deep(tool: &str) -> ToolError {
    ToolError::bad_arguments(tool, &[format!("they are nested deeper than {} levels", json::MAX_DEPTH)])
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(FAULT_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Returns whether a schema has only keywords and values that always compile, as those of most Rust types. Compiling the first
/// schema takes 1,000 functions and the compiled meta-schema, which a server without a tool call does not need.
fn is_plain(schema: &Value) -> bool {
    let Some(object) = schema.as_object() else { return schema.is_boolean() };
    object.iter().all(|(keyword, value)| match keyword.as_str() {
        "default" | "const" => true,
        "enum" => value.is_array(),
        "title" | "description" | "format" => value.is_string(),
        "minimum" | "maximum" => value.is_number(),
        "minLength" | "maxLength" | "minItems" | "maxItems" => value.is_u64(),
        "type" => {
            value.as_str().is_some_and(is_type)
                || strings(value).is_some_and(|kinds| !kinds.is_empty() && kinds.into_iter().all(is_type))
        }
        "required" => strings(value).is_some(),
        "properties" => value.as_object().is_some_and(|properties| properties.values().all(is_plain)),
        "items" | "additionalProperties" => is_plain(value),
        "anyOf" | "oneOf" => {
            value.as_array().is_some_and(|variants| !variants.is_empty() && variants.iter().all(is_plain))
        }
        _ => false,
    })
}

/// Returns a short list of different strings.
fn strings(value: &Value) -> Option<Vec<&str>> {
    let list = value.as_array().filter(|list| list.len() <= 100)?;
    let strings: Vec<&str> = list.iter().map(Value::as_str).collect::<Option<_>>()?;
    let unique = strings.iter().enumerate().all(|(at, string)| !strings[..at].contains(string));
    unique.then_some(strings)
}

fn is_type(name: &str) -> bool {
    ["array", "boolean", "integer", "null", "number", "object", "string"].contains(&name)
}

/// Rejects unknown properties, so that a misspelt optional property is an error. Schemas composed of several parts
/// stay open: closing one part would reject what the others allow.
fn close(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let composed = ["allOf", "anyOf", "oneOf", "$ref", "if", "patternProperties", "dependentSchemas"];
    if object.contains_key("properties")
        && !object.contains_key("additionalProperties")
        && !composed.iter().any(|key| object.contains_key(*key))
    {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    let parts: Vec<(&str, Value)> = ["allOf", "if", "then", "else", "not", "dependentSchemas"]
        .into_iter()
        .filter_map(|key| object.remove(key).map(|part| (key, part)))
        .collect();
    // Variants next to properties describe one object together.
    let variants: Vec<(&str, Value)> = if object.contains_key("properties") {
        ["anyOf", "oneOf"].into_iter().filter_map(|key| object.remove(key).map(|part| (key, part))).collect()
    } else {
        Vec::new()
    };
    for_each_child(object, &mut close);
    object.extend(parts.into_iter().chain(variants).map(|(key, part)| (key.to_owned(), part)));
}

/// Removes each `null` that represents an absent optional property, unless the property itself allows `null`.
fn drop_nulls(schema: &Value, root: &Value, value: &mut Value, level: usize) {
    if level > MAX_DEPTH {
        return;
    }
    let Some(schema) = schema.as_object() else { return };
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|target| resolve(root, target))
    {
        drop_nulls(target, root, value, level + 1);
    }
    for variant in ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten()
    {
        drop_nulls(variant, root, value, level + 1);
    }
    match value {
        Value::Object(map) => drop_in(schema, root, map, level),
        Value::Array(items) => {
            if let Some(of) = schema.get("items") {
                items.iter_mut().for_each(|item| drop_nulls(of, root, item, level + 1));
            }
        }
        _ => {}
    }
}

fn drop_in(schema: &Map<String, Value>, root: &Value, map: &mut Map<String, Value>, level: usize) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required = required(schema);
    for (name, property) in properties {
        match map.get_mut(name) {
            Some(Value::Null) if !required.contains(name) && !accepts_null(property) => {
                map.shift_remove(name);
            }
            Some(value) => drop_nulls(property, root, value, level + 1),
            None => {}
        }
    }
}
