//! Stores that fail for a while: what is retried, what ends with an error, and what continues without a resume.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, Context, END, Graph, NodeError, Question, Runtime, START, Session, State,
    event::EventBody,
    ids::Seq,
    journal::{InMemoryJournal, JournalStore, StoreRetry},
    run::RunStatus,
    testing::HookedStore,
};
use serde::{Deserialize, Serialize};
use tests::{Fault, Faulty, World, facts, journal, on, within_an_hour};
use tokio::sync::Notify;

#[derive(State, Default, Debug, PartialEq, Serialize, Deserialize)]
struct Talk {
    #[state(append)]
    said: Vec<String>,
}

/// Works, asks, and works again.
fn talk() -> Graph<Talk> {
    Graph::<Talk>::builder("talk")
        .node("work", async |_: &Talk, cx: &Context| {
            let world = cx.get::<Arc<World>>()?;
            let paid = cx.step("paid", async { Ok::<_, NodeError>(world.happens("paid")) }).await?;
            Ok(Talk::update().said([format!("paid {paid}")]))
        })
        .node("ask", async |_: &Talk, cx: &Context| {
            let said: String = cx.ask(Question::new("Go on?")).await?;
            Ok(Talk::update().said([said]))
        })
        .node("end", async |_: &Talk, _: &Context| Ok(Talk::update().said(["end".to_owned()])))
        .edge(START, "work")
        .edge("work", "ask")
        .edge("ask", "end")
        .edge("end", END)
        .build()
        .unwrap()
}

/// Waits for its gate between two steps.
fn gated() -> Graph<Talk> {
    Graph::<Talk>::builder("gated")
        .node("wait", async |_: &Talk, cx: &Context| {
            let world = cx.get::<Arc<World>>()?;
            let before = cx.step("before", async { Ok::<_, NodeError>(world.happens("before")) }).await?;
            cx.get::<Arc<Notify>>()?.notified().await;
            let after = cx.step("after", async { Ok::<_, NodeError>(world.happens("after")) }).await?;
            Ok(Talk::update().said([format!("{before} {after}")]))
        })
        .edge(START, "wait")
        .edge("wait", END)
        .build()
        .unwrap()
}

struct Bench {
    store: Arc<HookedStore<Faulty>>,
    world: Arc<World>,
    gate: Arc<Notify>,
    runtime: Runtime,
    session: Session,
}

impl Bench {
    fn new(graph: &Graph<Talk>) -> Self {
        let store = Faulty::on(journal());
        let (world, gate) = (Arc::new(World::default()), Arc::new(Notify::new()));
        let runtime = Runtime::builder()
            .journal(store.clone())
            .graph(graph)
            .provide(Arc::clone(&world))
            .provide(Arc::clone(&gate))
            .build();
        let session = runtime.session("s").unwrap();
        Self { store, world, gate, runtime, session }
    }

    async fn completed(&self) {
        within_an_hour(async {
            while self.session.status().await.unwrap().status != RunStatus::Completed {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_fails_and_works_again_costs_a_retry_and_changes_nothing() {
    let play = async |faults: &[(u64, Fault)]| {
        let graph = talk();
        let store = Faulty::planned(journal(), faults.iter().copied());
        let world = Arc::new(World::default());
        let runtime =
            Runtime::builder().journal(store.clone()).graph(&graph).provide(Arc::clone(&world)).build();
        let session = runtime.session("s").unwrap();
        assert!(within_an_hour(session.run(&graph, Talk::update())).await.unwrap().is_paused(), "{faults:?}");
        let run = within_an_hour(session.answer(Answers::only("yes"))).await.unwrap();
        assert!(within_an_hour(run.outcome::<Talk>()).await.unwrap().is_completed(), "{faults:?}");
        assert_eq!(world.times("paid"), 1, "{faults:?}");
        (facts(&session).await, store.appends())
    };
    let (undisturbed, appends) = play(&[]).await;
    for at in 0..appends {
        for fault in [Fault::Refused, Fault::StoredButReported, Fault::Slow] {
            for times in [1, 3] {
                let faults: Vec<(u64, Fault)> = (at..at + times).map(|at| (at, fault)).collect();
                let (disturbed, _) = play(&faults).await;
                assert_eq!(disturbed, undisturbed, "{faults:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_whose_answer_was_refused_takes_it_when_the_store_works_again() {
    let graph = talk();
    let bench = Bench::new(&graph);
    assert!(bench.session.run(&graph, Talk::update()).await.unwrap().is_paused());
    for _ in 0..2 {
        bench.store.set_down(true);
        let refused = within_an_hour(bench.session.answer(Answers::only("no"))).await.unwrap_err();
        assert_eq!(refused.code().name(), "store_unavailable", "{refused}");
        assert!(refused.code().is_retryable());
        bench.store.set_down(false);
    }
    let run = within_an_hour(bench.session.answer(Answers::only("yes"))).await.unwrap();
    let outcome = within_an_hour(run.outcome::<Talk>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().said, ["paid 1", "yes", "end"]);
    assert_eq!(bench.world.times("paid"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_that_is_not_in_memory_takes_its_answer_when_the_store_works_again() {
    let graph = talk();
    let bench = Bench::new(&graph);
    let before = on_store(&bench, &graph);
    assert!(before.session("s").unwrap().run(&graph, Talk::update()).await.unwrap().is_paused());
    before.shutdown(Duration::ZERO).await;
    // The first append is refused as often as it is tried, then again in another way.
    for fault in [Fault::Refused, Fault::StoredButReported] {
        assert_eq!(bench.session.status().await.unwrap().status, RunStatus::Paused);
        bench.store.fail_next(if fault == Fault::Refused { 8 } else { 0 }, fault);
        let answered = within_an_hour(bench.session.answer(Answers::only("yes"))).await;
        match fault {
            Fault::Refused => assert_eq!(answered.unwrap_err().code().name(), "store_unavailable"),
            _ => assert!(within_an_hour(answered.unwrap().outcome::<Talk>()).await.unwrap().is_completed()),
        }
    }
}

fn on_store(bench: &Bench, graph: &Graph<Talk>) -> Runtime {
    let store: Arc<dyn JournalStore> = bench.store.clone();
    Runtime::builder().journal(store).graph(graph).provide(Arc::clone(&bench.world)).build()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_stored_but_reported_as_failed_is_executed() {
    let graph = talk();
    let bench = Bench::new(&graph);
    assert!(bench.session.run(&graph, Talk::update()).await.unwrap().is_paused());
    // Stored at the first try, and no answer of the store afterwards.
    bench.store.fail_next(1, Fault::StoredButReported);
    let next = bench.store.appends() + 1;
    bench.store.plan((next..next + 7).map(|at| (at, Fault::Refused)));
    let store = Arc::clone(&bench.store);
    let refused = within_an_hour(bench.session.answer(Answers::only("yes"))).await.unwrap_err();
    assert_eq!(refused.code().name(), "store_unavailable");
    bench.completed().await;
    assert_eq!(bench.session.state::<Talk>().await.unwrap().said, ["paid 1", "yes", "end"]);
    assert!(store.appends() > next);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_with_its_store_has_a_status_to_wait_for() {
    let graph = talk();
    let bench = Bench::new(&graph);
    bench.store.plan((0..1_000).map(|at| (at, Fault::Refused)));
    let failed = within_an_hour(async { bench.session.run(&graph, Talk::update()).await }).await.unwrap_err();
    assert_eq!(failed.code().name(), "store_unavailable");
    assert_eq!(bench.session.status().await.unwrap().status, RunStatus::Failed);
    assert_eq!(bench.session.wait_status().await.unwrap(), RunStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_store_is_down_fails_visibly_and_continues_when_the_store_works() {
    let graph = gated();
    let bench = Bench::new(&graph);
    let mut run = bench.session.run(&graph, Talk::update()).start().await.unwrap();
    let mut events = bench.session.subscribe(Some(Seq::ZERO));
    within_an_hour(async {
        while !matches!(events.next().await.unwrap().body, EventBody::StepRecorded(_)) {}
    })
    .await;
    bench.store.set_down(true);
    bench.gate.notify_one();
    let failed = within_an_hour(async {
        loop {
            if let EventBody::RunFailed(failed) = &events.next().await.unwrap().body {
                return failed.code.clone();
            }
        }
    })
    .await;
    assert_eq!(failed, "store_unavailable");
    // A status that is read after the event agrees with it.
    let status = within_an_hour(bench.session.status()).await.unwrap();
    assert_eq!((status.status, status.run), (RunStatus::Failed, run.id()));
    assert_eq!(status.failure.unwrap().code, "store_unavailable");
    assert!(status.reopening.is_some(), "the runtime tries again");
    assert_eq!(within_an_hour(run.wait_status()).await, RunStatus::Failed);
    // A long outage.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let status = bench.session.status().await.unwrap();
    assert!(status.reopening.is_some_and(|reopening| reopening.attempts > 5));
    bench.store.set_down(false);
    bench.gate.notify_one();
    bench.completed().await;
    let status = bench.session.status().await.unwrap();
    assert!(status.reopening.is_none() && status.failure.is_none());
    // What was recorded before the outage is not done again.
    assert_eq!(bench.world.times("before"), 1);
    within_an_hour(async {
        while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {}
    })
    .await;
    assert!(bench.session.run(&talk(), Talk::update()).await.unwrap().is_paused());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_accepted_but_reported_as_refused_does_not_block_its_session() {
    let graph = gated();
    let bench = Bench::new(&graph);
    bench.store.fail_next(1, Fault::StoredButReported);
    let next = bench.store.appends() + 1;
    bench.store.plan((next..next + 7).map(|at| (at, Fault::Refused)));
    let refused = within_an_hour(bench.session.run(&graph, Talk::update()).start()).await;
    assert_eq!(refused.unwrap_err().code().name(), "store_unavailable");
    bench.gate.notify_one();
    bench.completed().await;
    assert_eq!(bench.world.times("after"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_tries_to_open_a_session_again() {
    let graph = gated();
    let bench = Bench::new(&graph);
    let mut run = bench.session.run(&graph, Talk::update()).start().await.unwrap();
    bench.store.set_down(true);
    bench.gate.notify_one();
    assert_eq!(within_an_hour(run.wait_status()).await, RunStatus::Failed);
    within_an_hour(bench.runtime.shutdown(Duration::from_secs(1))).await;
    let appends = bench.store.appends();
    tokio::time::sleep(Duration::from_secs(3_000)).await;
    assert_eq!(bench.store.appends(), appends);
    bench.store.set_down(false);
    // The next process continues it.
    let next = Runtime::builder()
        .journal(bench.store.clone())
        .graph(&graph)
        .provide(Arc::clone(&bench.world))
        .provide(Arc::clone(&bench.gate))
        .build();
    bench.gate.notify_one();
    let mut events = next.session("s").unwrap().subscribe(Some(Seq::ZERO));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let recovered = next.recover().await.unwrap();
    assert_eq!(recovered.resumed.len(), 1, "{recovered:?}");
    within_an_hour(async {
        while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {}
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_tries_the_first_refusal_is_reported_and_the_session_works_afterwards() {
    let graph = talk();
    let store = Faulty::on(journal());
    let runtime = Runtime::builder()
        .journal(store.clone())
        .options(|options| {
            options.store_retry = StoreRetry::none();
            options.store_reopen = 0;
        })
        .provide(Arc::new(World::default()))
        .build();
    let session = runtime.session("s").unwrap();
    store.fail_next(1, Fault::Refused);
    let refused = session.run(&graph, Talk::update()).start().await.unwrap_err();
    assert_eq!(refused.code().name(), "store_unavailable");
    assert!(session.run(&graph, Talk::update()).await.unwrap().is_paused());
}

#[test]
fn an_executor_that_ends_while_a_run_waits_leaves_nothing_of_its_runtime() {
    let graph = talk();
    let store = Arc::new(InMemoryJournal::new());
    let left = Arc::downgrade(&store);
    let make = |store: Arc<InMemoryJournal>| {
        Runtime::builder().journal(store).graph(&graph).provide(Arc::new(World::default())).build()
    };
    for threads in [1, 2] {
        let executor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_time()
            .build()
            .unwrap();
        executor.block_on(async {
            let runtime = make(Arc::clone(&store));
            let session = runtime.session(&format!("s{threads}")).unwrap();
            assert!(session.run(&graph, Talk::update()).await.unwrap().is_paused());
        });
        drop(executor);
    }
    assert_eq!(Arc::strong_count(&store), 1, "runtimes that are gone hold the store");
    drop(store);
    assert!(left.upgrade().is_none());
}

#[tokio::test]
async fn a_session_that_another_process_executes_is_not_deleted_under_it() {
    let graph = gated();
    let store = journal();
    let gate = Arc::new(Notify::new());
    let make = || {
        let world = Arc::new(World::default());
        Runtime::builder().journal(store.clone()).provide(Arc::clone(&gate)).provide(world).build()
    };
    let (one, two) = (make(), make());
    let session = one.session("s").unwrap();
    let run = session.run(&graph, Talk::update()).start().await.unwrap();
    let refused = two.session("s").unwrap().delete().await.unwrap_err();
    assert_eq!(refused.code().name(), "session_busy", "{refused}");
    gate.notify_one();
    assert!(within_an_hour(run.outcome::<Talk>()).await.unwrap().is_completed());
    one.shutdown(Duration::ZERO).await;
    two.session("s").unwrap().delete().await.unwrap();
    let gone = two.session("s").unwrap().delete().await.unwrap_err();
    assert_eq!(gone.code().name(), "session_not_found");
    assert!(on(&store).build().sessions(None, &[], 10).await.unwrap().is_empty());
}
