//! Live transcription over OpenAI's Realtime protocol: audio in, partial and final transcripts out.
//!
//! [`RealtimeOptions`] are the settings, [`RealtimeSession`] is the service, [`AudioInput`] the handle that takes audio, and
//! [`RealtimeEvent`] what the session reports. `protocol` has the messages, `buffer` the audio that waits, `connection` the
//! WebSocket, `driver` the loop that reconnects.
//!
//! A session survives its connections. When the endpoint disconnects, the session reconnects with backoff and keeps the
//! latest [`buffer`](RealtimeOptions::buffer) of audio; older audio is dropped and counted in [`Backlog::dropped`]. Audio
//! that was sent and not yet transcribed is sent again, up to [`resend`](RealtimeOptions::resend). Times in events count from
//! the first sample of the session, whatever was dropped and however many connections there were.
//!
//! # Examples
//!
//! ```no_run
//! use agent_core::model::realtime::{RealtimeEvent, RealtimeOptions, RealtimeSession};
//!
//! # async fn of(pcm: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
//! let options = RealtimeOptions::new("wss://api.openai.com/v1/realtime?intent=transcription")
//!     .key("sk-…")
//!     .language("ko");
//! let mut session = RealtimeSession::open(options)?;
//! let input = session.input();
//! input.push(pcm); // 16-bit mono at 24 kHz; never waits
//! input.finish();
//! while let Some(event) = session.next().await {
//!     match event {
//!         RealtimeEvent::Delta { text, .. } => println!(".. {text}"),
//!         RealtimeEvent::Completed { text, span, .. } => println!("{:?}: {text}", span.start),
//!         RealtimeEvent::Connection { state, backlog } => println!("{state:?}, waiting: {:?}", backlog.buffered),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```

mod buffer;
mod connection;
mod driver;
mod event;
mod options;
mod protocol;
mod timeline;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use self::buffer::AudioBuffer;
pub use self::{
    event::{Backlog, ConnectionState, RealtimeEvent, RefusedReason, Span},
    options::{RealtimeError, RealtimeOptions, RealtimeShape},
};

/// Events that wait for the caller of [`RealtimeSession::next`]. When they are this many, the session stops reading.
const EVENTS: usize = 256;

/// A transcription session with an endpoint, over as many connections as it needs. Implements [`Stream`] of its events.
///
/// Dropping it closes the connection and discards audio that waits.
///
/// # Examples
///
/// ```
/// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime"))?;
/// drop(session); // closes the connection
/// # Ok(()) }
/// ```
pub struct RealtimeSession {
    shared: Arc<Shared>,
    events: mpsc::Receiver<RealtimeEvent>,
    /// Owns the driver: it is aborted when the session is dropped.
    driver: JoinSet<()>,
}

impl RealtimeSession {
    /// Opens a session. Connects in the background; [`next`](Self::next) reports the connection.
    ///
    /// # Errors
    ///
    /// [`RealtimeError`] if the options are invalid. An endpoint that cannot be reached is not an error but an event.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// assert!(RealtimeSession::open(RealtimeOptions::new("https://api.openai.com")).is_err());
    /// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime"))?;
    /// assert_eq!(session.input().backlog().dropped.as_millis(), 0);
    /// # Ok(()) }
    /// ```
    pub fn open(options: RealtimeOptions) -> Result<Self, RealtimeError> {
        let endpoint = connection::Endpoint::new(&options)?;
        let shared = Arc::new(Shared {
            buffer: Mutex::new(AudioBuffer::new(options.buffer, options.resend)),
            changed: Notify::new(),
            language: Mutex::new(options.language.clone()),
        });
        let (sender, events) = mpsc::channel(EVENTS);
        let mut driver = JoinSet::new();
        driver.spawn(driver::run(endpoint, options, Arc::clone(&shared), sender));
        Ok(Self { shared, events, driver })
    }

    /// Returns the handle that takes audio.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime"))?;
    /// let input = session.input();
    /// std::thread::spawn(move || input.push(vec![0; 4_800]));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn input(&self) -> AudioInput {
        AudioInput(Arc::clone(&self.shared))
    }

    /// Returns the next event. `None` after [`AudioInput::finish`], when all transcripts arrived or the timeout for them
    /// elapsed, and after [`ConnectionState::Lost`].
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<RealtimeEvent> {
        self.events.recv().await
    }
}

impl Stream for RealtimeSession {
    type Item = RealtimeEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RealtimeEvent>> {
        self.events.poll_recv(cx)
    }
}

impl fmt::Debug for RealtimeSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealtimeSession").field("running", &!self.driver.is_empty()).finish_non_exhaustive()
    }
}

/// Handle that takes audio for a [`RealtimeSession`]. Cheap to clone.
///
/// # Examples
///
/// ```
/// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime"))?;
/// let microphone = session.input();
/// microphone.push(vec![0; 4_800]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AudioInput(Arc<Shared>);

impl AudioInput {
    /// Adds audio: 16-bit little-endian samples, mono, 24 kHz. Never waits: if the endpoint does not take audio, the oldest
    /// is dropped and counted. An incomplete sample at the end is ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime"))?;
    /// let input = session.input();
    /// input.push(vec![0; 48_000]);
    /// assert_eq!(input.backlog().buffered.as_millis(), 1_000);
    /// # Ok(()) }
    /// ```
    pub fn push(&self, pcm: impl Into<Bytes>) {
        self.0.buffer.lock().push(pcm.into());
        self.0.changed.notify_one();
    }

    /// Ends the utterance at this point, instead of waiting for the silence after it: the endpoint transcribes what it has.
    /// Without audio since the last utterance it does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime"))?;
    /// let input = session.input();
    /// input.push(vec![0; 4_800]);
    /// input.commit(); // the speaker released the button
    /// # Ok(()) }
    /// ```
    pub fn commit(&self) {
        self.0.buffer.lock().commit();
        self.0.changed.notify_one();
    }

    /// Sets the language of the audio from here on, as in ISO 639-1. The present utterance ends at this point.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime").language("ko"))?;
    /// session.input().set_language("en");
    /// # Ok(()) }
    /// ```
    pub fn set_language(&self, language: impl Into<String>) {
        let language = Some(language.into());
        let mut present = self.0.language.lock();
        if *present != language {
            *present = language;
            drop(present);
            self.0.buffer.lock().configure();
            self.0.changed.notify_one();
        }
    }

    /// Ends the session: commits, waits for the transcripts that are due, and disconnects. Later audio is ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime"))?;
    /// session.input().finish();
    /// # Ok(()) }
    /// ```
    pub fn finish(&self) {
        self.0.buffer.lock().finish();
        self.0.changed.notify_one();
    }

    /// Returns how much audio waits and how much was dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::realtime::{RealtimeOptions, RealtimeSession};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = RealtimeSession::open(RealtimeOptions::new("ws://127.0.0.1:9/v1/realtime"))?;
    /// let input = session.input();
    /// input.push(vec![0; 48_000]);
    /// assert_eq!(input.backlog().buffered.as_secs(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.0.buffer.lock().backlog()
    }
}

impl fmt::Debug for AudioInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AudioInput").field("backlog", &self.backlog()).finish()
    }
}

/// State shared by the handles and the driver.
struct Shared {
    buffer: Mutex<AudioBuffer>,
    changed: Notify,
    /// Language of the audio.
    language: Mutex<Option<String>>,
}

// A session moves between tasks; its handle is used from several.
const _: () = {
    const fn send<T: Send + 'static>() {}
    const fn send_sync<T: Send + Sync + 'static>() {}
    send::<RealtimeSession>();
    send_sync::<AudioInput>();
    send_sync::<RealtimeEvent>();
};
