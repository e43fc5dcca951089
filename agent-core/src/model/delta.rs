//! Deltas of a model's answer, and the assembler that turns them into a reply.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{ModelError, ModelErrorKind};
use super::message::{Content, Message, Reasoning, ToolCall, new_id};
use super::usage::Usage;

/// Maximum number of calls in one answer; an endpoint that sends more is broken.
const MAX_CALLS: u32 = 1_024;

/// Reason why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The answer is complete.
    Stop,
    /// The model requests tool calls.
    ToolCalls,
    /// The limit of output tokens was reached: the text is incomplete.
    Length,
    /// A content filter ended the answer.
    Filtered,
    /// Another reason, as the endpoint names it; at most 64 characters.
    Other(String),
}

/// One part of an answer, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delta {
    /// The name of the model that answers, as reported by the endpoint.
    Model {
        /// The name.
        name: String,
    },
    /// More text.
    Text {
        /// The text; never splits a character.
        text: String,
    },
    /// More reasoning text.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A reasoning item is complete and has data that must be sent back with it.
    ReasoningSealed {
        /// Id of the item, assigned by the endpoint.
        id: Option<String>,
        /// Signature or encrypted content.
        sealed: Option<String>,
    },
    /// A tool call begins.
    ToolCallStarted {
        /// Index of the call in this answer, from 0.
        index: u32,
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
    },
    /// More of the arguments of a call that has begun.
    ToolCallArguments {
        /// Index of the call.
        index: u32,
        /// A part of the JSON text.
        text: String,
    },
    /// Provider data that belongs to a call and must be sent back with it.
    ToolCallProvider {
        /// Index of the call.
        index: u32,
        /// The data.
        data: Value,
    },
    /// Log probabilities of the text, as the endpoint sends them. Only if the request asked for them.
    Logprobs {
        /// The tokens, one JSON object each.
        content: Vec<Value>,
    },
    /// Usage of the call so far; later values replace earlier ones.
    Usage {
        /// The usage.
        usage: Usage,
    },
    /// Everything received so far is void, because the call is made again. Output that was shown must be removed.
    Restarted {
        /// Number of the attempt that begins now; the first was 1.
        attempt: u32,
        /// Code of the error that ended the previous attempt ([`ModelError::code`]).
        reason: String,
    },
    /// The answer is complete. Always the last delta; a stream without it was cut off.
    Finished {
        /// Reason why the model stopped.
        reason: FinishReason,
    },
}

impl Delta {
    /// Creates a text delta.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::Delta;
    ///
    /// assert!(matches!(Delta::text("hi"), Delta::Text { text } if text == "hi"));
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// Returns `true` if the delta contains output that subscribers show.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Delta, FinishReason};
    ///
    /// assert!(Delta::text("hi").is_output());
    /// assert!(!Delta::Finished { reason: FinishReason::Stop }.is_output());
    /// ```
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
            | Self::Logprobs { .. }
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
    /// Usage of the call; `None` if the endpoint did not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Reason why the model stopped.
    pub finish: FinishReason,
    /// The name of the model that answered; empty if the endpoint did not report it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Number of attempts, counted from 1.
    #[serde(default = "first_attempt")]
    pub attempts: u32,
}

fn first_attempt() -> u32 {
    1
}

/// Assembles deltas into a reply. Used for streamed and for collected answers.
///
/// # Examples
///
/// ```
/// use agent_core::model::{Assembler, Delta, FinishReason};
///
/// let mut reply = Assembler::new();
/// for delta in [Delta::text("Hel"), Delta::text("lo"), Delta::Finished { reason: FinishReason::Stop }] {
///     reply.push(&delta)?;
/// }
/// assert_eq!(reply.finish()?.message.text(), "Hello");
/// # Ok::<(), agent_core::model::ModelError>(())
/// ```
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
    /// Creates an assembler. The id of the message is fixed now.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Assembler, Delta};
    ///
    /// let mut assembler = Assembler::new();
    /// assembler.push(&Delta::text("hel"))?;
    /// assert_eq!(assembler.text(), "hel");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Returns the id of the future message, for token events.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::Assembler;
    ///
    /// assert!(Assembler::new().message_id().starts_with("msg_"));
    /// ```
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// Returns the text so far.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Assembler, Delta};
    ///
    /// let mut assembler = Assembler::new();
    /// assembler.push(&Delta::text("hel"))?;
    /// assembler.push(&Delta::text("lo"))?;
    /// assert_eq!(assembler.text(), "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds one delta.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Malformed`] if the deltas contradict each other: arguments of a call that was never started,
    /// calls not numbered from 0, or more than 1,024 of them.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Assembler, Delta, FinishReason};
    ///
    /// let mut assembler = Assembler::new();
    /// assembler.push(&Delta::text("hel"))?;
    /// assembler.push(&Delta::text("lo"))?;
    /// assembler.push(&Delta::Finished { reason: FinishReason::Stop })?;
    /// assert_eq!(assembler.finish()?.message.text(), "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
            // Not part of a message.
            Delta::Logprobs { .. } => {}
            Delta::Restarted { attempt, .. } => {
                // Same id: subscribers replace what they show under it.
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
            .ok_or_else(|| malformed("arguments of a tool call that was never started"))
    }

    /// Returns the complete answer.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Cut`] if the stream ended without [`Delta::Finished`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Assembler, Delta, FinishReason};
    ///
    /// let mut assembler = Assembler::new();
    /// assembler.push(&Delta::text("hello"))?;
    /// assembler.push(&Delta::Finished { reason: FinishReason::Stop })?;
    /// assert_eq!(assembler.finish()?.message.text(), "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(self) -> Result<ModelReply, ModelError> {
        let Some(finish) = self.finish else {
            return Err(ModelError::new(ModelErrorKind::Cut));
        };
        let mut message = Message::assistant(Content::Text(self.text)).with_id(self.message_id);
        message.tool_calls = self.calls;
        message.reasoning = self.reasoning;
        Ok(ModelReply { message, usage: self.usage, finish, model: self.model, attempts: self.attempt })
    }

    /// Returns the partial message of an answer that was stopped: its text and reasoning, without tool calls, because their
    /// arguments may be incomplete. `None` if there is no output yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Assembler, Delta};
    ///
    /// let mut assembler = Assembler::new();
    /// assembler.push(&Delta::text("hel"))?;
    /// let partial = assembler.into_partial().expect("there is output");
    /// assert_eq!(partial.text(), "hel");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn into_partial(self) -> Option<Message> {
        if self.text.is_empty() {
            return None;
        }
        let mut message = Message::assistant(Content::Text(self.text)).with_id(self.message_id);
        // Endpoints reject reasoning without its signature.
        message.reasoning = self.reasoning;
        if self.reasoning_open {
            message.reasoning.pop();
        }
        Some(message)
    }
}

fn malformed(detail: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Malformed).with_detail(detail)
}
