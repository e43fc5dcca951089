//! A minimal graph: two nodes, one state.
//!
//! Run: `cargo run --example hello`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{Context, END, Graph, Runtime, START, State};
use serde::{Deserialize, Serialize};

#[derive(State, Default, Serialize, Deserialize)]
struct Greeting {
    name: String,
    #[state(append)]
    lines: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let graph = Graph::<Greeting>::builder("hello")
        .node("greet", async |state: &Greeting, _: &Context| {
            Ok(Greeting::update().lines([format!("안녕하세요, {}!", state.name)]))
        })
        .node("part", async |state: &Greeting, _: &Context| {
            Ok(Greeting::update().lines([format!("See you, {}.", state.name)]))
        })
        .edge(START, "greet")
        .edge("greet", "part")
        .edge("part", END)
        .build()?;
    let session = Runtime::builder().build().session("s1")?;
    let outcome = session.run(&graph, Greeting::update().name("세라".to_owned())).await?;
    for line in outcome.state().map(|state| &state.lines).into_iter().flatten() {
        println!("{line}");
    }
    Ok(())
}
