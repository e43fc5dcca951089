//! Liveness of owners: each owner locks a file, and the kernel releases the lock when its process dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use super::error::unavailable;
use crate::journal::store::{OwnerId, StoreError};

/// Longest name of an owner in bytes: as hexadecimal digits it is still a legal file name everywhere.
const LONGEST: usize = 120;

/// Attempts to take a lock that is held: a process that only checks holds it for microseconds.
const ATTEMPTS: u32 = 20;

/// At most this many files of dead owners are removed when the store is opened.
const SWEEP: usize = 1000;

/// The locked files of this process and how many stores use each. A process cannot see its own locks by
/// trying them, and two stores on one file may share an owner.
static HELD: Mutex<BTreeMap<PathBuf, (File, usize)>> = Mutex::new(BTreeMap::new());

/// The owners of one store.
pub(super) struct Owners {
    /// `None` for a store in memory: no other process sees it.
    folder: Option<PathBuf>,
    mine: Mutex<BTreeSet<PathBuf>>,
}

impl Owners {
    /// The owners of the database at `database`, or of one in memory. Forgets owners that are dead.
    pub(super) fn new(database: Option<&Path>) -> Self {
        let folder = database.map(|path| {
            let mut name = OsString::from(path);
            name.push(".owners");
            PathBuf::from(name)
        });
        let owners = Self { folder, mine: Mutex::default() };
        owners.sweep();
        owners
    }

    /// Locks the owner's file until the store is dropped or the process exits.
    pub(super) fn hold(&self, owner: &OwnerId) -> Result<(), StoreError> {
        if owner.0.is_empty() || owner.0.len() > LONGEST {
            let reason = format!("the name of an owner has 1 to {LONGEST} bytes, this one {}", owner.0.len());
            return Err(StoreError::Illegal { reason });
        }
        let Some(path) = self.path(owner) else { return Ok(()) };
        let mut mine = self.mine.lock();
        if mine.contains(&path) {
            return Ok(());
        }
        let mut held = HELD.lock();
        if let Some((_, users)) = held.get_mut(&path) {
            *users += 1;
        } else {
            held.insert(path.clone(), (lock(&path)?, 1));
        }
        mine.insert(path);
        Ok(())
    }

    /// Returns whether the process of the owner lives, as far as this machine can know.
    pub(super) fn alive(&self, owner: &OwnerId) -> bool {
        self.path(owner).is_none_or(|path| alive(&path))
    }

    fn path(&self, owner: &OwnerId) -> Option<PathBuf> {
        let name = &owner.0;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let file =
            if name.bytes().all(plain) { format!("n-{name}") } else { format!("x-{}", hex::encode(name)) };
        self.folder.as_ref().map(|folder| folder.join(file))
    }

    fn sweep(&self) {
        let Some(files) = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else { return };
        for file in files.flatten().take(SWEEP) {
            // Looking at it removes it if its owner is dead.
            alive(&file.path());
        }
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        let mut held = HELD.lock();
        for path in &*self.mine.get_mut() {
            let Some((_, users)) = held.get_mut(path) else { continue };
            *users -= 1;
            if *users == 0 {
                // Removed before it is unlocked, so that no process finds a file that is about to be deleted.
                remove(path);
                held.remove(path);
            }
        }
        if let Some(folder) = &self.folder {
            // Fails while others are in it, as it should.
            fs::remove_dir(folder).ok();
        }
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    const PAUSE: Duration = Duration::from_millis(1);
    let failed = |error: io::Error| unavailable(&format!("the owner's lock file cannot be used: {error}"));
    for _ in 0..ATTEMPTS {
        if let Some(folder) = path.parent() {
            make_folder(folder).map_err(failed)?;
        }
        let file = match lock_file().open(path) {
            Ok(file) => file,
            // The folder went away in between, with its last owner.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        match file.try_lock() {
            // A process that saw this file as a dead owner's may have removed the name before we locked it.
            Ok(()) if is_at(&file, path) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(unavailable("another process uses the same owner name"))
}

/// Options that create a lock file readable by its user alone.
fn lock_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates the folder of lock files, open to its user alone.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn alive(path: &Path) -> bool {
    // Held for the whole look, so that no store of this process takes the file at the same time.
    let held = HELD.lock();
    if held.contains_key(path) {
        return true;
    }
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) => return error.kind() != io::ErrorKind::NotFound,
    };
    match file.try_lock() {
        Ok(()) => {
            remove(path);
            false
        }
        // Also if locks do not work here: then only the expiry of a lease shows that its owner is dead.
        Err(_) => true,
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same =
        |file: &fs::Metadata, path: &fs::Metadata| file.ino() == path.ino() && file.dev() == path.dev();
    matches!((file.metadata(), fs::metadata(path)), (Ok(file), Ok(path)) if same(&file, &path))
}

/// Removes a file that is locked by this process.
#[cfg(unix)]
fn remove(path: &Path) {
    // A file that stays is removed by the next process that looks at it.
    fs::remove_file(path).ok();
}

/// Elsewhere a name cannot be tied to an open file, so the (empty) files stay.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(not(unix))]
fn remove(_: &Path) {}
