//! Readiness: whether the journal store accepts writes. Checked at most once per second.

use std::time::Duration;

use agent_core::Runtime;
use tokio::{sync::Mutex, time::Instant};

/// Timeout of a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for which a result is reused.
const FRESH: Duration = Duration::from_secs(1);

/// Cached result of the latest check.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Result<(), &'static str>)>>);

impl Readiness {
    /// Checks the store, unless it was checked within the last second. Returns the reason if it is unavailable.
    pub(crate) async fn check(&self, runtime: &Runtime) -> Result<(), &'static str> {
        let mut cached = self.0.lock().await;
        if let Some((at, result)) = *cached
            && at.elapsed() < FRESH
        {
            return result;
        }
        let result = match tokio::time::timeout(CHECK_TIMEOUT, runtime.check_journal()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready: the journal store failed");
                Err("the journal store is unavailable")
            }
            Err(_) => Err("the journal store does not respond"),
        };
        *cached = Some((Instant::now(), result));
        result
    }
}
