//! What the command line and the configuration promise: the real binary in a folder of its own.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod beside;
mod config;
mod page;
mod run;
mod support;
mod terminal;
mod tools;
