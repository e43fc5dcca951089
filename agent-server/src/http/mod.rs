//! HTTP transport: connections' streams, the router, requests and responses, WebSockets.
//!
//! Generic over the application state. Knows no route, session or agent.

pub(crate) mod access_log;
pub(crate) mod budget;
pub(crate) mod cors;
pub(crate) mod error_bodies;
pub(crate) mod forwarded;
pub(crate) mod header_timeout;
pub(crate) mod host;
pub(crate) mod inbound;
pub(crate) mod query;
pub(crate) mod request;
pub(crate) mod request_id;
pub(crate) mod response;
pub(crate) mod router;
pub(crate) mod timeout_stream;
pub(crate) mod websocket;
