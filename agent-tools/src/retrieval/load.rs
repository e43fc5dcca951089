//! Loaders: files as text, by the ending of their names.

use std::path::{Path, PathBuf};

/// Largest file that is loaded, in bytes.
pub const FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Most files of one folder, those of its subfolders included.
pub const FILES: usize = 100_000;

/// Format of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// HTML; converted to Markdown.
    Html,
}

impl Format {
    /// Returns the format of a file, by the ending of its name; `None` for others.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::retrieval::load::Format;
    ///
    /// assert_eq!(Format::of("handbook/refunds.md".as_ref()), Some(Format::Markdown));
    /// assert_eq!(Format::of("photo.jpg".as_ref()), None);
    /// ```
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "txt" | "text" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }

    /// Converts the content of a document to text, or Markdown where it has structure.
    ///
    /// # Errors
    ///
    /// The reason why the content cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::retrieval::load::Format;
    ///
    /// let text = Format::Html.read(b"<h1>Refunds</h1><p>Within 14 days.</p>")?;
    /// assert_eq!(text, "# Refunds\n\nWithin 14 days.");
    /// # Ok::<(), String>(())
    /// ```
    pub fn read(self, content: &[u8]) -> Result<String, String> {
        match self {
            Self::Text | Self::Markdown => Ok(String::from_utf8_lossy(content).into_owned()),
            Self::Html => {
                let skipped =
                    htmd::HtmlToMarkdown::builder().skip_tags(vec!["script", "style", "nav"]).build();
                skipped.convert(&String::from_utf8_lossy(content)).map_err(|error| error.to_string())
            }
        }
    }
}

/// A file of a folder.
#[derive(Debug)]
pub(super) struct File {
    /// Its path below the folder, with `/`.
    pub(super) source: String,
    pub(super) path: PathBuf,
    pub(super) format: Format,
}

/// Returns the files of a folder and its subfolders that have a known format, sorted. Links are not followed.
pub(super) fn files(folder: &Path) -> std::io::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Some(format) = Format::of(&path)
            {
                let below = path.strip_prefix(folder).unwrap_or(&path);
                let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
                found.push(File { source: parts.join("/"), path, format });
                if found.len() > FILES {
                    return Err(std::io::Error::other(format!("it has more than {FILES} files")));
                }
            }
        }
    }
    found.sort_by(|left, right| left.source.cmp(&right.source));
    Ok(found)
}

/// Reads a file as text.
pub(super) fn read(file: &File) -> Result<String, String> {
    let size = std::fs::metadata(&file.path).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES {
        return Err(format!("it has {size} bytes; the limit is {FILE_BYTES}"));
    }
    file.format.read(&std::fs::read(&file.path).map_err(|error| error.to_string())?)
}
