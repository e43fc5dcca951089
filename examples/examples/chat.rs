//! A chat in the terminal: the answer appears while it arrives. A line a message, an empty line ends it.
//!
//! Run: `cargo run --example chat`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use std::io::{BufRead, Write};

use agent_core::{
    Agent, RunOptions, Runtime,
    event::EventBody,
    model::{
        Model,
        testing::{Chunking, Scripted, Turn},
    },
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("echo").system("Be brief.").build()?;
    let model = Scripted::rule(|call, request| {
        let said = request.messages.last().map(|message| message.text().into_owned()).unwrap_or_default();
        Turn::text(format!("({}) {said}, 그렇군요.", call + 1)).chunked(Chunking::Chars(3))
    });
    let session = Runtime::builder().model(Model::new(model)).build().session("chat")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let mut events = session.stream(&agent, line, RunOptions::default()).await?;
        while let Some(event) = events.next().await {
            if let EventBody::Token(token) = &event?.body {
                print!("{}", token.text);
                std::io::stdout().flush()?;
            }
        }
        println!();
    }
    Ok(())
}
