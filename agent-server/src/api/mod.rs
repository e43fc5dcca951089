//! Messages of the API: one file per contract. Only this module knows the names of their fields.

pub(crate) mod chat;
pub(crate) mod json;
pub(crate) mod openai;
pub(crate) mod task_agent;
pub(crate) mod tool_chat;
