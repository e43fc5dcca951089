//! What the nodes of a run share: conversations, rules, settings, and the links of runs in progress.

use std::{collections::HashMap, sync::Arc, time::Duration};

use agent_core::{Context, model::Model};
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    Conversations, Language,
    crisis::HelpLines,
    link::{Link, Out},
    model::Sampling,
    safety::Rules,
    turn::Turn,
};

/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) conversations: Conversations,
    pub(crate) model: Model,
    pub(crate) sampling: Sampling,
    pub(crate) rules: Arc<Rules>,
    pub(crate) help_lines: HelpLines,
    pub(crate) language: Language,
    /// Pause between chunks.
    pub(crate) pace: Duration,
    /// Time for a whole answer.
    pub(crate) answer_limit: Duration,
    /// Takes sessions with exchanges that could not be saved.
    pub(crate) unsaved: mpsc::Sender<String>,
    /// Whether another service creates the sessions.
    pub(crate) require_session: bool,
    /// Beginning of the ids of links of this process.
    pub(crate) process: String,
    pub(crate) links: Mutex<HashMap<String, Arc<Link>>>,
}

impl std::ops::Deref for Desk {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The link of a connection to its run. Dropping it ends the connection's part.
pub(crate) struct Connected {
    pub(crate) id: String,
    pub(crate) link: Arc<Link>,
    pub(crate) out: mpsc::Receiver<Out>,
    desk: Desk,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.desk.links.lock().remove(&self.id);
    }
}

impl Desk {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Creates a link for a run that is about to start.
    pub(crate) fn connect(&self) -> Connected {
        let id = format!("{}.{:016x}", self.process, fastrand::u64(..));
        let (link, out) = Link::connected(Instant::now() + self.answer_limit);
        self.links.lock().insert(id.clone(), Arc::clone(&link));
        Connected { id, link, out, desk: self.clone() }
    }

    /// Returns the link of a run; `None` if its connection has gone, for example with an earlier process.
    pub(crate) fn link(&self, turn: &Turn, cx: &Context) -> Option<Arc<Link>> {
        let mut links = self.links.lock();
        if !turn.link.is_empty() {
            return links.get(&turn.link).cloned();
        }
        let key = unconnected(cx);
        let limit = Instant::now() + self.answer_limit;
        Some(Arc::clone(links.entry(key).or_insert_with(|| Link::new(limit))))
    }

    /// Removes the link of a run without a connection.
    pub(crate) fn unlink(&self, turn: &Turn, cx: &Context) {
        if turn.link.is_empty() {
            self.links.lock().remove(&unconnected(cx));
        }
    }
}

fn unconnected(cx: &Context) -> String {
    format!("{} {}", cx.session(), cx.run())
}
