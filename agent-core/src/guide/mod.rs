//! Guide: one page per subject, each with one complete program.
//!
//! 1. [`first_agent`]: a model, a tool and a session.
//! 2. [`state`]: typed state and reducers.
//! 3. [`graphs`]: edges, branches, joins, sends and subgraphs.
//! 4. [`sub_agents`]: one agent gives tasks to others.
//! 5. [`interrupts`]: a person in the loop.
//! 6. [`durability`]: what survives the end of the process.
//! 7. [`memory`]: data that outlives a session.
//! 8. [`testing`]: tests without a network and without sleeps.
//! 9. [`stores`]: writing a journal store.
//!
//! Tools and MCP have a page in `agent_tools::guide`, retrieval has one in `agent_tools::retrieval`, the server has one in `agent_server::guide`.

#[doc = include_str!("first_agent.md")]
pub mod first_agent {}

#[doc = include_str!("state.md")]
pub mod state {}

#[doc = include_str!("graphs.md")]
pub mod graphs {}

#[doc = include_str!("sub_agents.md")]
pub mod sub_agents {}

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
