//! OpenAI's chat completions for every agent of the server. The name of an agent is a model.

mod agent_events;
mod caller_tools;
mod completions;
mod deltas;
mod format;
mod models;

use crate::docs::openapi::RouteDoc;

pub(super) use completions::create;
pub(super) use models::{list, one};

use crate::{
    Assistant, Chat, TaskAgent,
    app::AppState,
    error::{ApiError, Rejection},
};

/// Returns the documentation of the routes.
pub(super) fn docs() -> Vec<RouteDoc> {
    models::docs().into_iter().chain([completions::doc()]).collect()
}

/// The backend of a model name.
pub(super) enum Backend<'a> {
    /// The plain model.
    Plain(&'a Chat),
    /// An agent; its answer is the text of its model.
    Assistant(&'a Assistant),
    /// An agent; its answer is in its final state.
    Task(&'a dyn TaskAgent),
}

impl AppState {
    /// Returns the names of all models.
    fn model_names(&self) -> impl Iterator<Item = &str> {
        self.chat.iter().map(crate::Chat::id).chain(self.agents.iter().map(|agent| agent.graph()))
    }

    /// Returns the backend of a model name.
    fn backend(&self, name: &str) -> Result<Backend<'_>, ApiError> {
        if let Some(chat) = self.chat.as_ref().filter(|chat| chat.id() == name) {
            return Ok(Backend::Plain(chat));
        }
        let agent = self.agents.iter().find(|agent| agent.graph() == name);
        let backend = agent.map(|agent| match agent.as_assistant() {
            Some(assistant) => Backend::Assistant(assistant),
            None => Backend::Task(&**agent),
        });
        backend.ok_or_else(|| {
            let name = &name[..name.floor_char_boundary(128)];
            let known: Vec<&str> = self.model_names().collect();
            let message = format!("The model `{name}` does not exist; known models: {}", known.join(", "));
            ApiError::new(Rejection::ModelNotFound, message).at("model")
        })
    }
}
