//! Promises of `agent_core::model`, kept against scripts and a real HTTP server on the loop-back address.

mod data;
mod openai;
mod server;
