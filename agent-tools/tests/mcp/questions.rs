//! A question from an MCP server becomes a question of the run that made the call.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use agent_core::{
    Agent, AgentState, Answers, Graph, Runtime, Session,
    interrupt::Question,
    journal::{InMemoryJournal, JournalStore},
    model::{
        Model, Role,
        testing::{Scripted, Turn},
    },
    tool::{Approval, ToolPolicy, ToolRegistry},
};
use agent_tools::mcp::{ClientBuilder, Questions, Server};
use serde_json::{Value, json};

use super::support::{Line, call, registry, tool};

/// A server with a tool that asks how many, and counts how often it started.
fn asking(begun: &Arc<AtomicU32>) -> Server {
    let begun = Arc::clone(begun);
    let order = tool("order", ToolPolicy::default(), move |args, cx| {
        begun.fetch_add(1, Ordering::SeqCst);
        async move {
            let schema = json!({ "type": "object", "properties": { "many": { "type": "integer", "minimum": 1 } },
                "required": ["many"] });
            let answer = cx.ask(Question::new(format!("{}번, 몇 개?", args["n"])).schema(schema)).await?;
            Ok(format!("{} of {}", answer["many"], args["n"]).into())
        }
    });
    Server::new("shop", "1", registry([order]))
}

async fn tools(client: ClientBuilder) -> ToolRegistry {
    client.questions(Questions::Asked).connect().await.unwrap().registry().await.unwrap()
}

fn agent(tools: ToolRegistry) -> Graph<AgentState> {
    Agent::builder("a").tools(tools).build().unwrap()
}

fn results(state: &AgentState) -> Vec<String> {
    let tools = state.messages.iter().filter(|message| message.role == Role::Tool);
    tools.map(|message| message.text().into_owned()).collect()
}

async fn answered(session: &Session, answer: impl Into<Value>) -> AgentState {
    let run = session.answer(Answers::only(answer)).await.unwrap();
    run.outcome::<AgentState>().await.unwrap().state().unwrap().clone()
}

fn script() -> Scripted {
    Scripted::new([Turn::call("s_order", json!({ "n": 7 })), Turn::text("done")])
}

#[tokio::test]
async fn a_servers_question_pauses_the_run_and_its_answer_fits_the_servers_form() {
    let (line, begun) = (Line::default(), Arc::default());
    let agent = agent(tools(line.client(asking(&begun))).await);
    let session = Runtime::builder().model(Model::new(script())).build().session("s").unwrap();
    let outcome = session.run(&agent, "주문해 줘").await.unwrap();
    let [open] = outcome.questions() else { panic!("{:?}", outcome.questions()) };
    assert_eq!(open.question.prompt, "`s` asks: 7번, 몇 개?");
    let details = open.question.details.as_ref().unwrap();
    assert_eq!((&details["tool"], &details["server"]), (&json!("s_order"), &json!("s")));
    assert!(session.answer(Answers::only(json!({ "many": 0 }))).await.is_err());
    let state = answered(&session, json!({ "many": 3 })).await;
    assert_eq!(results(&state), ["3 of 7"]);
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_person_can_decline() {
    let (line, begun) = (Line::default(), Arc::default());
    let agent = agent(tools(line.client(asking(&begun))).await);
    let session = Runtime::builder().model(Model::new(script())).build().session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let state = answered(&session, "decline").await;
    assert_eq!(results(&state), ["Error: the person did not answer"]);
}

#[tokio::test]
async fn two_calls_that_ask_are_both_answered_and_never_mixed_up() {
    let (line, begun) = (Line::default(), Arc::default());
    let agent = agent(tools(line.client(asking(&begun))).await);
    let model = Scripted::new([
        Turn::call("s_order", json!({ "n": 1 })).and_call("s_order", json!({ "n": 2 })),
        Turn::text("done"),
    ]);
    let session = Runtime::builder().model(Model::new(model)).build().session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let answers = outcome.questions().iter().map(|open| {
        let many = if open.question.prompt.contains("1번") { 10 } else { 20 };
        (open.id.clone(), json!({ "many": many }))
    });
    let run = session.answer(Answers::each(answers)).await.unwrap();
    let outcome = run.outcome::<AgentState>().await.unwrap();
    assert_eq!(results(outcome.state().unwrap()), ["10 of 1", "20 of 2"]);
}

#[tokio::test]
async fn after_a_restart_the_call_is_made_again_and_finds_its_answer() {
    let (line, begun) = (Line::default(), Arc::default());
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let agent = agent(tools(line.client(asking(&begun))).await);
    let model = Model::new(script());
    let runtime = || {
        let made = Runtime::builder().journal(Arc::clone(&store)).model(model.clone()).graph(&agent);
        made.options(|options| options.lease_ttl = std::time::Duration::ZERO).build()
    };
    runtime().session("s").unwrap().run(&agent, "go").await.unwrap();
    let state = answered(&runtime().session("s").unwrap(), json!({ "many": 3 })).await;
    assert_eq!(results(&state), ["3 of 7"]);
    assert_eq!(begun.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_question_is_declined_where_it_is_refused_or_nobody_is_there() {
    let (line, begun) = (Line::default(), Arc::default());
    let refused = line.client(asking(&begun)).connect().await.unwrap().registry().await.unwrap();
    let error = call(&refused, "s_order", json!({})).await.unwrap_err();
    assert!(error.for_model().contains("does not support elicitation"), "{error}");
    let alone = tools(line.client(asking(&begun))).await;
    let error = call(&alone, "s_order", json!({})).await.unwrap_err();
    assert_eq!(error.for_model(), "the person did not answer");
}

#[tokio::test]
async fn a_call_that_needs_an_approval_is_asked_for_at_the_client() {
    let pay = tool("pay", ToolPolicy::default().approval(Approval::Always), async |_, _| Ok("paid".into()));
    let (line, server) = (Line::default(), Server::new("shop", "1", registry([pay])));
    let tools = tools(line.client(server)).await;
    for (answer, expected) in [("approve", "paid"), ("reject", "not approved")] {
        let script = Scripted::new([Turn::call("s_pay", json!({ "n": 7 })), Turn::text("done")]);
        let runtime = Runtime::builder().model(Model::new(script)).build();
        let session = runtime.session(answer).unwrap();
        let asked = session.run(&agent(tools.clone()), "pay").await.unwrap();
        assert!(asked.questions()[0].question.prompt.contains(r#"May `pay` run with {"n":7}?"#), "{asked:?}");
        let state = answered(&session, json!({ "answer": answer })).await;
        assert!(results(&state)[0].contains(expected), "{:?}", results(&state));
    }
}
