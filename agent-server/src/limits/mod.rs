//! Limits per caller: requests per minute, connections, WebSockets, runs, sessions. The memory of every table is bounded.
//!
//! Requests, runs and sessions are counted over all replicas if the store has
//! [shared counters](agent_core::journal::SharedLimits); connections and WebSockets are those of this process.

mod concurrency;
mod quota;
mod rate;
mod replicated;
pub(crate) mod run_permit;
mod sliding_window;

use std::{
    future,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use agent_core::{Runtime, SessionError, SessionId};

use crate::{
    Proxies, ServerOptions,
    auth::Subject,
    error::{ApiError, Contract, Rejection},
};
use concurrency::ConcurrencyLimiter;
pub(crate) use concurrency::Permit;
use rate::Rate;
use replicated::Replicated;
pub use sliding_window::{Admission, SlidingWindow};

/// The caller that is counted: the subject if it is known, otherwise the network of the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Subject(Subject),
    V4(u32),
    /// The upper half: a client with an IPv6 address usually has a whole /64.
    V6(u64),
    /// A bucket shared by many networks when there are too many to count each.
    Overflow(u16),
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

/// The limits and their counters.
pub(crate) struct CallerLimits {
    rate: Option<Rate>,
    connections: ConcurrencyLimiter,
    sockets: ConcurrencyLimiter,
    runs: ConcurrencyLimiter,
    sessions: quota::Sessions,
    /// The counters of all replicas.
    replicated: Option<Arc<Replicated>>,
    proxies: Proxies,
    maximum: Maximum,
}

/// Configured numbers; 0: no limit.
struct Maximum {
    per_minute: u32,
    connections: usize,
    sockets: usize,
    runs: usize,
    sessions: u32,
}

impl CallerLimits {
    /// Creates the counters, over all replicas on the store of the runtime. Sessions of the graph `uncounted_graph` do not
    /// count.
    pub(crate) fn new(options: &ServerOptions, runtime: &Runtime, uncounted_graph: &'static str) -> Self {
        let replicated = runtime.shared_limits().map(|limits| Arc::new(Replicated::new(limits)));
        Self {
            rate: Rate::per_minute(options.requests_per_minute),
            connections: ConcurrencyLimiter::default(),
            sockets: ConcurrencyLimiter::default(),
            runs: ConcurrencyLimiter::over(replicated.clone()),
            sessions: quota::Sessions::new(uncounted_graph),
            replicated,
            proxies: options.proxies.clone(),
            maximum: Maximum {
                per_minute: options.requests_per_minute,
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
    /// 429 with `Retry-After`.
    pub(crate) async fn request(&self, key: Key) -> Result<(), ApiError> {
        let Some(rate) = &self.rate else { return Ok(()) };
        // What exceeds the rate in this process needs no question to the store.
        let mut checked = rate.check(key);
        if let (Ok(key), Some(replicated)) = (&checked, &self.replicated)
            && let Some(wait) = replicated.request(key, self.maximum.per_minute).await
        {
            checked = Err(wait);
        }
        checked.map(drop).map_err(|wait| {
            // Whole seconds, rounded up.
            let seconds = wait.as_secs() + 1;
            let message = format!("too many requests (RATE_LIMIT_PER_MINUTE); retry in {seconds} s");
            let mut error = ApiError::new(Rejection::RateLimited, message);
            error.retry_after = u32::try_from(seconds).ok();
            error
        })
    }

    /// Returns a permit for a connection; `None` if the address has too many. Loopback (a proxy, for example) and trusted
    /// proxies are exempt.
    pub(crate) fn connection(&self, peer: IpAddr) -> Option<Permit> {
        let key = Key::of(peer, None);
        let exempt = key.is_loopback() || self.proxies.contains(peer);
        let maximum = if exempt { 0 } else { self.maximum.connections };
        self.connections.acquire(key, maximum)
    }

    /// Returns a permit for a WebSocket or a stream.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn socket(&self, key: Key) -> Result<Permit, ApiError> {
        // Anonymous callers on loopback are exempt: they may be a proxy of many clients.
        let maximum = if key.is_loopback() { 0 } else { self.maximum.sockets };
        let permit = self.sockets.acquire(key, maximum);
        permit.ok_or_else(|| {
            quota_exceeded(&format!("{maximum} WebSockets and streams (MAX_SOCKETS_PER_CALLER); close one"))
        })
    }

    /// Returns a permit for a running run; `None` if runs are not limited.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) async fn run(&self, key: Key) -> Result<Option<Permit>, ApiError> {
        let maximum = self.maximum.runs;
        if maximum == 0 {
            return Ok(None);
        }
        let permit = self.runs.acquire_everywhere(key, maximum).await;
        permit.map(Some).ok_or_else(|| {
            quota_exceeded(&format!(
                "{maximum} running runs (MAX_RUNS_PER_CALLER); try again when one has ended"
            ))
        })
    }

    /// Returns a permit for a run that resumes with an answer. It is never denied, but counts against new runs.
    pub(crate) fn answered_run(&self, key: Key) -> Option<Permit> {
        if self.maximum.runs > 0 { self.runs.acquire_always(key) } else { None }
    }

    /// Returns whether runs are limited.
    pub(crate) const fn counts_runs(&self) -> bool {
        self.maximum.runs > 0
    }

    /// Returns whether sessions are limited.
    pub(crate) const fn counts_sessions(&self) -> bool {
        self.maximum.sessions > 0
    }

    /// Counts a new session of a subject.
    ///
    /// # Errors
    ///
    /// 429, and errors of the store.
    pub(crate) async fn session(
        &self,
        runtime: &Runtime,
        subject: &Subject,
        session: &SessionId,
    ) -> Result<(), ApiError> {
        let maximum = self.maximum.sessions;
        let allowed = match &self.replicated {
            _ if maximum == 0 => true,
            None => self.sessions.acquire(runtime, subject, maximum).await?,
            Some(replicated) => {
                let without = self.sessions.uncounted_graph();
                let reserved = replicated.reserve(subject.as_str(), session, without, maximum).await;
                reserved.map_err(|error| ApiError::of(Contract::TaskAgent, &SessionError::Store(error)))?
            }
        };
        if allowed {
            return Ok(());
        }
        Err(quota_exceeded(&format!("{maximum} sessions (MAX_SESSIONS_PER_SUBJECT); delete some")))
    }

    /// Publishes the runs of this process to the other replicas. Never completes.
    pub(crate) async fn publish(&self) {
        match &self.replicated {
            Some(replicated) if self.counts_runs() => replicated.publish(&self.runs).await,
            _ => future::pending().await,
        }
    }

    /// Removes the runs of this process from those of all replicas.
    pub(crate) async fn leave(&self) {
        if let Some(replicated) = self.replicated.as_ref().filter(|_| self.counts_runs()) {
            replicated.leave(&self.runs).await;
        }
    }
}

fn quota_exceeded(what: &str) -> ApiError {
    ApiError::new(Rejection::QuotaExceeded, format!("quota exceeded: a caller may have at most {what}"))
}

impl std::fmt::Debug for CallerLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallerLimits").finish_non_exhaustive()
    }
}
