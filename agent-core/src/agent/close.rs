//! Closes a turn that was cut short, so that every tool call of the conversation has a result.

use super::{
    AgentState, AgentStateUpdate,
    nodes::{Core, Profile, SubInput, Tools},
};
use crate::{
    engine::{CallOutcome, UnfinishedTask},
    model::{Message, Role, ToolCall},
    state::State,
    tool::ToolError,
};

/// The results of calls that have none when a run is stopped or fails: the recorded one where there is one, else that
/// the outcome is unknown or that the call was cancelled. A resume replaces them.
pub(super) fn close_turn(
    core: &Core,
    state: &AgentState,
    tasks: &[UnfinishedTask<'_>],
) -> Option<AgentStateUpdate> {
    let at = state.messages.iter().rposition(|message| message.role == Role::Assistant)?;
    let said = &state.messages[at];
    let has_result = |call: &ToolCall| {
        let mut results = state.messages[at..].iter().filter(|message| message.role == Role::Tool);
        results.any(|result| result.tool_call_id.as_deref() == Some(&*call.id))
    };
    if said.tool_calls.iter().all(has_result) {
        return None;
    }
    let profile = core.profile(state);
    let tools = tasks.iter().find(|task| task.node() == "tools");
    let plain = || said.tool_calls.iter().filter(|call| core.is_plain(profile, call));
    let mut outcomes = tools.map(|task| task.call_outcomes(plain())).unwrap_or_default().into_iter();
    let mut kept = false;
    let mut closed = Vec::new();
    for call in &said.tool_calls {
        let outcome = if core.is_plain(profile, call) {
            match outcomes.next() {
                Some(CallOutcome::Missing) if may_have_begun(profile, call) => CallOutcome::Unknown,
                Some(outcome) => outcome,
                None => CallOutcome::Missing,
            }
        } else {
            of_sub_agent(tasks, call)
        };
        if has_result(call) {
            continue;
        }
        closed.push(match outcome {
            CallOutcome::Recorded { message, kept: whole } => {
                kept |= whole;
                message
            }
            CallOutcome::Unknown => closing(said, call, &ToolError::outcome_unknown(&call.name)),
            CallOutcome::Missing => closing(said, call, &ToolError::cancelled()),
        });
    }
    let update = AgentState::update().messages(closed.into_iter().collect::<crate::model::Messages>());
    Some(if kept { update.kept_results(true) } else { update })
}

fn closing(said: &Message, call: &ToolCall, error: &ToolError) -> Message {
    Message::tool_result(&call.id, format!("Error: {}", error.for_model()))
        .with_name(&call.name)
        .with_id(closing_id(&said.id, &call.id))
}

/// Id of a message that replaces the missing result of a call.
pub(super) fn closing_id(message: &str, call: &str) -> String {
    format!("{message}.{call}")
}

/// Returns whether `known` is such a message.
pub(super) fn is_closing(known: &Message, said: &Message, call: &str) -> bool {
    let rest = known.id.strip_prefix(said.id.as_str()).and_then(|rest| rest.strip_prefix('.'));
    rest == Some(call) && known.tool_call_id.as_deref() == Some(call)
}

/// Returns whether a call may have changed something although its beginning is not recorded, because its policy repeats it after
/// a crash.
fn may_have_begun(profile: &Profile, call: &ToolCall) -> bool {
    let Tools::Own(registry) = &profile.tools else { return false };
    registry.prepare(call.clone()).is_ok_and(|prepared| {
        let policy = prepared.policy();
        !policy.effect.repeatable() && !policy.notes_begin()
    })
}

/// The outcome of a call that a sub-agent works on.
fn of_sub_agent(tasks: &[UnfinishedTask<'_>], call: &ToolCall) -> CallOutcome {
    let answers = |task: &&UnfinishedTask<'_>| {
        task.node().strip_prefix("agent.") == Some(call.name.as_str())
            && task.input::<SubInput>().is_some_and(|input| input.call.id == call.id)
    };
    let Some(task) = tasks.iter().find(answers) else { return CallOutcome::Missing };
    if let Some(update) = task.update::<AgentState>() {
        let mut result = AgentState::default();
        if result.apply(update).is_ok()
            && let Some(message) = result.messages.last()
        {
            return CallOutcome::Recorded { message: Message::clone(message), kept: false };
        }
    }
    // Its earlier work is in the conversation of the sub-agent, which ends here.
    if task.has_recorded() { CallOutcome::Unknown } else { CallOutcome::Missing }
}
