//! A superstep with a journal: in memory, in SQLite with `sync`, and over a conversation of 200 turns.

use std::{
    cell::RefCell,
    hint::black_box,
    time::{Duration, Instant},
};

use agent_core::{
    Context, Durability, END, Graph, Input, Runtime, START, SessionId, journal::InMemoryJournal,
    model::Message, sqlite::Sqlite,
};
use serde::Serialize;

use super::{
    Probe, Subject, probe, spawned,
    superstep::{Count, options},
};
use crate::workloads::{
    conversation::{just, words},
    growth,
    sequential::{Chat, chain},
    setting::folder,
};

const CHAIN: usize = 100;

fn graph() -> Graph<Count> {
    chain("chain", CHAIN, async |_: &Count, _: &Context| Ok(Count::update().laps(1u64)))
        .build()
        .expect("the chain is a graph")
}

async fn runs(runtime: &Runtime, graph: &Graph<Count>, times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        let session = runtime.session_of(SessionId::random());
        black_box(session.run_with(graph, Input::Update(Count::update()), options()).await.expect("it ends"));
    }
    start.elapsed()
}

/// Content of the baseline's journal: the same two entries, as JSON.
#[derive(Serialize)]
enum Fact<'a> {
    TaskFinished { task: &'a str, update: Count },
    SuperstepCommitted { superstep: u64, next: u64, due: [(u64, &'a str); 1] },
}

#[derive(Serialize)]
struct Entry<'a> {
    at: u64,
    run: u64,
    fact: Fact<'a>,
}

fn entries(superstep: u64) -> [Vec<u8>; 2] {
    let finished = Fact::TaskFinished { task: "n42#42", update: Count { laps: 1 } };
    let committed = Fact::SuperstepCommitted { superstep, next: superstep + 1, due: [(superstep, "n43")] };
    [finished, committed].map(|fact| {
        serde_json::to_vec(&Entry { at: 1_800_000_000_000, run: 1, fact }).expect("it is plain data")
    })
}

pub(super) fn memory() -> Subject {
    let graph = graph();
    let ours = probe(move |times| {
        let graph = graph.clone();
        async move {
            // The journal grows; a new one from time to time bounds the memory.
            let mut took = Duration::ZERO;
            let mut left = times;
            while left > 0 {
                let now = left.min(1_000);
                let runtime =
                    Runtime::builder().journal(InMemoryJournal::new()).durability(Durability::Sync).build();
                took += runs(&runtime, &graph, now).await;
                left -= now;
            }
            took
        }
    });
    let floor: Probe = Box::new(|times| {
        let start = Instant::now();
        for _ in 0..times {
            let mut journal = Vec::new();
            for superstep in 0..CHAIN as u64 {
                journal.extend(entries(black_box(superstep)));
            }
            black_box(&journal);
        }
        start.elapsed()
    });
    Subject {
        name: "superstep, memory journal, sync (floor: serialise and push)",
        units: CHAIN as u64,
        unit: "superstep",
        goal: "≤ 1 µs + floor",
        met: |ours, floor| ours <= 1_000.0 + floor,
        ours,
        floor,
    }
}

/// One commit of the two entries and the session's row, written by hand.
fn bare_commits(db: &mut rusqlite::Connection, last: &mut i64, count: u64) -> rusqlite::Result<()> {
    for _ in 0..count {
        let transaction = db.transaction()?;
        for body in entries(last.unsigned_abs()) {
            *last += 1;
            transaction
                .prepare_cached("INSERT INTO entry VALUES (?1, ?2)")?
                .execute(rusqlite::params![*last, body])?;
        }
        transaction.prepare_cached("UPDATE session SET last = ?1 WHERE id = 1")?.execute([*last])?;
        transaction.commit()?;
    }
    Ok(())
}

fn bare_database(path: &std::path::Path) -> rusqlite::Result<rusqlite::Connection> {
    let db = rusqlite::Connection::open(path)?;
    db.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE session (id INTEGER PRIMARY KEY, last INTEGER);
         CREATE TABLE entry (key INTEGER PRIMARY KEY, body BLOB); INSERT INTO session VALUES (1, 0);",
    )?;
    Ok(db)
}

pub(super) fn sqlite() -> Subject {
    let graph = graph();
    let place = folder().expect("a folder can be made");
    let store = Sqlite::open(place.path().join("ours.db")).expect("the file can be opened");
    let runtime = Runtime::builder().journal(store).durability(Durability::Sync).build();
    let ours = probe(move |times| {
        let (graph, runtime) = (graph.clone(), runtime.clone());
        async move { runs(&runtime, &graph, times).await }
    });
    let db = bare_database(&place.path().join("bare.db")).expect("the file can be opened");
    // The folder is removed with the probe.
    let state = RefCell::new((db, 0, place));
    let floor: Probe = Box::new(move |times| {
        let (db, last, _) = &mut *state.borrow_mut();
        let start = Instant::now();
        // The acceptance and the end of a run are commits too.
        bare_commits(db, last, times * (CHAIN as u64 + 2)).expect("it commits");
        start.elapsed()
    });
    Subject {
        name: "superstep, SQLite, sync (floor: bare commit)",
        units: CHAIN as u64,
        unit: "superstep",
        goal: "≤ 1.3 × floor",
        met: |ours, floor| ours <= 1.3 * floor,
        ours,
        floor,
    }
}

/// The 200th turn of a conversation compared with its second (the first opens the session), both in SQLite.
pub(super) fn growth() -> Subject {
    fn turns(from: usize, to: usize) -> Probe {
        let graph = growth::graph().expect("it is a graph");
        let place = RefCell::new(None);
        Box::new(move |times| {
            let folder = folder().expect("a folder can be made");
            let path = folder.path().join("journal.db");
            let graph = graph.clone();
            place.replace(Some(folder));
            spawned(async move {
                let store = Sqlite::open(path).expect("the file can be opened");
                let runtime = Runtime::builder().journal(store).durability(Durability::Sync).build();
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let session = runtime.session_of(SessionId::random());
                    for turn in 1..=to {
                        let input = Chat::update().messages(just(Message::user(words(400))));
                        let start = Instant::now();
                        session.run(&graph, input).await.expect("it ends");
                        if turn >= from {
                            took += start.elapsed();
                        }
                    }
                }
                runtime.shutdown(Duration::from_secs(5)).await;
                took
            })
        })
    }
    Subject {
        name: "turns 191 to 200 of a conversation, SQLite, sync (floor: turns 2 to 11)",
        units: 10,
        unit: "turn",
        goal: "≤ 1.1 × floor",
        met: |ours, floor| ours <= 1.1 * floor,
        ours: turns(191, 200),
        floor: turns(2, 11),
    }
}

/// A graph of one node without questions, for the memory of a finished session.
pub(super) fn one_node() -> Graph<Count> {
    Graph::builder("one")
        .node("one", async |_: &Count, _: &Context| Ok(Count::update().laps(1u64)))
        .edge(START, "one")
        .edge("one", END)
        .build()
        .expect("it is a graph")
}
