//! Failures are contained: panics, refused updates, timeouts, retries, error handlers, limits.

mod limits;
mod replay;

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
    graph::{AnyNode, IntoNode, NodeExt, Outcome, Route},
    retry::RetryPolicy,
    run::Limits,
    session::RuntimeBuilder,
};
use serde::{Deserialize, Serialize, Serializer};
use tests::{World, journal, kinds, on, soon};

use super::graph::{Trail, TrailUpdate, step};

/// A number that cannot always be serialised as JSON.
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

#[test]
fn an_error_that_main_returns_is_printed_as_its_message_and_causes() {
    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the setting `limit` is wrong")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let error = NodeError::from(Outer("x".parse::<u8>().unwrap_err()));
    assert_eq!(
        format!("{error:?}"),
        "the setting `limit` is wrong\ncaused by: invalid digit found in string"
    );
    assert_eq!(format!("{:?}", NodeError::permanent("no key")), "no key");
    assert!(format!("{error:#?}").contains("retryable"), "{error:#?}");
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
                .node(
                    "only",
                    one(async |_: &Trail, _: &Context| Ok(()))
                        .as_node(|_: &Glass| panic!("in"), |_: Trail| ()),
                )
                .edge(START, "only")
                .edge("only", END)
                .build()
                .unwrap(),
        ),
        (
            "mapping out of a subgraph",
            Graph::<Glass>::builder("one")
                .node(
                    "only",
                    one(async |_: &Trail, _: &Context| Ok(()))
                        .as_node(|_: &Glass| Trail::default(), |_: Trail| -> GlassUpdate { panic!("out") }),
                )
                .edge(START, "only")
                .edge("only", END)
                .build()
                .unwrap(),
        ),
        (
            "cache key",
            Graph::<Glass>::builder("one")
                .node(
                    "only",
                    (async |_: &Glass, _: &Context| Ok(()))
                        .cache(Duration::from_secs(1), |_: &Glass| -> i64 { panic!("key") }),
                )
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
            // Without a store, the JSON of an update is not needed.
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

#[tokio::test]
async fn a_state_that_panics_when_it_is_serialized_is_an_error_for_its_reader() {
    let graph = Graph::<Glass>::builder("glass")
        .node("a", async |_: &Glass, _: &Context| Ok(Glass::update().piece(Fragile(-1))))
        .edge(START, "a")
        .edge("a", END)
        .build()
        .unwrap();
    let session = Runtime::builder().build().session("s").unwrap();
    assert!(soon(session.run(&graph, Glass::update())).await.unwrap().is_completed());
    assert_eq!(session.state_json().await.unwrap_err().code().name(), "panicked");
}

#[tokio::test]
async fn a_timeout_of_any_length_can_be_set() {
    for (run, idle) in [(Duration::MAX, Duration::MAX), (Duration::from_secs(60), Duration::MAX)] {
        let node = step.timeout(run).idle_timeout(idle).cache(Duration::MAX, |_: &Trail| 1);
        let graph = Graph::<Trail>::builder("slow").node("a", node).edge(START, "a").edge("a", END).build();
        let session = on(&journal()).options(|o| o.evict_paused_after = Duration::MAX).build();
        let session = session.session("s").unwrap();
        assert!(soon(session.run(&graph.unwrap(), Trail::update())).await.unwrap().is_completed());
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_end_a_try_and_time_spent_waiting_for_a_person_does_not_count() {
    let slow = |run: Option<Duration>, idle: Option<Duration>, beats: u32| {
        let slow = async move |_: &Trail, cx: &Context| {
            let _: bool = cx.ask("go?").await?;
            for _ in 0..beats {
                tokio::time::sleep(Duration::from_secs(4)).await;
                cx.heartbeat();
            }
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(Trail::update().sum(1))
        };
        let mut slow: AnyNode<Trail> = slow.into_node();
        if let Some(run) = run {
            slow = slow.timeout(run);
        }
        if let Some(idle) = idle {
            slow = slow.idle_timeout(idle);
        }
        Graph::<Trail>::builder("slow")
            .node("slow", slow)
            .edge(START, "slow")
            .edge("slow", END)
            .build()
            .unwrap()
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
        .node(
            "bad",
            (async |_: &Trail, cx: &Context| -> Result<()> {
                cx.get::<Arc<World>>()?.happens("bad");
                Err(NodeError::permanent("가득 참"))
            })
            .retry(3)
            .on_error("handler"),
        )
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
