//! Traces for OpenTelemetry: the spans of `agent_core::telemetry` and one a request, sent to a collector over OTLP/HTTP.
//!
//! `export` sends, `present` puts it into the process; `absent` stands in where the feature `otlp` is off.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod present;

#[cfg(not(feature = "otlp"))]
pub(crate) use absent::{Traces, adopt, ended};
#[cfg(feature = "otlp")]
pub(crate) use present::{Traces, adopt, ended};

use tracing::Metadata;

use crate::http::trace::SPANS;

/// Whether a span is for a collector, and not for the log.
pub(crate) fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && matches!(metadata.target(), agent_core::telemetry::TARGET | SPANS)
}
