//! What a tool knows of the call it carries out.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    ToolError,
    seat::{Away, Seat},
};
use crate::{ids::SessionId, interrupt::Question, memory::MemoryStore, todo::Todos};

/// The circumstances of one call. Cheap to clone.
#[derive(Clone)]
#[non_exhaustive]
pub struct ToolContext {
    /// The id the model gave this call.
    pub call_id: String,
    /// The same for every attempt of this call, after a crash too: send it to services that know such keys.
    pub idempotency_key: String,
    /// Cancelled when the run stops. The future is dropped soon after.
    pub cancelled: CancellationToken,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    host: Option<Arc<dyn ToolHost>>,
    listener: Option<Arc<dyn CallListener>>,
    /// Its place among the calls of its tool, where they are capped.
    seat: Option<Arc<Seat>>,
}

/// Who hears of a call that belongs to no run: a protocol that carries calls of others, a test.
pub trait CallListener: Send + Sync + 'static {
    /// The call shows progress.
    fn progress(&self, value: Value);

    /// The call asks a person. Default: refused, as nobody is there to answer.
    ///
    /// # Errors
    ///
    /// There is no answer.
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Value, ToolError>> {
        drop(question);
        Box::pin(async { Err(nobody()) })
    }
}

fn nobody() -> ToolError {
    ToolError::refused("the tool needs an answer from a person, and there is nobody to ask")
}

/// What a run lends to its tools.
pub(crate) trait ToolHost: Send + Sync {
    fn typed(&self, of: TypeId) -> Option<Arc<dyn Any + Send + Sync>>;
    fn progress(&self, name: String, value: Value);
    fn todos(&self) -> Todos;
    fn memory(&self) -> Option<Arc<dyn MemoryStore>>;
    fn session(&self) -> &SessionId;
    /// `away`: the call's place, to take again before it continues.
    fn ask(
        self: Arc<Self>,
        question: Question,
        away: Option<Away>,
    ) -> BoxFuture<'static, Result<Value, ToolError>>;
    /// Whether a person is being asked, and for how long people were asked in all.
    fn waited(&self) -> (bool, Duration);
}

impl ToolContext {
    /// The context of one call.
    #[must_use]
    pub fn new(
        call_id: impl Into<String>,
        idempotency_key: impl Into<String>,
        cancelled: CancellationToken,
    ) -> Self {
        let (call_id, idempotency_key) = (call_id.into(), idempotency_key.into());
        Self { call_id, idempotency_key, cancelled, attempt: 1, host: None, listener: None, seat: None }
    }

    /// A context that belongs to no run: for tests of a tool, and for calling one by hand.
    #[must_use]
    pub fn detached() -> Self {
        Self::new("call_detached", "detached", CancellationToken::new())
    }

    pub(crate) fn hosted(mut self, host: Arc<dyn ToolHost>) -> Self {
        self.host = Some(host);
        self
    }

    pub(super) fn seated(mut self, seat: Option<Arc<Seat>>) -> Self {
        self.seat = seat;
        self
    }

    /// The same with somebody who hears of it. A call of a run has its run, which comes first.
    #[must_use]
    pub fn heard_by(mut self, listener: impl CallListener) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// A dependency that was given to [`RuntimeBuilder::provide`](crate::session::RuntimeBuilder::provide).
    ///
    /// # Errors
    ///
    /// None was given, or the call belongs to no run. The model reads only that the tool failed.
    pub fn get<T: Any + Send + Sync>(&self) -> Result<Arc<T>, ToolError> {
        let found = self.host.as_ref().and_then(|host| host.typed(TypeId::of::<T>()));
        found.and_then(|any| any.downcast().ok()).ok_or_else(|| {
            let cause = format!("no `{}` was provided to the runtime", std::any::type_name::<T>());
            ToolError::failed("the tool failed").with_cause(cause)
        })
    }

    /// Shows progress of this call: a slow subscriber sees the latest. Nothing happens outside a run, or when the
    /// value is no JSON.
    pub fn progress(&self, value: impl Serialize) {
        if self.host.is_none() && self.listener.is_none() {
            return;
        }
        let Ok(value) = crate::json::to_value(&value) else { return };
        match (&self.host, &self.listener) {
            (Some(host), _) => host.progress(format!("tool:{}", self.call_id), value),
            (None, Some(listener)) => listener.progress(value),
            (None, None) => {}
        }
    }

    /// Asks a person and waits for the answer; in a run this is its own interrupt: the run pauses when nothing else
    /// can go on, and after a restart the call is made again and finds the answer. The id of the question names the
    /// call. The time until the answer does not count for the policy's time limit, nor does the call count for its
    /// [`Concurrency`](super::Concurrency): other calls of the tool may run, and this one waits for a
    /// permit before it continues. A call that is made again and asks something else under the same key is asked anew.
    ///
    /// # Errors
    ///
    /// Nobody is there to ask, or nobody answered by the question's deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its answer, the question is withdrawn.
    pub async fn ask(&self, question: impl Into<Question>) -> Result<Value, ToolError> {
        let away = || self.seat.as_ref().map(Seat::leave);
        match (&self.host, &self.listener) {
            (Some(host), _) => Arc::clone(host).ask(question.into(), away()).await,
            (None, Some(listener)) => {
                let away = away();
                let answer = listener.ask(question.into()).await;
                if let Some(away) = away {
                    away.end().await;
                }
                answer
            }
            (None, None) => Err(nobody()),
        }
    }

    pub(super) const fn seat(&self) -> Option<&Arc<Seat>> {
        self.seat.as_ref()
    }

    pub(super) fn waited(&self) -> (bool, Duration) {
        self.host.as_ref().map_or((false, Duration::ZERO), |host| host.waited())
    }

    /// The plan that people see. `None` outside a run.
    #[must_use]
    pub fn todos(&self) -> Option<Todos> {
        self.host.as_ref().map(|host| host.todos())
    }

    /// The session that the call belongs to. `None` outside a run.
    #[must_use]
    pub fn session(&self) -> Option<&SessionId> {
        self.host.as_ref().map(|host| host.session())
    }

    /// The long-term memory. `None` when the runtime has none, and outside a run.
    #[must_use]
    pub fn memory(&self) -> Option<Arc<dyn MemoryStore>> {
        self.host.as_ref().and_then(|host| host.memory())
    }
}

impl fmt::Debug for ToolContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolContext")
            .field("call_id", &self.call_id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
