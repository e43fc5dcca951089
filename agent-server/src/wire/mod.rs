//! What front ends know by name: one file a contract. The rest of the server does not know these names.

pub(crate) mod json;
pub(crate) mod task_agent;
