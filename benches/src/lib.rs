//! The benchmark cases of `workloads`, and what the criterion benches share with them.

pub mod workloads;
