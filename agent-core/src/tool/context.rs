//! What a tool knows of the call it carries out.

use tokio_util::sync::CancellationToken;

/// The circumstances of one call. Cheap to clone.
#[derive(Debug, Clone)]
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
}

impl ToolContext {
    /// The context of one call.
    #[must_use]
    pub fn new(
        call_id: impl Into<String>,
        idempotency_key: impl Into<String>,
        cancelled: CancellationToken,
    ) -> Self {
        Self { call_id: call_id.into(), idempotency_key: idempotency_key.into(), cancelled, attempt: 1 }
    }

    /// A context that belongs to no run: for tests of a tool, and for calling one by hand.
    #[must_use]
    pub fn detached() -> Self {
        Self::new("call_detached", "detached", CancellationToken::new())
    }
}
