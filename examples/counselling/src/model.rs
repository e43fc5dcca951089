//! The model: sampling, the tap through which its text reaches the check, and failures as the client sees them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agent_core::model::{
    ChatModel, Delta, Model, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest, ModelStream,
};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Sampling of answers.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Temperature. Default: 0.7.
    pub temperature: f32,
    /// Nucleus sampling. Default: 0.8.
    pub top_p: f32,
    /// Number of candidates per token. Default: 40. Sent only to endpoints that take it.
    pub top_k: u32,
    /// Maximum length of an answer in tokens. Default: 1,024.
    pub max_output_tokens: u32,
    /// Whether the endpoint takes `top_k`. It becomes `false` when the endpoint rejects it.
    pub takes_top_k: Arc<AtomicBool>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_p: 0.8,
            top_k: 40,
            max_output_tokens: 1_024,
            takes_top_k: Arc::new(AtomicBool::new(true)),
        }
    }
}

impl Sampling {
    /// Sets the sampling of a request. Returns whether it has `top_k`.
    pub(crate) fn apply(&self, request: ModelRequest) -> (ModelRequest, bool) {
        let request =
            request.temperature(self.temperature).top_p(self.top_p).max_output_tokens(self.max_output_tokens);
        if self.takes_top_k.load(Ordering::Relaxed) {
            (request.extra("top_k", self.top_k), true)
        } else {
            (request, false)
        }
    }
}

/// Why there is no complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The endpoint cannot be reached or is overloaded.
    #[error("AI 서비스가 일시적으로 사용할 수 없습니다")]
    Down,
    /// The answer took longer than its limit.
    #[error("AI 응답 생성 중 오류가 발생했습니다: 응답 시간이 초과되었습니다")]
    TimedOut,
    /// The endpoint rejected the key.
    #[error("AI 응답 생성 중 오류가 발생했습니다: AI 서비스 인증에 실패했습니다")]
    Auth,
    /// The account of the endpoint has no credit left.
    #[error("AI 응답 생성 중 오류가 발생했습니다: AI 서비스 사용량을 초과했습니다")]
    Quota,
    /// The endpoint limits the rate of requests.
    #[error("AI 응답 생성 중 오류가 발생했습니다: AI 서비스에 요청이 많습니다")]
    Busy,
    /// The conversation is too long for the model.
    #[error("AI 응답 생성 중 오류가 발생했습니다: 대화가 너무 깁니다")]
    TooLong,
    /// A content filter of the endpoint ended the answer.
    #[error("AI 응답 생성 중 오류가 발생했습니다: 안전 정책에 따라 답변이 중단되었습니다")]
    Filtered,
    /// The answer ended in the middle.
    #[error("AI 응답 생성 중 오류가 발생했습니다: 응답이 중간에 끊겼습니다")]
    Cut,
    /// The answer has no text.
    #[error("AI 응답 생성 중 오류가 발생했습니다: 응답이 비어 있습니다")]
    Empty,
    /// Anything else.
    #[error("AI 응답 생성 중 오류가 발생했습니다: 내부 오류")]
    Internal,
}

impl Failure {
    /// Returns the failure of a model call. `begun`: whether a part of the answer arrived.
    #[must_use]
    pub fn of(error: &ModelError, begun: bool) -> Self {
        match error.kind() {
            ModelErrorKind::Transport | ModelErrorKind::Overloaded { .. } if !begun => Self::Down,
            ModelErrorKind::Transport | ModelErrorKind::Overloaded { .. } | ModelErrorKind::Cut => Self::Cut,
            ModelErrorKind::TimedOut { .. } => Self::TimedOut,
            ModelErrorKind::Auth => Self::Auth,
            ModelErrorKind::Quota => Self::Quota,
            ModelErrorKind::RateLimited { .. } => Self::Busy,
            ModelErrorKind::ContextTooLong => Self::TooLong,
            ModelErrorKind::Filtered => Self::Filtered,
            _ => Self::Internal,
        }
    }
}

/// What the generation passes to the check.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(String),
    End(Result<(), Failure>),
}

/// A model that also sends the text of its answer to a channel as it arrives.
pub(crate) struct Tap {
    pub(crate) model: Model,
    pub(crate) pieces: mpsc::Sender<Piece>,
    /// Whether text was sent.
    pub(crate) begun: Arc<AtomicBool>,
}

impl ChatModel for Tap {
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
        let stream = self.model.stream(request).await?;
        let tapped = (stream, self.pieces.clone(), Arc::clone(&self.begun));
        Ok(ModelStream::new(stream::unfold(Some(tapped), |tapped| async move {
            let (mut stream, pieces, begun) = tapped?;
            let delta = match stream.next().await? {
                Ok(delta) => delta,
                Err(error) => return Some((Err(error), None)),
            };
            let sent = match &delta {
                Delta::Text { text } if !text.is_empty() => {
                    begun.store(true, Ordering::Relaxed);
                    pieces.send(Piece::Text(text.clone())).await.is_ok()
                }
                // What was said cannot be taken back.
                Delta::Restarted { .. } => !begun.load(Ordering::Relaxed),
                _ => true,
            };
            match sent {
                true => Some((Ok(delta), Some((stream, pieces, begun)))),
                false => Some((Err(ModelError::new(ModelErrorKind::Cut)), None)),
            }
        })))
    }
}
