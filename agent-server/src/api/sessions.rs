//! Sessions and agents: lists, journals, states, differences, forks.

use agent_core::ids::SessionId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    json,
    schema::EventJson,
    session_data::{Question, RunStatus, Todo},
};
use crate::error::ApiError;

/// The agents of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Agents {
    /// The agents. The first one is the default.
    pub(crate) agents: Vec<AgentInfo>,
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentInfo {
    /// Name of the agent.
    pub(crate) name: String,
    /// Kind of the agent: `task`.
    #[schema(value_type = String)]
    pub(crate) kind: &'static str,
}

/// Sessions, the most recently changed first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionPage {
    /// The sessions of this page.
    pub(crate) sessions: Vec<SessionSummary>,
    /// `before` of the next page; `null` on the last one.
    #[schema(required = true)]
    pub(crate) next: Option<String>,
}

/// A session in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionSummary {
    /// Id of the session.
    #[schema(value_type = String)]
    pub(crate) session_id: SessionId,
    /// Beginning of the first message; `null` if there was none.
    #[schema(required = true)]
    pub(crate) title: Option<String>,
    /// Agent of the latest run.
    pub(crate) agent: String,
    /// Status of the latest run.
    #[schema(value_type = RunStatus)]
    pub(crate) status: String,
    /// Number of open questions.
    pub(crate) questions: u32,
    /// Number of the latest run.
    pub(crate) run: u64,
    /// Time of the last change, in milliseconds since 1970.
    pub(crate) at: i64,
    /// Number of the last journal entry.
    pub(crate) last_seq: u64,
    /// Size in the store, in bytes.
    pub(crate) bytes: u64,
    /// Session of the agent that started this one in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub(crate) started_by: Option<String>,
    /// Schedule that started the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub(crate) scheduled_by: Option<String>,
}

/// Journal entries as events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JournalPage {
    /// The entries of this page, in order.
    pub(crate) entries: Vec<EventJson>,
    /// `after` of the next page; `null` on the last one.
    #[schema(required = true)]
    pub(crate) next: Option<u64>,
    /// Number of the first entry in the journal.
    pub(crate) first: u64,
    /// Number of the last entry in the journal.
    pub(crate) last: u64,
}

/// State of a session at a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionState {
    /// Id of the session.
    #[schema(value_type = String)]
    pub(crate) session_id: SessionId,
    /// Number of the journal entry.
    pub(crate) seq: u64,
    /// Status of the run.
    pub(crate) status: RunStatus,
    /// State of the graph.
    pub(crate) state: Value,
    /// Context of the run, if the program that started it gave one that is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub(crate) run_context: Option<Value>,
    /// Todos of the run.
    pub(crate) todos: Vec<Todo>,
    /// Open questions.
    pub(crate) questions: Vec<Question>,
}

/// Changes of the state between two checkpoints.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Diff {
    /// Number of the earlier entry.
    pub(crate) from: u64,
    /// Number of the later entry.
    pub(crate) to: u64,
    /// Changes like those of JSON Patch (RFC 6902), each with the previous value. At most 10,000, with 4 MiB of values.
    pub(crate) changes: Vec<Change>,
    /// Whether there are more changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub(crate) cut: Option<bool>,
}

/// A change. It applies to the result of the changes before it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Change {
    /// Operation.
    pub(crate) op: ChangeKind,
    /// Location, as a JSON Pointer.
    pub(crate) path: String,
    /// Previous value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) from: Option<Value>,
    /// New value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) to: Option<Value>,
}

/// Operation of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeKind {
    Add,
    Remove,
    Replace,
}

/// Request to fork a session.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct ForkRequest {
    /// Number of the journal entry. Default: the last one.
    #[serde(default, deserialize_with = "json::integer")]
    #[schema(required = false)]
    pub(crate) at: Option<u64>,
    /// Id of the new session. Default: a random one.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    session_id: Option<String>,
}

impl ForkRequest {
    /// Parses a request. The body may be empty.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid field.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        json::strict_message(body)
    }

    /// Returns the id of the new session.
    ///
    /// # Errors
    ///
    /// 400 for an invalid id.
    pub(crate) fn session(&self) -> Result<Option<SessionId>, ApiError> {
        self.session_id.as_deref().map(json::session_id).transpose()
    }
}

/// A fork of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fork {
    /// Id of the new session.
    #[schema(value_type = String)]
    pub(crate) session_id: SessionId,
    /// Id of the original session.
    #[schema(value_type = String)]
    pub(crate) forked_from: SessionId,
    /// Number of the journal entry.
    pub(crate) at: u64,
}
