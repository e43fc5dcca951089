//! `/sessions` and `/agents`: one file per route.

pub(super) mod delete;
pub(super) mod diff;
pub(super) mod events;
pub(super) mod fork;
pub(super) mod graph;
pub(super) mod journal;
pub(super) mod list;
pub(super) mod state;
