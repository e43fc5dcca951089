//! Performance goals, each with a hand-written baseline for the same purpose.

mod events;
mod fanout;
mod first_token;
pub mod idle;
mod journal;
mod resume;
mod superstep;

use std::{
    future::Future,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Runs something a number of times and returns the duration.
pub type Probe = Box<dyn FnMut(u64) -> Duration>;

/// A performance goal.
pub struct Subject {
    /// Name of the measurement.
    pub name: &'static str,
    /// Units (supersteps, tasks, events) per iteration.
    pub units: u64,
    /// Name of the unit.
    pub unit: &'static str,
    /// Text of the goal.
    pub goal: &'static str,
    /// Whether a time per unit in nanoseconds, and that of the baseline, meets the goal.
    pub met: fn(f64, f64) -> bool,
    /// This project.
    pub ours: Probe,
    /// The hand-written baseline.
    pub floor: Probe,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).field("goal", &self.goal).finish_non_exhaustive()
    }
}

/// Constructors of all goals with a time. Each is called when its turn comes.
#[must_use]
pub fn all() -> Vec<fn() -> Subject> {
    vec![
        || superstep::ring(10),
        || superstep::ring(100),
        || superstep::ring(1_000),
        || superstep::ring(3_000),
        superstep::run,
        superstep::apply,
        fanout::edges,
        fanout::sends,
        journal::memory,
        journal::sqlite,
        journal::growth,
        resume::resume,
        events::stream,
        first_token::first_token,
    ]
}

fn tokio() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime can be made"))
}

/// Waits for a future inside a spawned task, like the code of a server.
#[expect(clippy::disallowed_methods, reason = "the benchmark is the owner: it waits for the task at once")]
fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio().block_on(async { tokio::spawn(work).await.expect("a benchmark that panics has failed") })
}

/// Spawns a task without an owner: what a floor does, and the frame of a measurement.
#[expect(clippy::disallowed_methods, reason = "the floor is a bare task; every caller waits for it")]
pub fn spawn_bare<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}

/// Creates a probe from async work that returns the time to count.
fn probe<F, Fut>(work: F) -> Probe
where
    F: Fn(u64) -> Fut + 'static,
    Fut: Future<Output = Duration> + Send + 'static,
{
    Box::new(move |times| spawned(work(times)))
}

async fn timed(work: impl AsyncFnOnce()) -> Duration {
    let start = Instant::now();
    work().await;
    start.elapsed()
}
