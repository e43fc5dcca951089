//! A second run on a busy session: refused, queued, or started after the first run is interrupted or rolled back.

use std::{sync::Arc, time::Duration};

use agent_core::{
    BusyPolicy, Context, END, Graph, Result, RunOptions, RunStatus, Runtime, START, Session, SessionError,
    event::EventBody,
    journal::{InMemoryJournal, JournalStore},
};
use tests::Dying;
use tokio::sync::Notify;

use super::graph::{Trail, TrailUpdate};

#[derive(Default)]
struct Gate(Notify);

fn gated() -> Graph<Trail> {
    Graph::<Trail>::builder("gated")
        .node("wait", async |s: &Trail, cx: &Context| {
            if s.left {
                cx.get::<Arc<Gate>>()?.0.notified().await;
            }
            Result::Ok(Trail::update().steps([format!("run {}", cx.run().0)]))
        })
        .edge(START, "wait")
        .edge("wait", END)
        .build()
        .unwrap()
}

fn runtime(store: &Arc<dyn JournalStore>, gate: &Arc<Gate>) -> Runtime {
    Runtime::builder()
        .journal(Arc::clone(store))
        .graph(&gated())
        .provide(Arc::clone(gate))
        .options(|o| o.lease_ttl = std::time::Duration::ZERO)
        .build()
}

fn held(left: bool) -> TrailUpdate {
    Trail::update().left(left)
}

#[tokio::test]
async fn runs_in_line_begin_in_order_and_none_is_lost() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let gate = Arc::new(Gate::default());
    let runtime = runtime(&store, &gate);
    let session = runtime.session("s").unwrap();
    let queue = || RunOptions::default().on_busy(BusyPolicy::Enqueue);
    let first = session.run(&gated(), held(true)).options(queue()).start().await.unwrap();
    let second = session.run(&gated(), held(false)).options(queue().request("b")).start().await.unwrap();
    let third = session.run(&gated(), held(false)).options(queue()).start().await.unwrap();
    let again = session.run(&gated(), held(false)).options(queue().request("b")).start().await.unwrap_err();
    assert!(matches!(again, agent_core::SessionError::SameRequest { run, .. } if run == second.id()));
    assert_eq!((second.status(), third.status()), (RunStatus::Running, RunStatus::Running));
    gate.0.notify_one();
    first.outcome::<Trail>().await.unwrap();
    second.outcome::<Trail>().await.unwrap();
    let outcome = third.outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["run 1", "run 2", "run 3"]);
}

#[tokio::test]
async fn the_stream_of_a_queued_run_has_its_own_events_although_a_later_run_begins_before_it() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let gate = Arc::new(Gate::default());
    let runtime = runtime(&store, &gate);
    let session = runtime.session("s").unwrap();
    let on_busy = |policy| RunOptions::default().on_busy(policy);
    session.run(&gated(), held(true)).start().await.unwrap();
    let queued = on_busy(BusyPolicy::Enqueue);
    let mut events = session.run(&gated(), held(false)).options(queued).stream().await.unwrap();
    let interrupting = on_busy(BusyPolicy::Interrupt);
    let third = session.run(&gated(), held(false)).options(interrupting).start().await.unwrap();
    assert_eq!((events.run().id().0, third.id().0), (2, 3));
    third.outcome::<Trail>().await.unwrap();
    let mut last = None;
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        assert_eq!(event.run.0, 2, "{event:?}");
        last = Some(event);
    }
    assert!(matches!(last.unwrap().body, agent_core::event::EventBody::RunCompleted(_)));
}

#[tokio::test]
async fn runs_in_line_survive_the_process() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let gate = Arc::new(Gate::default());
    let before = runtime(&store, &gate);
    let session = before.session("s").unwrap();
    let queue = || RunOptions::default().on_busy(BusyPolicy::Enqueue);
    session.run(&gated(), held(true)).options(queue()).start().await.unwrap();
    session.run(&gated(), held(false)).options(queue()).start().await.unwrap();
    before.shutdown(std::time::Duration::ZERO).await;

    let after = runtime(&store, &gate);
    gate.0.notify_one();
    let recovered = after.recover().await.unwrap();
    assert_eq!(recovered.resumed.len(), 1, "{recovered:?}");
    let session = after.session("s").unwrap();
    let mut events = session.subscribe(Some(agent_core::ids::Seq::ZERO));
    let mut completed = 0;
    while completed < 2 {
        let event = events.next().await.unwrap();
        completed += u32::from(matches!(event.body, agent_core::event::EventBody::RunCompleted(_)));
    }
    assert_eq!(session.state::<Trail>().await.unwrap().steps, ["run 1", "run 2"]);
}

#[tokio::test]
async fn a_caller_that_awaits_a_queued_run_learns_that_the_runtime_shuts_down() {
    for store in [Some(Arc::new(InMemoryJournal::new())), None] {
        let builder = Runtime::builder().provide(Arc::new(Gate::default()));
        let runtime = match store {
            Some(store) => builder.journal(store).build(),
            None => builder.build(),
        };
        let session = runtime.session("s").unwrap();
        let queue = || RunOptions::default().on_busy(BusyPolicy::Enqueue);
        session.run(&gated(), held(true)).options(queue()).start().await.unwrap();
        let queued = session.run(&gated(), held(false)).options(queue()).start().await.unwrap();
        runtime.shutdown(Duration::ZERO).await;
        let outcome = tokio::time::timeout(Duration::from_secs(10), queued.outcome::<Trail>()).await;
        let error = outcome.expect("the call waits although the run cannot begin").map(|_| ()).unwrap_err();
        assert!(matches!(error, SessionError::ShuttingDown), "{error}");
    }
}

/// Lets a run end while the next one is being queued: at each of the points where the call waits.
#[tokio::test]
async fn a_run_queued_while_the_one_before_it_ends_is_begun() {
    for polls in 0..12 {
        let store: Arc<dyn JournalStore> = tests::Yielding::on(tests::journal());
        let gate = Arc::new(Gate::default());
        let runtime = runtime(&store, &gate);
        let session = runtime.session("s").unwrap();
        let queue = || RunOptions::default().on_busy(BusyPolicy::Enqueue);
        let first = session.run(&gated(), held(true)).options(queue()).start().await.unwrap();
        let graph = gated();
        let mut start = std::pin::pin!(session.run(&graph, held(false)).options(queue()).start());
        let mut second = None;
        for _ in 0..polls {
            if let std::task::Poll::Ready(run) = futures::poll!(start.as_mut()) {
                second = Some(run.unwrap());
                break;
            }
        }
        gate.0.notify_one();
        // The first run ends while the second one is half queued.
        first.outcome::<Trail>().await.unwrap();
        let second = match second {
            Some(run) => run,
            None => start.await.unwrap(),
        };
        let outcome =
            tokio::time::timeout(std::time::Duration::from_secs(5), second.outcome::<Trail>()).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("never begun after {polls} polls")).unwrap();
        assert_eq!(outcome.state().unwrap().steps, ["run 1", "run 2"]);
    }
}

/// A process that dies at each of its appends, with a run at its end and one queued behind it.
#[tokio::test]
async fn an_acknowledged_queued_run_is_begun_whenever_the_process_dies() {
    for appends in 1..40 {
        let journal = tests::journal();
        let gate = Arc::new(Gate::default());
        let dying = tests::Dying::at(&journal, appends, true);
        let store: Arc<dyn JournalStore> = Arc::clone(&dying) as _;
        let before = runtime(&store, &gate);
        let session = before.session("s").unwrap();
        let queue = || RunOptions::default().on_busy(BusyPolicy::Enqueue);
        let mut acknowledged = 0;
        for wait in [true, false] {
            acknowledged +=
                usize::from(session.run(&gated(), held(wait)).options(queue()).start().await.is_ok());
        }
        gate.0.notify_one();
        if acknowledged > 0 {
            let _status = session.wait_status().await;
        }
        let completed = !dying.is_dead();
        dying.kill();

        let store: Arc<dyn JournalStore> = tests::Dying::never(&journal);
        let after = runtime(&store, &gate);
        gate.0.notify_one();
        after.recover().await.unwrap();
        let session = after.session("s").unwrap();
        if acknowledged == 0 {
            continue;
        }
        let steps = tokio::time::timeout(std::time::Duration::from_secs(5), async {
            loop {
                session.wait_status().await.unwrap();
                let steps = session.state::<Trail>().await.unwrap().steps;
                if steps.len() >= acknowledged {
                    return steps;
                }
                tokio::task::yield_now().await;
            }
        });
        let steps = steps.await.unwrap_or_else(|_| panic!("a run is lost, dead after {appends} appends"));
        assert_eq!(steps, ["run 1", "run 2"][..acknowledged], "dead after {appends} appends");
        if completed {
            return;
        }
    }
    panic!("the process dies each time");
}

#[tokio::test]
async fn a_fork_does_not_run_what_is_queued_in_its_source() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let gate = Arc::new(Gate::default());
    let runtime = runtime(&store, &gate);
    let session = runtime.session("s").unwrap();
    let queue = || RunOptions::default().on_busy(BusyPolicy::Enqueue);
    let first = session.run(&gated(), held(true)).options(queue()).start().await.unwrap();
    let second = session.run(&gated(), held(false)).options(queue()).start().await.unwrap();
    let last = session.head().await.unwrap().last;
    let fork = session.fork(last, "fork".parse().unwrap()).await.unwrap();
    gate.0.notify_waiters();
    gate.0.notify_one();
    first.outcome::<Trail>().await.unwrap();
    second.outcome::<Trail>().await.unwrap();
    gate.0.notify_one();
    fork.resume().await.unwrap().outcome::<Trail>().await.unwrap();
    assert_eq!(fork.wait_status().await.unwrap(), RunStatus::Completed);
    assert_eq!(fork.state::<Trail>().await.unwrap().steps, ["run 1"]);
    assert_eq!(session.state::<Trail>().await.unwrap().steps, ["run 1", "run 2"]);
}

#[tokio::test]
async fn a_cancelled_queued_run_never_begins_and_the_others_do() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let gate = Arc::new(Gate::default());
    let runtime = runtime(&store, &gate);
    let session = runtime.session("s").unwrap();
    let queue = || RunOptions::default().on_busy(BusyPolicy::Enqueue);
    let first = session.run(&gated(), held(true)).options(queue()).start().await.unwrap();
    let mut second = session.run(&gated(), held(false)).options(queue()).start().await.unwrap();
    let third = session.run(&gated(), held(false)).options(queue()).start().await.unwrap();
    session.cancel_queued(second.id()).await.unwrap();
    assert_eq!(second.wait_status().await, RunStatus::Stopped);
    let again = session.cancel_queued(second.id()).await.unwrap_err();
    assert!(matches!(again, agent_core::SessionError::NotQueued { .. }), "{again}");
    gate.0.notify_one();
    first.outcome::<Trail>().await.unwrap();
    let outcome = third.outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["run 1", "run 3"]);
}

#[tokio::test]
async fn a_session_remembers_its_latest_1024_named_requests_across_a_restart() {
    let (store, gate): (Arc<dyn JournalStore>, _) =
        (Arc::new(InMemoryJournal::new()), Arc::new(Gate::default()));
    let named = |n: u64| RunOptions::default().request(format!("r-{n}"));
    let session = runtime(&store, &gate).session("s").unwrap();
    for n in 1..=1_030 {
        session
            .run(&gated(), held(false))
            .options(named(n))
            .start()
            .await
            .unwrap()
            .outcome::<Trail>()
            .await
            .unwrap();
    }
    for session in [session, runtime(&store, &gate).session("s").unwrap()] {
        for n in [7, 500, 1_030] {
            let again = session.run(&gated(), held(false)).options(named(n)).start().await.unwrap_err();
            let SessionError::SameRequest { run, .. } = again else { panic!("{n}: {again}") };
            assert_eq!(run.0, n);
        }
    }
    let session = runtime(&store, &gate).session("s").unwrap();
    let forgotten = session.run(&gated(), held(false)).options(named(6)).start().await.unwrap();
    assert_eq!(forgotten.id().0, 1_031, "an older name starts a run again, as its documentation says");
}

/// Waits at a gate in each of two supersteps.
fn gated_twice() -> Graph<Trail> {
    let wait = async |s: &Trail, cx: &Context| {
        if s.left {
            cx.get::<Arc<Gate>>()?.0.notified().await;
        }
        Result::Ok(Trail::update().steps([format!("run {}", cx.run().0)]))
    };
    Graph::<Trail>::builder("gated_twice")
        .node("first", wait)
        .node("second", wait)
        .path([START, "first", "second", END])
        .build()
        .unwrap()
}

/// Fails unless the requests `b` and `c` are known as those of the runs 2 and 3.
async fn assert_known(session: &Session, graph: &Graph<Trail>, place: &str) {
    for (name, run) in [("b", 2), ("c", 3)] {
        let again = RunOptions::default().on_busy(BusyPolicy::Enqueue).request(name);
        match session.run(graph, held(false)).options(again).start().await {
            Err(SessionError::SameRequest { run: known, .. }) => assert_eq!(known.0, run, "{name}, {place}"),
            other => panic!("{name}, {place}: {:?}", other.map(|run| run.id())),
        }
        // A run without a journal is not read while it executes.
        if session.status().await.unwrap().status != RunStatus::Running || place.contains("journal") {
            let known = session.run_of_request(name).await.unwrap();
            assert_eq!(known.map(|known| known.0), Some(run), "{name}, {place}");
        }
    }
}

#[tokio::test]
async fn the_request_of_a_queued_run_stays_known_after_its_start_its_removal_and_a_restart() {
    let graph = gated_twice();
    for snapshot_bytes in [None, Some(1), Some(u64::MAX)] {
        let journal = snapshot_bytes.map(|_| Arc::new(InMemoryJournal::new()));
        let mut gate = Arc::new(Gate::default());
        let process = |gate: &Arc<Gate>| {
            let store = journal.as_ref().map(Dying::never);
            let builder = Runtime::builder().graph(&graph).provide(Arc::clone(gate)).options(|o| {
                o.lease_ttl = Duration::ZERO;
                o.snapshot_bytes = snapshot_bytes.unwrap_or(o.snapshot_bytes);
            });
            let runtime = match store.clone() {
                Some(store) => builder.journal(store).build(),
                None => builder.build(),
            };
            (runtime, store)
        };
        let what = if journal.is_some() { format!("journal, {snapshot_bytes:?}") } else { String::new() };
        let (mut runtime, store) = process(&gate);
        let queue = RunOptions::default().on_busy(BusyPolicy::Enqueue);
        let mut session = runtime.session("s").unwrap();
        let begin = async |session: &Session, left, options| {
            session.run(&graph, held(left)).options(options).start().await.unwrap()
        };
        let one = begin(&session, true, queue.clone()).await;
        let mut events = session.subscribe(None);
        begin(&session, false, queue.clone().request("b")).await;
        let third = begin(&session, false, queue.clone().request("c")).await;
        assert_known(&session, &graph, &format!("queued; {what}")).await;
        session.cancel_queued(third.id()).await.unwrap();
        assert_known(&session, &graph, &format!("removed; {what}")).await;
        gate.0.notify_one();
        while !matches!(events.next().await.unwrap().body, EventBody::SuperstepCommitted(_)) {}
        assert_known(&session, &graph, &format!("after a commit; {what}")).await;
        let next = begin(&session, false, queue.clone()).await;
        assert_eq!(next.id().0, 4, "the number of a run that left the queue is not used again");

        if let Some(store) = store {
            store.kill();
            runtime.shutdown(Duration::ZERO).await;
            gate = Arc::default();
            runtime = process(&gate).0;
            session = runtime.session("s").unwrap();
            runtime.recover().await.unwrap();
            assert_known(&session, &graph, &format!("after a death; {what}")).await;
        }
        let mut events = session.subscribe(None);
        gate.0.notify_one();
        let mut completed = 0;
        if session.status().await.unwrap().run.0 == 4 && !session.status().await.unwrap().status.is_busy() {
            completed = 3;
        }
        while completed < 3 {
            let event = events.next().await.unwrap();
            completed += u32::from(matches!(event.body, EventBody::RunCompleted(_)));
        }
        assert_known(&session, &graph, &format!("after its run; {what}")).await;
        drop((one, next));
        if journal.is_some() {
            runtime.shutdown(Duration::ZERO).await;
            let session = process(&gate).0.session("s").unwrap();
            assert_known(&session, &graph, &format!("in a third process; {what}")).await;
        }
    }
}
