//! A chat agent with a tool. The conversation is kept in `chat.db`: after a crash, the next start finishes what was begun.
//! One line is one message.
//!
//! Run: `cargo run -p examples --example chat`. With `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for another endpoint, a model
//! answers; without one, `Offline` answers.
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{
    Agent, Runtime, model::Model, model::testing::Offline, sqlite::Sqlite, tool, tool::ToolError,
};

/// The weather of a city.
#[tool]
async fn weather(city: String) -> Result<String, ToolError> {
    Ok(format!("{city}: sunny, 21 °C"))
}

#[tokio::main]
async fn main() -> agent_core::Result<()> {
    let agent = Agent::builder("assistant").system("Answer in one sentence.").tool(weather).build()?;
    let runtime = Runtime::builder().model(Model::from_env_or(Offline)?).journal(Sqlite::open("chat.db")?);
    let session = runtime.build().session("chat")?;
    for line in std::io::stdin().lines() {
        println!("{}", session.chat(&agent, line?).await?);
    }
    Ok(())
}
