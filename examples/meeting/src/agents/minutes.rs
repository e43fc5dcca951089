//! Minutes: a summary at the end of a meeting, by a model with checked figures, or by rules.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use agent_core::{Context, END, Graph, Result, START, State, graph::BuildError, model::ModelRequest};
use serde::{Deserialize, Serialize};

use super::{Desk, Meeting};
use crate::{
    markdown::clock,
    record::{ActionItem, Decision, OpenQuestion, Turn},
};

/// Name of the graph.
pub const NAME: &str = "minutes";

/// Longest transcript that a model gets, in characters. The middle of a longer one is left out.
const MODEL_CHARS: usize = 60_000;

/// State of a run.
#[derive(State, Debug, Default, Serialize, Deserialize)]
pub struct Minutes {
    /// The meeting.
    pub meeting: Meeting,
    /// Turns.
    pub turns: Vec<Turn>,
    /// Decisions.
    pub decisions: Vec<Decision>,
    /// Action items.
    pub action_items: Vec<ActionItem>,
    /// Questions.
    pub questions: Vec<OpenQuestion>,
    /// What rules say about the meeting.
    pub facts: String,
    /// Draft of a model.
    pub draft: Option<String>,
    /// The summary.
    pub summary: Option<String>,
    /// The summary, for the dashboard.
    pub response: Option<String>,
}

impl Minutes {
    /// Returns the update that starts a run.
    pub fn begin(
        meeting: Meeting,
        turns: Vec<Turn>,
        decisions: Vec<Decision>,
        action_items: Vec<ActionItem>,
        questions: Vec<OpenQuestion>,
    ) -> MinutesUpdate {
        Self::update()
            .meeting(meeting)
            .turns(turns.into_iter().map(Turn::without_print).collect::<Vec<_>>())
            .decisions(decisions)
            .action_items(action_items)
            .questions(questions)
            .facts(String::new())
            .draft(None)
            .summary(None)
            .response(None)
    }
}

/// Builds the graph.
///
/// # Errors
///
/// None that a caller can cause.
pub fn graph() -> std::result::Result<Graph<Minutes>, BuildError> {
    Graph::<Minutes>::builder(NAME)
        .node("collect", collect)
        .node("write", write)
        .node("check", check)
        .path([START, "collect", "write", "check", END])
        .build()
}

async fn collect(state: &Minutes, cx: &Context) -> Result<MinutesUpdate> {
    let meeting = &state.meeting;
    let todos = cx.todos();
    for (id, korean, english) in [
        ("collect", "발언과 결정 모으기", "Collect turns and decisions"),
        ("write", "회의록 쓰기", "Write the minutes"),
        ("check", "회의록 확인", "Check the minutes"),
    ] {
        todos.add(id, meeting.say(korean, english))?;
    }
    let todo = todos.get("collect")?;
    todo.start();
    let mut spoken: BTreeMap<Cow<'_, str>, (usize, u64)> = BTreeMap::new();
    for turn in &state.turns {
        let of = spoken.entry(meeting.name(turn.speaker.as_deref())).or_default();
        *of = (of.0 + 1, of.1 + turn.end_ms.saturating_sub(turn.start_ms));
    }
    let length = state.turns.iter().map(|turn| turn.end_ms).max().unwrap_or(0);
    let mut facts = String::new();
    let written = match meeting.is_korean() {
        true => write!(
            facts,
            "{} 동안 발언 {}건, 결정 {}건, 할 일 {}건, 질문 {}건.",
            clock(length),
            state.turns.len(),
            state.decisions.len(),
            state.action_items.len(),
            state.questions.len()
        ),
        false => write!(
            facts,
            "Turns: {} in {}. Decisions: {}, action items: {}, questions: {}.",
            state.turns.len(),
            clock(length),
            state.decisions.len(),
            state.action_items.len(),
            state.questions.len()
        ),
    };
    for (name, (turns, ms)) in &spoken {
        let name = name.replace('<', "&lt;");
        let written = match meeting.is_korean() {
            true => write!(facts, "\n- {name}: 발언 {turns}건, {}", clock(*ms)),
            false => write!(facts, "\n- {name}: turns {turns}, {}", clock(*ms)),
        };
        debug_assert!(written.is_ok());
    }
    debug_assert!(written.is_ok());
    todo.done_with(state.turns.len().to_string());
    Ok(Minutes::update().facts(facts))
}

/// Prompt of the writer.
const WRITE: &str = include_str!("../../prompts/minutes.md");

async fn write(state: &Minutes, cx: &Context) -> Result<MinutesUpdate> {
    let todo = cx.todos().get("write")?;
    todo.start();
    if !cx.get::<Desk>()?.model || state.turns.is_empty() {
        todo.done();
        return Ok(Minutes::update());
    }
    let language = if state.meeting.is_korean() { "Korean" } else { "the language of the meeting" };
    let transcript = middle_out(&state.meeting.lines(&state.turns));
    let said = format!("Title: {}\nWrite in {language}.\n\n{transcript}", state.meeting.title);
    let draft = match cx.model()?.complete(ModelRequest::new(said).system(WRITE)).await {
        Ok(reply) if reply.finish == agent_core::model::FinishReason::Stop => {
            Some(reply.message.text().trim().to_owned())
        }
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%error, "the model did not write the minutes; rules do");
            None
        }
    };
    todo.done();
    Ok(Minutes::update().draft(draft.filter(|draft| !draft.is_empty())))
}

async fn check(state: &Minutes, cx: &Context) -> Result<MinutesUpdate> {
    let todo = cx.todos().get("check")?;
    todo.start();
    let invented = state.draft.as_ref().and_then(|draft| invented_number(draft, state));
    let summary = match (&state.draft, invented) {
        (Some(draft), None) => format!("{}\n\n{}", plain(draft), state.facts),
        (Some(_), Some(number)) => {
            tracing::warn!(
                number,
                "the model's minutes contain a number that was not said; rules write them"
            );
            state.facts.clone()
        }
        (None, _) => state.facts.clone(),
    };
    todo.done();
    Ok(Minutes::update().summary(summary.clone()).response(summary))
}

/// Returns a number in a draft that was not said.
fn invented_number(draft: &str, state: &Minutes) -> Option<String> {
    let digits = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let said: Vec<String> =
        state.turns.iter().flat_map(|turn| digits(&turn.text)).chain(digits(&state.meeting.title)).collect();
    // Counts of one digit ("three points") are no figures.
    digits(draft).into_iter().find(|number| number.len() > 1 && !said.contains(number))
}

/// Returns a draft without headings and HTML, which would break the sections of the file.
fn plain(draft: &str) -> String {
    let line = |line: &str| line.trim_start_matches('#').trim_end().replace('<', "&lt;");
    draft.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Leaves out the middle of a text that is too long for a model.
fn middle_out(text: &str) -> String {
    let count = text.chars().count();
    if count <= MODEL_CHARS {
        return text.to_owned();
    }
    let half = MODEL_CHARS / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(count - half).collect();
    format!("{head}\n[…]\n{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_not_said_is_found() {
        let mut state = Minutes::default();
        state.meeting.title = "2026".into();
        assert_eq!(invented_number("3 points in 2026", &state), None);
        assert_eq!(invented_number("a budget of 500", &state), Some("500".into()));
    }
}
