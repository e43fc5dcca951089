//! An agent as a tool: a call is a run, which reports its progress and asks its questions at the client.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, Runtime, Session, SessionError,
    ids::SessionId,
    interrupt::OpenQuestion,
    todo::Todo,
    tool::{DynamicTool, ToolContext, ToolError, ToolOutput, ToolPolicy},
};
use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use crate::{
    ContextField, TaskAgent,
    conversation::{ConversationEvent, ConversationStream, ModelText},
    ephemeral_session::EphemeralSession,
    error::Contract,
};

/// Timeout of a call, without the time in which the person answers.
const TIMEOUT: Duration = Duration::from_secs(3_600);
/// Bytes of an answer.
const RESULT: usize = 4 * 1024 * 1024;
/// Most images of an answer.
const IMAGES: usize = 16;
/// Maximum number of attempts to get a valid answer to a question.
const ATTEMPTS: usize = 3;

/// Makes an agent a tool. Its sessions last for one call.
pub(super) fn new(agent: Arc<dyn TaskAgent>, runtime: Runtime, tasks: TaskTracker) -> DynamicTool {
    let parameters = json!({
        "type": "object",
        "properties": {
            "message": {"type": "string", "minLength": 1, "description": "The whole task, in any language."},
            "context": {"type": "object", "description": "Further input of the agent.", "additionalProperties": true},
        },
        "required": ["message"],
        "additionalProperties": false,
    });
    let output = json!({
        "type": "object",
        "properties": {"response": {"type": "string", "description": "The answer of the agent."}},
        "required": ["response"],
    });
    let description = match agent.description() {
        "" => format!("Runs the agent `{}`.", agent.graph()),
        text => text.to_owned(),
    };
    let policy = ToolPolicy::default().timeout(TIMEOUT).result_limit(RESULT);
    let name = agent.graph().to_owned();
    let call = move |args: Value, cx: ToolContext| {
        let (agent, runtime, tasks) = (Arc::clone(&agent), runtime.clone(), tasks.clone());
        async move { call(&*agent, &runtime, &tasks, args, &cx).await }
    };
    DynamicTool::new(name, description, parameters, call).with_output_schema(output).with_policy(policy)
}

async fn call(
    agent: &dyn TaskAgent,
    runtime: &Runtime,
    tasks: &TaskTracker,
    mut args: Value,
    cx: &ToolContext,
) -> Result<ToolOutput, ToolError> {
    let message = args["message"].as_str().unwrap_or_default().to_owned();
    let context = match args.get_mut("context").map(Value::take) {
        Some(Value::Object(context)) => context,
        _ => Map::new(),
    };
    ContextField::check_all(agent.context_fields(), &context)
        .map_err(|error| ToolError::refused(error.message))?;
    let session = runtime.session_of(SessionId::random());
    // Dropped when the client cancels the call: the run is stopped.
    let _ephemeral = EphemeralSession::new(session.clone(), tasks);
    let events = session.subscribe(None);
    let run = session.run_json(agent.graph(), agent.input(message, context)).start().await;
    let mut conversation =
        ConversationStream::new(run.map_err(failed)?, events, Contract::ToolChat, ModelText::Forward);
    while let Some(event) = conversation.next().await {
        match event {
            ConversationEvent::Todo(todo) => cx.progress(progress(&todo)),
            ConversationEvent::ToolCall(index) => {
                cx.progress(format!("{} …", conversation.calls()[index].name));
            }
            ConversationEvent::Question(questions) => {
                let Some(open) = questions.first() else { break };
                let run = ask(&session, open, cx).await?;
                conversation.resume(run);
            }
            ConversationEvent::Failed(error) => return Err(ToolError::failed(error.message)),
            ConversationEvent::Done => {
                let state = session.state_json().await.map_err(failed)?;
                return Ok(with_images(json!({"response": agent.response(&state)}), &state));
            }
            ConversationEvent::Text(_)
            | ConversationEvent::Reasoning(_)
            | ConversationEvent::Retracted
            | ConversationEvent::ToolResult(_) => {}
        }
    }
    Err(ToolError::failed("the agent ended without an answer"))
}

/// Returns the answer with the images of the tools that the agent called.
fn with_images(answer: Value, state: &Value) -> ToolOutput {
    let messages = state["messages"].as_array().into_iter().flatten();
    let results = messages.filter(|message| message["role"] == "tool");
    let parts = results.filter_map(|message| message["content"].as_array()).flatten();
    let images = parts.filter_map(|part| {
        let (kind, data) = part["url"].as_str()?.strip_prefix("data:")?.split_once(";base64,")?;
        Some(json!({"type": "image", "mimeType": kind, "data": data}))
    });
    let images: Vec<Value> = images.take(IMAGES).collect();
    if images.is_empty() {
        return ToolOutput::Json(answer);
    }
    let text = answer.to_string();
    let blocks = std::iter::once(json!({"type": "text", "text": text})).chain(images).collect();
    ToolOutput::Blocks { text, blocks }
}

/// Asks the person at the client, and answers the agent.
async fn ask(session: &Session, open: &OpenQuestion, cx: &ToolContext) -> Result<agent_core::Run, ToolError> {
    let mut question = open.question.clone();
    for _ in 0..ATTEMPTS {
        let answer = cx.ask(question.clone()).await?;
        match session.answer(Answers::to(open.id.clone(), answer)).by("an MCP client").await {
            Ok(run) => return Ok(run),
            Err(SessionError::Answer(error)) => {
                question.prompt = format!("{} ({error})", open.question.prompt);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(ToolError::refused("the answers to the question of the agent were invalid"))
}

fn progress(todo: &Todo) -> String {
    let message = if todo.message.is_empty() {
        todo.title.clone()
    } else {
        format!("{}: {}", todo.title, todo.message)
    };
    format!("{message} ({} %)", todo.progress)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn failed(error: SessionError) -> ToolError {
    tracing::warn!(%error, "an agent could not be run for an MCP client");
    ToolError::failed("the agent could not be run").with_cause(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_tools_of_an_agent_are_in_its_answer() {
        let image = json!({"type": "image", "url": "data:image/png;base64,iVBORw0KGgo="});
        let remote = json!({"type": "image", "url": "https://example.com/a.png"});
        let state = json!({"messages": [
            {"role": "user", "content": [image]},
            {"role": "tool", "content": [{"type": "text", "text": "a dot"}, image, remote]},
            {"role": "assistant", "content": "done"},
        ]});
        let answer = json!({"response": "done"});
        let ToolOutput::Blocks { text, blocks } = with_images(answer.clone(), &state) else {
            panic!("blocks")
        };
        assert_eq!(text, answer.to_string());
        let image = json!({"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="});
        assert_eq!(blocks, [json!({"type": "text", "text": text}), image]);
        assert_eq!(with_images(answer.clone(), &json!({})), ToolOutput::Json(answer));
    }
}
