//! Path of audio from clients to the transcription, past the actor: nothing in it waits.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use agent_core::model::realtime::Backlog;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::actor::Command;
use crate::{
    state::{MeetingState, Phase},
    transcribe::{
        Input, Upstream,
        audio::{Downsampler, RATE, millis, samples},
    },
    wire::ClientFault,
};

/// Audio that is kept for voices, in samples at 16 kHz: 20 s with a live endpoint, and 90 s with a recogniser, which may be
/// behind.
const KEPT: usize = 20 * 16_000;
const KEPT_OFFLINE: usize = 90 * 16_000;
/// Pause before a transcription that failed is opened again.
const REOPEN: Duration = Duration::from_secs(10);

/// Takes the audio of a meeting.
#[derive(Debug)]
pub struct AudioPath {
    upstream: Upstream,
    commands: mpsc::Sender<Command>,
    state: Mutex<PathState>,
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
    ended: bool,
    downsampler: Downsampler,
    /// Latest audio at 16 kHz, and the number of samples before it.
    kept: VecDeque<i16>,
    kept_start: u64,
}

impl AudioPath {
    pub(super) fn new(upstream: Upstream, commands: mpsc::Sender<Command>, state: &MeetingState) -> Self {
        let path = PathState {
            input: None,
            language: state.setup.language.clone(),
            position: 0,
            input_start: 0,
            offset_ms: state.last_ms(),
            dropped: Duration::ZERO,
            reopen_at: None,
            ended: state.phase == Phase::Ended,
            downsampler: Downsampler::default(),
            kept: VecDeque::new(),
            kept_start: 0,
        };
        Self { upstream, commands, state: Mutex::new(path) }
    }

    /// Takes audio that was checked. The first audio starts the meeting.
    ///
    /// # Errors
    ///
    /// The meeting has ended, or no transcription is configured.
    pub fn push(&self, pcm: Bytes) -> Result<(), ClientFault> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(ClientFault::Ended);
        }
        let length = pcm.len() as u64 / 2;
        let opened = self.open(&mut state);
        state.position += length;
        let fresh = match &state.input {
            Some(input) => {
                input.push(pcm.clone());
                let fresh = samples(&pcm);
                Some(state.downsampler.push(&fresh))
            }
            None => {
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

    /// Number of samples taken.
    pub(super) fn position(&self) -> u64 {
        self.state.lock().position
    }

    /// Sets what is known from the setup. `elapsed_ms` is the time since the meeting began.
    pub(super) fn configure(&self, language: &str, elapsed_ms: u64) {
        let mut state = self.state.lock();
        language.clone_into(&mut state.language);
        if state.position == 0 {
            state.offset_ms = state.offset_ms.max(elapsed_ms);
        }
        state.reopen_at = None;
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

    /// The transcription is gone.
    pub(super) fn closed(&self) {
        let mut state = self.state.lock();
        if let Some(input) = state.input.take() {
            let backlog = input.backlog();
            state.dropped += backlog.dropped + backlog.buffered;
            state.reopen_at = Some(Instant::now() + REOPEN);
        }
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
