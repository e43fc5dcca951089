//! Two runtimes on one database, as two processes have them: hand-over, forwarding, live events and takeover.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Answers, Context, Graph, RunStatus, Runtime, State,
    event::{EventBody, Subscription},
    graph::{END, START},
    ids::Seq,
    secret::Secret,
};
use agent_postgres::{Postgres, testing::Cluster};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

const LONG: Duration = Duration::from_secs(30);

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

#[derive(State, Default, Clone, Serialize, Deserialize)]
struct Talk {
    #[state(append)]
    said: Vec<String>,
}

/// What the nodes of a test share with it.
#[derive(Default)]
struct World {
    effects: AtomicUsize,
    go: Notify,
}

/// Asks, and does one effect before and one after.
fn asking(world: &Arc<World>) -> Graph<Talk> {
    let world = Arc::clone(world);
    Graph::<Talk>::builder("asking")
        .node("ask", async move |_: &Talk, cx: &Context| {
            let count = || async { Ok::<_, std::io::Error>(world.effects.fetch_add(1, Ordering::SeqCst)) };
            cx.step("before", count()).await?;
            let name: String = cx.ask("Name?").await?;
            cx.step("after", count()).await?;
            Ok(Talk::update().said([name]))
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap()
}

/// Shows progress until the test lets it continue.
fn working(world: &Arc<World>) -> Graph<Talk> {
    let world = Arc::clone(world);
    Graph::<Talk>::builder("working")
        .node("work", async move |_: &Talk, cx: &Context| {
            cx.step("began", async { Ok::<_, std::io::Error>(1) }).await?;
            world.go.notified().await;
            Ok(Talk::update().said(["worked".to_owned()]))
        })
        .edge(START, "work")
        .edge("work", END)
        .build()
        .unwrap()
}

async fn runtime(address: &Secret, graphs: &[Graph<Talk>]) -> Runtime {
    runtime_with(address, graphs, 0).await
}

async fn runtime_with(address: &Secret, graphs: &[Graph<Talk>], slots: usize) -> Runtime {
    let store = Postgres::builder().max_connections(4).connect(address).await.unwrap();
    let runtime = Runtime::builder().journal(store).options(|options| {
        options.lease_ttl = Duration::from_secs(1);
        options.max_active_runs = slots;
    });
    let runtime = runtime.build();
    for graph in graphs {
        runtime.register(graph);
    }
    runtime.sweep().await.unwrap();
    runtime
}

async fn pair(world: &Arc<World>) -> (Runtime, Runtime) {
    let address = cluster().address(&cluster().database());
    let graphs = [asking(world), working(world)];
    (runtime(&address, &graphs).await, runtime(&address, &graphs).await)
}

async fn until(events: &mut Subscription, wanted: impl Fn(&EventBody) -> bool) -> Vec<Seq> {
    let mut numbers = Vec::new();
    loop {
        let event = timeout(LONG, events.next()).await.expect("an event comes").unwrap();
        assert!(!matches!(event.body, EventBody::Gap(_)), "{event:?}");
        numbers.extend(event.seq);
        if wanted(&event.body) {
            return numbers;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_question_is_answered_at_another_replica_and_watched_at_the_first() {
    let world = Arc::<World>::default();
    let (one, two) = pair(&world).await;
    let here = one.session("s").unwrap();
    let mut events = here.subscribe(Some(Seq::ZERO));
    here.run(&asking(&world), Talk::update()).await.unwrap();
    let mut numbers = until(&mut events, |body| matches!(body, EventBody::RunPaused(_))).await;
    let there = two.session("s").unwrap();
    there.answer(Answers::only("Ana")).await.unwrap();
    assert_eq!(there.wait_status().await.unwrap(), RunStatus::Completed);
    numbers.extend(until(&mut events, |body| matches!(body, EventBody::RunCompleted(_))).await);
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert_eq!(world.effects.load(Ordering::SeqCst), 2, "each effect once");
    assert_eq!(here.status().await.unwrap().status, RunStatus::Completed);
    // Back to the first: an idle session is handed over.
    here.run(&asking(&world), Talk::update()).await.unwrap();
    assert_eq!(there.status().await.unwrap().status, RunStatus::Paused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_is_refused_watched_and_stopped_elsewhere() {
    let world = Arc::<World>::default();
    let (one, two) = pair(&world).await;
    let there = two.session("s").unwrap();
    let mut events = there.subscribe(Some(Seq::ZERO));
    let mut run = one.session("s").unwrap().run(&working(&world), Talk::update()).start().await.unwrap();
    until(&mut events, |body| matches!(body, EventBody::StepRecorded(_))).await;
    assert_eq!(there.status().await.unwrap().status, RunStatus::Running);
    let busy = there.run(&working(&world), Talk::update()).start().await.unwrap_err();
    assert_eq!(busy.code().name(), "session_busy", "{busy}");
    assert_eq!(timeout(LONG, there.stop()).await.unwrap().unwrap(), RunStatus::Stopped);
    until(&mut events, |body| matches!(body, EventBody::RunStopped(_))).await;
    assert_eq!(run.wait().await.status, RunStatus::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_reaches_another_replica_soon() {
    let world = Arc::<World>::default();
    let (one, two) = pair(&world).await;
    let (here, there) = (one.session("s").unwrap(), two.session("s").unwrap());
    let (mut near, mut far) = (here.subscribe(Some(Seq::ZERO)), there.subscribe(Some(Seq::ZERO)));
    let mut times = Vec::new();
    for _ in 0..60 {
        here.run(&working(&world), Talk::update()).start().await.unwrap();
        until(&mut near, |body| matches!(body, EventBody::StepRecorded(_))).await;
        let began = Instant::now();
        until(&mut far, |body| matches!(body, EventBody::StepRecorded(_))).await;
        times.push(began.elapsed());
        world.go.notify_one();
        until(&mut near, |body| matches!(body, EventBody::RunCompleted(_))).await;
        until(&mut far, |body| matches!(body, EventBody::RunCompleted(_))).await;
    }
    // The first one waits for the subscription to be announced.
    times.remove(0);
    times.sort();
    let (half, most) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    eprintln!("an event at another replica after it was seen at the first: median {half:?}, 95 % {most:?}");
    assert!(half < Duration::from_millis(500), "by a message, not by looking at the journal: {half:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_whose_process_is_silent_continues_elsewhere() {
    let world = Arc::<World>::default();
    let address = cluster().address(&cluster().database());
    let two = runtime(&address, &[working(&world)]).await;
    let there = two.session("s").unwrap();
    let mut events = there.subscribe(Some(Seq::ZERO));
    // A separate executor that ends when its process would end.
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let graph = working(&world);
    let started = process.spawn(async move {
        let one = runtime(&address, std::slice::from_ref(&graph)).await;
        one.session("s").unwrap().run(&graph, Talk::update()).start().await.unwrap();
        one
    });
    let one = started.await.unwrap();
    until(&mut events, |body| matches!(body, EventBody::StepRecorded(_))).await;
    assert!(two.sweep().await.unwrap().resumed.is_empty(), "the process lives");
    // Neither renews its leases nor ends its run.
    process.shutdown_background();
    std::mem::forget(one);
    let died = Instant::now();
    while two.sweep().await.unwrap().resumed.is_empty() {
        assert!(died.elapsed() < Duration::from_secs(5), "it is taken over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.go.notify_one();
    until(&mut events, |body| matches!(body, EventBody::RunCompleted(_))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_session_is_gone_at_every_replica() {
    let world = Arc::<World>::default();
    let (one, two) = pair(&world).await;
    one.session("s").unwrap().run(&asking(&world), Talk::update()).await.unwrap();
    one.session("s").unwrap().stop().await.unwrap();
    two.session("s").unwrap().delete().await.unwrap();
    assert_eq!(one.session("s").unwrap().status().await.unwrap_err().code().name(), "session_not_found");
}

/// Waits until so many runs are in the states `(executing, waiting)` of a runtime.
async fn reaches(runtime: &Runtime, executing: usize, waiting: usize) {
    let wait = async {
        while (runtime.live_runs(), runtime.waiting_runs()) != (executing + waiting, waiting) {
            runtime.sweep().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let result = timeout(LONG, wait).await;
    result.unwrap_or_else(|_| panic!("{} runs, {} waiting", runtime.live_runs(), runtime.waiting_runs()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_with_free_slots_takes_over_waiting_runs() {
    let world = Arc::<World>::default();
    let address = cluster().address(&cluster().database());
    let graphs = [working(&world)];
    let one = runtime_with(&address, &graphs, 2).await;
    let ids: Vec<String> = (0..6).map(|number| format!("s{number}")).collect();
    for id in &ids {
        let run = one.session(id).unwrap().run(&graphs[0], Talk::update()).start().await.unwrap();
        drop(run);
    }
    let kept = one.session("kept").unwrap().run(&graphs[0], Talk::update()).start().await.unwrap();
    reaches(&one, 2, 5).await;
    let two = runtime_with(&address, &graphs, 2).await;
    reaches(&one, 2, 3).await;
    reaches(&two, 2, 0).await;
    // Runs of both end, and each slot is used again, until all have run.
    let wait = async {
        loop {
            world.go.notify_waiters();
            let mut left = 0;
            for id in &ids {
                let status = two.session(id).unwrap().status().await.unwrap();
                left += usize::from(status.status != RunStatus::Completed);
            }
            if left == 0 {
                return;
            }
            one.sweep().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, wait).await.unwrap();
    for id in &ids {
        let said: Talk = one.session(id).unwrap().state().await.unwrap();
        assert_eq!(said.said, ["worked"], "{id} ran once");
    }
    // A run whose result is awaited ends where it is awaited.
    let mut kept = kept;
    let wait = async {
        loop {
            world.go.notify_waiters();
            if let Ok(status) = timeout(Duration::from_millis(50), kept.wait_status()).await {
                return status;
            }
        }
    };
    assert_eq!(timeout(LONG, wait).await.unwrap(), RunStatus::Completed);
}
