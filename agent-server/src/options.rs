//! Limits and timeouts of the server.

use std::time::Duration;

use crate::{Hosts, Origins, Proxies};

/// Limits and timeouts of the server.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
/// builder.options(|options| {
///     options.runs_per_caller = 10;
///     options.grace = Duration::from_secs(20);
/// })
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Web origins that may call the server. Default: its own origin and origins on this machine.
    pub origins: Origins,
    /// Hosts for which the server responds if callers present no credentials. Default: this machine.
    pub hosts: Hosts,
    /// Proxies trusted to report the address of their client. Default: none.
    pub proxies: Proxies,
    /// Maximum number of connections, including WebSockets. Default: 10,000.
    pub connections: usize,
    /// Timeout for reading request headers, and for idle connections. Default: 30 s.
    pub head_time: Duration,
    /// Maximum number of connections per address (per /64 for IPv6). Loopback and `proxies` are exempt; 0: no limit.
    /// Default: 1,000.
    pub connections_per_address: usize,
    /// Maximum number of requests per minute and caller: a subject, or an address if callers are anonymous. Public routes
    /// are exempt. Counted over all replicas if the store has [shared counters](agent_core::journal::SharedLimits) and responds,
    /// else in this process; 0: no limit. Default: 0.
    pub requests_per_minute: u32,
    /// Maximum number of WebSockets and streams per caller. Anonymous callers on loopback are exempt; 0: no limit.
    /// Default: 1,000.
    pub sockets_per_caller: usize,
    /// Maximum number of running runs per caller, including answers of the plain model. Paused runs do not count. Counted as
    /// `requests_per_minute`; 0: no limit. Default: 0.
    pub runs_per_caller: usize,
    /// Maximum number of sessions per subject, over all replicas; 0: no limit. Default: 0.
    pub sessions_per_subject: u32,
    /// WebSocket frames read per second, after a burst of two seconds' worth. Further frames wait; 0: no limit.
    /// Default: 100.
    pub frames_per_second: u32,
    /// Maximum size of a request body, in bytes. Default: 1 MiB.
    pub body_bytes: usize,
    /// Memory for the input of all callers, in bytes: bodies while they are read and parsed (a body of small values
    /// needs a hundred times its size), and unfinished WebSocket messages. Requests beyond it get 503. Default: 256 MiB.
    pub input_bytes: usize,
    /// Timeout for reading a request body. Default: 30 s.
    pub body_time: Duration,
    /// Maximum size of a WebSocket frame, in bytes. Default: 64 KiB.
    pub frame_bytes: usize,
    /// Interval of WebSocket pings. A client that sends nothing for three intervals is disconnected. Default: 20 s.
    pub ping: Duration,
    /// Timeout for a write that makes no progress. Default: 30 s.
    pub write_time: Duration,
    /// Interval of the search for runs of crashed processes, after the one at startup. Default: 15 s.
    pub sweep: Duration,
    /// Whether to log each request (target `agent_server::access`), without bodies. Default: no.
    pub access_log: bool,
    /// Time for runs to reach their next superstep and for responses to be sent during shutdown. Default: 5 s.
    pub grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            origins: Origins::Local,
            hosts: Hosts::Local,
            proxies: Proxies::default(),
            connections: 10_000,
            connections_per_address: 1_000,
            requests_per_minute: 0,
            sockets_per_caller: 1_000,
            runs_per_caller: 0,
            sessions_per_subject: 0,
            frames_per_second: 100,
            head_time: Duration::from_secs(30),
            body_bytes: 1024 * 1024,
            input_bytes: 256 * 1024 * 1024,
            body_time: Duration::from_secs(30),
            frame_bytes: 64 * 1024,
            ping: Duration::from_secs(20),
            write_time: Duration::from_secs(30),
            sweep: Duration::from_secs(15),
            access_log: false,
            grace: Duration::from_secs(5),
        }
    }
}
