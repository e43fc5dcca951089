//! File tools below one root directory. The root is opened once, and every path is resolved inside it by the
//! library, so that neither `..` nor an absolute path nor a link leads outside.

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

/// Maximum depth and number of entries of a directory walk.
const MAX_DEPTH: usize = 32;
const MAX_ENTRIES: usize = 50_000;
/// Maximum length of a path in bytes.
const MAX_PATH: usize = 1024;

/// A directory that tools may access. Each tool is created from it and added separately.
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
    /// Opens the root directory.
    ///
    /// # Errors
    ///
    /// The path is not a directory, or cannot be opened.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::tool::ToolRegistry;
    /// use agent_tools::files::Files;
    ///
    /// let files = Files::open("work")?;
    /// let tools = ToolRegistry::builder().tool(files.read()).build()?;
    /// # assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        Dir::open_ambient_dir(root, ambient_authority()).map(|root| Self(Arc::new(root)))
    }

    /// Creates a tool that lists files.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::tool::ToolRegistry;
    /// use agent_tools::files::Files;
    ///
    /// let files = Files::open("work")?;
    /// let tools = ToolRegistry::builder().tool(files.list()).build()?;
    /// # assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn list(&self) -> ListFiles {
        ListFiles(self.clone())
    }

    /// Creates a tool that reads a text file.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::tool::ToolRegistry;
    /// use agent_tools::files::Files;
    ///
    /// let files = Files::open("work")?;
    /// let tools = ToolRegistry::builder().tool(files.read()).build()?;
    /// # assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn read(&self) -> ReadFile {
        ReadFile(self.clone())
    }

    /// Creates a tool that searches for text in files.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::tool::ToolRegistry;
    /// use agent_tools::files::Files;
    ///
    /// let files = Files::open("work")?;
    /// let tools = ToolRegistry::builder().tool(files.search()).build()?;
    /// # assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn search(&self) -> SearchFiles {
        SearchFiles(self.clone())
    }

    /// Creates a tool that writes a file. Each call needs an approval unless its policy is changed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::tool::ToolRegistry;
    /// use agent_tools::files::Files;
    ///
    /// let files = Files::open("work")?;
    /// let tools = ToolRegistry::builder().tool(files.write()).build()?;
    /// # assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn write(&self) -> WriteFile {
        WriteFile(self.clone())
    }

    /// Visits the files below `path` in the order of their names, without following links. `visit` returns whether
    /// to continue; the result is `true` if all files were visited.
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
                    // Git history is large and rarely useful here.
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

/// Error for the model. Details are kept in the cause.
fn fault(path: &str, error: io::Error) -> ToolError {
    let shown: String = path.chars().take(200).collect();
    let message = match error.kind() {
        ErrorKind::NotFound => format!("there is no `{shown}`"),
        ErrorKind::NotADirectory => format!("`{shown}` is not a directory"),
        ErrorKind::IsADirectory => format!("`{shown}` is a directory"),
        // The library returns this error for every path that leads outside the root.
        ErrorKind::PermissionDenied => {
            format!("`{shown}` is not accessible: it is outside the directory or protected")
        }
        _ => format!("`{shown}` is not accessible"),
    };
    ToolError::failed(message).with_cause(error)
}

fn glob(pattern: Option<&str>) -> Result<Option<GlobMatcher>, ToolError> {
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else { return Ok(None) };
    if pattern.len() > MAX_PATH {
        return Err(ToolError::failed("the file pattern is too long"));
    }
    // `*.rs` matches in any directory, as in most tools.
    let everywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
    let glob = GlobBuilder::new(&everywhere).literal_separator(true).build();
    glob.map(|glob| Some(glob.compile_matcher()))
        .map_err(|error| ToolError::failed(format!("the file pattern is not valid: {}", error.kind())))
}
