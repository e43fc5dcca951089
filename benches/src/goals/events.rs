//! Numbered events from a node to one subscriber.

use std::{sync::Arc, time::Instant};

use agent_core::{Context, END, Graph, Input, Runtime, START, SessionId, event::EventBody};
use serde_json::json;

use super::{
    Subject, probe,
    superstep::{Count, options},
};

const EVENTS: usize = 20_000;
/// Number of events between two yields of the node; less than the capacity of the ring.
const BURST: usize = 256;

fn graph() -> Graph<Count> {
    Graph::builder("emit")
        .node("emit", async |_: &Count, cx: &Context| {
            for at in 0..EVENTS {
                cx.emit("n", json!(at))?;
                if at % BURST == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(())
        })
        .edge(START, "emit")
        .edge("emit", END)
        .build()
        .expect("it is a graph")
}

pub(super) fn stream() -> Subject {
    let graph = graph();
    let ours = probe(move |times| {
        let graph = graph.clone();
        async move {
            let runtime = Runtime::builder().build();
            let start = Instant::now();
            for _ in 0..times {
                let session = runtime.session_of(SessionId::random());
                let mut events = session
                    .run(&graph, Input::Update(Count::update()))
                    .options(options())
                    .stream()
                    .await
                    .expect("it starts");
                let (mut seen, mut lost) = (0, 0);
                while let Some(event) = events.next().await {
                    match &event.expect("nothing is read from a store").body {
                        EventBody::Custom(_) => seen += 1,
                        EventBody::Gap(gap) => lost += gap.upto.0 - gap.after.0,
                        _ => {}
                    }
                }
                assert!(
                    seen as u64 + lost >= EVENTS as u64 && lost == 0,
                    "{lost} of {EVENTS} events were lost"
                );
            }
            start.elapsed()
        }
    });
    #[expect(clippy::disallowed_methods, reason = "this is the floor: a bare task")]
    let floor = probe(|times| async move {
        let start = Instant::now();
        for _ in 0..times {
            let (send, mut receive) = tokio::sync::mpsc::channel(8_192);
            tokio::spawn(async move {
                for at in 0..EVENTS {
                    if send.send(Arc::new(("n".to_owned(), json!(at)))).await.is_err() {
                        return;
                    }
                    if at % BURST == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
            let mut seen = 0;
            while receive.recv().await.is_some() {
                seen += 1;
            }
            assert_eq!(seen, EVENTS);
        }
        start.elapsed()
    });
    Subject {
        name: "event to one subscriber (floor: tokio mpsc)",
        units: EVENTS as u64,
        unit: "event",
        goal: "≤ 1 µs (1 M/s)",
        met: |ours, _| ours <= 1_000.0,
        ours,
        floor,
    }
}
