//! Offline model: a substitute where no model is configured, which every answer of it states.

use serde_json::{Map, Value};

use super::{Scripted, Turn};
use crate::model::{ChatModel, ModelError, ModelRequest, ModelStream, ResponseFormat, Role, ToolChoice};

/// Beginning of every answer in words.
const NOTE: &str = "[offline: no model is configured]";
/// Most tools that one answer calls.
const CALLS: usize = 8;
/// Deepest schema that gets an example.
const DEPTH: usize = 16;

/// A substitute for a model, for programs that also run without one; see [`Model::from_env_or`](crate::model::Model::from_env_or).
///
/// It understands nothing. It calls each offered tool once with arguments made from the tool's schema and the text of
/// the user, and answers with the results. Every answer begins with `[offline: no model is configured]`, unless a schema
/// was requested for it.
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, Runtime, model::{Model, testing::Offline}, tool, tool::ToolError};
///
/// /// The weather of a city.
/// #[tool]
/// async fn weather(city: String) -> Result<String, ToolError> {
///     Ok(format!("{city}: sunny"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("assistant").tool(weather).model(Model::new(Offline)).build()?;
/// let session = Runtime::builder().build().session("s1")?;
/// let reply = session.chat(&agent, "Seoul").await?;
/// assert_eq!(reply.text(), "[offline: no model is configured] weather: Seoul: sunny");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

impl ChatModel for Offline {
    fn name(&self) -> &str {
        "offline"
    }

    fn provider(&self) -> &str {
        "offline"
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        Scripted::rule(|_, request| turn(request)).stream(request).await
    }
}

fn turn(request: &ModelRequest) -> Turn {
    let user = request.messages.iter().rfind(|message| message.role == Role::User);
    let said = user.map(|message| message.text().into_owned()).unwrap_or_default();
    if let Some(ResponseFormat::JsonSchema { schema, .. }) = &request.response_format {
        return Turn::text(example(schema, schema, &said, 0).to_string());
    }
    let results: Vec<String> = request
        .messages
        .iter()
        .rev()
        .take_while(|message| message.role == Role::Tool)
        .map(|message| format!("{}: {}", message.name.as_deref().unwrap_or("tool"), message.text()))
        .collect();
    if !results.is_empty() {
        let lines: Vec<&str> = results.iter().rev().map(String::as_str).collect();
        return Turn::text(format!("{NOTE} {}", lines.join("; ")));
    }
    let callable = request.tools.iter().filter(|tool| !tool.name.starts_with("transfer_to_")).take(CALLS);
    if request.tool_choice != ToolChoice::None && callable.clone().next().is_some() {
        return callable.fold(Turn::default(), |turn, tool| {
            turn.and_call(&*tool.name, example(&tool.parameters, &tool.parameters, &said, 0))
        });
    }
    Turn::text(format!("{NOTE} {said}"))
}

/// Returns a value of the schema: the text where a text is asked for.
fn example(schema: &Value, root: &Value, text: &str, depth: usize) -> Value {
    if depth > DEPTH {
        return Value::Null;
    }
    let of = |schema: &Value| example(schema, root, text, depth + 1);
    if let Some(place) = schema["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        return root.pointer(place).map_or(Value::Null, of);
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].as_array()?.first()) {
        return value.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(schemas) = schema[choice].as_array() {
            return schemas.first().map_or(Value::Null, of);
        }
    }
    let nullable = schema["type"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "null"));
    match schema["type"].as_str() {
        _ if nullable => Value::Null,
        Some("string") => {
            let most = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok());
            Value::String(text.chars().take(most.unwrap_or(usize::MAX)).collect())
        }
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        Some("boolean") => Value::Bool(false),
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(0).min(100);
            (0..least).map(|_| of(&schema["items"])).collect()
        }
        _ => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let fields: Map<String, Value> =
                required.map(|name| (name.to_owned(), of(&schema["properties"][name]))).collect();
            Value::Object(fields)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_example_has_every_required_field_of_its_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "query": { "type": "string", "maxLength": 3 },
                "many": { "type": "integer", "minimum": 2 },
                "todo": { "type": ["string", "null"] },
                "kind": { "$ref": "#/$defs/kind" },
                "tags": { "type": "array", "minItems": 1, "items": { "type": "boolean" } },
                "left": { "type": "string" }
            },
            "required": ["query", "many", "todo", "kind", "tags"],
            "$defs": { "kind": { "enum": ["a", "b"] } }
        });
        let wanted = json!({ "query": "abc", "many": 2, "todo": null, "kind": "a", "tags": [false] });
        assert_eq!(example(&schema, &schema, "abcdef", 0), wanted);
        let endless = json!({ "$ref": "#" });
        assert_eq!(example(&endless, &endless, "", 0), Value::Null);
    }
}
