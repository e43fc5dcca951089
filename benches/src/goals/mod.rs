//! What the project wants to cost, each as ours and as the floor that one would write by hand for that one purpose.

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

/// Runs something so many times and says how long that took.
pub type Probe = Box<dyn FnMut(u64) -> Duration>;

/// One goal.
pub struct Subject {
    /// What is measured.
    pub name: &'static str,
    /// Units (supersteps, tasks, events) in one iteration.
    pub units: u64,
    /// What one unit is called.
    pub unit: &'static str,
    /// The goal, as it is told to people.
    pub goal: &'static str,
    /// Whether a number of nanoseconds a unit, and of the floor's, meets the goal.
    pub met: fn(f64, f64) -> bool,
    /// Ours.
    pub ours: Probe,
    /// The hand-written floor.
    pub floor: Probe,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).field("goal", &self.goal).finish_non_exhaustive()
    }
}

/// Everything that has a goal in time. Each is made when its turn comes.
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

/// Waits for a future inside a spawned task, as a server's code would run.
#[expect(clippy::disallowed_methods, reason = "the benchmark is the owner: it waits for the task at once")]
fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio().block_on(async { tokio::spawn(work).await.expect("a benchmark that panics has failed") })
}

/// A probe of an async piece of work that returns the time it wants to be counted.
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
