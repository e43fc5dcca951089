//! What a fork reports about the run that it copies: time used, todos, open questions.

use std::{sync::Arc, time::Duration};

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
struct DiesAfterCopy(std::sync::atomic::AtomicBool);

impl StoreHook for DiesAfterCopy {
    async fn before(&self, call: StoreCall) -> std::result::Result<(), StoreError> {
        match call {
            StoreCall::Append if self.0.load(std::sync::atomic::Ordering::SeqCst) => {
                Err(StoreError::Damaged { reason: "the process is dead".into() })
            }
            _ => Ok(()),
        }
    }

    async fn after(&self, call: StoreCall) -> std::result::Result<(), StoreError> {
        self.0.fetch_or(call == StoreCall::Copy, std::sync::atomic::Ordering::SeqCst);
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
