//! Tells an address that a run has ended, surely: the telling is a run of its own, in the same store.
//!
//! Before a run with a webhook is accepted, a run of the graph `webhook` is, on a session named after the run that it
//! will be. It waits for its question, "has it ended?", which the server answers when the run does; then it sends, again
//! and again with growing waits, until it is taken or given up. A crash at any place leaves the journal of that session,
//! and the next process finds it: what has ended meanwhile is told then, what was never accepted is removed.
//! What was given up is a failed session that says why.

mod deliver;
mod post;
mod watch;

use std::fmt;

use agent_core::{
    ids::{RunId, SessionId},
    secret::Secret,
    session::SessionStatus,
};
use agent_tools::http::{NoClient, Reach};
use serde_json::Value;

use crate::{
    derived::Derived,
    error::{ApiError, Refusal},
};
pub(crate) use deliver::{Delivery, Here, graph};
use post::Post;
pub(crate) use watch::{Prepared, Watcher};

/// The graph of deliveries.
pub(crate) const GRAPH: &str = "webhook";
/// The longest address, in bytes.
const URL_BYTES: usize = 2_048;

/// Webhooks: where they may go, and what they are signed with.
///
/// A request to run may say `"webhook": {"url": ".."}`. When the run completes, fails or is stopped, the server posts
/// `{"type": "run.completed", "timestamp": .., "data": {..}}` there, as [standard-webhooks] has it: `webhook-id` is the same
/// for each try, and `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 of `id.timestamp.body`. It is told at least
/// once; each but 2xx is tried again (4xx other than 408, 425 and 429 are not) over some hours.
///
/// [standard-webhooks]: https://www.standardwebhooks.com
#[derive(Clone)]
pub struct Webhooks {
    pub(crate) post: Post,
}

impl Webhooks {
    /// Signs with a secret: `whsec_` and base64, or any text of 16 bytes and more.
    ///
    /// # Errors
    ///
    /// The secret is too short, or TLS is not set up on this machine.
    pub fn signed(secret: &Secret, reach: &Reach) -> Result<Self, WebhookError> {
        Ok(Self { post: Post::new(secret, reach)? })
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

/// Why webhooks cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The secret is no secret.
    #[error("the webhook secret must have 16 bytes or more")]
    Secret,
    /// There is no client.
    #[error(transparent)]
    Client(#[from] NoClient),
}

/// The address in the field `webhook` of a request, if there is one.
///
/// # Errors
///
/// 400 for what is no such field.
pub(crate) fn address(field: Option<&Value>) -> Result<Option<String>, ApiError> {
    let wrong = |told: &str| Err(ApiError::new(Refusal::InvalidRequest, told));
    let url = match field {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields.get("url"),
        Some(_) => None,
    };
    match url {
        Some(Value::String(url)) if url.len() <= URL_BYTES => Ok(Some(url.clone())),
        Some(Value::String(_)) => wrong("`webhook.url` is too long"),
        _ => wrong("`webhook` must be an object with a `url`"),
    }
}

/// The session of a run's delivery.
fn session_of(derived: &Derived, session: &SessionId, run: RunId) -> SessionId {
    let id = derived.id("webhook", &[session.as_str(), &run.0.to_string()]);
    format!("webhook-{id}-{}", run.0).parse().expect("these are legal characters")
}

/// Whether a run, as far as the status of its session tells, is over; `None`: it was never accepted.
pub(crate) fn is_over(status: &SessionStatus, run: RunId) -> Option<bool> {
    match status.run.cmp(&run) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(!status.status.is_busy()),
        std::cmp::Ordering::Greater => Some(true),
    }
}
