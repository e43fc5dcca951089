//! Scale curves: the cost of one unit against the size of what surrounds it, with a hand-written floor beside it.
//!
//! A line that rises says that something is worse than linear.

use futures::future::BoxFuture;
use std::{
    collections::HashMap,
    future::Future,
    hint::black_box,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{
    Context, Durability, END, Graph, Input, RunOptions, Runtime, START, SessionId, State,
    event::{EventFilter, EventKind, UpdateForm},
    journal::InMemoryJournal,
    run::Limits,
};
use serde::{Deserialize, Serialize};

use crate::workloads::{Error, Result};

/// One point of a curve.
#[derive(Debug, Serialize)]
pub struct Point {
    /// Name of the curve.
    pub curve: &'static str,
    /// Size.
    pub n: usize,
    /// Time of one unit, in nanoseconds.
    pub ours: f64,
    /// The same by hand.
    pub floor: f64,
}

/// Name, unit, sizes and measurement of each curve.
type Curve = (&'static str, &'static [usize], fn(usize) -> Work);
type Work = Pin<Box<dyn Future<Output = Result<(f64, f64)>> + Send>>;

/// The curves.
pub const CURVES: &[Curve] = &[
    ("nodes (a superstep)", &[10, 100, 1_000, 10_000], |n| Box::pin(nodes(n))),
    ("fan-out (a task)", &[10, 100, 1_000, 10_000], |n| Box::pin(fan_out(n))),
    ("turns (a turn, memory journal)", &[10, 100, 1_000, 10_000], |n| Box::pin(turns(n))),
    (
        "state size in bytes (a superstep, memory journal)",
        &[1_000, 10_000, 100_000, 1_000_000, 10_000_000],
        |n| Box::pin(state_size(n)),
    ),
    ("subscribers (an event at one of them)", &[1, 10, 100, 1_000, 5_000], |n| Box::pin(subscribers(n))),
    ("sessions (a run of one node)", &[1, 100, 10_000, 100_000], |n| Box::pin(sessions(n))),
];

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Tally {
    #[state(add)]
    laps: u64,
    /// Large and unchanged.
    text: String,
    #[state(append)]
    lines: Vec<String>,
}

fn options() -> RunOptions {
    RunOptions::default().limits(Limits::default().supersteps(u64::MAX))
}

/// The fastest of five samples, in nanoseconds for each of `units`.
async fn fastest<F: Future<Output = Result<Duration>>>(units: usize, sample: impl Fn() -> F) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..5 {
        best = best.min(sample().await?.as_secs_f64() * 1e9 / units as f64);
    }
    Ok(best)
}

fn ring(nodes: usize, laps: u64) -> Result<Graph<Tally>> {
    let last = nodes - 1;
    let mut builder = Graph::<Tally>::builder("ring").edge(START, "n0");
    for at in 0..last {
        builder = builder
            .node(format!("n{at}"), async |_: &Tally, _: &Context| Ok(()))
            .edge(format!("n{at}"), format!("n{}", at + 1));
    }
    Ok(builder
        .node(format!("n{last}"), async |_: &Tally, _: &Context| Ok(Tally::update().laps(1u64)))
        .branch(format!("n{last}"), move |s: &Tally| if s.laps < laps { "n0" } else { END }, ["n0", END])
        .build()?)
}

async fn nodes(n: usize) -> Result<(f64, f64)> {
    let laps = (30_000 / n).max(1);
    let graph = ring(n, laps as u64)?;
    let runtime = Runtime::builder().build();
    let ours = fastest(laps * n, || async {
        let session = runtime.session_of(SessionId::random());
        let start = Instant::now();
        session.run(&graph, Tally::update()).options(options()).await?;
        Ok(start.elapsed())
    });
    let floor = fastest(laps * n, || async {
        let calls: Vec<fn() -> BoxFuture<'static, ()>> = vec![|| Box::pin(async {}); n];
        let start = Instant::now();
        for _ in 0..laps {
            for call in &calls {
                black_box(call)().await;
            }
        }
        Ok(start.elapsed())
    });
    Ok((ours.await?, floor.await?))
}

async fn fan_out(n: usize) -> Result<(f64, f64)> {
    let mut builder = Graph::<Tally>::builder("fan").node("source", async |_: &Tally, _: &Context| Ok(()));
    let names: Vec<String> = (0..n).map(|at| format!("w{at}")).collect();
    for name in &names {
        builder = builder
            .node(name, async |_: &Tally, _: &Context| Ok(Tally::update().laps(1u64)))
            .edge("source", name)
            .edge(name, END);
    }
    let graph = builder.edge(START, "source").build()?;
    let runtime = Runtime::builder().build();
    let ours = fastest(n, || async {
        let session = runtime.session_of(SessionId::random());
        let start = Instant::now();
        session.run(&graph, Tally::update()).await?;
        Ok(start.elapsed())
    });
    let floor = fastest(n, || async {
        let start = Instant::now();
        let tasks = (0..n)
            .map(|at| Box::pin(async move { black_box(at) }) as Pin<Box<dyn Future<Output = _> + Send>>);
        black_box(futures::future::join_all(tasks).await);
        Ok(start.elapsed())
    });
    Ok((ours.await?, floor.await?))
}

async fn turns(n: usize) -> Result<(f64, f64)> {
    let graph = Graph::<Tally>::builder("turns")
        .node("reply", async |_: &Tally, _: &Context| Ok(Tally::update().lines(["x".repeat(400)])))
        .edge(START, "reply")
        .edge("reply", END)
        .build()?;
    let last = n.div_ceil(10);
    let ours = fastest(last, || async {
        let runtime = Runtime::builder().journal(InMemoryJournal::new()).durability(Durability::Sync).build();
        let session = runtime.session_of(SessionId::random());
        let mut start = Instant::now();
        for turn in 0..n {
            if turn == n - last {
                start = Instant::now();
            }
            session.run(&graph, Tally::update().lines(["y".repeat(400)])).await?;
        }
        Ok(start.elapsed())
    });
    let floor = fastest(last, || async {
        let mut journal = Vec::new();
        let start = Instant::now();
        for _ in 0..last {
            journal.push([serde_json::to_vec(&"x".repeat(400))?, serde_json::to_vec(&"y".repeat(400))?]);
        }
        black_box(&journal);
        Ok(start.elapsed())
    });
    Ok((ours.await?, floor.await?))
}

async fn state_size(bytes: usize) -> Result<(f64, f64)> {
    const STEPS: usize = 300;
    let graph = ring(10, STEPS as u64 / 10)?;
    let text = "x".repeat(bytes);
    let ours = fastest(STEPS, || async {
        let runtime = Runtime::builder().journal(InMemoryJournal::new()).durability(Durability::Sync).build();
        let session = runtime.session_of(SessionId::random());
        // The first run stores the large field; it is not measured.
        let input = Tally::update().text(text.clone()).laps(STEPS as u64);
        session.run(&graph, input).options(options()).await?;
        let back = Tally::update().overwrite_laps(0u64);
        let start = Instant::now();
        session.run(&graph, Input::Update(back)).options(options()).await?;
        Ok(start.elapsed())
    });
    Ok((ours.await?, 0.0))
}

async fn subscribers(n: usize) -> Result<(f64, f64)> {
    const EVENTS: usize = 100;
    let graph = ring(10, EVENTS as u64 / 10)?;
    let filter = EventFilter::none().with(EventKind::NodeFinished).with_ends().updates(UpdateForm::Typed);
    let ours = fastest(EVENTS * n, || async {
        let session = Runtime::builder().build().session_of(SessionId::random());
        let mut all: Vec<_> = (0..n).map(|_| session.subscribe_to(None, filter)).collect();
        let start = Instant::now();
        session.run(&graph, Tally::update()).options(options()).await?;
        for events in &mut all {
            while !events.next().await?.body.ends_run() {}
        }
        Ok(start.elapsed())
    });
    let floor = fastest(EVENTS * n, || async {
        let (send, _) = tokio::sync::broadcast::channel(EVENTS * 2);
        let mut all: Vec<_> = (0..n).map(|_| send.subscribe()).collect();
        let start = Instant::now();
        for at in 0..EVENTS {
            send.send(Arc::new(at)).map_err(|_| "nothing receives")?;
        }
        for events in &mut all {
            for _ in 0..EVENTS {
                black_box(events.recv().await?);
            }
        }
        Ok(start.elapsed())
    });
    Ok((ours.await?, floor.await?))
}

async fn sessions(n: usize) -> Result<(f64, f64)> {
    let graph = ring(1, 1)?;
    let runtime = Runtime::builder().options(|options| options.max_idle_sessions = usize::MAX).build();
    for at in 0..n {
        runtime.session(&format!("s{at}"))?.run(&graph, Tally::update()).await?;
    }
    let measured = 1_000;
    let ours = fastest(measured, || async {
        let start = Instant::now();
        for _ in 0..measured {
            runtime.session_of(SessionId::random()).run(&graph, Tally::update()).await?;
        }
        Ok(start.elapsed())
    });
    let floor = fastest(measured, || async {
        let mut known: HashMap<String, u64> = (0..n).map(|at| (format!("s{at}"), 0)).collect();
        let start = Instant::now();
        for at in 0..measured {
            let join = crate::goals::spawn_bare(async move { at as u64 });
            known.insert(format!("r{at}"), join.await?);
        }
        black_box(&known);
        Ok(start.elapsed())
    });
    Ok((ours.await?, floor.await?))
}

/// Measures every point and hands it to `print`.
///
/// # Errors
///
/// Those of the runs.
pub async fn run(only: Option<String>, print: impl Fn(&Point)) -> Result<(), Error> {
    for &(curve, sizes, measure) in CURVES {
        if only.as_ref().is_some_and(|only| !curve.contains(only.as_str())) {
            continue;
        }
        for &n in sizes {
            let (ours, floor) = measure(n).await?;
            print(&Point { curve, n, ours, floor });
        }
    }
    Ok(())
}
