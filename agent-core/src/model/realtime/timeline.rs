//! Utterances of one connection: their places in the audio of the session, and which of them are due.
//!
//! Pure: no await, clock, lock or I/O.

use std::{collections::VecDeque, time::Duration};

use super::{
    buffer::{samples, time},
    event::Span,
};

/// Most utterances without a transcript. An endpoint that never answers loses the oldest.
const ITEMS: usize = 256;
/// Most places where the audio of a connection is not contiguous.
const GAPS: usize = 256;

struct Item {
    id: String,
    start: u64,
    end: Option<u64>,
    /// Committed, and without a transcript.
    due: bool,
}

/// Utterances of one connection.
#[derive(Default)]
pub(super) struct Timeline {
    /// `(samples sent before, position in the session)`, at the first sample of each contiguous part.
    parts: VecDeque<(u64, u64)>,
    /// Samples sent on this connection, and the position after them.
    sent: u64,
    next: u64,
    items: VecDeque<Item>,
    /// Positions of commits of the caller that the endpoint has not confirmed.
    commits: VecDeque<u64>,
    /// End of the latest utterance.
    last_end: u64,
}

impl Timeline {
    /// Notes audio that was sent.
    pub(super) fn sent(&mut self, start: u64, length: u64) {
        if self.parts.is_empty() || start != self.next {
            if self.parts.is_empty() {
                self.last_end = start;
            }
            self.parts.push_back((self.sent, start));
            if self.parts.len() > GAPS {
                self.parts.pop_front();
            }
        }
        self.sent += length;
        self.next = start + length;
    }

    /// Notes a commit of the caller.
    pub(super) fn commit_sent(&mut self, at: u64) {
        self.commits.push_back(at);
    }

    /// Returns the position in the session of a time of this connection.
    pub(super) fn position(&self, ms: u64) -> u64 {
        let at = samples(Duration::from_millis(ms)).min(self.sent);
        let part = self.parts.iter().rev().find(|(before, _)| *before <= at).or(self.parts.front());
        part.map_or(at, |(before, start)| start + at.saturating_sub(*before))
    }

    pub(super) fn speech_started(&mut self, id: String, ms: u64) -> Duration {
        let start = self.position(ms);
        self.item(id).start = start;
        time(start)
    }

    pub(super) fn speech_stopped(&mut self, id: String, ms: u64) {
        let end = self.position(ms);
        self.item(id).end = Some(end);
    }

    /// The endpoint has taken the audio of an utterance; `None`: it has not named it yet.
    pub(super) fn committed(&mut self, id: Option<String>) {
        let Some(id) = id else { return };
        let known = self.items.iter().any(|item| item.id == id && item.end.is_some());
        // An utterance that the endpoint ended itself is not one of the caller's.
        let end = if known { None } else { self.commits.pop_front() };
        let fallback = self.next;
        let item = self.item(id);
        item.due = true;
        if item.end.is_none() {
            item.end = Some(end.unwrap_or(fallback));
        }
    }

    /// An item was added. With endpoints that do not name it in `committed`, this is where its name is known.
    pub(super) fn added(&mut self, id: String) {
        if !self.items.iter().any(|item| item.id == id && item.due) {
            self.committed(Some(id));
        }
    }

    /// The endpoint refused a commit, because it had no audio.
    pub(super) fn commit_refused(&mut self) {
        self.commits.pop_front();
    }

    /// Ends an utterance: returns its place, and the position up to which all audio is transcribed.
    pub(super) fn ended(&mut self, id: &str) -> (Span, u64) {
        let found = self.items.iter().position(|item| item.id == id);
        let (start, end) = match found.and_then(|at| self.items.remove(at)) {
            Some(item) => (item.start, item.end.unwrap_or(self.next)),
            None => {
                // A commit without new audio ended nothing.
                while self.commits.front().is_some_and(|at| *at <= self.last_end) {
                    self.commits.pop_front();
                }
                (self.last_end, self.commits.pop_front().unwrap_or(self.next))
            }
        };
        let end = end.max(start);
        self.last_end = self.last_end.max(end);
        // Transcripts may arrive in another order than utterances.
        let open = self.items.iter().filter(|item| item.due).map(|item| item.start).min();
        (Span { start: time(start), end: time(end) }, open.map_or(end, |open| open.min(end)))
    }

    /// Returns whether a transcript is due.
    pub(super) fn is_waiting(&self) -> bool {
        !self.commits.is_empty() || self.items.iter().any(|item| item.due)
    }

    fn item(&mut self, id: String) -> &mut Item {
        let at = match self.items.iter().position(|item| item.id == id) {
            Some(at) => at,
            None => {
                if self.items.len() >= ITEMS {
                    self.items.pop_front();
                }
                // It begins where the one before it ended, if the endpoint does not say where.
                let before = self.items.iter().filter_map(|item| item.end).max().unwrap_or(0);
                let start = self.last_end.max(before);
                self.items.push_back(Item { id, start, end: None, due: false });
                self.items.len() - 1
            }
        };
        &mut self.items[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_utterance_that_the_endpoint_only_transcribes_ends_with_the_audio_and_not_at_an_earlier_commit() {
        let mut line = Timeline::default();
        line.sent(0, 24_000);
        let span = |line: &mut Timeline, id| {
            let (span, _) = line.ended(id);
            (span.start.as_millis(), span.end.as_millis())
        };
        assert_eq!(span(&mut line, "a"), (0, 1_000));
        line.commit_sent(24_000);
        line.sent(24_000, 24_000);
        assert_eq!(span(&mut line, "b"), (1_000, 2_000));
    }

    #[test]
    fn times_of_a_connection_are_times_of_the_session() {
        let mut line = Timeline::default();
        line.sent(48_000, 24_000);
        line.sent(96_000, 24_000);
        assert_eq!(line.position(500), 60_000);
        assert_eq!(line.position(1_500), 108_000, "one second was dropped in between");
        assert_eq!(line.speech_started("a".into(), 250), Duration::from_millis(2_250));
        line.speech_stopped("a".into(), 1_750);
        line.committed(Some("a".into()));
        assert!(line.is_waiting());
        let (span, transcribed) = line.ended("a");
        assert_eq!((span.start.as_millis(), span.end.as_millis(), transcribed), (2_250, 4_750, 114_000));
        assert!(!line.is_waiting());
    }

    #[test]
    fn an_utterance_that_the_caller_ended_is_due_until_its_transcript_arrives() {
        let mut line = Timeline::default();
        line.sent(0, 24_000);
        line.commit_sent(24_000);
        line.sent(24_000, 24_000);
        assert!(line.is_waiting());
        line.committed(None);
        assert!(line.is_waiting(), "the endpoint did not name it yet");
        line.added("a".into());
        line.commit_sent(48_000);
        line.added("b".into());
        assert_eq!(line.ended("b").0.start.as_millis(), 1_000);
        assert_eq!(line.ended("a").0.end.as_millis(), 1_000);
        assert!(!line.is_waiting());
        line.commit_sent(48_000);
        line.commit_refused();
        assert!(!line.is_waiting());
    }

    #[test]
    fn audio_before_an_open_utterance_only_counts_as_transcribed() {
        let mut line = Timeline::default();
        line.sent(0, 96_000);
        for (id, start, end) in [("a", 0, 1_000), ("b", 1_500, 2_500)] {
            line.speech_started(id.into(), start);
            line.speech_stopped(id.into(), end);
            line.committed(Some(id.into()));
        }
        assert_eq!(line.ended("b").1, 0);
        assert_eq!(line.ended("a").1, 24_000);
    }
}
