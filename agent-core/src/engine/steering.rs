//! Steering: messages to a running agent, which it reads before its next model call.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Context;
use crate::{graph::Result, ids::TaskId, journal::projection::STEER, model::Message};

/// Messages to the agent of a run.
pub(crate) struct Steering(Mutex<Inner>);

struct Inner {
    pending: Vec<Message>,
    /// Whether the agent will read further messages.
    open: bool,
}

impl Steering {
    /// Starts with the messages that the journal has and no task took.
    pub(crate) fn new(steered: &[(Message, Option<Arc<TaskId>>)]) -> Box<Self> {
        let pending = steered.iter().filter(|(_, taken)| taken.is_none());
        let pending = pending.map(|(message, _)| message.clone()).collect();
        Box::new(Self(Mutex::new(Inner { pending, open: true })))
    }

    /// Adds a message. `push` queues its entry while the agent cannot end. Returns `None` if the agent reads no further
    /// message.
    pub(crate) fn add<T, E>(
        &self,
        message: Message,
        push: impl FnOnce(&Message) -> std::result::Result<T, E>,
    ) -> std::result::Result<Option<T>, E> {
        let mut inner = self.0.lock();
        if !inner.open {
            return Ok(None);
        }
        let pushed = push(&message)?;
        inner.pending.push(message);
        Ok(Some(pushed))
    }

    /// Refuses further messages: the run ends.
    pub(crate) fn close(&self) {
        self.0.lock().open = false;
    }

    /// Returns the messages that no task took.
    pub(crate) fn pending(&self) -> Vec<Message> {
        self.0.lock().pending.clone()
    }

    /// Returns whether there are messages. Without any, the agent reads further ones only if it is not at its end.
    fn any(&self, at_end: bool) -> bool {
        let mut inner = self.0.lock();
        inner.open = !(at_end && inner.pending.is_empty());
        !inner.pending.is_empty()
    }

    fn drain(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.lock().pending)
    }
}

impl super::RunContext {
    /// Returns the messages to the agent that no task took, for a projection.
    pub(crate) fn steered(&self) -> Vec<(Message, Option<Arc<TaskId>>)> {
        let pending = self.steering.as_ref().map(|steering| steering.pending()).unwrap_or_default();
        pending.into_iter().map(|message| (message, None)).collect()
    }
}

impl Context {
    /// Takes the messages to the agent, in a recorded step if there are any.
    ///
    /// Before the model call (`at_end` is `false`), a task with records takes none: its request was made without them. They are
    /// taken at its end.
    pub(crate) async fn take_steering(&self, at_end: bool) -> Result<Vec<Message>> {
        let Some(steering) = self.scope.env.steering.as_ref().filter(|_| self.scope.parent.is_none()) else {
            return Ok(Vec::new());
        };
        let key = if at_end { "steer-end" } else { "steer" };
        let replay = self.replay_if_created();
        let is_recorded = replay.is_some_and(|replay| replay.has_step(key));
        let is_late = !at_end && replay.is_some_and(|replay| replay.has_any_step());
        if !is_recorded && (is_late || !steering.any(at_end)) {
            return Ok(Vec::new());
        }
        self.step_as(STEER, key.to_owned(), None, async { (Ok(steering.drain()), None) }).await
    }
}
