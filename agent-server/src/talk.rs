//! An agent's run as a conversation sees it: text, tool calls, a question, an end. Reads events and knows no wire.
//!
//! What was said and called is taken from the journal's own entries, so it is whole whatever a slow reader missed;
//! tokens only make it come sooner.

use agent_core::{
    Event, Run, RunStatus, Session, SessionError,
    event::{EventBody, Subscription, payload},
    interrupt::OpenQuestion,
    model::{FinishReason, Message, ModelReply, ToolCall, Usage},
    tool::ToolFault,
};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::task::TaskTracker;

use crate::error::{ApiError, Contract, Refusal};

/// The step in which an agent asks its model for what it says itself.
const SPOKEN: &str = "model";
/// Between what is said before tools are called and what is said after.
const PARAGRAPH: &str = "\n\n";

/// One thing that a listener is told.
#[derive(Debug)]
pub(crate) enum Piece {
    /// More of what the agent says.
    Text(String),
    /// What was said since the last tool call is void.
    Voided,
    /// A tool is called: the index of the call in [`Reading::calls`].
    Called(usize),
    /// A call has its result.
    Returned(usize),
    /// The run waits for a person.
    Asked(Vec<OpenQuestion>),
    /// The run failed.
    Failed(ApiError),
    /// The run reached its end.
    Ended,
}

/// A tool call.
#[derive(Debug, Clone)]
pub(crate) struct CallMade {
    pub(crate) id: String,
    pub(crate) name: String,
    /// As JSON where the model wrote JSON, else its text.
    pub(crate) arguments: Value,
    pub(crate) result: Option<Value>,
    pub(crate) error: Option<String>,
    pub(crate) ms: u64,
    begun: i64,
    ended: bool,
}

/// What a tool's step has recorded.
#[derive(Deserialize)]
struct Recorded {
    message: Message,
    #[serde(default)]
    fault: Option<ToolFault>,
}

/// What a node's update says.
#[derive(Deserialize)]
struct Said {
    messages: Vec<Message>,
}

/// A run that is listened to.
pub(crate) struct Reading {
    run: Run,
    events: Subscription,
    contract: Contract,
    /// Whether the model's words are the agent's.
    speaks: bool,
    /// Whether something was said in an earlier turn of the model.
    spoke: bool,
    /// What was said in the present turn of the model, or the last one.
    turn: String,
    /// What is to be told next.
    ready: std::collections::VecDeque<Piece>,
    calls: Vec<CallMade>,
    /// Calls that were made before this reading began; those that return now are told of now.
    earlier: Vec<ToolCall>,
    usage: Usage,
    finish: Option<FinishReason>,
    ended: bool,
}

impl Reading {
    /// `events` were subscribed to before the run began.
    pub(crate) fn new(run: Run, events: Subscription, contract: Contract, speaks: bool) -> Self {
        Self {
            run,
            events,
            contract,
            speaks,
            spoke: false,
            turn: String::new(),
            ready: std::collections::VecDeque::new(),
            calls: Vec::new(),
            earlier: Vec::new(),
            usage: Usage::default(),
            finish: None,
            ended: false,
        }
    }

    /// Of a run that goes on after an answer: with the calls that it had made before.
    pub(crate) fn after(mut self, earlier: Vec<ToolCall>) -> Self {
        self.earlier = earlier;
        self
    }

    pub(crate) const fn session(&self) -> &Session {
        self.run.session()
    }

    /// What the model said last.
    pub(crate) fn answer(&self) -> &str {
        &self.turn
    }

    pub(crate) fn calls(&self) -> &[CallMade] {
        &self.calls
    }

    /// What the models used up, as far as their endpoints said.
    pub(crate) const fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) const fn finish(&self) -> Option<&FinishReason> {
        self.finish.as_ref()
    }

    /// Goes on after an answer was given.
    pub(crate) fn go_on(&mut self, run: Run) {
        self.run = run;
        self.ended = false;
    }

    /// The next piece; `None` after the end, a failure or a question. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.ended {
                return None;
            }
            let event = tokio::select! {
                biased;
                event = self.events.next() => event,
                error = lost(&mut self.run) => {
                    return Some(self.end(Piece::Failed(ApiError::of(self.contract, &error))));
                }
            };
            match event {
                Ok(event) if event.run == self.run.id() => self.hear(&event).await,
                Ok(_) => {}
                Err(error) if error.is_final() => {
                    let gone = crate::owner::unknown(self.run.session());
                    return Some(self.end(Piece::Failed(gone)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the journal cannot be read for a caller");
                    let error = ApiError::new(Refusal::Internal, "the store cannot do this now");
                    return Some(self.end(Piece::Failed(error)));
                }
            }
        }
    }

    fn end(&mut self, piece: Piece) -> Piece {
        self.ended = true;
        piece
    }

    async fn hear(&mut self, event: &Event) {
        // What happens inside a sub-agent is its own; what it used up is not.
        let own = event.task.as_ref().is_none_or(|task| task.parent().is_none());
        match &event.body {
            EventBody::Token(token) if own && self.speaks && token.message == SPOKEN => self.say(&token.text),
            EventBody::TokensVoided(voided) if own && self.speaks && voided.message == SPOKEN => self.void(),
            EventBody::StepRecorded(step) => self.recorded(step, own, event.at),
            EventBody::NodeFinished(finished) if own => self.sub_agent(&finished.update, event.at),
            EventBody::RunCompleted(_) => self.close(Piece::Ended),
            EventBody::RunPaused(paused) => {
                let (_, questions, _) = self.run.rest().await;
                let asked = if questions.is_empty() {
                    Piece::Failed(self.stopped())
                } else {
                    Piece::Asked(questions)
                };
                tracing::debug!(questions = paused.questions.len(), "a conversation waits for an answer");
                self.close(asked);
            }
            EventBody::RunFailed(failed) => {
                let error = match self.run.rest().await.2 {
                    Some(error) => ApiError::of_run(self.contract, &error),
                    None => ApiError::new(Refusal::Internal, failed.message.clone()),
                };
                self.close(Piece::Failed(error));
            }
            EventBody::RunDequeued(refused) => {
                self.close(Piece::Failed(ApiError::new(Refusal::Internal, refused.message.clone())));
            }
            EventBody::RunStopped(_) | EventBody::RunRolledBack(_) => {
                let stopped = self.stopped();
                self.close(Piece::Failed(stopped));
            }
            _ => {}
        }
    }

    fn stopped(&self) -> ApiError {
        ApiError::new(Refusal::Stopped, "the run was stopped").about(self.run.session().id())
    }

    fn close(&mut self, piece: Piece) {
        self.ended = true;
        self.ready.push_back(piece);
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.turn.is_empty() && self.spoke {
            self.ready.push_back(Piece::Text(PARAGRAPH.to_owned()));
        }
        self.turn.push_str(text);
        self.ready.push_back(Piece::Text(text.to_owned()));
    }

    fn void(&mut self) {
        if !self.turn.is_empty() {
            self.turn.clear();
            self.ready.push_back(Piece::Voided);
        }
    }

    fn recorded(&mut self, step: &payload::StepRecorded, own: bool, at: i64) {
        let Some(value) = &step.value else { return };
        match step.kind.as_str() {
            "model" => {
                let Ok(reply) = ModelReply::deserialize(value) else { return };
                self.usage += reply.usage.unwrap_or_default();
                if own && self.speaks && step.key == SPOKEN {
                    self.turned(reply, at);
                }
            }
            "tool" if own => {
                let Ok(recorded) = Recorded::deserialize(value) else { return };
                self.returned(&recorded.message, recorded.fault.is_some(), step.ms, at);
            }
            _ => {}
        }
    }

    /// A turn of the model is recorded: what was not heard of it is said now.
    fn turned(&mut self, reply: ModelReply, at: i64) {
        let whole = reply.message.text();
        if !whole.starts_with(self.turn.as_str()) {
            self.void();
        }
        self.say(&whole[self.turn.len()..]);
        self.finish = Some(reply.finish);
        if reply.message.tool_calls.is_empty() {
            return;
        }
        self.spoke |= !self.turn.is_empty();
        self.turn.clear();
        for call in reply.message.tool_calls {
            self.called(call, at);
        }
    }

    fn called(&mut self, call: ToolCall, at: i64) {
        let arguments = call.parse_arguments().unwrap_or_else(|_| Value::String(call.arguments.clone()));
        self.ready.push_back(Piece::Called(self.calls.len()));
        self.calls.push(CallMade {
            id: call.id,
            name: call.name,
            arguments,
            result: None,
            error: None,
            ms: 0,
            begun: at,
            ended: false,
        });
    }

    /// A call has its result: the first open one of that id, as models are not strict with ids.
    fn returned(&mut self, message: &Message, failed: bool, ms: u64, at: i64) {
        let Some(id) = &message.tool_call_id else { return };
        if !self.calls.iter().any(|call| !call.ended && call.id == *id)
            && let Some(earlier) = self.earlier.iter().position(|call| call.id == *id)
        {
            let call = self.earlier.remove(earlier);
            self.called(call, at);
        }
        let Some(index) = self.calls.iter().position(|call| !call.ended && call.id == *id) else { return };
        let call = &mut self.calls[index];
        (call.ended, call.ms) = (true, ms);
        match failed {
            true => call.error = Some(message.text().into_owned()),
            false => call.result = Some(structured(&message.text())),
        }
        self.ready.push_back(Piece::Returned(index));
    }

    /// Sub-agents and hand-offs answer their calls in an update.
    fn sub_agent(&mut self, update: &Value, at: i64) {
        if self.earlier.is_empty() && !self.calls.iter().any(|call| !call.ended) {
            return;
        }
        let Ok(said) = Said::deserialize(update) else { return };
        for message in said.messages.iter().filter(|message| message.tool_call_id.is_some()) {
            let begun = self.calls.iter().find(|call| Some(&call.id) == message.tool_call_id.as_ref());
            let ms = begun.map_or(0, |call| u64::try_from(at - call.begun).unwrap_or_default());
            self.returned(message, message.text().starts_with("Error: "), ms, at);
        }
    }
}

/// JSON where a tool gave JSON, else its text.
fn structured(text: &str) -> Value {
    match text.trim_start().as_bytes().first() {
        Some(b'{' | b'[') => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => text.into(),
    }
}

/// Ready when the run ends without an event: its store is away, or the process ends before the run does.
pub(crate) async fn lost(run: &mut Run) -> SessionError {
    let (status, _, error) = run.rest().await;
    match (status, error) {
        (RunStatus::Running, _) => SessionError::ShuttingDown,
        (_, Some(error)) if matches!(*error, agent_core::RunError::Store(_)) => SessionError::Run(error),
        _ => std::future::pending().await,
    }
}

/// A session that lasts as long as one request: dropped, its run is stopped and it is removed.
pub(crate) struct Passing {
    session: Session,
    tasks: TaskTracker,
}

impl Passing {
    pub(crate) fn new(session: Session, tasks: &TaskTracker) -> Self {
        Self { session, tasks: tasks.clone() }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let session = self.session.clone();
        // Outside of a runtime the process is at its end, and the session with it.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.tasks.spawn(async move {
                if let Err(error) = session.stop().await {
                    tracing::trace!(%error, "nothing to stop");
                }
                if let Err(error) = session.delete().await {
                    tracing::debug!(%error, "a passing session was not removed");
                }
            });
        }
    }
}
