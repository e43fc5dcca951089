//! Tools node: executes the tool calls of the latest reply, starts sub-agents, and hands the conversation over.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Deserialize;

use super::{Core, SubInput};
use crate::{
    agent::{AgentState, middleware::call_tool},
    engine::Context,
    graph::{Dispatch, Node, Outcome, Result},
    model::{Message, Messages, Role, ToolCall},
    tool::ToolError,
};

#[derive(Deserialize)]
struct SubArgs {
    task: String,
    #[serde(default)]
    todo: Option<String>,
}

/// Carries out what the model called.
pub(in crate::agent) struct ToolsNode(pub(in crate::agent) Arc<Core>);

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
                    Err(error) => results.push(to_tool_message(call, &error)),
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
        if !state.context.is_empty() {
            tools = tools.with_values(state.context.clone());
        }
        let mut messages = if profile.middleware.is_empty() {
            tools.call_all(plain).await?
        } else {
            let call = |call: ToolCall| -> BoxFuture<'_, Result<Message>> { Box::pin(tools.call(call)) };
            let calls = plain.into_iter().map(|plain| call_tool(&profile.middleware, cx, plain, &call));
            futures::future::join_all(calls).await.into_iter().collect::<Result<Vec<_>>>()?
        };
        messages.append(&mut results);
        let approvals = tools.remembered();
        if approvals != state.approvals {
            update = update.approvals(approvals);
        }
        if tools.kept_results() && !state.kept_results {
            update = update.kept_results(true);
        }
        let changed = tools.changed_values();
        if !changed.is_empty() {
            let mut values = state.context.clone();
            values.extend(changed);
            update = update.context(values);
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

fn to_tool_message(call: &ToolCall, error: &ToolError) -> Message {
    Message::tool_result(&call.id, format!("Error: {}", error.for_model())).with_name(&call.name)
}
