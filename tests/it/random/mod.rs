//! Random graphs under random crashes, compared with a reference interpreter that shares no code with the engine.

mod play;
mod reference;
mod spec;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agent_core::{
    Answers, Context, END, Graph, NodeError, Question, Result, RunOptions, Runtime, START, Session,
    SessionError, State,
    engine::NodeFailure,
    graph::{AnyNode, Dispatch, IntoNode, Outcome, Route},
    ids::RunId,
    journal::{InMemoryJournal, JournalStore, StoreRetry},
    retry::RetryPolicy,
    run::Durability,
    run::RunStatus,
    session::RunLocation,
    testing::HookedStore,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::{Dying, Fault, Faulty, World, Yielding, drop_after, facts, journal, on};

use self::{
    play::{CALM, Fate, Played, block_on, drops, fate, faults, play},
    reference::reference,
    spec::{Mode, Spec, answer_to, closure, hostile, spec},
};

#[derive(State, Default, Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Model {
    #[state(append)]
    log: Vec<String>,
    #[state(add)]
    sum: i64,
    last: Option<String>,
    #[state(merge)]
    values: BTreeMap<String, Value>,
}

fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

fn sorted(mut log: Vec<String>) -> Vec<String> {
    log.sort();
    log
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_run_ends_as_the_reference_says_wherever_it_crashes(spec in spec(), fate in fate(), threads in any::<bool>()) {
        let expected = reference(&spec);
        let played = block_on(threads, play(&spec, &fate));
        match (&expected, &played.result) {
            (Ok(expected), Ok(found)) => {
                prop_assert_eq!(expected.sum, found.sum);
                prop_assert_eq!(&expected.last, &found.last);
                prop_assert_eq!(&expected.values, &found.values);
                prop_assert_eq!(&expected.log, &found.log, "{:#?}", sorted(found.log.clone()));
            }
            (Err(expected), Err(found)) => prop_assert_eq!(expected, &found.as_str()),
            _ => prop_assert!(false, "expected {:?}, found {:?}", expected, played.result),
        }
        prop_assert!(played.paid_twice.is_empty(), "done again: {:?}", played.paid_twice);
        for (what, times) in played.world.all() {
            if !what.starts_with("try ") {
                prop_assert!(times as usize <= 1 + fate.crashes.len(), "{} happened {} times", what, times);
                prop_assert!(!fate.crashes.is_empty() || times == 1, "{} happened {} times", what, times);
            }
        }
    }

    #[test]
    fn callers_that_leave_at_any_await_point_change_nothing_of_a_run(
        spec in spec(), fate in fate(), drops in drops(), threads in any::<bool>()
    ) {
        let expected = reference(&spec);
        let played = block_on(threads, play(&spec, &Fate { drops, ..fate.clone() }));
        match (&expected, &played.result) {
            (Ok(expected), Ok(found)) => prop_assert_eq!(expected, found),
            (Err(expected), Err(found)) => prop_assert_eq!(expected, &found.as_str()),
            _ => prop_assert!(false, "expected {:?}, found {:?}", expected, played.result),
        }
        prop_assert!(played.paid_twice.is_empty(), "done again: {:?}", played.paid_twice);
        for (what, times) in played.world.all() {
            let most = if what.starts_with("try ") { u32::MAX } else { 1 + u32::try_from(fate.crashes.len()).unwrap() };
            prop_assert!(times <= most, "{} happened {} times", what, times);
        }
    }

    #[test]
    fn a_store_that_fails_and_works_again_changes_nothing_of_a_run(
        spec in spec(), faults in faults(1..5), all in any::<bool>()
    ) {
        let calm = block_on(false, play(&spec, &Fate { all, ..CALM }));
        let disturbed = block_on(false, play(&spec, &Fate { all, faults, ..CALM }));
        prop_assert_eq!(&calm.result, &disturbed.result);
        // How far the siblings of a failed task came depends on the time that each append takes.
        if calm.result.is_ok() {
            let facts = |played: &Played| {
                let reported = played.journal.iter().filter(|fact| fact["type"] != "run_resumed" && fact["type"] != "run_paused");
                let mut reported: Vec<String> = reported.map(ToString::to_string).collect();
                reported.sort();
                reported
            };
            prop_assert_eq!(facts(&calm), facts(&disturbed));
            prop_assert_eq!(calm.world.all(), disturbed.world.all());
        }
    }

    #[test]
    fn a_run_that_waits_in_memory_and_one_that_is_replayed_leave_the_same_journal(spec in spec(), all in any::<bool>()) {
        prop_assume!(spec.nodes.iter().any(|node| node.asks > 0));
        let kept = block_on(false, play(&spec, &Fate { all, ..CALM }));
        let replayed = block_on(false, play(&spec, &Fate { all, restart: true, ..CALM }));
        let facts = |played: &Played| {
            let reported = played.journal.iter().filter(|fact| fact["type"] != "run_resumed" && fact["type"] != "run_paused");
            reported.map(ToString::to_string).collect::<BTreeSet<_>>()
        };
        prop_assert_eq!(&kept.result, &replayed.result);
        let (a, b) = (facts(&kept), facts(&replayed));
        let difference: Vec<_> = a.symmetric_difference(&b).collect();
        prop_assert!(difference.is_empty(), "{:#?}", difference);
        prop_assert_eq!(kept.world.all(), replayed.world.all());
    }
}

#[tokio::test]
async fn exit_durability_loses_a_crashed_run_whole_and_never_in_part() {
    let graph = Graph::<Model>::builder("exit")
        .node("a", async |_: &Model, _: &Context| Ok(Model::update().sum(1)))
        .node("b", async |_: &Model, cx: &Context| {
            cx.get::<Arc<HookedStore<Dying>>>()?.kill();
            Ok(Model::update().sum(1))
        })
        .edge(START, "a")
        .edge("a", "b")
        .edge("b", END)
        .build()
        .unwrap();
    let inner = journal();
    let store = Dying::never(&inner);
    let runtime = Runtime::builder().journal(store.clone()).provide(store).build();
    let session = runtime.session("s").unwrap();
    let options = RunOptions::default().durability(Durability::Exit);
    let error = session.run(&graph, Model::update()).options(options).await.unwrap_err();
    assert_eq!(error.code().name(), "store_unavailable");
    let next = on(&inner).graph(&graph).build();
    let recovered = next.recover().await.unwrap();
    assert!(recovered.resumed.is_empty() && recovered.skipped.is_empty(), "{recovered:?}");
    let error = next.session("s").unwrap().status().await.unwrap_err();
    assert_eq!(error.code().name(), "session_not_found");
}
