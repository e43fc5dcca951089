//! Traces for OpenTelemetry: the spans of `agent_core::telemetry` and one a request, sent to a collector over OTLP/HTTP.
//!
//! `export` sends, `present` puts it into the process; `absent` stands in where the feature `otlp` is off.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod present;

#[cfg(all(feature = "cli", not(feature = "otlp")))]
pub(crate) use absent::Traces;
#[cfg(not(feature = "otlp"))]
pub(crate) use absent::{adopt, ended};
#[cfg(feature = "otlp")]
pub(crate) use present::{Traces, adopt, ended};

/// Whether a span is for a collector, and not for the log.
#[cfg(feature = "cli")]
pub(crate) fn is_ours(metadata: &tracing::Metadata<'_>) -> bool {
    let ours = [agent_core::telemetry::TARGET, crate::http::trace::SPANS];
    metadata.is_span() && ours.contains(&metadata.target())
}
