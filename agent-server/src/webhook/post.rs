//! One post, signed, to where it may go.

use std::time::Duration;

use agent_core::secret::Secret;
use agent_tools::http::{Guarded, Reach, Unsent};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

use super::WebhookError;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The shortest secret, in bytes.
const SHORTEST: usize = 16;

#[derive(Clone)]
pub(crate) struct Post {
    client: Guarded,
    key: hmac::Key,
}

/// What a receiver made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes(u16),
    /// Not now.
    Later(&'static str),
    /// Not ever.
    Never(&'static str),
}

impl Post {
    pub(super) fn new(secret: &Secret, reach: &Reach) -> Result<Self, WebhookError> {
        let text = secret.expose();
        let decoded = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let bytes = decoded.as_deref().unwrap_or(text.as_bytes());
        if bytes.len() < SHORTEST {
            return Err(WebhookError::Secret);
        }
        Ok(Self { client: Guarded::new(reach)?, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) })
    }

    /// Whether the address may be posted to, as far as can be seen without looking its name up.
    pub(crate) fn may_reach(&self, url: &str) -> bool {
        self.client.may_reach(url)
    }

    pub(super) async fn send(&self, url: &str, id: &str, seconds: i64, body: String) -> Taken {
        let signature = self.sign(id, seconds, &body);
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature),
        ];
        match self.client.post(url, &headers, body, PATIENCE).await {
            Ok(status @ 200..300) => Taken::Yes(status),
            Ok(408 | 425 | 429) => Taken::Later("the receiver asks to come later"),
            Ok(300..400) => Taken::Never("the receiver redirects, which is not followed"),
            Ok(400..500) => Taken::Never("the receiver refuses it"),
            Ok(_) => Taken::Later("the receiver has failed"),
            Err(Unsent::Forbidden) => Taken::Never("the address may not be reached"),
            Err(_) => Taken::Later("the receiver cannot be reached"),
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
    fn a_signature_is_that_of_the_standards_own_example() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let post = Post::new(&secret, &Reach::default()).unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signature = post.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
