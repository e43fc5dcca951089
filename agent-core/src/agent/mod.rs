//! Agents: a model that calls tools until it has an answer. Built with the public graph API.
//!
//! Read in this order: [`AgentState`] the state, [`Agent`] the builder, [`conversation`] what the model reads,
//! [`Middleware`] code around its calls, [`todo_tool`] the todo list that a model updates. An agent is a [`Graph`](crate::Graph) with two nodes, `model` and `tools`, that alternate, and optional
//! nodes: sub-agents (`agent.<name>`), an `output` node for a typed answer and a `review` node.
//!
//! A sub-agent is a subgraph, not a [`Tool`](crate::tool::Tool), though its parent's model calls it like one: a tool
//! call is one recorded step, which a crash repeats or ends as a whole, while each call and question inside a subgraph
//! is recorded separately. To call an agent from a graph of your own, give it a node with
//! [`Graph::as_node`](crate::Graph::as_node); to let a model choose it, use
//! [`AgentBuilder::sub_agent`]. The todo tool [`UpdateTodos`](todo_tool::UpdateTodos) and the
//! memory tools of `agent-tools` are plain tools for any registry.

mod assembly;
mod builder;
mod close;
pub mod conversation;
mod middleware;
mod nodes;
mod profile;
#[cfg(feature = "prompt")]
mod prompt;
mod state;
pub mod todo_tool;

pub use builder::{Agent, AgentBuilder, AgentError, OutputMode};
pub use middleware::{Middleware, NextModel, NextTool};
#[cfg(feature = "prompt")]
pub use prompt::{Prompt, PromptError};
pub use state::{AgentState, AgentStateUpdate, Finish};
