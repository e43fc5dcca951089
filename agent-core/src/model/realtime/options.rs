//! Settings of a transcription session, and the error of invalid ones.

use std::time::Duration;

use crate::{retry::RetryPolicy, secret::Secret};

/// Shape of the messages to the endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RealtimeShape {
    /// The current interface: a session of the type `transcription`.
    #[default]
    Current,
    /// The beta interface, which some compatible servers still have: a conversation session without responses.
    Beta,
}

/// Error of invalid options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RealtimeError {
    /// The URL is malformed.
    #[error("the URL of the transcription endpoint must begin with `ws://` or `wss://` and have a host")]
    Url,
    /// The key contains characters that a header cannot have.
    #[error("the API key contains characters that a header cannot have")]
    Key,
    /// TLS cannot be set up on this machine.
    #[error("TLS cannot be set up")]
    Tls,
}

/// Settings of a [`RealtimeSession`](super::RealtimeSession).
///
/// # Examples
///
/// ```
/// use agent_core::model::realtime::{RealtimeOptions, RealtimeShape};
/// use std::time::Duration;
///
/// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime?intent=transcription")
///     .key("sk-…")
///     .transcription_model("gpt-4o-transcribe")
///     .language("ko")
///     .shape(RealtimeShape::Current)
///     .buffer(Duration::from_secs(30));
/// ```
#[derive(Debug, Clone)]
#[must_use = "pass them to `RealtimeSession::open`"]
pub struct RealtimeOptions {
    pub(super) url: String,
    pub(super) key: Option<Secret>,
    pub(super) shape: RealtimeShape,
    pub(super) model: String,
    pub(super) language: Option<String>,
    pub(super) threshold: f32,
    pub(super) silence: Duration,
    pub(super) ping: Duration,
    pub(super) timeout: Duration,
    pub(super) buffer: Duration,
    pub(super) resend: Duration,
    pub(super) backoff: RetryPolicy,
    pub(super) give_up_after: Duration,
}

impl RealtimeOptions {
    /// Creates options for an endpoint, for example `wss://api.openai.com/v1/realtime?intent=transcription`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    ///
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime?intent=transcription");
    /// ```
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            key: None,
            shape: RealtimeShape::Current,
            model: "whisper-1".to_owned(),
            language: None,
            threshold: 0.5,
            silence: Duration::from_millis(1_500),
            ping: Duration::from_secs(20),
            timeout: Duration::from_secs(10),
            buffer: Duration::from_secs(60),
            resend: Duration::from_secs(15),
            backoff: RetryPolicy::default().longest_wait(Duration::from_secs(10)),
            give_up_after: Duration::from_secs(300),
        }
    }

    /// Sets the API key, sent as a bearer token. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{model::realtime::RealtimeOptions, secret::Secret};
    ///
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").key(Secret::new("sk-…"));
    /// ```
    pub fn key(mut self, key: impl Into<Secret>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the shape of the messages. Default: [`RealtimeShape::Current`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::{RealtimeOptions, RealtimeShape};
    ///
    /// let options = RealtimeOptions::new("ws://localhost:8000/v1/realtime").shape(RealtimeShape::Beta);
    /// ```
    pub fn shape(mut self, shape: RealtimeShape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets the transcription model. Default: `whisper-1`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    ///
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").transcription_model("gpt-4o-transcribe");
    /// ```
    pub fn transcription_model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Sets the language of the audio, as in ISO 639-1. Default: recognized by the model.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    ///
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").language("ko");
    /// ```
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// Sets how the endpoint recognizes the end of an utterance: the threshold of its voice-activity detection, from 0 to
    /// 1, and the silence after speech. Default: 0.5 and 1.5 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    /// use std::time::Duration;
    ///
    /// // Utterances end sooner than by default.
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").voice_activity(0.6, Duration::from_millis(700));
    /// ```
    pub fn voice_activity(mut self, threshold: f32, silence: Duration) -> Self {
        (self.threshold, self.silence) = (threshold, silence);
        self
    }

    /// Sets the interval of pings. Default: 20 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    /// use std::time::Duration;
    ///
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").ping(Duration::from_secs(5));
    /// ```
    pub fn ping(mut self, interval: Duration) -> Self {
        self.ping = interval;
        self
    }

    /// Sets the timeout for connecting, for the answer to a ping, for a write, and for the last transcripts after
    /// [`finish`](super::AudioInput::finish). Default: 10 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    /// use std::time::Duration;
    ///
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").timeout(Duration::from_secs(5));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how much audio waits for the endpoint at most. Default: 60 s, which are 2.9 MB.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    /// use std::time::Duration;
    ///
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").buffer(Duration::from_secs(120));
    /// ```
    pub fn buffer(mut self, buffer: Duration) -> Self {
        self.buffer = buffer;
        self
    }

    /// Sets how much audio that was sent and not yet transcribed is kept for another connection. Default: 15 s, which are
    /// 0.7 MB.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    /// use std::time::Duration;
    ///
    /// // Audio that was sent is not sent again after a reconnect.
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").resend(Duration::ZERO);
    /// ```
    pub fn resend(mut self, resend: Duration) -> Self {
        self.resend = resend;
        self
    }

    /// Sets the waits before the session connects again; the number of attempts does not count. Default: 0.5 s, doubled up
    /// to 10 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{model::realtime::RealtimeOptions, retry::RetryPolicy};
    /// use std::time::Duration;
    ///
    /// let backoff = RetryPolicy::default().longest_wait(Duration::from_secs(2));
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").backoff(backoff);
    /// ```
    pub fn backoff(mut self, backoff: RetryPolicy) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets after which time without a connection the session ends. Default: 5 minutes.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::RealtimeOptions;
    /// use std::time::Duration;
    ///
    /// let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime").give_up_after(Duration::from_secs(30));
    /// ```
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }
}
