//! Runs of the agents for a meeting, outside its actor.

use std::sync::Arc;

use agent_core::{
    event::EventBody,
    todo::{Todo, TodoStatus},
};
use tokio::sync::mpsc;

use super::{Meetings, actor::Command, blocking};
use crate::{
    agents::{self, Meeting, minutes::Minutes, moderator::Moderation, moderator::View, triage::Triage},
    principles::Principle,
    record::{ActionItem, Decision, Intervention, OpenQuestion, Turn},
    state::MeetingState,
    store::MeetingId,
    wire::ServerMessage,
};

/// What triage found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) decisions: Vec<Decision>,
    pub(super) action_items: Vec<ActionItem>,
    pub(super) questions: Vec<OpenQuestion>,
}

/// Runs triage on turns. Returns `None` if the run failed, which is logged and in the dashboard.
pub(super) async fn triage(
    meetings: &Meetings,
    id: &MeetingId,
    meeting: Meeting,
    turns: Vec<Turn>,
) -> Option<Findings> {
    let session = agents::session_id(id, "triage");
    let input = Triage::begin(meeting, turns);
    match agents::run(&meetings.0.runtime, &meetings.0.agents.triage, &session, input).await {
        Ok(state) => Some(Findings {
            decisions: state.decisions.clone(),
            action_items: state.action_items.clone(),
            questions: state.questions.clone(),
        }),
        Err(error) => {
            tracing::warn!(meeting = %id, error = &error as &dyn std::error::Error, "triage failed");
            None
        }
    }
}

/// Reads principles. One that was deleted since the meeting began is left out.
pub(super) async fn principles(meetings: &Meetings, names: &[String]) -> Vec<Principle> {
    let (folder, names) = (meetings.0.options.principles.clone(), names.to_vec());
    let read = move || Ok(names.iter().filter_map(|name| folder.find(name)).collect());
    blocking(read).await.unwrap_or_default()
}

/// Runs the moderator. Returns what it proposes.
pub(super) async fn moderate(meetings: &Meetings, id: &MeetingId, view: View) -> Vec<Intervention> {
    let session = agents::session_id(id, "moderator");
    let input = Moderation::begin(view);
    match agents::run(&meetings.0.runtime, &meetings.0.agents.moderator, &session, input).await {
        Ok(state) => state.proposals.clone(),
        Err(error) => {
            tracing::warn!(meeting = %id, error = &error as &dyn std::error::Error, "the moderator failed");
            Vec::new()
        }
    }
}

/// Writes the summary of the minutes, and reports its todos to the actor.
pub(super) async fn minutes(
    meetings: &Meetings,
    id: &MeetingId,
    state: &MeetingState,
    commands: &mpsc::Sender<Command>,
) -> Option<String> {
    let session = agents::session_id(id, "minutes");
    let input = Minutes::begin(
        Meeting::of(state),
        state.turns.clone(),
        state.decisions.clone(),
        state.action_items.clone(),
        state.questions.clone(),
    );
    let runtime = &meetings.0.runtime;
    let mut events = runtime.session(&session).ok()?.subscribe(None);
    let report = async {
        while let Ok(event) = events.next().await {
            if let EventBody::TodoUpdated(update) = &event.body {
                let message = todo_update(&format!("minutes:{}", update.todo.id), &update.todo);
                if commands.send(Command::Broadcast(message.to_json().into())).await.is_err() {
                    return;
                }
            } else if event.body.ends_run() {
                return;
            }
        }
    };
    let (run, ()) = tokio::join!(agents::run(runtime, &meetings.0.agents.minutes, &session, input), async {
        // It ends with the run; one that fails before it begins has no events.
        let _late = tokio::time::timeout(std::time::Duration::from_secs(300), report).await;
    });
    match run {
        Ok(state) => state.summary.clone(),
        Err(error) => {
            tracing::warn!(meeting = %id, error = &error as &dyn std::error::Error, "the minutes failed");
            None
        }
    }
}

fn todo_update(id: &str, todo: &Todo) -> ServerMessage {
    let message = match &*todo.message {
        "" => todo.title.clone(),
        message => format!("{}: {message}", todo.title),
    };
    let status = match todo.status {
        TodoStatus::Pending => "pending",
        TodoStatus::InProgress => "in_progress",
        TodoStatus::Completed => "completed",
        TodoStatus::Failed => "failed",
        _ => "cancelled",
    };
    ServerMessage::TodoUpdate {
        todo_id: id.to_owned(),
        status: status.to_owned(),
        progress: todo.progress,
        message,
    }
}

/// Returns the message for an action item, which is a todo of the meeting.
pub(super) fn action_todo(state: &MeetingState, number: usize) -> Option<ServerMessage> {
    let action = state.action_items.get(number)?;
    let owner =
        action.owner.as_deref().map(|owner| format!("{}: ", state.name(Some(owner)))).unwrap_or_default();
    let due = action.due.as_deref().map(|due| format!(" ({due})")).unwrap_or_default();
    Some(ServerMessage::TodoUpdate {
        todo_id: format!("action:{}", number + 1),
        status: "pending".to_owned(),
        progress: 0,
        message: format!("{owner}{}{due}", action.text),
    })
}

/// Returns the message for an action item that does not exist any more.
pub(super) fn cancelled_action(number: usize) -> ServerMessage {
    ServerMessage::TodoUpdate {
        todo_id: format!("action:{}", number + 1),
        status: "cancelled".to_owned(),
        progress: 0,
        message: String::new(),
    }
}

/// Returns a message as it is sent.
pub(super) fn json(message: &ServerMessage) -> Arc<str> {
    message.to_json().into()
}
