//! Meetings over WebSocket and REST, against a local upstream that does what a test says.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../../../agent-core/tests/realtime/endpoint.rs"]
mod endpoint;
mod agents;
mod lifecycle;
mod live;
mod model;
mod offline;
mod rest;
#[allow(dead_code, clippy::allow_attributes, reason = "the measurement uses it too")]
mod support;
