//! Messages of the API: one type per message, which is parsed or serialized and described in the API documents.
//!
//! One file per contract. Only this module knows the names of the fields.

pub(crate) mod chat;
#[cfg(test)]
mod fuzz;
pub(crate) mod json;
pub(crate) mod openai;
pub(crate) mod operations;
pub(crate) mod schedules;
pub(crate) mod schema;
pub(crate) mod session_data;
pub(crate) mod sessions;
pub(crate) mod socket;
mod strict;
pub(crate) mod task_agent;
pub(crate) mod tool_chat;
pub(crate) mod ui;
