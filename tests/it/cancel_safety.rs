//! A caller may drop any call on a session at any await point: then either nothing or the whole operation happened.

use std::{
    collections::BTreeSet,
    future::{Future, IntoFuture},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use agent_core::{
    Answers, BusyPolicy, Context, END, Event, Graph, NodeError, RunOptions, RunStatus, Runtime, START,
    Session, SessionError, State,
    event::EventBody,
    ids::{RunId, Seq},
    journal::JournalStore,
    session::RunLocation,
};
use serde::{Deserialize, Serialize};
use tests::{World, Yielding, drop_after, journal};

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Orders {
    #[state(append)]
    done: Vec<u64>,
}

/// Charges once a run, asks, and notes its run.
fn shop() -> Graph<Orders> {
    Graph::<Orders>::builder("shop")
        .node("order", async |_: &Orders, cx: &Context| {
            let world = cx.get::<Arc<World>>()?;
            let run = cx.run().0;
            cx.step("charge", async { Ok::<_, NodeError>(world.happens(format!("charge {run}"))) }).await?;
            let _: bool = cx.ask("Deliver?").await?;
            Ok(Orders::update().done([run]))
        })
        .edge(START, "order")
        .edge("order", END)
        .build()
        .unwrap()
}

/// One process.
struct Process {
    runtime: Runtime,
    session: Session,
    world: Arc<World>,
}

impl Process {
    fn on(store: &Arc<dyn JournalStore>, world: &Arc<World>) -> Self {
        let runtime = Runtime::builder()
            .journal(Arc::clone(store))
            .graph(&shop())
            .provide(Arc::clone(world))
            .options(|options| options.lease_ttl = Duration::ZERO)
            .build();
        let session = runtime.session("s").unwrap();
        Self { runtime, session, world: Arc::clone(world) }
    }

    /// Waits for the commands on the session that were begun before.
    async fn barrier(&self) {
        let none = self.session.cancel_queued(RunId(u64::MAX)).await;
        assert!(
            matches!(none, Err(SessionError::NotQueued { .. } | SessionError::NotFound { .. })),
            "{none:?}"
        );
    }

    /// Answers until no run is unfinished.
    async fn finish(&self) {
        let (mut calm, mut undriven) = (0, 0);
        for _ in 0..1_000 {
            self.barrier().await;
            let status = match self.session.status().await {
                Ok(status) => status,
                Err(SessionError::NotFound { .. }) => return,
                Err(error) => panic!("{error}"),
            };
            match (status.status, status.location) {
                (RunStatus::Running, RunLocation::InMemory) => {
                    self.session.wait_status().await.map(drop).unwrap()
                }
                // A queued run is stored before it is driven.
                (RunStatus::Running, _) => {
                    undriven += 1;
                    assert!(undriven < 50, "{} is accepted and nothing drives it", status.run);
                }
                (RunStatus::Paused, _) => {
                    let question = status.questions.first().expect("a paused run has a question");
                    let answer = Answers::to(question.id.clone(), true);
                    match self.session.answer(answer).await {
                        Ok(run) => drop(run.clone().wait_status().await),
                        // A queued run began before this call, or the run was stopped.
                        Err(SessionError::Answer(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                _ => {
                    calm += 1;
                    if calm == 5 {
                        return;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        panic!("the session never finishes");
    }

    /// Checks the journal: each run that was accepted or queued has an end, and no charge was made twice.
    async fn check(&self, what: &str) {
        self.finish().await;
        let Ok(events) = self.session.events(Seq::ZERO, 10_000).await else { return };
        let (mut open, mut queued) = (BTreeSet::new(), BTreeSet::new());
        for Event { run, body, .. } in events {
            match body {
                EventBody::RunQueued(_) => drop(queued.insert(run)),
                EventBody::RunStarted(_) => {
                    queued.remove(&run);
                    open.insert(run);
                }
                EventBody::RunDequeued(_) => drop(queued.remove(&run)),
                EventBody::RunResumed(_) => drop(open.insert(run)),
                EventBody::RunCompleted(_)
                | EventBody::RunStopped(_)
                | EventBody::RunRolledBack(_)
                // It waits for a resume.
                | EventBody::StateEdited(_) => {
                    open.remove(&run);
                }
                EventBody::RunFailed(failed) => panic!("{what}: {failed:?}"),
                _ => {}
            }
        }
        assert!(queued.is_empty(), "{what}: queued and never begun: {queued:?}");
        assert!(open.is_empty(), "{what}: begun and never ended: {open:?}");
        for (charge, times) in self.world.all() {
            assert_eq!(times, 1, "{what}: {charge}");
        }
        // The session is usable: the next run is accepted at once, and ends.
        let outcome = self.session.run(&shop(), Orders::update()).await.unwrap();
        assert!(outcome.is_paused(), "{what}");
        self.finish().await;
        let done = self.session.state::<Orders>().await.unwrap().done;
        assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), done.len(), "{what}: {done:?}");
        self.runtime.shutdown(Duration::from_secs(5)).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    /// No run was ever accepted.
    New,
    /// A run waits for an answer, in memory.
    Paused,
    /// The same in a process that ended; this one has read nothing yet.
    PausedElsewhere,
    /// The latest run was stopped.
    Stopped,
    /// A run waits for an answer, and another one is queued.
    Queued,
    /// As `Queued`, in a process that ended.
    QueuedElsewhere,
}

impl Before {
    async fn prepare(self) -> Process {
        let store: Arc<dyn JournalStore> = Yielding::on(journal());
        let world = Arc::new(World::default());
        let mut process = Process::on(&store, &world);
        if self == Self::New {
            return process;
        }
        process.session.run(&shop(), Orders::update()).await.unwrap();
        if matches!(self, Self::Queued | Self::QueuedElsewhere) {
            process.session.run(&shop(), Orders::update()).options(enqueue()).start().await.unwrap();
        }
        if self == Self::Stopped {
            process.session.stop().await.unwrap();
        }
        if matches!(self, Self::PausedElsewhere | Self::QueuedElsewhere) {
            process.runtime.shutdown(Duration::from_secs(5)).await;
            process = Process::on(&store, &world);
        }
        process
    }
}

fn enqueue() -> RunOptions {
    RunOptions::default().on_busy(BusyPolicy::Enqueue)
}

type Call = for<'a> fn(&'a Process) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Waits for a call, whatever it returns.
async fn discard<T>(call: impl IntoFuture<Output = T>) {
    let _returned = call.await;
}

macro_rules! call {
    (|$process:ident| $body:expr) => {{
        fn call(process: &Process) -> Pin<Box<dyn Future<Output = ()> + '_>> {
            let $process = process;
            Box::pin(async move { discard($body).await })
        }
        call as Call
    }};
}

/// Every call on a session or runtime that waits, with the sessions on which it does something.
fn calls() -> Vec<(&'static str, Call, Vec<Before>)> {
    use Before::{New, Paused, PausedElsewhere, Queued, QueuedElsewhere, Stopped};
    let all = || vec![New, Paused, PausedElsewhere, Stopped, Queued, QueuedElsewhere];
    vec![
        ("run", call!(|p| p.session.run(&shop(), Orders::update())), all()),
        ("start", call!(|p| p.session.run(&shop(), Orders::update()).start()), vec![New, Stopped]),
        ("enqueue", call!(|p| p.session.run(&shop(), Orders::update()).options(enqueue()).start()), all()),
        (
            "interrupt",
            call!(|p| p
                .session
                .run(&shop(), Orders::update())
                .options(RunOptions::default().on_busy(BusyPolicy::Interrupt))
                .start()),
            all(),
        ),
        (
            "rollback",
            call!(|p| p
                .session
                .run(&shop(), Orders::update())
                .options(RunOptions::default().on_busy(BusyPolicy::Rollback))
                .start()),
            all(),
        ),
        (
            "stream",
            call!(|p| async move {
                let events = p.session.run(&shop(), Orders::update()).stream().await;
                if let Ok(mut events) = events {
                    while events.next().await.is_some() {}
                }
            }),
            vec![New, Stopped],
        ),
        ("start_json", call!(|p| p.session.run_json("shop", serde_json::json!({})).start()), vec![New]),
        (
            "run_json",
            call!(|p| p.session.run_json("shop", serde_json::json!({})).start_unacknowledged()),
            vec![New],
        ),
        ("answer", call!(|p| p.session.answer(Answers::only(true))), all()),
        ("answer_as", call!(|p| p.session.answer(Answers::only(true)).by("ana")), vec![PausedElsewhere]),
        ("resume", call!(|p| p.session.resume()), all()),
        ("stop", call!(|p| p.session.stop()), all()),
        ("drain", call!(|p| p.session.drain()), all()),
        ("cancel_queued", call!(|p| p.session.cancel_queued(RunId(2))), all()),
        ("delete", call!(|p| p.session.delete()), all()),
        ("fork", call!(|p| p.session.fork(Seq(2), "fork".parse().unwrap())), all()),
        (
            "edit",
            call!(|p| p.session.edit(&shop(), "order", Orders::update().done([100]))),
            vec![New, Paused, PausedElsewhere, Stopped],
        ),
        ("recover", call!(|p| p.runtime.recover()), vec![PausedElsewhere, QueuedElsewhere]),
        ("status", call!(|p| p.session.status()), all()),
        ("current_run", call!(|p| p.session.current_run()), all()),
        ("wait_status", call!(|p| p.session.wait_status()), all()),
        ("state", call!(|p| p.session.state::<Orders>()), all()),
        ("state_and_active_tasks", call!(|p| p.session.state_and_active_tasks()), all()),
        ("history", call!(|p| p.session.history(Seq::ZERO, 100)), all()),
        ("events", call!(|p| p.session.events(Seq::ZERO, 100)), all()),
        ("head", call!(|p| p.session.head()), all()),
        ("status_at", call!(|p| p.session.status_at(Seq(2))), all()),
        ("state_at", call!(|p| p.session.state_at::<Orders>(Seq(2))), all()),
        ("provenance", call!(|p| p.session.provenance("done")), all()),
        ("sessions", call!(|p| p.runtime.sessions(None, &[], 10)), all()),
        (
            "subscription",
            call!(|p| async move {
                let mut events = p.session.subscribe(Some(Seq::ZERO));
                while events.next().await.is_ok() {}
            }),
            vec![Paused, PausedElsewhere],
        ),
    ]
}

#[tokio::test]
async fn a_call_dropped_at_any_await_does_nothing_or_all() {
    let (mut dropped, mut longest) = (0, 0);
    for (name, call, sessions) in calls() {
        for before in sessions {
            for polls in 0..200 {
                let process = before.prepare().await;
                let ready = drop_after(polls, call(&process)).await.is_some();
                process.check(&format!("{name} on {before:?}, dropped after {polls} polls")).await;
                if ready {
                    longest = longest.max(polls);
                    break;
                }
                dropped += 1;
            }
        }
    }
    assert!(dropped > 500, "the calls have too few await points to say anything: {dropped}");
    assert!(longest < 199, "a call was never ready: {longest}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_drain() {
    let graph = Graph::<Orders>::builder("slow")
        .node("slow", async |_: &Orders, _: &Context| {
            std::future::pending::<()>().await;
            Ok(Orders::update())
        })
        .edge(START, "slow")
        .edge("slow", END)
        .build()
        .unwrap();
    let runtime = Runtime::builder().build();
    let session = runtime.session("s").unwrap();
    session.run(&graph, Orders::update()).start().await.unwrap();
    let mut drain = pin!(session.drain());
    assert!(futures::poll!(drain.as_mut()).is_pending());
    let stopped = tokio::time::timeout(Duration::from_secs(5), session.stop()).await;
    assert_eq!(stopped.expect("the stop waits behind the drain").unwrap(), RunStatus::Stopped);
    assert_eq!(drain.await.unwrap(), RunStatus::Stopped);
}
