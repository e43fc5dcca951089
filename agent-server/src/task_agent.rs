//! Task agents: the interface of an agent that `/run` starts.

use serde_json::{Map, Value};

/// An agent that `/run` starts: a graph that takes a message and ends with a text.
///
/// # Examples
///
/// ```
/// use agent_server::TaskAgent;
/// use serde_json::{Map, Value, json};
///
/// struct Summary;
///
/// impl TaskAgent for Summary {
///     fn graph(&self) -> &str {
///         "summary"
///     }
///
///     fn input(&self, message: String, _: Map<String, Value>) -> Value {
///         json!({"text": message})
///     }
///
///     fn response(&self, state: &Value) -> String {
///         state["summary"].as_str().unwrap_or_default().to_owned()
///     }
/// }
/// ```
pub trait TaskAgent: Send + Sync + 'static {
    /// Returns the name of the graph, which must be registered with the runtime.
    fn graph(&self) -> &str;

    /// Returns the update that starts a run, as JSON.
    fn input(&self, message: String, context: Map<String, Value>) -> Value;

    /// Returns the answer in a final state; empty if there is none.
    fn response(&self, state: &Value) -> String;
}
