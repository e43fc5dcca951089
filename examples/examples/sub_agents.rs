//! An agent that delegates to two sub-agents at once. The todos of all agents form one tree.
//!
//! Run: `cargo run --example sub_agents`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{
    Agent, Runtime,
    event::EventBody,
    model::{
        Model, ModelRequest, Role,
        testing::{Scripted, Turn},
    },
};
use serde_json::json;

/// Script of the sub-agents: they add todos, then answer.
fn reader(request: &ModelRequest) -> Turn {
    if request.messages.last().is_some_and(|message| message.role == Role::Tool) {
        return Turn::text(format!("{}: 12 reviews, mostly good", request.messages[0].text()));
    }
    Turn::call(
        "update_plan",
        json!({ "operations": [
            { "op": "add", "id": "1", "title": "Find the reviews" },
            { "op": "add", "id": "2", "title": "Count what they say" },
            { "op": "done", "id": "1" }, { "op": "done", "id": "2" },
        ] }),
    )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reader = Agent::builder("reader")
        .description("Reads the reviews of one product.")
        .plans()
        .model(Model::new(Scripted::rule(|_, request| reader(request))));
    let lead = Agent::builder("lead").plans().sub_agent(reader).build()?;
    let model = Scripted::new([
        Turn::call("reader", json!({ "task": "수분 크림", "todo": null }))
            .and_call("reader", json!({ "task": "선크림", "todo": null })),
        Turn::text("Both are liked."),
    ]);
    let runtime = Runtime::builder().model(Model::from_env_or(model)?).build();
    let session = runtime.session("s1")?;
    let mut events = session.subscribe(None);
    let outcome = session.run(&lead, "How are our creams liked?").await?;
    loop {
        match &events.next().await?.body {
            EventBody::TodoUpdated(event) => {
                let todo = &event.todo;
                println!("{:>3} % {:?} {}", todo.progress, todo.status, todo.title);
            }
            body if body.ends_run() => break,
            _ => {}
        }
    }
    println!("{}", outcome.state().map(|state| state.answer()).unwrap_or_default());
    Ok(())
}
