//! OpenAI's chat completions: requests and responses.
//!
//! Every agent is a model, under its own name. The messages of a request are the whole conversation; nothing is stored.

mod messages;
mod reply;
mod request;

pub(crate) use messages::task_of;
pub(crate) use reply::{
    Answer, Completion, CompletionChunk, CompletionWriter, ModelInfo, ModelList, estimate,
};
pub(crate) use request::{CompletionRequest, ParsedCompletion};
