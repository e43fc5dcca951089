//! Serves an agent over REST, WebSocket, SSE, `/v1` and a dashboard, and has the command line of `agent-server`: `serve graph`
//! draws it, `serve run "hello"` asks it. Needs a model: `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for another endpoint.
//!
//! Run: `cargo run --example serve`

use agent_core::Agent;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(agent_server::serve(Agent::builder("helper").system("Answer briefly.").build()?)?)
}
