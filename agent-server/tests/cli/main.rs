//! The command line and the configuration: the real binary in a separate folder.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod beside;
mod config;
mod page;
mod run;
mod support;
mod terminal;
mod tools;
