//! `/sessions`: what there is, what happened, going back. One file a path.

pub(super) mod changes;
pub(super) mod events;
pub(super) mod fork;
pub(super) mod graph;
pub(super) mod journal;
pub(super) mod list;
pub(super) mod remove;
pub(super) mod state;
