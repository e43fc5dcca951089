//! Time, CPU time and memory of a case: samples of many runs, reported per run.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike,
};
use serde_json::{Map, Value, json};

use super::{Result, Times};

/// A sample lasts at least this long.
pub(crate) const SAMPLE: Duration = Duration::from_millis(20);
/// Maximum number of runs per batch; their inputs are created before the clock starts.
const LARGEST: usize = 20_000;

/// Result of a case.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) supersteps: u64,
    /// Runs per sample.
    pub(crate) batch: usize,
    pub(crate) wall_ms: Vec<f64>,
    pub(crate) cpu_ms: Vec<f64>,
    /// Additional values of a family.
    pub(crate) more: Map<String, Value>,
}

impl Report {
    /// The printed line.
    pub(crate) fn of(self, case: &str) -> Value {
        let mut line = json!({
            "case": case,
            "impl": "ours",
            "supersteps": self.supersteps,
            "wall_ms": self.wall_ms,
            "cpu_ms": self.cpu_ms,
            "peak_rss_mib": peak_rss_mib(),
            "batch": self.batch,
        });
        if let Some(line) = line.as_object_mut() {
            line.extend(self.more);
        }
        line
    }

    /// Adds a value of a family.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }
}

pub(crate) fn ms(time: Duration) -> f64 {
    // The clock has a resolution of one nanosecond; more digits would suggest false precision.
    (time.as_secs_f64() * 1e9).round() / 1e6
}

/// The time of one of `count` runs.
pub(crate) fn each(time: Duration, count: usize) -> f64 {
    let nanoseconds = time.as_secs_f64() * 1e9 / count.max(1) as f64;
    (nanoseconds * 10.0).round() / 1e7
}

fn usage(who: UsageWho) -> Result<Usage> {
    Ok(getrusage(who)?)
}

/// CPU time used so far by this process or its children.
pub(crate) fn processor(who: UsageWho) -> Result<Duration> {
    let usage = usage(who)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

fn peak_rss_mib() -> f64 {
    let kib = |who| usage(who).map_or(0, |usage| usage.max_rss());
    let peak = kib(UsageWho::RUSAGE_SELF).max(kib(UsageWho::RUSAGE_CHILDREN));
    (peak as f64 / 1024.0 * 100.0).round() / 100.0
}

/// Work that can be repeated.
pub(crate) trait Work {
    /// Input of one run, created before the clock starts.
    type Input;

    fn input(&self) -> Self::Input;

    /// Runs once; returns the number of supersteps.
    fn run(&mut self, input: Self::Input) -> impl Future<Output = Result<u64>> + Send;

    /// Called between samples; not measured.
    fn renew(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// Measures a case: [`SAMPLE`] determines the runs per sample; `warmup` samples are discarded, `reps` samples
/// count.
pub(crate) async fn measure<W: Work>(work: &mut W, times: Times) -> Result<Report> {
    let mut report = Report { batch: 1, ..Report::default() };
    // The first run includes one-time costs; the batch size is found by growing it.
    report.supersteps = work.run(work.input()).await?;
    loop {
        let (wall, _) = sample(work, report.batch).await?;
        if wall >= SAMPLE || report.batch >= LARGEST {
            break;
        }
        let wanted = SAMPLE.as_secs_f64() * 1.1 / wall.as_secs_f64() * report.batch as f64;
        report.batch =
            (wanted as usize + 1).clamp(report.batch + 1, report.batch.saturating_mul(20).min(LARGEST));
    }
    for rep in 0..times.warmup + times.reps {
        let (wall, cpu) = sample(work, report.batch).await?;
        if rep >= times.warmup {
            report.wall_ms.push(each(wall, report.batch));
            report.cpu_ms.push(each(cpu, report.batch));
        }
    }
    Ok(report)
}

async fn sample<W: Work>(work: &mut W, batch: usize) -> Result<(Duration, Duration)> {
    work.renew().await?;
    let inputs: Vec<W::Input> = (0..batch).map(|_| work.input()).collect();
    let (cpu, start) = (processor(UsageWho::RUSAGE_SELF)?, Instant::now());
    for input in inputs {
        work.run(input).await?;
    }
    let wall = start.elapsed();
    Ok((wall, processor(UsageWho::RUSAGE_SELF)? - cpu))
}
