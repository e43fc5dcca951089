//! What a run or a runtime may be told beyond its graph.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    journal::StoreRetry,
    run::{Durability, Limits},
};

/// What becomes of a new run on a session whose run is not at its end (running, or waiting for a person).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BusyPolicy {
    /// The new one is refused.
    #[default]
    Reject,
    /// The new one waits for its turn: it begins when the present one is completed, failed or stopped.
    Enqueue,
    /// The present one is stopped; what it committed stays; the new one starts.
    Interrupt,
    /// The present one is stopped and undone; the new one starts from the state before it.
    Rollback,
}

/// What one run is told. Default: as the runtime and the graph say.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// What to do when the session is busy. Default: reject.
    pub on_busy: BusyPolicy,
    /// When commits are stored. Default: the runtime's.
    pub durability: Option<Durability>,
    /// What the run may use. Default: the runtime's, then the graph's.
    pub limits: Option<Limits>,
    /// Names the request: the same name again on the session starts no second run. A session remembers its latest 1,024.
    pub request: Option<String>,
    /// Marks of the session: who owns it, say. One that was given once stays; a run that gives it another value is
    /// refused. At most 16, with names of 1 to 64 of `a-z 0-9 _ . -`, and values of at most 512
    /// bytes.
    pub labels: BTreeMap<String, String>,
    /// Marks that the session gets where it has none of the name; one that it has stays. Bounded as `labels` are.
    pub default_labels: BTreeMap<String, String>,
}

/// Stands between the name of a request and the hash of its content. A name that contains it ends with one, so that
/// no part of a name is read as a hash.
const CONTENT: char = '\n';

/// The name in a stored request: what stands before the last separator.
pub(super) fn name_of(request: &str) -> &str {
    request.rsplit_once(CONTENT).map_or(request, |(name, _)| name)
}

impl RunOptions {
    /// What to do when the session is busy.
    #[must_use]
    pub const fn on_busy(mut self, policy: BusyPolicy) -> Self {
        self.on_busy = policy;
        self
    }

    /// When commits are stored.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// What the run may use.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Names the request: the same name again on the session starts no second run, and is refused with the number of the
    /// first one ([`SessionError::SameRequest`](super::SessionError::SameRequest)).
    ///
    /// A session remembers the names of its latest 1,024 named requests, across restarts and retention. A name older
    /// than those starts a run again.
    #[must_use]
    pub fn request(mut self, name: impl Into<String>) -> Self {
        let mut name = name.into();
        if name.contains(CONTENT) {
            name.push(CONTENT);
        }
        self.request = Some(name);
        self
    }

    /// Names the request, and says what it asks for: the same name with other content is refused
    /// ([`SessionError::RequestDiffers`](super::SessionError::RequestDiffers)) rather than taken for the same.
    #[must_use]
    pub fn request_of(mut self, name: &str, content: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(content);
        let hex: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        self.request = Some(format!("{name}{CONTENT}{hex}"));
        self
    }

    /// Marks the session.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Marks the session, unless it has a mark of that name.
    #[must_use]
    pub fn default_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.default_labels.insert(name.into(), value.into());
        self
    }

    /// Makes the marks that a session of these marks has none of real ones.
    pub(super) fn resolve_default_labels(&mut self, known: &BTreeMap<String, String>) {
        for (name, value) in std::mem::take(&mut self.default_labels) {
            if !known.contains_key(&name) {
                self.labels.entry(name).or_insert(value);
            }
        }
    }
}

/// How much of a journal is kept. A snapshot always stands before what is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Entries kept behind the newest snapshot for history, fork and late subscribers. Default: 10,000.
    pub entries: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { entries: 10_000 }
    }
}

impl Retention {
    /// Keeps this many entries.
    #[must_use]
    pub const fn entries(entries: u64) -> Self {
        Self { entries }
    }

    /// Keeps everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self { entries: u64::MAX }
    }
}

/// What a runtime is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuntimeOptions {
    /// When commits are stored. Default: [`Durability::Async`].
    pub durability: Durability,
    /// What each run may use. Default: no bound but the graph's.
    pub limits: Limits,
    /// How long tasks that listen may take to end after a stop. Default: 5 s.
    pub grace: Duration,
    /// How long a paused run stays in memory before it is put away (with a store). Default: 10 min.
    pub evict_paused_after: Duration,
    /// How many paused runs stay in memory. Default: 1,000.
    pub max_suspended_runs: usize,
    /// How many runs there are at once, paused ones in memory included. Default: 100,000.
    pub max_runs: usize,
    /// How many sessions at rest stay in memory. Default: 256.
    pub max_idle_sessions: usize,
    /// Bytes that sessions at rest take up in memory, estimated from their journals; beyond it the largest leave. A state
    /// takes up several times as much in memory as in the journal. Only with a store. Default: 64 MiB.
    pub max_idle_bytes: u64,
    /// How long a lease holds without a sign of life from this process. Default: 15 s.
    pub lease_ttl: Duration,
    /// How much of each journal is kept.
    pub retention: Retention,
    /// A snapshot is kept when this many bytes (or twice the size of the last snapshot, if that is more) were journalled
    /// since the last one. Default: 64 KiB.
    pub snapshot_bytes: u64,
    /// How often an append is tried that the store refuses for now, and with which waits. Default: 8 tries within 5 s.
    pub store_retry: StoreRetry,
    /// How often a session is opened again whose store failed for longer than that: a run that ended with the store
    /// continues then. The waits double from 1 s to 30 s. 0: only [`recover`](super::Runtime::recover) and a resume do
    /// that. Default: 120, about an hour.
    pub store_reopen: u32,
    /// How often in a row a run is taken over from a process that died, without any progress in between (a finished task,
    /// a recorded step, an answer). The next time it fails as `crash_loop`. Default: 3.
    pub max_takeovers: u32,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            limits: Limits::default(),
            grace: Duration::from_secs(5),
            evict_paused_after: Duration::from_secs(600),
            max_suspended_runs: 1_000,
            max_runs: 100_000,
            max_idle_sessions: 256,
            max_idle_bytes: 64 * 1024 * 1024,
            lease_ttl: Duration::from_secs(15),
            retention: Retention::default(),
            snapshot_bytes: 64 * 1024,
            store_retry: StoreRetry::default(),
            store_reopen: 120,
            max_takeovers: 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_name_is_read_as_a_hash() {
        let plain = |name: &str| RunOptions::default().request(name).request.unwrap();
        let hashed =
            |name: &str, content: &[u8]| RunOptions::default().request_of(name, content).request.unwrap();
        for name in ["a", "a\nb", "\n", "", "a\n"] {
            assert_eq!((name_of(&plain(name)), name_of(&hashed(name, b"x"))), (name, name));
            assert_ne!(plain(name), hashed(name, b"x"));
        }
        let forged = hashed("a", b"x");
        assert_ne!(plain(&forged), forged);
    }
}
