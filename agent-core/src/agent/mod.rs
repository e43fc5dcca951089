//! Agents: a model that works with tools until it has an answer, built from the graph API that everybody has.
//!
//! Read in this order: [`AgentState`] what an agent knows, [`Agent`] what it is made of, [`plan`] the todo list that a
//! model moves itself. An agent is a [`Graph`](crate::Graph) of two nodes, `model` and `tools`, that take turns; around them stand,
//! where wanted, sub-agents (`agent.<name>`), an `output` node for a typed answer and a `review` node.

mod build;
mod nodes;
pub mod plan;
mod prompt;
mod state;

pub use build::{Agent, AgentBuilder, AgentError};
pub use prompt::{Prompt, PromptError};
pub use state::{AgentState, AgentStateUpdate, Finish};
