//! State of a meeting: a fold of its records.
//!
//! Pure: no await, clock, lock or I/O.

use std::{borrow::Cow, collections::HashMap};

use crate::{
    limits,
    record::{
        ActionItem, Decision, Intervention, InterventionKind, OpenQuestion, Participant, Record, Setup,
        SpeakerSource, Turn,
    },
};

/// Phase of a meeting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was said yet.
    #[default]
    New,
    /// It takes place.
    Running,
    /// It has ended.
    Ended,
}

impl Phase {
    /// Returns the name in messages and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}

/// What is known of a meeting.
#[derive(Debug, Clone, Default)]
pub struct MeetingState {
    /// Setup.
    pub setup: Setup,
    /// Phase.
    pub phase: Phase,
    /// Start, in milliseconds since 1970.
    pub started_at: i64,
    /// Whether a client ended the meeting: nothing more is recorded, and the minutes are written.
    pub ending: bool,
    /// End.
    pub ended_at: Option<i64>,
    /// Turns, in the order in which they were transcribed.
    pub turns: Vec<Turn>,
    /// Decisions.
    pub decisions: Vec<Decision>,
    /// Action items.
    pub action_items: Vec<ActionItem>,
    /// Questions.
    pub questions: Vec<OpenQuestion>,
    /// Interventions and their times.
    pub interventions: Vec<(i64, Intervention)>,
    /// Number of turns that were analysed.
    pub analysed: usize,
    /// Turns that are to be analysed again, because their text was corrected.
    pub again: Vec<String>,
    /// Summary in the minutes.
    pub summary: Option<String>,
    /// Minutes as Markdown.
    pub minutes: Option<String>,
    index: HashMap<String, usize>,
    /// Time of the latest intervention of each kind.
    intervened: HashMap<InterventionKind, i64>,
}

/// Smallest time between two interventions of one kind, in milliseconds.
pub const INTERVENTION_PAUSE_MS: i64 = 60_000;

/// Turns and findings in a [`tail`](MeetingState::tail).
const TAIL: usize = 300;

impl MeetingState {
    /// Folds records.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply(record);
        }
        state
    }

    /// Applies a record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Started { at, setup } => {
                (self.started_at, self.setup, self.phase) = (*at, setup.clone(), Phase::Running);
            }
            Record::Changed { setup } => self.setup = setup.clone(),
            Record::Said(turn) => {
                self.index.insert(turn.item_id.clone(), self.turns.len());
                self.turns.push(turn.clone());
            }
            Record::Corrected { item_id, speaker, text, source } => {
                self.correct(item_id, speaker.as_deref(), text.as_deref(), *source);
            }
            Record::Analysed { turns, decisions, action_items, questions, again } => {
                self.again.retain(|id| !again.contains(id));
                self.analysed = (*turns).min(self.turns.len());
                self.decisions.extend(decisions.iter().cloned());
                self.action_items.extend(action_items.iter().cloned());
                self.questions.extend(questions.iter().cloned());
                self.decisions.truncate(limits::FINDINGS);
                self.action_items.truncate(limits::FINDINGS);
                self.questions.truncate(limits::FINDINGS);
            }
            Record::Intervened { at, intervention } => {
                self.intervened.insert(intervention.kind, *at);
                self.interventions.push((*at, intervention.clone()));
            }
            Record::Ending { .. } => self.ending = true,
            Record::Ended { at } => (self.ended_at, self.phase) = (Some(*at), Phase::Ended),
            Record::Minuted { summary, markdown } => {
                (self.summary, self.minutes) = (Some(summary.clone()), Some(markdown.clone()));
            }
        }
    }

    /// Corrects a turn, and what was found in it.
    fn correct(&mut self, item_id: &str, speaker: Option<&str>, text: Option<&str>, source: SpeakerSource) {
        let Some(at) = self.index.get(item_id).copied() else { return };
        let turn = &mut self.turns[at];
        if let Some(speaker) = speaker {
            let before = turn.speaker.replace(speaker.to_owned());
            turn.source = source;
            if source == SpeakerSource::Corrected {
                turn.confidence = 1.0;
            }
            let is_own = |ids: &[String], owner: &Option<String>| {
                owner.is_some() && *owner == before && ids.iter().any(|id| id == item_id)
            };
            let new = || Some(speaker.to_owned());
            for decision in self.decisions.iter_mut().filter(|found| is_own(&found.item_ids, &found.owner)) {
                decision.owner = new();
            }
            for action in self.action_items.iter_mut().filter(|found| is_own(&found.item_ids, &found.owner)) {
                action.owner = new();
            }
            for question in self.questions.iter_mut().filter(|found| is_own(&found.item_ids, &found.speaker))
            {
                question.speaker = new();
            }
        }
        if let Some(text) = text {
            text.clone_into(&mut turn.text);
            let others = |ids: &[String]| !ids.iter().any(|id| id == item_id);
            self.decisions.retain(|found| others(&found.item_ids));
            self.action_items.retain(|found| others(&found.item_ids));
            self.questions.retain(|found| others(&found.item_ids));
            if at < self.analysed && !self.again.iter().any(|id| id == item_id) {
                self.again.push(item_id.to_owned());
            }
        }
    }

    /// Returns a copy with the latest of the first `count` turns and the latest findings, for agents that look at those only.
    #[must_use]
    pub fn tail(&self, count: usize) -> Self {
        fn last<T: Clone>(items: &[T], count: usize) -> Vec<T> {
            items[items.len().saturating_sub(count)..].to_vec()
        }
        Self {
            setup: self.setup.clone(),
            phase: self.phase,
            started_at: self.started_at,
            turns: last(&self.turns[..count.min(self.turns.len())], TAIL)
                .into_iter()
                .map(Turn::without_print)
                .collect(),
            decisions: last(&self.decisions, TAIL),
            action_items: last(&self.action_items, TAIL),
            interventions: last(&self.interventions, TAIL),
            ..Self::default()
        }
    }

    /// Returns a turn.
    #[must_use]
    pub fn turn(&self, item_id: &str) -> Option<&Turn> {
        self.turns.get(*self.index.get(item_id)?)
    }

    /// Returns a participant.
    #[must_use]
    pub fn participant(&self, id: &str) -> Option<&Participant> {
        self.setup.participants.iter().find(|participant| participant.id == id)
    }

    /// Returns the name to show for a speaker: that of the participant, or `화자 1` for the voice `speaker-1`.
    #[must_use]
    pub fn name<'a>(&'a self, speaker: Option<&'a str>) -> Cow<'a, str> {
        shown_name(&self.setup.participants, speaker, self.is_korean())
    }

    /// Returns the end of the latest turn.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.turns.iter().map(|turn| turn.end_ms).max().unwrap_or(0)
    }

    /// Returns whether the moderator may intervene for this reason: at most once a minute.
    #[must_use]
    pub fn may_intervene(&self, kind: InterventionKind, now: i64) -> bool {
        self.interventions.len() < limits::FINDINGS
            && self.intervened.get(&kind).is_none_or(|before| now - before >= INTERVENTION_PAUSE_MS)
    }

    /// Returns whether the meeting is in Korean.
    #[must_use]
    pub fn is_korean(&self) -> bool {
        self.setup.language.starts_with("ko")
    }
}

/// Returns the name to show for a speaker, in the language of the meeting.
pub(crate) fn shown_name<'a>(
    participants: &'a [Participant],
    speaker: Option<&'a str>,
    is_korean: bool,
) -> Cow<'a, str> {
    let Some(id) = speaker else { return Cow::Borrowed("?") };
    if let Some(person) = participants.iter().find(|person| person.id == id) {
        return Cow::Borrowed(&person.name);
    }
    let number = id.strip_prefix("speaker-").filter(|rest| rest.parse::<usize>().is_ok());
    number.map_or(Cow::Borrowed(id), |number| {
        Cow::Owned(format!("{} {number}", if is_korean { "화자" } else { "Speaker" }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moderator_intervenes_once_a_minute_for_each_reason() {
        let mut state = MeetingState::default();
        let intervention = Intervention {
            kind: InterventionKind::OffTopic,
            text: String::new(),
            principle: None,
            item_ids: Vec::new(),
        };
        state.apply(&Record::Intervened { at: 1_000, intervention });
        assert!(!state.may_intervene(InterventionKind::OffTopic, 60_999));
        assert!(state.may_intervene(InterventionKind::Dominance, 1_001));
        assert!(state.may_intervene(InterventionKind::OffTopic, 61_000));
    }

    #[test]
    fn a_voice_without_a_name_is_shown_in_the_language_of_the_meeting() {
        let mut state = MeetingState::default();
        state.setup.participants = vec![Participant { id: "speaker-7".into(), name: "Ann".into() }];
        for (language, first) in [("ko", "화자 1"), ("en", "Speaker 1")] {
            state.setup.language = language.into();
            assert_eq!(state.name(Some("speaker-1")), first);
            assert_eq!(state.name(Some("speaker-7")), "Ann");
            assert_eq!(state.name(Some("speaker-x")), "speaker-x");
            assert_eq!(state.name(None), "?");
        }
    }
}
