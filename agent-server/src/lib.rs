//! The HTTP and WebSocket face of `agent-core`: durable agents behind paths that existing front ends know.
//!
//! | Method, path (also under `/api/agent`) | Meaning |
//! |---|---|
//! | `POST /run` | run to the end or to a question, answer with the result |
//! | `POST /run-async` | start, answer at once; progress over the WebSocket |
//! | `GET /status/{session_id}` | where the run stands |
//! | `POST /stop/{session_id}` | stop it |
//! | `POST /resume/{session_id}` | go on, or with `{value, id?}` answer the open question |
//! | `POST`, `GET /api/chat/stream` | a model's words as they come |
//! | `POST /api/v1/chat`, `/api/v1/chat/stream` | an agent with tools, in conversations that last |
//! | `GET /v1/models`, `POST /v1/chat/completions` | every agent as a model of OpenAI's protocol |
//! | `GET /health` | `{"status":"healthy", ..}` |
//! | `GET /sessions`, `GET /sessions/{session_id}[/journal\|/state\|/diff\|/graph\|/events]` | what there is, what happened |
//! | `POST /sessions/{session_id}/fork`, `DELETE /sessions/{session_id}` | go another way, remove |
//! | `WS /ws/{session_id}?after=SEQ&events=status\|all` | progress, questions, answers |
//! | `GET /ready`, `GET /metrics` | whether to send requests here; numbers for Prometheus |
//! | `GET /`, `GET /static/{file}` | the dashboard |
//! | `GET /docs`, `/redoc`, `/openapi.json`, `/asyncapi.json`, `/docs/websocket`, `/docs/errors[/{code}]` | what all of it is |
//!
//! Read in this order: [`server`] the way in, `http` connections, the table of paths and what is
//! done around every request, [`auth`] who calls, `owner` whose a session is, `limit` how much a caller may have,
//! `metrics` what is counted, `otlp` what a tracing backend is sent, [`webhook`] telling that a run ended, `handler` one file a path, `ws` the socket, `wire`
//! the names front ends know, `dashboard` the page and its files, `docs` the API's documents, `error` what is refused
//! and how; [`own`] paths of your own; `config` the settings and `cli` the command line (feature `cli`);
//! `demo` the sample agents (feature `demo`).

mod agent;
pub mod assistant;
pub mod auth;
mod chat;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod config;
mod dashboard;
mod derived;
#[cfg(feature = "demo")]
pub mod demo;
mod docs;
mod error;
mod fanout;
mod follow;
mod handler;
mod http;
mod limit;
mod metrics;
mod otlp;
pub mod own;
mod owner;
pub mod server;
mod talk;
mod title;
pub mod tls;
pub mod webhook;
mod wire;
mod ws;

#[cfg(feature = "cli")]
#[doc(inline)]
pub use self::config::Config;
#[doc(inline)]
pub use self::{
    agent::TaskAgent,
    assistant::Assistant,
    auth::Auth,
    chat::Chat,
    http::{
        cors::Origins,
        host::Hosts,
        proxy::{Proxies, ProxyHeader},
    },
    server::{Server, ServerBuilder, ServerOptions},
    tls::Tls,
    webhook::Webhooks,
};

// The README's program is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
