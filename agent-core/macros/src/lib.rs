//! The two macros of `agent-core`.
