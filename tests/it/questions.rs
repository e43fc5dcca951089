//! Questions: which answers are accepted and when, and what happens to a question that is no longer waited for.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{
    Answers, Context, END, Graph, NodeError, Question, RunError, START, SessionError, State,
    event::EventBody,
    ids::{QuestionId, Seq},
    interrupt::{AnswerError, AskError},
    run::RunStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::{World, journal, kinds, on, soon};

#[derive(State, Default, Debug, PartialEq, Serialize, Deserialize)]
struct Talk {
    #[state(append)]
    said: Vec<Value>,
}

fn one(node: impl agent_core::graph::IntoNode<Talk, agent_core::graph::ByFn>) -> Graph<Talk> {
    Graph::<Talk>::builder("talk").node("ask", node).edge(START, "ask").edge("ask", END).build().unwrap()
}

fn two() -> Graph<Talk> {
    one(async |_: &Talk, cx: &Context| {
        let (a, b) = futures::join!(
            cx.ask::<Value>(Question::new("a?").key("a")),
            cx.ask::<Value>(Question::new("b?").key("b"))
        );
        Ok(Talk::update().said([a?, b?]))
    })
}

#[tokio::test]
async fn the_text_of_an_option_that_is_no_text_names_it_before_its_place_does() {
    let options = [json!(2), json!(1), json!(250), json!(true), json!(null)];
    for (answer, named) in [
        (json!("1"), Some(json!(1))),
        (json!(" 250\n"), Some(json!(250))),
        (json!("True"), Some(json!(true))),
        (json!("null"), Some(json!(null))),
        (json!("3"), Some(json!(250))),
        (json!(""), None),
    ] {
        let options = options.clone();
        let graph = one(async move |_: &Talk, cx: &Context| {
            Ok(Talk::update().said([cx.ask::<Value>(Question::choose("Which?", options.clone())).await?]))
        });
        let session = on(&journal()).build().session("s").unwrap();
        soon(session.run(&graph, Talk::update())).await.unwrap();
        let run = session.answer(Answers::only(answer.clone())).await;
        let Some(named) = named else {
            assert!(run.is_err(), "{answer}");
            continue;
        };
        let outcome = soon(run.unwrap().outcome::<Talk>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().said, [named], "{answer}");
    }
}

#[tokio::test]
async fn every_json_value_is_a_legal_answer_also_after_a_restart() {
    for value in [Value::Null, json!(false), json!(0), json!(""), json!({}), json!([])] {
        for restart in [false, true] {
            let inner = journal();
            let graph = one(async |_: &Talk, cx: &Context| {
                let said: Value = cx.ask("anything").await?;
                Ok(Talk::update().said([said]))
            });
            let mut runtime = on(&inner).build();
            assert!(runtime.session("s").unwrap().run(&graph, Talk::update()).await.unwrap().is_paused());
            if restart {
                runtime = on(&inner).graph(&graph).build();
            }
            let run = runtime.session("s").unwrap().answer(Answers::only(value.clone())).await.unwrap();
            let outcome = soon(run.outcome::<Talk>()).await.unwrap();
            assert_eq!(outcome.state().unwrap().said, std::slice::from_ref(&value));
        }
    }
}

#[tokio::test]
async fn two_questions_of_one_task_are_answered_apart_in_memory_and_at_rest() {
    for restart in [false, true] {
        let inner = journal();
        let mut runtime = on(&inner).graph(&two()).build();
        let outcome = runtime.session("s").unwrap().run(&two(), Talk::update()).await.unwrap();
        let ids: Vec<QuestionId> = outcome.questions().iter().map(|open| open.id.clone()).collect();
        assert_eq!(ids.len(), 2);
        let again = async |runtime: &mut agent_core::Runtime| {
            if restart {
                *runtime = on(&inner).graph(&two()).build();
            }
            runtime.session("s").unwrap()
        };
        let session = again(&mut runtime).await;
        let refused = session.answer(Answers::only(1)).await.unwrap_err();
        assert!(matches!(refused, SessionError::Answer(AnswerError::Ambiguous { .. })), "{refused}");
        let refused =
            session.answer(Answers::each([(ids[0].as_text(), 1), ("ask#9:x", 2)])).await.unwrap_err();
        assert!(matches!(refused, SessionError::Answer(AnswerError::Unknown { .. })), "{refused}");
        let session = again(&mut runtime).await;
        let run = session.answer(Answers::to(ids[0].clone(), 1)).by("보라").await.unwrap();
        let outcome = soon(run.outcome::<Talk>()).await.unwrap();
        assert_eq!(outcome.questions().iter().map(|open| &open.id).collect::<Vec<_>>(), [&ids[1]]);
        assert_eq!(runtime.session("s").unwrap().status().await.unwrap().status, RunStatus::Paused);
        let listed = runtime.sessions(None, &[RunStatus::Paused], 10).await.unwrap();
        assert_eq!(listed.len(), 1, "a run that still waits is listed as paused");
        let session = again(&mut runtime).await;
        let refused = session.answer(Answers::to(ids[0].clone(), 3)).await.unwrap_err();
        let expected = AnswerError::AlreadyAnswered { question: ids[0].clone(), by: "보라".to_owned() };
        assert!(matches!(&refused, SessionError::Answer(error) if *error == expected), "{refused}");
        let run = session.answer(Answers::only(2)).await.unwrap();
        let outcome = soon(run.outcome::<Talk>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().said, [json!(1), json!(2)]);
    }
}

trait AsText {
    fn as_text(&self) -> &str;
}

impl AsText for QuestionId {
    fn as_text(&self) -> &str {
        &self.0
    }
}

#[tokio::test]
async fn exactly_one_of_many_racing_answers_wins() {
    let graph = one(async |_: &Talk, cx: &Context| {
        let said: Value = cx.ask("who?").await?;
        Ok(Talk::update().said([said]))
    });
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    let id = session.run(&graph, Talk::update()).await.unwrap().questions()[0].id.clone();
    let racers = (0..20).map(|n| {
        let (session, id) = (session.clone(), id.clone());
        async move { session.answer(Answers::to(id, n)).by(&n.to_string()).await }
    });
    let results = futures::future::join_all(racers).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let refused = results.iter().filter(
        |r| matches!(r, Err(SessionError::Answer(AnswerError::AlreadyAnswered { by, .. })) if by == "0"),
    );
    assert_eq!(refused.count(), 19);
}

#[tokio::test]
async fn one_question_asked_twice_at_once_has_one_answer_for_both() {
    let graph = one(async |_: &Talk, cx: &Context| {
        let ask = || cx.ask::<Value>(Question::new("same").key("same"));
        let (a, b) = futures::join!(ask(), ask());
        Ok(Talk::update().said([a?, b?]))
    });
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    assert_eq!(session.run(&graph, Talk::update()).await.unwrap().questions().len(), 1);
    let run = session.answer(Answers::only(5)).await.unwrap();
    assert_eq!(soon(run.outcome::<Talk>()).await.unwrap().state().unwrap().said, [json!(5), json!(5)]);
}

#[tokio::test]
async fn a_bad_answer_leaves_the_question_open() {
    let graph = one(async |_: &Talk, cx: &Context| {
        let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
        let said: Value = cx.ask(Question::new("n?").schema(schema)).await?;
        Ok(Talk::update().said([said]))
    });
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    session.run(&graph, Talk::update()).await.unwrap();
    let before = session.status().await.unwrap().last;
    for bad in [json!({}), json!({"n": "x"}), Value::Null] {
        let refused = session.answer(Answers::only(bad)).await.unwrap_err();
        assert_eq!(refused.code().name(), "invalid_answer");
    }
    assert_eq!(session.status().await.unwrap().last, before);
    let run = session.answer(Answers::only(json!({"n": 1}))).await.unwrap();
    assert!(soon(run.outcome::<Talk>()).await.unwrap().is_completed());
    let refused = session.answer(Answers::only(1)).await.unwrap_err();
    assert!(matches!(refused, SessionError::Answer(AnswerError::NothingAsked)), "{refused}");
}

#[tokio::test]
async fn a_node_that_catches_every_error_cannot_swallow_a_question() {
    let graph = one(async |_: &Talk, cx: &Context| {
        let said = cx.ask::<Value>("really?").await.unwrap_or(json!("caught"));
        Ok(Talk::update().said([said]))
    });
    let session = on(&journal()).build().session("s").unwrap();
    assert!(session.run(&graph, Talk::update()).await.unwrap().is_paused());
}

/// Asks with a deadline or a timeout; what it gets is in the state; then asks for more.
fn impatient(deadline: bool) -> Graph<Talk> {
    one(async move |_: &Talk, cx: &Context| {
        let limit = Duration::from_secs(60);
        let first = if deadline {
            match cx.ask::<Value>(Question::new("quick?").deadline(limit)).await {
                Ok(value) => value,
                Err(error) => {
                    assert!(error.to_string().contains("deadline"), "{error}");
                    json!("late")
                }
            }
        } else {
            match tokio::time::timeout(limit, cx.ask::<Value>("quick?")).await {
                Ok(value) => value?,
                Err(_) => json!("late"),
            }
        };
        let world = cx.get::<Arc<World>>()?;
        let paid: u32 = cx.step("paid", async { Ok::<_, NodeError>(world.happens("paid")) }).await?;
        let second: Value = cx.ask("slow?").await?;
        Ok(Talk::update().said([first, json!(paid), second]))
    })
}

#[tokio::test(start_paused = true)]
async fn a_question_given_up_by_its_node_is_withdrawn_for_good_in_memory_and_after_a_restart() {
    for deadline in [true, false] {
        let mut journals = Vec::new();
        for restart in [false, true] {
            let (inner, world) = (journal(), Arc::new(World::default()));
            let make = || on(&inner).graph(&impatient(deadline)).provide(Arc::clone(&world)).build();
            let mut runtime = make();
            let session = runtime.session("s").unwrap();
            let mut events = session.subscribe(None);
            let outcome = session.run(&impatient(deadline), Talk::update()).await.unwrap();
            let first = outcome.questions()[0].id.clone();
            let mut pauses = 0;
            while pauses < 2 {
                if let EventBody::RunPaused(_) = events.next().await.unwrap().body {
                    pauses += 1;
                }
            }
            let status = session.status().await.unwrap();
            assert_eq!(status.questions.len(), 1);
            assert_ne!(status.questions[0].id, first);
            let refused = session.answer(Answers::to(first.clone(), 1)).await.unwrap_err();
            assert!(matches!(refused, SessionError::Answer(AnswerError::Unknown { .. })), "{refused}");
            if restart {
                runtime.shutdown(Duration::ZERO).await;
                runtime = make();
            }
            let session = runtime.session("s").unwrap();
            let outcome = soon(session.answer(Answers::only("ok")).await.unwrap().outcome::<Talk>()).await;
            // A node's own timeout starts again; a deadline is known to have passed.
            let outcome = outcome.unwrap();
            assert!(outcome.is_completed(), "restart {restart}, deadline {deadline}: {outcome:?}");
            assert_eq!(outcome.state().unwrap().said, [json!("late"), json!(1), json!("ok")]);
            assert_eq!(world.times("paid"), 1);
            let reported =
                kinds(&session).await.into_iter().filter(|k| k != "run_resumed" && k != "run_paused");
            journals.push(reported.collect::<Vec<_>>());
        }
        assert_eq!(journals[0], journals[1], "deadline {deadline}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_that_goes_on_by_itself_says_so_and_survives_a_crash_then() {
    let inner = journal();
    let gate = Arc::new(tokio::sync::Notify::new());
    let graph = one(async |_: &Talk, cx: &Context| {
        let asked = cx.ask::<Value>(Question::new("quick?").deadline(Duration::from_secs(60))).await;
        let expired = asked.unwrap_err();
        let expired = expired
            .source()
            .downcast_ref::<AskError>()
            .is_some_and(|e| matches!(e, AskError::Expired { .. }));
        cx.get::<Arc<tokio::sync::Notify>>()?.notified().await;
        Ok(Talk::update().said([json!(expired)]))
    });
    let store = tests::Dying::never(&inner);
    let runtime = agent_core::Runtime::builder().journal(store.clone()).provide(Arc::clone(&gate)).build();
    let session = runtime.session("s").unwrap();
    let mut events = session.subscribe(None);
    session.run(&graph, Talk::update()).await.unwrap();
    soon(async { while !matches!(events.next().await.unwrap().body, EventBody::RunResumed(_)) {} }).await;
    assert_eq!(session.status().await.unwrap().status, RunStatus::Running);
    store.kill();
    gate.notify_one();
    let next = on(&inner).graph(&graph).provide(Arc::clone(&gate)).build();
    gate.notify_one();
    assert_eq!(next.recover().await.unwrap().resumed.len(), 1);
    let session = next.session("s").unwrap();
    let mut events = session.subscribe(Some(Seq::ZERO));
    soon(async { while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {} }).await;
    assert_eq!(session.state::<Talk>().await.unwrap().said, [json!(true)]);
}

#[tokio::test]
async fn a_failed_sibling_does_not_take_a_question_away() {
    let inner = journal();
    let world = Arc::new(World::default());
    let graph = Graph::<Talk>::builder("siblings")
        .node("ask", async |_: &Talk, cx: &Context| {
            let said: Value = cx.ask("still there?").await?;
            Ok(Talk::update().said([said]))
        })
        .node("bad", async |_: &Talk, cx: &Context| {
            tokio::task::yield_now().await;
            if cx.get::<Arc<World>>()?.happens("bad") == 1 { Err(NodeError::msg("down")) } else { Ok(()) }
        })
        .edge(START, "ask")
        .edge(START, "bad")
        .edge("ask", END)
        .edge("bad", END)
        .build()
        .unwrap();
    let session = on(&inner).provide(Arc::clone(&world)).build().session("s").unwrap();
    session.run(&graph, Talk::update()).await.unwrap_err();
    let refused = session.answer(Answers::only(1)).await.unwrap_err();
    assert!(matches!(refused, SessionError::Answer(_)), "{refused}");
    let outcome = soon(session.resume().await.unwrap().outcome::<Talk>()).await.unwrap();
    assert_eq!(outcome.questions().len(), 1);
    let run = session.answer(Answers::only(7)).await.unwrap();
    assert_eq!(soon(run.outcome::<Talk>()).await.unwrap().state().unwrap().said, [json!(7)]);
}

#[tokio::test]
async fn a_stopped_run_takes_no_answer_until_it_is_resumed() {
    let session = on(&journal()).build().session("s").unwrap();
    let outcome = session.run(&two(), Talk::update()).await.unwrap();
    session.stop().await.unwrap();
    let id = outcome.questions()[0].id.clone();
    let refused = session.answer(Answers::to(id, 1)).await.unwrap_err();
    assert!(matches!(refused, SessionError::Answer(AnswerError::NotWaiting { .. })), "{refused}");
    let outcome = soon(session.resume().await.unwrap().outcome::<Talk>()).await.unwrap();
    assert_eq!(outcome.questions().len(), 2);
}

#[tokio::test]
async fn a_changed_graph_is_refused_only_when_something_pending_is_gone() {
    let graph = |node: &str, extra: bool| {
        let mut builder = Graph::<Talk>::builder("changing")
            .node(node, async |_: &Talk, cx: &Context| {
                let said: Value = cx.ask("?").await?;
                Ok(Talk::update().said([said]))
            })
            .edge(START, node);
        builder = if extra {
            let node = node.to_owned();
            builder
                .node("새로운", async |_: &Talk, _: &Context| Ok(()))
                .edge(node, "새로운")
                .edge("새로운", END)
        } else {
            let node = node.to_owned();
            builder.edge(node, END)
        };
        builder.build().unwrap()
    };
    let inner = journal();
    on(&inner).build().session("s").unwrap().run(&graph("ask", false), Talk::update()).await.unwrap();
    let renamed = on(&inner).graph(&graph("renamed", false)).build();
    let refused = renamed.session("s").unwrap().answer(Answers::only(1)).await.unwrap_err();
    let SessionError::Run(error) = &refused else { panic!("{refused}") };
    let RunError::GraphChanged { missing, .. } = &**error else { panic!("{error}") };
    assert!(missing[0].contains("`ask`"), "{missing:?}");
    let grown = on(&inner).graph(&graph("ask", true)).build();
    let run = grown.session("s").unwrap().answer(Answers::only(1)).await.unwrap();
    assert!(soon(run.outcome::<Talk>()).await.unwrap().is_completed());
}

#[tokio::test]
async fn a_deadline_is_kept_by_the_process_that_comes_after() {
    let graph = one(async |_: &Talk, cx: &Context| {
        let question = Question::new("Anybody?").deadline(Duration::from_millis(40));
        let said = cx.ask::<Value>(question).await.unwrap_or_else(|_| json!("nobody"));
        Ok(Talk::update().said([said]))
    });
    let store = journal();
    let make = || agent_core::Runtime::builder().journal(store.clone()).graph(&graph).build();
    let before = make();
    let session = before.session("s").unwrap();
    assert!(session.run(&graph, Talk::update()).await.unwrap().is_paused());
    before.shutdown(Duration::from_secs(1)).await;

    let after = make();
    let mut events = after.session("s").unwrap().subscribe(Some(Seq::ZERO));
    assert_eq!(after.recover().await.unwrap().paused.len(), 1);
    while !matches!(events.next().await.unwrap().body, EventBody::RunCompleted(_)) {}
    let state = after.session("s").unwrap().state::<Talk>().await.unwrap();
    assert_eq!(state.said, [json!("nobody")]);
}

#[tokio::test]
async fn a_slow_schema_check_of_an_answer_leaves_the_worker_to_others() {
    let schema = json!({"type": "array", "items": {"type": "string", "pattern": "^(a+)+\\1$"}});
    let graph = one(async move |_: &Talk, cx: &Context| {
        let said: Value = cx.ask(Question::new("many?").schema(schema.clone())).await?;
        Ok(Talk::update().said([said]))
    });
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    assert!(session.run(&graph, Talk::update()).await.unwrap().is_paused());

    let answer = async {
        let begun = Instant::now();
        let many: Vec<&str> = std::iter::repeat_n("aaaaaaaa", 300_000).chain(["!"]).collect();
        let error = session.answer(Answers::only(json!(many))).await.unwrap_err();
        assert!(matches!(error, SessionError::Answer(AnswerError::Invalid { .. })), "{error}");
        begun.elapsed()
    };
    let (longest, last) = (Cell::new(Duration::ZERO), Cell::new(Instant::now()));
    let turn = || {
        longest.set(longest.get().max(last.get().elapsed()));
        last.set(Instant::now());
    };
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turn();
        }
    };
    let took = tokio::select! {
        took = answer => took,
        () = others => unreachable!(),
    };
    turn();
    assert!(took > Duration::from_millis(100), "the check is too fast to be seen: {took:?}");
    assert!(longest.get() * 2 < took, "a pause of {:?} in {took:?}", longest.get());
}
