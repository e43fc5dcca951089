//! `/sessions` and `/agents`.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    EventRef,
    task_agent::{Question, RunStatus, Todo},
};

/// The agents that can be run.
#[derive(ToSchema)]
pub(in crate::docs) struct Agents {
    /// The first one runs what names none.
    agents: Vec<AgentInfo>,
}

/// An agent.
#[derive(ToSchema)]
struct AgentInfo {
    /// Its name.
    name: String,
    /// What it can be spoken to as.
    kind: String,
}

/// Sessions, those that changed last first.
#[derive(ToSchema)]
pub(in crate::docs) struct SessionPage {
    /// This page.
    sessions: Vec<SessionSummary>,
    /// `before` of the next page; `null` on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// A session in a list.
#[derive(ToSchema)]
struct SessionSummary {
    /// Its id.
    session_id: String,
    /// The first words of its first message; `null` where it began without one.
    #[schema(required = true)]
    title: Option<String>,
    /// The agent that ran last.
    agent: String,
    /// Where its latest run stands.
    status: RunStatus,
    /// Questions that wait for a person, while it is paused.
    questions: u32,
    /// The number of its latest run.
    run: u64,
    /// When it changed last, in milliseconds since 1970.
    at: i64,
    /// The last number in its journal.
    last_seq: u64,
    /// What it takes up in the store.
    bytes: u64,
}

/// Entries of a journal, as events.
#[derive(ToSchema)]
pub(in crate::docs) struct JournalPage {
    /// This page, in order.
    #[schema(value_type = Vec<EventRef>)]
    entries: Vec<Value>,
    /// `after` of the next page; `null` on the last one.
    #[schema(required = true)]
    next: Option<u64>,
    /// The first number that is kept.
    first: u64,
    /// The last number there is.
    last: u64,
}

/// What a session knew at a place of its journal.
#[derive(ToSchema)]
pub(in crate::docs) struct SessionState {
    /// The session.
    session_id: String,
    /// The place.
    seq: u64,
    /// Where the run stood.
    status: RunStatus,
    /// The state of the graph.
    state: Value,
    /// The todos.
    todos: Vec<Todo>,
    /// The questions that were open.
    questions: Vec<Question>,
}

/// What changed in the state between two places.
#[derive(ToSchema)]
pub(in crate::docs) struct Diff {
    /// The place before.
    from: u64,
    /// The place after.
    to: u64,
    /// Like JSON Patch (RFC 6902), each with what was there before. At most 10,000, with 4 MiB of values.
    changes: Vec<Change>,
    /// There are more changes than these.
    #[schema(required = false, nullable = false)]
    cut: Option<bool>,
}

/// One change. Told of the state as the changes before it have left it.
#[derive(ToSchema)]
struct Change {
    /// What was done.
    op: ChangeKind,
    /// Where, as a JSON Pointer.
    path: String,
    /// What was there.
    #[schema(required = false)]
    from: Option<Value>,
    /// What is there.
    #[schema(required = false)]
    to: Option<Value>,
}

/// What was done.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum ChangeKind {
    Add,
    Remove,
    Replace,
}

/// Where to fork, and what the new session is called.
#[derive(ToSchema)]
pub(in crate::docs) struct ForkRequest {
    /// The place in the journal. Default: its end.
    #[schema(required = false)]
    at: Option<u64>,
    /// The id of the new session. Default: a random one.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    session_id: Option<String>,
}

/// A new session that is another one up to a place.
#[derive(ToSchema)]
pub(in crate::docs) struct Fork {
    /// The new one.
    session_id: String,
    /// The one it came from.
    forked_from: String,
    /// The place.
    at: u64,
}

/// The nodes and edges of a graph, and its drawing.
pub(in crate::docs) struct GraphOutline;

impl GraphOutline {
    pub(super) const NAME: &'static str = "Graph";

    /// Adds what the server adds.
    pub(super) fn complete(all: &mut Map<String, Value>) {
        if let Some(graph) = all.get_mut(Self::NAME) {
            graph["properties"]["mermaid"] =
                json!({"type": ["string", "null"], "description": "The same as a Mermaid flowchart."});
        }
    }
}
