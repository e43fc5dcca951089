//! Facts of a meeting, as they are stored: one JSON object a line.

use serde::{Deserialize, Serialize};

use crate::speaker::voice::VoicePrint;

/// A person at the meeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Id, chosen by the client.
    pub id: String,
    /// Name to show.
    pub name: String,
}

/// What the client says at the start of a meeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// Title, which is also the agenda for the moderator.
    pub title: String,
    /// Participants.
    pub participants: Vec<Participant>,
    /// Language of the meeting, as in ISO 639-1.
    pub language: String,
    /// Names of the principles that apply.
    pub principles: Vec<String>,
    /// Planned duration.
    pub planned_minutes: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            title: String::new(),
            participants: Vec::new(),
            language: "ko".to_owned(),
            principles: Vec::new(),
            planned_minutes: None,
        }
    }
}

/// How the speaker of a turn is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeakerSource {
    /// Not known.
    #[default]
    Unknown,
    /// The client said who speaks.
    Declared,
    /// By the voice.
    Voice,
    /// Corrected by hand.
    Corrected,
}

/// One utterance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Id of the utterance.
    pub item_id: String,
    /// Id of a participant, or `speaker-N` for a voice that has no name yet.
    pub speaker: Option<String>,
    /// How certain the speaker is, from 0 to 1.
    pub confidence: f32,
    /// What was said.
    pub text: String,
    /// Begin, from the start of the meeting.
    pub start_ms: u64,
    /// End.
    pub end_ms: u64,
    /// How the speaker is known.
    #[serde(default)]
    pub source: SpeakerSource,
    /// Number of the voice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<usize>,
    /// Features of the voice, by which it is recognized after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<VoicePrint>,
}

impl Turn {
    /// Returns the turn as agents get it, without the features of the voice.
    #[must_use]
    pub fn without_print(self) -> Self {
        Self { print: None, ..self }
    }
}

/// A decision of the meeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided.
    pub text: String,
    /// Id of the participant who is responsible.
    pub owner: Option<String>,
    /// The turns in which it was said.
    pub item_ids: Vec<String>,
}

/// Something that a person has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionItem {
    /// What is to be done.
    pub text: String,
    /// Id of the participant who does it.
    pub owner: Option<String>,
    /// Due date in the words of the meeting.
    pub due: Option<String>,
    /// The turns in which it was said.
    pub item_ids: Vec<String>,
}

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenQuestion {
    /// The question.
    pub text: String,
    /// Who asked.
    pub speaker: Option<String>,
    /// The turn in which it was asked.
    pub item_ids: Vec<String>,
}

/// Reason of an intervention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterventionKind {
    /// The talk left the subject.
    OffTopic,
    /// One person speaks most of the time.
    Dominance,
    /// The planned time is over.
    TimeOver,
    /// A decision has no person who is responsible.
    DecisionWithoutOwner,
    /// A principle of the meeting was not followed.
    Principle,
}

/// A remark of the moderator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// Reason.
    pub kind: InterventionKind,
    /// The remark, in the language of the meeting.
    pub text: String,
    /// Name of the principle that was not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principle: Option<String>,
    /// The turns that caused it.
    pub item_ids: Vec<String>,
}

/// One fact of a meeting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The meeting began.
    Started {
        /// Time, in milliseconds since 1970.
        at: i64,
        /// Its setup.
        setup: Setup,
    },
    /// The setup changed.
    Changed {
        /// The new setup.
        setup: Setup,
    },
    /// An utterance was transcribed.
    Said(Turn),
    /// A turn was corrected, by hand or because its voice got a name.
    Corrected {
        /// The turn.
        item_id: String,
        /// The new speaker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        speaker: Option<String>,
        /// The new text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// How the speaker is known.
        source: SpeakerSource,
    },
    /// Decisions, action items and questions were found in turns.
    Analysed {
        /// Number of turns that were analysed since the start.
        turns: usize,
        /// Decisions.
        decisions: Vec<Decision>,
        /// Action items.
        action_items: Vec<ActionItem>,
        /// Questions.
        questions: Vec<OpenQuestion>,
        /// Turns that were analysed again, because their text was corrected.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        again: Vec<String>,
    },
    /// The moderator intervened.
    Intervened {
        /// Time, in milliseconds since 1970.
        at: i64,
        /// The remark.
        intervention: Intervention,
    },
    /// A client ended the meeting: the last transcripts and the minutes are due.
    Ending {
        /// Time, in milliseconds since 1970.
        at: i64,
    },
    /// The meeting ended.
    Ended {
        /// Time, in milliseconds since 1970.
        at: i64,
    },
    /// The minutes were written.
    Minuted {
        /// The summary.
        summary: String,
        /// The minutes as Markdown.
        markdown: String,
    },
}
