//! OpenAI's chat completions over every agent of the server: the name of an agent is a model.

mod completions;
mod hear;
mod models;

pub(crate) use completions::create;
pub(crate) use models::{list, one};

use crate::{
    Assistant, Chat, TaskAgent,
    error::{ApiError, Refusal},
    server::Inner,
};

/// Who answers under a name.
pub(super) enum Speaker<'a> {
    /// A model, without anything around it.
    Plain(&'a Chat),
    /// An agent whose words are its model's.
    Assistant(&'a Assistant),
    /// An agent that takes one message and ends with one text.
    Task(&'a dyn TaskAgent),
}

impl Inner {
    /// The names that can be asked for, each once.
    fn speakers(&self) -> impl Iterator<Item = &str> {
        self.chat.iter().map(crate::Chat::id).chain(self.agents.iter().map(|agent| agent.graph()))
    }

    /// Who answers under a name.
    fn speaker(&self, name: &str) -> Result<Speaker<'_>, ApiError> {
        if let Some(chat) = self.chat.as_ref().filter(|chat| chat.id() == name) {
            return Ok(Speaker::Plain(chat));
        }
        if let Some(assistant) = self.assistant.as_ref().filter(|assistant| assistant.agent().name() == name)
        {
            return Ok(Speaker::Assistant(assistant));
        }
        let task = self.agents.iter().find(|agent| agent.graph() == name);
        task.map(|agent| Speaker::Task(&**agent)).ok_or_else(|| {
            let name = &name[..name.floor_char_boundary(128)];
            let known: Vec<&str> = self.speakers().collect();
            let told = format!("The model `{name}` does not exist; there are: {}", known.join(", "));
            ApiError::new(Refusal::ModelNotFound, told).at("model")
        })
    }
}
