//! Meetings that take place: each has an actor that alone changes it, and any number of clients.
//!
//! `actor` is the loop of one meeting, `audio` the path of audio past the actor, `analysis` the runs of the agents.

mod actor;
mod analysis;
mod audio;
mod counts;

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use agent_core::{
    Runtime,
    clock::{Clock, WallClock},
    task_group::TaskGroup,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use self::actor::Command;
pub use self::{audio::AudioPath, counts::Counts};
use crate::{
    agents::Agents,
    limits,
    principles::Principles,
    record::Setup,
    state::MeetingState,
    store::{MeetingId, MeetingStore},
    transcribe::{Recording, Upstream},
    wire::{ClientFault, SetupChange},
};

/// What meetings need.
#[derive(Debug)]
pub struct MeetingsOptions {
    /// Files of meetings.
    pub store: MeetingStore,
    /// Files of principles.
    pub principles: Principles,
    /// Where transcripts come from.
    pub upstream: Upstream,
    /// Recording that meetings with an id `demo-…` are transcribed by. Default: none.
    pub demo: Option<Recording>,
    /// Time without clients and audio after which a meeting leaves the memory. Default: 5 minutes.
    pub idle: Duration,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl MeetingsOptions {
    /// Creates options with defaults.
    #[must_use]
    pub fn new(store: MeetingStore, principles: Principles, upstream: Upstream) -> Self {
        let idle = Duration::from_secs(300);
        Self { store, principles, upstream, demo: None, idle, clock: Arc::new(WallClock) }
    }
}

/// All meetings of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Meetings(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: MeetingsOptions,
    runtime: Runtime,
    agents: Agents,
    open: Mutex<HashMap<MeetingId, Handle>>,
    /// One meeting is loaded at a time.
    loading: tokio::sync::Mutex<()>,
    counts: Arc<Counts>,
    tasks: TaskGroup,
}

/// Way to a meeting. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    /// Takes audio.
    pub audio: Arc<AudioPath>,
}

/// A client that joined a meeting.
#[derive(Debug)]
pub struct Joined {
    /// The meeting.
    pub handle: Handle,
    /// What happened so far, as messages.
    pub so_far: Vec<Arc<str>>,
    /// What happens from now on. Ends if the client is too far behind, or the server shuts down.
    pub messages: mpsc::Receiver<Arc<str>>,
}

/// A meeting cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeetingError {
    /// There is no such meeting.
    #[error("there is no such meeting")]
    NotFound,
    /// A meeting with this id exists.
    #[error("a meeting with this id exists")]
    Exists,
    /// A limit is reached.
    #[error("too many meetings or clients; try again later")]
    Busy,
    /// The request is invalid.
    #[error(transparent)]
    Invalid(#[from] ClientFault),
    /// The files cannot be used.
    #[error("the files of the meeting cannot be used")]
    Storage(#[from] io::Error),
}

impl Meetings {
    /// Creates the service.
    #[must_use]
    pub fn new(options: MeetingsOptions, runtime: Runtime, agents: Agents) -> Self {
        let (open, loading, tasks) = (Mutex::default(), tokio::sync::Mutex::default(), TaskGroup::default());
        let counts = Arc::default();
        Self(Arc::new(Inner { options, runtime, agents, open, loading, counts, tasks }))
    }

    /// Returns the principles.
    #[must_use]
    pub fn principles(&self) -> &Principles {
        &self.0.options.principles
    }

    /// Returns the counters.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counts> {
        &self.0.counts
    }

    /// Returns the number of meetings in memory.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.lock().len()
    }

    /// Creates a meeting that has started.
    ///
    /// # Errors
    ///
    /// [`MeetingError::Exists`], or it cannot be stored.
    pub async fn create(&self, id: MeetingId, setup: Setup) -> Result<(), MeetingError> {
        if self.state(&id).await?.is_some() {
            return Err(MeetingError::Exists);
        }
        let handle = self.handle(&id).await?;
        Ok(handle.start(setup.into()).await?)
    }

    /// Joins a meeting. It comes into being if it does not exist.
    ///
    /// # Errors
    ///
    /// [`MeetingError::Busy`], or the files cannot be read.
    pub async fn join(&self, id: &MeetingId) -> Result<Joined, MeetingError> {
        // The actor may end between the two steps, because it was idle; it is started again then.
        for _ in 0..3 {
            let handle = self.handle(id).await?;
            let (sender, messages) = mpsc::channel(limits::CLIENT_QUEUE);
            let (done, joined) = oneshot::channel();
            if handle.commands.send(Command::Join { sender, done }).await.is_ok()
                && let Ok(so_far) = joined.await
            {
                let so_far = so_far.ok_or(MeetingError::Busy)?;
                return Ok(Joined { handle, so_far, messages });
            }
        }
        Err(MeetingError::Busy)
    }

    /// Returns the state of a meeting; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The files cannot be read.
    pub async fn state(&self, id: &MeetingId) -> Result<Option<MeetingState>, MeetingError> {
        let open = self.0.open.lock().get(id).cloned();
        if let Some(handle) = open {
            let (done, state) = oneshot::channel();
            if handle.commands.send(Command::State { done }).await.is_ok()
                && let Ok(state) = state.await
            {
                return Ok(Some(*state).filter(|state| state.phase != crate::state::Phase::New));
            }
        }
        let (store, id) = (self.0.options.store.clone(), id.clone());
        Ok(blocking(move || store.read(&id)).await?)
    }

    /// Returns the ids of at most `limit` meetings, the latest first.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub async fn ids(&self, limit: usize) -> Result<Vec<MeetingId>, MeetingError> {
        let store = self.0.options.store.clone();
        let mut ids = blocking(move || store.ids()).await?;
        ids.truncate(limit);
        Ok(ids)
    }

    /// Writes the minutes of meetings that were ended shortly before the server stopped.
    pub fn recover(&self) {
        let meetings = self.clone();
        self.0.tasks.spawn(async move {
            let store = meetings.0.options.store.clone();
            let unfinished = match blocking(move || store.unfinished()).await {
                Ok(ids) => ids,
                Err(error) => return tracing::error!(%error, "the folder of meetings cannot be read"),
            };
            for id in unfinished {
                if let Err(error) = meetings.handle(&id).await {
                    tracing::warn!(meeting = %id, error = &error as &dyn std::error::Error, "a meeting cannot be finished");
                }
            }
        });
    }

    /// Ends all meetings in memory. What was sent is stored; they continue after a restart.
    pub async fn close(&self) {
        self.0.tasks.stop();
        self.0.tasks.wait_idle().await;
    }

    async fn handle(&self, id: &MeetingId) -> Result<Handle, MeetingError> {
        let known = || self.0.open.lock().get(id).filter(|handle| !handle.commands.is_closed()).cloned();
        if let Some(handle) = known() {
            return Ok(handle);
        }
        let _one = self.0.loading.lock().await;
        if let Some(handle) = known() {
            return Ok(handle);
        }
        if self.0.open.lock().len() >= limits::OPEN_MEETINGS {
            return Err(MeetingError::Busy);
        }
        let (store, of) = (self.0.options.store.clone(), id.clone());
        let (state, file) = blocking(move || store.load(&of)).await?;
        let (commands, inbox) = mpsc::channel(256);
        let upstream = match &self.0.options.demo {
            Some(demo) if id.as_str().starts_with("demo-") => Upstream::Offline(Arc::new(demo.clone())),
            _ => self.0.options.upstream.clone(),
        };
        let audio = Arc::new(AudioPath::new(upstream, commands.clone(), Arc::clone(&self.0.counts), &state));
        let handle = Handle { commands: commands.clone(), audio: Arc::clone(&audio) };
        self.0.open.lock().insert(id.clone(), handle.clone());
        let actor = actor::Actor::new(self.clone(), id.clone(), state, file, audio, commands);
        let (meetings, id) = (self.clone(), id.clone());
        // When the group is stopped it ends after the file operation in progress.
        self.0.tasks.spawn_uncancelled(async move {
            actor.run(inbox).await;
            let mut open = meetings.0.open.lock();
            if open.get(&id).is_some_and(|handle| handle.commands.is_closed()) {
                open.remove(&id);
            }
        });
        Ok(handle)
    }
}

impl Handle {
    /// Sends a command and waits for its result.
    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), ClientFault>>) -> Command,
    ) -> Result<(), ClientFault> {
        let (done, result) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| ClientFault::Busy)?;
        result.await.map_err(|_| ClientFault::Busy)?
    }

    /// Starts the meeting, or changes its setup. Parts that the change does not have stay as they are.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub async fn start(&self, change: SetupChange) -> Result<(), ClientFault> {
        self.ask(|done| Command::Start { change, done }).await
    }

    /// Declares who speaks from a place on, in samples since the meeting is in memory.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub async fn speaker(&self, speaker: String, at: u64) -> Result<(), ClientFault> {
        self.ask(|done| Command::Speaker { speaker, at, done }).await
    }

    /// Corrects a turn.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub async fn correct(
        &self,
        item_id: String,
        speaker: Option<String>,
        text: Option<String>,
    ) -> Result<(), ClientFault> {
        self.ask(|done| Command::Correct { item_id, speaker, text, done }).await
    }

    /// Ends the meeting: the last transcripts are awaited, then the minutes are written.
    ///
    /// # Errors
    ///
    /// [`ClientFault`].
    pub async fn end(&self) -> Result<(), ClientFault> {
        self.ask(|done| Command::End { done }).await
    }
}

/// Runs file operations where they may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| io::Error::other("a file operation panicked"))?
}
