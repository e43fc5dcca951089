//! Recorded steps and the questions inside and beside them: the same result in memory and after a restart.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, Context, END, Graph, NodeError, Question, Result, Runtime, START, Session, State,
    graph::NodeExt,
    ids::{Seq, SessionId},
    journal::{Append, InMemoryJournal, JournalStore, OwnerId, Record},
    model::{
        Message, Model, ToolCall,
        testing::{Scripted, Turn},
    },
    retry::RetryPolicy,
    testing::HookedStore,
    tool::{DynamicTool, ToolRegistry},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::{Dying, World, facts, journal, on, soon};

#[derive(State, Default, Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Notes {
    #[state(append)]
    said: Vec<Value>,
}

fn one(node: impl agent_core::graph::IntoNode<Notes, agent_core::graph::ByFn>) -> Graph<Notes> {
    Graph::<Notes>::builder("notes").node("only", node).edge(START, "only").edge("only", END).build().unwrap()
}

/// What a run with these answers says at its end, and its journal; with or without a restart before each answer.
async fn answered(
    graph: &Graph<Notes>,
    answers: &[Value],
    restart: bool,
    make: impl Fn(&Arc<InMemoryJournal>) -> Runtime,
) -> (Vec<Value>, Vec<Value>) {
    let inner = journal();
    let mut runtime = make(&inner);
    let mut outcome = runtime.session("s").unwrap().run(graph, Notes::update()).await.unwrap();
    for answer in answers {
        assert!(outcome.is_paused(), "{outcome:?}");
        if restart {
            runtime.shutdown(Duration::ZERO).await;
            runtime = make(&inner);
        }
        let session = runtime.session("s").unwrap();
        let run = session.answer(Answers::only(answer.clone())).await.unwrap();
        outcome = soon(run.outcome::<Notes>()).await.unwrap();
    }
    let said = outcome.state().expect("the run is complete").said.clone();
    (said, comparable(&runtime.session("s").unwrap()).await)
}

/// The journal without what only a restart adds, and without what is random.
async fn comparable(session: &Session) -> Vec<Value> {
    fn strip(json: &mut Value) {
        match json {
            Value::Object(members) => {
                members.remove("retry_in_ms");
                members.retain(|_, value| !value.as_str().is_some_and(|text| text.starts_with("msg_")));
                members.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut facts = facts(session).await;
    facts.retain(|fact| !["run_resumed", "run_paused"].contains(&fact["type"].as_str().unwrap()));
    facts.iter_mut().for_each(strip);
    facts
}

/// Requires the same end and the same journal in memory and after restarts.
async fn alike(
    graph: &Graph<Notes>,
    answers: &[Value],
    make: impl Fn(&Arc<InMemoryJournal>) -> Runtime,
) -> Vec<Value> {
    let (said, journal) = answered(graph, answers, false, &make).await;
    let (said_later, journal_later) = answered(graph, answers, true, &make).await;
    assert_eq!(said, said_later);
    assert_eq!(journal, journal_later);
    said
}

#[tokio::test]
async fn a_question_inside_a_step_is_part_of_it_in_memory_and_after_a_restart() {
    let world = Arc::new(World::default());
    let graph = one(async |_: &Notes, cx: &Context| {
        let world = cx.get::<Arc<World>>()?;
        let order = async {
            let n: u32 = cx.ask("How many?").await?;
            world.happens("ordered");
            Ok::<_, NodeError>(n)
        };
        let ordered: u32 = cx.step("order", order).await?;
        // The first question without a key outside the step, whether the step ran or was replayed.
        let sure: bool = cx.ask("Sure?").await?;
        let eager: String = cx.step("eager", cx.ask::<String>("Which colour?")).await?;
        Ok(Notes::update().said([json!(ordered), json!(sure), json!(eager)]))
    });
    let make = |inner: &Arc<InMemoryJournal>| on(inner).graph(&graph).provide(Arc::clone(&world)).build();
    let answers = [json!(3), json!(true), json!("red")];
    assert_eq!(alike(&graph, &answers, make).await, answers);
    assert_eq!(world.times("ordered"), 2, "once in each of two runs");
}

#[tokio::test]
async fn steps_inside_a_step_are_replayed_with_it() {
    let world = Arc::new(World::default());
    let graph = one(async |_: &Notes, cx: &Context| {
        let world = cx.get::<Arc<World>>()?;
        let outer = async {
            let paid: u32 = cx.step("inner", async { Ok::<_, NodeError>(world.happens("paid")) }).await?;
            let sure: bool = cx.ask(Question::new("Sure?").key("sure")).await?;
            Ok::<_, NodeError>(json!([paid > 0, sure]))
        };
        let both: Value = cx.step("outer", outer).await?;
        let last: Value = cx.ask("And then?").await?;
        Ok(Notes::update().said([both, last]))
    });
    let make = |inner: &Arc<InMemoryJournal>| on(inner).graph(&graph).provide(Arc::clone(&world)).build();
    assert_eq!(alike(&graph, &[json!(true), json!(1)], make).await, [json!([true, true]), json!(1)]);
    assert_eq!(world.times("paid"), 2, "once in each of two runs");
}

#[tokio::test]
async fn a_model_call_inside_a_step_does_not_shift_those_after_it() {
    let graph = one(async |_: &Notes, cx: &Context| {
        let ask = async |text: &str| -> Result<String> {
            Ok(cx.model()?.complete(vec![Message::user(text)]).await?.message.text().into_owned())
        };
        let first: String = cx.step("plan", ask("plan")).await?;
        let go: Value = cx.ask("Go?").await?;
        Ok(Notes::update().said([json!(first), go, json!(ask("act").await?)]))
    });
    let make = |inner: &Arc<InMemoryJournal>| {
        let model = Scripted::rule(|_, request| {
            let asked = request.messages.last().unwrap().text().into_owned();
            Turn::text(format!("to {asked}"))
        });
        on(inner).graph(&graph).model(Model::new(model)).build()
    };
    assert_eq!(alike(&graph, &[json!("go")], make).await, [json!("to plan"), json!("go"), json!("to act")]);
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_record_is_not_stored_yet_is_not_done_again() {
    let (inner, world) = (journal(), Arc::new(World::default()));
    let store = Dying::never(&inner);
    let held: Arc<Mutex<Option<tokio::sync::OwnedMutexGuard<()>>>> = Arc::default();
    let graph = Graph::<Notes>::builder("slow")
        .node(
            "pay",
            (async |_: &Notes, cx: &Context| {
                let held = cx.get::<Arc<Mutex<Option<tokio::sync::OwnedMutexGuard<()>>>>>()?;
                if cx.attempt() == 3 {
                    held.lock().take();
                }
                let pay = async {
                    let paid = cx.get::<Arc<World>>()?.happens("paid");
                    // From here on the store is slow.
                    let guard = cx.get::<Arc<HookedStore<Dying>>>()?.hold().await;
                    *held.lock() = Some(guard);
                    Ok::<_, NodeError>(paid)
                };
                let paid: u32 = cx.step("pay", pay).await?;
                Ok(Notes::update().said([json!([paid, cx.attempt()])]))
            })
            .timeout(Duration::from_secs(1))
            .retry(RetryPolicy::attempts(3)),
        )
        .edge(START, "pay")
        .edge("pay", END)
        .build()
        .unwrap();
    let runtime = Runtime::builder()
        .journal(store.clone())
        .provide(Arc::clone(&world))
        .provide(Arc::clone(&store))
        .provide(Arc::clone(&held))
        .build();
    let session = runtime.session("s").unwrap();
    let outcome = soon(session.run(&graph, Notes::update())).await.unwrap();
    assert_eq!(outcome.state().unwrap().said, [json!([1, 3])], "the third try has the result of the first");
    assert_eq!(world.times("paid"), 1);
    let kinds = tests::kinds(&session).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "step_recorded").count(), 1, "{kinds:?}");
}

#[tokio::test]
async fn a_key_that_looks_like_one_of_the_engine_is_the_authors_own() {
    let call =
        |id: &str| ToolCall { id: id.into(), name: "t".into(), arguments: "{}".into(), provider: None };
    let graph = one(async move |_: &Notes, cx: &Context| {
        let first: Value = cx.ask("First?").await?;
        let second: Value = cx.ask(Question::new("Second?").key("q1")).await?;
        let message = cx.tools()?.call(call("x")).await?;
        let reply = cx.model()?.complete(vec![Message::user("hi")]).await?;
        let own = async |key: &str| cx.step(key, async { Ok::<_, NodeError>(json!("own")) }).await;
        let (tool, model): (Value, Value) = (own("tool:x").await?, own("model-1").await?);
        let named = cx.model()?.complete_as("model-1", vec![Message::user("named")]).await;
        assert!(named.is_err(), "the step has this key");
        let third: Value = cx.ask(Question::new("Third?").key("approve:x")).await?;
        let texts = [json!(message.text()), json!(reply.message.text())];
        Ok(Notes::update().said([first, second, third, tool, model].into_iter().chain(texts)))
    });
    let make = |inner: &Arc<InMemoryJournal>| {
        let schema = json!({ "type": "object", "properties": {} });
        let tool = DynamicTool::new("t", "A tool.", schema, |_, _| async { Ok("done".into()) });
        let tools = ToolRegistry::builder().tool(tool).build().unwrap();
        let model = Model::new(Scripted::rule(|_, _| Turn::text("hello")));
        on(inner).graph(&graph).tools(tools).model(model).build()
    };
    let said = alike(&graph, &[json!(1), json!(2), json!(3)], make).await;
    assert_eq!(
        said,
        [json!(1), json!(2), json!(3), json!("own"), json!("own"), json!("done"), json!("hello")]
    );
}

/// The session's journal in the format of a version without fingerprints and without escaped keys.
async fn as_of_an_older_version(inner: &Arc<InMemoryJournal>) -> Arc<InMemoryJournal> {
    fn older(json: &mut Value) {
        match json {
            Value::Object(members) => {
                members.remove("fingerprint");
                members.remove("step");
                members.values_mut().for_each(older);
            }
            Value::Array(list) => list.iter_mut().for_each(older),
            Value::String(text) => *text = text.replace(":=q", ":q"),
            _ => {}
        }
    }
    let (session, owner): (SessionId, OwnerId) = ("s".parse().unwrap(), OwnerId::random());
    let mut records = inner.read(&session, Seq::ZERO, Seq(u64::MAX >> 1), 10_000).await.unwrap();
    for record in &mut records {
        let mut body: Value = serde_json::from_slice(&record.body).unwrap();
        older(&mut body);
        *record = Record::new(record.seq, serde_json::to_vec(&body).unwrap());
    }
    let summary = inner.head(&session).await.unwrap().unwrap().summary;
    let other = journal();
    let lease = other.acquire(&session, &owner, Duration::ZERO).await.unwrap();
    let append = Append::new(session, lease.epoch, Seq::ZERO, records).with_summary(Some(summary));
    other.append(append).await.unwrap();
    other
}

#[tokio::test]
async fn questions_of_an_older_versions_journal_are_found_whatever_their_key() {
    for key in [None, Some("q1"), Some("tone")] {
        let graph = one(async move |_: &Notes, cx: &Context| {
            let question = Question::new("Well?");
            let question = match key {
                Some(key) => question.key(key),
                None => question,
            };
            let (said, next): (Value, Value) = (cx.ask(question).await?, cx.ask("Next?").await?);
            Ok(Notes::update().said([said, next]))
        });
        let inner = journal();
        on(&inner).build().session("s").unwrap().run(&graph, Notes::update()).await.unwrap();
        // Open in the older version, answered in this one.
        let older = as_of_an_older_version(&inner).await;
        let session = on(&older).graph(&graph).build().session("s").unwrap();
        let outcome = session.answer(Answers::only(1)).await.unwrap().outcome::<Notes>().await.unwrap();
        assert_eq!(outcome.questions()[0].question.prompt, "Next?", "{key:?}");
        // Answered in the older version.
        let older = as_of_an_older_version(&older).await;
        let session = on(&older).graph(&graph).build().session("s").unwrap();
        let outcome = session.answer(Answers::only(2)).await.unwrap().outcome::<Notes>().await.unwrap();
        assert_eq!(outcome.state().unwrap().said, [json!(1), json!(2)], "{key:?}");
    }
}

fn deleting(what: &'static str) -> Graph<Notes> {
    one(async move |_: &Notes, cx: &Context| {
        let details = json!({ "database": what });
        let question =
            Question::choose(format!("Delete {what}?"), ["yes", "no"]).key("sure").details(details);
        let sure: String = cx.ask(question).await?;
        cx.get::<Arc<World>>()?.happens(format!("{sure} to {what}"));
        Ok(Notes::update().said([json!(what), json!(sure)]))
    })
}

#[tokio::test]
async fn an_answer_does_not_count_for_a_question_that_a_deploy_changed() {
    for older in [false, true] {
        let (mut inner, world) = (journal(), Arc::new(World::default()));
        let make = |inner: &Arc<InMemoryJournal>, what| {
            on(inner).graph(&deleting(what)).provide(Arc::clone(&world)).build().session("s").unwrap()
        };
        let paused = make(&inner, "test").run(&deleting("test"), Notes::update()).await.unwrap();
        assert_eq!(paused.questions()[0].fingerprint.len(), 16);
        if older {
            inner = as_of_an_older_version(&inner).await;
        }
        // The person is shown what was asked; the new program asks something else.
        let session = make(&inner, "production");
        assert_eq!(session.status().await.unwrap().questions[0].question.prompt, "Delete test?");
        let run = session.answer(Answers::only("yes")).await.unwrap();
        let error = soon(run.outcome::<Notes>()).await.unwrap_err();
        assert_eq!(error.code().name(), "question_changed", "{error}");
        let text = std::error::Error::source(&error).map_or_else(String::new, |e| format!("{e:?}"));
        let status = format!("{error:?} {text}");
        assert!(status.contains("Delete test?") && status.contains("Delete production?"), "{status}");
        assert_eq!(world.all().len(), 0);
        // A resume accepts the difference: the question is asked in its present form.
        let outcome = soon(session.resume().await.unwrap().outcome::<Notes>()).await.unwrap();
        assert_eq!(outcome.questions()[0].question.prompt, "Delete production?");
        let run = session.answer(Answers::only("no")).await.unwrap();
        let outcome = soon(run.outcome::<Notes>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().said, [json!("production"), json!("no")]);
        assert_eq!(world.times("no to production"), 1);
    }
}

#[tokio::test]
async fn two_questions_under_one_key_are_refused_and_not_answered_alike() {
    let graph = one(async |_: &Notes, cx: &Context| {
        let ask = async |text: &str| cx.ask::<Value>(Question::new(text).key("k")).await;
        let first = ask("One?").await?;
        assert_eq!(ask("One?").await?, first);
        let error = ask("Two?").await.unwrap_err();
        Ok(Notes::update().said([first, json!(error.to_string())]))
    });
    let said = alike(&graph, &[json!(1)], |inner| on(inner).graph(&graph).build()).await;
    let text = said[1].as_str().unwrap();
    assert!(text.contains("One?") && text.contains("Two?"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_try_after_a_failed_one_may_ask_something_else() {
    let graph = Graph::<Notes>::builder("again")
        .node(
            "ask",
            (async |_: &Notes, cx: &Context| {
                let said: Value = cx.ask(format!("Try {}?", cx.attempt())).await?;
                if cx.attempt() == 1 {
                    Err(NodeError::msg("not yet"))
                } else {
                    Ok(Notes::update().said([said]))
                }
            })
            .retry(RetryPolicy::attempts(2)),
        )
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap();
    let answers = [json!("first"), json!("second")];
    let said = alike(&graph, &answers, |inner| on(inner).graph(&graph).build()).await;
    assert_eq!(said, [json!("second")]);
}
