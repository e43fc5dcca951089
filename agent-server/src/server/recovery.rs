//! Recovery of runs of crashed processes: at startup, and periodically for those with an unexpired lease.

use agent_core::session::UnrecoveredSession;

use crate::app::AppState;

/// Recovers runs, for as long as it is polled.
pub(super) async fn run(app: &AppState) {
    let runtime = &app.runtime;
    let mut ticks = tokio::time::interval(app.options.sweep);
    let mut first = true;
    loop {
        ticks.tick().await;
        let report = if first { runtime.recover().await } else { runtime.sweep().await };
        match report {
            Ok(report) => {
                if first || !report.resumed.is_empty() || !report.suspects.is_empty() {
                    tracing::info!(
                        resumed = report.resumed.len(),
                        paused = report.paused.len(),
                        suspects = report.suspects.len(),
                        "sessions recovered"
                    );
                }
                if app.webhooks.is_some()
                    && let Err(error) = app.deliveries.resume_all(runtime).await
                {
                    tracing::error!(%error, "webhook deliveries could not be resumed");
                }
                for UnrecoveredSession { session, error, .. } in &report.failed {
                    tracing::error!(%session, %error, "a run has failed: each process that ran it crashed");
                }
                for UnrecoveredSession { session, error, .. } in report.skipped.iter().filter(|_| first) {
                    tracing::warn!(%session, %error, "a session could not be recovered");
                }
                first = false;
            }
            Err(error) => tracing::error!(%error, "sessions could not be recovered"),
        }
    }
}
