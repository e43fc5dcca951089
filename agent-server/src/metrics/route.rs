//! Request counters and latency histogram of a route. Lock-free and of constant size.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use hyper::StatusCode;

use super::Page;

/// Upper bounds of the buckets, in microseconds and as text.
const BUCKETS: [(u64, &str); 12] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (100_000, "0.1"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (5_000_000, "5"),
    (30_000_000, "30"),
    (300_000_000, "300"),
];

/// Status codes with their own counters.
const STATUSES: [u16; 19] =
    [101, 200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409, 413, 422, 426, 429, 500, 502, 503];

/// Counters of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteMetrics {
    /// The last bucket has no upper bound.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    /// The last counter is for all other status codes.
    statuses: [AtomicU64; STATUSES.len() + 1],
}

impl RouteMetrics {
    /// Counts a response and the time to its first byte.
    pub(crate) fn count(&self, status: StatusCode, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BUCKETS.partition_point(|(bound, _)| *bound < micros)].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
        let at = STATUSES.binary_search(&status.as_u16()).unwrap_or(STATUSES.len());
        self.statuses[at].fetch_add(1, Relaxed);
    }

    pub(crate) fn write_statuses(&self, page: &mut Page, method: &str, route: &str) {
        for (at, count) in self.statuses.iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                let status = STATUSES.get(at).map_or_else(|| "other".to_owned(), u16::to_string);
                let labels = [("method", method), ("route", route), ("status", &*status)];
                page.line("agent_http_requests_total", &labels, count);
            }
        }
    }

    pub(crate) fn write_times(&self, page: &mut Page, method: &str, route: &str) {
        let counts: Vec<u64> = self.buckets.iter().map(|count| count.load(Relaxed)).collect();
        if counts.iter().all(|count| *count == 0) {
            return;
        }
        let mut sum = 0;
        let bounds = BUCKETS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        for (bound, count) in bounds.zip(&counts) {
            sum += count;
            let labels = [("method", method), ("route", route), ("le", bound)];
            page.line("agent_http_request_seconds_bucket", &labels, sum);
        }
        let labels = [("method", method), ("route", route)];
        page.line("agent_http_request_seconds_count", &labels, sum);
        let seconds = Duration::from_micros(self.micros.load(Relaxed)).as_secs_f64();
        page.line("agent_http_request_seconds_sum", &labels, seconds);
    }
}
