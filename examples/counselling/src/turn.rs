//! One turn of a conversation as a graph:
//!
//! ```text
//!              ┌► generate ─┐
//! recall ► crisis           ├► save
//!              └► check ────┘
//! ```
//!
//! `generate` and `check` run in parallel: the check passes the text on as it arrives.

use agent_core::{
    END, Graph, START, State,
    graph::{BuildError, Route},
};
use serde::{Deserialize, Serialize};

use crate::{Emotion, Exchange, Language, model::Failure, nodes, protocol::Request};

/// Name of the graph.
pub const GRAPH: &str = "counselling";

/// What a turn knows.
#[derive(State, Debug, Default, Serialize, Deserialize)]
pub struct Turn {
    /// What the client said; empty: there is nothing to answer, unsaved exchanges are saved.
    pub message: String,
    /// The emotion as the client sent it.
    pub emotion: Option<String>,
    /// The emotion that the guidance is for.
    pub guidance: Emotion,
    /// Time of the request, in milliseconds since 1970.
    pub timestamp: i64,
    /// Language of the answer; `None`: that of the settings.
    pub language: Option<Language>,
    /// Id of the link to the connection; empty: the run was not started by one.
    pub link: String,
    /// Earlier exchanges, as the model sees them. They are in the table of conversations and not in the journal.
    #[state(untracked)]
    #[serde(skip)]
    pub history: Vec<Exchange>,
    /// Whether the client spoke of self-harm.
    pub crisis: bool,
    /// What was said.
    pub answer: String,
    /// Rules that sentences of the model violated.
    pub replaced: Vec<String>,
    /// Why the answer is incomplete.
    pub failure: Option<Failure>,
    /// Exchanges that could not be saved yet.
    pub unsaved: Vec<Exchange>,
}

impl Turn {
    /// Returns the update that starts a turn. Unsaved exchanges of earlier turns are kept.
    pub fn begin(request: &Request, guidance: Emotion, language: Option<Language>, link: &str) -> TurnUpdate {
        Self::resave()
            .message(request.message.clone())
            .emotion(request.emotion.clone())
            .guidance(guidance)
            .timestamp(request.timestamp)
            .language(language)
            .link(link)
    }

    /// Returns the update that starts a run which only saves what could not be saved before.
    pub fn resave() -> TurnUpdate {
        Self::update()
            .message("")
            .emotion(None)
            .guidance(Emotion::Neutral)
            .timestamp(0)
            .language(None)
            .link("")
            .history(Vec::new())
            .crisis(false)
            .answer("")
            .replaced(Vec::new())
            .failure(None)
    }
}

/// Returns the graph.
///
/// # Errors
///
/// None that a caller can cause: the graph is fixed.
pub fn graph() -> Result<Graph<Turn>, BuildError> {
    Graph::<Turn>::builder(GRAPH)
        .node("recall", nodes::recall)
        .node("crisis", nodes::crisis)
        .node("generate", nodes::generate)
        .node("check", nodes::check)
        .node("save", nodes::save)
        .branch(START, first, ["recall", "save"])
        .edge("recall", "crisis")
        .edge("crisis", "generate")
        .edge("crisis", "check")
        .join(["generate", "check"], "save")
        .edge("save", END)
        .build()
}

fn first(turn: &Turn) -> Route {
    Route::to(if turn.message.is_empty() { "save" } else { "recall" })
}
