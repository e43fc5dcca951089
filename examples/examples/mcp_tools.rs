//! Tools over MCP: this program starts itself as an MCP server over stdio, and an agent uses the server's tools.
//! During one call the server asks a question, and the run pauses for the answer.
//!
//! Run: `cargo run -p examples --example mcp_tools`. With `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for another endpoint, a model
//! decides; without one, a script.
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{
    Agent, AgentState, Answers, Runtime,
    interrupt::Question,
    model::{
        Model,
        testing::{Scripted, Turn},
    },
    tool,
    tool::{ToolContext, ToolError, ToolPolicy, ToolRegistry},
};
use agent_tools::mcp::{Client, Program, Questions, Server};
use serde_json::json;

/// The price of a product.
#[tool(policy = ToolPolicy::read_only())]
async fn price(product: String) -> Result<String, ToolError> {
    match product.as_str() {
        "수분 크림" => Ok("21,000 won".to_owned()),
        _ => Err(ToolError::failed("this shop does not have it")),
    }
}

/// Orders a product.
#[tool]
async fn order(product: String, cx: &ToolContext) -> Result<String, ToolError> {
    let form = json!({ "type": "object", "properties": { "many": { "type": "integer", "minimum": 1 } },
        "required": ["many"] });
    let answer = cx.ask(Question::new(format!("{product}, how many?")).schema(form)).await?;
    Ok(format!("ordered {} of {product}", answer["many"]))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        let tools = ToolRegistry::builder().tool(price).tool(order).build()?;
        return Ok(Server::new("shop", "1.0.0", tools).serve_stdio().await?);
    }
    let program = Program::new(std::env::current_exe()?).arg("serve");
    let shop = Client::program("shop", program).questions(Questions::Asked).connect().await?;
    let tools = shop.registry().await?;
    println!("the server offers {:?}", tools.names().collect::<Vec<_>>());

    let agent = Agent::builder("buyer").tools(tools).build()?;
    let model = Scripted::new([
        Turn::call("shop_price", json!({ "product": "수분 크림" })),
        Turn::call("shop_order", json!({ "product": "수분 크림" })),
        Turn::text("두 개 주문했어요."),
    ]);
    let session = Runtime::builder().model(Model::from_env_or(model)?).build().session("s1")?;
    let mut outcome = session.run(&agent, "수분 크림 두 개 주문해 줘").await?;
    while let Some(open) = outcome.questions().first() {
        println!("a person is asked: {}", open.question.prompt);
        let run = session.answer(Answers::only(json!({ "many": 2 }))).await?;
        outcome = run.outcome::<AgentState>().await?;
    }
    for message in &outcome.state().ok_or("the run paused again")?.messages {
        println!("{:?}: {}", message.role, message.text());
    }
    shop.close().await;
    Ok(())
}
