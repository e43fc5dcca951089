//! Questions of tools, sent to the client as elicitations if it supports them.

use agent_core::{interrupt::Question, tool::ToolError};
use rmcp::{
    Peer, RoleServer,
    model::{ElicitRequestParams, ElicitationAction, ElicitationSchema},
};
use serde_json::{Value, json};

const CANNOT: &str = "the tool needs an answer from a person, but the client does not support elicitation";

/// Asks and waits. A question without a schema is sent as a form with one field.
pub(super) async fn ask(client: Peer<RoleServer>, question: Question) -> Result<Value, ToolError> {
    let can = client.peer_info().is_some_and(|info| info.capabilities.elicitation.is_some());
    if !can {
        return Err(ToolError::refused(CANNOT));
    }
    let form = question.schema.clone().and_then(|schema| {
        let object = schema.get("type").is_some_and(|kind| kind == "object");
        object.then(|| serde_json::from_value::<ElicitationSchema>(schema).ok()).flatten()
    });
    let (schema, field) = match form {
        Some(form) => (form, false),
        None => (serde_json::from_value(one_field(&question))?, true),
    };
    let asked = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: question.prompt.clone(),
        requested_schema: schema,
    };
    let reply = client
        .create_elicitation(asked)
        .await
        .map_err(|error| ToolError::refused(CANNOT).with_cause(error))?;
    match (reply.action, reply.content) {
        (ElicitationAction::Accept, Some(content)) if field => Ok(unwrapped(content, &question)),
        (ElicitationAction::Accept, Some(content)) => Ok(content),
        (ElicitationAction::Accept, None) => Ok(Value::Null),
        _ => Err(ToolError::refused("the person did not answer")),
    }
}

fn one_field(question: &Question) -> Value {
    let mut answer = json!({ "type": "string" });
    if !question.options.is_empty() && !question.open {
        answer["enum"] = question.options.iter().map(text).collect();
    }
    json!({ "type": "object", "properties": { "answer": answer }, "required": ["answer"] })
}

/// Returns an option in its original form, and other answers as text.
fn unwrapped(mut content: Value, question: &Question) -> Value {
    let answer = content.get_mut("answer").map(Value::take).unwrap_or_default();
    let option = question.options.iter().find(|option| text(option) == answer);
    option.cloned().unwrap_or(answer)
}

fn text(option: &Value) -> Value {
    match option {
        Value::String(_) => option.clone(),
        other => Value::String(other.to_string()),
    }
}
