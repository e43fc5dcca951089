//! Events of a transcription session.

use std::time::Duration;

/// State of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// The endpoint takes audio.
    Connected,
    /// The connection failed; the session tries again.
    Reconnecting,
    /// The session has ended: the endpoint refused it for a reason that waiting does not change, or could not be reached
    /// for [`give_up_after`](super::RealtimeOptions::give_up_after).
    Lost(RefusedReason),
}

/// Reason for the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedReason {
    /// The key is missing, wrong or lacks permission (401, 403).
    Auth,
    /// The path does not exist, or is not a WebSocket.
    NotFound,
    /// The endpoint refused the settings of the session, for example the model or the shape of the messages.
    Settings,
    /// The endpoint could not be reached for too long.
    Unreachable,
}

impl RefusedReason {
    /// Returns a sentence for an operator.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RefusedReason;
    ///
    /// assert_eq!(RefusedReason::Auth.message(), "the transcription endpoint rejected the API key");
    /// ```
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Auth => "the transcription endpoint rejected the API key",
            Self::NotFound => "the address is not that of a transcription endpoint",
            Self::Settings => "the transcription endpoint refused the settings of the session",
            Self::Unreachable => "the transcription endpoint cannot be reached",
        }
    }
}

/// Audio that waits for the endpoint, and audio that was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Audio that was not sent yet.
    pub buffered: Duration,
    /// Audio dropped since the session began, because the endpoint did not take it in time.
    pub dropped: Duration,
}

/// Part of the audio of a session, counted from its first sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Begin.
    pub start: Duration,
    /// End.
    pub end: Duration,
}

/// Event of a transcription session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RealtimeEvent {
    /// The state of the connection changed.
    Connection {
        /// The state.
        state: ConnectionState,
        /// Audio that waits, and audio that was dropped.
        backlog: Backlog,
    },
    /// The endpoint recognized that speech began.
    SpeechStarted {
        /// Id of the utterance.
        item: String,
        /// Begin of the speech.
        at: Duration,
    },
    /// Next part of the transcript of an utterance.
    Delta {
        /// Id of the utterance.
        item: String,
        /// The part.
        text: String,
    },
    /// Final transcript of an utterance.
    Completed {
        /// Id of the utterance.
        item: String,
        /// The whole transcript.
        text: String,
        /// Time range in the audio.
        span: Span,
    },
    /// An utterance could not be transcribed.
    Failed {
        /// Id of the utterance.
        item: String,
        /// Code of the endpoint, for example `audio_unintelligible`.
        code: String,
        /// Time range in the audio.
        span: Span,
    },
    /// The endpoint reported an error that does not end the session.
    Error {
        /// Code of the endpoint; empty if it sent none.
        code: String,
    },
}
