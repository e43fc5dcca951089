//! Time travel: checkpoints of a session, the state at each of them, and a fork.
//!
//! Run: `cargo run --example time_travel`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{Context, END, Graph, Runtime, START, State, ids::Seq, journal::InMemoryJournal};
use serde::{Deserialize, Serialize};

#[derive(State, Default, Serialize, Deserialize)]
struct Draft {
    tone: String,
    #[state(append)]
    text: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let graph = Graph::<Draft>::builder("draft")
        .node("choose", async |_: &Draft, _: &Context| Ok(Draft::update().tone("dry".to_owned())))
        .node("write", async |state: &Draft, _: &Context| {
            Ok(Draft::update().text([format!("a {} text", state.tone)]))
        })
        .edge(START, "choose")
        .edge("choose", "write")
        .edge("write", END)
        .build()?;
    let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    let session = runtime.session("s1")?;
    session.run(&graph, Draft::update()).await?;

    let places = session.history(Seq::ZERO, 100).await?;
    for place in &places {
        let state: Draft = session.state_at(place.seq).await?;
        println!("{}: next {:?}, tone {:?}, text {:?}", place.seq, place.next, state.tone, state.text);
    }
    let before = places.iter().find(|place| place.next == ["write"]).ok_or("there is no such checkpoint")?;
    let fork = session.fork(before.seq, "s2".parse()?).await?;
    fork.edit(&graph, "choose", Draft::update().tone("warm".to_owned())).await?;
    let outcome = fork.resume().await?.outcome::<Draft>().await?;
    println!("the fork: {:?}", outcome.state().map(|state| &state.text));
    let first: Draft = session.state().await?;
    println!("the first: {:?}", first.text);
    Ok(())
}
