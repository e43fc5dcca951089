//! Guide: one page per subject, each with one complete program.
//!
//! 1. [`first_agent`]: a model, a tool and a session.
//! 2. [`state`]: typed state and reducers.
//! 3. [`graphs`]: edges, branches, joins, sends and subgraphs.
//! 4. [`interrupts`]: a person in the loop.
//! 5. [`durability`]: what survives the end of the process.
//! 6. [`memory`]: data that outlives a session.
//! 7. [`testing`]: tests without a network and without sleeps.
//! 8. [`stores`]: writing a journal store.
//!
//! Tools and MCP have a page in `agent_tools::guide`, the server has one in `agent_server::guide`.

#[doc = include_str!("first_agent.md")]
pub mod first_agent {}

#[doc = include_str!("state.md")]
pub mod state {}

#[doc = include_str!("graphs.md")]
pub mod graphs {}

#[doc = include_str!("interrupts.md")]
pub mod interrupts {}

#[doc = include_str!("durability.md")]
pub mod durability {}

#[doc = include_str!("memory.md")]
pub mod memory {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("stores.md")]
pub mod stores {}
