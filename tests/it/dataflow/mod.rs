//! Dataflow mode: a fast branch does not wait for a slow sibling, each task keeps the state that it started from, and a crash
//! changes neither.

mod commands;
mod crashes;
mod limits;
mod random;
mod services;
mod versions;

use std::{
    collections::BTreeSet,
    future::{Future, IntoFuture},
    sync::Arc,
    time::Duration,
};

use agent_core::{
    Answers, Code, Context, END, Graph, NodeError, Question, Result, RunError, RunOptions, RunStatus,
    Runtime, START, Session, SessionError, State,
    event::EventBody,
    graph::{Dispatch, FailurePolicy, GraphBuilder, NodeExt, Outcome},
    ids::Seq,
    run::{Durability, Limits},
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tests::{World, journal, on, soon};
use tokio::sync::Semaphore;

/// State of the graphs.
#[derive(State, Default, Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Log {
    #[state(append)]
    steps: Vec<String>,
    #[state(add)]
    sum: i64,
    note: Option<String>,
    other: Option<String>,
}

/// Stays open once it was opened, also for a process that starts later.
#[derive(Debug)]
struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Gate {
    fn open(&self) {
        self.0.close();
    }

    async fn opened(&self) {
        assert!(self.0.acquire().await.is_err(), "it has no permits");
    }
}

/// What nodes have outside of their state. Survives restarts.
#[derive(Debug, Default)]
struct Outside {
    world: World,
    gate: Gate,
    slow_began: Gate,
}

fn note(cx: &Context) -> LogUpdate {
    Log::update().steps([cx.node().to_owned()]).sum(1)
}

async fn plain(_: &Log, cx: &Context) -> Result<LogUpdate> {
    Ok(note(cx))
}

/// Records how many updates its state has, and fails if it is entered again with another state.
async fn careful(state: &Log, cx: &Context) -> Result<LogUpdate> {
    look(state, cx).await?;
    Ok(note(cx))
}

async fn look(state: &Log, cx: &Context) -> Result<()> {
    let outside = cx.get::<Arc<Outside>>()?;
    let seen = state.steps.clone();
    let recorded: Vec<String> = cx
        .step("seen", async {
            outside.world.happens(cx.task().to_string());
            Ok::<_, NodeError>(seen.clone())
        })
        .await?;
    if recorded != seen {
        return Err(NodeError::permanent(format!("it saw {recorded:?} and now {seen:?}")));
    }
    Ok(())
}

/// Waits until `third` has run.
async fn slow(state: &Log, cx: &Context) -> Result<LogUpdate> {
    look(state, cx).await?;
    let outside = cx.get::<Arc<Outside>>()?;
    outside.slow_began.open();
    outside.gate.opened().await;
    Ok(note(cx).sum(i64::try_from(state.steps.len()).unwrap()))
}

async fn third(state: &Log, cx: &Context) -> Result<LogUpdate> {
    look(state, cx).await?;
    cx.get::<Arc<Outside>>()?.gate.open();
    Ok(note(cx))
}

/// Three nodes in a row beside `slow`, which waits for the third, and a join of both.
fn race() -> GraphBuilder<Log> {
    Graph::<Log>::builder("race")
        .node("first", careful)
        .node("second", careful)
        .node("third", third)
        .node("slow", slow)
        .node("last", careful)
        .path([START, "first", "second", "third"])
        .edge(START, "slow")
        .join(["third", "slow"], "last")
        .edge("last", END)
        .dataflow()
}

fn runtime(outside: &Arc<Outside>) -> Runtime {
    Runtime::builder().provide(Arc::clone(outside)).build()
}

fn stored(outside: &Arc<Outside>) -> Runtime {
    on(&journal()).provide(Arc::clone(outside)).build()
}

#[tokio::test]
async fn a_fast_branch_finishes_while_a_slow_sibling_waits_for_it() {
    let graph = race().build().unwrap();
    for durable in [false, true] {
        let outside = Arc::default();
        let runtime = if durable { stored(&outside) } else { runtime(&outside) };
        let outcome = soon(runtime.session("s").unwrap().run(&graph, Log::update())).await.unwrap();
        let state = outcome.state().unwrap();
        assert_eq!(state.steps, ["first", "second", "third", "slow", "last"]);
        // `slow` saw none of the updates of its siblings.
        assert_eq!(state.sum, 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_run_on_several_threads() {
    let graph = race().build().unwrap();
    for _ in 0..50 {
        let outside = Arc::default();
        let session = stored(&outside).session("s").unwrap();
        let outcome = soon(session.run(&graph, Log::update())).await.unwrap();
        let steps = &outcome.state().unwrap().steps;
        assert_eq!(steps.iter().collect::<BTreeSet<_>>().len(), 5, "{steps:?}");
        assert_eq!(steps.last().unwrap(), "last");
    }
}

#[tokio::test]
async fn a_commit_names_its_task_and_what_it_made_due() {
    let outside = Arc::default();
    let session = stored(&outside).session("s").unwrap();
    soon(session.run(&race().build().unwrap(), Log::update())).await.unwrap();
    let events = session.events(Seq::ZERO, 100).await.unwrap();
    let events: Vec<EventBody> = events.iter().map(|event| event.body.clone()).collect();
    // Without a journal too.
    let unstored = runtime(&Arc::default()).session("s").unwrap();
    let live = unstored.run(&race().build().unwrap(), Log::update()).stream().await.unwrap();
    let live: Vec<EventBody> = soon(live.map(|event| event.unwrap().body.clone()).collect()).await;
    let commits_of = |events: &[EventBody]| -> Vec<_> {
        let commits = events.iter().filter_map(|event| match event {
            EventBody::SuperstepCommitted(committed) => {
                Some((committed.superstep, committed.committed.clone().unwrap(), committed.next.clone()))
            }
            _ => None,
        });
        commits.collect()
    };
    let commits = commits_of(&events);
    assert_eq!(commits_of(&live), commits);
    let commit = |number, task: &str, next: &[&str]| {
        (number, task.to_owned(), next.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        commits,
        [
            commit(1, "first#1", &["second"]),
            commit(2, "second#3", &["third"]),
            commit(3, "third#4", &[]),
            commit(4, "slow#2", &["last"]),
            commit(5, "last#5", &[]),
        ]
    );
    let checkpoints = session.history(Seq::ZERO, 100).await.unwrap();
    assert_eq!(checkpoints.len(), 6);
    let mut lengths = Vec::new();
    for checkpoint in &checkpoints {
        lengths.push(session.state_at::<Log>(checkpoint.seq).await.unwrap().steps.len());
    }
    assert_eq!(lengths, [0, 1, 2, 3, 4, 5]);
    assert_eq!(session.status().await.unwrap().status, RunStatus::Completed);
}

#[tokio::test]
async fn a_question_in_one_branch_does_not_hold_the_other() {
    let ask = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        let amount: i64 = cx.ask(Question::new("How much?")).await?;
        Ok(note(cx).sum(amount))
    };
    let builder = || {
        Graph::<Log>::builder("ask")
            .node("ask", ask)
            .node("after", plain)
            .node("first", plain)
            .node("slow", slow)
            .node("third", third)
            .path([START, "ask", "after", "third", END])
            .path([START, "first", "slow", END])
            .dataflow()
    };
    // Answered while `slow` waits: `ask`, `after` and `third` run, and `slow` ends then.
    let outside: Arc<Outside> = Arc::default();
    let session = stored(&outside).session("s").unwrap();
    let graph = builder().build().unwrap();
    let run = session.run(&graph, Log::update()).start().await.unwrap();
    soon(outside.slow_began.opened()).await;
    assert_eq!(session.status().await.unwrap().status, RunStatus::Running);
    session.answer(Answers::only(7)).await.unwrap();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["first", "ask", "after", "third", "slow"]);

    // The other branch has ended: the run pauses, and continues with another process.
    let inner = journal();
    let outside: Arc<Outside> = Arc::default();
    outside.gate.open();
    let before = on(&inner).provide(Arc::clone(&outside)).build();
    let outcome = soon(before.session("s").unwrap().run(&graph, Log::update())).await.unwrap();
    assert!(outcome.is_paused());
    before.shutdown(Duration::ZERO).await;
    let after = on(&inner).graph(&graph).provide(outside).build();
    let session = after.session("s").unwrap();
    assert_eq!(session.state::<Log>().await.unwrap().steps, ["first", "slow"]);
    let run = session.answer(Answers::only(7)).await.unwrap();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["first", "slow", "ask", "after", "third"]);
}

/// Two branches that replace `note`; `right` waits for the end of `left` if it `overlaps`.
fn writers(overlaps: bool, policy: FailurePolicy) -> Graph<Log> {
    let left = async |_: &Log, cx: &Context| -> Result<LogUpdate> { Ok(note(cx).note("left".to_owned())) };
    let right = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        cx.get::<Arc<Outside>>()?.gate.opened().await;
        Ok(note(cx).note("right".to_owned()).other("right".to_owned()))
    };
    let graph = Graph::<Log>::builder("writers")
        .node("left", left)
        .node("open", third)
        .node("right", right)
        .path([START, "left", "open"])
        .on_failure(policy)
        .dataflow();
    let graph = if overlaps {
        graph.edge("open", END).path([START, "right", END])
    } else {
        graph.path(["open", "right", END])
    };
    graph.build().unwrap()
}

#[tokio::test]
async fn two_overlapping_tasks_that_replace_one_field_fail_with_both_names() {
    for policy in [FailurePolicy::FailFast, FailurePolicy::LetFinish] {
        let outside = Arc::default();
        let session = stored(&outside).session("s").unwrap();
        let error = soon(session.run(&writers(true, policy), Log::update())).await.unwrap_err();
        let SessionError::Run(error) = error else { panic!("{error}") };
        let RunError::WriteConflict { field, nodes, .. } = &*error else { panic!("{error}") };
        assert_eq!((field.as_str(), &nodes[0][..], &nodes[1][..]), ("note", "left", "right"), "{policy:?}");
        // The state is that of the last commit.
        let state = session.state::<Log>().await.unwrap();
        assert_eq!((state.steps.len(), state.note.as_deref(), state.other), (2, Some("left"), None));
    }
    let outside = Arc::default();
    let graph = writers(false, FailurePolicy::FailFast);
    let outcome = soon(runtime(&outside).session("s").unwrap().run(&graph, Log::update())).await;
    assert_eq!(outcome.unwrap().state().unwrap().note.as_deref(), Some("right"));
}

#[tokio::test]
async fn a_conflict_is_found_by_a_process_that_reads_the_earlier_write_from_the_journal() {
    let inner = journal();
    let outside: Arc<Outside> = Arc::default();
    let graph = {
        let left =
            async |_: &Log, cx: &Context| -> Result<LogUpdate> { Ok(note(cx).note("left".to_owned())) };
        let right = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
            let text: String = cx.ask(Question::new("What?")).await?;
            Ok(note(cx).note(text))
        };
        let graph = Graph::<Log>::builder("late").node("left", left).node("right", right);
        graph.path([START, "left", END]).path([START, "right", END]).dataflow().build().unwrap()
    };
    let before = on(&inner).provide(Arc::clone(&outside)).build();
    assert!(before.session("s").unwrap().run(&graph, Log::update()).await.unwrap().is_paused());
    before.shutdown(Duration::ZERO).await;
    let session = on(&inner).graph(&graph).provide(outside).build().session("s").unwrap();
    let run = session.answer(Answers::only("right")).await.unwrap();
    let error = soon(run.outcome::<Log>()).await.unwrap_err();
    assert_eq!(error.code(), Code::WriteConflict, "{error}");
    assert!(error.to_string().contains("`left` and `right`"), "{error}");
}

#[tokio::test]
async fn a_join_waits_for_every_send_to_its_source() {
    let graph = Graph::<Log>::builder("map")
        .node("plan", async |_: &Log, _: &Context| {
            Ok(Outcome::empty().send_all((0..5_i64).map(|n| Dispatch::new("read", &n))))
        })
        .node("read", async |_: &Log, n: i64, _: &Context| {
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
            Ok(Outcome::update(Log::update().steps([format!("read {n}")])).send(Dispatch::new("rate", &n)))
        })
        .node("rate", async |_: &Log, n: i64, _: &Context| Ok(Log::update().sum(n)))
        .node("report", async |state: &Log, _: &Context| {
            Ok(Log::update().note(format!("{} {}", state.steps.len(), state.sum)))
        })
        .edge(START, "plan")
        .declare_targets("plan", ["read"])
        .declare_targets("read", ["rate"])
        .join(["rate"], "report")
        .edge("report", END)
        .max_supersteps(4)
        .dataflow();
    let graph = graph.build().unwrap();
    let outcome = soon(runtime(&Arc::default()).session("s").unwrap().run(&graph, Log::update())).await;
    // One report, after all of them; depth 4 although there are 12 tasks.
    assert_eq!(outcome.unwrap().state().unwrap().note.as_deref(), Some("5 10"));
}

#[tokio::test]
async fn the_limit_of_supersteps_counts_the_tasks_on_a_path() {
    let graph = Graph::<Log>::builder("loop")
        .node("again", plain)
        .node("beside", plain)
        .path([START, "beside", END])
        .edge(START, "again")
        .branch("again", |state: &Log| if state.sum < 100 { "again" } else { END }, ["again", END])
        .max_supersteps(9)
        .dataflow()
        .build()
        .unwrap();
    let session = stored(&Arc::default()).session("s").unwrap();
    let error = soon(session.run(&graph, Log::update())).await.unwrap_err();
    assert_eq!(error.code().name(), "superstep_limit", "{error}");
    let state = session.state::<Log>().await.unwrap();
    assert_eq!(state.steps.iter().filter(|step| *step == "again").count(), 9);
}

#[tokio::test]
async fn tasks_beyond_the_limit_of_concurrency_wait_and_keep_the_state_that_they_became_due_with() {
    let counted = async |state: &Log, n: i64, cx: &Context| -> Result<LogUpdate> {
        let outside = cx.get::<Arc<Outside>>()?;
        assert_eq!(outside.world.happens("runs"), 1 + outside.world.times("ended"));
        tokio::task::yield_now().await;
        outside.world.happens("ended");
        Ok(Log::update().steps([format!("{n} saw {}", state.steps.len())]))
    };
    let graph = Graph::<Log>::builder("capped")
        .node("plan", async |_: &Log, _: &Context| {
            Ok(Outcome::empty().send_all((0..6_i64).map(|n| Dispatch::new("one", &n))))
        })
        .node("one", counted.concurrency(1))
        .edge(START, "plan")
        .declare_targets("plan", ["one"])
        .edge("one", END)
        .dataflow()
        .build()
        .unwrap();
    let outcome = soon(runtime(&Arc::default()).session("s").unwrap().run(&graph, Log::update())).await;
    let steps = outcome.unwrap().state().unwrap().steps.clone();
    assert_eq!(steps, (0..6).map(|n| format!("{n} saw 0")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_task_that_waits_for_an_answer_gives_its_slot_to_another() {
    let ask = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        let amount: i64 = cx.ask(Question::new("How much?")).await?;
        Ok(note(cx).sum(amount))
    };
    let graph = Graph::<Log>::builder("slots").node("ask", ask).node("a", plain).node("b", plain);
    let graph = graph.path([START, "ask", END]).path([START, "a", "b", END]).max_concurrency(1).dataflow();
    let graph = graph.build().unwrap();
    let session = runtime(&Arc::default()).session("s").unwrap();
    assert!(soon(session.run(&graph, Log::update())).await.unwrap().is_paused());
    let run = session.answer(Answers::only(5)).await.unwrap();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["a", "b", "ask"]);
}

/// Waits for a call while the questions of the session are answered: a run with a branch at work does not pause.
async fn answering<T>(session: &Session, call: impl Future<Output = T>) -> T {
    let mut call = std::pin::pin!(soon(call));
    let mut events = session.subscribe(Some(Seq::ZERO));
    loop {
        let event = tokio::select! {
            biased;
            ended = call.as_mut() => return ended,
            event = events.next() => event,
        };
        let Ok(event) = event else { return call.await };
        if let EventBody::QuestionAsked(asked) = &event.body {
            // It may be answered already.
            drop(session.answer(Answers::to(asked.open.id.clone(), 1)).await);
        }
    }
}

/// Continues a session until it has completed. An error is that of the first call that failed.
async fn finish(session: &Session, graph: &Graph<Log>, durability: Durability) -> Result<Log, SessionError> {
    loop {
        match session.status().await {
            Err(SessionError::NotFound { .. }) => {
                let options = RunOptions::default().durability(durability);
                answering(session, session.run(graph, Log::update()).options(options).into_future()).await?;
            }
            Err(error) => return Err(error),
            Ok(status) => match status.status {
                RunStatus::Completed => return session.state::<Log>().await,
                RunStatus::Paused => {
                    let open = status.questions[0].id.clone();
                    let run = session.answer(Answers::to(open, 1)).await?;
                    answering(session, run.outcome::<Log>()).await?;
                }
                _ => {
                    let run = session.resume().await?;
                    answering(session, run.outcome::<Log>()).await?;
                }
            },
        }
    }
}
