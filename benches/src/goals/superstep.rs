//! An empty superstep in graphs of several sizes, the start of a run, and the merge of an update.

use std::{hint::black_box, time::Instant};

use agent_core::{Context, END, Graph, Input, RunOptions, Runtime, START, SessionId, State, run::Limits};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{Probe, Subject, probe, timed};

/// Supersteps per iteration of a ring.
const ROUND: u64 = 30_000;

#[derive(State, Default, Debug, Clone, Serialize, Deserialize)]
pub(super) struct Count {
    #[state(add)]
    pub(super) laps: u64,
}

pub(super) fn options() -> RunOptions {
    RunOptions::default().limits(Limits::default().supersteps(u64::MAX))
}

/// A ring of `nodes` empty nodes; the last one counts the laps.
fn graph(nodes: usize, laps: u64) -> Graph<Count> {
    let last = nodes - 1;
    let mut builder = Graph::<Count>::builder("ring").edge(START, "n0");
    for at in 0..last {
        builder = builder
            .node(format!("n{at}"), async |_: &Count, _: &Context| Ok(()))
            .edge(format!("n{at}"), format!("n{}", at + 1));
    }
    builder
        .node(format!("n{last}"), async |_: &Count, _: &Context| Ok(Count::update().laps(1u64)))
        .branch(
            format!("n{last}"),
            move |state: &Count| if state.laps < laps { "n0" } else { END },
            ["n0", END],
        )
        .build()
        .expect("the ring is a graph")
}

type Boxed = Box<dyn for<'a> Fn(&'a Count) -> BoxFuture<'a, Option<u64>> + Send + Sync>;

/// A loop over boxed futures: the cost of calling async functions that are unknown at compile time.
fn floor(nodes: usize) -> Probe {
    probe(move |times| {
        timed(async move || {
            let calls: Vec<Boxed> = (0..nodes)
                .map(|at| -> Boxed {
                    let more = (at + 1 == nodes).then_some(1);
                    Box::new(move |_| Box::pin(async move { more }))
                })
                .collect();
            for _ in 0..times {
                let mut state = Count::default();
                for _ in 0..ROUND / nodes as u64 {
                    for call in &calls {
                        if let Some(more) = black_box(call)(&state).await {
                            state.laps += more;
                        }
                    }
                }
                black_box(&state);
            }
        })
    })
}

pub(super) fn ring(nodes: usize) -> Subject {
    let graph = graph(nodes, ROUND / nodes as u64);
    let ours = probe(move |times| {
        let graph = graph.clone();
        async move {
            let runtime = Runtime::builder().build();
            let start = Instant::now();
            for _ in 0..times {
                let session = runtime.session_of(SessionId::random());
                let outcome = session.run_with(&graph, Input::Update(Count::update()), options()).await;
                black_box(outcome.expect("the ring ends"));
            }
            start.elapsed()
        }
    });
    let name = match nodes {
        10 => "superstep, no store, 10 nodes",
        100 => "superstep, no store, 100 nodes",
        1_000 => "superstep, no store, 1,000 nodes",
        _ => "superstep, no store, 3,000 nodes",
    };
    Subject {
        name,
        units: ROUND,
        unit: "superstep",
        goal: "≤ 0.15 µs, flat",
        met: |ours, _| ours <= 150.0,
        ours,
        floor: floor(nodes),
    }
}

/// A run of one node on a new session, compared with a spawned task.
pub(super) fn run() -> Subject {
    let graph = graph(1, 1);
    let ours = probe(move |times| {
        let graph = graph.clone();
        async move {
            let runtime = Runtime::builder().build();
            let start = Instant::now();
            for _ in 0..times {
                let session = runtime.session_of(SessionId::random());
                black_box(session.run(&graph, Count::update()).await.expect("it ends"));
            }
            start.elapsed()
        }
    });
    #[expect(clippy::disallowed_methods, reason = "this is the floor: a bare task")]
    let floor = probe(|times| {
        timed(async move || {
            for at in 0..times {
                let _: u64 = tokio::spawn(async move { black_box(at) }).await.expect("it ends");
            }
        })
    });
    Subject {
        name: "whole run of one node, no store",
        units: 1,
        unit: "run",
        goal: "(none set)",
        met: |_, _| true,
        ours,
        floor,
    }
}

/// The merge of a derived update, compared with the assignment.
pub(super) fn apply() -> Subject {
    let times = 1_000;
    Subject {
        name: "apply an update of one field",
        units: times,
        unit: "update",
        goal: "(none set)",
        met: |_, _| true,
        ours: Box::new(move |iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                let mut state = Count::default();
                for _ in 0..times {
                    state.apply(black_box(Count::update().laps(1u64))).expect("it fits");
                }
                black_box(&state);
            }
            start.elapsed()
        }),
        floor: Box::new(move |iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                let mut state = Count::default();
                for _ in 0..times {
                    state.laps = state.laps.checked_add(black_box(1)).expect("it fits");
                }
                black_box(&state);
            }
            start.elapsed()
        }),
    }
}
