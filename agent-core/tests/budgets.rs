//! Budgets of a run: cost by the user's prices, one question for more, exact over restarts.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Agent, AgentState, Answers, Context, END, Graph, Question, RunOptions, RunStatus, Runtime, START, State,
    event::EventBody,
    ids::Seq,
    interrupt::OpenQuestion,
    journal::{InMemoryJournal, JournalStore},
    model::{
        Model, Price, PriceTable, Usage,
        testing::{Scripted, Turn},
    },
    run::{Limits, OverrunPolicy},
    tool::{DynamicTool, ToolRegistry},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Store = Arc<dyn JournalStore>;

fn store() -> Store {
    Arc::new(InMemoryJournal::new())
}

fn runtime(store: &Store, model: &Scripted) -> Runtime {
    let prices =
        PriceTable::new().with("scripted", Price { input: 2_000_000, output: 10_000_000, cached: None });
    Runtime::builder()
        .journal(Arc::clone(store))
        .model(Model::new(model.clone()))
        .prices(prices)
        .options(|options| options.lease_ttl = Duration::ZERO)
        .build()
}

fn counting(count: &Arc<AtomicU32>) -> ToolRegistry {
    let count = Arc::clone(count);
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let tool = DynamicTool::new("t", "A tool.", schema, move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok("done".into()) }
    });
    ToolRegistry::builder().tool(tool).build().unwrap()
}

fn agent(count: &Arc<AtomicU32>) -> Graph<AgentState> {
    Agent::builder("a").tools(counting(count)).build().unwrap()
}

fn asking(limits: Limits) -> RunOptions {
    RunOptions::default().limits(limits.on_overrun(OverrunPolicy::Ask))
}

fn many(calls: u64) -> Turn {
    (0..calls).fold(Turn::default(), |turn, n| turn.and_call("t", json!({ "n": n })))
}

fn budget(open: &OpenQuestion) -> &Value {
    open.question.details.as_ref().unwrap()
}

#[tokio::test]
async fn what_a_call_costs_is_in_the_usage_and_in_its_event() {
    let usage = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
    let model = Scripted::new([Turn::text("hello").usage(usage)]);
    let session = runtime(&store(), &model).session("s").unwrap();
    session.run(&agent(&Arc::default()), "go").await.unwrap();
    assert_eq!(session.status().await.unwrap().used.cost_micros, 100 * 2 + 10 * 10);
    let events = session.events(Seq::ZERO, 100).await.unwrap();
    let costs: Vec<u64> = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::StepRecorded(step) => step.usage.map(|usage| usage.cost_micros),
            _ => None,
        })
        .collect();
    assert_eq!(costs, [300]);
}

#[tokio::test]
async fn a_limit_of_cost_stops_the_run_and_wants_a_price_for_each_model() {
    let usage = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
    let model = Scripted::rule(move |_, _| Turn::call("t", json!({})).usage(usage));
    let options = RunOptions::default().limits(Limits::default().cost_micros(500));
    let session = runtime(&store(), &model).session("s").unwrap();
    let error = session.run(&agent(&Arc::default()), "go").options(options.clone()).await.unwrap_err();
    assert_eq!(error.code().name(), "budget_exceeded", "{error}");
    assert_eq!(model.calls(), 2, "the second is still within the limit, the third is not");

    let without = Runtime::builder().model(Model::new(model.clone())).build();
    let error =
        without.session("s").unwrap().run(&agent(&Arc::default()), "go").options(options).await.unwrap_err();
    let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(format!("{error}: {text}").contains("`scripted` has no price"), "{error}: {text}");
    assert_eq!(model.calls(), 2);
}

#[tokio::test]
async fn a_call_that_would_read_more_than_is_left_is_not_made() {
    let model = Scripted::new([Turn::text("hello")]);
    let options = RunOptions::default().limits(Limits::default().tokens(50));
    let session = runtime(&store(), &model).session("s").unwrap();
    let long = "word ".repeat(200);
    let error = session.run(&agent(&Arc::default()), long.as_str()).options(options).await.unwrap_err();
    assert_eq!((error.code().name(), model.calls()), ("budget_exceeded", 0));
}

#[tokio::test]
async fn a_person_allows_more_and_the_run_goes_on_with_exactly_that() {
    let count = Arc::default();
    let model = Scripted::new([many(1), many(1), many(1), Turn::text("done")]);
    let session = runtime(&store(), &model).session("s").unwrap();
    let agent = agent(&count);
    let outcome = session.run(&agent, "go").options(asking(Limits::default().tool_calls(1))).await.unwrap();
    let questions = outcome.questions();
    assert_eq!(questions.len(), 1);
    assert_eq!(*budget(&questions[0]), json!({ "budget": "tool_calls", "limit": 1, "needed": 2 }));
    for wrong in [json!(0), json!(-1), json!("more"), json!({ "more": 1.5 }), json!(null)] {
        session.answer(Answers::only(wrong)).await.unwrap_err();
    }
    let run = session.answer(Answers::only(1)).await.unwrap();
    let outcome = run.outcome::<AgentState>().await.unwrap();
    assert_eq!(budget(&outcome.questions()[0])["limit"], 2, "one more is used up by the next call");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let run = session.answer(Answers::only(json!({ "more": 5 }))).await.unwrap();
    let state = run.outcome::<AgentState>().await.unwrap().completed().unwrap().state;
    assert_eq!((state.answer().as_str(), count.load(Ordering::SeqCst)), ("done", 3));
}

#[tokio::test]
async fn a_no_fails_the_run_and_a_resume_asks_again() {
    let count = Arc::default();
    let model = Scripted::new([many(2), Turn::text("done")]);
    let session = runtime(&store(), &model).session("s").unwrap();
    let agent = agent(&count);
    session.run(&agent, "go").options(asking(Limits::default().tool_calls(1))).await.unwrap();
    let run = session.answer(Answers::only("stop")).await.unwrap();
    assert_eq!(run.outcome::<AgentState>().await.unwrap_err().code().name(), "budget_exceeded");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let outcome = session.resume().await.unwrap().outcome::<AgentState>().await.unwrap();
    assert_eq!(outcome.questions().len(), 1);
    let run = session.answer(Answers::only(1)).await.unwrap();
    assert_eq!(run.outcome::<AgentState>().await.unwrap().completed().unwrap().state.answer(), "done");
    assert_eq!((count.load(Ordering::SeqCst), model.calls()), (2, 2));
}

#[tokio::test]
async fn parallel_calls_and_sub_agents_ask_one_question_together() {
    let count = Arc::default();
    let helper = |name: &str| Agent::builder(name).description("Helps.").tools(counting(&count));
    let model = Scripted::rule(|_, request| {
        let said = request.messages.iter().filter(|message| !message.text().is_empty()).count();
        let first = request.messages[0].text();
        match (&*first, said) {
            ("go", 1) => Turn::call("x", json!({ "task": "help", "todo": null }))
                .and_call("y", json!({ "task": "help", "todo": null })),
            ("help", 1) => many(4),
            _ => Turn::text("done"),
        }
    });
    let agent = Agent::builder("a").sub_agent(helper("x")).sub_agent(helper("y")).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").options(asking(Limits::default().tool_calls(3))).await.unwrap();
    assert_eq!(outcome.questions().len(), 1, "{:?}", outcome.questions());
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let run = session.answer(Answers::only(2)).await.unwrap();
    let outcome = run.outcome::<AgentState>().await.unwrap();
    assert_eq!((outcome.questions().len(), count.load(Ordering::SeqCst)), (1, 5));
    let run = session.answer(Answers::only(100)).await.unwrap();
    run.outcome::<AgentState>().await.unwrap().completed().unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 8);
    let kinds = session.events(Seq::ZERO, 1_000).await.unwrap();
    let asked = kinds.iter().filter(|event| matches!(event.body, EventBody::QuestionAsked(_))).count();
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn what_was_asked_and_granted_outlives_the_process() {
    let (store, count) = (store(), Arc::default());
    let model = Scripted::new([many(1), many(1), many(1), Turn::text("done")]);
    let agent = agent(&count);
    let fresh = |model: &Scripted| {
        let runtime = runtime(&store, model);
        runtime.register(&agent);
        runtime.session("s").unwrap()
    };
    let outcome =
        fresh(&model).run(&agent, "go").options(asking(Limits::default().tool_calls(1))).await.unwrap();
    let first = outcome.questions()[0].id.clone();
    // Each of these is a separate process.
    let run = fresh(&model).answer(Answers::to(first.clone(), 1)).await.unwrap();
    let outcome = run.outcome::<AgentState>().await.unwrap();
    let second = outcome.questions()[0].id.clone();
    assert_ne!(first, second);
    let session = fresh(&model);
    assert_eq!(session.status().await.unwrap().questions[0].id, second);
    let run = session.answer(Answers::to(second, 1)).await.unwrap();
    assert_eq!(run.outcome::<AgentState>().await.unwrap().completed().unwrap().state.answer(), "done");
    assert_eq!((count.load(Ordering::SeqCst), model.calls()), (3, 4));
}

#[derive(State, Default, Serialize, Deserialize)]
struct Notes {
    #[state(append)]
    notes: Vec<String>,
}

#[tokio::test]
async fn a_task_that_asks_for_itself_too_goes_on_when_both_are_answered() {
    let (store, count) = (store(), Arc::<AtomicU32>::default());
    let counting = Arc::clone(&count);
    let graph = Graph::<Notes>::builder("g")
        .node("both", async move |_: &Notes, cx: &Context| {
            let model = cx.model()?;
            model.complete("one").await?;
            counting.fetch_add(1, Ordering::SeqCst);
            let asked = async { cx.ask::<String>(Question::new("Which?").key("which")).await };
            let (name, reply) = futures::future::try_join(asked, model.complete("two")).await?;
            Ok(Notes::update().notes([format!("{name}: {}", reply.message.text())]))
        })
        .edge(START, "both")
        .edge("both", END)
        .build()
        .unwrap();
    for own_first in [true, false] {
        for restart in [false, true] {
            let model = Scripted::new([Turn::text("1"), Turn::text("2")]);
            let name = format!("s{own_first}{restart}");
            let mut session = runtime(&store, &model).session(&name).unwrap();
            let outcome = session
                .run(&graph, Notes::update())
                .options(asking(Limits::default().model_calls(1)))
                .await
                .unwrap();
            let mut ids: Vec<_> = outcome.questions().iter().map(|open| open.id.clone()).collect();
            assert_eq!(ids.len(), 2);
            // The question for more is `(budget..`, which comes before the node's name.
            let mut answers = vec![json!(3), json!("이것")];
            if own_first {
                ids.reverse();
                answers.reverse();
            }
            for (at, (id, answer)) in ids.into_iter().zip(answers).enumerate() {
                if restart {
                    let runtime = runtime(&store, &model);
                    runtime.register(&graph);
                    session = runtime.session(&name).unwrap();
                }
                let run = session.answer(Answers::to(id, answer)).await.unwrap();
                let outcome = run.outcome::<Notes>().await.unwrap();
                match at {
                    0 => assert_eq!(outcome.questions().len(), 1, "{own_first} {restart}"),
                    _ => assert_eq!(outcome.completed().unwrap().state.notes, ["이것: 2"]),
                }
            }
            assert_eq!(model.calls(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn more_time_can_be_asked_for_between_two_supersteps() {
    let slow = async |_: &Notes, _: &Context| {
        tokio::time::sleep(Duration::from_millis(80)).await;
        Ok(Notes::update().notes(["slept".to_owned()]))
    };
    let graph = Graph::<Notes>::builder("g")
        .node("a", slow)
        .node("b", slow)
        .node("c", slow)
        .edge(START, "a")
        .edge("a", "b")
        .edge("b", "c")
        .edge("c", END)
        .build()
        .unwrap();
    let session = Runtime::builder().journal(store()).build().session("s").unwrap();
    let limits = Limits::default().active(Duration::from_millis(50));
    let outcome = session.run(&graph, Notes::update()).options(asking(limits)).await.unwrap();
    assert_eq!(budget(&outcome.questions()[0])["budget"], "active_ms");
    // Waiting for a person does not count as run time.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let outcome = session.answer(Answers::only(50)).await.unwrap().outcome::<Notes>().await.unwrap();
    assert_eq!(budget(&outcome.questions()[0])["limit"], 100);
    let outcome = session.answer(Answers::only(1_000)).await.unwrap().outcome::<Notes>().await.unwrap();
    assert_eq!(outcome.completed().unwrap().state.notes.len(), 3);
}

#[tokio::test]
async fn a_stop_while_more_is_asked_for_leaves_the_run_resumable() {
    let count = Arc::default();
    let model = Scripted::new([many(2), Turn::text("done")]);
    let session = runtime(&store(), &model).session("s").unwrap();
    let agent = agent(&count);
    session.run(&agent, "go").options(asking(Limits::default().tool_calls(1))).await.unwrap();
    assert_eq!(session.stop().await.unwrap(), RunStatus::Stopped);
    let outcome = session.resume().await.unwrap().outcome::<AgentState>().await.unwrap();
    assert_eq!(outcome.questions().len(), 1);
    let run = session.answer(Answers::only(1)).await.unwrap();
    assert_eq!(run.outcome::<AgentState>().await.unwrap().completed().unwrap().state.answer(), "done");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}
