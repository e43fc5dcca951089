//! Golden files: sessions that an earlier version wrote read as they did then, and run to the same end.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use agent_core::{
    AgentState, Answers, RunOptions, RunStatus, Runtime, Session, SessionError,
    clock::ManualClock,
    event::EventBody,
    ids::{QuestionId, RunId, Seq},
    model::testing::{Scripted, Turn},
    sqlite::Sqlite,
    todo::TodoStatus,
};
use serde_json::{Value, json};
use tests::golden::{Ledger, Outside, SCENARIOS, WRITTEN_AT, count, reading, runtime};

/// Folders of the formats that must still be read, and how many of the scenarios each has.
const FORMATS: [(&str, usize); 2] = [("v1", 15), ("v2", SCENARIOS.len())];

fn folder(format: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format)
}

/// A copy of a golden file, opened by the present code.
pub(super) struct Opened {
    pub(super) runtime: Runtime,
    pub(super) session: Session,
    outside: Arc<Outside>,
    model: Scripted,
    _folder: tempfile::TempDir,
}

fn open_at(format: &str, name: &str, turns: Vec<Turn>, now: i64) -> Opened {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("copy.db");
    fs::copy(folder(format).join(format!("{name}.db")), &path).unwrap();
    let (outside, model) = (Arc::<Outside>::default(), Scripted::new(turns));
    let store = Arc::new(Sqlite::open(&path).unwrap());
    let clock = Arc::new(ManualClock::new(now));
    let runtime = runtime(store, &outside, model.clone()).clock(clock).build();
    let session = runtime.session("s").unwrap();
    Opened { runtime, session, outside, model, _folder: scratch }
}

/// Runs `check` on the file of each format.
pub(super) async fn each(name: &str, turns: &[Turn], mut check: impl AsyncFnMut(Opened)) {
    each_at(name, turns, WRITTEN_AT, &mut check).await;
}

/// As [`each`], opened at another time.
pub(super) async fn each_at(name: &str, turns: &[Turn], now: i64, mut check: impl AsyncFnMut(Opened)) {
    let formats = FORMATS.iter().filter(|(_, count)| SCENARIOS[..*count].contains(&name));
    for (format, _) in formats {
        let checking = check(open_at(format, name, turns.to_vec(), now));
        tokio::time::timeout(Duration::from_secs(60), checking).await.expect("it does not hang");
    }
}

impl Opened {
    /// Effects that happened since the file was opened. A recorded step does not happen again.
    pub(super) fn effects(&self) -> BTreeMap<String, u32> {
        self.outside.world.all()
    }

    pub(super) async fn answer(&self, answers: Answers) -> Ledger {
        ended(self.session.answer(answers).await.unwrap()).await
    }
}

pub(super) fn effects<const N: usize>(all: [(&str, u32); N]) -> BTreeMap<String, u32> {
    all.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

pub(super) async fn ended(run: agent_core::session::Run) -> Ledger {
    let outcome = run.outcome::<Ledger>().await.unwrap();
    assert!(outcome.is_completed(), "{outcome:?}");
    outcome.state().unwrap().clone()
}

pub(super) fn ledger<const N: usize>(steps: [&str; N], sum: i64, note: Option<&str>) -> Ledger {
    Ledger { steps: steps.map(str::to_owned).to_vec(), sum, note: note.map(str::to_owned) }
}

#[tokio::test]
async fn every_golden_file_reads_as_it_did_when_it_was_written() {
    for (format, count) in FORMATS {
        for name in &SCENARIOS[..count] {
            let opened = open_at(format, name, Vec::new(), WRITTEN_AT);
            let expected = fs::read_to_string(folder(format).join(format!("{name}.json"))).unwrap();
            let expected: Value = serde_json::from_str(&expected).unwrap();
            let read = reading(&opened.runtime).await;
            for (session, expected) in expected.as_object().unwrap() {
                for (part, expected) in expected.as_object().unwrap() {
                    assert_eq!(&read[session][part], expected, "{format}/{name}.db: {part} of `{session}`");
                }
            }
            assert_eq!(read, expected, "{format}/{name}.db");
        }
    }
}

#[tokio::test]
async fn an_idle_session_keeps_its_state_labels_and_requests() {
    for name in ["idle", "snapshot"] {
        each(name, &[], async |opened| {
            let session = &opened.session;
            let head = session.head().await.unwrap();
            assert_eq!(head.first > Seq(1), name == "snapshot", "retention removed what the snapshot holds");
            assert_eq!(head.snapshot_bytes > 0, name == "snapshot");
            let steps = ["first", "second", "first", "second"];
            assert_eq!(session.state::<Ledger>().await.unwrap(), ledger(steps, 3, Some("sum 3")));
            let status = session.status().await.unwrap();
            assert_eq!((status.run, status.status), (RunId(2), RunStatus::Completed));
            let labels: Vec<_> =
                status.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(labels, [("kind", "demo"), ("owner", "ann"), ("title", "첫 대화")]);
            for (options, code) in [
                (RunOptions::default().request_of("r-1", b"content"), "run 1"),
                (RunOptions::default().request("r-2"), "run 2"),
                (RunOptions::default().request_of("r-1", b"other"), "request_differs"),
                (RunOptions::default().label("owner", "bob"), "label_differs"),
            ] {
                let refused = session.run(&count(), Ledger::update()).options(options).await.unwrap_err();
                match &refused {
                    SessionError::SameRequest { run, .. } => assert_eq!(format!("run {}", run.0), code),
                    other => assert_eq!(other.code().name(), code),
                }
            }
            let outcome = session.run(&count(), Ledger::update().sum(4)).await.unwrap();
            assert_eq!(outcome.run(), RunId(3));
            let steps = ["first", "second", "first", "second", "first", "second"];
            assert_eq!(outcome.state(), Some(&ledger(steps, 7, Some("sum 7"))));
            assert_eq!(opened.effects(), effects([("count", 1)]));
        })
        .await;
    }
}

#[tokio::test]
async fn a_paused_session_refuses_a_bad_answer_and_completes_with_a_good_one() {
    each("paused", &[], async |opened| {
        let status = opened.session.status().await.unwrap();
        assert_eq!(status.status, RunStatus::Paused);
        let asked = &status.questions[0];
        assert_eq!((status.questions.len(), asked.asked_at), (1, WRITTEN_AT));
        assert_eq!(
            (&*asked.question.prompt, &asked.question.options),
            ("How many?", &vec![json!(1), json!(2)])
        );
        assert_eq!(asked.question.details, Some(json!({"unit": "병 🌸"})));
        let refused = opened.session.answer(Answers::only("many")).await.unwrap_err();
        assert_eq!(refused.code().name(), "invalid_answer");
        let unknown = Answers::to(QuestionId("ask#9:x".into()), 1);
        let refused = opened.session.answer(unknown).await.unwrap_err();
        assert_eq!(refused.code().name(), "question_not_found");
        let state = opened.answer(Answers::to(asked.id.clone(), 7)).await;
        assert_eq!(state, ledger(["before", "ask 7", "after"], 12, None));
        assert_eq!(opened.effects(), effects([("deliver", 1)]));
    })
    .await;
}

#[tokio::test]
async fn queued_runs_start_in_order_behind_the_paused_one() {
    each("queued", &[], async |opened| {
        let session = &opened.session;
        let mut events = session.subscribe(None);
        let state = opened.answer(Answers::only(3)).await;
        assert_eq!(state, ledger(["before", "ask 3", "after"], 8, None));
        let mut second = None;
        loop {
            let event = events.next().await.unwrap();
            match &event.body {
                EventBody::RunCompleted(_) if event.run == RunId(2) => second = Some(event.seq),
                EventBody::RunPaused(_) if event.run == RunId(3) => break,
                _ => {}
            }
        }
        let after_second = session.state_at::<Ledger>(second.flatten().unwrap()).await.unwrap();
        let steps = ["before", "ask 3", "after", "first", "second"];
        assert_eq!(after_second, ledger(steps, 9, Some("sum 9")));
        let again = RunOptions::default().request("r-2");
        let refused = session.run(&count(), Ledger::update()).options(again).await.unwrap_err();
        assert!(matches!(refused, SessionError::SameRequest { run: RunId(2), .. }), "{refused}");
        let state = opened.answer(Answers::only(1)).await;
        assert_eq!(state, ledger(["given", "before", "ask 1", "after"], 41, None));
        assert_eq!(opened.effects(), effects([("count", 1), ("deliver", 2), ("prepare", 1)]));
    })
    .await;
}

#[tokio::test]
async fn a_failed_run_resumes_behind_its_recorded_step() {
    each("failed", &[], async |opened| {
        let status = opened.session.status().await.unwrap();
        let failure = status.failure.unwrap();
        assert_eq!((&*failure.code, failure.node.as_deref()), ("node_failed", Some("charge")));
        assert!(failure.message.contains("the receipt printer is offline"), "{}", failure.message);
        assert_eq!(
            (status.todos[0].status, status.todos[0].before),
            (TodoStatus::Failed, Some(TodoStatus::InProgress))
        );
        assert_eq!(
            ended(opened.session.resume().await.unwrap()).await,
            ledger(["before", "charge"], 0, None)
        );
        assert_eq!(opened.effects(), effects([("receipt", 1)]));
        assert_eq!(opened.session.status().await.unwrap().todos[0].status, TodoStatus::Completed);
    })
    .await;
}

#[tokio::test]
async fn a_stopped_run_resumes_and_an_interrupted_one_is_recovered() {
    each("stopped", &[], async |opened| {
        assert_eq!(opened.session.status().await.unwrap().status, RunStatus::Stopped);
        assert_eq!(ended(opened.session.resume().await.unwrap()).await, ledger(["before", "hold"], 0, None));
        assert_eq!(opened.effects(), effects([("finish", 1)]));
    })
    .await;
    each("running", &[], async |opened| {
        assert_eq!(opened.session.status().await.unwrap().status, RunStatus::Running);
        let mut events = opened.session.subscribe(None);
        let recovered = opened.runtime.recover().await.unwrap();
        assert_eq!(recovered.resumed, [opened.session.id().clone()], "{recovered:?}");
        while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {}
        assert_eq!(opened.session.state::<Ledger>().await.unwrap(), ledger(["before", "hold"], 0, None));
        assert_eq!(opened.effects(), effects([("finish", 1)]));
    })
    .await;
}

#[tokio::test]
async fn a_tool_call_that_was_cut_short_is_not_made_again() {
    each("shipping", &[], async |opened| {
        let mut events = opened.session.subscribe(None);
        opened.runtime.recover().await.unwrap();
        while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {}
        let state = opened.session.state::<Ledger>().await.unwrap();
        assert_eq!(state.steps.len(), 1);
        assert!(state.steps[0].starts_with("Error: `ship` was cut short"), "{:?}", state.steps);
        assert_eq!(opened.effects(), effects([]));
    })
    .await;
}

#[tokio::test]
async fn forks_continue_from_their_place_and_leave_the_source_alone() {
    each("forked", &[], async |opened| {
        let early = opened.runtime.session("fork-early").unwrap();
        assert_eq!(early.status().await.unwrap().status, RunStatus::Stopped);
        let mut run = early.resume().await.unwrap();
        assert_eq!(run.wait_status().await, RunStatus::Paused);
        let state = ended(early.answer(Answers::only(9)).await.unwrap()).await;
        assert_eq!(state, ledger(["before", "ask 9", "after"], 14, None));
        assert_eq!(opened.effects(), effects([("deliver", 1), ("prepare", 1)]));
        let late = opened.runtime.session("fork-late").unwrap();
        let state = ended(late.answer(Answers::only(4)).await.unwrap()).await;
        assert_eq!(state, ledger(["before", "ask 4", "after"], 9, None));
        assert_eq!(opened.effects(), effects([("deliver", 2), ("prepare", 1)]));
        let source = opened.session.state::<Ledger>().await.unwrap();
        assert_eq!(source, ledger(["before", "ask 2", "after"], 7, None));
    })
    .await;
}

#[tokio::test]
async fn edited_and_rolled_back_sessions_continue_from_the_changed_state() {
    each("edited", &[], async |opened| {
        let state = ended(opened.session.resume().await.unwrap()).await;
        assert_eq!(state, ledger(["before", "after"], 35, Some("edited")));
        assert_eq!(opened.effects(), effects([]));
    })
    .await;
    each("undone", &[], async |opened| {
        assert_eq!(opened.session.status().await.unwrap().run, RunId(3));
        let state = opened.answer(Answers::only(5)).await;
        assert_eq!(state, ledger(["first", "second", "before", "ask 5", "after"], 8, Some("sum 1")));
        assert_eq!(opened.effects(), effects([("deliver", 1)]));
    })
    .await;
}

#[tokio::test]
async fn todos_steps_and_calls_of_a_paused_node_are_replayed() {
    each("work", &[], async |opened| {
        let (todos, used) = todos_and_usage(&opened.session).await;
        let expected = [
            "collect InProgress 50",
            "shop-a Completed 100 40 reviews",
            "shop-b InProgress 50 half of them",
            "shop-c Pending 0",
            "report Pending 0",
        ];
        assert_eq!(todos, expected);
        assert_eq!(used, json!({"model_calls": 1, "tool_calls": 2, "input_tokens": 100, "output_tokens": 10, "cost_micros": 300}));
        let state = opened.answer(Answers::only("표지")).await;
        assert_eq!(state, ledger(["good", "lookup 1+lookup 2", "표지"], 0, None));
        assert_eq!((opened.effects(), opened.model.calls()), (effects([("write", 1)]), 0));
        let expected = [
            "collect Completed 100",
            "shop-a Completed 100 40 reviews",
            "shop-b Completed 100 half of them",
            "shop-c Cancelled 0 not needed",
            "report Completed 100",
        ];
        assert_eq!(todos_and_usage(&opened.session).await, (expected.map(str::to_owned).to_vec(), used));
    })
    .await;
}

async fn todos_and_usage(session: &Session) -> (Vec<String>, Value) {
    let status = session.status().await.unwrap();
    let todo = |todo: &agent_core::todo::Todo| {
        format!("{} {:?} {} {}", todo.id, todo.status, todo.progress, todo.message).trim_end().to_owned()
    };
    (status.todos.iter().map(todo).collect(), serde_json::to_value(status.used).unwrap())
}

#[tokio::test]
async fn a_question_past_its_deadline_expires_after_recovery() {
    each_at("work", &[], WRITTEN_AT + 3_600_001, async |opened| {
        let mut events = opened.session.subscribe(None);
        opened.runtime.recover().await.unwrap();
        let wait =
            async { while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {} };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it does not hang");
        let state = opened.session.state::<Ledger>().await.unwrap();
        assert_eq!(state, ledger(["good", "lookup 1+lookup 2", "untitled"], 0, None));
        assert_eq!(opened.effects(), effects([("write", 1)]));
    })
    .await;
}

/// Messages as `role: text [calls]`.
pub(super) fn messages(state: &AgentState) -> Vec<String> {
    let calls = |message: &agent_core::model::Message| {
        message
            .tool_calls
            .iter()
            .map(|call| format!(" [{} {}]", call.name, call.arguments))
            .collect::<String>()
    };
    let all = state.messages.iter();
    all.map(|message| format!("{:?}: {}{}", message.role, message.text(), calls(message))).collect()
}

#[tokio::test]
async fn an_agent_continues_after_an_approval_and_after_a_granted_budget() {
    let usage = agent_core::model::Usage { input_tokens: 1, output_tokens: 2, ..Default::default() };
    let turns = [Turn::text("done").usage(usage)];
    each("agent", &turns, async |opened| {
        let run = opened.session.answer(Answers::only("approve")).await.unwrap();
        let outcome = run.outcome::<AgentState>().await.unwrap();
        let expected = [
            "User: 주문해 줘",
            "Assistant: good [lookup {\"n\":4}]",
            "Tool: lookup 4",
            "Assistant:  [order {\"n\":5}]",
            "Tool: order 5",
            "Assistant: done",
        ];
        assert_eq!(messages(outcome.state().unwrap()), expected);
        assert_eq!((opened.effects(), opened.model.calls()), (effects([("order", 1)]), 1));
        let used = opened.session.status().await.unwrap().used;
        assert_eq!(
            (used.model_calls, used.tool_calls, used.input_tokens, used.output_tokens),
            (3, 2, 201, 22)
        );
        assert_eq!(used.cost_micros, 622);
    })
    .await;
    each("budget", &turns, async |opened| {
        let open = opened.session.status().await.unwrap().questions;
        assert_eq!(&*open[0].id.0, "(budget.model_calls.1)#0:more");
        let run = opened.session.answer(Answers::only(1)).await.unwrap();
        let outcome = run.outcome::<AgentState>().await.unwrap();
        let expected =
            ["User: go", "Assistant: good [lookup {\"n\":4}]", "Tool: lookup 4", "Assistant: done"];
        assert_eq!(messages(outcome.state().unwrap()), expected);
        assert_eq!((opened.effects(), opened.model.calls()), (effects([]), 1));
        assert_eq!(opened.session.status().await.unwrap().used.model_calls, 2);
    })
    .await;
}

#[tokio::test]
async fn sends_and_a_subgraph_in_flight_finish_with_one_result_each() {
    each("inside", &[], async |opened| {
        let questions = opened.session.status().await.unwrap().questions;
        let keys: Vec<_> = questions.iter().map(|open| open.question.key.as_deref()).collect();
        assert_eq!(keys, [Some("name")]);
        let state = opened.answer(Answers::only("Kim")).await;
        // Targets of a `goto` are activated before sends.
        let steps = ["split", "open", "signed by Kim", "part 1", "part 2", "part 3", "close"];
        assert_eq!(state, ledger(steps, 100 + 10 + 23 + 30 + 214, None));
        assert_eq!(opened.effects(), effects([]));
    })
    .await;
}
