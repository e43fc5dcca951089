//! Last nodes of a sub-agent: its todo ends, and a failure becomes its result.

use crate::{
    agent::AgentState,
    engine::{Context, NodeFailure},
    graph::{Node, Outcome, Result},
};

/// The end of a sub-agent: its todo is done.
pub(in crate::agent) struct FinishNode;

impl Node<AgentState> for FinishNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        if let Some(item) = state.todo.as_deref().and_then(|id| cx.todos().get(id).ok()) {
            item.done();
        }
        Ok(Outcome::empty())
    }
}

/// A sub-agent's failure is its result.
pub(in crate::agent) struct Failed;

impl Node<AgentState> for Failed {
    type Input = NodeFailure;

    async fn run(
        &self,
        state: &AgentState,
        failure: NodeFailure,
        cx: &Context,
    ) -> Result<Outcome<AgentState>> {
        if let Some(item) = state.todo.as_deref().and_then(|id| cx.todos().get(id).ok()) {
            item.fail(&failure.message);
        }
        Ok(Outcome::update(AgentState::update().failure(failure.message)))
    }
}
