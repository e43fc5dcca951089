//! What goes wrong stays where it went wrong: panics, refused updates, timeouts, retries, handlers, limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Context, END, Graph, NodeError, Result, RunError, Runtime, START, Session, SessionError, State,
    engine::NodeFailure,
    graph::{Outcome, Route},
    retry::RetryPolicy,
    run::Limits,
    session::RuntimeBuilder,
};
use serde::{Deserialize, Serialize, Serializer};
use tests::{World, journal, kinds, on, soon};

use super::graph::{Trail, TrailUpdate, step};

/// A number whose JSON cannot always be written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Fragile(i64);

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 >= 0, "negative");
        serializer.serialize_i64(self.0)
    }
}

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Glass {
    piece: Fragile,
    #[state(reduce = refuse_odd)]
    even: i64,
    #[state(add)]
    total: i64,
}

fn refuse_odd(value: &mut i64, more: i64) {
    assert!(more % 2 == 0, "odd");
    *value += more;
}

fn one<S: State>(node: impl agent_core::graph::IntoNode<S, agent_core::graph::ByFn>) -> Graph<S> {
    Graph::<S>::builder("one").node("only", node).edge(START, "only").edge("only", END).build().unwrap()
}

fn pair<S: State>(node: impl agent_core::graph::IntoNode<S, agent_core::graph::ByFn>) -> Graph<S> {
    Graph::<S>::builder("pair")
        .node("other", async |_: &S, _: &Context| Ok(()))
        .node("only", node)
        .edge(START, "other")
        .edge(START, "only")
        .edge("other", END)
        .edge("only", END)
        .build()
        .unwrap()
}

fn stores() -> [RuntimeBuilder; 2] {
    [Runtime::builder(), on(&journal())]
}

#[tokio::test]
async fn a_panic_wherever_it_happens_is_contained_and_the_session_goes_on() {
    async fn panics(_: &Glass, _: &Context) -> Result<GlassUpdate> {
        panic!("유리");
    }
    let broken: Vec<(&str, Graph<Glass>)> = vec![
        ("node", one(panics)),
        ("node beside another", pair(panics)),
        ("serialize", one(async |_: &Glass, _: &Context| Ok(Glass::update().piece(Fragile(-1)).total(1)))),
        (
            "serialize beside",
            pair(async |_: &Glass, _: &Context| Ok(Glass::update().piece(Fragile(-1)).total(1))),
        ),
        ("reducer", one(async |_: &Glass, _: &Context| Ok(Glass::update().even(1).total(1)))),
        ("reducer beside", pair(async |_: &Glass, _: &Context| Ok(Glass::update().even(1).total(1)))),
        (
            "branch",
            Graph::<Glass>::builder("one")
                .node("only", async |_: &Glass, _: &Context| Ok(Glass::update().total(0)))
                .edge(START, "only")
                .branch("only", |state: &Glass| -> Route { panic!("{}", state.total) }, [END])
                .build()
                .unwrap(),
        ),
        (
            "mapping into a subgraph",
            Graph::<Glass>::builder("one")
                .subgraph(
                    "only",
                    &one(async |_: &Trail, _: &Context| Ok(())),
                    |_: &Glass| panic!("in"),
                    |_: Trail| (),
                )
                .edge(START, "only")
                .edge("only", END)
                .build()
                .unwrap(),
        ),
        (
            "mapping out of a subgraph",
            Graph::<Glass>::builder("one")
                .subgraph(
                    "only",
                    &one(async |_: &Trail, _: &Context| Ok(())),
                    |_: &Glass| Trail::default(),
                    |_: Trail| -> GlassUpdate { panic!("out") },
                )
                .edge(START, "only")
                .edge("only", END)
                .build()
                .unwrap(),
        ),
        (
            "cache key",
            Graph::<Glass>::builder("one")
                .node("only", async |_: &Glass, _: &Context| Ok(()))
                .cache(Duration::from_secs(1), |_: &Glass| -> i64 { panic!("key") })
                .edge(START, "only")
                .edge("only", END)
                .build()
                .unwrap(),
        ),
    ];
    let good = one(async |_: &Glass, _: &Context| Ok(Glass::update().total(1)));
    for (what, graph) in &broken {
        for (at, builder) in stores().into_iter().enumerate() {
            let runtime = builder.build();
            let session = runtime.session("s").unwrap();
            soon(session.run(&good, Glass::update().total(1))).await.unwrap();
            let result = soon(session.run(graph, Glass::update())).await;
            // Without a store nobody needs the JSON of an update.
            if at == 0 && what.starts_with("serialize") {
                continue;
            }
            let error = result.map(|_| ()).expect_err(what);
            assert_eq!(error.code().name(), "panicked", "{what}: {error}");
            if at == 1 || !matches!(*what, "reducer" | "reducer beside" | "branch") {
                let state = soon(session.state::<Glass>()).await.unwrap();
                assert_eq!(
                    state.total, 2,
                    "{what}, store {at}: what had failed is in the state, or the state is gone"
                );
            }
            let outcome = soon(session.run(&good, Glass::update())).await.unwrap();
            assert!(outcome.is_completed(), "{what}");
        }
    }
}

#[tokio::test]
async fn an_input_that_is_refused_changes_nothing_with_and_without_a_store() {
    let graph = one(step);
    for builder in stores() {
        let session = builder.build().session("s").unwrap();
        session.run(&graph, Trail::update().sum(5)).await.unwrap();
        let error = session.run(&graph, Trail::update().left(true).sum(i64::MAX)).await.unwrap_err();
        assert_eq!(error.code().name(), "invalid_input", "{error}");
        let state = session.state::<Trail>().await.unwrap();
        assert_eq!((state.sum, state.left, state.steps.len()), (5, false, 1));
        let other = one(async |_: &Glass, _: &Context| Ok(()));
        let _refused: Result<_, SessionError> = session.run(&other, Glass::update()).await;
        let outcome = session.run(&graph, Trail::update().sum(1)).await.unwrap();
        assert_eq!(outcome.state().unwrap().sum, 6);
    }
}

#[tokio::test]
async fn the_state_of_a_run_without_a_store_is_not_guessed() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let graph = one(async |_: &Trail, cx: &Context| {
        cx.get::<Arc<tokio::sync::Notify>>()?.notified().await;
        Ok(())
    });
    let runtime = Runtime::builder().provide(Arc::clone(&gate)).build();
    let session = runtime.session("s").unwrap();
    let run = session.run(&graph, Trail::update().sum(5)).start().await.unwrap();
    let error = session.state::<Trail>().await.unwrap_err();
    assert_eq!(error.code().name(), "cannot_resume");
    gate.notify_one();
    assert_eq!(run.outcome::<Trail>().await.unwrap().state().unwrap().sum, 5);
}

#[tokio::test]
async fn a_conflict_names_the_field_and_both_nodes() {
    let set = async |_: &Trail, _: &Context| Ok(Trail::update().left(true).sum(1));
    let graph = Graph::<Trail>::builder("conflict")
        .node("a", set)
        .node("b", set)
        .edge(START, "a")
        .edge(START, "b")
        .edge("a", END)
        .edge("b", END)
        .build()
        .unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    let error = session.run(&graph, Trail::update()).await.unwrap_err();
    let SessionError::Run(error) = error else { panic!("{error}") };
    let RunError::WriteConflict { field, nodes, superstep } = &*error else { panic!("{error}") };
    assert_eq!((field.as_str(), nodes[0].as_str(), nodes[1].as_str(), *superstep), ("left", "a", "b", 1));
    assert_eq!(session.state::<Trail>().await.unwrap().sum, 0);
}

#[tokio::test(start_paused = true)]
async fn attempts_survive_a_restart() {
    let inner = journal();
    let world = Arc::new(World::default());
    let graph = Graph::<Trail>::builder("retry")
        .node("flaky", async |_: &Trail, cx: &Context| {
            cx.get::<Arc<World>>()?.happens("try");
            let once: String =
                cx.step("paid", async { Ok::<_, NodeError>(cx.attempt().to_string()) }).await?;
            if cx.attempt() == 3 { Ok(Trail::update().steps([once])) } else { Err(NodeError::msg("no")) }
        })
        .retry(RetryPolicy::attempts(3).first_wait(Duration::from_secs(3_600)))
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

#[tokio::test(start_paused = true)]
async fn timeouts_end_a_try_and_time_spent_waiting_for_a_person_does_not_count() {
    let slow = |run: Option<Duration>, idle: Option<Duration>, beats: u32| {
        let mut builder =
            Graph::<Trail>::builder("slow").node("slow", async move |_: &Trail, cx: &Context| {
                let _: bool = cx.ask("go?").await?;
                for _ in 0..beats {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    cx.heartbeat();
                }
                tokio::time::sleep(Duration::from_secs(4)).await;
                Ok(Trail::update().sum(1))
            });
        if let Some(run) = run {
            builder = builder.timeout(run);
        }
        if let Some(idle) = idle {
            builder = builder.idle_timeout(idle);
        }
        builder.edge(START, "slow").edge("slow", END).build().unwrap()
    };
    let secs = Duration::from_secs;
    for (run, idle, beats, which) in [
        (Some(secs(5)), None, 0, None),
        (Some(secs(3)), None, 0, Some("run")),
        (None, Some(secs(5)), 10, None),
        (None, Some(secs(3)), 1, Some("idle")),
        (Some(secs(10)), Some(secs(5)), 5, Some("run")),
    ] {
        let session = on(&journal()).build().session("s").unwrap();
        let outcome = session.run(&slow(run, idle, beats), Trail::update()).await.unwrap();
        assert!(outcome.is_paused());
        tokio::time::sleep(secs(500)).await;
        let outcome = session.answer(agent_core::Answers::only(true)).await.unwrap().outcome::<Trail>().await;
        match (which, outcome) {
            (None, Ok(outcome)) => assert!(outcome.is_completed()),
            (Some(expected), Err(SessionError::Run(error))) => {
                assert!(matches!(&*error, RunError::TimedOut { which, .. } if *which == expected), "{error}");
                assert_eq!(session.state::<Trail>().await.unwrap().sum, 0, "a late write");
            }
            (which, outcome) => panic!("{which:?} {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_handler_is_told_what_failed_and_one_that_fails_is_what_resumes() {
    let world = Arc::new(World::default());
    let graph = Graph::<Trail>::builder("handled")
        .node("bad", async |_: &Trail, cx: &Context| -> Result<()> {
            cx.get::<Arc<World>>()?.happens("bad");
            Err(NodeError::permanent("가득 참"))
        })
        .retry(3)
        .on_error("handler")
        .node("good", step)
        .node("handler", async |_: &Trail, failure: NodeFailure, cx: &Context| {
            if cx.get::<Arc<World>>()?.happens("handler") == 1 {
                return Err(NodeError::permanent("me too"));
            }
            Ok(Trail::update().steps([format!("{} {} {}", failure.node, failure.code, failure.attempts)]))
        })
        .edge(START, "bad")
        .edge(START, "good")
        .edge("bad", END)
        .edge("good", END)
        .edge("handler", END)
        .build()
        .unwrap();
    let session = on(&journal()).provide(Arc::clone(&world)).build().session("s").unwrap();
    let error = session.run(&graph, Trail::update()).await.unwrap_err();
    assert!(matches!(&error, SessionError::Run(error) if error.node() == Some("handler")), "{error}");
    let outcome = session.resume().await.unwrap().outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["good", "bad node_failed 1"]);
    assert_eq!((world.times("bad"), world.times("handler")), (1, 2));
}

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
            .node("work", async move |_: &Trail, cx: &Context| {
                cx.get::<Arc<World>>()?.happens("work");
                Ok(Outcome::<Trail>::update(Trail::update().sum(n)))
            })
            .cache(Duration::from_secs(60), |state: &Trail| state.left)
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
        .node("work", async |_: &Trail, cx: &Context| {
            cx.get::<Arc<World>>()?.happens("work");
            Ok(())
        })
        .cache(Duration::from_secs(60), |_: &Trail| 1)
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
            .node("work", async |_: &Trail, _: i64, cx: &Context| {
                let meter = cx.get::<Arc<Meter>>()?;
                let now = meter.0.fetch_add(1, Ordering::SeqCst) + 1;
                meter.1.fetch_max(now, Ordering::SeqCst);
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                meter.0.fetch_sub(1, Ordering::SeqCst);
                Ok(Trail::update().sum(1))
            })
            .concurrency(node_cap)
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
            builder.subgraph_with_input(
                "work",
                &asking,
                |_: &Trail, _: i64| Trail::default(),
                |t: Trail| Trail::update().sum(t.sum),
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

#[tokio::test]
async fn an_overwrite_bypasses_the_reducer() {
    let graph = one(async |_: &Trail, _: &Context| -> Result<TrailUpdate> {
        Ok(serde_json::from_value(
            serde_json::json!({ "sum": 3, "steps": ["x"], "$overwrite": ["sum", "steps"] }),
        )?)
    });
    let session = on(&journal()).build().session("s").unwrap();
    let outcome = session.run(&graph, Trail::update().sum(10).steps(["a".to_owned()])).await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!((state.sum, state.steps.len()), (3, 1));
}

#[tokio::test]
async fn a_stop_gives_listeners_time_and_cancels_todos_which_a_resume_restores() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let stopped = Arc::new(AtomicBool::new(false));
    let graph = one(async |_: &Trail, cx: &Context| {
        let todo = cx.todos().start("t", "Read")?;
        todo.progress(40, "page 3");
        if !cx.get::<Arc<AtomicBool>>()?.load(Ordering::SeqCst) {
            cx.get::<Arc<tokio::sync::Notify>>()?.notify_one();
            cx.cancelled().await;
            cx.get::<Arc<AtomicBool>>()?.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        todo.done();
        Ok(Trail::update().sum(1))
    });
    let runtime = on(&journal())
        .provide(Arc::clone(&begun))
        .provide(Arc::clone(&stopped))
        .options(|options| options.grace = Duration::from_millis(5))
        .build();
    let session = runtime.session("s").unwrap();
    let run = session.run(&graph, Trail::update()).start().await.unwrap();
    begun.notified().await;
    assert_eq!(session.stop().await.unwrap().as_str(), "stopped");
    assert!(stopped.load(Ordering::SeqCst), "the listener was told and had time");
    assert_eq!(runtime.live_runs(), 0);
    assert!(run.outcome::<Trail>().await.unwrap().is_stopped());
    let todo = session.status().await.unwrap().todos[0].clone();
    assert_eq!((todo.status, todo.progress), (agent_core::todo::TodoStatus::Cancelled, 40));
    let mut events = session.subscribe(Some(session.status().await.unwrap().last));
    let outcome = session.resume().await.unwrap().outcome::<Trail>().await.unwrap();
    assert!(outcome.is_completed());
    let agent_core::event::EventBody::TodoUpdated(restored) = &events.next().await.unwrap().body else {
        panic!()
    };
    assert_eq!(restored.todo.status, agent_core::todo::TodoStatus::InProgress);
    assert_eq!(restored.todo.message, "page 3", "a resume restores the item as it was");
    let todo = session.status().await.unwrap().todos[0].clone();
    assert_eq!((todo.status, todo.progress), (agent_core::todo::TodoStatus::Completed, 100));
    assert!(matches!(session.stop().await, Err(SessionError::NothingToDo { .. })));
}
