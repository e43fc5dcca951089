//! Output node: converts the answer into the type that was requested.

use std::sync::Arc;

use super::Core;
use crate::{
    agent::{
        AgentState,
        conversation::{self, Window},
    },
    engine::Context,
    graph::{Node, Outcome, Result},
    model::ToolChoice,
};

/// Turns the answer into the type that was asked for.
pub(in crate::agent) struct OutputNode(pub(in crate::agent) Arc<Core>);

impl Node<AgentState> for OutputNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        let Some(output_parser) = &self.0.output else { return Ok(Outcome::empty()) };
        let profile = self.0.profile(state);
        let model = profile.model(cx)?;
        let mut request = profile.request(state, cx)?;
        if !request.tools.is_empty() {
            request.tool_choice = ToolChoice::None;
        }
        request.messages = conversation::valid(&state.messages);
        for window in profile.window.iter().chain(&state.context_limit.map(Window::tokens)) {
            request.messages = window.view(&request.messages);
        }
        let value = (output_parser.value)(model, request).await?;
        Ok(Outcome::update(AgentState::update().structured(value)))
    }
}
