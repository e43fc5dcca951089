//! Deadlines of questions in a store of many sessions, and runtimes that end without a shutdown.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stdout, reason = "figures are for people")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{
    Answers, Context, END, Graph, Question, Runtime, START, State,
    event::EventBody,
    ids::{RunId, Seq, SessionId},
    journal::{Append, Epoch, InMemoryJournal, JournalStore, OwnerId, Summary},
    sqlite::Sqlite,
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

const SESSIONS: usize = 100_000;
/// A year from 2026 in milliseconds since 1970.
const FAR: i64 = 1_830_000_000_000;

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Talk {
    #[state(append)]
    said: Vec<String>,
}

/// Asks, with a deadline if the state says so already.
fn asking(deadline: Option<Duration>) -> Graph<Talk> {
    Graph::<Talk>::builder("talk")
        .node("ask", async move |_: &Talk, cx: &Context| {
            let question = Question::new("Anybody?");
            let question = match deadline {
                Some(deadline) => question.deadline(deadline),
                None => question,
            };
            let said = cx.ask::<String>(question).await.unwrap_or_else(|_| "expired".to_owned());
            Ok(Talk::update().said([said]))
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap()
}

/// Heads of paused sessions: half of them have a deadline that is far away.
async fn fill(store: &dyn JournalStore) {
    let numbers: Vec<usize> = (0..SESSIONS).collect();
    for numbers in numbers.chunks(500) {
        let appends = numbers.iter().map(|number| {
            let id: SessionId = format!("paused-{number}").parse().unwrap();
            let mut summary = Summary::new("talk", "paused", RunId(1), 1_800_000_000_000).questions(1);
            summary.due =
                Some(if number % 2 == 0 { FAR + i64::try_from(*number).unwrap() } else { i64::MAX });
            store.append(Append::new(id, Epoch(0), Seq(0), Vec::new()).with_summary(Some(summary)))
        });
        for done in join_all(appends).await {
            done.unwrap();
        }
    }
}

async fn idle_sweeps_are_cheap(name: &str, store: Arc<dyn JournalStore>) {
    fill(&*store).await;
    let graph = asking(Some(Duration::from_millis(30)));
    let make = || Runtime::builder().journal(Arc::clone(&store)).graph(&graph).build();
    let before = make();
    let session = before.session("short").unwrap();
    assert!(session.run(&graph, Talk::update()).await.unwrap().is_paused());
    before.shutdown(Duration::ZERO).await;

    // One deadline among all of them passes.
    let runtime = make();
    let session = runtime.session("short").unwrap();
    let mut events = session.subscribe(Some(Seq::ZERO));
    runtime.sweep().await.unwrap();
    while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {}
    assert_eq!(session.state::<Talk>().await.unwrap().said, ["expired"]);

    let mut times = Vec::new();
    for _ in 0..30 {
        let start = Instant::now();
        let found = runtime.sweep().await.unwrap();
        // What the watch over the deadlines does upon it.
        assert!(store.due(None, 1_800_000_000_000, 256).await.unwrap().is_empty());
        assert_eq!(store.due(None, i64::MAX - 1, 1).await.unwrap().len(), 1);
        times.push(start.elapsed());
        assert!(found.resumed.is_empty() && found.skipped.is_empty(), "{found:?}");
    }
    times.sort();
    let start = Instant::now();
    let waiting = runtime.recover().await.unwrap().paused.len();
    println!(
        "{name}: idle sweep of {waiting} paused sessions: {:?} (median {:?}); full list of them: {:?}",
        times[0],
        times[times.len() / 2],
        start.elapsed()
    );
    assert_eq!(waiting, SESSIONS);
    assert!(times[0] < Duration::from_millis(10), "{name}: {times:?}");
    runtime.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_sweep_of_a_hundred_thousand_waiting_sessions_takes_under_ten_milliseconds() {
    let folder = tempfile::tempdir().unwrap();
    let options = Sqlite::builder().synchronous(agent_core::sqlite::Synchronous::Normal);
    let store = options.open(folder.path().join("agent.db")).unwrap();
    idle_sweeps_are_cheap("SQLite", Arc::new(store)).await;
    idle_sweeps_are_cheap("memory", Arc::new(InMemoryJournal::new())).await;
}

#[test]
fn a_runtime_whose_executor_has_ended_gives_its_sessions_up_in_the_same_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let graph = asking(None);
    let execute = |work: &dyn Fn() -> futures::future::BoxFuture<'static, ()>| {
        let executor =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        executor.block_on(work());
    };
    execute(&|| {
        let (path, graph) = (path.clone(), graph.clone());
        Box::pin(async move {
            let runtime = Runtime::builder().journal(Sqlite::open(path).unwrap()).build();
            assert!(runtime.session("s").unwrap().run(&graph, Talk::update()).await.unwrap().is_paused());
        })
    });
    execute(&|| {
        let (path, graph) = (path.clone(), graph.clone());
        Box::pin(async move {
            let runtime = Runtime::builder().journal(Sqlite::open(path).unwrap()).graph(&graph).build();
            let run = runtime.session("s").unwrap().answer(Answers::only("yes")).await.unwrap();
            let outcome = run.outcome::<Talk>().await.unwrap();
            assert_eq!(outcome.state().unwrap().said, ["yes"]);
        })
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_an_older_summary_does_not_have_is_found_by_recovery() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite: Arc<dyn JournalStore> = Arc::new(Sqlite::open(folder.path().join("agent.db")).unwrap());
    for store in [sqlite, Arc::new(InMemoryJournal::new())] {
        let graph = asking(Some(Duration::from_millis(30)));
        let make = || Runtime::builder().journal(Arc::clone(&store)).graph(&graph).build();
        let before = make();
        let session = before.session("old").unwrap();
        assert!(session.run(&graph, Talk::update()).await.unwrap().is_paused());
        before.shutdown(Duration::ZERO).await;

        // As a program wrote it that had no index of deadlines.
        let id: SessionId = "old".parse().unwrap();
        let lease = store.acquire(&id, &OwnerId::random(), Duration::from_secs(10)).await.unwrap();
        let head = store.head(&id).await.unwrap().unwrap();
        let mut summary = head.summary;
        assert!(summary.due.take().is_some());
        let append = Append::new(id.clone(), lease.epoch, head.last, Vec::new()).with_summary(Some(summary));
        store.append(append).await.unwrap();
        store.release(&id, &lease).await.unwrap();
        assert!(store.due(None, i64::MAX, 1).await.unwrap().is_empty());

        let runtime = make();
        let mut events = runtime.session("old").unwrap().subscribe(Some(Seq::ZERO));
        assert_eq!(runtime.recover().await.unwrap().paused, [id]);
        let expired =
            async { while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {} };
        tokio::time::timeout(Duration::from_secs(20), expired).await.expect("the question expires");
        runtime.shutdown(Duration::ZERO).await;
    }
}
