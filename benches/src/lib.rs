//! The benchmark cases of `workloads`, and the goals with the hand-written floor beside each.

pub mod goals;
pub mod server;
pub mod workloads;
