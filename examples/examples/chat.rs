//! A chat in the terminal: the answer is shown while it is streamed, and a progress bar shows the progress of a
//! tool. One line is one message; an empty line ends the chat.
//!
//! Run: `cargo run --example chat`, and write something with "리뷰" in it.
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use agent_core::{
    Agent, Runtime,
    event::EventBody,
    model::{
        Model, Role,
        testing::{Chunking, Scripted, Turn},
    },
    tool,
    tool::{ToolContext, ToolError},
};
use serde_json::json;

/// Reads the reviews of a brand.
#[tool]
async fn reviews(brand: String, cx: &ToolContext) -> Result<String, ToolError> {
    for percent in (0..=100).step_by(10) {
        cx.progress(json!({ "percent": percent }));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(format!("{brand}: 305건"))
}

/// The bar is written to stderr, so that stdout contains only the answer.
fn bar(percent: u64) -> std::io::Result<()> {
    let full = usize::try_from(percent / 5).unwrap_or_default().min(20);
    let mut out = std::io::stderr();
    write!(out, "\r[{}{}] {percent:>3} %", "█".repeat(full), "░".repeat(20 - full))?;
    if percent >= 100 {
        writeln!(out)?;
    }
    out.flush()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("echo").system("Be brief.").tool(reviews).build()?;
    let model = Scripted::rule(|_, request| {
        let Some(last) = request.messages.last() else { return Turn::text("?") };
        match (last.role, last.text()) {
            (Role::User, said) if said.contains("리뷰") => {
                Turn::call("reviews", json!({ "brand": "라네즈" }))
            }
            (_, said) => Turn::text(format!("{said}, 그렇군요.")).chunked(Chunking::Chars(3)),
        }
    });
    let session = Runtime::builder().model(Model::from_env_or(model)?).build().session("chat")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let mut events = session.run(&agent, line).stream().await?;
        while let Some(event) = events.next().await {
            match &event?.body {
                EventBody::Token(token) => print!("{}", token.text),
                EventBody::Progress(shown) => bar(shown.value["percent"].as_u64().unwrap_or(0))?,
                _ => {}
            }
            std::io::stdout().flush()?;
        }
        println!();
    }
    Ok(())
}
