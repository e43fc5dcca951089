//! A person approves a tool call before it runs, and edits another.
//!
//! Run: `cargo run --example approval`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{
    Agent, AgentState, Answers, Runtime,
    model::{
        Model,
        testing::{Scripted, Turn},
    },
    tool,
    tool::{Approval, Effect, ToolError, ToolPolicy},
};
use serde_json::json;

/// Sends money.
#[tool(policy = ToolPolicy::default().effect(Effect::Destructive).approval(Approval::Always))]
async fn pay(to: String, won: u64) -> Result<String, ToolError> {
    Ok(format!("paid {won} won to {to}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("cashier").tool(pay).build()?;
    let model = Scripted::new([
        Turn::call("pay", json!({ "to": "세라", "won": 50_000 }))
            .and_call("pay", json!({ "to": "민수", "won": 9_000_000 })),
        Turn::text("Both are settled."),
    ]);
    let session = Runtime::builder().model(Model::from_env_or(model)?).build().session("s1")?;
    let mut outcome = session.run(&agent, "pay my debts").await?;
    // Both approvals are requested at once, and each answer names its question. A real program would show them and
    // wait.
    while let Some(open) = outcome.questions().first() {
        let call = open.question.details.clone().unwrap_or_default();
        println!("{} {}", open.question.prompt, call["arguments"]);
        let answer = if call["arguments"]["won"].as_u64() > Some(100_000) {
            json!({ "decision": "edit", "arguments": { "to": "민수", "won": 90_000 } })
        } else {
            json!({ "decision": "approve" })
        };
        let answers = Answers::to(open.id.clone(), answer);
        outcome = session.answer(answers).await?.outcome::<AgentState>().await?;
    }
    for message in outcome.state().map(|state| &state.messages).into_iter().flatten() {
        println!("{:?}: {}", message.role, message.text());
    }
    Ok(())
}
