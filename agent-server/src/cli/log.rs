//! The log on standard error. A log that cannot be written (a full disk, a reader that has gone) fails nothing else.

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

/// Standard error whose faults are dropped together with the lines they befall. The log's own way to report a fault is
/// a line on standard error, which would panic.
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

/// Begins the log. A server logs what it does; a tool only what is wrong.
pub(super) fn begin(config: &Config, serves: bool, traces: Option<&Traces>) {
    let quiet = !serves && !config.is_said("LOG_LEVEL") && !config.debug;
    let level = if quiet { tracing::Level::ERROR } else { config.level() };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_span_events(FmtSpan::NONE)
        .log_internal_errors(false)
        .with_writer(lossy);
    // What is for a tracing backend costs nothing where there is none, and never stands in the log.
    let kept_out = || filter_fn(|metadata| !otlp::is_ours(metadata));
    match (config.log_format, traces) {
        (LogFormat::Text, None) => log.finish().with(kept_out()).init(),
        (LogFormat::Json, None) => log.json().finish().with(kept_out()).init(),
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
            let lines = lines.with_filter(LevelFilter::from_level(level).and(kept_out()));
            tracing_subscriber::registry().with(lines).with(traces.layer()).init();
        }
    }
    if serves {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
    }
}
