//! Memory of an idle session.

use agent_core::{Runtime, Session, SessionId, State, journal::InMemoryJournal};

use super::{journal::one_node, spawned, superstep::Count};
use crate::workloads::interrupt::{self, Form};

const SESSIONS: usize = 4_000;

fn runtime(journal: bool) -> Runtime {
    let mut builder = Runtime::builder().options(|options| {
        options.max_idle_sessions = usize::MAX;
        options.max_suspended_runs = usize::MAX;
    });
    if journal {
        builder = builder.journal(InMemoryJournal::new());
    }
    builder.build()
}

/// Bytes per session in three idle situations, measured with `in_use`, and the goal of each.
pub fn sessions(in_use: impl Fn() -> i64) -> Vec<(&'static str, f64, f64)> {
    let each = |before: i64| (in_use() - before) as f64 / SESSIONS as f64;
    let mut found = Vec::new();
    let (rest, ask) = (one_node(), interrupt::graph().expect("it is a graph"));
    for (name, ends, journal, goal) in [
        ("idle session, no store", true, false, 2_048.0),
        ("idle session with its journal in memory", true, true, 2_048.0),
        ("suspended session (waits for an answer, in memory)", false, false, 4_096.0),
    ] {
        let keep = runtime(journal);
        // Once before measuring, for one-time allocations.
        one(&keep, &rest, &ask, ends);
        let before = in_use();
        for _ in 0..SESSIONS {
            one(&keep, &rest, &ask, ends);
        }
        found.push((name, each(before), goal));
    }
    found
}

fn one(runtime: &Runtime, rest: &agent_core::Graph<Count>, ask: &agent_core::Graph<Form>, ends: bool) {
    let session: Session = runtime.session_of(SessionId::random());
    let (rest, ask) = (rest.clone(), ask.clone());
    spawned(async move {
        if ends {
            session.run(&rest, Count::update()).await.expect("it ends");
        } else {
            session.run(&ask, <Form as State>::Update::default()).await.expect("it waits");
        }
    });
}
