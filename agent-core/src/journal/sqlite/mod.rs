//! Keeps journals in one SQLite file: the embedded store.
//!
//! One connection writes. Its thread takes all appends that wait into one transaction, so that many sessions
//! share the cost of making data durable, and answers each by itself; when nobody waits and the disk is fast,
//! the caller commits in place. A few threads with connections of their own read; they never stand in the
//! writer's way.

pub(crate) mod fault;
mod owner;
pub(crate) mod queue;
mod read;
mod schema;
mod tidy;
mod write;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use futures::future::BoxFuture;
use rusqlite::Connection;

use self::{
    fault::{Fault, unavailable},
    owner::Owners,
    queue::{Cost, Queue},
    writer::Writer,
};
use super::store::{
    Append, Head, JournalStore, Lease, OwnerId, Recent, Record, StoreError, StoredSnapshot, Summary,
};
use crate::{
    clock::{Clock, WallClock},
    ids::{Seq, SessionId},
};

/// A store in an SQLite file. Cheap to clone; all clones are one store.
///
/// The files of a new store (database, log, locks) are readable by their user alone (mode 0600); a file that exists keeps
/// its mode.
///
/// Several processes may open the same file. Each names itself when it takes a lease and holds a lock on a
/// file in the folder `<database>.owners`; when it dies, however it dies, the lock goes with it and its leases
/// are void at once on the same machine. The file must be on a local disk (SQLite's log needs shared memory).
///
/// Dropping the last clone finishes what is queued, moves the log into the file, and blocks until that is done.
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

/// How an SQLite store is opened.
#[derive(Debug, Clone)]
#[must_use = "options do nothing until `open`"]
pub struct SqliteOptions {
    synchronous: Synchronous,
    busy_timeout: Duration,
    cache_kib: u32,
    page_size: u32,
    readers: usize,
    clock: Arc<dyn Clock>,
}

/// What an acknowledged append survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// The loss of power: the log is flushed to the disk with every commit.
    #[default]
    Full,
    /// The death of the process. The loss of power may cost the latest commits, never the order or the file.
    Normal,
}

struct Inner {
    writer: Arc<Writer>,
    /// `None` when the database is in memory, where there is only one connection.
    reads: Option<Arc<Queue>>,
    threads: Vec<JoinHandle<()>>,
    owners: Arc<Owners>,
    clock: Arc<dyn Clock>,
    /// `None`: in memory.
    path: Option<PathBuf>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(5),
            cache_kib: 8 * 1024,
            page_size: 4096,
            readers: 2,
            clock: Arc::new(WallClock),
        }
    }
}

impl SqliteOptions {
    /// What an acknowledged append survives. Default: [`Synchronous::Full`].
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long a call waits for another process that writes. Default: 5 s.
    pub fn busy_timeout(mut self, time: Duration) -> Self {
        self.busy_timeout = time;
        self
    }

    /// Page cache of each connection in KiB. Default: 8,192.
    pub fn cache_kib(mut self, kib: u32) -> Self {
        self.cache_kib = kib;
        self
    }

    /// Page size of a new file in bytes, a power of two from 512 to 65,536; an old file keeps its own.
    /// Default: 4,096.
    pub fn page_size(mut self, bytes: u32) -> Self {
        self.page_size = bytes;
        self
    }

    /// Connections (and threads) that read, 1 to 64. Default: 2.
    pub fn readers(mut self, count: usize) -> Self {
        self.readers = count.clamp(1, 64);
        self
    }

    /// Whose time leases and times to live go by. Default: [`WallClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the store at `path`, making the file if there is none. `:memory:` is a store that dies with it.
    ///
    /// Blocks for the time of a few file operations.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the file cannot be opened or is locked, [`StoreError::Damaged`] when it
    /// is no database or another program's, [`StoreError::FormatTooNew`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Sqlite, StoreError> {
        let path = path.as_ref();
        let in_memory = path == Path::new(":memory:");
        let db = schema::open_writer(path, &self)?;
        // One name for one file, however it was reached: the lock files of all processes must meet.
        let path = (!in_memory).then(|| path.canonicalize().unwrap_or_else(|_| path.to_path_buf()));
        let readers = match &path {
            Some(path) => (0..self.readers).map(|_| schema::open_reader(path, &self)).collect(),
            None => Ok(Vec::new()),
        };
        Inner::start(db, readers?, path, self).map(|inner| Sqlite { inner: Arc::new(inner) })
    }
}

impl Sqlite {
    /// Opens the store at `path` with the default options; see [`SqliteOptions::open`].
    ///
    /// # Errors
    ///
    /// See [`SqliteOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::journal::Sqlite;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let store = Sqlite::open(folder.path().join("agent.db"))?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder().open(path)
    }

    /// Options to open a store with.
    pub fn builder() -> SqliteOptions {
        SqliteOptions::default()
    }

    /// The file, as an absolute path. `None`: in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Work on the writing connection, in a transaction with its neighbours.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        cost: Cost,
        work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.writer.ask(cost, work).await
    }

    /// Work on a connection that only reads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.inner.reads {
            Some(reads) => reads.ask(Cost::default(), work).await,
            None => self.write(cost(0), work).await,
        }
    }
}

impl Inner {
    fn start(
        db: Connection,
        readers: Vec<Connection>,
        path: Option<PathBuf>,
        options: SqliteOptions,
    ) -> Result<Self, StoreError> {
        let writer = Arc::new(Writer::new(db, options.busy_timeout));
        let reads = (!readers.is_empty()).then(|| Arc::new(Queue::new()));
        let owners = Arc::new(Owners::new(path.as_deref()));
        // From here on, an early return drops `inner`, which stops the threads that run by then.
        let mut inner = Self { writer, reads, threads: Vec::new(), owners, clock: options.clock, path };
        let writer = Arc::clone(&inner.writer);
        inner.spawn("sqlite-write", move || writer.run())?;
        for reader in readers {
            if let Some(queue) = inner.reads.clone() {
                inner.spawn("sqlite-read", move || writer::run_reader(&reader, &queue))?;
            }
        }
        Ok(inner)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(thread.map_err(|error| unavailable(&format!("no thread for it: {error}")))?);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(reads) = &self.reads {
            reads.close();
        }
        self.writer.queue.close();
        // The readers first, as they were started last: the writer's checkpoint wants the file for itself.
        for thread in self.threads.drain(..).rev() {
            if thread.join().is_err() {
                tracing::error!("a thread of the SQLite store panicked");
            }
        }
    }
}

/// Of work that removes.
pub(crate) const FREES: Cost = Cost { bytes: 0, frees: true, quick: false };

/// Of work that may take long.
const LONG: Cost = Cost { bytes: 0, frees: false, quick: false };

/// Of short work that writes about so many bytes.
pub(crate) const fn cost(bytes: usize) -> Cost {
    Cost { bytes, frees: false, quick: true }
}

impl JournalStore for Sqlite {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        let cost = cost(append.records.iter().map(|record| record.body.len()).sum());
        Box::pin(self.write(cost, move |db| write::append(db, &append)))
    }

    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let session = session.clone();
        Box::pin(self.read(move |db| read::read(db, &session, after, upto, limit)))
    }

    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>> {
        let session = session.clone();
        Box::pin(self.read(move |db| read::head(db, &session)))
    }

    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>> {
        let (session, owner) = (session.clone(), owner.clone());
        let (owners, clock) = (Arc::clone(&self.inner.owners), Arc::clone(&self.inner.clock));
        Box::pin(
            self.write(LONG, move |db| write::acquire(db, &owners, &session, &owner, clock.now_ms(), ttl)),
        )
    }

    fn renew(&self, owner: &OwnerId, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        let (owner, clock) = (owner.clone(), Arc::clone(&self.inner.clock));
        Box::pin(self.write(LONG, move |db| write::renew(db, &owner, clock.now_ms(), ttl)))
    }

    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>> {
        let (session, lease) = (session.clone(), lease.clone());
        Box::pin(self.write(cost(0), move |db| write::release(db, &session, &lease)))
    }

    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        let cost = cost(snapshot.body.len());
        Box::pin(self.write(cost, move |db| write::put_snapshot(db, &session, &snapshot)))
    }

    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>> {
        let session = session.clone();
        Box::pin(self.read(move |db| read::snapshot(db, &session, upto)))
    }

    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        Box::pin(self.write(FREES, move |db| write::trim(db, &session, before)))
    }

    fn copy(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (source, target) = (source.clone(), target.clone());
        Box::pin(self.write(LONG, move |db| write::copy(db, &source, &target, upto, &summary)))
    }

    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let (after, statuses) = (after.cloned(), statuses.to_vec());
        Box::pin(self.read(move |db| read::list(db, after.as_ref(), &statuses, limit)))
    }

    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let wanted = wanted.clone();
        Box::pin(self.read(move |db| read::recent(db, &wanted)))
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let session = session.clone();
        Box::pin(self.write(FREES, move |db| write::delete(db, &session, None)))
    }

    fn delete_held(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (session, epoch) = (session.clone(), lease.epoch);
        Box::pin(self.write(FREES, move |db| write::delete(db, &session, Some(epoch))))
    }

    fn due(
        &self,
        after: Option<(i64, SessionId)>,
        until: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        Box::pin(self.read(move |db| read::due(db, after.as_ref(), until, limit)))
    }

    fn durable(&self) -> bool {
        self.inner.path.is_some()
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
