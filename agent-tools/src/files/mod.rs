//! Files under one root. The root is opened once; every path is walked inside of it by the library, so neither `..`
//! nor an absolute path nor a link leads out.

mod list;
mod read;
mod search;
mod write;

use std::{
    fmt,
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
};

use agent_core::tool::ToolError;
use cap_std::{
    ambient_authority,
    fs::{Dir, DirEntry},
};
use globset::{GlobBuilder, GlobMatcher};

use crate::blocking::Stop;

pub use list::{ListFiles, ListFilesArgs};
pub use read::{ReadFile, ReadFileArgs};
pub use search::{SearchFiles, SearchFilesArgs};
pub use write::{WriteFile, WriteFileArgs};

/// Deepest directory and most entries a walk looks at.
const MAX_DEPTH: usize = 32;
const MAX_ENTRIES: usize = 50_000;
/// Longest path, in bytes.
const MAX_PATH: usize = 1024;

/// A directory that tools may use. Each tool is made from it and added on its own.
///
/// ```no_run
/// use agent_core::tool::ToolRegistry;
/// use agent_tools::files::Files;
///
/// let files = Files::open("work")?;
/// let tools = ToolRegistry::builder().tool(files.list()).tool(files.read()).tool(files.search()).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Files(Arc<Dir>);

impl Files {
    /// Opens the root.
    ///
    /// # Errors
    ///
    /// It is no directory, or may not be opened.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        Dir::open_ambient_dir(root, ambient_authority()).map(|root| Self(Arc::new(root)))
    }

    /// A tool that lists files.
    #[must_use]
    pub fn list(&self) -> ListFiles {
        ListFiles(self.clone())
    }

    /// A tool that reads a text file.
    #[must_use]
    pub fn read(&self) -> ReadFile {
        ReadFile(self.clone())
    }

    /// A tool that looks for text in files.
    #[must_use]
    pub fn search(&self) -> SearchFiles {
        SearchFiles(self.clone())
    }

    /// A tool that writes a file; it asks a person each time unless its policy is changed.
    #[must_use]
    pub fn write(&self) -> WriteFile {
        WriteFile(self.clone())
    }

    /// Visits the files below `path` in the order of their names, links not followed. `visit` returns whether to go
    /// on; the result says whether everything was seen.
    fn walk(
        &self,
        path: &str,
        stop: &Stop,
        mut visit: impl FnMut(&str, &DirEntry) -> io::Result<bool>,
    ) -> Result<bool, ToolError> {
        let start = if matches!(path, "" | "." | "./") {
            self.0.try_clone().map_err(|error| fault(path, error))?
        } else {
            self.0.open_dir(legal(path)?).map_err(|error| fault(path, error))?
        };
        let prefix = if matches!(path, "" | "." | "./") {
            String::new()
        } else {
            format!("{}/", path.trim_end_matches('/'))
        };
        let mut seen = 0;
        let mut open = vec![(prefix, start, 0)];
        while let Some((prefix, dir, depth)) = open.pop() {
            let mut entries: Vec<_> = dir
                .entries()
                .map_err(|error| fault(path, error))?
                .filter_map(Result::ok)
                .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry)))
                .take(MAX_ENTRIES)
                .collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            let mut below = Vec::new();
            for (name, entry) in entries {
                seen += 1;
                if seen > MAX_ENTRIES || stop.now() {
                    return Ok(false);
                }
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    // Repositories keep more history there than anybody wants to read.
                    if depth < MAX_DEPTH
                        && name != ".git"
                        && let Ok(inner) = entry.open_dir()
                    {
                        below.push((format!("{prefix}{name}/"), inner, depth + 1));
                    }
                } else if kind.is_file() {
                    let keep_on = visit(&format!("{prefix}{name}"), &entry);
                    if !keep_on.map_err(|error| fault(path, error))? {
                        return Ok(false);
                    }
                }
            }
            open.extend(below.into_iter().rev());
        }
        Ok(true)
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

fn legal(path: &str) -> Result<&str, ToolError> {
    let path = path.trim();
    if path.is_empty() || path.len() > MAX_PATH || path.contains('\0') {
        return Err(ToolError::failed(format!("a path has 1 to {MAX_PATH} bytes")));
    }
    Ok(path)
}

/// What the model is told; the cause keeps the rest.
fn fault(path: &str, error: io::Error) -> ToolError {
    let shown: String = path.chars().take(200).collect();
    let told = match error.kind() {
        ErrorKind::NotFound => format!("there is no `{shown}`"),
        ErrorKind::NotADirectory => format!("`{shown}` is no directory"),
        ErrorKind::IsADirectory => format!("`{shown}` is a directory"),
        // The library says so of every way out of the root.
        ErrorKind::PermissionDenied => {
            format!("`{shown}` may not be used: it is outside of the directory or protected")
        }
        _ => format!("`{shown}` cannot be used"),
    };
    ToolError::failed(told).with_cause(error)
}

fn glob(pattern: Option<&str>) -> Result<Option<GlobMatcher>, ToolError> {
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else { return Ok(None) };
    if pattern.len() > MAX_PATH {
        return Err(ToolError::failed("the file pattern is too long"));
    }
    // `*.rs` means "in any directory", as in most tools.
    let everywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
    let glob = GlobBuilder::new(&everywhere).literal_separator(true).build();
    glob.map(|glob| Some(glob.compile_matcher()))
        .map_err(|error| ToolError::failed(format!("the file pattern is not valid: {}", error.kind())))
}
