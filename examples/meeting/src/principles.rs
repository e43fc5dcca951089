//! Principles: rules of meetings as Markdown files in a folder.

use std::{fs, io, path::PathBuf, str::FromStr};

use serde::Serialize;

use crate::limits;

/// The principles that the program ships.
const SHIPPED: [(&str, &str); 4] = [
    ("focus", include_str!("../principles/focus.md")),
    ("equal-voice", include_str!("../principles/equal-voice.md")),
    ("clear-owner", include_str!("../principles/clear-owner.md")),
    ("respect", include_str!("../principles/respect.md")),
];

/// Name of a principle: 1 to 64 letters of any script, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PrincipleName(String);

/// Error of the folder of principles.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrincipleError {
    /// The name is invalid.
    #[error("the name of a principle has 1 to 64 letters, digits, `-` and `_`")]
    Name,
    /// There is no principle with this name.
    #[error("there is no such principle")]
    NotFound,
    /// The text is empty or too long.
    #[error("a principle has 1 to {} bytes of Markdown", limits::PRINCIPLE_BYTES)]
    Size,
    /// There are too many principles.
    #[error("there are {} principles already", limits::PRINCIPLE_FILES)]
    TooMany,
    /// The folder cannot be read or written.
    #[error("the folder of principles cannot be used")]
    Io(#[from] io::Error),
}

impl FromStr for PrincipleName {
    type Err = PrincipleError;

    fn from_str(text: &str) -> Result<Self, PrincipleError> {
        let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        let count = text.chars().count();
        // File systems limit names to 255 bytes.
        if (1..=64).contains(&count) && text.len() <= 200 && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PrincipleError::Name)
        }
    }
}

impl PrincipleName {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A principle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Principle {
    /// Name, which is that of the file.
    pub name: String,
    /// First heading.
    pub title: String,
    /// The Markdown.
    pub content: String,
}

impl Principle {
    fn new(name: &str, content: String) -> Self {
        let heading = content.lines().find_map(|line| line.strip_prefix("# "));
        let title = heading.unwrap_or(name).trim().to_owned();
        Self { name: name.to_owned(), title, content }
    }

    /// Returns the phrases after `Watch for:` or `감지:` in quotation marks. Without a model, a turn that contains one of
    /// them does not follow the principle.
    #[must_use]
    pub fn phrases(&self) -> Vec<String> {
        let mut phrases = Vec::new();
        for line in self.content.lines() {
            let line = line.trim_start_matches(['-', '*', ' ']);
            let Some(rest) = line.strip_prefix("Watch for:").or_else(|| line.strip_prefix("감지:")) else {
                continue;
            };
            let quoted = rest.split('"').skip(1).step_by(2).map(|phrase| phrase.trim().to_lowercase());
            phrases.extend(quoted.filter(|phrase| phrase.chars().count() > 1));
        }
        phrases
    }
}

/// Folder of principles.
#[derive(Debug, Clone)]
pub struct Principles {
    folder: PathBuf,
}

impl Principles {
    /// Opens a folder. If it does not exist, it is created with the principles that the program ships.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            for (name, content) in SHIPPED {
                fs::write(folder.join(format!("{name}.md")), content)?;
            }
        }
        Ok(Self { folder })
    }

    /// Returns all principles, sorted by name.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Principle>, PrincipleError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".md")) else { continue };
            let Ok(name) = name.parse() else { continue };
            if let Ok(principle) = self.get(&name) {
                found.push(principle);
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Returns a principle.
    ///
    /// # Errors
    ///
    /// [`PrincipleError::NotFound`], or the file cannot be read.
    pub fn get(&self, name: &PrincipleName) -> Result<Principle, PrincipleError> {
        match fs::read(self.path(name)) {
            Ok(content) => Ok(Principle::new(name.as_str(), String::from_utf8_lossy(&content).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PrincipleError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a principle by any text; `None` if there is none with this name, or it cannot be read.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Principle> {
        name.parse().and_then(|name| self.get(&name)).ok()
    }

    /// Creates or replaces a principle. Returns whether it is new.
    ///
    /// # Errors
    ///
    /// The text is empty or too long, or the file cannot be written.
    pub fn put(&self, name: &PrincipleName, content: &str) -> Result<bool, PrincipleError> {
        if content.trim().is_empty() || content.len() > limits::PRINCIPLE_BYTES {
            return Err(PrincipleError::Size);
        }
        let path = self.path(name);
        let is_new = !path.exists();
        if is_new && fs::read_dir(&self.folder)?.count() >= limits::PRINCIPLE_FILES {
            return Err(PrincipleError::TooMany);
        }
        let draft = self.folder.join(format!("{}.{:08x}.tmp", name.as_str(), fastrand::u32(..)));
        fs::write(&draft, content)?;
        fs::rename(&draft, &path)?;
        Ok(is_new)
    }

    /// Deletes a principle.
    ///
    /// # Errors
    ///
    /// [`PrincipleError::NotFound`], or the file cannot be deleted.
    pub fn delete(&self, name: &PrincipleName) -> Result<(), PrincipleError> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PrincipleError::NotFound),
            done => Ok(done?),
        }
    }

    fn path(&self, name: &PrincipleName) -> PathBuf {
        self.folder.join(format!("{}.md", name.as_str()))
    }
}
