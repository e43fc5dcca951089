//! OpenAI's chat completions: what is read and what is written, field by field.
//!
//! Every agent is a model, under its own name. The messages of a request are the whole conversation; nothing is kept.

mod reply;
mod request;

pub(crate) use reply::{Answer, Writer, estimate, model, models};
pub(crate) use request::{Completion, task_of};
