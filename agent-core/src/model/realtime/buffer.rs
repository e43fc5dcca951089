//! Audio that waits for the endpoint, and audio that may have to be sent again.
//!
//! Pure: no await, clock or I/O.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{event::Backlog, protocol::RATE};

/// Audio, the end of an utterance, or a change of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Samples; `start` is the number of samples before them in the session.
    Audio { start: u64, pcm: Bytes },
    /// End of an utterance at `at` samples.
    Commit { at: u64 },
    /// The settings changed at `at` samples.
    Configure { at: u64 },
}

impl Entry {
    fn samples(&self) -> u64 {
        match self {
            Self::Audio { pcm, .. } => pcm.len() as u64 / 2,
            Self::Commit { .. } | Self::Configure { .. } => 0,
        }
    }

    fn end(&self) -> u64 {
        match self {
            Self::Audio { start, .. } => start + self.samples(),
            Self::Commit { at } | Self::Configure { at } => *at,
        }
    }
}

/// Returns the time of a number of samples.
pub(super) fn time(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / RATE)
}

/// Returns the number of samples of a time.
pub(super) fn samples(time: Duration) -> u64 {
    u64::try_from(time.as_micros() * u128::from(RATE) / 1_000_000).unwrap_or(u64::MAX)
}

/// Most bytes of audio in one message. Larger chunks are split.
const CHUNK: usize = 64 * 1024;

/// The audio of a session that is still needed, in order.
pub(super) struct AudioBuffer {
    entries: VecDeque<Entry>,
    /// Number of entries at the front that were sent on the present connection.
    sent: usize,
    /// Samples that were not sent yet, and samples at the front that were.
    unsent_samples: u64,
    sent_samples: u64,
    /// Samples taken since the session began.
    position: u64,
    dropped: u64,
    capacity: u64,
    resend: u64,
    /// End of the last utterance that was committed by the caller.
    committed: u64,
    finished: bool,
}

impl AudioBuffer {
    pub(super) fn new(capacity: Duration, resend: Duration) -> Self {
        Self {
            entries: VecDeque::new(),
            sent: 0,
            unsent_samples: 0,
            sent_samples: 0,
            position: 0,
            dropped: 0,
            capacity: samples(capacity),
            resend: samples(resend),
            committed: 0,
            finished: false,
        }
    }

    pub(super) fn push(&mut self, mut pcm: Bytes) {
        pcm.truncate(pcm.len() / 2 * 2);
        if self.finished {
            return;
        }
        while !pcm.is_empty() {
            let entry = Entry::Audio { start: self.position, pcm: pcm.split_to(pcm.len().min(CHUNK)) };
            self.position += entry.samples();
            self.unsent_samples += entry.samples();
            self.entries.push_back(entry);
        }
        self.enforce();
    }

    pub(super) fn commit(&mut self) {
        if self.position > self.committed && !self.finished {
            self.committed = self.position;
            self.entries.push_back(Entry::Commit { at: self.position });
        }
    }

    pub(super) fn configure(&mut self) {
        if !self.finished {
            self.commit();
            self.entries.push_back(Entry::Configure { at: self.position });
        }
    }

    pub(super) fn finish(&mut self) {
        self.commit();
        self.finished = true;
    }

    /// Returns the next entry to send, and counts it as sent.
    pub(super) fn next_unsent(&mut self) -> Option<Entry> {
        let entry = self.entries.get(self.sent)?.clone();
        self.sent += 1;
        self.unsent_samples -= entry.samples();
        self.sent_samples += entry.samples();
        self.enforce();
        Some(entry)
    }

    /// Returns whether all audio was sent and no more comes.
    pub(super) fn is_drained(&self) -> bool {
        self.finished && self.sent == self.entries.len()
    }

    /// Returns whether nothing is left to send and no more comes.
    pub(super) fn is_empty_and_finished(&self) -> bool {
        self.finished && self.entries.is_empty()
    }

    /// Counts everything that is kept as not sent: the connection is gone.
    pub(super) fn rewind(&mut self) {
        self.unsent_samples += self.sent_samples;
        (self.sent, self.sent_samples) = (0, 0);
        self.enforce();
    }

    /// Forgets sent audio up to `position`: it was transcribed.
    pub(super) fn transcribed(&mut self, position: u64) {
        while self.sent > 0 && self.entries.front().is_some_and(|entry| entry.end() <= position) {
            self.forget_sent();
        }
    }

    pub(super) fn backlog(&self) -> Backlog {
        Backlog { buffered: time(self.unsent_samples), dropped: time(self.dropped) }
    }

    fn forget_sent(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.sent -= 1;
            self.sent_samples -= entry.samples();
        }
    }

    fn enforce(&mut self) {
        while self.sent > 0 && self.sent_samples > self.resend {
            self.forget_sent();
        }
        while self.unsent_samples > self.capacity {
            let Some(entry) = self.entries.remove(self.sent) else { return };
            self.unsent_samples -= entry.samples();
            self.dropped += entry.samples();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(capacity: u64, resend: u64) -> AudioBuffer {
        let millis = Duration::from_millis;
        AudioBuffer::new(millis(capacity), millis(resend))
    }

    /// 100 ms of audio.
    fn tenth(buffer: &mut AudioBuffer) {
        buffer.push(Bytes::from(vec![0; 4_800]));
    }

    fn ms(backlog: Backlog) -> (u128, u128) {
        (backlog.buffered.as_millis(), backlog.dropped.as_millis())
    }

    #[test]
    fn the_oldest_audio_is_dropped_and_counted() {
        let mut audio = buffer(300, 300);
        for _ in 0..5 {
            tenth(&mut audio);
        }
        assert_eq!(ms(audio.backlog()), (300, 200));
        assert!(
            matches!(audio.next_unsent(), Some(Entry::Audio { start: 4_800, .. })),
            "the first 200 ms are gone"
        );
        assert_eq!(ms(audio.backlog()), (200, 200));
    }

    #[test]
    fn audio_that_was_not_transcribed_is_sent_again_on_the_next_connection() {
        let mut audio = buffer(1_000, 300);
        for _ in 0..4 {
            tenth(&mut audio);
            audio.next_unsent();
        }
        audio.rewind();
        assert_eq!(ms(audio.backlog()), (300, 0), "300 ms are kept, older audio was taken by the endpoint");
        audio.next_unsent();
        audio.next_unsent();
        audio.transcribed(7_200);
        audio.rewind();
        assert_eq!(ms(audio.backlog()), (100, 0));
    }

    #[test]
    fn an_utterance_without_audio_is_not_committed() {
        let mut audio = buffer(1_000, 300);
        audio.commit();
        assert_eq!(audio.next_unsent(), None);
        tenth(&mut audio);
        audio.commit();
        audio.commit();
        audio.next_unsent();
        assert_eq!(audio.next_unsent(), Some(Entry::Commit { at: 2_400 }));
        assert_eq!(audio.next_unsent(), None);
        audio.finish();
        tenth(&mut audio);
        assert!(audio.is_drained(), "audio after the end is ignored");
    }
}
