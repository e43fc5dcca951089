//! A run as a conversation: text, tool calls, questions, end. Reads events and knows no API contract.
//!
//! Text and tool calls come from journal entries, so they are complete even if a slow reader missed events. Token events
//! only deliver them earlier.

use std::collections::VecDeque;

use agent_core::{
    Event, Run, RunStatus, Session, SessionError,
    agent::Finish,
    event::{EventBody, EventFilter, EventKind, Subscription, payload},
    interrupt::OpenQuestion,
    model::{FinishReason, Message, ModelReply, ToolCall, Usage},
    todo::Todo,
    tool::ToolFault,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{ApiError, Contract, Rejection, session_not_found},
    raw_calls::RawCalls,
};

/// Key of the step in which an agent calls its own model.
const MODEL_STEP: &str = "model";
/// Separator between the texts before and after tool calls.
const PARAGRAPH: &str = "\n\n";

/// Event of a conversation.
#[derive(Debug)]
pub(crate) enum ConversationEvent {
    /// Part of the agent's text.
    Text(String),
    /// Part of the reasoning of the agent's model.
    Reasoning(String),
    /// The text since the last tool call is void.
    Retracted,
    /// An item of the todo list changed.
    Todo(Box<Todo>),
    /// A tool call began: its index in [`ConversationStream::calls`].
    ToolCall(usize),
    /// A tool call ended.
    ToolResult(usize),
    /// The run is paused for a person.
    Question(Vec<OpenQuestion>),
    /// The run failed.
    Failed(ApiError),
    /// The run ended.
    Done,
}

/// Why an answer is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incomplete {
    /// The limit of output tokens was reached.
    Length,
    /// A content filter ended it.
    Filtered,
    /// The limit of model calls was reached.
    TurnLimit,
    /// The model wrote a tool call that cannot be parsed.
    MalformedCall,
    /// It has no text.
    Empty,
}

/// A tool call.
#[derive(Debug, Clone)]
pub(crate) struct ToolCallRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON if the model sent JSON, otherwise its text.
    pub(crate) arguments: Value,
    pub(crate) result: Option<Value>,
    pub(crate) error: Option<String>,
    pub(crate) ms: u64,
    started_at: i64,
    ended: bool,
}

/// Recorded value of a tool step.
#[derive(Deserialize)]
struct ToolStep {
    message: Message,
    #[serde(default)]
    fault: Option<ToolFault>,
}

/// Update of a node.
#[derive(Deserialize)]
struct MessagesUpdate {
    messages: Vec<Message>,
}

/// End of an agent's turn, in the update of its model node.
#[derive(Deserialize)]
struct FinishUpdate {
    finish: Option<Finish>,
}

/// Whether the text of the model is the text of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelText {
    /// The model's text is the answer.
    Forward,
    /// The answer is in the final state.
    Ignore,
}

/// The events that a conversation is made of.
pub(crate) const EVENTS: EventFilter = EventFilter::none()
    .with(EventKind::Token)
    .with(EventKind::TokensVoided)
    .with(EventKind::StepRecorded)
    .with(EventKind::NodeFinished)
    .with(EventKind::RunDequeued)
    .with(EventKind::RunRolledBack)
    .with_ends();

/// The events of a run as a conversation.
pub(crate) struct ConversationStream {
    run: Run,
    events: Subscription,
    contract: Contract,
    model_text: ModelText,
    /// Whether there was text in an earlier turn of the model.
    has_earlier_text: bool,
    /// Text of the current turn of the model, or of the last one, as the model wrote it.
    turn: String,
    /// The same without calls that could not be parsed.
    shown: String,
    /// Finds these calls.
    raw_calls: RawCalls,
    /// Whether the agent had no turns left.
    at_turn_limit: bool,
    /// Events to return next.
    ready: VecDeque<ConversationEvent>,
    calls: Vec<ToolCallRecord>,
    /// Calls made before this stream began. Their results are reported.
    earlier_calls: Vec<ToolCall>,
    usage: Usage,
    finish: Option<FinishReason>,
    ended: bool,
}

impl ConversationStream {
    /// Reads a run. `events` must have been subscribed to before the run started.
    pub(crate) fn new(run: Run, events: Subscription, contract: Contract, model_text: ModelText) -> Self {
        Self {
            run,
            events,
            contract,
            model_text,
            has_earlier_text: false,
            turn: String::new(),
            shown: String::new(),
            raw_calls: RawCalls::default(),
            at_turn_limit: false,
            ready: VecDeque::new(),
            calls: Vec::new(),
            earlier_calls: Vec::new(),
            usage: Usage::default(),
            finish: None,
            ended: false,
        }
    }

    /// Sets the calls that a resumed run made before its pause.
    pub(crate) fn with_earlier_calls(mut self, calls: Vec<ToolCall>) -> Self {
        self.earlier_calls = calls;
        self
    }

    pub(crate) const fn session(&self) -> &Session {
        self.run.session()
    }

    /// Returns the text of the model's last turn.
    pub(crate) fn answer(&self) -> &str {
        &self.shown
    }

    /// Returns why the answer is incomplete; `None` if it is complete.
    pub(crate) fn incomplete(&self) -> Option<Incomplete> {
        match &self.finish {
            Some(FinishReason::Length) => Some(Incomplete::Length),
            Some(FinishReason::Filtered) => Some(Incomplete::Filtered),
            _ if self.at_turn_limit => Some(Incomplete::TurnLimit),
            _ if self.raw_calls.found() => Some(Incomplete::MalformedCall),
            _ if self.shown.trim().is_empty() => Some(Incomplete::Empty),
            _ => None,
        }
    }

    pub(crate) fn calls(&self) -> &[ToolCallRecord] {
        &self.calls
    }

    /// Returns the calls without a result.
    pub(crate) fn open_calls(&self) -> impl Iterator<Item = &ToolCallRecord> {
        self.calls.iter().filter(|call| !call.ended)
    }

    /// Returns the usage of the models, as far as their endpoints reported it.
    pub(crate) const fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) const fn finish(&self) -> Option<&FinishReason> {
        self.finish.as_ref()
    }

    /// Continues after an answer to a question.
    pub(crate) fn resume(&mut self, run: Run) {
        self.run = run;
        self.ended = false;
    }

    /// Returns the next event; `None` after the end, a failure or a question. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<ConversationEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let event = tokio::select! {
                biased;
                event = self.events.next() => event,
                error = ended_without_event(&mut self.run) => {
                    return Some(self.fail(ApiError::of(self.contract, &error)));
                }
            };
            match event {
                Ok(event) if event.run == self.run.id() => self.read(&event).await,
                Ok(_) => {}
                Err(error) if error.is_final() => {
                    let error = session_not_found(self.run.session());
                    return Some(self.fail(error));
                }
                Err(error) => {
                    tracing::warn!(%error, "the journal could not be read for a caller");
                    return Some(self.fail(ApiError::store_unavailable()));
                }
            }
        }
    }

    fn fail(&mut self, error: ApiError) -> ConversationEvent {
        self.ended = true;
        ConversationEvent::Failed(error)
    }

    fn forwards_text(&self) -> bool {
        self.model_text == ModelText::Forward
    }

    async fn read(&mut self, event: &Event) {
        // Text and calls of sub-agents are not part of the conversation; their usage is.
        let own = event.task.as_ref().is_none_or(|task| task.parent().is_none());
        match &event.body {
            EventBody::Token(token) if own && self.forwards_text() && token.message == MODEL_STEP => {
                self.push_text(&token.text);
            }
            EventBody::TokensVoided(voided)
                if own && self.forwards_text() && voided.message == MODEL_STEP =>
            {
                self.retract();
            }
            EventBody::Reasoning(reasoning)
                if own && self.forwards_text() && reasoning.message == MODEL_STEP =>
            {
                self.ready.push_back(ConversationEvent::Reasoning(reasoning.text.clone()));
            }
            EventBody::TodoUpdated(updated) => {
                self.ready.push_back(ConversationEvent::Todo(Box::new(updated.todo.clone())));
            }
            EventBody::StepRecorded(step) => self.read_step(step, own, event.at),
            EventBody::NodeFinished(finished) if own => self.read_update(&finished.update, event.at),
            EventBody::RunCompleted(_) => {
                // The event precedes the end of the run in memory, and without a journal the state is readable only after it.
                self.run.wait().await;
                self.close(ConversationEvent::Done);
            }
            EventBody::RunPaused(paused) => {
                let questions = self.run.wait().await.questions;
                let event = if questions.is_empty() {
                    ConversationEvent::Failed(self.stopped())
                } else {
                    ConversationEvent::Question(questions)
                };
                tracing::debug!(questions = paused.questions.len(), "a conversation is paused");
                self.close(event);
            }
            EventBody::RunFailed(failed) => {
                let error = match self.run.wait().await.error {
                    Some(error) => ApiError::of_run(self.contract, &error),
                    None => ApiError::new(Rejection::Internal, failed.message.clone()),
                };
                self.close(ConversationEvent::Failed(error));
            }
            EventBody::RunDequeued(dequeued) => {
                let error = ApiError::new(Rejection::Internal, dequeued.message.clone());
                self.close(ConversationEvent::Failed(error));
            }
            EventBody::RunStopped(_) | EventBody::RunRolledBack(_) => {
                let stopped = self.stopped();
                self.close(ConversationEvent::Failed(stopped));
            }
            _ => {}
        }
    }

    fn stopped(&self) -> ApiError {
        ApiError::new(Rejection::Stopped, "the run was stopped").about(self.run.session().id())
    }

    fn close(&mut self, event: ConversationEvent) {
        self.ended = true;
        self.ready.push_back(event);
    }

    fn push_text(&mut self, text: &str) {
        self.turn.push_str(text);
        let text = self.raw_calls.push(text);
        self.show(text);
    }

    fn show(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        if self.shown.is_empty() && self.has_earlier_text {
            self.ready.push_back(ConversationEvent::Text(PARAGRAPH.to_owned()));
        }
        self.shown.push_str(&text);
        self.ready.push_back(ConversationEvent::Text(text));
    }

    fn retract(&mut self) {
        self.turn.clear();
        self.raw_calls.clear();
        if !self.shown.is_empty() {
            self.shown.clear();
            self.ready.push_back(ConversationEvent::Retracted);
        }
    }

    fn read_step(&mut self, step: &payload::StepRecorded, own: bool, at: i64) {
        let Some(value) = &step.value else { return };
        match step.kind.as_str() {
            "model" => {
                let Ok(reply) = value.read::<ModelReply>() else { return };
                self.usage += reply.usage.unwrap_or_default();
                if own && self.forwards_text() && step.key == MODEL_STEP {
                    self.read_reply(reply, at);
                }
            }
            "tool" if own => {
                let Ok(recorded) = value.read::<ToolStep>() else { return };
                self.read_result(&recorded.message, recorded.fault.is_some(), step.ms, at);
            }
            _ => {}
        }
    }

    /// Reads the recorded reply of the model. Text that no token event delivered is delivered now.
    fn read_reply(&mut self, reply: ModelReply, at: i64) {
        let text = reply.message.text();
        if !text.starts_with(self.turn.as_str()) {
            self.retract();
        }
        self.push_text(&text[self.turn.len()..]);
        let rest = self.raw_calls.finish();
        self.show(rest);
        self.finish = Some(reply.finish);
        if reply.message.tool_calls.is_empty() {
            return;
        }
        self.has_earlier_text |= !self.shown.is_empty();
        self.turn.clear();
        self.shown.clear();
        self.raw_calls.clear();
        for call in reply.message.tool_calls {
            self.push_call(call, at);
        }
    }

    fn push_call(&mut self, call: ToolCall, at: i64) {
        let arguments = call.parse_arguments().unwrap_or_else(|_| Value::String(call.arguments.clone()));
        self.ready.push_back(ConversationEvent::ToolCall(self.calls.len()));
        self.calls.push(ToolCallRecord {
            id: call.id,
            name: call.name,
            arguments,
            result: None,
            error: None,
            ms: 0,
            started_at: at,
            ended: false,
        });
    }

    /// Ends the first open call with this id. Models may repeat ids.
    fn read_result(&mut self, message: &Message, failed: bool, ms: u64, at: i64) {
        let Some(id) = &message.tool_call_id else { return };
        if !self.calls.iter().any(|call| !call.ended && call.id == *id)
            && let Some(earlier) = self.earlier_calls.iter().position(|call| call.id == *id)
        {
            let call = self.earlier_calls.remove(earlier);
            self.push_call(call, at);
        }
        let Some(index) = self.calls.iter().position(|call| !call.ended && call.id == *id) else { return };
        let call = &mut self.calls[index];
        (call.ended, call.ms) = (true, ms);
        match failed {
            true => call.error = Some(message.text().into_owned()),
            false => call.result = Some(structured(&message.text())),
        }
        self.ready.push_back(ConversationEvent::ToolResult(index));
    }

    /// Reads results in the update of a node: those of sub-agents and hand-offs.
    fn read_update(&mut self, update: &Value, at: i64) {
        if let Ok(FinishUpdate { finish: Some(finish) }) = FinishUpdate::deserialize(update) {
            self.at_turn_limit = finish == Finish::TurnLimit;
        }
        if self.earlier_calls.is_empty() && !self.calls.iter().any(|call| !call.ended) {
            return;
        }
        let Ok(update) = MessagesUpdate::deserialize(update) else { return };
        for message in update.messages.iter().filter(|message| message.tool_call_id.is_some()) {
            let call = self.calls.iter().find(|call| Some(&call.id) == message.tool_call_id.as_ref());
            let ms = call.map_or(0, |call| u64::try_from(at - call.started_at).unwrap_or_default());
            self.read_result(message, message.text().starts_with("Error: "), ms, at);
        }
    }
}

/// Returns JSON if the tool returned JSON, otherwise its text.
fn structured(text: &str) -> Value {
    match text.trim_start().as_bytes().first() {
        Some(b'{' | b'[') => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => text.into(),
    }
}

/// Resolves if the run ends without an event: its store failed, or the process shuts down.
async fn ended_without_event(run: &mut Run) -> SessionError {
    let report = run.wait().await;
    match (report.status, report.error) {
        (RunStatus::Running, _) => SessionError::ShuttingDown,
        (_, Some(error)) if matches!(*error, agent_core::RunError::Store(_)) => SessionError::Run(error),
        _ => std::future::pending().await,
    }
}
