//! JSON Schemas of tool arguments: derived from Rust types, converted to the strict subset, used for validation.

mod check;
mod strict;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

pub(super) use self::check::Checker;
pub use self::strict::{SchemaError, strict};

/// Maximum depth. Deeper schemas are rejected as a mistake or an attack, because the functions here recurse.
const MAX_DEPTH: usize = 64;

/// Keywords with one schema.
const ONE: [&str; 8] =
    ["items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"];
/// Keywords with a list of schemas.
const LIST: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
/// Keywords with a map of schemas.
const NAMED: [&str; 5] = ["properties", "$defs", "definitions", "patternProperties", "dependentSchemas"];

/// Returns the JSON Schema (2020-12) that describes how `T` is deserialized.
///
/// Types are inlined, except recursive ones, because not every endpoint resolves `$ref`.
///
/// # Examples
///
/// ```
/// use agent_core::tool::schema;
///
/// #[derive(schemars::JsonSchema)]
/// struct City { name: String }
///
/// assert_eq!(schema::of::<City>()["properties"]["name"]["type"], "string");
/// ```
#[must_use]
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.shift_remove("title");
    }
    schema
}

/// Returns the schema in the form that strict endpoints accept: optional properties required and nullable, objects
/// closed; see [`strict`].
///
/// `None` if the strict subset cannot express it (maps, tuples, arbitrary values).
///
/// # Examples
///
/// ```
/// use agent_core::tool::schema;
/// use serde_json::json;
///
/// let optional = json!({"type": "object", "properties": {"city": {"type": "string"}}});
/// let strict = schema::for_model(&optional).expect("it has a strict form");
/// assert_eq!(strict["properties"]["city"]["type"], json!(["string", "null"]));
/// assert_eq!(schema::for_model(&json!({"type": "object", "additionalProperties": true})), None);
/// ```
#[must_use]
pub fn for_model(schema: &Value) -> Option<Value> {
    let mut adapted = schema.clone();
    adapt(&mut adapted);
    let root = adapted.as_object_mut()?;
    root.shift_remove("$schema");
    root.entry("properties").or_insert_with(|| json!({}));
    let made = strict(&adapted).ok()?;
    (made.get("type").is_some_and(|kind| kind == "object") && is_strict(&made)).then_some(made)
}

/// Replaces keywords by equivalent ones of the strict subset.
fn adapt(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    // Formats that only describe Rust's number types. Strict endpoints reject unknown formats.
    if object.get("format").and_then(Value::as_str).is_some_and(|format| {
        let number = format.trim_start_matches(['u', 'i']).strip_prefix("nt").unwrap_or(format);
        matches!(format, "float" | "double")
            || number.is_empty()
            || number.bytes().all(|byte| byte.is_ascii_digit())
    }) {
        object.shift_remove("format");
    }
    if !object.contains_key("anyOf")
        && let Some(variants) = object.shift_remove("oneOf")
    {
        object.insert("anyOf".to_owned(), variants);
    }
    let required = required(object);
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            if !required.contains(name) && !accepts_null(property) {
                add_null(property);
            }
        }
    }
    for_each_child(object, &mut adapt);
}

fn required(object: &Map<String, Value>) -> Vec<String> {
    let listed = object.get("required").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns whether the schema itself allows `null`.
fn accepts_null(schema: &Value) -> bool {
    let Some(object) = schema.as_object() else { return schema == &Value::Bool(true) };
    let by_type = match object.get("type") {
        Some(Value::String(kind)) => kind == "null",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "null"),
        _ => false,
    };
    let by_variant = ["anyOf", "oneOf"].iter().filter_map(|key| object.get(*key)?.as_array()).flatten();
    by_type
        || by_variant.into_iter().any(accepts_null)
        || object.get("enum").and_then(Value::as_array).is_some_and(|values| values.contains(&Value::Null))
        || object.get("const").is_some_and(Value::is_null)
        || !["type", "anyOf", "oneOf", "allOf", "enum", "const", "$ref"]
            .iter()
            .any(|key| object.contains_key(*key))
}

fn add_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let listed = object.contains_key("enum") || object.contains_key("const");
    match object.get_mut("type") {
        Some(Value::String(kind)) if !listed => {
            let both = json!([kind.as_str(), "null"]);
            object.insert("type".to_owned(), both);
            return;
        }
        Some(Value::Array(kinds)) if !listed => {
            kinds.push("null".into());
            return;
        }
        _ => {}
    }
    if object.len() <= 2
        && let Some(variants) = object.get_mut("anyOf").and_then(Value::as_array_mut)
    {
        variants.push(json!({ "type": "null" }));
        return;
    }
    let mut outer = Map::new();
    if let Some(description) = object.shift_remove("description") {
        outer.insert("description".to_owned(), description);
    }
    outer.insert("anyOf".to_owned(), json!([schema.take(), { "type": "null" }]));
    *schema = Value::Object(outer);
}

/// Returns whether a strict endpoint accepts the schema.
fn is_strict(schema: &Value) -> bool {
    const REFUSED: [&str; 15] = [
        "oneOf",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "propertyNames",
        "prefixItems",
        "contains",
        "uniqueItems",
        "minProperties",
        "unevaluatedProperties",
    ];
    let Some(object) = schema.as_object() else { return false };
    if REFUSED.iter().any(|key| object.contains_key(*key)) {
        return false;
    }
    let is = |wanted: &str| match object.get("type") {
        Some(Value::String(kind)) => kind == wanted,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == wanted),
        _ => false,
    };
    let said = ["type", "$ref", "anyOf", "enum", "const"].iter().any(|key| object.contains_key(*key));
    let closed =
        object.get("additionalProperties") == Some(&Value::Bool(false)) && object.contains_key("properties");
    let mut children = NAMED
        .iter()
        .filter_map(|key| object.get(*key)?.as_object())
        .flat_map(Map::values)
        .chain(LIST.iter().filter_map(|key| object.get(*key)?.as_array()).flatten())
        .chain(object.get("items"));
    said && (!is("object") || closed)
        && (!is("array") || object.contains_key("items"))
        && children.all(is_strict)
}

fn for_each_child(object: &mut Map<String, Value>, visit: &mut impl FnMut(&mut Value)) {
    for key in ONE {
        if let Some(child) = object.get_mut(key) {
            visit(child);
        }
    }
    for key in LIST {
        if let Some(children) = object.get_mut(key).and_then(Value::as_array_mut) {
            children.iter_mut().for_each(&mut *visit);
        }
    }
    for key in NAMED {
        if let Some(children) = object.get_mut(key).and_then(Value::as_object_mut) {
            children.values_mut().for_each(&mut *visit);
        }
    }
}

/// Returns the nesting depth of a JSON value.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Resolves `#/a/b` from the root.
fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    reference.strip_prefix("#/").and_then(|_| root.pointer(&reference[1..]))
}
