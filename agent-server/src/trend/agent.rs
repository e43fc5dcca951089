//! The K-beauty agent as the server sees it: a graph's name, its input and its answer.

use serde_json::{Map, Value};

use super::graph::Trend;
use crate::TaskAgent;

/// The K-beauty agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrendAgent;

impl TaskAgent for TrendAgent {
    fn graph(&self) -> &str {
        "trend"
    }

    fn input(&self, message: String, context: Map<String, Value>) -> Value {
        serde_json::to_value(Trend::begin(message, context)).expect("an update of strings and JSON is JSON")
    }

    fn response(&self, state: &Value) -> String {
        state.get("response").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}
