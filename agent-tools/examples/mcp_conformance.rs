//! What `.ci/real` lets the protocol's own conformance suite drive: our server with the suite's tools, and our client.
#![expect(clippy::print_stdout, reason = "says where it listens")]

use std::error::Error;

use agent_core::{
    interrupt::Question,
    model::ToolCall,
    tool::{DynamicTool, ToolContext, ToolError, ToolOutput, ToolRegistry},
};
use agent_tools::mcp::{Client, HttpOptions, Questions, Server};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

fn plain() -> Value {
    json!({ "type": "object", "properties": {} })
}

fn tools() -> Result<ToolRegistry, Box<dyn Error>> {
    let text = DynamicTool::new("test_simple_text", "Says something.", plain(), |_, _| async {
        Ok(ToolOutput::text("This is a simple text response for testing."))
    });
    let fails = DynamicTool::new("test_error_handling", "Fails.", plain(), |_, _| async {
        Err(ToolError::failed("This tool intentionally returns an error for testing"))
    });
    let steps = DynamicTool::new("test_tool_with_progress", "Shows progress.", plain(), |_, cx| async move {
        for progress in [0, 50, 100] {
            cx.progress(json!({ "progress": progress, "total": 100 }));
            tokio::task::yield_now().await;
        }
        Ok(ToolOutput::text("done"))
    });
    let ask = json!({ "type": "object", "properties": { "message": { "type": "string" } }, "required": ["message"] });
    let ask = DynamicTool::new("test_elicitation", "Asks a person.", ask, |args, cx| async move {
        let form = json!({ "type": "object", "properties": { "username": { "type": "string" },
            "email": { "type": "string" } }, "required": ["username", "email"] });
        let asked = Question::new(args["message"].as_str().unwrap_or_default()).schema(form);
        let answer = cx.ask(asked).await?;
        Ok(ToolOutput::text(format!("User response: action=accept, content={answer}")))
    });
    Ok(ToolRegistry::builder().tool(text).tool(fails).tool(steps).tool(ask).build()?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let what = std::env::args().nth(1).ok_or("serve, or the address of a server")?;
    if what == "serve" {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}/mcp", listener.local_addr()?);
        let mut options = HttpOptions::default();
        // The suite comes as a page of this machine, which is refused unless it is named.
        options.origins.extend(["http://localhost:*", "http://127.0.0.1:*"].map(str::to_owned));
        let service = Server::new("agent-tools", "0.1.0", tools()?).http(options);
        return Ok(service.listen(listener, CancellationToken::new()).await?);
    }
    let client = Client::http("suite", what).prefix("").questions(Questions::Asked).connect().await?;
    let tools = client.registry().await?;
    for name in tools.names() {
        let args = if name == "add_numbers" { json!({ "a": 5, "b": 3 }) } else { json!({}) };
        let call = tools.prepare(ToolCall::new(name, &args)).map_err(|error| error.to_string())?;
        match call.run(&ToolContext::detached()).await {
            Ok(output) => println!("{name}: {}", output.to_text()),
            Err(error) => println!("{name} failed: {error}"),
        }
    }
    client.close().await;
    Ok(())
}
