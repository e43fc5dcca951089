//! What the server must know of the agent that it serves.

use serde_json::{Map, Value};

/// A graph that takes messages and ends with a text.
pub trait TaskAgent: Send + Sync + 'static {
    /// The name of its graph, which the runtime knows.
    fn graph(&self) -> &str;

    /// The update that begins a run, as JSON.
    fn input(&self, message: String, context: Map<String, Value>) -> Value;

    /// The answer in a final state; empty when there is none.
    fn response(&self, state: &Value) -> String;
}
