//! Benchmarks: the cases of `workloads`, and the performance goals with their baselines.

pub mod goals;
pub mod scale;
pub mod server;
pub mod workloads;
