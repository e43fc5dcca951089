//! What a fork reports about the run that it copies: time used, todos, open questions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Context, END, Graph, Result, RunStatus, Runtime, START, Session, SessionId,
    clock::ManualClock,
    event::EventBody,
    ids::Seq,
    journal::{JournalStore, StoreError, verify},
    testing::{HookedStore, StoreCall, StoreHook},
    todo::TodoStatus,
};
use tests::{journal, on};
use tokio::sync::Notify;

use super::graph::{Trail, TrailUpdate};

#[derive(Debug)]
struct Desk {
    clock: Arc<ManualClock>,
    waits: Notify,
}

/// Works for 2 s and for 3 s, with a todo; then, if `left`, waits to be stopped.
async fn work(trail: &Trail, cx: &Context) -> Result<TrailUpdate> {
    let desk = cx.get::<Arc<Desk>>()?;
    let todo = cx.todos().start("work", "Work")?;
    desk.clock.advance(Duration::from_secs(2));
    cx.emit("half", 1)?;
    desk.clock.advance(Duration::from_secs(3));
    if trail.left {
        cx.emit("waits", 1)?;
        desk.waits.notify_one();
        std::future::pending::<()>().await;
    }
    todo.done();
    Ok(Trail::update().sum(1))
}

fn graph() -> Graph<Trail> {
    Graph::<Trail>::builder("work").node("work", work).edge(START, "work").edge("work", END).build().unwrap()
}

fn desk() -> (Arc<Desk>, Session) {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let desk = Arc::new(Desk { clock: Arc::clone(&clock), waits: Notify::new() });
    let session = on(&journal()).clock(clock).provide(Arc::clone(&desk)).build().session("s").unwrap();
    (desk, session)
}

/// The number of an event of the application.
async fn place(session: &Session, name: &str) -> Seq {
    let events = session.events(Seq::ZERO, 100).await.unwrap();
    let found =
        events.iter().find(|event| matches!(&event.body, EventBody::Custom(custom) if custom.name == name));
    found.unwrap().seq.unwrap()
}

#[tokio::test]
async fn a_fork_shows_the_time_of_its_source_up_to_its_place_however_late_it_is_made() {
    for stops in [false, true] {
        let (desk, session) = desk();
        let input = Trail::update().left(stops);
        let run = session.run(&graph(), input).start().await.unwrap();
        if stops {
            desk.waits.notified().await;
            session.stop().await.unwrap();
        } else {
            run.outcome::<Trail>().await.unwrap();
        }
        // Some entries are as of the source's end.
        let (half, last) = (place(&session, "half").await, session.status().await.unwrap().last);
        desk.clock.advance(Duration::from_secs(86_400));
        for (place, name) in [(half, "half"), (last, "end")] {
            let expected = session.status_at(place).await.unwrap().active_ms;
            assert!(expected <= 5_000, "{expected}");
            let fork = session.fork(place, name.parse().unwrap()).await.unwrap();
            desk.clock.advance(Duration::from_secs(60));
            assert_eq!(fork.status().await.unwrap().active_ms, expected, "{name}, stopped: {stops}");
        }
        assert_eq!(session.status_at(half).await.unwrap().active_ms, 2_000);
    }
}

#[tokio::test]
async fn a_fork_from_the_middle_of_a_run_is_stopped_with_its_todos_cancelled() {
    let (_desk, session) = desk();
    session.run(&graph(), Trail::update()).await.unwrap();
    let fork = session.fork(place(&session, "half").await, "fork".parse().unwrap()).await.unwrap();
    let status = fork.status().await.unwrap();
    assert_eq!(status.status, RunStatus::Stopped);
    assert_eq!(status.todos[0].status, TodoStatus::Cancelled);
    let last = fork.events(Seq::ZERO, 100).await.unwrap();
    let reported = last.iter().rev().find_map(|event| match &event.body {
        EventBody::TodoUpdated(moved) => Some(moved.todo.status),
        _ => None,
    });
    assert_eq!(reported, Some(TodoStatus::Cancelled), "subscribers see it as well");
    let outcome = fork.resume().await.unwrap().outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().sum, 1);
    assert_eq!(fork.status().await.unwrap().todos[0].status, TodoStatus::Completed);
}

/// The process dies when a session was copied.
#[derive(Debug, Default)]
struct DiesAfterCopy(AtomicBool);

impl StoreHook for DiesAfterCopy {
    async fn before(&self, call: StoreCall) -> std::result::Result<(), StoreError> {
        match call {
            StoreCall::Append if self.0.load(Ordering::SeqCst) => {
                Err(StoreError::Damaged { reason: "the process is dead".into() })
            }
            _ => Ok(()),
        }
    }

    async fn after(&self, call: StoreCall) -> std::result::Result<(), StoreError> {
        self.0.fetch_or(call == StoreCall::Copy, Ordering::SeqCst);
        Ok(())
    }

    fn lease(&self, _: Duration) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn a_fork_that_was_interrupted_is_deleted_by_the_next_process() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let desk = Arc::new(Desk { clock: Arc::clone(&clock), waits: Notify::new() });
    let journal = journal();
    let store = Arc::new(HookedStore::new(journal.clone(), DiesAfterCopy::default()));
    let runtime = Runtime::builder().journal(store).clock(clock).provide(Arc::clone(&desk)).build();
    let session = runtime.session("s").unwrap();
    session.run(&graph(), Trail::update().left(true)).start().await.unwrap();
    desk.waits.notified().await;
    // In the middle of the run.
    let last = place(&session, "half").await;
    let fork: SessionId = "fork".parse().unwrap();
    session.fork(last, fork.clone()).await.unwrap_err();
    assert!(journal.head(&fork).await.unwrap().is_some(), "the copy was stored");
    verify(&*journal, &fork).await.unwrap();

    let next = on(&journal).graph(&graph()).provide(desk).build();
    let recovered = next.recover().await.unwrap();
    assert!(!recovered.resumed.contains(&fork), "a run must not continue in two sessions: {recovered:?}");
    assert_eq!(journal.head(&fork).await.unwrap(), None);
}

/// Counts what is read of journals.
#[derive(Debug, Default)]
struct CountsReads(AtomicU32);

impl StoreHook for CountsReads {
    async fn before(&self, call: StoreCall) -> std::result::Result<(), StoreError> {
        self.0.fetch_add(u32::from(matches!(call, StoreCall::Read | StoreCall::Snapshot)), Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn the_end_of_a_completed_run_is_read_from_memory_and_equals_what_the_journal_has() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let desk = Arc::new(Desk { clock: Arc::clone(&clock), waits: Notify::new() });
    let journal = journal();
    let store = Arc::new(HookedStore::new(journal.clone(), CountsReads::default()));
    let graph = graph();
    let runtime = |store: Arc<dyn JournalStore>| {
        let builder = Runtime::builder().journal(store).clock(clock.clone()).graph(&graph);
        builder.provide(Arc::clone(&desk)).build()
    };
    let here = runtime(store.clone());
    let session = here.session("s").unwrap();
    for round in 1..=2 {
        let mut events = session.run(&graph, Trail::update()).stream().await.unwrap();
        let before = store.0.load(Ordering::SeqCst);
        let mut views = Vec::new();
        // Readers do not wait for the caller: the run may still be releasing the session.
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            if matches!(event.body, EventBody::RunCompleted(_)) {
                views.push(session.checkpoint(event.seq.unwrap()).await.unwrap());
                views.push(session.checkpoint(event.seq.unwrap()).await.unwrap());
            }
        }
        assert_eq!(store.0.load(Ordering::SeqCst), before, "round {round}: the journal was read");
        let view = views.pop().unwrap();
        let read = runtime(journal.clone()).session("s").unwrap().checkpoint(view.status.last).await.unwrap();
        assert_eq!(view.state, read.state);
        assert_eq!(view.state["sum"], round);
        assert_eq!(format!("{:?}", view.status), format!("{:?}", read.status));
        assert_eq!(view.status.todos[0].status, TodoStatus::Completed);
    }
    // Once a later run has begun, the journal has the end of the earlier one.
    let ends = session.history(Seq::ZERO, 100).await.unwrap();
    let first = session.checkpoint(ends[1].seq).await.unwrap();
    assert_eq!(first.state["sum"], 1);
}
