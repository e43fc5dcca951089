//! Commands on runs in dataflow mode: stop, resume, edit, fork, replay, limits.

use super::*;

#[tokio::test]
async fn a_failure_keeps_what_others_committed_and_a_resume_runs_only_what_is_left() {
    let fails = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        let outside = cx.get::<Arc<Outside>>()?;
        outside.gate.opened().await;
        if outside.world.happens("try") == 1 {
            return Err(NodeError::permanent("not yet"));
        }
        Ok(note(cx))
    };
    let graph = Graph::<Log>::builder("fails")
        .node("first", careful)
        .node("third", third)
        .node("fails", fails)
        .path([START, "first", "third", END])
        .path([START, "fails", END])
        .dataflow()
        .build()
        .unwrap();
    let outside: Arc<Outside> = Arc::default();
    let runtime = on(&journal()).graph(&graph).provide(Arc::clone(&outside)).build();
    let session = runtime.session("s").unwrap();
    soon(session.run(&graph, Log::update())).await.unwrap_err();
    assert_eq!(session.state::<Log>().await.unwrap().steps, ["first", "third"]);
    let run = session.resume().await.unwrap();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["first", "third", "fails"]);
    assert_eq!((outside.world.times("first#1"), outside.world.times("third#3")), (1, 1));
}

#[tokio::test]
async fn a_stop_and_a_drain_keep_what_was_committed() {
    for drain in [false, true] {
        let outside: Arc<Outside> = Arc::default();
        let graph = Graph::<Log>::builder("held").node("first", careful).node("slow", slow);
        let graph = graph.path([START, "first", END]).path([START, "slow", END]).dataflow().build().unwrap();
        let inner = journal();
        let first = on(&inner).graph(&graph).provide(Arc::clone(&outside)).build();
        let session = first.session("s").unwrap();
        let run = session.run(&graph, Log::update()).start().await.unwrap();
        soon(outside.slow_began.opened()).await;
        let mut events = session.subscribe(Some(Seq::ZERO));
        while !matches!(soon(events.next()).await.unwrap().body, EventBody::SuperstepCommitted(_)) {}
        if drain {
            first.shutdown(Duration::from_millis(50)).await;
        } else {
            session.stop().await.unwrap();
        }
        drop(run);
        let again = on(&inner).graph(&graph).provide(Arc::clone(&outside)).build();
        let session = again.session("s").unwrap();
        assert_eq!(session.state::<Log>().await.unwrap().steps, ["first"]);
        outside.gate.open();
        let outcome = soon(session.resume().await.unwrap().outcome::<Log>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().steps, ["first", "slow"]);
        assert_eq!((outside.world.times("first#1"), outside.world.times("slow#2")), (1, 1));
    }
}

#[tokio::test]
async fn breakpoints_timers_and_edits_work_in_dataflow_mode() {
    let outside: Arc<Outside> = Arc::default();
    outside.gate.open();
    let graph = race().build().unwrap();
    let runtime = on(&journal()).graph(&graph).provide(Arc::clone(&outside)).build();
    let session = runtime.session("s").unwrap();
    let options = RunOptions::default().break_before(["second"]);
    let outcome = soon(session.run(&graph, Log::update()).options(options)).await.unwrap();
    assert!(outcome.is_paused());
    assert_eq!(session.state::<Log>().await.unwrap().steps, ["first", "slow"]);
    // An edit in the name of the node that waits: its successor is due, with the edited state.
    session.edit(&graph, "second", Log::update().steps(["edited".to_owned()])).await.unwrap();
    let run = session.resume().await.unwrap();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["first", "slow", "edited", "third", "last"]);
    assert_eq!(outside.world.times("second#3"), 0);

    let nap = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        cx.sleep(Duration::from_millis(1)).await?;
        Ok(note(cx))
    };
    let graph = Graph::<Log>::builder("nap").node("nap", nap).node("a", plain);
    let graph = graph.path([START, "nap", END]).path([START, "a", END]).dataflow().build().unwrap();
    let session = runtime.session("nap").unwrap();
    session.run(&graph, Log::update()).await.unwrap();
    let mut events = session.subscribe(Some(Seq::ZERO));
    while !matches!(soon(events.next()).await.unwrap().body, EventBody::RunCompleted(_)) {}
    assert_eq!(session.state::<Log>().await.unwrap().steps, ["a", "nap"]);
}

#[tokio::test]
async fn an_edit_is_not_seen_by_tasks_in_flight() {
    let ask = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        look(state, cx).await?;
        let amount: i64 = cx.ask(Question::new(cx.node().to_owned())).await?;
        Ok(note(cx).sum(amount))
    };
    let graph = Graph::<Log>::builder("edited").node("one", ask).node("two", ask).node("last", careful);
    let graph = graph.path([START, "one", "last", END]).path([START, "two", END]).dataflow().build().unwrap();
    let outside: Arc<Outside> = Arc::default();
    let runtime = on(&journal()).graph(&graph).provide(Arc::clone(&outside)).build();
    let session = runtime.session("s").unwrap();
    assert!(session.run(&graph, Log::update()).await.unwrap().is_paused());
    session.edit(&graph, "one", Log::update().steps(["edited".to_owned()])).await.unwrap();
    let open = session.status().await.unwrap().questions;
    let run = session.answer(Answers::to(open[0].id.clone(), 1)).await.unwrap();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    let steps = outcome.state().unwrap().steps.iter().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(steps, BTreeSet::from(["edited", "last", "two"]));
}

#[tokio::test]
async fn a_run_in_dataflow_mode_is_not_continued_without_it() {
    let graph = |dataflow: bool| {
        let ask = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
            Ok(Log::update().sum(cx.ask::<i64>(Question::new("How much?")).await?))
        };
        let graph = Graph::<Log>::builder("g").node("ask", ask).node("a", plain);
        let graph = graph.path([START, "ask", END]).path([START, "a", END]);
        if dataflow { graph.dataflow().build().unwrap() } else { graph.build().unwrap() }
    };
    assert_ne!(graph(true).hash(), graph(false).hash());
    for begun in [true, false] {
        let inner = journal();
        let before = on(&inner).build();
        assert!(before.session("s").unwrap().run(&graph(begun), Log::update()).await.unwrap().is_paused());
        before.shutdown(Duration::ZERO).await;
        let session = on(&inner).graph(&graph(!begun)).build().session("s").unwrap();
        match session.answer(Answers::only(3)).await {
            Err(error) if begun => {
                assert_eq!(error.code(), Code::GraphChanged, "{error}");
                assert!(error.to_string().contains("`dataflow()`"), "{error}");
                let session = on(&inner).graph(&graph(true)).build().session("s").unwrap();
                let run = session.answer(Answers::only(3)).await.unwrap();
                assert_eq!(soon(run.outcome::<Log>()).await.unwrap().state().unwrap().sum, 4);
            }
            Ok(run) if !begun => {
                assert_eq!(soon(run.outcome::<Log>()).await.unwrap().state().unwrap().sum, 4);
            }
            other => panic!("{begun}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_replay_commits_in_the_recorded_order() {
    // `a` and `b` end in the order of their answers; `sees` depends on it.
    let held = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        let name: String = cx.ask(Question::new(cx.node().to_owned())).await?;
        Ok(note(cx).steps([format!("{name} {}", state.steps.len())]))
    };
    let sees = async |state: &Log, _: &Context| -> Result<LogUpdate> {
        Ok(Log::update().note(state.steps.join(",")))
    };
    let graph = Graph::<Log>::builder("order")
        .node("a", held)
        .node("b", held)
        .node("sees", sees)
        .path([START, "a", END])
        .path([START, "b", "sees", END])
        .dataflow()
        .build()
        .unwrap();
    for order in [["a", "b"], ["b", "a"]] {
        let runtime = on(&journal()).graph(&graph).build();
        let session = runtime.session("s").unwrap();
        assert!(session.run(&graph, Log::update()).await.unwrap().is_paused());
        for name in order {
            let open = session.status().await.unwrap().questions;
            let asked = open.iter().find(|open| open.question.prompt == name).unwrap();
            let mut run = session.answer(Answers::to(asked.id.clone(), name)).await.unwrap();
            soon(run.wait_status()).await;
        }
        let report = soon(session.replay()).await.unwrap();
        assert_eq!(report.differences, [], "{order:?}");
        assert_eq!(report.tasks, 3);
    }
}

#[tokio::test]
async fn snapshots_are_kept_when_nothing_else_is_in_flight() {
    let outside: Arc<Outside> = Arc::default();
    let inner = journal();
    let runtime =
        on(&inner).provide(Arc::clone(&outside)).options(|options| options.snapshot_bytes = 1).build();
    let graph = Graph::<Log>::builder("snapshots")
        .node("a", plain)
        .node("b", plain)
        .node("first", careful)
        .node("third", third)
        .node("slow", slow)
        .path([START, "a", "b", "first", "third", END])
        .path(["b", "slow", END])
        .dataflow()
        .build()
        .unwrap();
    let session = runtime.session("s").unwrap();
    soon(session.run(&graph, Log::update())).await.unwrap();
    runtime.shutdown(Duration::ZERO).await;
    let report = agent_core::journal::verify(&*inner, session.id()).await.unwrap();
    assert!(report.snapshots > 0, "{report:?}");
    // A fork from the middle has the records of the tasks in flight.
    let later = on(&inner).graph(&graph).provide(outside).build();
    let session = later.session("s").unwrap();
    for checkpoint in session.history(Seq::ZERO, 100).await.unwrap() {
        let fork =
            session.fork(checkpoint.seq, format!("f-{}", checkpoint.seq).parse().unwrap()).await.unwrap();
        if fork.status().await.unwrap().status != RunStatus::Completed {
            let outcome = soon(fork.resume().await.unwrap().outcome::<Log>()).await.unwrap();
            assert_eq!(outcome.state().unwrap().sum, session.state::<Log>().await.unwrap().sum);
        }
    }
}

#[tokio::test]
async fn a_subgraph_that_is_left_waits_for_its_tasks_in_flight() {
    let inner = Graph::<Log>::builder("inner")
        .node("pick", async |_: &Log, cx: &Context| Ok(Outcome::update(note(cx)).goto_parent("chosen")))
        .node("beside", async |_: &Log, cx: &Context| -> Result<LogUpdate> {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            Ok(note(cx))
        })
        .node("never", plain)
        .edge(START, "pick")
        .declare_parent_targets("pick", ["chosen"])
        .path([START, "beside", "never", END])
        .dataflow()
        .build()
        .unwrap();
    let graph = Graph::<Log>::builder("outer")
        .node("inner", inner.as_node(|_: &Log| Log::default(), |inner: Log| Log::update().steps(inner.steps)))
        .node("chosen", plain)
        .edge(START, "inner")
        .edge("chosen", END)
        .build()
        .unwrap();
    let inner = journal();
    let session = on(&inner).build().session("s").unwrap();
    let outcome = soon(session.run(&graph, Log::update())).await.unwrap();
    let steps = ["pick", "beside", "chosen"];
    assert_eq!(outcome.state().unwrap().steps, steps);
    let later = on(&inner).graph(&graph).build();
    let last = session.head().await.unwrap().last;
    for seq in (1..last.0).map(Seq) {
        let source = later.session("s").unwrap();
        let fork = source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
        let outcome = soon(fork.resume().await.unwrap().outcome::<Log>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().steps, steps, "{seq}");
    }
}

#[tokio::test]
async fn a_budget_of_active_time_ends_all_branches() {
    let never = async |_: &Log, _: &Context| -> Result<LogUpdate> { std::future::pending().await };
    let graph = Graph::<Log>::builder("timed").node("never", never).node("a", plain);
    let graph = graph.path([START, "never", END]).path([START, "a", END]).dataflow().build().unwrap();
    let session = stored(&Arc::default()).session("s").unwrap();
    let options = RunOptions::default().limits(Limits::default().active(Duration::from_millis(20)));
    let error = soon(session.run(&graph, Log::update()).options(options)).await.unwrap_err();
    assert_eq!(error.code().name(), "budget_exceeded", "{error}");
    assert_eq!(session.state::<Log>().await.unwrap().steps, ["a"]);
}

#[tokio::test]
async fn the_limit_of_supersteps_counts_the_tasks_before_a_restart() {
    let again = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        if state.sum == 4 {
            cx.ask::<String>("continue?").await?;
        }
        Ok(note(cx))
    };
    let graph = Graph::<Log>::builder("loop")
        .node("again", again)
        .edge(START, "again")
        .branch("again", |state: &Log| if state.sum < 100 { "again" } else { END }, ["again", END])
        .max_supersteps(9)
        .dataflow()
        .build()
        .unwrap();
    let inner = journal();
    let process = || on(&inner).graph(&graph).build().session("s").unwrap();
    assert!(soon(process().run(&graph, Log::update())).await.unwrap().is_paused());
    let session = process();
    let run = session.answer(Answers::only("yes")).await.unwrap();
    let error = soon(run.outcome::<Log>()).await.unwrap_err();
    assert_eq!(error.code().name(), "superstep_limit", "{error}");
    assert_eq!(session.state::<Log>().await.unwrap().sum, 9);
}

#[tokio::test]
async fn of_two_failures_the_one_of_the_earlier_task_is_reported() {
    // `first` waits until `second` has failed.
    let first = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        cx.get::<Arc<Outside>>()?.gate.opened().await;
        Err(NodeError::permanent("first"))
    };
    let second = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        cx.get::<Arc<Outside>>()?.gate.open();
        Err(NodeError::permanent("second"))
    };
    let graph = Graph::<Log>::builder("two")
        .node("first", first)
        .node("second", second)
        .path([START, "first", END])
        .path([START, "second", END])
        .on_failure(FailurePolicy::LetFinish)
        .dataflow()
        .build()
        .unwrap();
    let session = stored(&Arc::default()).session("s").unwrap();
    let error = soon(session.run(&graph, Log::update())).await.unwrap_err();
    assert!(error.to_string().contains("`first`"), "{error}");
}

#[tokio::test]
async fn a_task_that_finishes_after_a_failed_commit_is_kept_and_not_committed() {
    let left = async |_: &Log, cx: &Context| -> Result<LogUpdate> { Ok(note(cx).note("left".to_owned())) };
    let right = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        let outside = cx.get::<Arc<Outside>>()?;
        outside.gate.opened().await;
        outside.slow_began.open();
        Ok(note(cx).note("right".to_owned()))
    };
    // It ends after the conflict of the other two.
    let last = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        let outside = cx.get::<Arc<Outside>>()?;
        outside.slow_began.opened().await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        outside.world.happens("last");
        Ok(note(cx))
    };
    let graph = Graph::<Log>::builder("late")
        .node("left", left)
        .node("open", third)
        .node("right", right)
        .node("last", last)
        .path([START, "left", "open", END])
        .path([START, "right", END])
        .path([START, "last", END])
        .on_failure(FailurePolicy::LetFinish)
        .dataflow()
        .build()
        .unwrap();
    let outside: Arc<Outside> = Arc::default();
    let session = on(&journal()).graph(&graph).provide(Arc::clone(&outside)).build().session("s").unwrap();
    let error = soon(session.run(&graph, Log::update())).await.unwrap_err();
    assert_eq!(error.code(), Code::WriteConflict, "{error}");
    assert_eq!(session.state::<Log>().await.unwrap().steps, ["left", "open"]);
    let run = session.resume().await.unwrap();
    soon(run.outcome::<Log>()).await.unwrap_err();
    assert_eq!(outside.world.times("last"), 1);
}
