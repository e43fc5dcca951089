//! Durable agent graphs.
