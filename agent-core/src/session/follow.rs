//! Following a session that another process writes: its entries from the journal, its unnumbered events from the channel.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Session, cell::SessionCell, replicas::Replicas, runtime::Shared};
use crate::{
    event::Event,
    ids::Seq,
    journal::{JournalStore, StoreError, dedup::read_entries},
};

/// Messages that wait.
const QUEUE: usize = 1_024;
/// Interval of looking at the journal, for messages that were lost.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two announcements of the interest.
const WATCH_EVERY: u32 = 4;
/// Entries read at once.
const PAGE: usize = 256;

/// Announcement of the writer.
pub(super) enum Follow {
    Stored(Seq),
    Shown(Vec<Event>),
    Partial(Vec<Event>),
}

impl Session {
    /// Follows the session while it has subscribers here, unless this process writes it.
    pub(super) fn follow(&self) {
        let (Some(replicas), Some(store)) = (self.shared.replicas.clone(), self.shared.store.clone()) else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        self.shared.join_replicas();
        let (sender, messages) = mpsc::channel(QUEUE);
        {
            let mut following = replicas.following.lock();
            if following.contains_key(self.id()) {
                return;
            }
            following.insert(self.id().clone(), sender);
        }
        let (shared, cell) = (Arc::downgrade(&self.shared), Arc::clone(&self.cell));
        let follower = Follower { shared, store, cell, replicas, last: None, awaits_partial: false };
        self.shared.group.spawn(follower.run(messages));
    }
}

struct Follower {
    shared: Weak<Shared>,
    store: Arc<dyn JournalStore>,
    cell: Arc<SessionCell>,
    replicas: Arc<Replicas>,
    /// The last entry that was published here; `None` while this process writes the session, and at first.
    last: Option<Seq>,
    /// Unnumbered events before the partial messages are part of these.
    awaits_partial: bool,
}

impl Follower {
    async fn run(mut self, mut messages: mpsc::Receiver<Follow>) {
        let mut look_at = Instant::now();
        let mut looks = 0;
        loop {
            tokio::select! {
                biased; // messages first: a look is for those that were lost
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    if self.is_local() {
                        continue;
                    }
                    if let Err(error) = self.handle(message).await {
                        tracing::debug!(session = %self.cell.id, %error, "a session cannot be followed now");
                    }
                }
                () = sleep_until(look_at) => {
                    look_at = Instant::now() + LOOK;
                    if self.ends() {
                        return;
                    }
                    if self.is_local() {
                        continue;
                    }
                    let fresh = self.last.is_none();
                    if fresh || looks % WATCH_EVERY == 0 {
                        self.awaits_partial = fresh;
                        self.replicas.watch(&self.cell.id, fresh).await;
                    } else {
                        self.awaits_partial = false;
                    }
                    looks += 1;
                    if let Err(error) = self.look().await {
                        tracing::debug!(session = %self.cell.id, %error, "a session cannot be followed now");
                    }
                }
            }
        }
    }

    /// Returns whether this process writes the session: its events are published where they are stored.
    fn is_local(&mut self) -> bool {
        let local = self.cell.is_held();
        if local {
            self.last = None;
        }
        local
    }

    /// Ends if there are no subscribers. A later one starts another follower.
    fn ends(&self) -> bool {
        let mut following = self.replicas.following.lock();
        let over = self.cell.is_deleted() || !self.cell.broadcast.has_subscribers();
        if over {
            following.remove(&self.cell.id);
        }
        over
    }

    async fn handle(&mut self, message: Follow) -> Result<(), StoreError> {
        match message {
            Follow::Stored(last) => self.read_to(last).await,
            Follow::Shown(_) if self.awaits_partial => Ok(()),
            Follow::Shown(events) | Follow::Partial(events) => {
                self.awaits_partial = false;
                for event in events {
                    self.cell.broadcast.show_here(event);
                }
                Ok(())
            }
        }
    }

    /// Reads the end of the journal.
    async fn look(&mut self) -> Result<(), StoreError> {
        match self.store.head(&self.cell.id).await? {
            Some(head) => self.read_to(head.last).await,
            None if self.last.is_some_and(|last| last > Seq::ZERO) => {
                // Deleted by another process.
                let lock = Arc::clone(&self.cell.command_lock);
                let _locked = lock.lock().await;
                if let Some(shared) = self.shared.upgrade() {
                    shared.retire(&self.cell);
                }
                Ok(())
            }
            None => {
                self.last = Some(Seq::ZERO);
                Ok(())
            }
        }
    }

    /// Publishes entries up to `end`.
    async fn read_to(&mut self, end: Seq) -> Result<(), StoreError> {
        let Some(mut last) = self.last else {
            // Locked, so that this process does not begin to write the session in between.
            let inner = self.cell.inner.lock();
            if !inner.holds() {
                // Subscribers read the journal by themselves up to here.
                self.cell.broadcast.jump_to(end);
                self.last = Some(end);
            }
            return Ok(());
        };
        while last < end {
            let entries = read_entries(&*self.store, &self.cell.id, last, PAGE).await?;
            let Some(newest) = entries.last().map(|entry| entry.seq) else { break };
            if self.cell.is_held() {
                return Ok(());
            }
            self.cell.broadcast.publish_entries(entries.iter());
            last = newest;
            self.last = Some(last);
        }
        Ok(())
    }
}
