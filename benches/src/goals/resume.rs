//! Latency from an answer to the end of the run that waits for it, in one process.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use agent_core::{Answers, Runtime, SessionId, State};

use super::{Subject, probe};
use crate::workloads::interrupt::{self, Form};

pub(super) fn resume() -> Subject {
    let graph = interrupt::graph().expect("it is a graph");
    let ours = probe(move |times| {
        let graph = graph.clone();
        async move {
            let runtime = Runtime::builder().build();
            let mut took = Duration::ZERO;
            for _ in 0..times {
                let session = runtime.session_of(SessionId::random());
                let outcome =
                    session.run(&graph, <Form as State>::Update::default()).await.expect("it waits");
                assert!(outcome.is_paused());
                let start = Instant::now();
                let run = session.answer(Answers::only("yes")).await.expect("the answer fits");
                let outcome = run.outcome::<Form>().await.expect("it ends");
                took += start.elapsed();
                assert_eq!(outcome.state().and_then(|form| form.answer.as_deref()), Some("yes"));
            }
            took
        }
    });
    #[expect(clippy::disallowed_methods, reason = "this is the floor: a bare task")]
    let floor = probe(|times| async move {
        let mut took = Duration::ZERO;
        for at in 0..times {
            let (ask, asked) = tokio::sync::oneshot::channel();
            let task = tokio::spawn(async move { asked.await.unwrap_or(0) + 1 });
            tokio::task::yield_now().await;
            let start = Instant::now();
            // Cannot fail: the task waits for it.
            black_box(ask.send(black_box(at))).expect("it waits");
            black_box(task.await.expect("it ends"));
            took += start.elapsed();
        }
        took
    });
    Subject {
        name: "resume after a question, in process (floor: oneshot to a task)",
        units: 1,
        unit: "resume",
        goal: "≤ 5 µs",
        met: |ours, _| ours <= 5_000.0,
        ours,
        floor,
    }
}
