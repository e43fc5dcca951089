//! Review node: a model reviews the answer and may send the agent back to work.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Core;
use crate::{
    agent::{AgentState, Finish},
    engine::Context,
    graph::{Node, Outcome, Result},
    model::{Message, ModelRequest, Role},
};

/// Lets a reviewer look at the answer.
pub(in crate::agent) struct ReviewNode(pub(in crate::agent) Arc<Core>);

/// What a reviewer says.
#[derive(Debug, Deserialize, JsonSchema)]
struct Review {
    /// Whether the answer is good as it is.
    approved: bool,
    /// What is to be changed; empty when it is good.
    feedback: String,
}

impl Node<AgentState> for ReviewNode {
    type Input = ();

    async fn run(&self, state: &AgentState, (): (), cx: &Context) -> Result<Outcome<AgentState>> {
        let Some(reviewer) = &self.0.reviewer else { return Ok(Outcome::empty()) };
        let asked = state.messages.iter().rfind(|message| message.role == Role::User);
        let asked = asked.map(|message| message.text().into_owned()).unwrap_or_default();
        let text = format!("What was asked:\n{asked}\n\nThe answer:\n{}", state.answer());
        let model = self.0.profile(state).model(cx)?;
        let request = ModelRequest::new(text).system(Arc::clone(&reviewer.prompt));
        let review: Review = model.extract(request).await?;
        let update = AgentState::update().reviews(state.reviews + 1);
        Ok(Outcome::update(match (review.approved, state.reviews + 1 >= reviewer.rounds) {
            (true, _) => update,
            (false, true) => update.finish(Finish::NotApproved),
            (false, false) => update.messages(Message::user(review.feedback)),
        }))
    }
}
