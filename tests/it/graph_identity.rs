//! Which graph continues a run: the one it began with, the registered one, or none.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, BusyPolicy, Context, END, Graph, RunOptions, Runtime, START, SessionError, State, ids::Seq,
    journal::JournalStore,
};
use serde::{Deserialize, Serialize};
use tests::{Yielding, journal};

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Desk {
    account: String,
}

/// An agent of one user: same name and shape for all, with the account inside.
fn agent(account: &'static str) -> Graph<Desk> {
    let account = account.to_owned();
    Graph::<Desk>::builder("agent")
        .node("work", async move |_: &Desk, cx: &Context| {
            let _: bool = cx.ask("Go on?").await?;
            Ok(Desk::update().account(account.clone()))
        })
        .edge(START, "work")
        .edge("work", END)
        .build()
        .unwrap()
}

/// The same shape without data inside.
fn plain() -> Graph<Desk> {
    Graph::<Desk>::builder("agent")
        .node("work", async |_: &Desk, cx: &Context| {
            let _: bool = cx.ask("Go on?").await?;
            Ok(Desk::update().account("plain"))
        })
        .edge(START, "work")
        .edge("work", END)
        .build()
        .unwrap()
}

fn runtime(store: &Arc<dyn JournalStore>) -> Runtime {
    Runtime::builder().journal(Arc::clone(store)).options(|o| o.lease_ttl = Duration::ZERO).build()
}

fn store() -> Arc<dyn JournalStore> {
    Yielding::on(journal())
}

#[tokio::test]
async fn a_run_continues_with_the_graph_it_began_with_in_memory_and_evicted() {
    for evicted in [false, true] {
        let runtime = Runtime::builder()
            .journal(store())
            .options(|options| options.max_suspended_runs = if evicted { 0 } else { 100 })
            .build();
        let (ann, bob) = (runtime.session("ann").unwrap(), runtime.session("bob").unwrap());
        ann.run(&agent("ann"), Desk::update()).await.unwrap();
        bob.run(&agent("bob"), Desk::update()).await.unwrap();
        for (session, account) in [(bob, "bob"), (ann, "ann")] {
            let run = session.answer(Answers::only(true)).await.unwrap();
            let outcome = run.outcome::<Desk>().await.unwrap();
            assert_eq!(outcome.state().unwrap().account, account, "evicted: {evicted}");
        }
    }
}

#[tokio::test]
async fn a_run_of_another_process_continues_only_with_a_registered_graph() {
    let store = store();
    let before = runtime(&store);
    before.session("bob").unwrap().run(&agent("bob"), Desk::update()).await.unwrap();
    before.shutdown(Duration::from_secs(5)).await;

    let after = runtime(&store);
    after.session("ann").unwrap().run(&agent("ann"), Desk::update()).await.unwrap();
    let bob = after.session("bob").unwrap();
    let refused = bob.answer(Answers::only(true)).await.unwrap_err();
    assert!(matches!(refused, SessionError::GraphNotRegistered { .. }), "{refused}");
    assert_eq!(bob.status().await.unwrap().questions.len(), 1, "the question is still open");

    after.register(&agent("bob"));
    let run = bob.answer(Answers::only(true)).await.unwrap();
    assert_eq!(run.outcome::<Desk>().await.unwrap().state().unwrap().account, "bob");
    // Ann's run began here: registering another graph did not change what it continues with.
    let run = after.session("ann").unwrap().answer(Answers::only(true)).await.unwrap();
    assert_eq!(run.outcome::<Desk>().await.unwrap().state().unwrap().account, "ann");
}

#[tokio::test]
async fn a_graph_whose_code_carries_no_data_need_not_be_registered() {
    let store = store();
    let before = runtime(&store);
    before.session("s").unwrap().run(&plain(), Desk::update()).await.unwrap();
    before.shutdown(Duration::from_secs(5)).await;

    let after = runtime(&store);
    after.session("other").unwrap().run(&plain(), Desk::update()).await.unwrap();
    let run = after.session("s").unwrap().answer(Answers::only(true)).await.unwrap();
    assert_eq!(run.outcome::<Desk>().await.unwrap().state().unwrap().account, "plain");
}

#[tokio::test]
async fn a_queued_run_and_a_fork_have_the_graph_of_their_caller() {
    let runtime = runtime(&store());
    runtime.session("ann").unwrap().run(&agent("ann"), Desk::update()).await.unwrap();
    let bob = runtime.session("bob").unwrap();
    bob.run(&agent("bob"), Desk::update()).await.unwrap();
    let enqueue = RunOptions::default().on_busy(BusyPolicy::Enqueue);
    let mut queued = bob.run(&agent("guest"), Desk::update()).options(enqueue).start().await.unwrap();
    let fork = bob.fork(Seq(3), "fork".parse().unwrap()).await.unwrap();
    let run = bob.answer(Answers::only(true)).await.unwrap();
    assert_eq!(run.outcome::<Desk>().await.unwrap().state().unwrap().account, "bob");
    queued.wait_status().await;
    let run = bob.answer(Answers::only(true)).await.unwrap();
    assert_eq!(run.outcome::<Desk>().await.unwrap().state().unwrap().account, "guest");
    let run = fork.answer(Answers::only(true)).await.unwrap();
    assert_eq!(run.outcome::<Desk>().await.unwrap().state().unwrap().account, "bob");
}
