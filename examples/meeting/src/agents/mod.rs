//! Agents of a meeting, as graphs of `agent-core`: triage, moderator, minutes.
//!
//! Each has its own session for each meeting, so that its todos, state and history are in the dashboard. With a model
//! they ask it, and check what it says; without one, or if it fails, they use [`rules`].

pub mod minutes;
pub mod moderator;
pub mod rules;
pub mod triage;

use std::{borrow::Cow, hash::Hasher};

use agent_core::{
    BusyPolicy, Graph, Input, RunOptions, RunOutcome, Runtime, State,
    graph::BuildError,
    session::{RuntimeBuilder, SessionError},
};
use fnv::FnvHasher;
use serde::{Deserialize, Serialize};

use crate::{
    record::{Participant, Turn},
    state::{MeetingState, shown_name},
    store::MeetingId,
};

/// Whether the agents ask a model; given to the runtime with `provide`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Desk {
    /// Whether the runtime has a model.
    pub model: bool,
}

/// The graphs.
#[derive(Debug, Clone)]
pub struct Agents {
    /// Triage.
    pub triage: Graph<triage::Triage>,
    /// Moderator.
    pub moderator: Graph<moderator::Moderation>,
    /// Minutes.
    pub minutes: Graph<minutes::Minutes>,
}

impl Agents {
    /// Builds the graphs.
    ///
    /// # Errors
    ///
    /// None that a caller can cause: the graphs are constant.
    pub fn new() -> Result<Self, BuildError> {
        Ok(Self { triage: triage::graph()?, moderator: moderator::graph()?, minutes: minutes::graph()? })
    }

    /// Registers the graphs.
    pub fn register(&self, runtime: RuntimeBuilder, desk: Desk) -> RuntimeBuilder {
        runtime.graph(&self.triage).graph(&self.moderator).graph(&self.minutes).provide(desk)
    }
}

/// Returns the id of a session of a meeting's agent.
#[must_use]
pub fn session_id(meeting: &MeetingId, agent: &str) -> String {
    let plain = format!("{meeting}:{agent}");
    if plain.len() <= 128 {
        return plain;
    }
    // Stable across versions, unlike the hashes of the standard library.
    let mut hasher = FnvHasher::default();
    hasher.write(meeting.as_str().as_bytes());
    format!("{}:{:016x}:{agent}", &meeting.as_str()[..90], hasher.finish())
}

/// Runs a graph on the session of a meeting and returns its final state.
///
/// # Errors
///
/// The run failed or was stopped.
pub(crate) async fn run<S: State>(
    runtime: &Runtime,
    graph: &Graph<S>,
    session: &str,
    input: impl Into<Input<S>>,
) -> Result<std::sync::Arc<S>, AgentFailure> {
    let session = runtime.session(session).map_err(|_| AgentFailure::Unfinished)?;
    // A run that a crash interrupted is resumed by the runtime; this one waits for it.
    let options = RunOptions::default().on_busy(BusyPolicy::Enqueue);
    let outcome = session.run(graph, input).options(options).await?;
    match outcome {
        RunOutcome::Completed(finished) => Ok(finished.state),
        _ => Err(AgentFailure::Unfinished),
    }
}

/// A run of an agent has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentFailure {
    #[error("the run failed")]
    Run(#[from] SessionError),
    #[error("the run was stopped")]
    Unfinished,
}

/// What the agents know of the meeting.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Meeting {
    /// Title.
    pub title: String,
    /// Language.
    pub language: String,
    /// Participants.
    pub participants: Vec<Participant>,
}

impl Meeting {
    /// Returns what the agents know of a meeting.
    #[must_use]
    pub fn of(state: &MeetingState) -> Self {
        Self {
            title: state.setup.title.clone(),
            language: state.setup.language.clone(),
            participants: state.setup.participants.clone(),
        }
    }

    pub(crate) fn is_korean(&self) -> bool {
        self.language.starts_with("ko")
    }

    /// Returns the text in the language of the meeting.
    pub(crate) fn say<'a>(&self, korean: &'a str, english: &'a str) -> &'a str {
        if self.is_korean() { korean } else { english }
    }

    pub(crate) fn name<'a>(&'a self, speaker: Option<&'a str>) -> Cow<'a, str> {
        shown_name(&self.participants, speaker, self.is_korean())
    }

    /// Returns turns as lines for a model.
    pub(crate) fn lines(&self, turns: &[Turn]) -> String {
        let line = |turn: &Turn| {
            format!("[{}] {}: {}\n", turn.item_id, self.name(turn.speaker.as_deref()), turn.text)
        };
        turns.iter().map(line).collect()
    }

    /// Returns the id of the participant that a model named by id or by name.
    pub(crate) fn find(&self, named: &str) -> Option<String> {
        let named = named.trim().to_lowercase();
        let is =
            |person: &&Participant| person.id.to_lowercase() == named || person.name.to_lowercase() == named;
        self.participants.iter().find(is).map(|person| person.id.clone())
    }
}
