//! The model as a node sees it: each call is a recorded step, its text is shown while it arrives.

use futures::StreamExt;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{Context, Used};
use crate::{
    event::{EventBody, payload},
    graph::{NodeError, Result},
    model::{
        Abilities, Assembler, Delta, Extraction, Extractor, Model, ModelError, ModelReply, ModelRequest,
    },
};

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
        let call = Used { model_calls: 1, ..Used::default() };
        let message = key.clone();
        self.cx
            .step_as("model", key, Some(call), async move {
                let reply = self.call(&message, request).await;
                let usage = reply.as_ref().ok().and_then(|reply| reply.usage).unwrap_or_default();
                let used = Used {
                    model_calls: 1,
                    input_tokens: usage.input_tokens,
                    output_tokens: usage.output_tokens,
                    ..Used::default()
                };
                (reply.map_err(NodeError::from), Some(used))
            })
            .await
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

    async fn call(&self, message: &str, request: ModelRequest) -> Result<ModelReply, ModelError> {
        let mut stream = self.model.stream(request).await?;
        let mut reply = Assembler::new();
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
        reply.finish()
    }
}
