//! What front ends know by name: one file a contract. The rest of the server does not know these names.

pub(crate) mod chat;
pub(crate) mod json;
pub(crate) mod openai;
pub(crate) mod task_agent;
pub(crate) mod tool_chat;
