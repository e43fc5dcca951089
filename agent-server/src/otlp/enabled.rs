//! Export of spans to a collector: selection, parents of request spans, and their end.

use std::time::Duration;

use hyper::HeaderMap;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use super::{TraceOptions, TraceSampler, export::Exporter, is_ours};

/// Span processor and exporter. At most 2,048 spans are queued; further ones are dropped.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Creates the exporter if an endpoint is configured. `threads`: the runtime for requests to the collector.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub(crate) fn open(options: Option<&TraceOptions>, threads: &Handle) -> Result<Option<Self>, String> {
        let Some(options) = options else { return Ok(None) };
        let exporter = Exporter::new(&options.endpoint, options.headers.clone(), threads.clone())?;
        let resource = Resource::builder()
            .with_service_name(options.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler(options.sampler, options.ratio))
            .with_batch_exporter(exporter)
            .build();
        Ok(Some(Self { provider }))
    }

    /// Layer that receives the spans for the collector, but no log events.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let scope =
            InstrumentationScope::builder("agent-server").with_version(env!("CARGO_PKG_VERSION")).build();
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer_with_scope(scope))
            .with_context_activation(false)
            .with_level(false)
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_ours))
    }

    /// Exports the remaining spans, for at most `within`.
    pub(crate) async fn close(self, within: Duration) {
        let closing = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(within));
        if !matches!(closing.await, Ok(Ok(()))) {
            tracing::warn!("the last traces were not exported");
        }
    }
}

fn sampler(choice: TraceSampler, ratio: f64) -> Sampler {
    let parent_based = |root: Sampler| Sampler::ParentBased(Box::new(root));
    match choice {
        TraceSampler::AlwaysOn => Sampler::AlwaysOn,
        TraceSampler::AlwaysOff => Sampler::AlwaysOff,
        TraceSampler::Ratio => Sampler::TraceIdRatioBased(ratio),
        TraceSampler::ParentOn => parent_based(Sampler::AlwaysOn),
        TraceSampler::ParentOff => parent_based(Sampler::AlwaysOff),
        TraceSampler::ParentRatio => parent_based(Sampler::TraceIdRatioBased(ratio)),
    }
}

/// Makes a request part of the caller's trace if it has trace headers. Must be called before the span is entered.
pub(crate) fn adopt(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let caller = TraceContextPropagator::new().extract(&Headers(headers));
    if caller.span().span_context().is_valid()
        && let Err(error) = span.set_parent(caller)
    {
        tracing::debug!(%error, "a request is not part of its caller's trace");
    }
}

/// Ends the span of a request explicitly: runs started by the request would otherwise keep it open.
pub(crate) fn ended(span: &Span) {
    if !span.is_disabled() {
        span.context().span().end();
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(hyper::header::HeaderName::as_str).collect()
    }
}
