//! Messages of the WebSocket: `{type, data}` in both directions.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    limits::{self, cut},
    record::{ActionItem, Decision, Intervention, Participant, Setup, Turn},
};

/// Why a message is refused. Its code is in `details.code`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientFault {
    /// Not `{type, data}`.
    #[error("the message is not a JSON object with a `type`")]
    NotJson,
    /// The type is unknown.
    #[error("unknown message type; known are start, audio, speaker, correct, end, ping")]
    UnknownType,
    /// `data` is wrong.
    #[error("invalid data: {0}")]
    Invalid(String),
    /// The audio is not base64 of 16-bit samples, or empty.
    #[error("the audio must be base64 of PCM16 samples: {0}")]
    Audio(&'static str),
    /// Another client sends audio.
    #[error("another client sends audio; to speak from here, choose a speaker")]
    AudioBusy,
    /// The audio message is too large.
    #[error("an audio message has at most {} bytes of audio", limits::AUDIO_BYTES)]
    AudioTooLarge,
    /// The meeting has ended.
    #[error("the meeting has ended")]
    Ended,
    /// There is no such participant.
    #[error("there is no participant with this id")]
    UnknownParticipant,
    /// There is no such turn.
    #[error("there is no turn with this item_id")]
    UnknownItem,
    /// There is no such principle.
    #[error("there is no principle with this name: {0}")]
    UnknownPrinciple(String),
    /// A limit of the meeting is reached.
    #[error("the meeting is too large: {0}")]
    TooLarge(&'static str),
    /// The audio cannot be transcribed.
    #[error("{0}")]
    Transcription(String),
    /// The meeting cannot be stored; nothing was sent that is not stored.
    #[error("the meeting cannot be stored")]
    Storage,
    /// The server cannot take more.
    #[error("the server is busy; try again")]
    Busy,
}

impl ClientFault {
    /// Returns the stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::UnknownType => "unknown_type",
            Self::Invalid(_) => "invalid_data",
            Self::Audio(_) => "invalid_audio",
            Self::AudioBusy => "audio_busy",
            Self::AudioTooLarge => "audio_too_large",
            Self::Ended => "meeting_ended",
            Self::UnknownParticipant => "unknown_participant",
            Self::UnknownItem => "unknown_item",
            Self::UnknownPrinciple(_) => "unknown_principle",
            Self::TooLarge(_) => "meeting_too_large",
            Self::Transcription(_) => "transcription",
            Self::Storage => "storage",
            Self::Busy => "busy",
        }
    }
}

/// Message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// Start, or change of the setup.
    Start(SetupChange),
    /// Audio.
    Audio(Bytes),
    /// Who speaks from now on.
    Speaker(String),
    /// Correction of a turn.
    Correct {
        /// The turn.
        item_id: String,
        /// Its speaker.
        speaker: Option<String>,
        /// Its text.
        text: Option<String>,
    },
    /// End of the meeting.
    End,
    /// Ping.
    Ping,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AudioData<'a> {
    #[serde(borrow)]
    audio: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct SpeakerData {
    speaker: String,
}

#[derive(Deserialize)]
struct CorrectData {
    item_id: String,
    #[serde(default)]
    speaker: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

/// Setup as clients send it. `null` counts as missing.
#[derive(Debug, Deserialize)]
pub struct SetupData {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    participants: Option<Vec<Participant>>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    principles: Option<Vec<String>>,
    #[serde(default)]
    planned_minutes: Option<f64>,
}

impl SetupData {
    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// [`ClientFault::Invalid`] names the field.
    pub fn check(self) -> Result<SetupChange, ClientFault> {
        let invalid = |text: String| Err(ClientFault::Invalid(text));
        let title = self.title.map(|title| one_line(&title));
        if title.as_ref().is_some_and(|title| title.chars().count() > limits::TITLE_CHARS) {
            return invalid(format!("title has more than {} characters", limits::TITLE_CHARS));
        }
        let named = self.participants.is_some();
        let mut participants = self.participants.unwrap_or_default();
        if participants.len() > limits::PARTICIPANTS {
            return invalid(format!("there are more than {} participants", limits::PARTICIPANTS));
        }
        for at in 0..participants.len() {
            let (before, rest) = participants.split_at_mut(at);
            let person = &mut rest[0];
            check_speaker(&person.id)?;
            person.name = one_line(&person.name);
            if person.name.is_empty() {
                person.name.clone_from(&person.id);
            }
            if person.name.chars().count() > limits::NAME_CHARS {
                return invalid(format!("a name has more than {} characters", limits::NAME_CHARS));
            }
            if before.iter().any(|other| other.id == person.id) {
                return invalid("two participants have the same id".to_owned());
            }
        }
        let language = self.language.map(|language| language.trim().to_lowercase());
        let language = language.filter(|language| !language.is_empty());
        let is_code = |language: &String| {
            language.len() <= 8 && language.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !language.as_ref().is_none_or(is_code) {
            return invalid("language must be a code such as `ko` or `en`".to_owned());
        }
        let principles = self.principles.map(|mut principles| {
            principles.sort();
            principles.dedup();
            principles
        });
        if principles.as_ref().is_some_and(|principles| principles.len() > limits::PRINCIPLES) {
            return invalid(format!("there are more than {} principles", limits::PRINCIPLES));
        }
        let planned_minutes = match self.planned_minutes {
            None => None,
            Some(minutes) if minutes >= 1.0 && minutes <= f64::from(limits::PLANNED_MINUTES) => {
                Some(minutes.round() as u32)
            }
            Some(_) => {
                return invalid(format!("planned_minutes must be from 1 to {}", limits::PLANNED_MINUTES));
            }
        };
        let participants = named.then_some(participants);
        Ok(SetupChange { title, participants, language, principles, planned_minutes })
    }
}

/// A change of the setup. What is `None` stays as it is: each client of a meeting may send `start`, with what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetupChange {
    title: Option<String>,
    participants: Option<Vec<Participant>>,
    language: Option<String>,
    principles: Option<Vec<String>>,
    planned_minutes: Option<u32>,
}

impl SetupChange {
    /// Returns the names of the principles, if they change.
    #[must_use]
    pub fn principles(&self) -> &[String] {
        self.principles.as_deref().unwrap_or_default()
    }

    /// Returns `setup` with the change.
    #[must_use]
    pub fn apply_to(self, setup: &Setup) -> Setup {
        Setup {
            title: self.title.unwrap_or_else(|| setup.title.clone()),
            participants: self.participants.unwrap_or_else(|| setup.participants.clone()),
            language: self.language.unwrap_or_else(|| setup.language.clone()),
            principles: self.principles.unwrap_or_else(|| setup.principles.clone()),
            planned_minutes: self.planned_minutes.or(setup.planned_minutes),
        }
    }
}

impl From<Setup> for SetupChange {
    fn from(setup: Setup) -> Self {
        let Setup { title, participants, language, principles, planned_minutes } = setup;
        Self {
            title: Some(title),
            participants: Some(participants),
            language: Some(language),
            principles: Some(principles),
            planned_minutes,
        }
    }
}

/// Checks the id of a participant.
fn check_speaker(id: &str) -> Result<(), ClientFault> {
    let legal = !id.trim().is_empty()
        && id.len() <= limits::PARTICIPANT_ID_BYTES
        && !id.chars().any(char::is_control);
    if legal {
        return Ok(());
    }
    Err(ClientFault::Invalid(format!(
        "the id of a participant has 1 to {} bytes without control characters",
        limits::PARTICIPANT_ID_BYTES
    )))
}

/// Returns a text without line breaks and other control characters.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().to_owned()
}

/// Checks raw audio.
///
/// # Errors
///
/// It is empty, has half a sample, or is too large.
pub fn check_audio(pcm: &[u8]) -> Result<(), ClientFault> {
    match pcm.len() {
        0 => Err(ClientFault::Audio("it is empty")),
        length if length > limits::AUDIO_BYTES => Err(ClientFault::AudioTooLarge),
        length if length % 2 != 0 => Err(ClientFault::Audio("it ends in the middle of a sample")),
        _ => Ok(()),
    }
}

impl ClientMessage {
    /// Parses a text message.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub fn parse(text: &str) -> Result<Self, ClientFault> {
        // serde reads a struct from an array too.
        if !text.trim_start().starts_with('{') {
            return Err(ClientFault::NotJson);
        }
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| ClientFault::NotJson)?;
        let data = envelope.data.map_or("{}", RawValue::get);
        let data = if data == "null" { "{}" } else { data };
        Ok(match &*envelope.kind {
            "audio" => {
                let audio: AudioData<'_> = parse(data)?;
                if audio.audio.len() > limits::AUDIO_BYTES.div_ceil(3) * 4 {
                    return Err(ClientFault::AudioTooLarge);
                }
                let pcm = STANDARD.decode(audio.audio.as_bytes());
                let pcm = pcm.map_err(|_| ClientFault::Audio("it is not base64"))?;
                check_audio(&pcm)?;
                Self::Audio(pcm.into())
            }
            "start" => Self::Start(parse::<SetupData>(data)?.check()?),
            "speaker" => {
                let speaker = parse::<SpeakerData>(data)?.speaker;
                check_speaker(&speaker)?;
                Self::Speaker(speaker)
            }
            "correct" => {
                let CorrectData { item_id, speaker, text } = parse(data)?;
                if let Some(speaker) = &speaker {
                    check_speaker(speaker)?;
                }
                if text.as_ref().is_some_and(|text| text.chars().count() > limits::TEXT_CHARS) {
                    return Err(ClientFault::Invalid(format!(
                        "text has more than {} characters",
                        limits::TEXT_CHARS
                    )));
                }
                if speaker.is_none() && text.is_none() {
                    return Err(ClientFault::Invalid("either speaker or text is needed".to_owned()));
                }
                if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                    return Err(ClientFault::Invalid("text is empty".to_owned()));
                }
                Self::Correct { item_id, speaker, text }
            }
            "end" => Self::End,
            "ping" => Self::Ping,
            _ => return Err(ClientFault::UnknownType),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, ClientFault> {
    if !data.starts_with('{') {
        return Err(ClientFault::Invalid("data is not an object".to_owned()));
    }
    serde_json::from_str(data).map_err(|error| {
        // The text of serde names the field and the expected type; the values it may quote are cut.
        ClientFault::Invalid(cut(&error.to_string(), 200).to_owned())
    })
}

/// State of the upstream, in `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamState {
    /// It takes audio.
    Connected,
    /// It is being connected again.
    Reconnecting,
    /// It is not available.
    Lost,
}

/// Message to a client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The meeting is ready.
    Ready {
        /// The meeting.
        meeting_id: String,
        /// Its participants.
        participants: Vec<Participant>,
        /// Its principles.
        principles: Vec<String>,
        /// Its title.
        title: String,
        /// Its language.
        language: String,
        /// Its phase: `new`, `running` or `ended`.
        status: &'static str,
        /// Its planned duration.
        planned_minutes: Option<u32>,
    },
    /// The transcript of an utterance as far as it is known.
    TranscriptPartial {
        /// The utterance.
        item_id: String,
        /// The text so far.
        text: String,
    },
    /// The final transcript of an utterance, or its correction.
    Transcript {
        /// The utterance.
        item_id: String,
        /// Who said it.
        speaker: Option<String>,
        /// How certain the speaker is.
        confidence: f32,
        /// The text.
        text: String,
        /// Begin.
        start_ms: u64,
        /// End.
        end_ms: u64,
    },
    /// A remark of the moderator.
    Intervention(Intervention),
    /// State of the transcription.
    Status {
        /// The upstream.
        upstream: UpstreamState,
        /// Audio that waits.
        buffered_ms: u64,
        /// Audio that was dropped.
        dropped_ms: u64,
    },
    /// A todo of the meeting changed.
    TodoUpdate {
        /// The todo.
        todo_id: String,
        /// `pending`, `in_progress`, `completed`, `failed` or `cancelled`.
        status: String,
        /// From 0 to 100.
        progress: u8,
        /// Its title, and what is known of it.
        message: String,
    },
    /// The minutes.
    Minutes {
        /// As Markdown.
        markdown: String,
        /// Decisions.
        decisions: Vec<Decision>,
        /// Action items.
        action_items: Vec<ActionItem>,
    },
    /// A message of the client was refused, or something failed.
    Error {
        /// Why.
        error: String,
        /// The stable code.
        details: ErrorDetails,
    },
    /// Answer to a ping.
    Pong {},
}

/// Code of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorDetails {
    /// The code.
    pub code: &'static str,
}

impl ServerMessage {
    /// Returns the JSON. U+2028 and U+2029 are escaped, for clients that paste it into a script.
    #[must_use]
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        if text.contains(['\u{2028}', '\u{2029}']) {
            return text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        }
        text
    }
}

impl From<&ClientFault> for ServerMessage {
    fn from(fault: &ClientFault) -> Self {
        Self::Error { error: fault.to_string(), details: ErrorDetails { code: fault.code() } }
    }
}

impl From<&Turn> for ServerMessage {
    fn from(turn: &Turn) -> Self {
        Self::Transcript {
            item_id: turn.item_id.clone(),
            speaker: turn.speaker.clone(),
            confidence: turn.confidence,
            text: turn.text.clone(),
            start_ms: turn.start_ms,
            end_ms: turn.end_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_names_of_the_contract() {
        let message =
            ServerMessage::Status { upstream: UpstreamState::Reconnecting, buffered_ms: 1, dropped_ms: 2 };
        assert_eq!(
            message.to_json(),
            r#"{"type":"status","data":{"upstream":"reconnecting","buffered_ms":1,"dropped_ms":2}}"#
        );
        assert_eq!(ServerMessage::Pong {}.to_json(), r#"{"type":"pong","data":{}}"#);
        let partial = ServerMessage::TranscriptPartial { item_id: "a".into(), text: "\u{2028}".into() };
        assert_eq!(
            partial.to_json(),
            r#"{"type":"transcript_partial","data":{"item_id":"a","text":"\u2028"}}"#
        );
    }

    #[test]
    fn wrong_messages_are_refused_with_a_code() {
        let long = "가".repeat(201);
        let cases = [
            ("", "not_json"),
            ("3", "not_json"),
            ("{}", "not_json"),
            (r#"{"type":1}"#, "not_json"),
            (r#"{"type":"stop"}"#, "unknown_type"),
            (r#"{"type":"audio"}"#, "invalid_data"),
            (r#"{"type":"audio","data":{"audio":"*"}}"#, "invalid_audio"),
            (r#"{"type":"audio","data":{"audio":""}}"#, "invalid_audio"),
            (r#"{"type":"audio","data":{"audio":"AA=="}}"#, "invalid_audio"),
            (r#"{"type":"speaker","data":{"speaker":""}}"#, "invalid_data"),
            (r#"{"type":"correct","data":{"item_id":"a"}}"#, "invalid_data"),
            (r#"{"type":"start","data":[]}"#, "invalid_data"),
            (r#"{"type":"start","data":{"planned_minutes":-1}}"#, "invalid_data"),
            (r#"{"type":"start","data":{"language":"../x"}}"#, "invalid_data"),
            (
                r#"{"type":"start","data":{"participants":[{"id":"a","name":"A"},{"id":"a","name":"B"}]}}"#,
                "invalid_data",
            ),
            (&format!(r#"{{"type":"start","data":{{"title":"{long}"}}}}"#), "invalid_data"),
        ];
        for (text, code) in cases {
            assert_eq!(ClientMessage::parse(text).unwrap_err().code(), code, "{text}");
        }
        assert_eq!(ClientMessage::parse(r#"{"type":"end","data":{}}"#), Ok(ClientMessage::End));
        assert_eq!(ClientMessage::parse(r#"{"type":"ping"}"#), Ok(ClientMessage::Ping));
        let audio = r#"{"type":"audio","data":{"audio":"AAD\/fw=="}}"#;
        assert_eq!(ClientMessage::parse(audio), Ok(ClientMessage::Audio(vec![0, 0, 255, 127].into())));
    }
}
