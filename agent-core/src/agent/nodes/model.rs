//! Model node: calls the model with the part of the conversation that fits, and shortens it if it is too long.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Core, Profile};
use crate::{
    agent::{
        AgentState, Finish, OutputMode,
        builder::finish,
        close::closing_id,
        conversation::{self, Summary, Window},
        middleware::call_model,
    },
    engine::{Completion, Context, RecordedModel},
    graph::{Node, NodeError, Outcome, Result},
    model::{
        Message, Messages, ModelError, ModelErrorKind, ModelReply, ModelRequest, Role, ToolCall, ToolChoice,
        tokens::{CountTokens, Estimate},
    },
};

/// Maximum number of times that a conversation is halved for a model that refuses it as too long.
const COMPACTIONS: usize = 3;
/// Name of the event that reports it.
const COMPACTED: &str = "context_compacted";
/// Longest text of one message in what is summarised, in characters.
const SUMMARISED: usize = 4_000;
const SUMMARY_PROMPT: &str = "You condense conversations. Keep what was asked, what was decided, what was found \
    out (names, numbers, identifiers) and what is still to be done. Write in the language of the conversation.";
const NO_TURNS: &str = "Error: the call was cancelled, because no turns are left";

impl Profile {
    /// Returns the messages for the model, and a new summary if one was made.
    async fn view(
        &self,
        (state, messages): (&AgentState, &Messages),
        model: &RecordedModel,
        compaction: &Compaction,
    ) -> Result<(Messages, Option<Summary>)> {
        let mut view = conversation::valid(messages);
        let shrunk = compaction.limit.map(Window::tokens);
        let mut fresh = None;
        if let Some(window) = &self.summary {
            let known = compaction.summary.as_ref().or(state.summary.as_ref());
            let over = conversation::overflow(&view, known, window);
            let over = over.or_else(|| conversation::overflow(&view, known, shrunk.as_ref()?));
            if let Some(old) = over {
                let request = ModelRequest::new(transcript(&old.messages)).system(SUMMARY_PROMPT);
                match model.complete_as(compaction.key("summary"), request).await {
                    Ok(reply) => fresh = Some(Summary::new(reply.message.text(), old.upto)),
                    // Messages that are too long for a summary are left out.
                    Err(error) if shrunk.is_some() && is_too_long(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(summary) = fresh.as_ref().or(known) {
                view = summary.view(&view);
            }
        }
        for window in self.window.iter().chain(&shrunk) {
            view = window.view(&view);
        }
        Ok((view, fresh))
    }
}

/// Reduction of a conversation for a model that refused it as too long.
#[derive(Default)]
struct Compaction {
    /// Refusals so far.
    refused: usize,
    /// Tokens of the conversation that are sent.
    limit: Option<u64>,
    /// Made on the way.
    summary: Option<Summary>,
}

impl Compaction {
    fn of(state: &AgentState) -> Self {
        Self { limit: state.context_limit, ..Self::default() }
    }

    /// The key of a step of this round.
    fn key(&self, step: &str) -> String {
        if self.refused == 0 { step.to_owned() } else { format!("{step}~{}", self.refused + 1) }
    }

    /// Halves what is sent and emits an event. Returns `false` if it cannot be made smaller.
    fn shrink(&mut self, view: &Messages, cx: &Context) -> Result<bool> {
        let tokens: u64 = view.iter().map(|message| Estimate.message(message)).sum();
        let limit = self.limit.map_or(tokens, |limit| limit.min(tokens)) / 2;
        let smaller = Window::tokens(limit).view(view).len();
        if self.refused >= COMPACTIONS || smaller == view.len() {
            return Ok(false);
        }
        (self.refused, self.limit) = (self.refused + 1, Some(limit));
        let compaction = serde_json::json!({
            "messages": view.len(), "kept_messages": smaller, "tokens": tokens, "kept_tokens": limit,
        });
        cx.emit(COMPACTED, compaction)?;
        Ok(true)
    }
}

fn is_too_long(error: &NodeError) -> bool {
    error.downcast_ref::<ModelError>().is_some_and(|error| error.kind() == ModelErrorKind::ContextTooLong)
}

impl AgentState {
    /// The id of the last message, when the model was stopped in the middle of it.
    fn partial_message_id(&self) -> Option<&str> {
        let id = self.interrupted.as_deref()?;
        self.messages.last().filter(|message| message.id == id).map(|message| message.id.as_str())
    }
}

/// Asks the model.
pub(in crate::agent) struct ModelNode(pub(in crate::agent) Arc<Core>);

impl Node<AgentState> for ModelNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        let core = &self.0;
        let profile = core.profile(state);
        let model = profile.model(cx)?;
        let mut request = profile.request(state, cx)?;
        let partial_message_id = state.partial_message_id().map(str::to_owned);
        let limited = state.turns + 1 >= core.max_turns && !request.tools.is_empty();
        if limited {
            request.tool_choice = ToolChoice::None;
        }
        let last = limited || request.tools.is_empty();
        if let Some(output_parser) = &core.output
            && (last || core.output_mode == OutputMode::EveryTurn)
        {
            request.response_format = (output_parser.format)(model.capabilities());
        }
        let mut update = AgentState::update();
        for middleware in &profile.middleware {
            if state.turns == 0
                && let Some(more) = middleware.before_agent(state, cx).await?
            {
                update = more;
            }
        }
        if state.interrupted.is_some() {
            update = update.interrupted(None);
        }
        // A partial answer is answered first.
        let steered = if partial_message_id.is_none() { cx.take_steering(false).await? } else { Vec::new() };
        let longer = (!steered.is_empty()).then(|| conversation::with(&state.messages, &steered));
        let messages = longer.as_ref().unwrap_or(&state.messages);
        let mut compaction = Compaction::of(state);
        let completion = loop {
            let (view, fresh) = profile.view((state, messages), &model, &compaction).await?;
            compaction.summary = fresh.or(compaction.summary);
            let mut request = request.clone();
            request.messages = view.clone();
            if partial_message_id.is_some() {
                request.messages.make_mut().pop();
            }
            match profile.complete(&model, compaction.key("model"), request, cx).await {
                Err(error) if is_too_long(&error) && compaction.shrink(&view, cx)? => {}
                completion => break completion?,
            }
        };
        let summary = compaction.summary;
        if compaction.refused > 0 {
            update = update.context_limit(compaction.limit);
        }
        let reply = match completion {
            Completion::Whole(reply) => match partial_message_id {
                // The complete message replaces the partial one.
                Some(id) => reply.message.with_id(id),
                None => reply.message,
            },
            Completion::Stopped(partial) => {
                let id = partial.as_ref().map(|message| message.id.clone()).unwrap_or_default();
                let update = update.interrupted(id);
                let said: Messages = steered.into_iter().chain(partial).collect();
                return Ok(Outcome::update(if said.is_empty() { update } else { update.messages(said) }));
            }
        };
        update = update.turns(state.turns + 1);
        if let Some(summary) = summary {
            update = update.summary(summary);
        }
        let messages: Messages = if limited && !reply.tool_calls.is_empty() {
            // It was not allowed to call tools, and the history must stay valid.
            let closed = reply.tool_calls.iter().map(|call| closed(&reply, call));
            let closed: Vec<Message> = closed.collect();
            update = update.finish(Finish::TurnLimit);
            steered.into_iter().chain([reply]).chain(closed).collect()
        } else if reply.tool_calls.is_empty() {
            let mut reply = reply;
            for middleware in profile.middleware.iter().rev() {
                reply = middleware.after_agent(reply, state, cx).await?;
            }
            // If a message arrived during the model call, make another turn, unless the turn limit is reached.
            let late = if limited { Vec::new() } else { cx.take_steering(true).await? };
            if late.is_empty() {
                update = update.finish(finish(limited));
            }
            steered.into_iter().chain([reply]).chain(late).collect()
        } else if steered.is_empty() {
            Messages::from(reply)
        } else {
            steered.into_iter().chain([reply]).collect()
        };
        Ok(Outcome::update(update.messages(messages)))
    }
}

impl Profile {
    /// Makes the model call of a turn, through the middleware if there is any.
    async fn complete(
        &self,
        model: &RecordedModel,
        key: String,
        request: ModelRequest,
        cx: &Context,
    ) -> Result<Completion> {
        if self.middleware.is_empty() {
            return model.complete_or_stop(key, request).await;
        }
        let (calls, stopped) = (AtomicU32::new(0), Mutex::new(None));
        let call = |request: ModelRequest| -> BoxFuture<'_, Result<ModelReply>> {
            let key = match calls.fetch_add(1, Ordering::Relaxed) {
                0 => key.clone(),
                again => format!("{key}:{}", again + 1),
            };
            let stopped = &stopped;
            Box::pin(async move {
                if stopped.lock().is_some() {
                    return Err(NodeError::permanent("the run was stopped"));
                }
                match model.complete_or_stop(key, request).await? {
                    Completion::Whole(reply) => Ok(reply),
                    Completion::Stopped(partial) => {
                        *stopped.lock() = Some(partial);
                        Err(NodeError::permanent("the run was stopped"))
                    }
                }
            })
        };
        let reply = call_model(&self.middleware, cx, request, &call).await;
        match stopped.into_inner() {
            Some(partial) => Ok(Completion::Stopped(partial)),
            None => reply.map(Completion::Whole),
        }
    }
}

fn closed(message: &Message, call: &ToolCall) -> Message {
    let id = closing_id(&message.id, &call.id);
    Message::tool_result(&call.id, NO_TURNS).with_name(&call.name).with_id(id)
}

/// The messages as one text: tool calls of a conversation without its tools are refused by several endpoints.
fn transcript(messages: &Messages) -> String {
    use std::fmt::Write;
    let mut text = String::from("Condense this conversation.\n");
    for message in messages {
        let who = match message.role {
            Role::System => continue,
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => message.name.as_deref().unwrap_or("tool"),
        };
        let said = crate::util::shorten(&message.text(), SUMMARISED);
        write!(text, "\n[{who}] {said}").expect("writing to a string cannot fail");
        for call in &message.tool_calls {
            let arguments = crate::util::shorten(&call.arguments, SUMMARISED);
            write!(text, "\n[{who} calls {}] {arguments}", call.name)
                .expect("writing to a string cannot fail");
        }
    }
    text
}
