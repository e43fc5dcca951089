//! Transcription by a recogniser of whole utterances.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use agent_core::{
    model::realtime::{Backlog, ConnectionState, RealtimeEvent, RefusedReason, Span},
    retry::RetryPolicy,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::Instant,
};

use super::{
    audio::RATE,
    recognizer::{Recognize, RecognizeError},
    segment::{Segment, Segmenter},
};

/// Audio of utterances that waits for the recogniser at most, in samples: 60 s.
const WAITING: u64 = 60 * RATE;
/// Time without the recogniser after which the session ends.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);
/// Attempts for one utterance that the recogniser itself fails at.
const ATTEMPTS: u32 = 3;

/// A transcription by a recogniser. Dropping it discards audio that waits.
#[derive(Debug)]
pub struct OfflineSession {
    shared: Arc<Shared>,
    events: mpsc::Receiver<RealtimeEvent>,
    _driver: JoinSet<()>,
}

/// Handle that takes audio.
#[derive(Debug, Clone)]
pub struct OfflineInput(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
    language: Mutex<String>,
}

#[derive(Debug, Default)]
struct Queue {
    segmenter: Segmenter,
    /// Begins of speech and utterances, in order.
    segments: VecDeque<Segment>,
    waiting: u64,
    dropped: u64,
    finished: bool,
}

fn length(segment: &Segment) -> u64 {
    match segment {
        Segment::Began(_) => 0,
        Segment::Ended { span, .. } => span.end - span.start,
    }
}

fn time(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / RATE)
}

impl Queue {
    fn add(&mut self, segments: impl IntoIterator<Item = Segment>) {
        for segment in segments {
            self.waiting += length(&segment);
            self.segments.push_back(segment);
        }
        while self.waiting > WAITING {
            let Some(oldest) = self.segments.pop_front() else { return };
            self.waiting -= length(&oldest);
            self.dropped += length(&oldest);
        }
    }

    fn backlog(&self) -> Backlog {
        Backlog { buffered: time(self.waiting), dropped: time(self.dropped) }
    }
}

impl OfflineSession {
    /// Opens a session.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn open(recognizer: Arc<dyn Recognize>, language: &str) -> Self {
        let language = Mutex::new(language.to_owned());
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Notify::new(), language });
        let (sender, events) = mpsc::channel(256);
        let mut driver = JoinSet::new();
        driver.spawn(run(recognizer, Arc::clone(&shared), sender));
        Self { shared, events, _driver: driver }
    }

    /// Returns the handle that takes audio.
    #[must_use]
    pub fn input(&self) -> OfflineInput {
        OfflineInput(Arc::clone(&self.shared))
    }

    /// Returns the next event; `None` after the end.
    pub async fn next(&mut self) -> Option<RealtimeEvent> {
        self.events.recv().await
    }
}

impl OfflineInput {
    /// Adds audio.
    pub fn push(&self, pcm: &[u8]) {
        let mut queue = self.0.queue.lock();
        if !queue.finished {
            let found = queue.segmenter.push(pcm);
            if !found.is_empty() {
                queue.add(found);
                self.0.changed.notify_one();
            }
        }
    }

    /// Ends the utterance at this point.
    pub fn commit(&self) {
        let mut queue = self.0.queue.lock();
        let found = queue.segmenter.flush();
        queue.add(found);
        self.0.changed.notify_one();
    }

    /// Sets the language of the utterances that are recognized from now on.
    pub fn set_language(&self, language: &str) {
        language.clone_into(&mut self.0.language.lock());
    }

    /// Ends the session, after the transcripts that are due.
    pub fn finish(&self) {
        self.commit();
        self.0.queue.lock().finished = true;
        self.0.changed.notify_one();
    }

    /// Returns how much speech waits and how much was dropped.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.0.queue.lock().backlog()
    }
}

async fn run(recognizer: Arc<dyn Recognize>, shared: Arc<Shared>, events: mpsc::Sender<RealtimeEvent>) {
    let session = fastrand::u32(..);
    let mut number = 0;
    let item = |number: u64| format!("utterance-{session:08x}-{number}");
    let mut connected = false;
    loop {
        let (segment, finished) = {
            let mut queue = shared.queue.lock();
            let segment = queue.segments.pop_front();
            (segment, queue.finished)
        };
        let done = match segment {
            None if finished => return,
            None => {
                if !connected {
                    connected = true;
                    report(&events, &shared, ConnectionState::Connected).await
                } else {
                    shared.changed.notified().await;
                    Ok(())
                }
            }
            Some(Segment::Began(at)) => {
                events.send(RealtimeEvent::SpeechStarted { item: item(number), at: time(at) }).await
            }
            Some(Segment::Ended { span, audio }) => {
                let id = item(number);
                number += 1;
                let work = utterance(&*recognizer, &shared, &events, id, &span, &audio);
                let done = work.await;
                let mut queue = shared.queue.lock();
                queue.waiting = queue.waiting.saturating_sub(span.end - span.start);
                done
            }
        };
        if done.is_err() {
            return;
        }
    }
}

type Sent = Result<(), mpsc::error::SendError<RealtimeEvent>>;

async fn report(events: &mpsc::Sender<RealtimeEvent>, shared: &Shared, state: ConnectionState) -> Sent {
    let backlog = shared.queue.lock().backlog();
    events.send(RealtimeEvent::Connection { state, backlog }).await
}

/// Recognizes one utterance, until it succeeds or the session ends.
async fn utterance(
    recognizer: &dyn Recognize,
    shared: &Shared,
    events: &mpsc::Sender<RealtimeEvent>,
    item: String,
    samples: &Range<u64>,
    audio: &[i16],
) -> Sent {
    let span = Span { start: time(samples.start), end: time(samples.end) };
    let backoff = RetryPolicy::attempts(u32::MAX).longest_wait(Duration::from_secs(10));
    let begun = Instant::now();
    let mut failures = 0;
    loop {
        let language = shared.language.lock().clone();
        match recognizer.recognize(audio, samples.clone(), &language).await {
            Ok(parts) => {
                if failures > 0 {
                    report(events, shared, ConnectionState::Connected).await?;
                }
                for part in parts.iter().filter(|_| parts.len() > 1) {
                    let (item, text) = (item.clone(), part.clone());
                    events.send(RealtimeEvent::Delta { item, text }).await?;
                }
                let text = parts.concat();
                return events.send(RealtimeEvent::Completed { item, text, span }).await;
            }
            Err(RecognizeError::Refused(reason)) => {
                report(events, shared, ConnectionState::Lost(reason)).await?;
                return Err(mpsc::error::SendError(RealtimeEvent::Error { code: String::new() }));
            }
            Err(RecognizeError::Failed { code }) => {
                failures += 1;
                if failures >= ATTEMPTS {
                    return events.send(RealtimeEvent::Failed { item, code, span }).await;
                }
            }
            Err(RecognizeError::Unreachable) => {
                failures += 1;
                let lost = begun.elapsed() > GIVE_UP_AFTER;
                let state = match lost {
                    true => ConnectionState::Lost(RefusedReason::Unreachable),
                    false => ConnectionState::Reconnecting,
                };
                report(events, shared, state).await?;
                if lost {
                    return Err(mpsc::error::SendError(RealtimeEvent::Error { code: String::new() }));
                }
            }
        }
        let wait = backoff.wait(failures, None, fastrand::f64()).unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = events.closed() => return Ok(()),
        }
    }
}
