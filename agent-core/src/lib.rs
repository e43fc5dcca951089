//! Durable agent graphs: a graph of nodes, models, tools and people that runs, stops, and goes on where it was.
//!
//! A session is an append-only journal. State is a fold of it, resuming is reading it, and what was paid for is in
//! it; so a pause, a stop, a crash and a move to another machine are the same thing.
//!
//! Read in this order: [`state`] what a run knows, [`graph`] where it may go, [`engine`] how it gets there,
//! [`journal`] what happened, [`session`] who may write, [`interrupt`] a person in the loop, [`mod@todo`] the visible
//! plan, [`event`] what others see, [`run`] how it ends, [`json`] what a stored value may be; then [`model`], [`mod@tool`] and [`memory`], and
//! what is built from all of it, the [`agent`]; [`telemetry`] is what a tracing backend sees.

// So that the paths which the derive writes work inside this crate too.
extern crate self as agent_core;

pub mod ids;
pub mod error;
pub mod clock;
pub mod secret;
pub mod json;
pub mod state;
pub mod graph;
pub mod engine;
pub mod journal;
pub mod session;
pub mod run;
pub mod interrupt;
pub mod todo;
pub mod event;
pub mod model;
pub mod tool;
pub mod memory;
pub mod agent;
pub mod telemetry;
pub mod retry;
mod compute;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod task_group;
mod util;
mod validation;

#[doc(inline)]
pub use self::{
    agent::{Agent, AgentState},
    engine::{Context, RunError},
    error::Code,
    event::Event,
    graph::{END, Graph, NodeError, Result, START},
    ids::SessionId,
    interrupt::{Answers, Question},
    run::{Durability, RunOutcome, RunStatus},
    session::{BusyPolicy, Run, RunOptions, Runtime, Session, SessionError},
    state::{Input, State},
};
pub use agent_core_macros::{State, tool};

// The README's program is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
