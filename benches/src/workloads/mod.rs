//! Cases for the comparison with other projects: one file per family, one way to measure.

mod case;
mod cold;
mod compile;
pub(crate) mod conversation;
pub(crate) mod fanout;
pub(crate) mod growth;
pub(crate) mod interrupt;
mod measure;
mod react;
pub(crate) mod sequential;
pub(crate) mod setting;
mod stream;
mod wide;

use std::{io::Write, process::ExitCode};

use case::Case;
use measure::Report;

/// Error of a case.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// Result of a case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

const USAGE: &str = "usage: workloads CASE [--reps N] [--warmup N]";
/// Exit status for an unknown case.
const UNKNOWN: u8 = 3;

/// How often a case is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) reps: usize,
    pub(crate) warmup: usize,
}

/// Runs the command and returns its exit status: 0, 1 (failed), 2 (invalid arguments), 3 (unknown case).
pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let Some((name, times)) = parse(args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // The child of `cold`: a process that runs one chain and exits.
    if name == cold::CHILD {
        return ended(cold::child());
    }
    let report = Case::parse(&name).and_then(|case| run(&case, times));
    match report {
        None => {
            eprintln!("no case `{name}`");
            ExitCode::from(UNKNOWN)
        }
        Some(report) => ended(report.and_then(|report| {
            let line = serde_json::to_string(&report.of(&name))?;
            writeln!(std::io::stdout(), "{line}")?;
            Ok(())
        })),
    }
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: impl Iterator<Item = String>) -> Option<(String, Times)> {
    let (mut name, mut times) = (None, Times { reps: 20, warmup: 3 });
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--reps" => times.reps = args.next()?.parse().ok().filter(|&reps| reps > 0)?,
            "--warmup" => times.warmup = args.next()?.parse().ok()?,
            _ if name.is_none() && !arg.starts_with("--") => name = Some(arg),
            _ => return None,
        }
    }
    Some((name?, times))
}

/// Finds the family of a case and measures it; `None` for an unknown family.
fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    sequential::run(case, times)
        .or_else(|| fanout::run(case, times))
        .or_else(|| react::run(case, times))
        .or_else(|| wide::run(case, times))
        .or_else(|| compile::run(case, times))
        .or_else(|| cold::run(case, times))
        .or_else(|| growth::run(case, times))
        .or_else(|| interrupt::run(case, times))
        .or_else(|| stream::run(case, times))
}
