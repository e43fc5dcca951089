//! Limits: supersteps, tasks at once, and siblings of a failed task.

use super::*;

#[tokio::test]
async fn the_superstep_limit_ends_a_loop_and_nothing_committed_is_lost() {
    let graph = |limit| {
        Graph::<Trail>::builder("loop")
            .max_supersteps(limit)
            .node("turn", async |_: &Trail, _: &Context| Ok(Trail::update().sum(1)))
            .edge(START, "turn")
            .branch("turn", |state: &Trail| if state.sum < 15 { "turn" } else { END }, ["turn", END])
            .build()
            .unwrap()
    };
    let inner = journal();
    let session = on(&inner).build().session("s").unwrap();
    let error = session.run(&graph(10), Trail::update()).await.unwrap_err();
    assert_eq!(error.code().name(), "superstep_limit");
    assert_eq!(session.state::<Trail>().await.unwrap().sum, 10);
    let runtime = on(&inner).graph(&graph(20)).build();
    let outcome = runtime.session("s").unwrap().resume().await.unwrap().outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().sum, 15);
    let runtime = on(&journal()).limits(Limits::default().supersteps(3)).build();
    let error = runtime.session("s").unwrap().run(&graph(20), Trail::update()).await.unwrap_err();
    assert_eq!(error.code().name(), "superstep_limit");
}

#[tokio::test]
async fn a_failure_cancels_siblings_or_lets_them_finish_as_the_graph_says() {
    for (policy, late) in
        [(agent_core::graph::FailurePolicy::FailFast, 0), (agent_core::graph::FailurePolicy::LetFinish, 1)]
    {
        let (world, gate) = (Arc::new(World::default()), Arc::new(tokio::sync::Barrier::new(2)));
        let graph = Graph::<Trail>::builder("siblings")
            .on_failure(policy)
            .node("bad", async |_: &Trail, cx: &Context| -> Result<()> {
                cx.get::<Arc<tokio::sync::Barrier>>()?.wait().await;
                Err(NodeError::msg("down"))
            })
            .node("late", async |_: &Trail, cx: &Context| {
                cx.get::<Arc<tokio::sync::Barrier>>()?.wait().await;
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                cx.get::<Arc<World>>()?.happens("late");
                Ok(Trail::update().sum(1))
            })
            .edge(START, "bad")
            .edge(START, "late")
            .edge("bad", END)
            .edge("late", END)
            .build()
            .unwrap();
        let session = on(&journal()).provide(Arc::clone(&world)).provide(gate).build().session("s").unwrap();
        soon(session.run(&graph, Trail::update())).await.unwrap_err();
        assert_eq!(world.times("late"), late);
        assert_eq!(session.state::<Trail>().await.unwrap().sum, 0, "writes of an unfinished superstep");
        let finished = kinds(&session).await.iter().filter(|kind| *kind == "node_finished").count();
        assert_eq!(finished, late as usize);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn siblings_that_hold_a_thread_overlap() {
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let hold = async |_: &Trail, cx: &Context| {
        cx.get::<Arc<std::sync::Barrier>>()?.wait();
        Ok(())
    };
    let graph = Graph::<Trail>::builder("cpu")
        .node("a", hold)
        .node("b", hold)
        .edge(START, "a")
        .edge(START, "b")
        .edge("a", END)
        .edge("b", END)
        .build()
        .unwrap();
    let runtime = Runtime::builder().provide(barrier).build();
    let outcome = soon(runtime.session("s").unwrap().run(&graph, Trail::update())).await.unwrap();
    assert!(outcome.is_completed());
}

#[tokio::test]
async fn concurrency_is_capped_by_graph_and_by_node() {
    #[derive(Default)]
    struct Meter(std::sync::atomic::AtomicUsize, std::sync::atomic::AtomicUsize);
    for (graph_cap, node_cap, most) in [(usize::MAX, 3, 3), (2, usize::MAX, 2), (5, 1, 1)] {
        let graph = Graph::<Trail>::builder("caps")
            .max_concurrency(graph_cap)
            .node(
                "work",
                (async |_: &Trail, _: i64, cx: &Context| {
                    let meter = cx.get::<Arc<Meter>>()?;
                    let now = meter.0.fetch_add(1, Ordering::SeqCst) + 1;
                    meter.1.fetch_max(now, Ordering::SeqCst);
                    for _ in 0..5 {
                        tokio::task::yield_now().await;
                    }
                    meter.0.fetch_sub(1, Ordering::SeqCst);
                    Ok(Trail::update().sum(1))
                })
                .concurrency(node_cap),
            )
            .branch(
                START,
                |_: &Trail| Route::sends((0..20i64).map(|n| agent_core::graph::Dispatch::new("work", &n))),
                ["work"],
            )
            .edge("work", END)
            .build()
            .unwrap();
        let meter = Arc::new(Meter::default());
        let runtime = Runtime::builder().provide(Arc::clone(&meter)).build();
        let outcome = soon(runtime.session("s").unwrap().run(&graph, Trail::update())).await.unwrap();
        assert_eq!(outcome.state().unwrap().sum, 20);
        assert_eq!(meter.1.load(Ordering::SeqCst), most);
    }
}

#[tokio::test]
async fn tasks_that_wait_for_a_person_do_not_count_against_a_cap() {
    for nested in [false, true] {
        let asking = Graph::<Trail>::builder("asking")
            .node("ask", async |_: &Trail, cx: &Context| {
                let n: i64 = cx.ask("n?").await?;
                Ok(Trail::update().sum(n))
            })
            .edge(START, "ask")
            .edge("ask", END)
            .build()
            .unwrap();
        let mut builder = Graph::<Trail>::builder("waiting").max_concurrency(1);
        builder = if nested {
            builder.node(
                "work",
                asking.as_node_with_input(
                    |_: &Trail, _: i64| Trail::default(),
                    |t: Trail| Trail::update().sum(t.sum),
                ),
            )
        } else {
            builder.node("work", async |_: &Trail, _: i64, cx: &Context| {
                let n: i64 = cx.ask("n?").await?;
                Ok(Trail::update().sum(n))
            })
        };
        let graph = builder
            .branch(
                START,
                |_: &Trail| Route::sends((0..4i64).map(|n| agent_core::graph::Dispatch::new("work", &n))),
                ["work"],
            )
            .edge("work", END)
            .build()
            .unwrap();
        let runtime = on(&journal()).build();
        let session = runtime.session("s").unwrap();
        let outcome = soon(session.run(&graph, Trail::update())).await.unwrap();
        assert_eq!(outcome.questions().len(), 4);
        let answers = outcome.questions().iter().map(|open| (open.id.clone(), 2));
        let run = session.answer(agent_core::Answers::each(answers)).await.unwrap();
        assert_eq!(soon(run.outcome::<Trail>()).await.unwrap().state().unwrap().sum, 8);
    }
}
