//! The context of a run: read by nodes, tools and sub-agents, stored where possible; errors name a missing value.

use agent_core::{
    Agent, AgentState, Answers, BusyPolicy, Context, END, Graph, Result, RunOptions, START, SessionError,
    ids::Seq,
    model::{
        Model, Role,
        testing::{Scripted, Turn},
    },
    tool::{DynamicTool, ToolContext, ToolPolicy, ToolRegistry},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tests::{journal, on, soon};

use super::graph::Trail;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    spent: u128,
}

fn ana() -> RunOptions {
    RunOptions::default().context(User { name: "Ana".to_owned(), spent: 1 })
}

fn greeter() -> Graph<AgentState> {
    let schema = json!({ "type": "object", "properties": {} });
    let who = DynamicTool::new("who", "Names the user.", schema, |_, cx: ToolContext| async move {
        Ok(cx.context::<User>()?.name.clone().into())
    });
    let tools = ToolRegistry::builder().tool(who.with_policy(ToolPolicy::read_only())).build().unwrap();
    let helper = Agent::builder("helper").tools(tools);
    Agent::builder("lead").sub_agent(helper).build().unwrap()
}

fn model() -> Model {
    Model::new(Scripted::rule(|_, request| {
        let last = request.messages.last().unwrap();
        match (last.role, request.tools[0].name.as_str()) {
            (Role::User, "helper") => Turn::call("helper", json!({ "task": "who?", "todo": null })),
            (Role::User, _) => Turn::call("who", json!({})),
            _ => Turn::text(last.text()),
        }
    }))
}

#[tokio::test]
async fn a_tool_of_a_sub_agent_reads_the_context_wherever_the_process_dies() {
    let inner = journal();
    let session = on(&inner).model(model()).build().session("s").unwrap();
    let outcome = session.run(&greeter(), "hello").options(ana()).await.unwrap();
    assert_eq!(outcome.state().unwrap().answer(), "Ana");
    let last = session.events(Seq::ZERO, 1_000).await.unwrap().last().unwrap().seq.unwrap();
    let later = on(&inner).model(model()).graph(&greeter()).build();
    for seq in (1..last.0).map(Seq) {
        let source = later.session("s").unwrap();
        let fork = source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
        let outcome = soon(fork.resume().await.unwrap().outcome::<AgentState>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().answer(), "Ana", "{seq}");
    }
}

fn asks() -> Graph<Trail> {
    Graph::<Trail>::builder("asks")
        .node("ask", async |_: &Trail, cx: &Context| Ok(Trail::update().sum(cx.ask::<i64>("n?").await?)))
        .node("greet", async |_: &Trail, cx: &Context| -> Result<_> {
            Ok(Trail::update().steps([cx.context::<User>()?.name.clone()]))
        })
        .node("first", async |_: &Trail, _: &Context| Ok(()))
        .path([START, "first", "ask", "greet", END])
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_queued_run_and_a_snapshot_keep_the_context() {
    let inner = journal();
    let graph = asks();
    let process = || on(&inner).options(|options| options.snapshot_bytes = 1).graph(&graph).build();
    let first = process().session("s").unwrap();
    assert!(first.run(&graph, Trail::update()).options(ana()).await.unwrap().is_paused());
    let ben = RunOptions::default().context(User { name: "Ben".to_owned(), spent: 2 });
    let ben = ben.on_busy(BusyPolicy::Enqueue);
    first.run(&graph, Trail::update()).options(ben).start().await.unwrap();
    for name in [&["Ana"][..], &["Ana", "Ben"]] {
        let session = process().session("s").unwrap();
        let run = session.answer(Answers::only(1)).await.unwrap();
        let outcome = soon(run.outcome::<Trail>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().steps, name);
        if name.len() == 1 {
            let mut events = session.subscribe(Some(Seq::ZERO));
            let mut paused = 0;
            while paused < 2 {
                let event = soon(events.next()).await.unwrap();
                paused += usize::from(matches!(event.body, agent_core::event::EventBody::RunPaused(_)));
            }
        }
    }
}

struct Printer(i64);

#[tokio::test]
async fn a_context_that_cannot_be_stored_is_missed_by_name_until_a_resume_brings_it() {
    let inner = journal();
    let graph = Graph::<Trail>::builder("prints")
        .node("ask", async |_: &Trail, cx: &Context| Ok(Trail::update().sum(cx.ask::<i64>("n?").await?)))
        .node("print", async |_: &Trail, cx: &Context| {
            Ok(Trail::update().sum(cx.transient_context::<Printer>()?.0))
        })
        .path([START, "ask", "print", END])
        .build()
        .unwrap();
    let options = || RunOptions::default().transient_context(Printer(10));
    // In one process it is there.
    let session = on(&inner).build().session("here").unwrap();
    session.run(&graph, Trail::update()).options(options()).await.unwrap();
    let run = session.answer(Answers::only(1)).await.unwrap();
    assert_eq!(soon(run.outcome::<Trail>()).await.unwrap().state().unwrap().sum, 11);

    let session = on(&inner).build().session("s").unwrap();
    session.run(&graph, Trail::update()).options(options()).await.unwrap();
    let session = on(&inner).graph(&graph).build().session("s").unwrap();
    let run = session.answer(Answers::only(1)).await.unwrap();
    let error = soon(run.outcome::<Trail>()).await.unwrap_err();
    assert_eq!(error.code().name(), "context_missing");
    let SessionError::Run(failed) = &error else { panic!("{error}") };
    assert!(failed.report().contains("Printer") && failed.report().contains("resume"), "{}", failed.report());
    let run = session.resume().transient_context(Printer(20)).await.unwrap();
    assert_eq!(soon(run.outcome::<Trail>()).await.unwrap().state().unwrap().sum, 21);
}

#[tokio::test]
async fn a_missing_context_and_one_of_another_type_are_named() {
    let graph = |wrong: bool| {
        Graph::<Trail>::builder("reads")
            .node("read", async move |_: &Trail, cx: &Context| {
                if wrong { cx.context::<Vec<u8>>().map(drop) } else { cx.context::<User>().map(drop) }
            })
            .path([START, "read", END])
            .build()
            .unwrap()
    };
    for (wrong, options, text) in [
        (false, RunOptions::default(), "the run has no context"),
        (true, ana(), "which cannot be read as `alloc::vec::Vec<u8>`"),
    ] {
        let session = on(&journal()).build().session("s").unwrap();
        let error = session.run(&graph(wrong), Trail::update()).options(options).await.unwrap_err();
        let SessionError::Run(failed) = &error else { panic!("{error}") };
        assert_eq!(failed.code().name(), "context_missing");
        assert!(failed.report().contains(text), "{}", failed.report());
    }
    // What cannot be stored is refused before anything is.
    let session = on(&journal()).build().session("s").unwrap();
    let options = RunOptions::default().context(f64::NAN);
    let refused = session.run(&asks(), Trail::update()).options(options).await.unwrap_err();
    assert_eq!(refused.code().name(), "value_not_finite", "{refused}");
    assert!(matches!(session.status().await, Err(SessionError::NotFound { .. })));
}

/// Adds its argument to the value `list`.
fn adder() -> DynamicTool {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    DynamicTool::new("add", "Adds.", schema, |args, cx: ToolContext| async move {
        let mut list = cx.value("list").unwrap_or_else(|| json!([]));
        list.as_array_mut().unwrap().push(args["n"].clone());
        cx.set_value("list", &list)?;
        cx.set_value("last", &args["n"])?;
        match args["n"].as_i64() {
            Some(0) => Err(agent_core::tool::ToolError::failed("zero")),
            _ => Ok(list.to_string().into()),
        }
    })
    .with_policy(ToolPolicy::read_only())
}

#[tokio::test]
async fn tools_read_and_change_the_state_wherever_the_process_dies() {
    let tools = || ToolRegistry::builder().tool(adder()).build().unwrap();
    let model = || {
        Model::new(Scripted::rule(|_, request| match request.messages.len() {
            1 => Turn::call("add", json!({ "n": 1 })),
            3 => Turn::call("add", json!({ "n": 2 })).and_call("add", json!({ "n": 3 })),
            6 => Turn::call("add", json!({ "n": 0 })),
            _ => Turn::text("done"),
        }))
    };
    let agent = Agent::builder("a").tools(tools()).build().unwrap();
    let inner = journal();
    let session = on(&inner).model(model()).build().session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    // Calls of one turn do not see each other, the later one counts, and one that fails sets nothing.
    let wanted = json!({ "list": [1, 3], "last": 3 });
    let context = |state: &AgentState| serde_json::Value::Object(state.context.clone());
    assert_eq!(context(&session.state::<AgentState>().await.unwrap()), wanted);
    let last = session.events(Seq::ZERO, 1_000).await.unwrap().last().unwrap().seq.unwrap();
    let later = on(&inner).model(model()).graph(&agent).build();
    for seq in (1..last.0).map(Seq) {
        let source = later.session("s").unwrap();
        let fork = source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
        let outcome = soon(fork.resume().await.unwrap().outcome::<AgentState>()).await.unwrap();
        assert_eq!(context(outcome.state().unwrap()), wanted, "{seq}");
    }
}

#[tokio::test]
async fn the_status_and_a_checkpoint_have_the_context_that_is_stored() {
    let inner = journal();
    let session = on(&inner).build().session("s").unwrap();
    assert!(session.run(&asks(), Trail::update()).options(ana()).await.unwrap().is_paused());
    let stored = Some(json!({ "name": "Ana", "spent": 1 }));
    assert_eq!(session.status().await.unwrap().context, stored, "in memory");
    let later = on(&inner).graph(&asks()).build().session("s").unwrap();
    assert_eq!(later.status().await.unwrap().context, stored, "from the journal");
    assert_eq!(later.checkpoint(Seq(1)).await.unwrap().status.context, stored);
    let only_here = RunOptions::default().transient_context(User { name: "Bob".to_owned(), spent: 2 });
    let other = on(&inner).build().session("other").unwrap();
    assert!(other.run(&asks(), Trail::update()).options(only_here).await.unwrap().is_paused());
    assert_eq!(other.status().await.unwrap().context, None);
}
