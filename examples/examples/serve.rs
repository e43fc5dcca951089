//! Serves an agent over REST, WebSocket, SSE, `/v1` and a dashboard, and has the command line of `agent-server`: `serve graph`
//! draws it, `serve run "hello"` asks it. Runs that a crash left unfinished are resumed at the start.
//!
//! Run: `cargo run -p examples --example serve`. With `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for another endpoint, a model
//! answers; without one, `Offline` answers.

use agent_core::{Agent, model::Model, model::testing::Offline};

fn main() -> agent_core::Result<()> {
    let agent = Agent::builder("helper").system("Answer briefly.").model(Model::from_env_or(Offline)?);
    Ok(agent_server::serve(agent.build()?)?)
}
