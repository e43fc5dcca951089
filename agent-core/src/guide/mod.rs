//! Guide: one page per subject, each with one complete program.
//!
//! 1. [`first_agent`]: a model, a tool and a session.
//! 2. [`state`]: typed state and reducers.
//! 3. [`graphs`]: edges, branches, joins, sends and subgraphs.
//! 4. [`sub_agents`]: one agent gives tasks to others.
//! 5. [`interrupts`]: a person in the loop.
//! 6. [`context`]: who a run works for.
//! 7. [`middleware`]: code around the calls of an agent.
//! 8. [`steering`]: a message to an agent at work.
//! 9. [`timers`]: runs that sleep.
//! 10. [`durability`]: what survives the end of the process.
//! 11. [`memory`]: data that outlives a session.
//! 12. [`testing`]: tests without a network and without sleeps.
//! 13. [`stores`]: writing a journal store.
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

#[doc = include_str!("context.md")]
pub mod context {}

#[doc = include_str!("middleware.md")]
pub mod middleware {}

#[doc = include_str!("steering.md")]
pub mod steering {}

#[doc = include_str!("timers.md")]
pub mod timers {}

#[doc = include_str!("durability.md")]
pub mod durability {}

#[doc = include_str!("memory.md")]
pub mod memory {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("stores.md")]
pub mod stores {}
