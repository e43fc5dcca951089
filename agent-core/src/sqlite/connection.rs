//! Opening of an SQLite file: options, connections and threads.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    error::{Fault, unavailable},
    owner_lock::Owners,
    queue::{Cost, Queue, cost},
    schema,
    writer_thread::{self, Writer},
};
use crate::{
    clock::{Clock, WallClock},
    journal::StoreError,
};

/// A store in an SQLite file. Cheap to clone; all clones are one store.
///
/// The files of a new store (database, log, locks) are readable by their user alone (mode 0600); a file that exists keeps
/// its mode.
///
/// Several processes may open the same file. A process that acquires a lease holds a lock on a file in the folder
/// `<database>.owners`. When the process dies, the lock is released and its leases are void at once on the same machine.
/// The file must be on a local disk, because SQLite's log needs shared memory.
///
/// Dropping the last clone completes queued work, checkpoints the log, and blocks until that is done.
///
/// # Examples
///
/// ```no_run
/// use agent_core::{Runtime, sqlite::Sqlite};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Sqlite::open("agents.db")?;
/// let runtime = Runtime::builder().journal(store.clone()).memory(store.memory()).build();
/// # drop(runtime);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sqlite {
    pub(super) inner: Arc<Inner>,
}

/// Settings of an SQLite store.
///
/// # Examples
///
/// ```no_run
/// use agent_core::sqlite::{Sqlite, Synchronous};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Sqlite::builder().synchronous(Synchronous::Normal).open("agents.db")?;
/// # drop(store);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until `open`"]
pub struct SqliteOptions {
    pub(super) synchronous: Synchronous,
    pub(super) busy_timeout: Duration,
    pub(super) cache_kib: u32,
    pub(super) page_size: u32,
    pub(super) readers: usize,
    pub(super) clock: Arc<dyn Clock>,
}

/// Durability of an acknowledged append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Survives a loss of power: the log is flushed to the disk with every commit.
    #[default]
    Full,
    /// Survives a crash of the process. A loss of power may lose the latest commits, but never their order or the file.
    Normal,
}

pub(super) struct Inner {
    writer: Arc<Writer>,
    /// `None` when the database is in memory, where there is only one connection.
    reads: Option<Arc<Queue>>,
    threads: Vec<JoinHandle<()>>,
    pub(super) owners: Arc<Owners>,
    pub(super) clock: Arc<dyn Clock>,
    /// `None`: in memory.
    pub(super) path: Option<PathBuf>,
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
    /// Sets the durability of an acknowledged append. Default: [`Synchronous::Full`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::sqlite::{Sqlite, Synchronous};
    ///
    /// let store = Sqlite::builder().synchronous(Synchronous::Full).open(":memory:")?;
    /// # assert!(store.path().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Sets the timeout of a call for another process that writes. Default: 5 s.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// use agent_core::sqlite::Sqlite;
    ///
    /// let store = Sqlite::builder().busy_timeout(Duration::from_secs(10)).open(":memory:")?;
    /// # assert!(store.path().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn busy_timeout(mut self, time: Duration) -> Self {
        self.busy_timeout = time;
        self
    }

    /// Page cache of each connection in KiB. Default: 8,192.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::sqlite::Sqlite;
    ///
    /// let store = Sqlite::builder().cache_kib(32 * 1024).open(":memory:")?;
    /// # assert!(store.path().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cache_kib(mut self, kib: u32) -> Self {
        self.cache_kib = kib;
        self
    }

    /// Page size of a new file in bytes, a power of two from 512 to 65,536; an old file keeps its own.
    /// Default: 4,096.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::sqlite::Sqlite;
    ///
    /// let store = Sqlite::builder().page_size(8192).open(":memory:")?;
    /// # assert!(store.path().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn page_size(mut self, bytes: u32) -> Self {
        self.page_size = bytes;
        self
    }

    /// Connections (and threads) that read, 1 to 64. Default: 2.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::sqlite::Sqlite;
    ///
    /// let store = Sqlite::builder().readers(4).open(":memory:")?;
    /// # assert!(store.path().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn readers(mut self, count: usize) -> Self {
        self.readers = count.clamp(1, 64);
        self
    }

    /// Sets the clock for leases and expiry times. Default: [`WallClock`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::clock::ManualClock;
    /// # use std::sync::Arc;
    /// use agent_core::sqlite::Sqlite;
    ///
    /// let store = Sqlite::builder().clock(Arc::new(ManualClock::new(0))).open(":memory:")?;
    /// # assert!(store.path().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::sqlite::Sqlite;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let store = Sqlite::builder().readers(4).open(folder.path().join("agent.db"))?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// use agent_core::sqlite::Sqlite;
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
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::sqlite::Sqlite;
    ///
    /// let store = Sqlite::builder().readers(4).open(":memory:")?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> SqliteOptions {
        SqliteOptions::default()
    }

    /// The file, as an absolute path. `None`: in memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::sqlite::Sqlite;
    ///
    /// assert!(Sqlite::open(":memory:")?.path().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Runs `work` on the writing connection, in a transaction shared with other calls.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        cost: Cost,
        work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.writer.ask(cost, work).await
    }

    /// Runs `work` on a reading connection.
    pub(super) async fn read<T: Send + 'static>(
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
                inner.spawn("sqlite-read", move || writer_thread::run_reader(&reader, &queue))?;
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

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
