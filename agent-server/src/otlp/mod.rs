//! OpenTelemetry traces: the spans of `agent_core::telemetry` and one per request, exported over OTLP/HTTP.
//!
//! `export` sends spans, `enabled` installs the exporter; `disabled` replaces both without the feature `otlp`.

#[cfg(not(feature = "otlp"))]
mod disabled;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod enabled;

#[cfg(all(feature = "cli", not(feature = "otlp")))]
pub(crate) use disabled::Traces;
#[cfg(not(feature = "otlp"))]
pub(crate) use disabled::{adopt, ended};
#[cfg(feature = "otlp")]
pub(crate) use enabled::{Traces, adopt, ended};

/// Target of the spans of requests, which are exported but not logged.
pub(crate) const REQUEST_TARGET: &str = "agent_server::span";

/// Settings of the exporter.
#[cfg(feature = "cli")]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only its presence is checked"))]
#[derive(Debug, Clone)]
pub(crate) struct TraceOptions {
    /// URL of the collector.
    pub(crate) endpoint: String,
    /// Additional headers of requests to the collector.
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) service_name: String,
    pub(crate) sampler: TraceSampler,
    /// Fraction of traces that the ratio samplers export.
    pub(crate) ratio: f64,
}

/// Selection of the traces that are exported.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceSampler {
    /// All traces.
    AlwaysOn,
    /// No trace.
    AlwaysOff,
    /// A fraction of all traces.
    Ratio,
    /// The decision of the caller; all traces without one.
    ParentOn,
    /// The decision of the caller; no trace without one.
    ParentOff,
    /// The decision of the caller; a fraction of the traces without one.
    ParentRatio,
}

#[cfg(feature = "cli")]
impl TraceSampler {
    /// Names of the samplers.
    pub(crate) const WORDS: [(&str, Self); 6] = [
        ("always_on", Self::AlwaysOn),
        ("always_off", Self::AlwaysOff),
        ("traceidratio", Self::Ratio),
        ("parentbased_always_on", Self::ParentOn),
        ("parentbased_always_off", Self::ParentOff),
        ("parentbased_traceidratio", Self::ParentRatio),
    ];
}

/// Returns whether a span is exported, and not logged.
#[cfg(feature = "cli")]
pub(crate) fn is_ours(metadata: &tracing::Metadata<'_>) -> bool {
    let ours = [agent_core::telemetry::TARGET, REQUEST_TARGET];
    metadata.is_span() && ours.contains(&metadata.target())
}
