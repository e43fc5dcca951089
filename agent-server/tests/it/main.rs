//! What the server promises, tested from outside: over HTTP, over sockets, and as a process that is killed.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod docs;
mod chat;
mod auth;
mod contracts;
mod custom_sockets;
mod database_faults;
mod fanout;
mod faults;
mod hostile;
mod hosts;
mod limits;
mod load;
mod logging;
mod model;
mod operations;
mod openai;
mod openai_agents;
mod openai_tools;
#[cfg(feature = "otlp")]
mod otlp;
mod page;
mod pins;
mod process;
mod replicas;
mod replicated_limits;
mod rest;
mod schedules;
mod sessions;
mod socket;
mod steering;
mod support;
mod tenants;
mod webhook;
mod webhook_faults;
mod tool_chat;
