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
//! | `GET /sessions`, `GET /sessions/{session_id}[/journal\|/state\|/diff\|/graph\|/events]` | what there is, what happened |
//! | `POST /sessions/{session_id}/fork`, `DELETE /sessions/{session_id}` | go another way, remove |
//! | `WS /ws/{session_id}?after=SEQ&events=status\|all` | progress, questions, answers |
//! | `GET /`, `GET /static/{file}` | the dashboard |
//! | `GET /docs`, `/redoc`, `/openapi.json`, `/asyncapi.json`, `/docs/websocket`, `/docs/errors[/{code}]` | what all of it is |
//!
//! Read in this order: [`server`] the way in, `http` connections, the table of paths and what is
//! done around every request, `handler` one file a path, `ws` the socket, `wire` the names front ends know, `dashboard`
//! the page and its files, `docs` the API's documents, `error` what is refused and how; [`own`] paths of your own; [`config`] the settings, [`cli`]
//! the command line; [`trend`] the sample agent.

mod agent;
pub mod cli;
pub mod config;
mod dashboard;
mod docs;
mod error;
mod handler;
mod http;
pub mod own;
pub mod server;
pub mod trend;
mod wire;
mod ws;

#[doc(inline)]
pub use self::{
    agent::TaskAgent,
    config::Config,
    http::cors::Origins,
    server::{Server, ServerBuilder, ServerOptions},
};
