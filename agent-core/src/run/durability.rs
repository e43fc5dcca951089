//! When commits of a run are stored.

/// When a commit is stored.
///
/// # Examples
///
/// ```
/// # use agent_core::{Durability, Runtime, journal::InMemoryJournal};
/// let runtime = Runtime::builder()
///     .journal(InMemoryJournal::new())
///     .durability(Durability::Sync)
///     .build();
/// # assert!(runtime.has_journal());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Before the next superstep begins. A crash loses nothing that was committed.
    Sync,
    /// While the next superstep runs, in order. Results of steps, model and tool calls, questions and answers
    /// are awaited all the same, so nothing paid for is paid twice; a crash loses at most the last commits, which
    /// are computed again from those results.
    #[default]
    Async,
    /// When the run pauses, ends, fails or is stopped. A crash loses everything since the last of these, the
    /// acceptance of the run included, and subscribers see events only then.
    Exit,
}
