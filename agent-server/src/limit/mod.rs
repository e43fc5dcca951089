//! How much one caller may have: requests a minute, connections, sockets, runs, sessions. Every table is bounded by
//! what is alive, or by a number.

mod quota;
mod rate;
mod tally;

use std::net::{IpAddr, Ipv4Addr};

use crate::{Proxies, auth::Subject, error::ApiError, error::Refusal, server::ServerOptions};
use rate::Rate;
pub(crate) use tally::Held;
use tally::Tally;

/// Who is counted: the subject where it is known, else the network that an address belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Subject(Subject),
    V4(u32),
    /// The upper half: whoever has an address of IPv6 has 2^64 of them.
    V6(u64),
    /// Many networks counted as one, once there are too many to count each.
    Crowd(u16),
}

impl Key {
    pub(crate) fn of(peer: IpAddr, subject: Option<&Subject>) -> Self {
        match (subject, peer.to_canonical()) {
            (Some(subject), _) => Self::Subject(subject.clone()),
            (None, IpAddr::V4(v4)) => Self::V4(v4.to_bits()),
            (None, IpAddr::V6(v6)) if v6.is_loopback() => Self::V4(Ipv4Addr::LOCALHOST.to_bits()),
            (None, IpAddr::V6(v6)) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }

    const fn is_loopback(&self) -> bool {
        matches!(self, Self::V4(v4) if *v4 >> 24 == 127)
    }
}

/// What is counted.
pub(crate) struct Limits {
    rate: Option<Rate>,
    connections: Tally,
    sockets: Tally,
    runs: Tally,
    sessions: quota::Sessions,
    proxies: Proxies,
    options: Bounds,
}

/// The numbers; 0: no bound.
struct Bounds {
    connections: usize,
    sockets: usize,
    runs: usize,
    sessions: u32,
}

impl Limits {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        Self {
            rate: Rate::per_minute(options.requests_per_minute),
            connections: Tally::default(),
            sockets: Tally::default(),
            runs: Tally::default(),
            sessions: quota::Sessions::default(),
            proxies: options.proxies.clone(),
            options: Bounds {
                connections: options.connections_per_address,
                sockets: options.sockets_per_caller,
                runs: options.runs_per_caller,
                sessions: options.sessions_per_subject,
            },
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    ///
    /// 429, with when to come again.
    pub(crate) fn request(&self, key: Key) -> Result<(), ApiError> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.check(key).map_err(|wait| {
            // Whole seconds, and none too few.
            let seconds = wait.as_secs() + 1;
            let told = format!("too many requests; come again in {seconds} s");
            let mut error = ApiError::new(Refusal::RateLimited, told);
            error.retry_after = u32::try_from(seconds).ok();
            error
        })
    }

    /// Counts a connection for as long as what is returned lives; `None`: the address has too many. Peers on this machine
    /// (a proxy, say) and trusted proxies are not counted.
    pub(crate) fn connection(&self, peer: IpAddr) -> Option<Held> {
        let key = Key::of(peer, None);
        let many = key.is_loopback() || self.proxies.holds(peer);
        let most = if many { 0 } else { self.options.connections };
        self.connections.hold(key, most)
    }

    /// Counts a socket or a stream.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn socket(&self, key: Key) -> Result<Held, ApiError> {
        // Whoever is on this machine and has no name may be a proxy, with many behind it.
        let most = if key.is_loopback() { 0 } else { self.options.sockets };
        self.sockets.hold(key, most).ok_or_else(|| too_many(&format!("more than {most} sockets and streams")))
    }

    /// Counts a run while it runs; nothing when runs are not bounded.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn run(&self, key: Key) -> Result<Option<Held>, ApiError> {
        let most = self.options.runs;
        if most == 0 {
            return Ok(None);
        }
        self.runs.hold(key, most).map(Some).ok_or_else(|| too_many(&format!("more than {most} runs at once")))
    }

    /// Counts a run that goes on with an answer: it is let go on whatever there is, and counts against new ones.
    pub(crate) fn answered_run(&self, key: Key) -> Option<Held> {
        if self.options.runs > 0 { self.runs.hold(key, usize::MAX) } else { None }
    }

    /// Whether runs are bounded.
    pub(crate) const fn counts_runs(&self) -> bool {
        self.options.runs > 0
    }

    /// Whether sessions are bounded.
    pub(crate) const fn counts_sessions(&self) -> bool {
        self.options.sessions > 0
    }

    /// Counts a new session of a subject.
    ///
    /// # Errors
    ///
    /// 429, and what the store says.
    pub(crate) async fn session(
        &self,
        runtime: &agent_core::Runtime,
        subject: &Subject,
    ) -> Result<(), ApiError> {
        let most = self.options.sessions;
        if most == 0 || self.sessions.take(runtime, subject, most).await? {
            return Ok(());
        }
        Err(too_many(&format!("more than {most} sessions; delete some")))
    }
}

fn too_many(what: &str) -> ApiError {
    ApiError::new(Refusal::QuotaExceeded, format!("a caller may not have {what}"))
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}
