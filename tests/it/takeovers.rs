//! Runs after the death of their processes: how often they are taken over, and which attempts count.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Context, END, Graph, NodeError, Runtime, START, Session, State, clock::ManualClock, event::EventBody,
    graph::NodeExt, ids::Seq, journal::InMemoryJournal, retry::RetryPolicy, run::RunStatus,
    testing::HookedStore,
};
use serde::{Deserialize, Serialize};
use tests::{Dying, World, journal, kinds, on, within_an_hour};
use tokio::sync::Notify;

#[derive(State, Default, Debug, PartialEq, Serialize, Deserialize)]
struct Count {
    #[state(add)]
    n: u64,
}

/// What a node can reach: its process's store, to kill the process, and what outlives processes.
struct Process {
    store: Arc<HookedStore<Dying>>,
    world: Arc<World>,
}

/// Kills its process each time it runs. `steps`: it records one more step before that, and completes after this many.
fn deadly(steps: Option<u32>) -> Graph<Count> {
    let inner = Graph::<Count>::builder("inner")
        .node("bomb", async move |_: &Count, cx: &Context| {
            let process = cx.get::<Process>()?;
            process.world.happens("bomb");
            for at in 0..steps.unwrap_or(0) {
                let mut done = false;
                cx.step(format!("s{at}"), async {
                    done = true;
                    Ok::<_, NodeError>(at)
                })
                .await?;
                if done {
                    process.store.kill();
                    return Err(NodeError::msg("dead"));
                }
            }
            if steps.is_none() {
                process.store.kill();
            }
            Ok(Count::update().n(1u64))
        })
        .edge(START, "bomb")
        .edge("bomb", END)
        .build()
        .unwrap();
    Graph::<Count>::builder("deadly")
        .node("before", async |_: &Count, _: &Context| Ok(Count::update().n(10u64)))
        .node(
            "nested",
            inner.as_node(|_: &Count| Count::default(), |inner: Count| Count::update().n(inner.n)),
        )
        .edge(START, "before")
        .edge("before", "nested")
        .edge("nested", END)
        .build()
        .unwrap()
}

fn process(journal: &Arc<InMemoryJournal>, world: &Arc<World>, graph: &Graph<Count>) -> Runtime {
    let store = Dying::never(journal);
    let process = Process { store: store.clone(), world: Arc::clone(world) };
    let builder = Runtime::builder().journal(store).graph(graph).provide(process);
    builder.durability(agent_core::Durability::Sync).build()
}

/// Begins a run that kills its process.
async fn begin(journal: &Arc<InMemoryJournal>, world: &Arc<World>, graph: &Graph<Count>) {
    let runtime = process(journal, world, graph);
    within_an_hour(runtime.session("s").unwrap().run(graph, Count::update())).await.unwrap_err();
}

/// The next process takes the run over and is killed by it.
async fn take_over(journal: &Arc<InMemoryJournal>, world: &Arc<World>, graph: &Graph<Count>) {
    let before = world.times("bomb");
    let runtime = process(journal, world, graph);
    let recovered = within_an_hour(runtime.recover()).await.unwrap();
    assert_eq!(recovered.resumed.len() + recovered.suspects.len(), 1, "{recovered:?}");
    while world.times("bomb") == before || runtime.live_runs() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_one_process_after_another_fails_and_names_its_task() {
    let (journal, world, graph) = (journal(), Arc::new(World::default()), deadly(None));
    begin(&journal, &world, &graph).await;
    for _ in 0..3 {
        take_over(&journal, &world, &graph).await;
    }
    let runtime = process(&journal, &world, &graph);
    let recovered = runtime.recover().await.unwrap();
    assert_eq!((recovered.resumed.len(), recovered.failed.len()), (0, 1), "{recovered:?}");
    assert_eq!(recovered.failed[0].error.code().name(), "crash_loop");
    assert_eq!(world.times("bomb"), 4, "it is not begun again");
    let session = runtime.session("s").unwrap();
    let status = session.status().await.unwrap();
    let failure = status.failure.unwrap();
    assert_eq!((status.status, failure.code.as_str()), (RunStatus::Failed, "crash_loop"));
    assert_eq!(failure.node.as_deref(), Some("bomb"));
    assert!(
        failure.message.contains("nested:2/bomb") || failure.message.contains("/bomb"),
        "{}",
        failure.message
    );
    assert!(runtime.recover().await.unwrap().failed.is_empty(), "it is at its end");
    // A person may resume it; the count starts again.
    let error = within_an_hour(session.resume().await.unwrap().outcome::<Count>()).await.unwrap_err();
    assert_eq!(error.code().name(), "store_unavailable");
    drop(runtime);
    for _ in 0..3 {
        take_over(&journal, &world, &graph).await;
    }
    assert_eq!(world.times("bomb"), 8);
}

#[tokio::test(start_paused = true)]
async fn takeovers_with_progress_in_between_do_not_add_up() {
    let (journal, world, graph) = (journal(), Arc::new(World::default()), deadly(Some(8)));
    begin(&journal, &world, &graph).await;
    for _ in 0..7 {
        take_over(&journal, &world, &graph).await;
    }
    let runtime = process(&journal, &world, &graph);
    let session = runtime.session("s").unwrap();
    let outcome = within_an_hour(session.resume().await.unwrap().outcome::<Count>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().n, 11);
}

#[tokio::test]
async fn processes_that_shut_down_are_not_counted_as_dead() {
    let (journal, gate) = (journal(), Arc::new(Notify::new()));
    let graph = Graph::<Count>::builder("long")
        .node("long", async |_: &Count, cx: &Context| {
            cx.get::<Arc<Notify>>()?.notified().await;
            Ok(Count::update().n(1u64))
        })
        .edge(START, "long")
        .edge("long", END)
        .build()
        .unwrap();
    let make = || on(&journal).graph(&graph).provide(Arc::clone(&gate)).build();
    let mut runtime = make();
    runtime.session("s").unwrap().run(&graph, Count::update()).start().await.unwrap();
    for _ in 0..6 {
        runtime.shutdown(Duration::ZERO).await;
        runtime = make();
        let recovered = runtime.recover().await.unwrap();
        assert_eq!((recovered.resumed.len(), recovered.failed.len()), (1, 0), "{recovered:?}");
    }
    let mut events = runtime.session("s").unwrap().subscribe(Some(Seq::ZERO));
    gate.notify_one();
    within_an_hour(async {
        while !matches!(events.next().await.unwrap().body, agent_core::event::EventBody::RunCompleted(_)) {}
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_tries_are_used_up_is_not_tried_again_by_the_next_process() {
    let graph = Graph::<Count>::builder("failing")
        .node(
            "failing",
            (async |_: &Count, cx: &Context| -> agent_core::Result<()> {
                cx.get::<Arc<World>>()?.happens("try");
                Err(NodeError::msg("out of luck"))
            })
            .retry(RetryPolicy::attempts(2).first_wait(Duration::ZERO)),
        )
        .edge(START, "failing")
        .edge("failing", END)
        .build()
        .unwrap();
    let mut found = 0;
    for appends in 1..10 {
        let (journal, world) = (journal(), Arc::new(World::default()));
        let dying = Runtime::builder()
            .journal(Dying::at(&journal, appends, false))
            .durability(agent_core::Durability::Sync)
            .provide(Arc::clone(&world))
            .build();
        within_an_hour(dying.session("s").unwrap().run(&graph, Count::update())).await.unwrap_err();
        let next = on(&journal).graph(&graph).provide(Arc::clone(&world)).build();
        let session = next.session("s").unwrap();
        let kinds = kinds(&session).await;
        if kinds.iter().filter(|kind| *kind == "node_failed").count() < 2
            || kinds.contains(&"run_failed".to_owned())
        {
            continue;
        }
        found += 1;
        next.recover().await.unwrap();
        within_an_hour(async {
            while session.status().await.unwrap().status == RunStatus::Running {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let failure = session.status().await.unwrap().failure.unwrap();
        assert_eq!((failure.code.as_str(), failure.node.as_deref()), ("node_failed", Some("failing")));
        assert!(failure.message.contains("out of luck"), "{}", failure.message);
        assert_eq!(world.times("try"), 2, "one try more than the policy allows");
        // A person who resumes it asks for new tries.
        within_an_hour(session.resume().await.unwrap().outcome::<Count>()).await.unwrap_err();
        assert_eq!(world.times("try"), 4);
    }
    assert!(found > 0, "no death fell between the last failed try and the run's end");
}

/// Fails once, and waits for up to a minute before its second attempt.
fn retrying() -> Graph<Count> {
    let retry = RetryPolicy::attempts(2).first_wait(Duration::from_secs(60));
    Graph::<Count>::builder("retrying")
        .node(
            "call",
            (async |_: &Count, cx: &Context| match cx.get::<Arc<World>>()?.happens("try") {
                1 => Err(NodeError::transient("not now")),
                _ => Ok(Count::update().n(1u64)),
            })
            .retry(retry),
        )
        .edge(START, "call")
        .edge("call", END)
        .build()
        .unwrap()
}

/// Waits until the first attempt has failed. Returns the wait before the second.
async fn until_failed(session: &Session) -> Duration {
    within_an_hour(async {
        loop {
            let events = session.events(Seq::ZERO, 100).await.unwrap();
            let wait = events.iter().find_map(|event| match &event.body {
                EventBody::NodeFailed(failed) => failed.retry_in_ms,
                _ => None,
            });
            match wait {
                Some(wait) => return Duration::from_millis(wait),
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_retry_continues_in_the_next_process_and_no_death_in_it_counts() {
    let (journal, world, graph) = (journal(), Arc::new(World::default()), retrying());
    let clock = Arc::new(ManualClock::new(1_000_000));
    let process = || {
        let store = Dying::never(&journal);
        let builder = Runtime::builder().journal(store.clone()).clock(Arc::clone(&clock) as _);
        (builder.graph(&graph).provide(Arc::clone(&world)).build(), store)
    };
    let (runtime, store) = process();
    let run = runtime.session("s").unwrap().run(&graph, Count::update()).start().await.unwrap();
    let wait = until_failed(&runtime.session("s").unwrap()).await;
    store.kill();
    drop(run);
    runtime.shutdown(Duration::ZERO).await;
    for _ in 0..5 {
        let (runtime, store) = process();
        let recovered = runtime.recover().await.unwrap();
        assert_eq!((recovered.resumed.len(), recovered.failed.len()), (1, 0), "{recovered:?}");
        clock.advance(wait / 10);
        tokio::time::sleep(wait / 10).await;
        assert_eq!(world.times("try"), 1, "the wait is not cut short by a restart");
        store.kill();
        runtime.shutdown(Duration::ZERO).await;
    }
    let (runtime, _store) = process();
    let began = tokio::time::Instant::now();
    runtime.recover().await.unwrap();
    let session = runtime.session("s").unwrap();
    within_an_hour(async {
        while session.status().await.unwrap().status == RunStatus::Running {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(session.status().await.unwrap().status, RunStatus::Completed);
    assert_eq!(world.times("try"), 2);
    let (rest, passed) = (wait / 2, began.elapsed());
    assert!(passed + Duration::from_millis(10) >= rest, "{passed:?} of {rest:?}");
    assert!(passed < rest + Duration::from_secs(1), "{passed:?} of {rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_in_a_wait_for_a_retry_tries_at_once_when_it_is_resumed() {
    let (journal, world, graph) = (journal(), Arc::new(World::default()), retrying());
    let runtime = on(&journal).graph(&graph).provide(Arc::clone(&world)).build();
    let session = runtime.session("s").unwrap();
    session.run(&graph, Count::update()).start().await.unwrap();
    until_failed(&session).await;
    session.stop().await.unwrap();
    let began = tokio::time::Instant::now();
    let outcome = within_an_hour(session.resume().await.unwrap().outcome::<Count>()).await.unwrap();
    assert_eq!((outcome.state().unwrap().n, began.elapsed().as_secs()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_graph_has_its_own_number_of_takeovers() {
    let (journal, world) = (journal(), Arc::new(World::default()));
    let graph = Graph::<Count>::builder("patient")
        .node("call", async |_: &Count, cx: &Context| {
            let process = cx.get::<Process>()?;
            if process.world.happens("bomb") < 9 {
                process.store.kill();
            }
            Ok(Count::update().n(1u64))
        })
        .edge(START, "call")
        .edge("call", END)
        .max_takeovers(7)
        .build()
        .unwrap();
    begin(&journal, &world, &graph).await;
    for _ in 0..7 {
        take_over(&journal, &world, &graph).await;
    }
    let recovered = process(&journal, &world, &graph).recover().await.unwrap();
    assert_eq!((world.times("bomb"), recovered.failed.len()), (8, 1), "{recovered:?}");
}
