//! Graph of the crash test (`tests/attack/attack.py crash`): steps, sends, a subgraph, an agent with a tool and a sub-agent,
//! a question and todos. Each effect appends a line to the file that `EFFECTS` names. With `CARELESS` set, effects are not
//! recorded: the test must then fail.

use std::{io::Write, time::Duration};

use agent_core::{
    Agent, AgentState, Context, END, Graph, Question, Result, START, State,
    clock::{Clock, WallClock},
    graph::{Dispatch, Outcome},
    model::{
        Message, Model, ModelRequest, Role,
        testing::{Scripted, Turn},
    },
    tool,
    tool::{ToolContext, ToolError},
};
use agent_server::fail_points::reach;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(State, Default, Serialize, Deserialize)]
struct Mixed {
    message: String,
    response: String,
    #[state(append)]
    done: Vec<String>,
}

/// Appends `session, run, name, idempotency key, time, process` as one write, after a short wait.
async fn effect(session: &str, run: u64, name: &str, key: &str) -> std::io::Result<u32> {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..30))).await;
    let Some(path) = std::env::var_os("EFFECTS") else { return Ok(0) };
    reach("effect.before");
    let at = WallClock.now_ms();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{session}\t{run}\t{name}\t{key}\t{at}\t{}\n", std::process::id()).as_bytes())?;
    reach("effect.after");
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..10))).await;
    Ok(1)
}

async fn step(cx: &Context, name: &str) -> Result<()> {
    let (session, run, key) = (cx.session().to_string(), cx.run().0, cx.idempotency_key(name));
    if std::env::var_os("CARELESS").is_some() {
        effect(&session, run, name, &key).await?;
        cx.step(name, async { Ok::<_, std::io::Error>(1) }).await?;
    } else {
        cx.step(name, async { effect(&session, run, name, &key).await }).await?;
    }
    Ok(())
}

async fn plan(_: &Mixed, cx: &Context) -> Result<Outcome<Mixed>> {
    step(cx, "plan").await?;
    for part in 0..3 {
        cx.todos().add(format!("part-{part}"), format!("Part {part}"))?;
    }
    Ok(Outcome::empty().send_all((0..3_u32).map(|part| Dispatch::new("part", &part))))
}

async fn part(_: &Mixed, part: u32, cx: &Context) -> Result<MixedUpdate> {
    let todo = cx.todos().get(&format!("part-{part}"))?;
    todo.start();
    for half in ["a", "b"] {
        step(cx, &format!("part-{part}-{half}")).await?;
    }
    todo.done();
    Ok(Mixed::update().done([format!("part {part}")]))
}

async fn ask(_: &Mixed, cx: &Context) -> Result<MixedUpdate> {
    step(cx, "before").await?;
    let answer: String = cx.ask(Question::choose("Publish?", ["yes", "no"])).await?;
    step(cx, "after").await?;
    Ok(Mixed::update().response(answer))
}

#[derive(State, Default, Serialize, Deserialize)]
struct Inner {
    #[state(append)]
    done: Vec<String>,
}

/// Does something outside.
#[tool]
async fn touch(part: String, cx: &ToolContext) -> std::result::Result<String, ToolError> {
    let session = cx.session().map(ToString::to_string).unwrap_or_default();
    let done = effect(&session, 0, &format!("tool-{part}"), &cx.idempotency_key).await;
    done.map_err(|error| ToolError::failed(error.to_string()))?;
    Ok(format!("touched {part}"))
}

/// Calls the tool once, and then answers.
fn calls(name: &'static str, arguments: serde_json::Value) -> Model {
    Model::new(Scripted::rule(move |_, request: &ModelRequest| {
        match request.messages.iter().any(|message| message.role == Role::Tool) {
            true => Turn::text("done"),
            false => Turn::call(name, arguments.clone()),
        }
    }))
}

fn graph() -> Result<Graph<Mixed>, Box<dyn std::error::Error>> {
    let inner = Graph::<Inner>::builder("inner")
        .node("first", async |_: &Inner, cx: &Context| {
            step(cx, "inner-first").await?;
            Result::Ok(Inner::update().done(["inner first".to_owned()]))
        })
        .node("second", async |_: &Inner, cx: &Context| {
            step(cx, "inner-second").await?;
            Result::Ok(Inner::update().done(["inner second".to_owned()]))
        })
        .path([START, "first", "second", END])
        .build()?;
    let helper = Agent::builder("helper").description("Helps.").tool(touch);
    let helper = helper.model(calls("touch", json!({"part": "helper"})));
    let lead = Agent::builder("lead")
        .sub_agent(helper)
        .model(calls("helper", json!({"task": "Help", "todo": null})))
        .build()?;
    Ok(Graph::<Mixed>::builder("mixed")
        .node("plan", plan)
        .node("part", part)
        .node(
            "inner",
            inner.as_node(|_: &Mixed| Inner::default(), |inner: Inner| Mixed::update().done(inner.done)),
        )
        .node(
            "lead",
            lead.as_node(
                |mixed: &Mixed| {
                    let mut state = AgentState::default();
                    state.messages = [Message::user(mixed.message.as_str())].into_iter().collect();
                    state
                },
                |state: AgentState| Mixed::update().done([format!("lead {}", state.answer())]),
            ),
        )
        .node("ask", ask)
        .edge(START, "plan")
        .declare_targets("plan", ["part"])
        .edge("part", "inner")
        .edge("part", "lead")
        .join(["inner", "lead"], "ask")
        .edge("ask", END)
        .build()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(agent_server::serve(graph()?)?)
}
