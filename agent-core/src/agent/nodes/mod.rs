//! The nodes of an agent's graph.

use std::sync::Arc;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AgentState, Finish, OutputMode,
    builder::{System, finish},
    close::closing_id,
    conversation::{self, Summary, Window},
};
use crate::{
    engine::{Completion, Context, NodeFailure, RecordedModel, RecordedTools},
    graph::{Dispatch, Node, NodeError, Outcome, Result},
    model::{
        Message, Messages, Model, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest,
        ResponseFormat, Role, ToolCall, ToolChoice, ToolSpec,
        tokens::{CountTokens, Estimate},
    },
    tool::{ReadResult, ToolError, ToolFault, ToolRegistry},
};

/// How often a conversation is halved for a model that refuses it as too long.
const COMPACTIONS: usize = 3;
/// The event that tells of it.
const COMPACTED: &str = "context_compacted";
/// Longest text of one message in what is summarised, in characters.
const SUMMARISED: usize = 4_000;
const SUMMARY_PROMPT: &str = "You condense conversations. Keep what was asked, what was decided, what was found \
    out (names, numbers, identifiers) and what is still to be done. Write in the language of the conversation.";
const NO_TURNS: &str = "Error: the call was cancelled, because no turns are left";

/// What all nodes of one agent share. Made once.
pub(super) struct Core {
    /// The agent itself, then those it may hand over to.
    pub(super) profiles: Vec<Profile>,
    pub(super) max_turns: u32,
    pub(super) output: Option<Judge>,
    pub(super) output_mode: OutputMode,
    pub(super) reviewer: Option<Reviewer>,
    /// Whether any of them has sub-agents, so that the tools node must choose its way.
    pub(super) has_subs: bool,
}

/// Who speaks: prompt, model, tools.
pub(super) struct Profile {
    pub(super) name: String,
    /// A request without its messages and without `system`.
    pub(super) base: ModelRequest,
    pub(super) system: Option<System>,
    pub(super) tools: Tools,
    /// The agent's own tools (the plan), for when the others are the runtime's.
    pub(super) own: ToolRegistry,
    pub(super) model: Option<Model>,
    /// Sub-agents and hand-offs.
    pub(super) extra: Vec<ToolSpec>,
    /// Names of its sub-agents.
    pub(super) subs: Vec<String>,
    pub(super) window: Option<Window>,
    pub(super) summary: Option<Window>,
    pub(super) fatal: Vec<ToolFault>,
}

pub(super) enum Tools {
    None,
    Own(ToolRegistry),
    Runtime,
}

pub(super) struct Reviewer {
    pub(super) prompt: Arc<str>,
    pub(super) rounds: u32,
}

/// Makes a value of a type out of an answer; the type itself is erased.
pub(super) struct Judge {
    pub(super) format: Arc<dyn Fn(ModelCapabilities) -> Option<ResponseFormat> + Send + Sync>,
    pub(super) value:
        Arc<dyn Fn(RecordedModel, ModelRequest) -> BoxFuture<'static, Result<Value>> + Send + Sync>,
}

/// What a sub-agent is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SubInput {
    pub(super) call: ToolCall,
    pub(super) task: String,
    pub(super) todo: String,
}

#[derive(Deserialize)]
struct SubArgs {
    task: String,
    #[serde(default)]
    todo: Option<String>,
}

impl Core {
    pub(super) fn profile(&self, state: &AgentState) -> &Profile {
        let named = state.active.as_ref().and_then(|name| self.profiles.iter().find(|p| p.name == *name));
        // An agent that is gone after a change of the program: the first one takes over.
        named.unwrap_or(&self.profiles[0])
    }

    /// Whether a call is one of a tool, not of a sub-agent and no hand-off.
    pub(super) fn is_plain(&self, profile: &Profile, call: &ToolCall) -> bool {
        !profile.subs.contains(&call.name) && self.peer(&call.name).is_none()
    }

    fn peer(&self, tool: &str) -> Option<&str> {
        let name = tool.strip_prefix("transfer_to_")?;
        self.profiles.iter().map(|profile| profile.name.as_str()).find(|known| *known == name)
    }
}

impl Profile {
    /// What the model reads, and a new summary if one had to be made.
    async fn view(
        &self,
        state: &AgentState,
        model: &RecordedModel,
        compaction: &Compaction,
    ) -> Result<(Messages, Option<Summary>)> {
        let mut view = conversation::valid(&state.messages);
        let shrunk = compaction.limit.map(Window::tokens);
        let mut fresh = None;
        if let Some(window) = &self.summary {
            let known = compaction.summary.as_ref().or(state.summary.as_ref());
            let over = conversation::overflow(&view, known, window);
            let over = over.or_else(|| conversation::overflow(&view, known, shrunk.as_ref()?));
            if let Some((old, upto)) = over {
                let request = ModelRequest::new(transcript(&old)).system(SUMMARY_PROMPT);
                match model.complete_as(compaction.key("summary"), request).await {
                    Ok(reply) => fresh = Some(Summary::new(reply.message.text(), upto)),
                    // What is too long to be summarised is left out.
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

/// How a conversation is made to fit a model that refused it as too long.
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

    /// Halves what is sent, and tells people. `false`: it cannot be made smaller.
    fn shrink(&mut self, view: &Messages, cx: &Context) -> Result<bool> {
        let tokens: u64 = view.iter().map(|message| Estimate.message(message)).sum();
        let limit = self.limit.map_or(tokens, |limit| limit.min(tokens)) / 2;
        let smaller = Window::tokens(limit).view(view).len();
        if self.refused >= COMPACTIONS || smaller == view.len() {
            return Ok(false);
        }
        (self.refused, self.limit) = (self.refused + 1, Some(limit));
        let told = serde_json::json!({
            "messages": view.len(), "kept_messages": smaller, "tokens": tokens, "kept_tokens": limit,
        });
        cx.emit(COMPACTED, told)?;
        Ok(true)
    }
}

fn is_too_long(error: &NodeError) -> bool {
    error.downcast_ref::<ModelError>().is_some_and(|error| error.fault() == ModelErrorKind::ContextTooLong)
}

impl Profile {
    fn model(&self, cx: &Context) -> Result<RecordedModel> {
        self.model.as_ref().map_or_else(|| cx.model(), |model| Ok(cx.model_of(model)))
    }

    fn tools(&self, state: &AgentState, cx: &Context) -> Result<RecordedTools> {
        let tools = match &self.tools {
            Tools::Own(registry) => cx.tools_of(registry),
            Tools::None => cx.tools_of(&self.own),
            Tools::Runtime if self.own.names().next().is_none() => cx.tools()?,
            Tools::Runtime => cx.tools_of(&cx.tools()?.registry().join(&self.own)?),
        };
        // A tool of the author's with this name counts instead.
        if !state.kept_results || tools.registry().names().any(|name| name == ReadResult::NAME) {
            return Ok(tools);
        }
        let reader = ToolRegistry::builder().tool(ReadResult).build()?;
        Ok(cx.tools_of(&tools.registry().join(&reader)?))
    }

    fn request(&self, state: &AgentState, cx: &Context) -> Result<ModelRequest> {
        let mut request = self.base.clone();
        if let Some(system) = &self.system {
            request.system = Some(system.text(&state.context)?);
        }
        if matches!(self.tools, Tools::Runtime) || state.kept_results {
            let specs = self.tools(state, cx)?.specs();
            request.tools = if self.extra.is_empty() {
                specs
            } else {
                specs.iter().cloned().chain(self.extra.iter().cloned()).collect()
            };
        }
        Ok(request)
    }
}

impl AgentState {
    /// The id of the last message, when the model was stopped in the middle of it.
    fn half_said(&self) -> Option<&str> {
        let id = self.interrupted.as_deref()?;
        self.messages.last().filter(|message| message.id == id).map(|message| message.id.as_str())
    }
}

/// Asks the model.
pub(super) struct ModelNode(pub(super) Arc<Core>);

impl Node<AgentState> for ModelNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        let core = &self.0;
        let profile = core.profile(state);
        let model = profile.model(cx)?;
        let mut request = profile.request(state, cx)?;
        let half_said = state.half_said().map(str::to_owned);
        let limited = state.turns + 1 >= core.max_turns && !request.tools.is_empty();
        if limited {
            request.tool_choice = ToolChoice::None;
        }
        let last = limited || request.tools.is_empty();
        if let Some(judge) = &core.output
            && (last || core.output_mode == OutputMode::EveryTurn)
        {
            request.response_format = (judge.format)(model.capabilities());
        }
        let mut update = AgentState::update();
        if state.interrupted.is_some() {
            update = update.interrupted(None);
        }
        let mut compaction = Compaction::of(state);
        let completion = loop {
            let (view, fresh) = profile.view(state, &model, &compaction).await?;
            compaction.summary = fresh.or(compaction.summary);
            let mut request = request.clone();
            request.messages = view.clone();
            if half_said.is_some() {
                request.messages.make_mut().pop();
            }
            match model.complete_or_stop(compaction.key("model"), request).await {
                Err(error) if is_too_long(&error) && compaction.shrink(&view, cx)? => {}
                completion => break completion?,
            }
        };
        let summary = compaction.summary;
        if compaction.refused > 0 {
            update = update.context_limit(compaction.limit);
        }
        let reply = match completion {
            Completion::Whole(reply) => match half_said {
                // What was half said before is said whole now.
                Some(id) => reply.message.with_id(id),
                None => reply.message,
            },
            Completion::Stopped(partial) => {
                let id = partial.as_ref().map(|message| message.id.clone()).unwrap_or_default();
                let update = update.interrupted(id);
                return Ok(Outcome::update(match partial {
                    Some(message) => update.messages(message),
                    None => update,
                }));
            }
        };
        update = update.turns(state.turns + 1);
        if let Some(summary) = summary {
            update = update.summary(summary);
        }
        let messages = if limited && !reply.tool_calls.is_empty() {
            // It was told not to, and the history must stay valid.
            let closed = reply.tool_calls.iter().map(|call| closed(&reply, call));
            let closed: Vec<Message> = closed.collect();
            update = update.finish(Finish::TurnLimit);
            std::iter::once(reply).chain(closed).collect()
        } else {
            if reply.tool_calls.is_empty() {
                update = update.finish(finish(limited));
            }
            Messages::from(reply)
        };
        Ok(Outcome::update(update.messages(messages)))
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

/// Carries out what the model called.
pub(super) struct ToolsNode(pub(super) Arc<Core>);

impl Node<AgentState> for ToolsNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        let core = &self.0;
        let profile = core.profile(state);
        let calls = calls_of_turn(state);
        let mut update = AgentState::update();
        let mut plain = Vec::with_capacity(calls.len());
        let mut results = Vec::new();
        let mut sends = Vec::new();
        let mut next = None;
        for call in calls {
            if profile.subs.contains(&call.name) {
                match begin(cx, state, call) {
                    Ok(dispatch) => sends.push(dispatch),
                    Err(error) => results.push(told(call, &error)),
                }
            } else if let Some(peer) = core.peer(&call.name) {
                let text = match &next {
                    None => format!("The conversation is now with `{peer}`."),
                    Some(other) => format!("Error: the conversation is already with `{other}`"),
                };
                next.get_or_insert_with(|| peer.to_owned());
                results.push(Message::tool_result(&call.id, text).with_name(&call.name));
            } else {
                plain.push(call.clone());
            }
        }
        let mut tools = profile
            .tools(state, cx)?
            .failing_on(profile.fatal.iter().copied())
            .with_approvals(state.approvals.clone());
        if let Some(todo) = &state.todo {
            tools = tools.under(todo);
        }
        let mut messages = tools.call_all(plain).await?;
        messages.append(&mut results);
        let approvals = tools.remembered();
        if approvals != state.approvals {
            update = update.approvals(approvals);
        }
        if tools.kept_results() && !state.kept_results {
            update = update.kept_results(true);
        }
        if let Some(peer) = next {
            update = update.active(peer);
        }
        let outcome = Outcome::update(update.messages(messages.into_iter().collect::<Messages>()));
        Ok(match (sends.is_empty(), core.has_subs) {
            (false, _) => outcome.send_all(sends),
            (true, true) => outcome.goto("model"),
            (true, false) => outcome,
        })
    }
}

/// The calls that the model made last. A stop may have closed them; a resume makes them all the same.
fn calls_of_turn(state: &AgentState) -> &[ToolCall] {
    let said = state.messages.iter().rfind(|message| message.role == Role::Assistant);
    said.map(|message| message.tool_calls.as_slice()).unwrap_or_default()
}

/// Sends a sub-agent on its way; its work is a todo.
fn begin(cx: &Context, state: &AgentState, call: &ToolCall) -> Result<Dispatch, ToolError> {
    let args: SubArgs = serde_json::from_str(&call.arguments)
        .map_err(|error| ToolError::failed(format!("the arguments are not valid: {error}")))?;
    let todos = match &state.todo {
        Some(parent) => cx.todos().under(parent),
        None => cx.todos(),
    };
    let known = args.todo.as_deref().and_then(|id| todos.get(id).ok());
    let item = match known {
        Some(item) => {
            item.start();
            item
        }
        None => todos.start(item_id(state, call), crate::util::shorten(&args.task, 200))?,
    };
    let input = SubInput { call: call.clone(), task: args.task, todo: item.id().to_owned() };
    Ok(Dispatch::new(format!("agent.{}", call.name), &input))
}

/// Unique within the run, whatever ids a server gives its calls, and short enough for items below it.
fn item_id(state: &AgentState, call: &ToolCall) -> String {
    let calls = calls_of_turn(state);
    let index = calls.iter().position(|known| std::ptr::eq(known, call)).unwrap_or_default();
    let own = format!("{}:{}.{index}", call.name, state.turns);
    match &state.todo {
        None => own,
        Some(parent) if parent.len() + own.len() < 64 => format!("{parent}/{own}"),
        Some(parent) => format!("{}:{}", call.name, crate::util::fingerprint(&format!("{parent}/{own}"))),
    }
}

fn told(call: &ToolCall, error: &ToolError) -> Message {
    Message::tool_result(&call.id, format!("Error: {}", error.for_model())).with_name(&call.name)
}

/// Turns the answer into the type that was asked for.
pub(super) struct OutputNode(pub(super) Arc<Core>);

impl Node<AgentState> for OutputNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        let Some(judge) = &self.0.output else { return Ok(Outcome::empty()) };
        let profile = self.0.profile(state);
        let model = profile.model(cx)?;
        let mut request = profile.request(state, cx)?;
        if !request.tools.is_empty() {
            request.tool_choice = ToolChoice::None;
        }
        request.messages = conversation::valid(&state.messages);
        for window in profile.window.iter().chain(&state.context_limit.map(Window::tokens)) {
            request.messages = window.view(&request.messages);
        }
        let value = (judge.value)(model, request).await?;
        Ok(Outcome::update(AgentState::update().structured(value)))
    }
}

/// Lets a reviewer look at the answer.
pub(super) struct ReviewNode(pub(super) Arc<Core>);

/// What a reviewer says.
#[derive(Debug, Deserialize, JsonSchema)]
struct Review {
    /// Whether the answer is good as it is.
    approved: bool,
    /// What is to be changed; empty when it is good.
    feedback: String,
}

impl Node<AgentState> for ReviewNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        let Some(reviewer) = &self.0.reviewer else { return Ok(Outcome::empty()) };
        let asked = state.messages.iter().rfind(|message| message.role == Role::User);
        let asked = asked.map(|message| message.text().into_owned()).unwrap_or_default();
        let text = format!("What was asked:\n{asked}\n\nThe answer:\n{}", state.answer());
        let model = self.0.profile(state).model(cx)?;
        let request = ModelRequest::new(text).system(Arc::clone(&reviewer.prompt));
        let review: Review = model.extract(request).await?;
        let update = AgentState::update().reviews(state.reviews + 1);
        Ok(Outcome::update(match (review.approved, state.reviews + 1 >= reviewer.rounds) {
            (true, _) => update,
            (false, true) => update.finish(Finish::NotApproved),
            (false, false) => update.messages(Message::user(review.feedback)),
        }))
    }
}

/// The end of a sub-agent: its todo is done.
pub(super) struct FinishNode;

impl Node<AgentState> for FinishNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        if let Some(item) = state.todo.as_deref().and_then(|id| cx.todos().get(id).ok()) {
            item.done();
        }
        Ok(Outcome::empty())
    }
}

/// A sub-agent's failure is its result.
pub(super) struct Failed;

impl Node<AgentState> for Failed {
    type Input = NodeFailure;

    async fn run(
        &self,
        state: &AgentState,
        failure: NodeFailure,
        cx: &Context,
    ) -> Result<Outcome<AgentState>> {
        if let Some(item) = state.todo.as_deref().and_then(|id| cx.todos().get(id).ok()) {
            item.fail(&failure.message);
        }
        Ok(Outcome::update(AgentState::update().failure(failure.message)))
    }
}
