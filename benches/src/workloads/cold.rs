//! `cold`: a whole process with one run of a chain of three nodes.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use agent_core::model::Messages;
use nix::sys::resource::UsageWho;

use super::{
    Result, Times,
    case::{Case, Saver},
    measure::{Report, SAMPLE, each, processor},
    sequential::{Chat, sequential},
    setting::{Setting, on_tokio, one_run},
};

/// The argument that makes this program the child.
pub(crate) const CHILD: &str = "cold-child";

/// Main function of the child process.
pub(crate) fn child() -> Result<()> {
    let case = Case::parse("cold").ok_or("no case")?;
    let here = case.clone();
    on_tokio(&case, async move {
        let setting = Setting::new(&here, None).await?;
        let graph = sequential(3).build()?;
        one_run(&setting.runtime, &graph, Chat::update().messages(Messages::new()), |_| {}).await?;
        setting.close().await;
        Ok(())
    })
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    (case.family == "cold" && case.saver == Saver::Nowhere).then(|| parent(times))
}

fn parent(times: Times) -> Result<Report> {
    let program = std::env::current_exe()?;
    let start_one = || -> Result<()> {
        let status = Command::new(&program).arg(CHILD).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("the child ended with {status}").into()) }
    };
    let mut report = Report { supersteps: 3, batch: 1, ..Report::default() };
    let first = Instant::now();
    start_one()?;
    report.batch = (SAMPLE.as_secs_f64() / first.elapsed().as_secs_f64()) as usize + 1;
    for rep in 0..times.warmup + times.reps {
        let (cpu, start) = (processor(UsageWho::RUSAGE_CHILDREN)?, Instant::now());
        for _ in 0..report.batch {
            start_one()?;
        }
        let wall = start.elapsed();
        if rep >= times.warmup {
            report.wall_ms.push(each(wall, report.batch));
            report.cpu_ms.push(each(processor(UsageWho::RUSAGE_CHILDREN)? - cpu, report.batch));
        }
    }
    Ok(report)
}
