//! A panic in foreign code fails what it belongs to: observers, clocks, stores, errors, values that are dropped.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use agent_core::{
    Context, END, Graph, NodeError, Result, Runtime, START, State,
    clock::Clock,
    event::{JournalNotice, Observer},
    ids::Seq,
    journal::{InMemoryJournal, StoreError},
    session::RuntimeBuilder,
    testing::{HookedStore, StoreCall, StoreHook},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, Serializer};
use tests::{journal, on, soon};

use super::graph::{Trail, TrailUpdate, step};

fn chain() -> Graph<Trail> {
    Graph::<Trail>::builder("chain")
        .node("a", async |_: &Trail, cx: &Context| {
            cx.emit("begun", 1)?;
            let n: i64 = cx.step("n", async { Ok::<_, NodeError>(1) }).await?;
            Ok(Trail::update().sum(n))
        })
        .node("b", step)
        .edge(START, "a")
        .edge("a", "b")
        .edge("b", END)
        .build()
        .unwrap()
}

/// Panics at each entry, and notes its number.
#[derive(Default)]
struct Careless(Mutex<Vec<Seq>>);

impl Observer for Careless {
    fn on_entry(&self, note: &JournalNotice<'_>) {
        self.0.lock().push(note.seq);
        panic!("the counter is broken");
    }
}

fn stores() -> [RuntimeBuilder; 2] {
    [Runtime::builder(), on(&journal())]
}

#[tokio::test]
async fn a_panicking_observer_fails_nothing_and_is_notified_of_every_entry() {
    for builder in stores() {
        let runtime = builder.build();
        let careless = Arc::new(Careless::default());
        runtime.observe(Arc::clone(&careless));
        let session = runtime.session("s").unwrap();
        let mut events = session.subscribe(None);
        for sum in 1..=2 {
            let outcome = soon(session.run(&chain(), Trail::update())).await.unwrap();
            assert_eq!(outcome.state().unwrap().sum, sum);
        }
        let last = session.status().await.unwrap().last;
        let all: Vec<Seq> = (1..=last.0).map(Seq).collect();
        assert_eq!(*careless.0.lock(), all);
        let mut seen = Vec::new();
        while seen.len() < all.len() {
            seen.extend(soon(events.next()).await.unwrap().seq);
        }
        assert_eq!(seen, all, "subscribers see what was stored");
    }
}

/// Panics at its reading number `at`, and at all after it if `always`.
#[derive(Debug)]
struct Broken {
    at: usize,
    always: bool,
    readings: AtomicUsize,
}

impl Clock for Broken {
    fn now_ms(&self) -> i64 {
        let reading = self.readings.fetch_add(1, Ordering::SeqCst);
        assert!(reading != self.at && (reading < self.at || !self.always), "the clock stands still");
        1_700_000_000_000
    }
}

#[tokio::test]
async fn a_clock_that_panics_anywhere_in_a_run_hangs_and_loses_nothing() {
    for always in [false, true] {
        for at in 0..24 {
            let clock = Arc::new(Broken { at, always, readings: AtomicUsize::new(0) });
            let session = on(&journal()).clock(clock).build().session("s").unwrap();
            let outcome = soon(session.run(&chain(), Trail::update())).await.unwrap();
            assert!(outcome.is_completed(), "reading {at}");
            let again = soon(session.run(&chain(), Trail::update())).await.unwrap();
            assert_eq!(again.state().unwrap().sum, 2, "reading {at}");
        }
    }
}

/// An error whose text cannot be written.
#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Unspeakable {}

#[tokio::test]
async fn an_error_that_cannot_be_displayed_fails_its_run_and_nothing_else() {
    let fails =
        async |_: &Trail, _: &Context| -> Result<TrailUpdate> { Err(NodeError::permanent(Unspeakable)) };
    for beside in [false, true] {
        for builder in stores() {
            let mut graph = Graph::<Trail>::builder("failing").node("fails", fails);
            graph = graph.edge(START, "fails").edge("fails", END);
            if beside {
                graph = graph.node("other", step).edge(START, "other").edge("other", END);
            }
            let session = builder.build().session("s").unwrap();
            let error =
                soon(session.run(&graph.build().unwrap(), Trail::update())).await.map(drop).unwrap_err();
            assert_eq!(error.code().name(), "panicked");
            assert!(soon(session.run(&chain(), Trail::update())).await.unwrap().is_completed());
        }
    }
}

/// A number whose JSON cannot be written.
#[derive(Debug, Default, Deserialize)]
struct Silent(i64);

impl Serialize for Silent {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        assert!(self.0 == 0, "no digits");
        serializer.serialize_i64(self.0)
    }
}

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Numbers {
    number: Silent,
    #[state(add)]
    sum: i64,
}

#[tokio::test]
async fn an_input_that_cannot_be_serialised_is_refused_and_the_session_stays_usable() {
    let graph = Graph::<Numbers>::builder("numbers")
        .node("add", async |_: &Numbers, _: &Context| Ok(Numbers::update().sum(1)))
        .edge(START, "add")
        .edge("add", END)
        .build()
        .unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    soon(session.run(&graph, Numbers::update())).await.unwrap();
    let error = soon(session.run(&graph, Numbers::update().number(Silent(1)))).await.map(drop).unwrap_err();
    assert_eq!(error.code().name(), "invalid_input", "{error}");
    let outcome = soon(session.run(&graph, Numbers::update())).await.unwrap();
    assert_eq!(outcome.state().unwrap().sum, 2);
}

/// Panics when it is dropped, once.
struct Fragile(Arc<AtomicBool>);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.0.swap(false, Ordering::SeqCst), "dropped a plate");
    }
}

#[tokio::test]
async fn a_cancelled_node_that_panics_while_it_is_dropped_does_not_hold_up_its_run() {
    let waits = Arc::new(tokio::sync::Notify::new());
    let graph = {
        let (waits, fails) = (Arc::clone(&waits), Arc::clone(&waits));
        Graph::<Trail>::builder("plates")
            .node("holds", async move |_: &Trail, _: &Context| {
                let _plate = Fragile(Arc::new(AtomicBool::new(true)));
                waits.notify_one();
                std::future::pending::<()>().await;
                Ok(())
            })
            .node("fails", async move |_: &Trail, _: &Context| -> Result<TrailUpdate> {
                fails.notified().await;
                Err(NodeError::msg("cold"))
            })
            .edge(START, "holds")
            .edge(START, "fails")
            .edge("holds", END)
            .edge("fails", END)
            .build()
            .unwrap()
    };
    for builder in stores() {
        let session = builder.build().session("s").unwrap();
        let error = soon(session.run(&graph, Trail::update())).await.map(drop).unwrap_err();
        assert_eq!(error.code().name(), "node_failed", "{error}");
        assert!(soon(session.run(&chain(), Trail::update())).await.unwrap().is_completed());
    }
}

#[tokio::test]
async fn a_stopped_node_that_panics_while_it_is_dropped_ends_its_run() {
    let waits = Arc::new(tokio::sync::Notify::new());
    let graph = {
        let waits = Arc::clone(&waits);
        Graph::<Trail>::builder("plate")
            .node("holds", async move |_: &Trail, _: &Context| {
                let _plate = Fragile(Arc::new(AtomicBool::new(true)));
                waits.notify_one();
                std::future::pending::<()>().await;
                Ok(())
            })
            .edge(START, "holds")
            .edge("holds", END)
            .build()
            .unwrap()
    };
    let session = on(&journal()).build().session("s").unwrap();
    session.run(&graph, Trail::update()).start().await.unwrap();
    soon(waits.notified()).await;
    soon(session.stop()).await.unwrap();
    assert!(!session.status().await.unwrap().status.is_busy());
    assert!(soon(session.run(&chain(), Trail::update())).await.unwrap().is_completed());
}

/// Panics at its append number `at`, counted from 0.
#[derive(Debug)]
struct Panicking {
    at: usize,
    appends: AtomicUsize,
}

impl StoreHook for Panicking {
    async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        let panics = call == StoreCall::Append && self.appends.fetch_add(1, Ordering::SeqCst) == self.at;
        assert!(!panics, "the disk is on fire");
        Ok(())
    }
}

#[tokio::test]
async fn a_store_that_panics_is_a_store_that_is_not_available() {
    for at in 0..8 {
        let inner = Arc::new(InMemoryJournal::new());
        let broken = HookedStore::new(inner, Panicking { at, appends: AtomicUsize::new(0) });
        let session = Runtime::builder().journal(Arc::new(broken)).build().session("s").unwrap();
        let ended = soon(session.run(&chain(), Trail::update())).await;
        if let Err(error) = ended {
            assert_eq!(error.code().name(), "store_unavailable", "append {at}: {error}");
        }
        // The run may be running still by the journal; what matters here is that the caller gets an answer.
        if let Err(error) = soon(session.run(&chain(), Trail::update())).await.map(drop) {
            assert!(["session_busy", "store_unavailable"].contains(&error.code().name()), "{error}");
        }
    }
}
