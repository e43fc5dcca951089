//! Durable timers and breakpoints: questions of the engine that only hold a task.

use std::time::Duration;

use serde_json::Value;

use super::{Ask, Context};
use crate::{
    graph::Result,
    interrupt::{AskError, Question},
    journal::keys,
};

impl Context {
    /// Sleeps. The wait is recorded: it ends at the same time when the process was restarted in between, also if the
    /// run was not in memory ([`Runtime::recover`](crate::Runtime::recover) or [`sweep`](crate::Runtime::sweep) must have been
    /// called in the process).
    ///
    /// While all tasks of a run sleep or wait for answers, the run is paused: the caller of the run gets
    /// [`RunOutcome::Paused`](crate::RunOutcome::Paused), with the timer among the questions
    /// ([`Question::timer`](crate::Question::timer)), and the run continues when the time has come. An answer to the
    /// timer, of any value, ends the sleep early.
    ///
    /// # Errors
    ///
    /// [`NodeEnded`](super::NodeEnded) if the node has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the timer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn remind(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     cx.sleep(Duration::from_secs(3 * 86_400)).await?;
    ///     Ok(Draft::update().text("Please pay the invoice."))
    /// }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("remind").node("remind", remind).path([START, "remind", END]).build()?;
    /// # let session = Runtime::builder().journal(InMemoryJournal::new()).build().session("s-1")?;
    /// let outcome = session.run(&graph, Draft::update()).await?;
    /// assert!(outcome.questions()[0].question.timer);
    /// # Ok(()) }
    /// ```
    pub async fn sleep(&self, duration: Duration) -> Result<()> {
        let key = self.attempt_handle().next_timer_key();
        let end = self.scope.env.clock.now_ms().saturating_add(crate::clock::millis(duration));
        let prompt = match jiff::Timestamp::from_millisecond(end) {
            Ok(end) => format!("Sleeps until {}", end.strftime("%Y-%m-%d %H:%M:%S UTC")),
            Err(_) => "Sleeps".to_owned(),
        };
        let mut question = Question::choose(prompt, ["continue"]).or_anything().deadline(duration);
        question.timer = true;
        match Ask::<Value>::engine(self.attempt_handle(), key, question).await {
            Ok(_) => Ok(()),
            Err(error) => match error.downcast_ref::<AskError>() {
                Some(AskError::Expired { .. }) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// As [`sleep`](Self::sleep), until a time in milliseconds since 1970; returns at once if it has passed.
    ///
    /// # Errors
    ///
    /// As [`sleep`](Self::sleep).
    ///
    /// # Cancel safety
    ///
    /// As [`sleep`](Self::sleep).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Context;
    /// async fn at_noon(cx: &Context, noon: i64) -> agent_core::Result<()> {
    ///     cx.sleep_until(noon).await
    /// }
    /// ```
    pub async fn sleep_until(&self, at: i64) -> Result<()> {
        let left = at.saturating_sub(self.scope.env.clock.now_ms());
        self.sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await
    }

    /// Waits at a breakpoint of the run.
    pub(crate) async fn breakpoint(&self, place: &'static str) -> Result<()> {
        let prompt = format!("Breakpoint {place} `{}`", self.node());
        let question = Question::choose(prompt, ["continue"]).or_anything();
        Ask::<Value>::engine(self.attempt_handle(), keys::breakpoint(place), question).await.map(drop)
    }
}
