//! Build without the feature `otlp`: nothing is exported, and a configured endpoint is an error.

#[cfg(feature = "cli")]
pub(crate) use self::traces::Traces;

#[cfg(feature = "cli")]
mod traces {
    use std::time::Duration;

    use tokio::runtime::Handle;
    use tracing_subscriber::{Layer, layer::Identity, registry::LookupSpan};

    use crate::otlp::TraceOptions;

    /// The exporter, which this build does not have.
    #[derive(Debug)]
    pub(crate) enum Traces {}

    impl Traces {
        /// Checks that no endpoint is configured.
        ///
        /// # Errors
        ///
        /// An endpoint is configured.
        pub(crate) fn open(options: Option<&TraceOptions>, _: &Handle) -> Result<Option<Self>, String> {
            match options {
                Some(_) => Err("OTEL_EXPORTER_OTLP_ENDPOINT is set, but this build has no trace exporter; \
                                build with `--features otlp`, or remove the setting"
                    .to_owned()),
                None => Ok(None),
            }
        }

        pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
        where
            S: tracing::Subscriber + for<'a> LookupSpan<'a>,
        {
            Identity::new()
        }

        pub(crate) async fn close(self, _: Duration) {}
    }
}

pub(crate) const fn adopt(_: &tracing::Span, _: &hyper::HeaderMap) {}

pub(crate) const fn ended(_: &tracing::Span) {}
