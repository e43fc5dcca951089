//! A build without the feature `otlp`: nothing is sent, and an endpoint in the settings is an error.

#[cfg(feature = "cli")]
pub(crate) use self::traces::Traces;

#[cfg(feature = "cli")]
mod traces {
    use std::time::Duration;

    use tokio::runtime::Handle;
    use tracing_subscriber::{Layer, layer::Identity, registry::LookupSpan};

    use crate::Config;

    /// What sends. There is none.
    #[derive(Debug)]
    pub(crate) enum Traces {}

    impl Traces {
        /// What sends, if the settings say where to.
        ///
        /// # Errors
        ///
        /// Whenever they do.
        pub(crate) fn open(config: &Config, _: &Handle) -> Result<Option<Self>, String> {
            match &config.otlp {
                Some(_) => Err("OTEL_EXPORTER_OTLP_ENDPOINT is said, and this build sends no traces; \
                                build with `--features otlp`, or leave it out"
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
