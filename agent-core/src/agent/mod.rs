//! Agents: a model that works with tools until it has an answer, built from the graph API that everybody has.
//!
//! Read in this order: [`AgentState`] what an agent knows, [`Agent`] what it is made of, [`todo_tool`] the todo list that a
//! model moves itself. An agent is a [`Graph`](crate::Graph) of two nodes, `model` and `tools`, that take turns; around them stand,
//! where wanted, sub-agents (`agent.<name>`), an `output` node for a typed answer and a `review` node.
//!
//! A sub-agent is a subgraph, not a [`Tool`](crate::tool::Tool), though its parent's model calls it like one: a tool
//! call is one recorded step, which a crash repeats or ends as a whole, while each call and question inside a subgraph
//! is recorded by itself. To call an agent from a graph of your own, give it a node with
//! [`GraphBuilder::subgraph`](crate::graph::GraphBuilder::subgraph); to let a model choose it, use
//! [`AgentBuilder::sub_agent`]. The todo tool [`UpdateTodos`](todo_tool::UpdateTodos) and the
//! memory tools of `agent-tools` are plain tools for any registry.

mod assembly;
mod builder;
mod close;
pub mod conversation;
mod nodes;
mod profile;
#[cfg(feature = "prompt")]
mod prompt;
mod state;
pub mod todo_tool;

pub use builder::{Agent, AgentBuilder, AgentError, OutputMode};
#[cfg(feature = "prompt")]
pub use prompt::{Prompt, PromptError};
pub use state::{AgentState, AgentStateUpdate, Finish};
