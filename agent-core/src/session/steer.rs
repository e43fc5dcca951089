//! Steering: messages to a running agent.

use std::sync::Arc;

use super::{Session, SessionError, lock::LockedSession, replicas::ReplicaCommand};
use crate::{
    journal::entry::{Entry, Fact, Steered},
    model::Message,
    run::RunStatus,
};

impl Session {
    /// Sends a message to the agent that runs on the session, which reads it before its next model call. An agent that was
    /// about to answer makes another call. A paused agent reads it when it continues.
    ///
    /// The message is stored when this returns, so it survives a crash. If the run is stopped or fails before the agent
    /// reads the message, it reads it when the run is resumed, or in the next run. The agent is that of the session, not
    /// one of its sub-agents. Subscribers see the custom event [`STEERED`](crate::event::STEERED).
    ///
    /// # Errors
    ///
    /// [`SessionError::NothingToDo`] if no run of an agent can read it: there is none, it has ended or is about to end
    /// without another model call, or the graph is not an agent. [`SessionError::NotFound`]; [`SessionError::Busy`] if
    /// another process executes the run and cannot be reached over the store; [`SessionError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, Runtime, SessionError, model::{Model, testing::{Scripted, Turn}}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = Model::new(Scripted::new([Turn::text("Ten pages."), Turn::text("One page.")]));
    /// let agent = Agent::builder("writer").model(model).build()?;
    /// let session = Runtime::builder().build().session("s1")?;
    /// let run = session.run(&agent, "Write a report.").start().await?;
    /// session.steer("Keep it short.").await?;
    /// run.outcome::<agent_core::AgentState>().await?;
    /// assert!(matches!(session.steer("Thanks.").await, Err(SessionError::NothingToDo { .. })));
    /// # Ok(()) }
    /// ```
    pub async fn steer(&self, text: impl Into<String>) -> Result<(), SessionError> {
        let text = text.into();
        let message = Message::user(text.clone());
        let steer = async move |locked: LockedSession| locked.steer(message).await;
        match self.lock().await.complete(steer).await {
            Err(busy @ SessionError::Busy { .. }) => {
                self.forward(ReplicaCommand::Steer { text }, busy).await.map(drop)
            }
            steered => steered,
        }
    }
}

impl LockedSession {
    async fn steer(&self, message: Message) -> Result<(), SessionError> {
        if let Some(live) = self.live_run().await {
            let env = &live.env;
            let push = |message: &Message| {
                env.writer.push(env.run, [Fact::Steered(Steered { message: message.clone() })])
            };
            let pushed = env.steering.as_ref().map(|steering| steering.add(message, push)).transpose()?;
            let Some(seq) = pushed.flatten() else { return Err(self.nothing_to_steer(live.status())) };
            return Ok(env.writer.wait_durable(seq).await?);
        }
        let mut idle = self.existing().await?;
        let projection = idle.projection();
        let (run, status) = (projection.run, projection.status);
        let waits = matches!(status, RunStatus::Paused | RunStatus::Running);
        if !waits || !self.graph_of(&projection.graph)?.is_agent() {
            return Err(self.nothing_to_steer(status));
        }
        let writer = Arc::clone(idle.writer());
        let fact = Fact::Steered(Steered { message });
        let stored = match writer.push(run, [fact.clone()]) {
            Ok(seq) => writer.wait_durable(seq).await.map(|()| seq),
            Err(error) => Err(error),
        };
        match stored {
            Ok(seq) => {
                let at = self.shared.clock.now_ms();
                idle.projection_mut().apply(Entry { seq, at, run, fact });
                Ok(())
            }
            Err(error) => {
                idle.invalidate();
                Err(error.into())
            }
        }
    }

    fn nothing_to_steer(&self, status: RunStatus) -> SessionError {
        SessionError::NothingToDo { session: self.id().clone(), status, verb: "steer" }
    }
}
