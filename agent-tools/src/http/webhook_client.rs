//! Client for POST requests to addresses that untrusted callers choose; the address is checked after name
//! resolution.

use std::{error::Error, fmt, time::Duration};

use reqwest::{Client, Url};

use super::{NoClient, Reach, client, ssrf::Forbidden};

/// Client that posts only to allowed addresses, follows no redirects and reads only the status of the response.
#[derive(Clone)]
pub struct Guarded {
    client: Client,
    reach: Reach,
}

/// Reason why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsent {
    /// The address is not allowed, or invalid.
    Forbidden,
    /// The server cannot be reached, or did not respond in time.
    Unreached,
}

impl Guarded {
    /// Creates a client with the given reach.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up on this machine.
    pub fn new(reach: &Reach) -> Result<Self, NoClient> {
        Ok(Self { client: client(reach)?, reach: reach.clone() })
    }

    /// Returns `true` if a URL is allowed, as far as this can be checked before its name is resolved.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::http::{Guarded, Reach};
    ///
    /// let client = Guarded::new(&Reach::default())?;
    /// assert!(client.may_reach("https://example.com/hook"));
    /// assert!(!client.may_reach("http://127.0.0.1/hook"));
    /// # Ok::<(), agent_tools::http::NoClient>(())
    /// ```
    #[must_use]
    pub fn may_reach(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.reach.check(&url).is_ok())
    }

    /// Posts a body and returns the status of the response. `patience` is the total timeout.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server may have received the request.
    ///
    /// # Errors
    ///
    /// [`Unsent`].
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
        patience: Duration,
    ) -> Result<u16, Unsent> {
        let url = Url::parse(url).map_err(|_| Unsent::Forbidden)?;
        self.reach.check(&url).map_err(|_| Unsent::Forbidden)?;
        let mut request = self.client.post(url).timeout(patience).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match request.send().await {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(error) => {
                let mut source: Option<&(dyn Error + 'static)> = Some(&error);
                while let Some(cause) = source {
                    if cause.is::<Forbidden>() {
                        return Err(Unsent::Forbidden);
                    }
                    source = cause.source();
                }
                Err(Unsent::Unreached)
            }
        }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("reach", &self.reach).finish_non_exhaustive()
    }
}
