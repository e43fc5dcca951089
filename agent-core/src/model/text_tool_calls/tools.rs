//! Model wrapper that turns text calls into tool calls.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use serde_json::json;

use super::{TextCalls, TextPiece};
use crate::model::message::new_id;
use crate::model::tool_images::stated;
use crate::model::{
    ChatModel, Delta, FinishReason, Message, Messages, Model, ModelCapabilities, ModelError, ModelRequest,
    ModelStream, Role,
};

/// A model that may write its tool calls as text.
///
/// Native calls are passed through. With [`prompted`](Self::prompted) the endpoint does not need to support tools:
/// they are described in the system prompt, and calls and results are sent as text.
///
/// # Examples
///
/// ```
/// use agent_core::model::{
///     Model, ModelRequest, TextTools, ToolSpec,
///     testing::{Scripted, Turn},
/// };
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), agent_core::model::ModelError> {
/// let script = Scripted::new([Turn::text(r#"<tool_call>{"name": "time", "arguments": {}}</tool_call>"#)]);
/// let tools = [ToolSpec {
///     name: "time".to_owned(),
///     description: "Returns the time.".to_owned(),
///     parameters: json!({"type": "object"}),
///     strict: false,
/// }];
/// let request = ModelRequest::new("What time is it?").tools(tools);
/// let reply = Model::new(TextTools::new(script)).complete(request).await?;
/// assert_eq!(reply.message.tool_calls[0].name, "time");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TextTools {
    model: Model,
    prompted: bool,
}

impl TextTools {
    /// Looks for calls in the text of every answer to a request with tools.
    pub fn new(model: impl ChatModel) -> Self {
        Self { model: Model::new(model), prompted: false }
    }

    /// Describes the tools in the prompt instead of sending them to the endpoint. Default: sends them.
    #[must_use]
    pub fn prompted(mut self) -> Self {
        self.prompted = true;
        self
    }
}

impl ChatModel for TextTools {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn capabilities(&self) -> ModelCapabilities {
        ModelCapabilities { tools: true, ..self.model.capabilities() }
    }

    async fn stream(&self, mut request: ModelRequest) -> Result<ModelStream, ModelError> {
        if request.tools.is_empty() {
            return self.model.stream(request).await;
        }
        let parser = TextCalls::new(request.tools.iter().map(|tool| tool.name.as_str()));
        if self.prompted {
            describe(&mut request);
        }
        let stream = self.model.stream(request).await?;
        let reading = TextCallStream { stream, parser, ready: VecDeque::new(), native: Vec::new(), calls: 0 };
        Ok(ModelStream::new(futures::stream::unfold(reading, |mut reading| async move {
            let item = reading.next().await?;
            Some((item, reading))
        })))
    }
}

struct TextCallStream {
    stream: ModelStream,
    parser: TextCalls,
    ready: VecDeque<Delta>,
    /// Numbers that were assigned to native calls, by their own index.
    native: Vec<u32>,
    calls: u32,
}

impl TextCallStream {
    async fn next(&mut self) -> Option<Result<Delta, ModelError>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Some(Ok(delta));
            }
            match self.stream.next().await? {
                Ok(delta) => self.push_delta(delta),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn push_delta(&mut self, delta: Delta) {
        let number = |native: &[u32], index: u32| native.get(index as usize).copied().unwrap_or(index);
        let delta = match delta {
            Delta::Text { text } => {
                let pieces = self.parser.push(&text);
                return self.put(pieces);
            }
            Delta::ToolCallStarted { id, name, .. } => {
                let index = self.calls;
                self.calls += 1;
                self.native.push(index);
                Delta::ToolCallStarted { index, id, name }
            }
            Delta::ToolCallArguments { index, text } => {
                Delta::ToolCallArguments { index: number(&self.native, index), text }
            }
            Delta::ToolCallProvider { index, data } => {
                Delta::ToolCallProvider { index: number(&self.native, index), data }
            }
            Delta::Restarted { attempt, reason } => {
                drop(self.parser.finish());
                self.native.clear();
                self.calls = 0;
                Delta::Restarted { attempt, reason }
            }
            Delta::Finished { reason } => {
                let pieces = self.parser.finish();
                self.put(pieces);
                let reason = match reason {
                    FinishReason::Stop if self.calls > 0 => FinishReason::ToolCalls,
                    reason => reason,
                };
                Delta::Finished { reason }
            }
            delta => delta,
        };
        self.ready.push_back(delta);
    }

    fn put(&mut self, pieces: Vec<TextPiece>) {
        for piece in pieces {
            match piece {
                TextPiece::Text(text) => self.ready.push_back(Delta::Text { text }),
                TextPiece::Call { name, arguments } => {
                    let index = self.calls;
                    self.calls += 1;
                    self.ready.push_back(Delta::ToolCallStarted { index, id: new_id("call_"), name });
                    self.ready.push_back(Delta::ToolCallArguments { index, text: arguments });
                }
            }
        }
    }
}

/// Describes the tools in the format of the Hermes models, and removes native calls from the conversation.
fn describe(request: &mut ModelRequest) {
    let mut prompt = request.system.as_deref().unwrap_or_default().to_owned();
    if !prompt.is_empty() {
        prompt.push_str("\n\n");
    }
    prompt.push_str(
        "You may call one or more functions to help with the request. The functions, as JSON Schema, within <tools></tools>:\n<tools>",
    );
    for tool in request.tools.iter() {
        let function =
            json!({ "name": tool.name, "description": tool.description, "parameters": tool.parameters });
        prompt.push('\n');
        prompt.push_str(&json!({ "type": "function", "function": function }).to_string());
    }
    prompt.push_str(
        "\n</tools>\n\nFor each call write one JSON object with name and arguments within <tool_call></tool_call>:\n<tool_call>\n{\"name\": \"the function\", \"arguments\": {}}\n</tool_call>\nThe result comes back within <tool_response></tool_response>. When you need no function, just answer.",
    );
    request.system = Some(prompt.into());
    request.tools = Arc::new([]);
    request.messages = request.messages.iter().map(as_text).collect::<Messages>();
}

fn as_text(message: &Arc<Message>) -> Arc<Message> {
    match message.role {
        Role::Tool => {
            let name = message.name.as_deref().unwrap_or("tool");
            let result = stated(message).unwrap_or_else(|| message.text().into_owned());
            let text = format!("<tool_response>\n{name}: {result}\n</tool_response>");
            Arc::new(Message::user(text).with_id(message.id.as_str()))
        }
        Role::Assistant if !message.tool_calls.is_empty() => {
            let mut text = message.text().into_owned();
            for call in &message.tool_calls {
                let arguments =
                    call.parse_arguments().unwrap_or_else(|_| json!({ "malformed": call.arguments }));
                let call = json!({ "name": call.name, "arguments": arguments });
                text.push_str(&format!("\n<tool_call>\n{call}\n</tool_call>"));
            }
            Arc::new(Message::assistant(text.trim_start()).with_id(message.id.as_str()))
        }
        _ => Arc::clone(message),
    }
}
