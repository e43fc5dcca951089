//! Time of one round of the tool loop (model, tool, two supersteps) with a scripted model.
//!
//! Run: `cargo run --release -p benches --example tool_loop`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use std::{sync::Arc, time::Instant};

use agent_core::{
    Agent, Runtime,
    journal::{InMemoryJournal, JournalStore},
    model::{
        Model,
        testing::{Scripted, Turn},
    },
    tool::{DynamicTool, ToolOutput, ToolRegistry},
};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

/// Microseconds a round, the best of `tries`, and bytes of the journal.
async fn measure(rounds: usize, bytes: usize, store: bool, tries: usize) -> Result<(f64, u64), Failure> {
    let schema = json!({ "type": "object", "properties": {} });
    let text = "r".repeat(bytes);
    let tool = DynamicTool::new("t", "A tool.", schema, move |_, _| {
        let text = text.clone();
        async move { Ok(ToolOutput::text(text)) }
    });
    let policy = agent_core::tool::ToolPolicy::read_only().result_limit(64 * 1024);
    let tools = ToolRegistry::builder().tool(tool.with_policy(policy)).build()?;
    let limit = u32::try_from(rounds)? + 2;
    let agent = Agent::builder("loop").tools(tools).max_turns(limit).build()?;
    let model = Model::new(Scripted::rule(move |call, _| {
        if call % (rounds + 1) < rounds { Turn::call("t", json!({})) } else { Turn::text("done") }
    }));
    let journal: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let mut builder = Runtime::builder().model(model);
    if store {
        builder = builder.journal(Arc::clone(&journal));
    }
    let runtime = builder.build();
    let (mut best, mut size) = (f64::MAX, 0);
    for number in 0..tries {
        let session = runtime.session(&format!("s{number}"))?;
        let began = Instant::now();
        session.run(&agent, "go").await?;
        best = best.min(began.elapsed().as_secs_f64() * 1e6 / rounds as f64);
        size = journal.head(session.id()).await?.map_or(0, |head| head.journal_bytes);
    }
    Ok((best, size))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    for rounds in [1, 10, 50, 100, 400] {
        let (micros, _) = measure(rounds, 20, false, 50).await?;
        println!("no store, {rounds:>4} rounds: {micros:6.2} µs a round");
    }
    for (rounds, bytes) in [(100, 20), (100, 36_000), (100, 40_000)] {
        let (micros, size) = measure(rounds, bytes, true, 10).await?;
        println!(
            "in memory, {rounds} rounds of {bytes:>5} bytes: {micros:7.2} µs a round, {size} bytes of journal"
        );
    }
    Ok(())
}
