//! Processes that share a store: each takes requests for every session.
//!
//! A session is written by the process that has its lease. The others ask it over the channel of the store
//! ([`ReplicaChannel`]): to hand over a session that is idle or paused, to stop a run, to take an answer. Subscribers
//! elsewhere follow the journal; the writer announces what it stored and sends them unnumbered events.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    Runtime, Session, SessionError, cell::SessionCell, follow::Follow, handover::Lines, lock::LockedSession,
    runtime::Shared,
};
use crate::{
    error::Code,
    event::{Event, Outbox, Outgoing},
    ids::{QuestionId, RunId, Seq, SessionId},
    interrupt::Answers,
    journal::{Lease, OwnerId, ReplicaChannel, StoreError},
    run::RunStatus,
};

/// Time to live of an interest in the events of a session that is not renewed.
const WATCH_TTL: Duration = Duration::from_secs(15);
/// Timeout for the response of another process.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for a command that may wait for a run to end.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait between two attempts to acquire a lease.
const POLL: Duration = Duration::from_millis(100);
/// Time for a run to reach its next superstep before it is handed over.
const DRAIN: Duration = Duration::from_secs(2);
/// Unnumbered events in one message.
const EVENTS: usize = 64;

/// The processes that share the store.
pub(crate) struct Replicas {
    channel: Arc<dyn ReplicaChannel>,
    owner: OwnerId,
    outbox: Arc<Outbox>,
    /// Sessions with subscribers elsewhere, until when.
    watched: Mutex<HashMap<SessionId, Instant>>,
    /// Sessions that subscribers here follow.
    pub(super) following: Mutex<HashMap<SessionId, mpsc::Sender<Follow>>>,
    /// Waiting runs of the others.
    pub(super) lines: Lines,
    requests: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    last_request: AtomicU64,
    started: AtomicBool,
}

/// A message on the channel.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    from: String,
    #[serde(flatten)]
    message: Message,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message {
    /// The sender has subscribers of the session.
    Watch { session: SessionId, fresh: bool },
    /// The journal of the session ends here.
    Stored { session: SessionId, last: Seq },
    /// Unnumbered events of a session.
    Shown { session: SessionId, events: Vec<Event> },
    /// The messages that are being streamed, for one process.
    Partial { session: SessionId, to: String, events: Vec<Event> },
    /// A request to a process, or to the one that writes the session.
    Request { id: u64, to: Option<String>, session: SessionId, command: ReplicaCommand },
    /// Its response.
    Reply { id: u64, to: String, reply: Reply },
    /// Runs wait for a slot in the sender.
    Waiting { runs: usize },
    /// A request for waiting runs.
    Take { to: String, runs: usize },
    /// Sessions with runs that left the sender.
    Given { to: String, sessions: Vec<SessionId> },
}

/// Command of another process to the writer of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(super) enum ReplicaCommand {
    /// Hand over the session if no run is executing.
    Release,
    /// Hand over the session; a run ends at its next superstep, to be continued by the other process.
    Yield,
    Stop,
    Drain,
    Answer {
        only: Option<Value>,
        each: Vec<(QuestionId, Value)>,
        by: String,
    },
    Steer {
        text: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(super) enum Reply {
    /// Done; the status of the run.
    Done {
        run: RunId,
        status: RunStatus,
    },
    /// A run is executing.
    Busy {
        run: RunId,
        status: RunStatus,
    },
    Failed {
        code: String,
        message: String,
    },
}

impl Replicas {
    pub(super) fn new(channel: Arc<dyn ReplicaChannel>, owner: OwnerId) -> Self {
        Self {
            channel,
            owner,
            outbox: Arc::default(),
            watched: Mutex::default(),
            following: Mutex::default(),
            lines: Lines::default(),
            requests: Mutex::default(),
            last_request: AtomicU64::new(fastrand::u64(..1 << 32)),
            started: AtomicBool::new(false),
        }
    }

    pub(super) async fn watch(&self, session: &SessionId, fresh: bool) {
        self.send(vec![Message::Watch { session: session.clone(), fresh }]).await;
    }

    pub(super) async fn send(&self, messages: Vec<Message>) {
        let encode = |message| {
            let envelope = Envelope { from: self.owner.0.clone(), message };
            serde_json::to_string(&envelope).ok()
        };
        let messages: Vec<String> = messages.into_iter().filter_map(encode).collect();
        if !messages.is_empty()
            && let Err(error) = self.channel.send(messages).await
        {
            tracing::debug!(%error, "a message to other processes was not sent");
        }
    }

    /// Sends a command to a process, or to the writer of a session. `None`: no process responded.
    async fn request(
        &self,
        to: Option<String>,
        session: &SessionId,
        command: ReplicaCommand,
        patience: Duration,
    ) -> Option<Reply> {
        let id = self.last_request.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.requests.lock().insert(id, sender);
        let _forget = Forget { requests: &self.requests, id };
        self.send(vec![Message::Request { id, to, session: session.clone(), command }]).await;
        timeout(patience, reply).await.ok()?.ok()
    }

    /// Sends events from this process to subscribers elsewhere.
    async fn send_events(&self) {
        loop {
            self.outbox.ready.notified().await;
            let mut messages: Vec<Message> = Vec::new();
            for outgoing in self.outbox.drain() {
                match outgoing {
                    Outgoing::Stored { session, last } => messages.push(Message::Stored { session, last }),
                    Outgoing::Partial { session, to, events } => {
                        messages.push(Message::Partial { session, to, events });
                    }
                    Outgoing::Shown(event) => match messages.last_mut() {
                        Some(Message::Shown { session, events })
                            if *session == event.session && events.len() < EVENTS =>
                        {
                            events.push(*event);
                        }
                        _ => messages
                            .push(Message::Shown { session: event.session.clone(), events: vec![*event] }),
                    },
                }
            }
            self.send(messages).await;
        }
    }
}

struct Forget<'a> {
    requests: &'a Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.requests.lock().remove(&self.id);
    }
}

impl Shared {
    /// Starts the tasks of the channel, once. Needs an executor.
    pub(crate) fn join_replicas(self: &Arc<Self>) {
        let Some(replicas) = self.replicas.clone() else { return };
        if replicas.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let sender = Arc::clone(&replicas);
        self.group.spawn(async move { sender.send_events().await });
        let (shared, mut messages) = (Arc::downgrade(self), replicas.channel.receive());
        self.group.spawn(async move {
            while let Some(text) = messages.next().await {
                let Some(shared) = shared.upgrade() else { return };
                // A newer program may send what this one does not know.
                let Ok(Envelope { from, message }) = serde_json::from_str(&text) else { continue };
                if from != replicas.owner.0 {
                    shared.receive(&replicas, from, message);
                }
            }
        });
        let (shared, replicas) = (Arc::downgrade(self), self.replicas.clone());
        self.group.spawn(async move {
            loop {
                sleep(WATCH_TTL / 3).await;
                let (Some(shared), Some(replicas)) = (shared.upgrade(), &replicas) else { return };
                let now = Instant::now();
                let mut over = Vec::new();
                replicas.watched.lock().retain(|session, until| {
                    let keeps = *until > now;
                    if !keeps {
                        over.push(session.clone());
                    }
                    keeps
                });
                for session in over {
                    if let Some(cell) = shared.cells.lock().get(&session) {
                        cell.broadcast.end_remote();
                    }
                }
            }
        });
    }

    fn receive(self: &Arc<Self>, replicas: &Arc<Replicas>, from: String, message: Message) {
        let follow = |session: &SessionId, follow| {
            if let Some(sender) = replicas.following.lock().get(session) {
                // A full queue: the journal has what matters.
                sender.try_send(follow).ok();
            }
        };
        match message {
            Message::Watch { session, fresh } => {
                replicas.watched.lock().insert(session.clone(), Instant::now() + WATCH_TTL);
                let cell = self.cells.lock().get(&session).cloned();
                if let Some(cell) = cell.filter(|cell| cell.is_held()) {
                    cell.broadcast.serve_remotely(&replicas.outbox, fresh.then_some(from));
                }
            }
            Message::Stored { session, last } => follow(&session, Follow::Stored(last)),
            Message::Shown { session, events } => follow(&session, Follow::Shown(events)),
            Message::Partial { session, to, events } if to == replicas.owner.0 => {
                follow(&session, Follow::Partial(events));
            }
            Message::Reply { id, to, reply } if to == replicas.owner.0 => {
                if let Some(sender) = replicas.requests.lock().remove(&id) {
                    // The caller may have stopped waiting.
                    sender.send(reply).ok();
                }
            }
            Message::Request { id, to, session, command } => {
                let session = match to {
                    Some(to) if to != replicas.owner.0 => return,
                    // Its lease may outlast its cell.
                    Some(_) => Runtime(Arc::clone(self)).session_of(session),
                    None => {
                        let cell = self.cells.lock().get(&session).cloned();
                        let Some(cell) = cell.filter(|cell| cell.is_held()) else { return };
                        Session { shared: Arc::clone(self), cell }
                    }
                };
                let replicas = Arc::clone(replicas);
                self.group.spawn(async move {
                    let reply = session.execute(command).await;
                    replicas.send(vec![Message::Reply { id, to: from, reply }]).await;
                });
            }
            Message::Waiting { .. } => self.line_announced(from),
            Message::Take { to, runs } if to == replicas.owner.0 => self.give_runs(from, runs),
            Message::Given { to, sessions } if to == replicas.owner.0 => self.take_runs(&from, sessions),
            Message::Partial { .. }
            | Message::Reply { .. }
            | Message::Take { .. }
            | Message::Given { .. } => {}
        }
    }

    /// Acquires the lease of a session; another living process that holds it is asked to hand it over.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] if a run is executing there.
    pub(super) async fn acquire(&self, session: &SessionId) -> Result<Lease, SessionError> {
        let Some(store) = &self.store else {
            return Err(SessionError::CannotResume { session: session.clone() });
        };
        let ttl = self.options.lease_ttl;
        let mut holder = match store.acquire(session, &self.owner, ttl).await {
            Err(StoreError::Leased { owner, .. }) => owner,
            acquired => return Ok(acquired?),
        };
        let refused = |owner| StoreError::Leased { session: session.clone(), owner };
        let Some(replicas) = &self.replicas else { return Err(refused(holder).into()) };
        // A process that does not respond is dead: its lease ends.
        let until = Instant::now() + crate::util::bounded(ttl) + REQUEST_TIMEOUT;
        while Instant::now() < until {
            let reply = replicas.request(
                Some(holder.clone()),
                session,
                ReplicaCommand::Release,
                REQUEST_TIMEOUT.min(ttl / 2),
            );
            match reply.await {
                Some(Reply::Busy { run, status }) => {
                    return Err(SessionError::Busy { session: session.clone(), run, status });
                }
                Some(Reply::Done { .. }) => {}
                Some(Reply::Failed { .. }) | None => sleep(POLL).await,
            }
            holder = match store.acquire(session, &self.owner, ttl).await {
                Err(StoreError::Leased { owner, .. }) => owner,
                acquired => return Ok(acquired?),
            };
        }
        Err(refused(holder).into())
    }

    /// Called when this process begins to write a session: subscribers elsewhere are served from now on.
    pub(super) fn serve_watchers(&self, cell: &SessionCell) {
        let Some(replicas) = &self.replicas else { return };
        if replicas.watched.lock().get(&cell.id).is_some_and(|until| *until > Instant::now()) {
            cell.broadcast.serve_remotely(&replicas.outbox, None);
        }
    }

    /// Ends the runs and forgets the sessions that another process took over, after a time in which this process could not
    /// renew its leases.
    pub(super) async fn check_leases(self: &Arc<Self>) {
        let Some(store) = &self.store else { return };
        let cells: Vec<_> = self.cells.lock().values().cloned().collect();
        for cell in cells {
            let held = cell.inner.lock().writer.clone();
            let Some((writer, Some(lease))) = held else { continue };
            let Ok(head) = store.head(&cell.id).await else { continue };
            let current = head.map(|head| head.epoch).unwrap_or_default();
            if current == lease.epoch {
                continue;
            }
            let (session, epoch) = (cell.id.clone(), lease.epoch);
            tracing::warn!(%session, "another process took the session over while this one did not respond");
            writer.fail(StoreError::StaleWriter { session, epoch, current });
            if cell.live().is_none() {
                cell.invalidate();
            }
        }
    }
}

impl Session {
    /// Executes a command of another process.
    pub(super) async fn execute(&self, command: ReplicaCommand) -> Reply {
        let result = match command {
            ReplicaCommand::Release => return self.release(false).await,
            ReplicaCommand::Yield => return self.release(true).await,
            ReplicaCommand::Stop => self.stop().await.map(|status| (RunId::default(), status)),
            ReplicaCommand::Drain => self.drain().await.map(|status| (RunId::default(), status)),
            ReplicaCommand::Steer { text } => self.steer(text).await.map(|()| Default::default()),
            ReplicaCommand::Answer { only, each, by } => {
                let answers = match only {
                    Some(value) => Answers::only(value),
                    None => Answers::each(each),
                };
                self.answer(answers).by(&by).await.map(|run| (run.id(), run.status()))
            }
        };
        match result {
            Ok((run, status)) => Reply::Done { run, status },
            Err(SessionError::Busy { run, status, .. }) => Reply::Busy { run, status },
            Err(error) => Reply::Failed { code: error.code().to_string(), message: error.to_string() },
        }
    }

    /// Hands the session over. A paused run leaves memory; a running one only if `running` is set.
    async fn release(&self, running: bool) -> Reply {
        if let Some(live) = self.cell.live() {
            // A run that writes its last entries is gone in a moment.
            if !live.env.control.is_closed() {
                if live.status() == RunStatus::Running {
                    if !running {
                        return Reply::Busy { run: live.run(), status: RunStatus::Running };
                    }
                    live.drain_for_restart();
                    timeout(DRAIN, live.watch.wait_removed()).await.ok();
                }
                live.stop_for_restart();
            }
            if timeout(REQUEST_TIMEOUT, live.watch.wait_removed()).await.is_err() {
                return Reply::Busy { run: live.run(), status: live.status() };
            }
        }
        let Ok(locked) = timeout(REQUEST_TIMEOUT, self.lock()).await else {
            return Reply::Busy { run: RunId::default(), status: RunStatus::Running };
        };
        let released = locked.complete(async move |locked: LockedSession| locked.release_lease().await).await;
        match released {
            Ok(()) => Reply::Done { run: RunId::default(), status: RunStatus::Idle },
            Err(SessionError::Busy { run, status, .. }) => Reply::Busy { run, status },
            Err(error) => Reply::Failed { code: error.code().to_string(), message: error.to_string() },
        }
    }

    /// Sends a command to the process that executes the run.
    pub(super) async fn forward(
        &self,
        command: ReplicaCommand,
        busy: SessionError,
    ) -> Result<RunStatus, SessionError> {
        let (SessionError::Busy { .. }, Some(replicas)) = (&busy, &self.shared.replicas) else {
            return Err(busy);
        };
        match replicas.request(None, self.id(), command, COMMAND_TIMEOUT).await {
            Some(Reply::Done { status, .. }) => Ok(status),
            Some(Reply::Busy { run, status }) => Err(self.busy(run, status)),
            Some(Reply::Failed { code, message }) => match Code::named(&code) {
                Some(code) => Err(SessionError::Replica { code, message }),
                None => Err(busy),
            },
            None => Err(StoreError::Unavailable {
                reason: "the process that executes the run does not respond".to_owned(),
            }
            .into()),
        }
    }

    /// Asks the process that executes the run to hand it over.
    pub(super) async fn take_from_replica(&self, busy: SessionError) -> Result<(), SessionError> {
        self.forward(ReplicaCommand::Yield, busy).await.map(drop)
    }
}

impl LockedSession {
    /// Forgets the session and releases its lease.
    async fn release_lease(&self) -> Result<(), SessionError> {
        if let Some(live) = self.cell.live() {
            return Err(self.busy(live.run(), live.status()));
        }
        let held = {
            let mut inner = self.cell.inner.lock();
            // The journal has the queue.
            inner.queue.clear();
            inner.idle = None;
            inner.writer.take()
        };
        self.cell.broadcast.end_remote();
        let Some(store) = &self.shared.store else { return Ok(()) };
        let lease = match held {
            Some((_, Some(lease))) => Some(lease),
            // A command that failed forgot the writer, not the lease.
            _ => {
                let head = store.head(self.id()).await?;
                head.map(|head| Lease::new(self.shared.owner.clone(), head.epoch))
            }
        };
        if let Some(lease) = lease {
            store.release(self.id(), &lease).await?;
        }
        Ok(())
    }
}
