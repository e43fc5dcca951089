//! Posts to addresses that strangers name: where to is checked after name resolution, on the address that is connected to.

use std::{error::Error, fmt, time::Duration};

use reqwest::{Client, Url};

use super::{NoClient, Reach, client, guard::Forbidden};

/// A client that posts only where its [`Reach`] allows, follows no redirects and reads no answer but its status.
#[derive(Clone)]
pub struct Guarded {
    client: Client,
    reach: Reach,
}

/// Why nothing was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsent {
    /// The address may not be reached, or is none.
    Forbidden,
    /// Nobody answered in time.
    Unreached,
}

impl Guarded {
    /// A client with a reach.
    ///
    /// # Errors
    ///
    /// TLS is not set up on this machine.
    pub fn new(reach: &Reach) -> Result<Self, NoClient> {
        Ok(Self { client: client(reach)?, reach: reach.clone() })
    }

    /// Whether an address may be reached, as far as can be seen before its name is resolved.
    #[must_use]
    pub fn may_reach(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.reach.check(&url).is_ok())
    }

    /// Posts a body, and returns the status of the answer. `patience` bounds all of it. Cancel safe: the post may have
    /// been taken.
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
