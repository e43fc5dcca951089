//! The agents of meetings as task agents, so that they can also be used without a meeting: over `/run`, `/v1` and the
//! dashboard, on a transcript with lines `name: text`.

use agent_server::TaskAgent;
use serde_json::{Map, Value};

use crate::{
    agents::{
        Meeting, minutes::Minutes, moderator, moderator::Moderation, moderator::View, rules, triage,
        triage::Triage,
    },
    record::{Participant, SpeakerSource, Turn},
};

/// Milliseconds that a line of a transcript without times counts for.
const LINE_MS: u64 = 5_000;

/// Parses a transcript.
fn transcript(text: &str) -> (Meeting, Vec<Turn>) {
    let mut meeting = Meeting::default();
    let mut turns = Vec::new();
    for (number, line) in text.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        let (name, said) = match line.split_once(':') {
            Some((name, said)) if !name.trim().is_empty() && name.chars().count() < 40 => {
                (Some(name.trim()), said)
            }
            _ => (None, line),
        };
        if let Some(name) = name
            && !meeting.participants.iter().any(|known| known.id == name)
        {
            meeting.participants.push(Participant { id: name.to_owned(), name: name.to_owned() });
        }
        let start_ms = number as u64 * LINE_MS;
        turns.push(Turn {
            item_id: (number + 1).to_string(),
            speaker: name.map(str::to_owned),
            confidence: 1.0,
            text: said.trim().to_owned(),
            start_ms,
            end_ms: start_ms + LINE_MS,
            source: SpeakerSource::Declared,
            voice: None,
            print: None,
        });
    }
    let is_korean = text.chars().any(|c| ('가'..='힣').contains(&c));
    meeting.language = if is_korean { "ko" } else { "en" }.to_owned();
    (meeting, turns)
}

fn response(state: &Value) -> String {
    state["response"].as_str().unwrap_or_default().to_owned()
}

fn update(update: impl serde::Serialize) -> Value {
    serde_json::to_value(update).expect("an update of strings and numbers is JSON")
}

/// Writes minutes of a transcript.
#[derive(Debug, Clone, Copy)]
pub struct MinutesAgent;

impl TaskAgent for MinutesAgent {
    fn graph(&self) -> &str {
        crate::agents::minutes::NAME
    }

    fn description(&self) -> &str {
        "Writes the summary of a meeting. Takes a transcript with lines `name: text`, in Korean or English."
    }

    fn input(&self, message: String, _: Map<String, Value>) -> Value {
        let (meeting, turns) = transcript(&message);
        let decisions = turns.iter().flat_map(|turn| rules::decisions(&meeting, turn)).collect();
        let actions = turns.iter().flat_map(|turn| rules::action_items(&meeting, turn)).collect();
        let questions = turns.iter().flat_map(|turn| rules::questions(&meeting, turn)).collect();
        update(Minutes::begin(meeting, turns, decisions, actions, questions))
    }

    fn response(&self, state: &Value) -> String {
        response(state)
    }
}

/// Finds decisions, action items and questions in a transcript.
#[derive(Debug, Clone, Copy)]
pub struct TriageAgent;

impl TaskAgent for TriageAgent {
    fn graph(&self) -> &str {
        triage::NAME
    }

    fn description(&self) -> &str {
        "Finds decisions, action items and questions. Takes a transcript with lines `name: text`, in Korean or English."
    }

    fn input(&self, message: String, _: Map<String, Value>) -> Value {
        let (meeting, turns) = transcript(&message);
        update(Triage::begin(meeting, turns))
    }

    fn response(&self, state: &Value) -> String {
        response(state)
    }
}

/// Proposes interventions for a transcript.
#[derive(Debug, Clone, Copy)]
pub struct ModeratorAgent;

impl TaskAgent for ModeratorAgent {
    fn graph(&self) -> &str {
        moderator::NAME
    }

    fn description(&self) -> &str {
        "Proposes interventions of a moderator. Takes a transcript with lines `name: text`, in Korean or English."
    }

    fn input(&self, message: String, _: Map<String, Value>) -> Value {
        let (meeting, turns) = transcript(&message);
        let new = turns.len();
        update(Moderation::begin(View { meeting, turns, new, ..View::default() }))
    }

    fn response(&self, state: &Value) -> String {
        response(state)
    }
}
