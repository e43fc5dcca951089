//! Files of meetings: a log of records, and the Markdown file that is made of it.
//!
//! A record is written and synced before anything of it is sent. The log (`ID.jsonl`) is what is read after a restart; the
//! Markdown file (`ID.md`) grows with the transcript, and is replaced as a whole, with a rename, when something before the
//! transcript changes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{markdown, record::Record, state::MeetingState};

/// Largest log that is read, in bytes.
const LOG_BYTES: u64 = 256 * 1024 * 1024;
/// Part of a log that is read to see whether its meeting is unfinished, in bytes.
const TAIL_BYTES: u64 = 1024 * 1024;

/// Id of a meeting: `[A-Za-z0-9._:-]{1,128}`, which is safe as the name of a file with an extension.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeetingId(String);

/// The id of a meeting is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a meeting id has 1 to 128 letters, digits and `.`, `_`, `:`, `-`")]
pub struct InvalidMeetingId;

impl std::str::FromStr for MeetingId {
    type Err = InvalidMeetingId;

    fn from_str(text: &str) -> Result<Self, InvalidMeetingId> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        let length = (1..=crate::limits::ID_BYTES).contains(&text.len());
        if length && text.bytes().all(legal) { Ok(Self(text.to_owned())) } else { Err(InvalidMeetingId) }
    }
}

impl MeetingId {
    /// Returns a new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:016x}", fastrand::u64(..)))
    }

    /// Returns a new random id of a demonstration: `demo-…`.
    #[must_use]
    pub fn demo() -> Self {
        Self(format!("demo-{:08x}", fastrand::u32(..)))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for MeetingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Folder of meetings.
#[derive(Debug, Clone)]
pub struct MeetingStore {
    folder: PathBuf,
}

/// Files of one meeting.
#[derive(Debug)]
pub struct MeetingFile {
    id: MeetingId,
    folder: PathBuf,
    log: Option<File>,
    markdown: Option<File>,
}

impl MeetingStore {
    /// Opens a folder, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Reads a meeting; an empty state if there is none.
    ///
    /// The last line of the log may be incomplete after a crash; nothing of it was sent, and it is removed.
    ///
    /// # Errors
    ///
    /// The log cannot be read, or a line before the last one is invalid.
    pub fn load(&self, id: &MeetingId) -> io::Result<(MeetingState, MeetingFile)> {
        let mut file = MeetingFile { id: id.clone(), folder: self.folder.clone(), log: None, markdown: None };
        let path = self.folder.join(format!("{id}.jsonl"));
        // Every write goes to the end of the file, also after a failed write was cut off.
        let mut log = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((MeetingState::default(), file));
            }
            Err(error) => return Err(error),
        };
        if log.metadata()?.len() > LOG_BYTES {
            return Err(io::Error::other("the log of the meeting is too large"));
        }
        let mut text = Vec::new();
        log.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            log.set_len(whole as u64)?;
        }
        let mut state = MeetingState::default();
        let invalid = |number: usize| {
            io::Error::other(format!("line {number} of the log of meeting {id} is not a record"))
        };
        for (number, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if !line.is_empty() {
                state.apply(&serde_json::from_slice(line).map_err(|_| invalid(number + 1))?);
            }
        }
        file.log = Some(log);
        if !state.turns.is_empty() || state.phase != crate::state::Phase::New {
            // The crash may have happened between the log and the Markdown file.
            file.rewrite(&state)?;
        }
        Ok((state, file))
    }

    /// Returns the ids of all meetings, the latest first.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn ids(&self) -> io::Result<Vec<MeetingId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) else { continue };
            if let Ok(id) = id.parse::<MeetingId>() {
                found.push((entry.metadata()?.modified()?, id));
            }
        }
        found.sort_by(|one, other| other.cmp(one));
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// Returns the ids of meetings that a client ended and that have no minutes yet. Unreadable files are left out.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn unfinished(&self) -> io::Result<Vec<MeetingId>> {
        let mut ids = self.ids()?;
        ids.retain(|id| {
            let tail = tail(&self.folder.join(format!("{id}.jsonl"))).unwrap_or_default();
            let last = |kind: &str| {
                let begin = format!("{{\"record\":\"{kind}\"");
                let lines = tail.split(|byte| *byte == b'\n').enumerate();
                lines.filter(|(_, line)| line.starts_with(begin.as_bytes())).map(|(at, _)| at).last()
            };
            last("ending") > last("minuted")
        });
        Ok(ids)
    }

    /// Reads the state of a meeting; `None` if there is none. Changes nothing.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub fn read(&self, id: &MeetingId) -> io::Result<Option<MeetingState>> {
        let text = match fs::read(self.folder.join(format!("{id}.jsonl"))) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut state = MeetingState::default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Ok(record) = serde_json::from_slice(line) {
                state.apply(&record);
            }
        }
        Ok(Some(state))
    }
}

impl MeetingFile {
    /// Appends records to the log and syncs it.
    ///
    /// # Errors
    ///
    /// The file cannot be written. Nothing of the records may be sent then.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut text = Vec::with_capacity(256);
        for record in records {
            serde_json::to_writer(&mut text, record)?;
            text.push(b'\n');
        }
        let is_new = self.log.is_none();
        let path = self.path("jsonl");
        let log = match &mut self.log {
            Some(log) => log,
            none => none.insert(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let before = log.metadata()?.len();
        if let Err(error) = log.write_all(&text).and_then(|()| log.sync_data()) {
            // A half-written line would make the lines after it unreadable.
            let _cut = log.set_len(before);
            return Err(error);
        }
        if is_new { sync_folder(&self.folder) } else { Ok(()) }
    }

    /// Appends a line of the transcript to the Markdown file and syncs it. Returns `false` if there is no such file yet.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn append_line(&mut self, line: &str) -> io::Result<bool> {
        let Some(file) = &mut self.markdown else { return Ok(false) };
        let done = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
        if done.is_err() {
            // The end of the file is not known; the next line replaces the whole file.
            self.markdown = None;
        }
        done.map(|()| true)
    }

    /// Replaces the Markdown file.
    ///
    /// # Errors
    ///
    /// The file cannot be written. The old one remains.
    pub fn rewrite(&mut self, state: &MeetingState) -> io::Result<()> {
        let (path, draft) = (self.path("md"), self.path("md.tmp"));
        let mut file = File::create(&draft)?;
        file.write_all(markdown::render(self.id.as_str(), state).as_bytes())?;
        file.sync_data()?;
        fs::rename(&draft, &path)?;
        sync_folder(&self.folder)?;
        // The same file, opened before the rename, at its end.
        self.markdown = Some(file);
        Ok(())
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.id))
    }
}

/// Returns the end of a file.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

/// Makes a new name in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
