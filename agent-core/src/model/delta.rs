//! What arrives from a model, piece by piece, and the one place that puts the pieces together.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{ModelError, ModelFault};
use super::message::{Content, Message, Reasoning, ToolCall, new_id};
use super::usage::Usage;

/// Upper bound of the calls in one answer; an endpoint that sends more is broken.
const MAX_CALLS: u32 = 1_024;

/// Why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It wants tools called.
    ToolCalls,
    /// It reached the bound of output tokens: the text is incomplete.
    Length,
    /// A content filter cut it off.
    Filtered,
    /// Something else; the endpoint's own word, at most 64 characters.
    Other(String),
}

/// One piece of an answer, in the order it arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delta {
    /// The name of the model that really answers, as the endpoint gives it.
    Model {
        /// The name.
        name: String,
    },
    /// More text.
    Text {
        /// The piece; whole characters, never half of one.
        text: String,
    },
    /// More of what the model thinks.
    Reasoning {
        /// The piece.
        text: String,
    },
    /// A piece of reasoning is complete and has marks that must be sent back with it.
    ReasoningSealed {
        /// The endpoint's id of the item.
        id: Option<String>,
        /// Signature or encrypted content.
        sealed: Option<String>,
    },
    /// The model begins a tool call.
    ToolCallStarted {
        /// Counts the calls of this answer from 0.
        index: u32,
        /// The call's id.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of the arguments of a call that has begun.
    ToolCallArguments {
        /// Which call.
        index: u32,
        /// A piece of JSON text.
        text: String,
    },
    /// Data of the endpoint that belongs to a call and must be sent back with it.
    ToolCallProvider {
        /// Which call.
        index: u32,
        /// The data.
        data: Value,
    },
    /// What the call has used up so far; later ones replace earlier ones.
    Usage {
        /// The count.
        usage: Usage,
    },
    /// Everything since the beginning is void: the call is made again. What was shown must be taken back.
    Restarted {
        /// The number of the attempt that begins now; the first was 1.
        attempt: u32,
        /// Code of the error that ended the one before ([`ModelError::code`]).
        reason: String,
    },
    /// The answer is complete. Always the last; a stream without it was cut.
    Finished {
        /// Why the model stopped.
        reason: FinishReason,
    },
}

impl Delta {
    /// A piece of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// Whether a subscriber sees something of the answer in it.
    #[must_use]
    pub fn is_output(&self) -> bool {
        match self {
            Self::Text { .. }
            | Self::Reasoning { .. }
            | Self::ToolCallStarted { .. }
            | Self::ToolCallArguments { .. } => true,
            Self::Model { .. }
            | Self::ReasoningSealed { .. }
            | Self::ToolCallProvider { .. }
            | Self::Usage { .. }
            | Self::Restarted { .. }
            | Self::Finished { .. } => false,
        }
    }
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelReply {
    /// The assistant's message.
    pub message: Message,
    /// What it used up; `None` when the endpoint did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Why the model stopped.
    pub finish: FinishReason,
    /// The model that really answered; empty when the endpoint did not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Attempts it took, counted from 1.
    #[serde(default = "first_attempt")]
    pub attempts: u32,
}

fn first_attempt() -> u32 {
    1
}

/// Puts the pieces of one answer together. The streamed and the plain way both come through here.
#[derive(Clone, Debug)]
pub struct Assembler {
    message_id: String,
    text: String,
    reasoning: Vec<Reasoning>,
    reasoning_open: bool,
    calls: Vec<ToolCall>,
    usage: Option<Usage>,
    model: String,
    finish: Option<FinishReason>,
    attempt: u32,
}

impl Default for Assembler {
    fn default() -> Self {
        Self::new()
    }
}

impl Assembler {
    /// Begins an answer; its message id is fixed now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            message_id: new_id("msg_"),
            text: String::new(),
            reasoning: Vec::new(),
            reasoning_open: false,
            calls: Vec::new(),
            usage: None,
            model: String::new(),
            finish: None,
            attempt: 1,
        }
    }

    /// The id the finished message will have, so that token events can name it.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// The text so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds one piece.
    ///
    /// # Errors
    ///
    /// [`ModelFault::Malformed`] when the pieces contradict each other: arguments of a call that never
    /// began, calls not counted from 0, or more than 1,024 of them.
    pub fn push(&mut self, delta: &Delta) -> Result<(), ModelError> {
        match delta {
            Delta::Model { name } => self.model.clone_from(name),
            Delta::Text { text } => self.text.push_str(text),
            Delta::Reasoning { text } => {
                if !self.reasoning_open {
                    self.reasoning.push(Reasoning::default());
                    self.reasoning_open = true;
                }
                if let Some(last) = self.reasoning.last_mut() {
                    last.text.push_str(text);
                }
            }
            Delta::ReasoningSealed { id, sealed } => {
                if !self.reasoning_open {
                    self.reasoning.push(Reasoning::default());
                }
                if let Some(last) = self.reasoning.last_mut() {
                    last.id.clone_from(id);
                    last.sealed.clone_from(sealed);
                }
                self.reasoning_open = false;
            }
            Delta::ToolCallStarted { index, id, name } => {
                if *index as usize != self.calls.len() || *index >= MAX_CALLS {
                    return Err(malformed("tool calls out of order"));
                }
                self.calls.push(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    provider: None,
                });
            }
            Delta::ToolCallArguments { index, text } => self.call(*index)?.arguments.push_str(text),
            Delta::ToolCallProvider { index, data } => self.call(*index)?.provider = Some(data.clone()),
            Delta::Usage { usage } => self.usage = Some(*usage),
            Delta::Restarted { attempt, .. } => {
                // Same id: subscribers replace what they showed under it.
                let message_id = std::mem::take(&mut self.message_id);
                *self = Self { message_id, attempt: *attempt, ..Self::new() };
            }
            Delta::Finished { reason } => self.finish = Some(reason.clone()),
        }
        Ok(())
    }

    fn call(&mut self, index: u32) -> Result<&mut ToolCall, ModelError> {
        self.calls
            .get_mut(index as usize)
            .ok_or_else(|| malformed("arguments of a tool call that never began"))
    }

    /// The complete answer.
    ///
    /// # Errors
    ///
    /// [`ModelFault::Cut`] when the stream ended without [`Delta::Finished`].
    pub fn finish(self) -> Result<ModelReply, ModelError> {
        let Some(finish) = self.finish else {
            return Err(ModelError::new(ModelFault::Cut));
        };
        let mut message = Message::assistant(Content::Text(self.text)).with_id(self.message_id);
        message.tool_calls = self.calls;
        message.reasoning = self.reasoning;
        Ok(ModelReply { message, usage: self.usage, finish, model: self.model, attempts: self.attempt })
    }

    /// What there is of an answer that was stopped: its text and thoughts, without the tool calls,
    /// whose arguments may be half written. `None` when nothing was said yet.
    #[must_use]
    pub fn into_partial(self) -> Option<Message> {
        if self.text.is_empty() {
            return None;
        }
        let mut message = Message::assistant(Content::Text(self.text)).with_id(self.message_id);
        // An unsealed thought would be refused when sent back.
        message.reasoning = self.reasoning;
        if self.reasoning_open {
            message.reasoning.pop();
        }
        Some(message)
    }
}

fn malformed(detail: &str) -> ModelError {
    ModelError::new(ModelFault::Malformed).with_detail(detail)
}
