//! Metrics of model calls outside of runs: those of the plain chat.

use std::{sync::Arc, time::Instant};

use agent_core::model::{
    ChatModel, Delta, Model, ModelCapabilities, ModelError, ModelRequest, ModelStream, Usage,
};
use futures::{StreamExt, stream};

use super::Metrics;

/// A model with counted calls.
pub(crate) struct MeteredModel {
    model: Model,
    metrics: Arc<Metrics>,
}

impl MeteredModel {
    pub(crate) const fn new(model: Model, metrics: Arc<Metrics>) -> Self {
        Self { model, metrics }
    }
}

/// A call, which is counted when it ends, also if the caller drops it.
struct Call {
    metrics: Arc<Metrics>,
    model: String,
    began: Instant,
    usage: Usage,
    failed: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.metrics.model_called(&self.model, ms, self.failed, self.usage);
    }
}

impl ChatModel for MeteredModel {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn capabilities(&self) -> ModelCapabilities {
        self.model.capabilities()
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let mut call = Call {
            metrics: Arc::clone(&self.metrics),
            model: self.model.name().to_owned(),
            began: Instant::now(),
            usage: Usage::default(),
            failed: false,
        };
        let answer = self.model.stream(request).await;
        let answer = answer.inspect_err(|_| call.failed = true)?;
        let counted = stream::unfold((answer, call), |(mut answer, mut call)| async move {
            let delta = answer.next().await?;
            match &delta {
                Ok(Delta::Model { name }) => call.model.clone_from(name),
                Ok(Delta::Usage { usage }) => call.usage = *usage,
                Ok(_) => {}
                Err(_) => call.failed = true,
            }
            Some((delta, (answer, call)))
        });
        Ok(ModelStream::new(counted.boxed()))
    }
}
