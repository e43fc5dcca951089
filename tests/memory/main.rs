//! Bytes that a session occupies while nothing happens, counted by the allocator of this process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::alloc::System;

use agent_core::{
    Context, END, Graph, Runtime, START, SessionId, State, graph::BuildError, journal::InMemoryJournal,
};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SESSIONS: usize = 500;

#[derive(State, Default, Serialize, Deserialize)]
struct Form {
    answer: Option<String>,
}

fn graph(asks: bool) -> Result<Graph<Form>, BuildError> {
    Graph::builder("form")
        .node("first", async |_: &Form, _: &Context| Ok(()))
        .node("person", async move |_: &Form, cx: &Context| {
            let answer = if asks { cx.ask("Continue?").await? } else { "yes".to_owned() };
            Ok(Form::update().answer(answer))
        })
        .edge(START, "first")
        .edge("first", "person")
        .edge("person", END)
        .build()
}

fn in_use() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Returns the bytes of each of many sessions with one run.
fn bytes_each(asks: bool, journal: bool) -> usize {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut builder = Runtime::builder().options(|options| {
        options.max_idle_sessions = usize::MAX;
        options.max_suspended_runs = usize::MAX;
    });
    if journal {
        builder = builder.journal(InMemoryJournal::new());
    }
    let (runtime, graph) = (builder.build(), graph(asks).unwrap());
    let run_one = || {
        let session = runtime.session_of(SessionId::random());
        tokio.block_on(async { session.run(&graph, Form::update()).await.unwrap() });
    };
    // For what is allocated once.
    run_one();
    let before = in_use();
    (0..SESSIONS).for_each(|_| run_one());
    (in_use() - before) / SESSIONS
}

/// One test, because other tests of this process would allocate at the same time.
#[test]
fn a_session_without_work_is_small() {
    let idle = bytes_each(false, false);
    assert!(idle <= 2_048, "an idle session: {idle} bytes");
    let stored = bytes_each(false, true);
    assert!(stored <= 3_700, "an idle session with its journal in memory: {stored} bytes");
    let suspended = bytes_each(true, false);
    assert!(suspended <= 6_400, "a suspended session: {suspended} bytes");
}
