//! A supervisor with two sub-agents, which work at the same time. After a crash, the next start continues the run in
//! `sub_agents.db`; calls that were answered are not made again.
//!
//! Run: `cargo run -p examples --example sub_agents`. With `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for another endpoint, a
//! model answers; without one, `Offline` answers.
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{Agent, Runtime, model::Model, model::testing::Offline, sqlite::Sqlite};

#[tokio::main]
async fn main() -> agent_core::Result<()> {
    let facts = Agent::builder("facts").description("Collects facts.").system("List three facts.");
    let doubts = Agent::builder("doubts").description("Finds objections.").system("Name one risk.");
    let lead =
        Agent::builder("lead").system("Ask both, then decide.").sub_agent(facts).sub_agent(doubts).build()?;
    let runtime =
        Runtime::builder().model(Model::from_env_or(Offline)?).journal(Sqlite::open("sub_agents.db")?);
    let session = runtime.build().session("decision")?;
    let outcome = session.run(&lead, "Should we sell sun cream in winter?").or_resume().await?;
    println!("{}", outcome.state().ok_or("the run waits for a person")?.answer());
    Ok(())
}
