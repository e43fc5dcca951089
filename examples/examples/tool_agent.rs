//! An agent with a tool. The model is scripted, so that the example needs no network and no key; with
//! `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for another endpoint, a real model answers.
//!
//! Run: `cargo run --example tool_agent`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{
    Agent, Runtime,
    model::{
        Model,
        testing::{Scripted, Turn},
    },
    tool,
    tool::ToolError,
};
use serde_json::json;

/// The weather of a city.
#[tool]
async fn weather(
    /// Name of the city, in any language.
    city: String,
) -> Result<String, ToolError> {
    match city.as_str() {
        "서울" => Ok("맑음, 21 °C".to_owned()),
        _ => Err(ToolError::failed("only Seoul is known here")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("assistant").system("Answer in one sentence.").tool(weather).build()?;
    let model = Scripted::new([
        Turn::call("weather", json!({ "city": "서울" })).and_call("weather", json!({ "city": "Berlin" })),
        Turn::text("서울은 맑고 21도입니다; Berlin is not known."),
    ]);
    let runtime = Runtime::builder().model(Model::from_env_or(model)?).build();
    let outcome = runtime.session("s1")?.run(&agent, "서울과 베를린 날씨는?").await?;
    let state = outcome.state().ok_or("the run paused")?;
    for message in &state.messages {
        println!("{:?}: {}", message.role, message.text());
    }
    Ok(())
}
