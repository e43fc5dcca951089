//! Path of audio from clients to the transcription, past the actor: nothing in it waits.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use agent_core::model::realtime::Backlog;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{actor::Command, counts::Counts};
use crate::{
    state::{MeetingState, Phase},
    transcribe::{
        Input, Upstream,
        audio::{Downsampler, RATE, millis, samples},
    },
    wire::ClientFault,
};

/// Maximum number of declared speakers that wait to be read.
const MARKS: usize = 1_000;
/// Audio that is kept for voices, in samples at 16 kHz: 20 s with a live endpoint, and 90 s with a recogniser, which may be
/// behind.
const KEPT: usize = 20 * 16_000;
const KEPT_OFFLINE: usize = 90 * 16_000;
/// Time after its latest audio in which a client is the only one that may send.
const HELD: Duration = Duration::from_secs(1);
/// Pause before a transcription that failed is opened again.
const REOPEN: Duration = Duration::from_secs(10);

/// Takes the audio of a meeting.
#[derive(Debug)]
pub struct AudioPath {
    upstream: Upstream,
    commands: mpsc::Sender<Command>,
    counts: Arc<Counts>,
    clients: AtomicU64,
    state: Mutex<PathState>,
}

/// A client that sends audio. Dropping it lets another client send at once.
#[derive(Debug)]
pub struct AudioSource {
    path: Arc<AudioPath>,
    id: u64,
}

#[derive(Debug)]
struct PathState {
    input: Option<Input>,
    /// The input when the meeting ends, until its transcripts have arrived.
    language: String,
    /// Samples taken since the meeting is in memory.
    position: u64,
    /// Position at which the present input began.
    input_start: u64,
    /// Time of the meeting at position 0.
    offset_ms: u64,
    /// Losses of earlier inputs, and of audio that came while there was none.
    dropped: Duration,
    reopen_at: Option<Instant>,
    /// The client that sends audio, and when it last did.
    source: Option<(u64, Instant)>,
    ended: bool,
    /// The input takes no more audio, because there were no clients for a while.
    paused: bool,
    downsampler: Downsampler,
    /// Latest audio at 16 kHz, and the number of samples before it.
    kept: VecDeque<i16>,
    kept_start: u64,
    /// Declared speakers that the meeting has not read yet.
    marks: Vec<(u64, String)>,
}

impl AudioSource {
    /// Takes audio that was checked. The first audio starts the meeting.
    ///
    /// # Errors
    ///
    /// The meeting has ended, another client sends audio, or no transcription is configured.
    pub fn push(&self, pcm: Bytes) -> Result<(), ClientFault> {
        self.path.push(self.id, pcm)
    }

    /// Makes the client the one that sends audio, for `speaker`, and returns the place of the audio in samples.
    ///
    /// The speaker is noted here, in order with the audio: a transcript may arrive before the command does.
    #[must_use]
    pub fn take(&self, speaker: &str) -> u64 {
        let mut state = self.path.state.lock();
        state.source = Some((self.id, Instant::now()));
        let place = state.position;
        if state.marks.len() < MARKS {
            state.marks.push((place, speaker.to_owned()));
        }
        place
    }
}

impl Drop for AudioSource {
    fn drop(&mut self) {
        let mut state = self.path.state.lock();
        if state.source.is_some_and(|(id, _)| id == self.id) {
            state.source = None;
        }
    }
}

impl AudioPath {
    pub(super) fn new(
        upstream: Upstream,
        commands: mpsc::Sender<Command>,
        counts: Arc<Counts>,
        state: &MeetingState,
    ) -> Self {
        let path = PathState {
            input: None,
            language: state.setup.language.clone(),
            position: 0,
            input_start: 0,
            offset_ms: state.last_ms(),
            dropped: Duration::ZERO,
            reopen_at: None,
            source: None,
            paused: false,
            ended: state.phase == Phase::Ended || state.ending,
            downsampler: Downsampler::default(),
            kept: VecDeque::new(),
            kept_start: 0,
            marks: Vec::new(),
        };
        Self { upstream, commands, counts, clients: AtomicU64::new(0), state: Mutex::new(path) }
    }

    /// Returns a source of audio for a client.
    #[must_use]
    pub fn source(self: &Arc<Self>) -> AudioSource {
        AudioSource { path: Arc::clone(self), id: self.clients.fetch_add(1, Relaxed) }
    }

    fn push(&self, source: u64, pcm: Bytes) -> Result<(), ClientFault> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(ClientFault::Ended);
        }
        let now = Instant::now();
        if state.source.is_some_and(|(other, last)| other != source && now - last < HELD) {
            return Err(ClientFault::AudioBusy);
        }
        state.source = Some((source, now));
        let length = pcm.len() as u64 / 2;
        let opened = self.open(&mut state);
        state.position += length;
        Counts::add(&self.counts.audio_ms, millis(length));
        let fresh = match &state.input {
            Some(input) if !state.paused => {
                input.push(pcm.clone());
                let fresh = samples(&pcm);
                Some(state.downsampler.push(&fresh))
            }
            _ => {
                state.dropped += Duration::from_millis(millis(length));
                None
            }
        };
        if let Some(fresh) = fresh {
            state.kept.extend(fresh);
            let most = if matches!(self.upstream, Upstream::Offline(_)) { KEPT_OFFLINE } else { KEPT };
            let unused = state.kept.len().saturating_sub(most);
            state.kept.drain(..unused);
            state.kept_start += unused as u64;
        }
        opened
    }

    /// Opens a transcription if there is none.
    fn open(&self, state: &mut PathState) -> Result<(), ClientFault> {
        if state.input.is_some() || state.reopen_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        match self.upstream.open(&state.language) {
            Ok((transcriber, input)) => {
                // A full inbox is tried again with the next audio.
                if self.commands.try_send(Command::Opened { transcriber }).is_ok() {
                    (state.input, state.input_start, state.reopen_at) = (Some(input), state.position, None);
                }
                Ok(())
            }
            Err(error) => {
                state.reopen_at = Some(Instant::now() + REOPEN);
                Err(ClientFault::Transcription(error.to_string()))
            }
        }
    }

    /// Sets what is known from the setup. `elapsed_ms` is the time since the meeting began.
    pub(super) fn configure(&self, language: &str, elapsed_ms: u64) {
        let mut state = self.state.lock();
        language.clone_into(&mut state.language);
        if let Some(input) = &state.input {
            input.set_language(language);
        }
        if state.position == 0 {
            state.offset_ms = state.offset_ms.max(elapsed_ms);
        }
        state.reopen_at = None;
    }

    /// Returns the speakers that were declared since the last call, with their places.
    pub(super) fn take_marks(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.state.lock().marks)
    }

    /// Ends the present utterance.
    pub(super) fn commit(&self) {
        if let Some(input) = &self.state.lock().input {
            input.commit();
        }
    }

    /// Ends the transcription. Returns whether there is one.
    pub(super) fn finish(&self) -> bool {
        let mut state = self.state.lock();
        state.ended = true;
        match &state.input {
            Some(input) => {
                input.finish();
                true
            }
            None => false,
        }
    }

    /// Ends the transcription, after the transcripts that are due. The next audio after them opens another one.
    pub(super) fn pause(&self) {
        let mut state = self.state.lock();
        if let Some(input) = &state.input {
            input.finish();
            state.paused = true;
        }
    }

    /// The transcription is gone. Returns whether it was paused.
    pub(super) fn closed(&self) -> bool {
        let mut state = self.state.lock();
        let paused = std::mem::take(&mut state.paused);
        if let Some(input) = state.input.take() {
            let backlog = input.backlog();
            state.dropped += backlog.dropped + backlog.buffered;
            state.reopen_at = (!paused).then(|| Instant::now() + REOPEN);
        }
        paused
    }

    /// Returns how much audio waits and how much was dropped since the meeting is in memory.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let state = self.state.lock();
        let mut backlog = state.input.as_ref().map(Input::backlog).unwrap_or_default();
        backlog.dropped += state.dropped;
        backlog
    }

    /// Returns the place of a time of the present input, in samples since the meeting is in memory, and the time of the
    /// meeting in milliseconds.
    pub(super) fn place(&self, time: Duration) -> (u64, u64) {
        let state = self.state.lock();
        let sample = state.input_start + u64::try_from(time.as_micros()).unwrap_or(0) * RATE / 1_000_000;
        (sample, state.offset_ms + millis(sample))
    }

    /// Returns the audio between two samples at 16 kHz, as far as it is kept.
    pub(super) fn audio(&self, start: u64, end: u64) -> Vec<i16> {
        let state = self.state.lock();
        let index = |sample: u64| {
            let at = (sample * 2 / 3).saturating_sub(state.kept_start);
            usize::try_from(at).unwrap_or(0).min(state.kept.len())
        };
        let range = index(start)..index(end).max(index(start));
        state.kept.range(range).copied().collect()
    }
}
