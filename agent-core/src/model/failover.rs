//! Runs further attempts when one fails, before or in the middle of its answer. Retry and fallback differ only in
//! how the next attempt is chosen.

use std::time::Duration;

use futures::StreamExt;

use super::{Delta, Model, ModelError, ModelRequest, ModelStream};

/// Decision after a failed attempt.
pub(super) enum Next {
    /// Make another attempt.
    Try(Box<Attempt>),
    /// Fail with this error.
    Fail(ModelError),
}

/// A call of this model after this wait.
pub(super) struct Attempt {
    pub(super) model: Model,
    pub(super) request: ModelRequest,
    pub(super) wait: Duration,
}

/// Chooses the next step; called with the error of each failed attempt.
pub(super) type Decide = Box<dyn FnMut(ModelError) -> Next + Send>;

struct Chain {
    stream: Option<ModelStream>,
    decide: Decide,
    attempt: u32,
    /// Whether output of the current attempt was yielded.
    shown: bool,
    /// The next attempt.
    next: Option<Box<Attempt>>,
}

/// Makes attempts until one begins to answer; further attempts are made inside the stream.
pub(super) async fn run(
    model: Model,
    request: ModelRequest,
    mut decide: Decide,
) -> Result<ModelStream, ModelError> {
    let mut attempt = 1;
    let mut now = (model, request);
    loop {
        match now.0.stream(now.1).await {
            Ok(stream) => {
                let chain = Chain { stream: Some(stream), decide, attempt, shown: false, next: None };
                return Ok(ModelStream::new(futures::stream::unfold(chain, |mut chain| async move {
                    let item = chain.item().await?;
                    Some((item, chain))
                })));
            }
            Err(error) => match decide(error) {
                Next::Try(next) => {
                    attempt += 1;
                    tokio::time::sleep(next.wait).await;
                    now = (next.model, next.request);
                }
                Next::Fail(error) => return Err(error),
            },
        }
    }
}

impl Chain {
    async fn item(&mut self) -> Option<Result<Delta, ModelError>> {
        loop {
            if let Some(next) = self.next.take() {
                tokio::time::sleep(next.wait).await;
                match next.model.stream(next.request).await {
                    Ok(stream) => self.stream = Some(stream),
                    Err(error) => {
                        if let Some(item) = self.failed(error) {
                            return Some(item);
                        }
                        continue;
                    }
                }
            }
            match self.stream.as_mut()?.next().await? {
                Ok(delta) => {
                    // Restarts of an inner chain count as attempts of this one.
                    match &delta {
                        Delta::Restarted { .. } => {
                            self.attempt += 1;
                            self.shown = false;
                            let Delta::Restarted { reason, .. } = delta else { continue };
                            return Some(Ok(Delta::Restarted { attempt: self.attempt, reason }));
                        }
                        delta => self.shown |= delta.is_output(),
                    }
                    return Some(Ok(delta));
                }
                Err(error) => {
                    if let Some(item) = self.failed(error) {
                        return Some(item);
                    }
                }
            }
        }
    }

    /// Returns what the subscriber must see of a failure, if anything.
    fn failed(&mut self, error: ModelError) -> Option<Result<Delta, ModelError>> {
        self.stream = None;
        let reason = error.code().to_owned();
        match (self.decide)(error) {
            Next::Try(next) => {
                self.attempt += 1;
                self.next = Some(next);
                // Sent before the wait, so that subscribers discard the void text immediately.
                std::mem::take(&mut self.shown)
                    .then_some(Ok(Delta::Restarted { attempt: self.attempt, reason }))
            }
            Next::Fail(error) => Some(Err(error)),
        }
    }
}
