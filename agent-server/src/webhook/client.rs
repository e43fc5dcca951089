//! HTTP client for webhooks: signs requests, and connects only to allowed addresses.

use std::time::Duration;

use agent_core::secret::Secret;
use agent_tools::http::{AddressPolicy, PostError, SsrfSafeClient};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

use super::WebhookError;

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Minimum length of the secret, in bytes.
const MIN_SECRET_BYTES: usize = 16;

/// HTTP client for webhooks.
#[derive(Clone)]
pub(crate) struct WebhookClient {
    client: SsrfSafeClient,
    key: hmac::Key,
}

/// Result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver responded with this 2xx status.
    Delivered(u16),
    /// The request can be retried.
    Retry(&'static str),
    /// A retry would fail too.
    Failed(&'static str),
}

impl WebhookClient {
    pub(super) fn new(secret: &Secret, reach: &AddressPolicy) -> Result<Self, WebhookError> {
        let text = secret.expose();
        let decoded = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let bytes = decoded.as_deref().unwrap_or(text.as_bytes());
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(WebhookError::Secret);
        }
        Ok(Self { client: SsrfSafeClient::new(reach)?, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) })
    }

    /// Returns whether the URL is allowed, as far as this is known without a DNS lookup.
    pub(crate) fn may_reach(&self, url: &str) -> bool {
        self.client.may_reach(url)
    }

    /// Sends one signed request.
    pub(super) async fn send(&self, url: &str, id: &str, seconds: i64, body: String) -> Outcome {
        let signature = self.sign(id, seconds, &body);
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature),
        ];
        match self.client.post(url, &headers, body, TIMEOUT).await {
            Ok(status @ 200..300) => Outcome::Delivered(status),
            Ok(408 | 425 | 429) => Outcome::Retry("the receiver requested a retry"),
            Ok(300..400) => Outcome::Failed("the receiver responded with a redirect"),
            Ok(400..500) => Outcome::Failed("the receiver rejected the request"),
            Ok(_) => Outcome::Retry("the receiver failed"),
            Err(PostError::Forbidden) => Outcome::Failed("the address is not allowed"),
            Err(_) => Outcome::Retry("the receiver is unreachable"),
        }
    }

    fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_matches_the_example_of_the_standard() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let post = WebhookClient::new(&secret, &AddressPolicy::default()).unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signature = post.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
