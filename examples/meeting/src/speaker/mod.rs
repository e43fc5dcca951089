//! Speakers: who said an utterance.
//!
//! [`IdentifySpeaker`] is the contract; [`Declared`] knows it from the client (push to talk), [`Voices`] from the sound, and
//! [`Speakers`] asks one after the other.

pub mod declared;
pub mod voice;

use std::fmt;

pub use self::{
    declared::Declared,
    voice::{VoicePrint, Voices},
};
use crate::record::{SpeakerSource, Turn};

/// An utterance without a known speaker.
#[derive(Debug, Clone, Copy)]
pub struct Utterance<'a> {
    /// Begin in the audio of the meeting, in samples at 24 kHz.
    pub start: u64,
    /// End.
    pub end: u64,
    /// Its audio at 16 kHz, or its end if it is long; empty if it is not known any more.
    pub audio: &'a [i16],
}

/// Who said an utterance.
#[derive(Debug, Clone, PartialEq)]
pub struct Identified {
    /// Id of a participant, or `speaker-N`.
    pub speaker: String,
    /// How certain it is, from 0 to 1.
    pub confidence: f32,
    /// How it is known.
    pub source: SpeakerSource,
    /// Number of the voice.
    pub voice: Option<usize>,
    /// Features of the voice.
    pub print: Option<VoicePrint>,
}

/// Identifies speakers.
pub trait IdentifySpeaker: fmt::Debug + Send {
    /// Returns who said an utterance; `None` if this way of identification does not know.
    fn identify(&mut self, utterance: Utterance<'_>) -> Option<Identified>;

    /// Learns who a voice belongs to. Returns whether the voice had no name before.
    fn name(&mut self, voice: usize, participant: &str) -> bool {
        let _ = (voice, participant);
        false
    }
}

/// What the client declares, and otherwise the voice.
#[derive(Debug, Default)]
pub struct Speakers {
    /// Push to talk.
    pub declared: Declared,
    /// Voices.
    pub voices: Voices,
}

impl Speakers {
    /// Returns speakers who know the voices of earlier turns.
    #[must_use]
    pub fn of(turns: &[Turn]) -> Self {
        Self { declared: Declared::default(), voices: Voices::of(turns) }
    }
}

impl IdentifySpeaker for Speakers {
    fn identify(&mut self, utterance: Utterance<'_>) -> Option<Identified> {
        match self.declared.identify(utterance) {
            Some(mut declared) => {
                // The voice learns who it belongs to.
                if let Some(heard) = self.voices.identify(utterance)
                    && let Some(voice) = heard.voice
                {
                    self.voices.name(voice, &declared.speaker);
                    (declared.voice, declared.print) = (Some(voice), heard.print);
                }
                Some(declared)
            }
            None => self.voices.identify(utterance),
        }
    }

    fn name(&mut self, voice: usize, participant: &str) -> bool {
        self.voices.name(voice, participant)
    }
}
