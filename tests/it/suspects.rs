//! A run that ends its process again and again, and its innocent neighbours: only the run that ends the process fails.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Context, END, Graph, Runtime, START, State, journal::InMemoryJournal, run::RunStatus,
    testing::HookedStore,
};
use serde::{Deserialize, Serialize};
use tests::{Dying, World, journal};
use tokio::time::{Instant, sleep};

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Step {
    name: String,
    #[state(add)]
    done: u64,
}

struct Process {
    store: Arc<HookedStore<Dying>>,
    world: Arc<World>,
}

/// The step of the run `poison` ends the process after the time `fuse`; the others take the time `step`.
fn graph(fuse: Duration, step_time: Duration) -> Graph<Step> {
    Graph::<Step>::builder("step")
        .node("work", async move |step: &Step, cx: &Context| {
            let process = cx.get::<Process>()?;
            process.world.happens(step.name.clone());
            if step.name == "poison" {
                sleep(fuse).await;
                process.store.kill();
                return std::future::pending().await;
            }
            sleep(step_time).await;
            Ok(Step::update().done(1u64))
        })
        .path([START, "work", END])
        .build()
        .unwrap()
}

fn process(
    journal: &Arc<InMemoryJournal>,
    world: &Arc<World>,
    graph: &Graph<Step>,
) -> (Runtime, Arc<HookedStore<Dying>>) {
    let store = Dying::never(journal);
    let process = Process { store: store.clone(), world: Arc::clone(world) };
    (Runtime::builder().journal(store.clone()).graph(graph).provide(process).build(), store)
}

/// How the runs end.
#[derive(Debug, Default)]
struct Ends {
    /// Processes until all runs have ended.
    processes: u32,
    /// The longest life of a process.
    longest: Duration,
    /// Runs that failed as `crash_loop`.
    failed: Vec<String>,
}

/// Executes `innocent` runs and the one that ends the process, in one process after another, until all have ended.
async fn execute(fuse: Duration, step_time: Duration, innocent: usize) -> Ends {
    let (journal, world, graph) = (journal(), Arc::new(World::default()), graph(fuse, step_time));
    let names: Vec<String> =
        (0..innocent).map(|number| format!("run-{number}")).chain(["poison".to_owned()]).collect();
    let (runtime, store) = process(&journal, &world, &graph);
    for name in &names {
        let update = Step::update().name(name.clone());
        runtime.session(name).unwrap().run(&graph, update).start().await.unwrap();
    }
    until_dead(&runtime, &store).await;
    let mut ends = Ends { processes: 1, ..Ends::default() };
    while ends.processes < 30 {
        ends.processes += 1;
        let (runtime, store) = process(&journal, &world, &graph);
        let report = runtime.recover().await.unwrap();
        assert!(report.skipped.is_empty(), "{:?}", report.skipped.first());
        ends.failed.extend(report.failed.iter().map(|failed| failed.session.to_string()));
        if ends.processes <= 2 && fuse < step_time {
            assert_eq!(report.resumed.len(), names.len(), "without a delay");
        }
        let began = Instant::now();
        until_dead(&runtime, &store).await;
        ends.longest = ends.longest.max(began.elapsed());
        if !store.is_dead() {
            break;
        }
    }
    let (runtime, _store) = process(&journal, &world, &graph);
    for name in &names {
        let status = runtime.session(name).unwrap().status().await.unwrap();
        let wanted = if ends.failed.contains(name) { RunStatus::Failed } else { RunStatus::Completed };
        assert_eq!(status.status, wanted, "{name} of {ends:?}");
        if let Some(failure) = status.failure {
            assert_eq!(failure.code, "crash_loop");
        }
    }
    ends
}

/// Waits until the process is dead, or has nothing left to do.
async fn until_dead(runtime: &Runtime, store: &Arc<HookedStore<Dying>>) {
    for second in 0..3_600 {
        if store.is_dead() {
            break;
        }
        let report = runtime.sweep().await.unwrap();
        if second > 0 && runtime.live_runs() == 0 && report.suspects.is_empty() && report.resumed.is_empty() {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(store.is_dead(), "it never ends");
    runtime.shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn only_the_run_that_ends_the_process_fails() {
    let cases = [
        (5, 30_000, 20),
        (2_000, 30_000, 20),
        (9_000, 30_000, 20),
        (25_000, 30_000, 20),
        (45_000, 90_000, 8),
    ];
    for (fuse, step, innocent) in cases {
        let (fuse, step) = (Duration::from_millis(fuse), Duration::from_millis(step));
        for _ in 0..5 {
            let ends = execute(fuse, step, innocent).await;
            assert_eq!(ends.failed, ["poison"], "{fuse:?}: {ends:?}");
            assert_eq!(ends.processes, 5, "{fuse:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_the_process_after_minutes_fails_too() {
    let ends = execute(Duration::from_secs(200), Duration::from_secs(30), 20).await;
    assert_eq!(ends.failed, ["poison"], "{ends:?}");
    assert_eq!(ends.processes, 6, "one takeover is not counted");
}

#[tokio::test(start_paused = true)]
async fn many_runs_in_doubt_are_all_taken_over_within_minutes() {
    let ends = execute(Duration::from_secs(1), Duration::from_secs(30), 300).await;
    assert_eq!(ends.failed, ["poison"], "{ends:?}");
    assert!(ends.longest < Duration::from_secs(660), "{ends:?}");
}
