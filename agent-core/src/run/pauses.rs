//! Pauses of a run that its caller sets: breakpoints, and the time at which it starts.

use serde::{Deserialize, Serialize};

/// Pauses that the caller of a run sets. Names are those of nodes of the outermost graph.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pauses {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) before: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<String>,
    /// In milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_at: Option<i64>,
}

impl Pauses {
    /// Returns the nodes that it names.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.before.iter().chain(&self.after).map(String::as_str)
    }
}
