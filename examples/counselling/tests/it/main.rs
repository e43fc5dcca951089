//! The service from outside: over its WebSocket and HTTP, with a model server in this process.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod access;
mod answers;
mod database;
mod embedding;
mod history;
mod limits;
mod process;
mod refusals;
mod safety;
mod support;
