//! Golden files of steering, timers, run contexts, quorums, breakpoints and background agents continue as they were
//! written.

use agent_core::{
    Answers, RunStatus, Session,
    event::EventBody,
    ids::{RunId, Seq},
    model::testing::Turn,
};
use serde_json::Value;
use tests::{
    golden::{Ledger, WRITTEN_AT},
    golden_v2::background,
};

use super::golden::{each, each_at, effects, ledger, messages};

/// Waits for an event of the run, which may be in the journal.
async fn until(session: &Session, run: RunId, wanted: impl Fn(&EventBody) -> bool) {
    let mut events = session.subscribe(Some(Seq::ZERO));
    loop {
        let event = events.next().await.unwrap();
        if event.run == run && wanted(&event.body) {
            return;
        }
    }
}

#[tokio::test]
async fn an_agent_reads_a_stored_message_once_and_a_pending_one_before_its_next_call() {
    each("steered", &[Turn::text("done")], async |opened| {
        let run = opened.session.answer(Answers::only("approve")).await.unwrap();
        let outcome = run.outcome::<agent_core::AgentState>().await.unwrap();
        let expected = [
            "User: 주문해 줘",
            "Assistant: good [lookup {\"n\":4}]",
            "Tool: lookup 4",
            "Assistant:  [order {\"n\":5}]",
            "Tool: order 5",
            "User: one more 🌸",
            "Assistant:  [order {\"n\":5}]",
            "Tool: order 5",
            "User: and hurry",
            "Assistant: done",
        ];
        assert_eq!(messages(outcome.state().unwrap()), expected);
        assert_eq!(opened.effects(), effects([("order", 1)]));
    })
    .await;
}

#[tokio::test]
async fn a_stored_timer_ends_at_its_time_and_can_be_ended_early() {
    each_at("sleeping", &[], WRITTEN_AT + 3_600_001, async |opened| {
        opened.runtime.recover().await.unwrap();
        until(&opened.session, RunId(1), |body| matches!(body, EventBody::RunCompleted(_))).await;
        assert_eq!(opened.effects(), effects([("get up", 1)]));
    })
    .await;
    each("sleeping", &[], async |opened| {
        opened.runtime.recover().await.unwrap();
        let open = opened.session.status().await.unwrap().questions;
        assert!(open[0].question.timer);
        assert_eq!(open[0].question.prompt, "Sleeps until 2025-11-24 17:00:00 UTC");
        let state = opened.answer(Answers::to(open[0].id.clone(), Value::Null)).await;
        assert_eq!(state, ledger(["nap"], 0, None));
    })
    .await;
}

#[tokio::test]
async fn the_context_of_a_paused_and_of_a_queued_run_is_read() {
    each("context", &[], async |opened| {
        let credit = u128::MAX;
        let state = opened.answer(Answers::only(1)).await;
        assert_eq!(state, ledger([&*format!("앤 {credit}")], 1, None));
        until(&opened.session, RunId(2), |body| matches!(body, EventBody::RunPaused(_))).await;
        let mut second = opened.session.answer(Answers::only(2)).await.unwrap();
        assert_eq!(second.wait_status().await, RunStatus::Paused);
        let open = opened.session.status().await.unwrap().questions;
        assert_eq!(open[0].question.prompt, "Breakpoint before `greet`");
        let state = opened.answer(Answers::only("continue")).await;
        assert_eq!(state, ledger([&*format!("앤 {credit}"), &*format!("Bob {credit}")], 3, None));
    })
    .await;
}

#[tokio::test]
async fn a_quorum_that_has_fired_does_not_fire_again() {
    each("quorum", &[], async |opened| {
        let state = opened.answer(Answers::only(7)).await;
        assert_eq!(state, ledger(["fast", "begin", "slow", "last"], 7, None));
    })
    .await;
}

#[tokio::test]
async fn a_task_in_flight_continues_with_the_state_that_it_started_from() {
    each("flow", &[], async |opened| {
        assert_eq!(opened.session.state::<Ledger>().await.unwrap().steps, ["fast", "after"]);
        let state = opened.answer(Answers::only(7)).await;
        assert_eq!(state, ledger(["fast", "after", "slow saw 0", "last"], 7, None));
        assert_eq!(opened.effects(), effects([]));
    })
    .await;
}

#[tokio::test]
async fn a_run_with_a_start_time_and_breakpoints_pauses_at_each_of_them() {
    each_at("breakpoints", &[], WRITTEN_AT + 60_001, async |opened| {
        let session = &opened.session;
        assert!(session.status().await.unwrap().questions.iter().all(|open| open.question.timer));
        opened.runtime.recover().await.unwrap();
        let mut seen = Vec::new();
        let mut events = session.subscribe(Some(Seq::ZERO));
        loop {
            match &events.next().await.unwrap().body {
                EventBody::QuestionAsked(asked) if !asked.open.question.timer => {
                    seen.push(asked.open.question.prompt.clone());
                    let answer =
                        if asked.open.question.prompt == "How much?" { 4.into() } else { Value::Null };
                    session.answer(Answers::to(asked.open.id.clone(), answer)).await.unwrap();
                }
                EventBody::RunCompleted(_) => break,
                _ => {}
            }
        }
        // The last two are in one superstep.
        seen.sort();
        assert_eq!(seen, ["Breakpoint after `last`", "Breakpoint before `fast`", "How much?"]);
        let state = session.state::<Ledger>().await.unwrap();
        assert_eq!(state, ledger(["fast", "begin", "slow", "last"], 4, None));
    })
    .await;
}

#[tokio::test]
async fn a_background_agent_belongs_to_the_session_that_started_it() {
    each("background", &[], async |opened| {
        let head = background(&opened.runtime);
        let all = opened.runtime.sessions(None, &[], 10).await.unwrap();
        let porter = all.iter().find(|info| info.id.as_str() != "s").unwrap();
        assert_eq!(porter.head.summary.labels.get("started_by").map(String::as_str), Some("s"));
        let check = format!("check {}", porter.id);
        let shown = opened.session.chat(&head, check.clone()).await.unwrap().text().to_owned();
        assert!(shown.contains("paused") && shown.contains("waits_for"), "{shown}");
        let run =
            opened.runtime.session_of(porter.id.clone()).answer(Answers::only("approve")).await.unwrap();
        run.outcome::<agent_core::AgentState>().await.unwrap();
        assert_eq!(opened.effects(), effects([("order", 1)]));
        let shown = opened.session.chat(&head, check).await.unwrap().text().to_owned();
        assert!(shown.contains("completed") && shown.contains("ordered"), "{shown}");
    })
    .await;
}

#[tokio::test]
async fn what_was_selected_in_the_parent_before_a_restart_runs() {
    let sent = ["inside", "pick", "outside", "chosen", "read 하나\0", "read two"];
    for (name, steps) in [("outward", &sent[..4]), ("mail", &sent)] {
        each(name, &[], async |opened| {
            let state = opened.answer(Answers::only(10)).await;
            assert_eq!(state.steps, steps);
            assert_eq!(state.sum, 13);
            for (fork, answers) in [("before", &["inside", "outside"][..]), ("between", &["outside"])] {
                let session = opened.runtime.session(fork).unwrap();
                if session.status().await.unwrap().status != RunStatus::Paused {
                    let mut run = session.resume().await.unwrap();
                    assert_eq!(run.wait_status().await, RunStatus::Paused);
                }
                for wanted in answers {
                    let open = session.status().await.unwrap().questions;
                    let asked = open.iter().find(|open| open.question.prompt == *wanted).unwrap();
                    let mut run = session.answer(Answers::to(asked.id.clone(), 5)).await.unwrap();
                    run.wait_status().await;
                }
                let state = session.state::<Ledger>().await.unwrap();
                assert_eq!(state.steps, steps, "{fork}");
            }
        })
        .await;
    }
}
