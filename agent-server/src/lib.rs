//! HTTP and WebSocket server for `agent-core`: durable agents behind the APIs that existing front ends use.
//!
//! | Method, path (also under `/api/agent`) | Meaning |
//! |---|---|
//! | `POST /run` | run an agent until it ends or asks a question |
//! | `POST /run-async` | start a run without waiting; progress over the WebSocket |
//! | `GET /status/{session_id}` | status of the session |
//! | `POST /stop/{session_id}` | stop the run |
//! | `POST /resume/{session_id}` | resume the run, or answer its question with `{value, id?}` |
//! | `POST`, `GET /api/chat/stream` | stream the answer of a model |
//! | `POST /api/v1/chat`, `/api/v1/chat/stream` | an agent with tools, in stored conversations |
//! | `GET /v1/models`, `POST /v1/chat/completions` | every agent as a model of OpenAI's API |
//! | `GET /health` | `{"status":"healthy", ..}` |
//! | `GET /sessions`, `GET /sessions/{session_id}[/journal\|/state\|/diff\|/graph\|/events]` | sessions and their history |
//! | `POST /sessions/{session_id}/steer` | a message to the agent at work |
//! | `POST /schedules`, `GET /schedules`, `GET` and `DELETE /schedules/{schedule_id}` | runs at a time or by a cron expression |
//! | `POST /sessions/{session_id}/fork`, `DELETE /sessions/{session_id}` | fork and delete sessions |
//! | `WS /ws/{session_id}?after=SEQ&events=status\|all` | progress, questions, answers |
//! | `GET /ready`, `GET /metrics` | readiness, Prometheus metrics |
//! | `GET /`, `GET /static/{file}` | the dashboard |
//! | `GET /docs`, `/redoc`, `/openapi.json`, `/asyncapi.json`, `/docs/websocket`, `/docs/errors[/{code}]` | API documents |
//!
//! Read in this order: [`server`] binds an address, serves and shuts down; `app` is the state that handlers share;
//! `http` is the transport; [`auth`] authentication and session ownership; `limits` limits per caller; `handler` has one
//! file per route; `api` one type per message; `docs` the API documents; `error` the errors and their statuses;
//! `conversation` a run as text and tool calls; [`webhook`] notifications of ended runs; `metrics` and `otlp`
//! observability; `dashboard` the files of the web page; [`custom_routes`] routes of the embedding program; `config` the
//! settings and `cli` the command line (feature `cli`); `demo` the sample agents (feature `demo`).

mod api;
#[cfg(feature = "cli")]
mod agents;
mod app;
pub mod assistant;
pub mod auth;
mod chat_endpoint;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod config;
mod conversation;
pub mod custom_routes;
mod dashboard;
#[cfg(feature = "demo")]
pub mod demo;
mod derived;
mod docs;
mod ephemeral_session;
mod error;
#[cfg(feature = "fail-points")]
pub mod fail_points;
#[cfg(not(feature = "fail-points"))]
mod fail_points;
mod fanout;
mod handler;
mod http;
mod journal_observer;
mod limits;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
mod options;
mod otlp;
mod raw_calls;
mod readiness;
mod run_progress;
pub mod server;
mod session_title;
mod spelling;
mod task_agent;
pub mod tls;
pub mod webhook;

#[cfg(feature = "cli")]
#[doc(inline)]
pub use self::{
    agents::{Agents, NoInputField},
    cli::{IntoAgents, ServeError, serve},
    config::Config,
};
#[doc(inline)]
pub use self::{
    assistant::Assistant,
    auth::Auth,
    chat_endpoint::Chat,
    http::{
        cors::Origins,
        forwarded::{Proxies, ProxyHeader},
        host::Hosts,
    },
    limits::{Admission, SlidingWindow},
    options::ServerOptions,
    server::{Server, ServerBuilder},
    task_agent::{ContextField, TaskAgent},
    tls::Tls,
    webhook::Webhooks,
};

#[doc = include_str!("guide.md")]
pub mod guide {}

// The README's program is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
