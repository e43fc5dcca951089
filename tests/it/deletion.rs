//! A deleted session and a new session with the same id: subscriptions and handles belong to only one of them.

use std::sync::Arc;

use agent_core::{
    Answers, Context, END, Graph, Question, Result, START, SessionError, event::SubscriptionError, ids::Seq,
    journal::JournalStore,
};
use futures::StreamExt;
use serde_json::json;
use tests::{journal, on, soon};

use super::graph::{Trail, step};

fn short() -> Graph<Trail> {
    Graph::<Trail>::builder("short").node("one", step).edge(START, "one").edge("one", END).build().unwrap()
}

#[tokio::test]
async fn deletion_ends_every_subscription_after_the_events_before_it() {
    let runtime = on(&journal()).build();
    let graph = short();
    let session = runtime.session("s").unwrap();
    // One subscription waits, one has read nothing from the ring yet, and one has yet to read the journal.
    let (mut waiting, mut slow) = (session.subscribe(None), session.subscribe(None));
    session.run(&graph, Trail::update().sum(1)).await.unwrap();
    let last = session.status().await.unwrap().last;
    while soon(waiting.next()).await.unwrap().seq != Some(last) {}
    let waits = waiting.next();
    let mut behind = session.subscribe(Some(Seq::ZERO));
    let (end, deleted) = tokio::join!(soon(waits), session.delete());
    deleted.unwrap();
    assert!(matches!(end, Err(SubscriptionError::Deleted { after, .. }) if after == last), "{end:?}");

    // The id is used again: nothing of it is seen.
    let next = runtime.session("s").unwrap();
    next.run(&graph, Trail::update().sum(41)).await.unwrap();
    let mut seen = Vec::new();
    let end = loop {
        match soon(slow.next()).await {
            Ok(event) => seen.push(event),
            Err(end) => break end,
        }
    };
    assert!(end.is_final() && seen.last().unwrap().seq == Some(last), "{end} {seen:?}");
    assert!(soon(behind.next()).await.unwrap_err().is_final(), "its journal is gone");
    assert!(soon(session.subscribe(Some(Seq::ZERO)).next()).await.unwrap_err().is_final());
    // As a stream it has an end.
    assert!(soon(behind.next()).await.unwrap_err().is_final(), "and stays at its end");
    let rest: Vec<_> = soon(StreamExt::collect::<Vec<_>>(behind)).await;
    assert!(rest.len() == 1 && rest[0].is_err(), "{rest:?}");
}

#[tokio::test]
async fn a_handle_of_a_deleted_session_neither_reads_nor_changes_the_next_one() {
    let store = journal();
    let asking = Graph::<Trail>::builder("asking")
        .node("ask", async |_: &Trail, cx: &Context| {
            let answer: i64 = cx.ask(Question::new("how many?")).await?;
            Result::Ok(Trail::update().sum(answer))
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap();
    let runtime = on(&store).graph(&asking).build();
    let graph = short();
    let old = runtime.session("s").unwrap();
    old.run(&graph, Trail::update()).await.unwrap();
    old.delete().await.unwrap();
    let new = runtime.session("s").unwrap();
    new.run(&asking, Trail::update()).await.unwrap();
    let before = store.head(new.id()).await.unwrap().unwrap();

    let gone = |error: SessionError| assert!(matches!(error, SessionError::NotFound { .. }), "{error}");
    gone(old.status().await.unwrap_err());
    gone(old.state_json().await.unwrap_err());
    gone(old.state::<Trail>().await.unwrap_err());
    gone(old.head().await.unwrap_err());
    gone(old.history(Seq::ZERO, 10).await.unwrap_err());
    gone(old.events(Seq::ZERO, 10).await.unwrap_err());
    gone(old.status_at(Seq(1)).await.unwrap_err());
    gone(old.state_json_at(Seq(1)).await.unwrap_err());
    gone(old.run(&graph, Trail::update()).await.unwrap_err());
    gone(old.run_json("asking", json!({})).start().await.unwrap_err());
    gone(old.answer(Answers::only(1)).await.unwrap_err());
    gone(old.stop().await.unwrap_err());
    gone(old.drain().await.unwrap_err());
    gone(old.resume().await.unwrap_err());
    gone(old.edit(&graph, "one", Trail::update()).await.unwrap_err());
    gone(old.fork(Seq(1), "fork".parse().unwrap()).await.unwrap_err());
    gone(old.delete().await.unwrap_err());

    assert_eq!(store.head(new.id()).await.unwrap().unwrap(), before, "nothing was written");
    let mut run = new.answer(Answers::only(7)).await.unwrap();
    soon(run.wait_status()).await;
    assert_eq!(new.state::<Trail>().await.unwrap().sum, 7);
}

#[tokio::test]
async fn sessions_at_rest_have_a_bound_in_bytes_and_lose_nothing_by_it() {
    const SESSIONS: usize = 24;
    let runtime = on(&journal()).options(|options| options.max_idle_bytes = 1024 * 1024).build();
    let graph = short();
    // Held and watched: they stay known, and still leave memory.
    let mut held = Vec::new();
    for number in 0..SESSIONS {
        let session = runtime.session(&format!("s{number}")).unwrap();
        let watch = session.subscribe(None);
        session.run(&graph, Trail::update().steps(["x".repeat(300_000)])).await.unwrap();
        assert!(runtime.idle_bytes() < 2 * 1024 * 1024, "{number}: {}", runtime.idle_bytes());
        held.push((session, watch));
    }
    for (session, _) in &held {
        let outcome = session.run(&graph, Trail::update().sum(1)).await.unwrap();
        let state = outcome.state().unwrap();
        assert_eq!((state.steps[0].len(), state.steps.len(), state.sum), (300_000, 3, 1));
        assert!(runtime.idle_bytes() < 2 * 1024 * 1024, "{}", runtime.idle_bytes());
    }
}

#[tokio::test]
async fn a_check_of_the_store_writes_and_leaves_nothing_behind() {
    let store = journal();
    let dying = tests::Dying::never(&store);
    let runtime = agent_core::Runtime::builder().journal(Arc::clone(&dying) as Arc<dyn JournalStore>).build();
    runtime.check_journal().await.unwrap();
    assert!(runtime.sessions(None, &[], 10).await.unwrap().is_empty());
    dying.kill();
    assert!(matches!(runtime.check_journal().await, Err(SessionError::Store(_))));
}

#[tokio::test]
async fn a_command_on_a_session_that_does_not_exist_stores_nothing() {
    let store = journal();
    let runtime = on(&store).build();
    let session = runtime.session("nowhere").unwrap();
    let refusals = [
        session.answer(Answers::only("yes")).await.map(drop).unwrap_err(),
        session.resume().await.map(drop).unwrap_err(),
        session.stop().await.map(drop).unwrap_err(),
        session.drain().await.map(drop).unwrap_err(),
        session.steer("hurry").await.map(drop).unwrap_err(),
        session.delete().await.unwrap_err(),
        session.fork(Seq(1), "copy".parse().unwrap()).await.map(drop).unwrap_err(),
        session.edit(&short(), "one", Trail::update()).await.map(drop).unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.code().name(), "session_not_found", "{error}");
    }
    assert!(store.list(None, &[], 10).await.unwrap().is_empty(), "not even a lease");
}
