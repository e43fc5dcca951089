//! Replays: recorded attempts, steps, questions and cached outcomes.

use super::*;

#[tokio::test(start_paused = true)]
async fn attempts_survive_a_restart() {
    let inner = journal();
    let world = Arc::new(World::default());
    let graph = Graph::<Trail>::builder("retry")
        .node(
            "flaky",
            (async |_: &Trail, cx: &Context| {
                cx.get::<Arc<World>>()?.happens("try");
                let once: String =
                    cx.step("paid", async { Ok::<_, NodeError>(cx.attempt().to_string()) }).await?;
                if cx.attempt() == 3 { Ok(Trail::update().steps([once])) } else { Err(NodeError::msg("no")) }
            })
            .retry(RetryPolicy::attempts(3).first_wait(Duration::from_secs(3_600))),
        )
        .edge(START, "flaky")
        .edge("flaky", END)
        .build()
        .unwrap();
    let make = || on(&inner).graph(&graph).provide(Arc::clone(&world)).build();
    let runtime = make();
    let session = runtime.session("s").unwrap();
    let mut events = session.subscribe(None);
    let _run = session.run(&graph, Trail::update()).start().await.unwrap();
    while !matches!(events.next().await.unwrap().body, agent_core::event::EventBody::NodeFailed(_)) {}
    runtime.shutdown(Duration::ZERO).await;
    let before = world.times("try");
    assert!(before < 3);
    let runtime = make();
    assert_eq!(runtime.recover().await.unwrap().resumed.len(), 1);
    let session = runtime.session("s").unwrap();
    let mut events = session.subscribe(Some(agent_core::ids::Seq::ZERO));
    while !events.next().await.unwrap().body.ends_run() {}
    assert_eq!(session.state::<Trail>().await.unwrap().steps, ["1"]);
    assert_eq!(world.times("try"), 3);
}

#[tokio::test]
async fn a_step_that_replaces_what_was_recorded_is_a_mismatch_and_its_effect_does_not_happen() {
    let inner = journal();
    let world = Arc::new(World::default());
    let graph = |changed: bool| {
        Graph::<Trail>::builder("changed")
            .node("pay", async move |_: &Trail, cx: &Context| {
                let world = cx.get::<Arc<World>>()?;
                let effect = async |key: &'static str| {
                    cx.step(key, async {
                        world.happens(key);
                        Ok::<_, NodeError>(1)
                    })
                    .await
                };
                if changed {
                    effect("other").await?;
                }
                effect("first").await?;
                let _: bool = cx.ask("sure?").await?;
                Ok(())
            })
            .edge(START, "pay")
            .edge("pay", END)
            .build()
            .unwrap()
    };
    for (key, world_key) in [("first", "other")] {
        let session = on(&inner).provide(Arc::clone(&world)).build().session("s").unwrap();
        session.run(&graph(false), Trail::update()).await.unwrap();
        let runtime = on(&inner).provide(Arc::clone(&world)).graph(&graph(true)).build();
        let answered = runtime.session("s").unwrap().answer(agent_core::Answers::only(true)).await.unwrap();
        let error = answered.outcome::<Trail>().await.unwrap_err();
        let SessionError::Run(error) = error else { panic!("{error}") };
        let RunError::ReplayMismatch { recorded, asked, .. } = &*error else { panic!("{error}") };
        assert!(recorded.contains(&key.to_owned()) && asked == &[world_key], "{recorded:?} {asked:?}");
        assert_eq!((world.times(key), world.times(world_key)), (1, 0));
    }
}

#[tokio::test]
async fn an_effect_in_place_of_a_recorded_question_does_not_happen() {
    let inner = journal();
    let world = Arc::new(World::default());
    let graph = |changed: bool| {
        Graph::<Trail>::builder("changed")
            .node("pay", async move |_: &Trail, cx: &Context| {
                if changed {
                    let world = cx.get::<Arc<World>>()?;
                    cx.step("pay", async { Ok::<_, NodeError>(world.happens("pay")) }).await?;
                } else {
                    let _: bool = cx.ask("sure?").await?;
                }
                Ok(())
            })
            .edge(START, "pay")
            .edge("pay", END)
            .build()
            .unwrap()
    };
    let session = on(&inner).provide(Arc::clone(&world)).build().session("s").unwrap();
    session.run(&graph(false), Trail::update()).await.unwrap();
    let runtime = on(&inner).provide(Arc::clone(&world)).graph(&graph(true)).build();
    let answered = runtime.session("s").unwrap().answer(agent_core::Answers::only(true)).await.unwrap();
    let error = answered.outcome::<Trail>().await.unwrap_err();
    assert_eq!(error.code().name(), "replay_mismatch", "{error}");
    assert_eq!(world.times("pay"), 0);
}

#[tokio::test]
async fn two_graphs_of_one_shape_do_not_share_a_cache() {
    let graph = |name: &str, n: i64| {
        Graph::<Trail>::builder(name)
            .node(
                "work",
                (async move |_: &Trail, cx: &Context| {
                    cx.get::<Arc<World>>()?.happens("work");
                    Ok(Outcome::<Trail>::update(Trail::update().sum(n)))
                })
                .cache(Duration::from_secs(60), |state: &Trail| state.left),
            )
            .edge(START, "work")
            .edge("work", END)
            .build()
            .unwrap()
    };
    let world = Arc::new(World::default());
    let runtime = Runtime::builder().provide(Arc::clone(&world)).build();
    let sum = async |session: &str, graph: &Graph<Trail>, left: bool| {
        let session: Session = runtime.session(session).unwrap();
        session.run(graph, Trail::update().left(left)).await.unwrap().state().unwrap().sum
    };
    assert_eq!(sum("a", &graph("a", 1), false).await, 1);
    assert_eq!(sum("b", &graph("b", 2), false).await, 2);
    assert_eq!(sum("c", &graph("a", 1), false).await, 1);
    assert_eq!(world.times("work"), 2, "a hit does not run the node");
    assert_eq!(sum("d", &graph("a", 1), true).await, 1);
    assert_eq!(world.times("work"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_kept_outcome_is_used_for_its_time_to_live() {
    let world = Arc::new(World::default());
    let graph = Graph::<Trail>::builder("ttl")
        .node(
            "work",
            (async |_: &Trail, cx: &Context| {
                cx.get::<Arc<World>>()?.happens("work");
                Ok(())
            })
            .cache(Duration::from_secs(60), |_: &Trail| 1),
        )
        .edge(START, "work")
        .edge("work", END)
        .build()
        .unwrap();
    let runtime = Runtime::builder().provide(Arc::clone(&world)).build();
    for (wait, times) in [(0, 1), (59, 1), (2, 2)] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        runtime.session("s").unwrap().run(&graph, Trail::update()).await.unwrap();
        assert_eq!(world.times("work"), times);
    }
}
