//! Limit of active time: cancels the tasks of a run when it is exceeded.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Frame, FrameEnd, RunContext, RunError, budget, drive};
use crate::state::State;

/// Drives a run's outermost graph within its limit of active time.
///
/// The tasks of a run with such a limit are spawned, even a single one: one that blocks its thread cannot keep this
/// future from seeing the deadline. A run without one pays nothing.
///
/// # Errors
///
/// As [`drive`], and [`LimitError`](crate::run::LimitError) in the middle of a superstep; the tasks are dropped then, and
/// whatever they still report is refused.
pub(crate) async fn drive_within_limits<S: State>(frame: &mut Frame<S>) -> Result<FrameEnd, RunError> {
    if !frame.env.budget.is_timed() {
        return drive(frame).await;
    }
    Box::pin(until_deadline(frame)).await
}

async fn until_deadline<S: State>(frame: &mut Frame<S>) -> Result<FrameEnd, RunError> {
    let env = Arc::clone(&frame.env);
    tokio::select! {
        biased; // an end that came in the same poll counts
        end = drive(frame) => end,
        error = deadline(&env) => {
            env.control.close();
            Err(error)
        }
    }
}

/// Waits until the limit is exceeded. If the policy asks for an extension, the tasks continue to the end of their
/// superstep in the meantime.
async fn deadline(env: &RunContext) -> RunError {
    loop {
        let resumed = env.control.resumed_for_deadline.notified();
        let mut resumed = std::pin::pin!(resumed);
        resumed.as_mut().enable();
        // Nothing runs, so no time is used up.
        if env.control.is_idle() {
            resumed.await;
            continue;
        }
        if let Err(error) = budget::check_active(env, || Arc::new(Watch) as _).await {
            return error;
        }
        sleep(env.budget.time_left(env.control.active_ms())).await;
    }
}

/// The deadline itself waits for an answer; no task is suspended.
struct Watch;

impl budget::BudgetWaiter for Watch {
    fn set_waiting(&self, _waits: bool) {}
}

impl budget::Budget {
    /// Until the limit of active time is passed; a day without one.
    fn time_left(&self, active_ms: u64) -> Duration {
        let limit = self.limits().active.unwrap_or(Duration::from_secs(86_400));
        // Passed, not only reached.
        limit.saturating_sub(Duration::from_millis(active_ms)) + Duration::from_millis(1)
    }
}
