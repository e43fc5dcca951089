//! Tests of the public API, one module per subject.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test, as the tests themselves do")]

mod architecture;
mod background;
mod cancel_safety;
mod caps;
mod deadlines;
mod deletion;
mod detached;
mod events;
mod failures;
mod forks;
mod fuzz;
mod golden;
mod golden_v2;
mod graph;
mod graph_identity;
mod interrupts;
mod middleware;
mod panics;
mod parent_goto;
mod partial;
mod pauses;
mod prose;
mod questions;
mod queue;
mod quorums;
mod random;
mod resume;
mod resume_after_failure;
mod run_context;
mod schedules;
mod sessions;
mod graph_build;
mod steering;
mod simulation;
mod slots;
mod steps;
mod stopping;
mod store_faults;
mod takeovers;
mod timers;
mod transfer;
mod turn_calls;
mod values;
mod why;
