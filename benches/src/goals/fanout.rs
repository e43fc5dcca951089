//! One superstep of a thousand tasks, by edges and by sends.

use std::{hint::black_box, time::Instant};

use agent_core::{Graph, Input, Runtime, SessionId};
use futures::future::BoxFuture;

use super::{Probe, Subject, probe, superstep::options, timed};
use crate::workloads::fanout::{self, Items};

const TASKS: usize = 1_000;

fn ours(graph: Graph<Items>) -> Probe {
    probe(move |times| {
        let graph = graph.clone();
        async move {
            let runtime = Runtime::builder().build();
            let start = Instant::now();
            for _ in 0..times {
                let session = runtime.session_of(SessionId::random());
                let outcome = session.run(&graph, Input::Update(Items::update())).options(options()).await;
                let outcome = outcome.expect("it ends");
                assert_eq!(outcome.state().map(|state| state.items.len()), Some(TASKS));
            }
            start.elapsed()
        }
    })
}

/// The calls in sequence, each a boxed future that returns a list of one element; the lists are concatenated.
fn floor() -> Probe {
    type Boxed = Box<dyn Fn() -> BoxFuture<'static, Vec<usize>> + Send + Sync>;
    probe(|times| {
        timed(async move || {
            let calls: Vec<Boxed> = (0..TASKS)
                .map(|at| -> Boxed { Box::new(move || Box::pin(async move { vec![at] })) })
                .collect();
            for _ in 0..times {
                let mut items = Vec::new();
                for call in &calls {
                    items.extend(black_box(call)().await);
                }
                black_box(&items);
            }
        })
    })
}

fn subject(
    name: &'static str,
    goal: &'static str,
    met: fn(f64, f64) -> bool,
    graph: Graph<Items>,
) -> Subject {
    Subject { name, units: TASKS as u64, unit: "task", goal, met, ours: ours(graph), floor: floor() }
}

pub(super) fn edges() -> Subject {
    let graph = fanout::edges(TASKS).expect("it is a graph");
    subject("fan-out of 1,000 by edges, no store", "≤ 0.5 µs", |ours, _| ours <= 500.0, graph)
}

pub(super) fn sends() -> Subject {
    let graph = fanout::sends(TASKS).expect("it is a graph");
    subject("fan-out of 1,000 by sends, no store", "≤ 0.6 µs", |ours, _| ours <= 600.0, graph)
}
