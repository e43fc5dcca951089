//! What the server promises, tested from outside: over HTTP, over sockets, and as a process that is killed.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod chat;
mod auth;
mod faults;
mod limits;
mod model;
mod openai;
mod page;
mod process;
mod rest;
mod sessions;
mod socket;
mod support;
mod tool_chat;
