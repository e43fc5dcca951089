//! A run as a UI message stream: parts with a beginning and an end, and steps around turns of the model.

use std::sync::Arc;

use agent_core::{
    AgentState,
    model::{FinishReason, Role},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::{
    TaskAgent,
    api::{
        tool_chat::{TalkAnswer, is_korean, render_question},
        ui,
    },
    app::AppState,
    conversation::{ConversationEvent, ConversationStream},
    error::{ApiError, Contract, Rejection},
    limits::Permit,
};

/// First part of a stream.
#[derive(Debug)]
pub(super) enum UiStart {
    /// With a message of this id.
    Message(String),
    /// With the rest of the message that a question ended.
    Continued,
}

/// The events of a run as chunks.
pub(super) struct UiStream {
    app: Arc<AppState>,
    agent: Arc<dyn TaskAgent>,
    conversation: ConversationStream,
    begins: Option<UiStart>,
    /// Kind and id of the part that is open.
    part: Option<(&'static str, String)>,
    parts: u32,
    /// Whether tool calls ended the turn, so that the next part is of another step.
    after_calls: bool,
    ended: bool,
    /// Counts against the caller's streams.
    _permit: Permit,
}

impl UiStream {
    pub(super) fn new(
        app: Arc<AppState>,
        agent: Arc<dyn TaskAgent>,
        conversation: ConversationStream,
        begins: UiStart,
        permit: Permit,
    ) -> Self {
        Self {
            app,
            agent,
            conversation,
            begins: Some(begins),
            part: None,
            parts: 0,
            after_calls: false,
            ended: false,
            _permit: permit,
        }
    }

    pub(super) fn into_events(self) -> impl Stream<Item = Bytes> + Send + 'static {
        let events = stream::unfold(self, |mut stream| async move {
            let events = stream.next().await?;
            Some((stream::iter(events), stream))
        });
        events.flatten()
    }

    /// Returns the next chunks; `None` after the last one.
    async fn next(&mut self) -> Option<Vec<Bytes>> {
        if let Some(begins) = self.begins.take() {
            let id = match &begins {
                UiStart::Message(id) => Some(id.as_str()),
                UiStart::Continued => None,
            };
            return Some(vec![ui::start(id), ui::step("start-step")]);
        }
        if self.ended {
            return None;
        }
        let mut out = Vec::new();
        match self.conversation.next().await {
            // Between turns, which are steps here.
            Some(ConversationEvent::Text(text)) if self.part.is_none() && text.trim().is_empty() => {}
            Some(ConversationEvent::Text(text)) => self.push("text", &text, &mut out),
            Some(ConversationEvent::Reasoning(text)) => self.push("reasoning", &text, &mut out),
            Some(ConversationEvent::Retracted) => {
                self.part = None;
                out.push(ui::step("reset-step"));
            }
            Some(ConversationEvent::ToolCall(index)) => {
                self.close(&mut out);
                out.extend(ui::tool_call(&self.conversation.calls()[index]));
            }
            Some(ConversationEvent::ToolResult(index)) => {
                self.after_calls = true;
                out.push(ui::tool_result(&self.conversation.calls()[index]));
            }
            Some(ConversationEvent::Todo(todo)) => out.push(ui::todo(&todo)),
            Some(ConversationEvent::Question(questions)) => {
                for open in &questions {
                    match ui::approval(open, self.conversation.calls()) {
                        Some(chunk) => out.push(chunk),
                        None => {
                            self.close(&mut out);
                            self.push("text", &render_question(open), &mut out);
                            self.close(&mut out);
                            out.push(ui::question(open));
                        }
                    }
                }
                self.finish("other", &mut out);
            }
            Some(ConversationEvent::Failed(error)) => {
                self.close(&mut out);
                self.ended = true;
                let is_stopped = error.code == Rejection::Stopped.name();
                out.push(if is_stopped { ui::abort() } else { ui::error(&error) });
                out.push(ui::done());
            }
            Some(ConversationEvent::Done) | None => {
                if self.agent.as_assistant().is_some() {
                    // An answer without text says why.
                    if self.conversation.answer().trim().is_empty() {
                        let state = self.conversation.session().state::<AgentState>().await;
                        let message = state.ok().and_then(|state| {
                            let asked =
                                state.messages.iter().rev().find(|message| message.role == Role::User);
                            asked.map(|message| is_korean(&message.text()))
                        });
                        let answer = TalkAnswer::of(&self.conversation, message.unwrap_or_default());
                        self.push("text", &answer.unsent().unwrap_or_default(), &mut out);
                    }
                } else {
                    match self.conversation.session().state_json().await {
                        Ok(state) => {
                            let text = self.app.response(self.agent.graph(), &state);
                            self.push("text", &text, &mut out);
                        }
                        Err(error) => out.push(ui::error(&ApiError::of(Contract::Chat, &error))),
                    }
                }
                let reason = match self.conversation.finish() {
                    Some(FinishReason::Length) => "length",
                    Some(FinishReason::Filtered) => "content-filter",
                    _ => "stop",
                };
                self.finish(reason, &mut out);
            }
        }
        Some(out)
    }

    /// Adds a piece to the part of this kind, which begins if it is not open.
    fn push(&mut self, kind: &'static str, text: &str, out: &mut Vec<Bytes>) {
        if text.is_empty() {
            return;
        }
        if self.part.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.close(out);
            if std::mem::take(&mut self.after_calls) {
                out.extend([ui::step("finish-step"), ui::step("start-step")]);
            }
            self.parts += 1;
            let id = self.parts.to_string();
            out.push(ui::part(kind, "start", &id));
            self.part = Some((kind, id));
        }
        if let Some((kind, id)) = &self.part {
            out.push(ui::delta(kind, id, text));
        }
    }

    fn close(&mut self, out: &mut Vec<Bytes>) {
        if let Some((kind, id)) = self.part.take() {
            out.push(ui::part(kind, "end", &id));
        }
    }

    fn finish(&mut self, reason: &str, out: &mut Vec<Bytes>) {
        self.close(out);
        self.ended = true;
        out.extend([ui::step("finish-step"), ui::finish(reason, self.conversation.usage()), ui::done()]);
    }
}
