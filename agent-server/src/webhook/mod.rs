//! Webhooks: durable delivery of a notification when a run has ended.
//!
//! A delivery is a run of the graph `webhook`, in a session with an id derived from the request. It is accepted before the
//! run, and waits for the answer to its question whether the run has ended, which the server gives. Then it sends, with
//! retries and growing waits. After a crash, the next process finds the session, and by the name of the request the run: if
//! the run has ended, the notification is sent; if the run was never accepted, the session is deleted. A delivery without success is a failed session, with
//! the reason.

mod client;
mod delivery;
mod locks;
mod registry;
mod sweep;

use std::fmt;

use agent_core::{ids::SessionId, secret::Secret};
use agent_tools::http::{AddressPolicy, NoClient};

use crate::derived::Derived;
use client::WebhookClient;
pub(crate) use delivery::{Delivery, DeliveryHost, graph};
pub(crate) use registry::{DeliveryRegistry, PreparedDelivery, delete_ended};

/// Name of the graph of deliveries.
pub(crate) const GRAPH: &str = "webhook";

/// Webhooks: signature and allowed addresses.
///
/// A request to run may contain `"webhook": {"url": ".."}`. When the run completes, fails or is stopped, the server posts
/// `{"type": "run.completed", "timestamp": .., "data": {..}}` to the URL, in the format of [standard-webhooks]:
/// `webhook-id` is the same for all attempts, and `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 of
/// `id.timestamp.body`. Delivery is at least once. All responses other than 2xx are retried for about four hours, except
/// 4xx other than 408, 425 and 429.
///
/// [standard-webhooks]: https://www.standardwebhooks.com
///
/// # Examples
///
/// ```
/// use agent_core::secret::Secret;
/// use agent_server::{ServerBuilder, Webhooks, webhook::WebhookError};
/// use agent_tools::http::AddressPolicy;
///
/// # fn of(builder: ServerBuilder, secret: &Secret) -> Result<ServerBuilder, WebhookError> {
/// // Receivers in the private network too.
/// let webhooks = Webhooks::signed(secret, &AddressPolicy::default().and_host("hooks.internal"))?;
/// # Ok(
/// builder.webhooks(webhooks)
/// # ) }
/// ```
#[derive(Clone)]
pub struct Webhooks {
    pub(crate) client: WebhookClient,
}

impl Webhooks {
    /// Signs with a secret: `whsec_` and base64, or any text of at least 16 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    /// use agent_server::Webhooks;
    /// use agent_tools::http::AddressPolicy;
    ///
    /// let webhooks = Webhooks::signed(&Secret::new("at least sixteen bytes"), &AddressPolicy::default())?;
    /// # drop(webhooks); Ok::<(), agent_server::webhook::WebhookError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The secret is too short, or TLS cannot be set up.
    pub fn signed(secret: &Secret, reach: &AddressPolicy) -> Result<Self, WebhookError> {
        Ok(Self { client: WebhookClient::new(secret, reach)? })
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

/// Error of the webhook configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The secret is too short.
    #[error("the webhook secret must have at least 16 bytes")]
    Secret,
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Client(#[from] NoClient),
}

/// Returns the id of the session of the delivery for a request.
fn session_of(derived: &Derived, session: &SessionId, request: &str) -> SessionId {
    let id = derived.id("webhook", &[session.as_str(), request]);
    format!("webhook-{id}").parse().expect("hexadecimal digits and dashes are valid in ids")
}
