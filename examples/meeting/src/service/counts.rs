//! Counters of all meetings, for `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct Counts {
    /// Clients that are connected now.
    pub(super) clients: AtomicU64,
    /// Audio taken, in milliseconds.
    pub(super) audio_ms: AtomicU64,
    /// Audio dropped, in milliseconds.
    pub(super) dropped_ms: AtomicU64,
    /// Final transcripts.
    pub(super) transcripts: AtomicU64,
    /// Interventions of the moderator.
    pub(super) interventions: AtomicU64,
    /// Minutes that were written.
    pub(super) minutes: AtomicU64,
    /// Connections to the transcription endpoint that failed.
    pub(super) reconnections: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    /// Returns the counters of `/metrics`: name, help, and value in base units.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &'static str, f64); 6] {
        let whole = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        let seconds = |counter: &AtomicU64| counter.load(Relaxed) as f64 / 1_000.0;
        [
            ("meeting_audio_seconds_total", "Audio taken from clients.", seconds(&self.audio_ms)),
            ("meeting_audio_dropped_seconds_total", "Audio that was dropped.", seconds(&self.dropped_ms)),
            ("meeting_transcripts_total", "Final transcripts.", whole(&self.transcripts)),
            ("meeting_interventions_total", "Interventions of the moderator.", whole(&self.interventions)),
            ("meeting_minutes_total", "Minutes that were written.", whole(&self.minutes)),
            (
                "meeting_upstream_reconnections_total",
                "Connections to the transcription endpoint that were lost.",
                whole(&self.reconnections),
            ),
        ]
    }

    /// Counts a client until the result is dropped.
    pub fn connected(self: &Arc<Self>) -> Connected {
        Self::add(&self.clients, 1);
        Connected(Arc::clone(self))
    }

    /// Returns the number of connected clients.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.clients.load(Relaxed)
    }
}

/// A connected client.
#[derive(Debug)]
#[must_use = "the client counts until it is dropped"]
pub struct Connected(Arc<Counts>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Relaxed);
    }
}
