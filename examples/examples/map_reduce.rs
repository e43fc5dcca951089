//! Parallel work on a list with a length that is known only at run time, combined at the end.
//!
//! Run: `cargo run --example map_reduce`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{
    Context, END, Graph, Runtime, START, State,
    graph::{Dispatch, Outcome},
};
use serde::{Deserialize, Serialize};

#[derive(State, Default, Serialize, Deserialize)]
struct Reviews {
    texts: Vec<String>,
    #[state(append)]
    scores: Vec<i64>,
    mean: Option<f64>,
}

fn score(text: &str) -> i64 {
    let count = |words: &[&str]| words.iter().map(|word| text.matches(word).count() as i64).sum::<i64>();
    count(&["좋", "촉촉", "good"]) - count(&["별로", "bad"])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let graph = Graph::<Reviews>::builder("reviews")
        .node("split", async |state: &Reviews, _: &Context| {
            let sends = state.texts.iter().map(|text| Dispatch::new("score", text));
            Ok(Outcome::<Reviews>::empty().send_all(sends))
        })
        // One activation per send, in parallel. The results have the order of the sends.
        .node("score", async |_: &Reviews, text: String, _: &Context| {
            Ok(Reviews::update().scores([score(&text)]))
        })
        .node("mean", async |state: &Reviews, _: &Context| {
            let sum: i64 = state.scores.iter().sum();
            Ok(Reviews::update().mean(sum as f64 / state.scores.len() as f64))
        })
        .edge(START, "split")
        .declare_targets("split", ["score"])
        .edge("score", "mean")
        .edge("mean", END)
        .build()?;
    let texts = ["촉촉하고 좋아요", "별로예요", "good, good!"].map(str::to_owned).to_vec();
    let session = Runtime::builder().build().session("s1")?;
    let outcome = session.run(&graph, Reviews::update().texts(texts)).await?;
    let state = outcome.state().ok_or("the run paused")?;
    println!("scores {:?}, mean {:.2}", state.scores, state.mean.unwrap_or_default());
    Ok(())
}
