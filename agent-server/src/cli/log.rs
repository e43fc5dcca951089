//! Log on standard error. Errors of writing it (a full disk, a reader that has gone) are ignored.

use std::io::{self, Stderr, Write};

use tracing_subscriber::{
    Layer,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt::format::FmtSpan,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    config::{Config, LogFormat},
    otlp::{self, Traces},
};

/// Standard error that drops lines which cannot be written. The subscriber would report them on standard error, which
/// panics.
struct Lossy(Stderr);

impl Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).or(Ok(()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().or(Ok(()))
    }
}

fn lossy() -> Lossy {
    Lossy(io::stderr())
}

/// Installs the log. A server logs information, a tool only errors.
pub(super) fn begin(config: &Config, serves: bool, traces: Option<&Traces>) {
    let quiet = !serves && !config.is_set("LOG_LEVEL") && !config.debug;
    let level = if quiet { tracing::Level::ERROR } else { config.level() };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_span_events(FmtSpan::NONE)
        .log_internal_errors(false)
        .with_writer(lossy);
    // Spans for the tracing backend are never logged, and cost nothing without one.
    let without_traces = || filter_fn(|metadata| !otlp::is_ours(metadata));
    match (config.log_format, traces) {
        (LogFormat::Text, None) => log.finish().with(without_traces()).init(),
        (LogFormat::Json, None) => log.json().finish().with(without_traces()).init(),
        (format, Some(traces)) => {
            let lines = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_span_events(FmtSpan::NONE)
                .log_internal_errors(false)
                .with_writer(lossy);
            let lines = match format {
                LogFormat::Text => lines.boxed(),
                LogFormat::Json => lines.json().boxed(),
            };
            let lines = lines.with_filter(LevelFilter::from_level(level).and(without_traces()));
            tracing_subscriber::registry().with(lines).with(traces.layer()).init();
        }
    }
    if serves {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
    }
}
