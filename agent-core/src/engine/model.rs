//! The model as a node sees it: each call is a recorded step, its text is shown while it arrives.

use futures::StreamExt;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{Context, Used};
use crate::{
    event::{EventBody, payload},
    graph::{NodeError, Result},
    model::{
        Abilities, Assembler, Delta, Extraction, Extractor, Message, Model, ModelError, ModelReply,
        ModelRequest,
    },
};

/// One call.
const ONE: Used = Used { model_calls: 1, tool_calls: 0, input_tokens: 0, output_tokens: 0, cost_micros: 0 };

/// How a call that listens for a stop ended.
#[derive(Debug)]
pub enum Completion {
    /// The answer is complete.
    Whole(ModelReply),
    /// The run is being stopped. What was said by then, without tool calls; `None`: nothing.
    Stopped(Option<Message>),
}

/// The runtime's model, with recorded calls; see [`Context::model`].
#[derive(Debug)]
pub struct RecordedModel {
    cx: Context,
    model: Model,
}

impl RecordedModel {
    pub(super) const fn new(cx: Context, model: Model) -> Self {
        Self { cx, model }
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.model.name()
    }

    /// Asks, shows the text while it arrives, and records the reply. The key is the order of calls in this
    /// activation; use [`complete_as`](Self::complete_as) for calls in parallel.
    ///
    /// # Errors
    ///
    /// [`ModelError`], or [`LimitError`](super::LimitError) when the budget does not allow the call.
    pub async fn complete(&self, request: impl Into<ModelRequest>) -> Result<ModelReply> {
        self.complete_as(self.cx.cell().next_model_key(), request).await
    }

    /// As [`complete`](Self::complete), under a key of the caller's.
    ///
    /// # Errors
    ///
    /// See [`complete`](Self::complete).
    pub async fn complete_as(
        &self,
        key: impl Into<String>,
        request: impl Into<ModelRequest>,
    ) -> Result<ModelReply> {
        let (key, request) = (key.into(), request.into());
        let message = key.clone();
        let work = async move {
            let mut reply = Assembler::new();
            let result = self.call(&message, request, &mut reply).await;
            match result.and_then(|()| reply.finish()) {
                Ok(reply) => {
                    let used = used(&reply);
                    (Ok(reply), Some(used))
                }
                Err(error) => (Err(error.into()), Some(ONE)),
            }
        };
        self.cx.step_as("model", key, Some(ONE), work).await
    }

    /// As [`complete_as`](Self::complete_as); when the run is stopped meanwhile, gives what was said by then instead
    /// of being dropped. Nothing is recorded then, and the next try asks anew.
    ///
    /// # Errors
    ///
    /// See [`complete`](Self::complete).
    pub async fn complete_or_stop(
        &self,
        key: impl Into<String>,
        request: impl Into<ModelRequest>,
    ) -> Result<Completion> {
        let (key, request) = (key.into(), request.into());
        let message = key.clone();
        let mut said = None;
        let partial = &mut said;
        let work = async move {
            let mut reply = Assembler::new();
            let result = tokio::select! {
                biased; // an answer that is complete counts, stopped or not
                result = self.call(&message, request, &mut reply) => Some(result),
                () = self.cx.cancelled() => None,
            };
            match result {
                Some(result) => match result.and_then(|()| reply.finish()) {
                    Ok(reply) => {
                        let used = used(&reply);
                        (Ok(reply), Some(used))
                    }
                    Err(error) => (Err(error.into()), Some(ONE)),
                },
                None => {
                    *partial = Some(reply.into_partial());
                    (Err(NodeError::permanent("the run was stopped")), Some(ONE))
                }
            }
        };
        let result = self.cx.step_as("model", key, Some(ONE), work).await;
        match (result, said) {
            (Ok(reply), _) => Ok(Completion::Whole(reply)),
            (Err(_), Some(partial)) => Ok(Completion::Stopped(partial)),
            (Err(error), None) => Err(error),
        }
    }

    /// Asks for a value of a Rust type: held to its JSON Schema, checked, and asked again with the faults, three times
    /// in all. Each answer is recorded.
    ///
    /// # Errors
    ///
    /// As [`complete`](Self::complete), and those of [`Extractor::judge`].
    pub async fn extract<T: JsonSchema + DeserializeOwned>(
        &self,
        request: impl Into<ModelRequest>,
    ) -> Result<T> {
        let mut extractor = Extractor::<T>::new(request.into(), self.model.abilities())?;
        let mut request = extractor.request();
        loop {
            match extractor.judge(&self.complete(request).await?)? {
                Extraction::Done(value) => return Ok(value),
                Extraction::Again(again) => request = *again,
            }
        }
    }

    /// What the model's endpoint does by itself.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        self.model.abilities()
    }

    async fn call(
        &self,
        message: &str,
        request: ModelRequest,
        reply: &mut Assembler,
    ) -> Result<(), ModelError> {
        let mut stream = self.model.stream(request).await?;
        while let Some(delta) = stream.next().await {
            let delta = delta?;
            match &delta {
                Delta::Text { text } => self.cx.token(message, text),
                Delta::Reasoning { text } => self.cx.show(EventBody::Reasoning(payload::Reasoning {
                    message: message.to_owned(),
                    text: text.clone(),
                })),
                Delta::Restarted { reason, .. } => {
                    self.cx.show(EventBody::TokensVoided(payload::TokensVoided {
                        message: message.to_owned(),
                        reason: reason.clone(),
                    }));
                }
                _ => self.cx.heartbeat(),
            }
            reply.push(&delta)?;
        }
        Ok(())
    }
}

fn used(reply: &ModelReply) -> Used {
    let usage = reply.usage.unwrap_or_default();
    Used { input_tokens: usage.input_tokens, output_tokens: usage.output_tokens, ..ONE }
}
