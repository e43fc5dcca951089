//! Client for POST requests to addresses that untrusted callers choose; the address is checked after name
//! resolution.

use std::{error::Error, fmt, time::Duration};

use reqwest::{Client, Url};

use super::{AddressPolicy, NoClient, client, ssrf::Forbidden};

/// Client that posts only to allowed addresses, follows no redirects and reads only the status of the response.
#[derive(Clone)]
pub struct SsrfSafeClient {
    client: Client,
    reach: AddressPolicy,
}

/// Reason why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError {
    /// The address is not allowed, or invalid.
    Forbidden,
    /// The server cannot be reached, or did not respond in time.
    Unreached,
}

impl SsrfSafeClient {
    /// Creates a client with the given reach.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::http::{SsrfSafeClient, AddressPolicy};
    ///
    /// let client = SsrfSafeClient::new(&AddressPolicy::default().and_host("hooks.internal"))?;
    /// assert!(!client.may_reach("http://169.254.169.254/"));
    /// # Ok::<(), agent_tools::http::NoClient>(())
    /// ```
    ///
    /// # Errors
    ///
    /// TLS cannot be set up on this machine.
    pub fn new(reach: &AddressPolicy) -> Result<Self, NoClient> {
        Ok(Self { client: client(reach)?, reach: reach.clone() })
    }

    /// Returns `true` if a URL is allowed, as far as this can be checked before its name is resolved.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::http::{SsrfSafeClient, AddressPolicy};
    ///
    /// let client = SsrfSafeClient::new(&AddressPolicy::default())?;
    /// assert!(client.may_reach("https://example.com/hook"));
    /// assert!(!client.may_reach("http://127.0.0.1/hook"));
    /// # Ok::<(), agent_tools::http::NoClient>(())
    /// ```
    #[must_use]
    pub fn may_reach(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.reach.check(&url).is_ok())
    }

    /// Posts a body and returns the status of the response. `timeout` is the total timeout.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::http::{SsrfSafeClient, PostError, AddressPolicy};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let client = SsrfSafeClient::new(&AddressPolicy::default())?;
    /// let sent = client.post("http://127.0.0.1/hook", &[], "{}".to_owned(), Duration::from_secs(5)).await;
    /// assert!(matches!(sent, Err(PostError::Forbidden)));
    /// # Ok::<(), agent_tools::http::NoClient>(()) }).unwrap();
    /// ```
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server may have received the request.
    ///
    /// # Errors
    ///
    /// [`PostError`].
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
        timeout: Duration,
    ) -> Result<u16, PostError> {
        let url = Url::parse(url).map_err(|_| PostError::Forbidden)?;
        self.reach.check(&url).map_err(|_| PostError::Forbidden)?;
        let mut request = self.client.post(url).timeout(timeout).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match request.send().await {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(error) => {
                let mut source: Option<&(dyn Error + 'static)> = Some(&error);
                while let Some(cause) = source {
                    if cause.is::<Forbidden>() {
                        return Err(PostError::Forbidden);
                    }
                    source = cause.source();
                }
                Err(PostError::Unreached)
            }
        }
    }
}

impl fmt::Debug for SsrfSafeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SsrfSafeClient").field("reach", &self.reach).finish_non_exhaustive()
    }
}
