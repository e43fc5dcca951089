//! One writer per session: busy policies, requests, leases, the sweep, forks, retention.

mod labels;

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, BusyPolicy, Context, END, Graph, Result, RunOptions, Runtime, START, SessionError, State,
    event::EventBody,
    ids::Seq,
    journal::{InMemoryJournal, JournalStore, OwnerId},
    run::RunStatus,
    session::Retention,
    state::ApplyError,
};
use serde::{Deserialize, Serialize};
use tests::{World, journal, kinds, on, soon};
use tokio::sync::Notify;

use super::graph::{Trail, TrailUpdate, step};

/// Waits for its gate if the run requests it.
fn gated() -> Graph<Trail> {
    Graph::<Trail>::builder("gated")
        .node("wait", async |state: &Trail, cx: &Context| {
            if state.left {
                cx.get::<Arc<Notify>>()?.notified().await;
            }
            Ok(Trail::update().steps([format!("run {}", state.sum)]).left(false))
        })
        .edge(START, "wait")
        .edge("wait", END)
        .build()
        .unwrap()
}

fn asking() -> Graph<Trail> {
    Graph::<Trail>::builder("asking")
        .node("before", step)
        .node("ask", async |_: &Trail, cx: &Context| {
            let n: i64 = cx.ask("n?").await?;
            Ok(Trail::update().sum(n))
        })
        .node("after", step)
        .edge(START, "before")
        .edge("before", "ask")
        .edge("ask", "after")
        .edge("after", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn runs_in_line_begin_in_the_order_in_which_they_came_and_none_is_lost() {
    for round in 0..5 {
        let gate = Arc::new(Notify::new());
        let runtime = on(&journal()).provide(Arc::clone(&gate)).build();
        let session = runtime.session("s").unwrap();
        let first = session.run(&gated(), Trail::update().left(true)).start().await.unwrap();
        let refused = session.run(&gated(), Trail::update()).start().await.unwrap_err();
        assert!(matches!(refused, SessionError::Busy { .. }), "{refused}");
        let queue = (0..12).map(|_| {
            let session = session.clone();
            async move {
                let options = RunOptions::default().on_busy(BusyPolicy::Enqueue);
                let run =
                    session.run(&gated(), Trail::update().sum(1)).options(options).start().await.unwrap();
                let id = run.id().0;
                run.outcome::<Trail>().await.unwrap();
                id
            }
        });
        let queue = futures::future::join_all(queue);
        let (ids, ()) = soon(async {
            futures::join!(queue, async {
                tokio::task::yield_now().await;
                gate.notify_one();
            })
        })
        .await;
        assert_eq!(ids, (2..14).collect::<Vec<_>>(), "round {round}");
        assert!(first.outcome::<Trail>().await.unwrap().is_completed());
        assert_eq!(session.state::<Trail>().await.unwrap().sum, 12);
    }
}

#[tokio::test]
async fn an_interrupt_keeps_and_a_rollback_undoes_what_was_committed() {
    for (policy, steps) in
        [(BusyPolicy::Interrupt, vec!["before", "before"]), (BusyPolicy::Rollback, vec!["before"])]
    {
        for at_rest in [false, true] {
            let inner = journal();
            let mut runtime = on(&inner).graph(&asking()).build();
            runtime.session("s").unwrap().run(&asking(), Trail::update()).await.unwrap();
            if at_rest {
                runtime = on(&inner).graph(&asking()).build();
            }
            let session = runtime.session("s").unwrap();
            let options = RunOptions::default().on_busy(policy);
            let mut events = session.run(&asking(), Trail::update()).options(options).stream().await.unwrap();
            while let Some(event) = soon(events.next()).await {
                assert_eq!(event.unwrap().run.0, 2, "an event of another run");
            }
            let run = session.answer(Answers::only(3)).await.unwrap();
            let mut expected = steps.clone();
            expected.push("after");
            let outcome = soon(run.outcome::<Trail>()).await.unwrap();
            assert_eq!(outcome.state().unwrap().steps, expected, "{policy:?} {at_rest}");
            let kinds = kinds(&session).await;
            if policy == BusyPolicy::Interrupt {
                assert!(kinds.contains(&"run_stopped".to_owned()), "{kinds:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_same_request_twice_starts_one_run_and_disturbs_none() {
    for policy in [BusyPolicy::Reject, BusyPolicy::Interrupt, BusyPolicy::Rollback, BusyPolicy::Enqueue] {
        let inner = journal();
        let mut runtime = on(&inner).graph(&asking()).build();
        for restart in [false, true] {
            let session = runtime.session("s").unwrap();
            let options = RunOptions::default().on_busy(policy).request("r-1");
            if !restart {
                let outcome = session.run(&asking(), Trail::update()).options(options.clone()).await.unwrap();
                assert!(outcome.is_paused());
            }
            let refused =
                soon(session.run(&asking(), Trail::update()).options(options).start()).await.unwrap_err();
            assert!(
                matches!(&refused, SessionError::SameRequest { run, .. } if run.0 == 1),
                "{policy:?} {refused}"
            );
            let other = RunOptions::default().on_busy(policy).request_of("r-1", b"another");
            let refused =
                soon(session.run(&asking(), Trail::update()).options(other).start()).await.unwrap_err();
            assert!(matches!(&refused, SessionError::RequestDiffers { run, .. } if run.0 == 1), "{refused}");
            assert_eq!(session.status().await.unwrap().status, RunStatus::Paused);
            runtime = on(&inner).graph(&asking()).build();
        }
    }
}

#[tokio::test]
async fn a_writer_whose_session_was_taken_over_can_write_nothing_more() {
    let (inner, gate) = (journal(), Arc::new(Notify::new()));
    let zombie = on(&inner).provide(Arc::clone(&gate)).build();
    let session = zombie.session("s").unwrap();
    let run = session.run(&gated(), Trail::update().left(true)).start().await.unwrap();
    let id = session.id().clone();
    inner.acquire(&id, &OwnerId::random(), Duration::ZERO).await.unwrap();
    let before = inner.head(&id).await.unwrap().unwrap().last;
    gate.notify_one();
    let error = soon(run.outcome::<Trail>()).await.unwrap_err();
    assert_eq!(error.code().name(), "stale_writer", "{error}");
    assert_eq!(inner.head(&id).await.unwrap().unwrap().last, before);
}

#[tokio::test]
async fn a_sweep_takes_up_what_was_accepted_and_leaves_the_living_alone() {
    let (inner, gate) = (journal(), Arc::new(Notify::new()));
    let shared: Arc<dyn JournalStore> = inner.clone();
    let alive = Runtime::builder().journal(Arc::clone(&shared)).provide(Arc::clone(&gate)).build();
    let living = alive.session("living").unwrap();
    let run = living.run(&gated(), Trail::update().left(true)).start().await.unwrap();
    let store = tests::Dying::never(&inner);
    let dead = Runtime::builder().journal(store.clone()).provide(Arc::new(Notify::new())).build();
    let left = dead.session("left").unwrap();
    let _lost = left.run(&gated(), Trail::update().left(true)).start().await.unwrap();
    store.kill();
    let next = Runtime::builder()
        .journal(Arc::clone(&shared))
        .provide(Arc::new(Notify::new()))
        .graph(&gated())
        .build();
    let recovered = next.recover().await.unwrap();
    assert_eq!(recovered.resumed.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["left"]);
    assert_eq!(recovered.skipped.len(), 1, "{recovered:?}");
    gate.notify_one();
    assert!(soon(run.outcome::<Trail>()).await.unwrap().is_completed());
    // A clean shutdown releases its sessions at once, with leases of any length.
    alive.shutdown(Duration::ZERO).await;
    let session = next.session("living").unwrap();
    assert!(soon(session.run(&gated(), Trail::update())).await.unwrap().is_completed());
    let refused = alive.session("x").unwrap().run(&gated(), Trail::update()).await.unwrap_err();
    assert!(matches!(refused, SessionError::ShuttingDown));
}

#[tokio::test]
async fn a_drain_ends_at_the_next_superstep_and_is_resumed_there() {
    let gate = Arc::new(Notify::new());
    let graph = Graph::<Trail>::builder("drain")
        .node("one", async |_: &Trail, cx: &Context| {
            let gate = cx.get::<Arc<Notify>>()?;
            gate.notify_one();
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            Ok(Trail::update().steps(["one".to_owned()]))
        })
        .node("two", step)
        .edge(START, "one")
        .edge("one", "two")
        .edge("two", END)
        .build()
        .unwrap();
    let session = on(&journal()).provide(Arc::clone(&gate)).build().session("s").unwrap();
    let _run = session.run(&graph, Trail::update()).start().await.unwrap();
    gate.notified().await;
    assert_eq!(session.drain().await.unwrap(), RunStatus::Stopped);
    assert_eq!(session.state::<Trail>().await.unwrap().steps, ["one"]);
    let outcome = soon(session.resume().await.unwrap().outcome::<Trail>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["one", "two"]);
}

#[tokio::test]
async fn every_place_in_a_journal_can_be_forked_and_goes_on_to_the_same_end() {
    let inner = journal();
    let runtime = on(&inner).graph(&asking()).build();
    let session = runtime.session("s").unwrap();
    session.run(&asking(), Trail::update()).await.unwrap();
    let run = session.answer(Answers::only(3)).await.unwrap();
    let end = soon(run.outcome::<Trail>()).await.unwrap();
    let last = session.status().await.unwrap().last.0;
    let world = World::default();
    for seq in 1..=last {
        let fork = session.fork(Seq(seq), format!("fork-{seq}").parse().unwrap()).await.unwrap();
        for _ in 0..6 {
            let status = fork.status().await.unwrap();
            let run = match status.status {
                RunStatus::Completed => break,
                RunStatus::Paused => {
                    world.happens("answered");
                    fork.answer(Answers::only(3)).await.unwrap()
                }
                _ => fork.resume().await.unwrap(),
            };
            soon(run.outcome::<Trail>()).await.unwrap();
        }
        assert_eq!(fork.state::<Trail>().await.unwrap().steps, end.state().unwrap().steps, "fork at {seq}");
        assert_eq!(fork.state::<Trail>().await.unwrap().sum, 3);
    }
    assert!(world.times("answered") > 0);
    for seq in [0, last + 1] {
        let refused = session.fork(Seq(seq), "nowhere".parse().unwrap()).await.unwrap_err();
        assert_eq!(refused.code().name(), "checkpoint_not_found");
    }
    let refused = session.fork(Seq(1), "fork-1".parse().unwrap()).await.unwrap_err();
    assert_eq!(refused.code().name(), "session_exists", "{refused}");
    let history = session.history(Seq::ZERO, 100).await.unwrap();
    let due: Vec<_> = history.iter().map(|place| place.next.join(",")).collect();
    assert_eq!(due, ["before", "ask", "after", ""]);
    assert_eq!(session.state_at::<Trail>(history[1].seq).await.unwrap().steps, ["before"]);
}

#[tokio::test]
async fn an_edit_stands_for_a_node_also_while_it_waits_for_an_answer() {
    let runtime = on(&journal()).graph(&asking()).build();
    let session = runtime.session("s").unwrap();
    session.run(&asking(), Trail::update()).await.unwrap();
    session.edit(&asking(), "ask", Trail::update().sum(42)).await.unwrap();
    let outcome = soon(session.resume().await.unwrap().outcome::<Trail>()).await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!((state.sum, state.steps.join(",")), (42, "before,after".to_owned()));
    let refused = session.edit(&asking(), "nobody", Trail::update()).await.unwrap_err();
    assert_eq!(refused.code().name(), "invalid_input");
}

#[derive(State, Default, Debug, Serialize, Deserialize)]
#[state(version = 1)]
struct Old {
    count: i64,
}

#[derive(Default, Debug, Serialize, Deserialize)]
struct New {
    total: i64,
}

impl State for New {
    type Update = NewUpdate;
    const VERSION: u32 = 2;

    fn apply(&mut self, update: NewUpdate) -> Result<(), ApplyError> {
        self.total = update.total.unwrap_or(self.total);
        Ok(())
    }

    fn migrate(from: u32, mut stored: serde_json::Value) -> Result<serde_json::Value, ApplyError> {
        assert_eq!(from, 1);
        if let Some(count) = stored.as_object_mut().and_then(|map| map.remove("count")) {
            stored["total"] = count;
        }
        Ok(stored)
    }
}

#[derive(Default, Debug, Serialize, Deserialize)]
struct NewUpdate {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i64>,
}

#[tokio::test]
async fn a_session_of_thousands_of_supersteps_is_folded_from_a_snapshot_and_trimmed() {
    let graph = Graph::<Trail>::builder("long")
        .max_supersteps(5_000)
        .node("turn", async |_: &Trail, _: &Context| Ok(Trail::update().sum(1)))
        .edge(START, "turn")
        .branch("turn", |state: &Trail| if state.sum % 3_000 == 0 { END } else { "turn" }, ["turn", END])
        .build()
        .unwrap();
    let inner: Arc<InMemoryJournal> = journal();
    let make = || {
        on(&inner)
            .graph(&graph)
            .options(|options| {
                options.retention = Retention::entries(500);
                options.snapshot_bytes = 4_096;
            })
            .build()
    };
    let runtime = make();
    let session = runtime.session("s").unwrap();
    let options = RunOptions::default().request("long");
    session.run(&graph, Trail::update()).options(options.clone()).await.unwrap();
    runtime.shutdown(Duration::from_secs(5)).await;
    let head = inner.head(session.id()).await.unwrap().unwrap();
    assert!(head.first.0 > 3_000 && head.last.0 - head.first.0 < 2_000, "{head:?}");
    let runtime = make();
    let session = runtime.session("s").unwrap();
    assert_eq!(session.state::<Trail>().await.unwrap().sum, 3_000);
    let refused = session.fork(Seq(10), "f".parse().unwrap()).await.unwrap_err();
    assert_eq!(refused.code().name(), "checkpoint_not_found");
    let refused = session.run(&graph, Trail::update()).options(options).start().await.unwrap_err();
    assert!(matches!(refused, SessionError::SameRequest { .. }), "{refused}");
    let mut events = session.subscribe(Some(Seq(10)));
    let gap = soon(events.next()).await.unwrap();
    let EventBody::Gap(gap) = &gap.body else { panic!("{gap:?}") };
    assert_eq!((gap.after, gap.upto.next()), (Seq(10), head.first));
    let outcome = session.run(&graph, Trail::update().sum(1)).await.unwrap();
    assert_eq!(outcome.state().unwrap().sum, 6_000);
}

#[tokio::test]
async fn a_deleted_session_is_gone() {
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    session.run(&asking(), Trail::update()).await.unwrap();
    assert!(matches!(session.delete().await, Err(SessionError::Busy { .. })));
    session.stop().await.unwrap();
    session.delete().await.unwrap();
    assert!(matches!(session.status().await, Err(SessionError::NotFound { .. })));
    let again = session.run(&asking(), Trail::update()).await;
    assert!(matches!(again, Err(SessionError::NotFound { .. })), "the handle is one of the deleted session");
    let outcome: agent_core::RunOutcome<Trail> =
        runtime.session("s").unwrap().run(&asking(), TrailUpdate::default()).await.unwrap();
    assert!(outcome.is_paused());
}

#[tokio::test]
async fn a_short_run_is_at_rest_when_a_caller_that_waits_gets_it_and_goes_on_when_the_caller_leaves() {
    let gate = Arc::new(Notify::new());
    let runtime = Runtime::builder().graph(&gated()).provide(Arc::clone(&gate)).build();
    let input = |left: bool| serde_json::json!({ "left": left });
    let run = runtime.session("short").unwrap().run_json("gated", input(false)).start_unacknowledged().await;
    assert_eq!(run.unwrap().status(), RunStatus::Completed, "no other task was needed for it");

    let session = runtime.session("long").unwrap();
    let graph = gated();
    let mut waiting = session.run(&graph, Trail::update().left(true)).into_future();
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    drop(waiting);
    let mut events = session.subscribe(None);
    gate.notify_one();
    while !soon(events.next()).await.unwrap().body.ends_run() {}
    assert_eq!(session.status().await.unwrap().status, RunStatus::Completed);
}

/// The end of a run is published before its last entries are written: a caller that then starts the next run waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_started_upon_the_end_of_the_one_before_it_is_not_refused() {
    let graph =
        Graph::<Trail>::builder("short").node("a", step).edge(START, "a").edge("a", END).build().unwrap();
    for runtime in [Runtime::builder().build(), on(&journal()).build()] {
        let session = runtime.session("s").unwrap();
        for run in 0..1_000 {
            let mut events = session.run(&graph, Trail::update()).stream().await;
            let events = events.as_mut().unwrap_or_else(|error| panic!("run {run}: {error}"));
            while events.next().await.is_some() {}
        }
    }
}
