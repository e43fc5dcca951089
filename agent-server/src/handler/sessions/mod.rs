//! `/sessions` and `/agents`: one file per route.

pub(super) mod delete;
pub(super) mod diff;
pub(super) mod events;
pub(super) mod fork;
pub(super) mod graph;
pub(super) mod journal;
pub(super) mod list;
pub(super) mod state;
pub(super) mod steer;

use crate::docs::openapi::RouteDoc;

/// Returns the documentation of the routes.
pub(super) fn docs() -> Vec<RouteDoc> {
    let mut docs = Vec::from(graph::docs());
    docs.extend([
        list::doc(),
        delete::doc(),
        journal::doc(),
        state::doc(),
        diff::doc(),
        events::doc(),
        fork::doc(),
        steer::doc(),
    ]);
    docs
}
