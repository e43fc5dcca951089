//! The HTTP and WebSocket face of `agent-core`: durable agents behind paths that existing front ends know.
//!
//! | Method, path (also under `/api/agent`) | Meaning |
//! |---|---|
//! | `POST /run` | run to the end or to a question, answer with the result |
//! | `POST /run-async` | start, answer at once; progress over the WebSocket |
//! | `GET /status/{session_id}` | where the run stands |
//! | `POST /stop/{session_id}` | stop it |
//! | `POST /resume/{session_id}` | go on, or with `{value, id?}` answer the open question |
//! | `GET /health` | `{"status":"healthy", ..}` |
//! | `WS /ws/{session_id}?after=SEQ&events=status\|all` | progress, questions, answers |
//! | `GET /` | a page to try it with |
//!
//! Read in this order: [`server`] the way in, `accept` connections, `service` what is done around every request,
//! `router` where it goes, `handler` one file a path, `ws` the socket, `wire` the names front ends know, `error` what
//! is refused and how; [`trend`] the sample agent.

mod accept;
mod agent;
pub mod config;
mod cors;
mod error;
mod handler;
mod router;
pub mod server;
mod service;
pub mod trend;
mod wire;
mod ws;

#[doc(inline)]
pub use self::{
    agent::TaskAgent,
    config::Config,
    cors::Origins,
    server::{Server, ServerBuilder, ServerOptions},
};
