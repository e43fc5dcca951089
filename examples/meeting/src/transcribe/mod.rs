//! Transcription: a live endpoint, a recogniser for whole utterances, or a recorded demonstration.
//!
//! All of them take audio without waiting and report [`RealtimeEvent`]s.

pub mod audio;
pub mod offline;
pub mod recognizer;
pub mod segment;

use std::sync::Arc;

use agent_core::model::realtime::{
    AudioInput, Backlog, RealtimeError, RealtimeEvent, RealtimeOptions, RealtimeSession,
};
use bytes::Bytes;

pub use self::{
    offline::{OfflineInput, OfflineSession},
    recognizer::{HttpRecognizer, Recognize, RecognizeError, Recorded, Recording},
};

/// Where transcripts come from.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// A live endpoint with OpenAI's Realtime protocol. The language is set for each meeting.
    Realtime(Box<RealtimeOptions>),
    /// A recogniser of whole utterances; their ends are found here.
    Offline(Arc<dyn Recognize>),
    /// Nothing is configured.
    None,
}

/// A transcription of one meeting.
#[derive(Debug)]
pub enum Transcriber {
    /// A live endpoint.
    Realtime(RealtimeSession),
    /// A recogniser.
    Offline(OfflineSession),
}

/// Handle that takes audio.
#[derive(Debug, Clone)]
pub enum Input {
    /// A live endpoint.
    Realtime(AudioInput),
    /// A recogniser.
    Offline(OfflineInput),
}

/// No transcription is possible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Neither a key nor an endpoint is configured.
    #[error("no transcription is configured; set OPENAI_API_KEY, REALTIME_API_URL or TRANSCRIPTION_URL")]
    NotConfigured,
    /// The settings are invalid.
    #[error("the transcription endpoint cannot be used")]
    Realtime(#[from] RealtimeError),
}

impl Upstream {
    /// Opens a transcription in a language.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(&self, language: &str) -> Result<(Transcriber, Input), OpenError> {
        match self {
            Self::Realtime(options) => {
                let options = options.as_ref().clone().language(language);
                let session = RealtimeSession::open(options)?;
                let input = Input::Realtime(session.input());
                Ok((Transcriber::Realtime(session), input))
            }
            Self::Offline(recognizer) => {
                let session = OfflineSession::open(Arc::clone(recognizer), language);
                let input = Input::Offline(session.input());
                Ok((Transcriber::Offline(session), input))
            }
            Self::None => Err(OpenError::NotConfigured),
        }
    }
}

impl Transcriber {
    /// Returns the next event; `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<RealtimeEvent> {
        match self {
            Self::Realtime(session) => session.next().await,
            Self::Offline(session) => session.next().await,
        }
    }
}

impl Input {
    /// Adds audio: 16-bit little-endian samples, mono, 24 kHz.
    pub fn push(&self, pcm: Bytes) {
        match self {
            Self::Realtime(input) => input.push(pcm),
            Self::Offline(input) => input.push(&pcm),
        }
    }

    /// Ends the utterance at this point.
    pub fn commit(&self) {
        match self {
            Self::Realtime(input) => input.commit(),
            Self::Offline(input) => input.commit(),
        }
    }

    /// Sets the language of what is said from now on.
    pub fn set_language(&self, language: &str) {
        match self {
            Self::Realtime(input) => input.set_language(language),
            Self::Offline(input) => input.set_language(language),
        }
    }

    /// Ends the transcription, after the transcripts that are due.
    pub fn finish(&self) {
        match self {
            Self::Realtime(input) => input.finish(),
            Self::Offline(input) => input.finish(),
        }
    }

    /// Returns how much audio waits and how much was dropped.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        match self {
            Self::Realtime(input) => input.backlog(),
            Self::Offline(input) => input.backlog(),
        }
    }
}
