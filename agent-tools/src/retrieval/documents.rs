//! `Documents`: a collection of documents in the long-term memory.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_core::memory::{IntoMemory, MemoryError, MemoryStore, Namespace, Put, Search};
use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    load::{self, Format},
    search_tool::SearchDocuments,
    splitter::split,
};

/// Passages that are embedded and stored together.
const BATCH: usize = 256;
/// Passages that are compared at once.
const READS: usize = 16;
/// Sources that are read from the index at once.
const PAGE: usize = 1_000;

/// A collection of documents: loaded, split into passages, and embedded in the long-term memory.
///
/// Adding a document again costs nothing while its content is the same. After a change, or after an addition that did not
/// finish, only the passages that the memory does not have are embedded. The memory's embedder decides what is found: one
/// from a model finds meanings, [`WordEmbeddings`](agent_core::model::WordEmbeddings) finds words. Cheap to clone.
///
/// # Examples
///
/// ```
/// use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
/// use agent_tools::retrieval::{Documents, load::Format};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = InMemoryStore::new().with_embedder(Arc::new(WordEmbeddings));
/// let handbook = Documents::new(memory, "handbook")?;
/// handbook.add("refunds.md", "# Refunds\n\nRefunds are possible within 14 days.", Format::Markdown).await?;
/// handbook.add("shipping.md", "# Shipping\n\nShipping takes two days.", Format::Markdown).await?;
/// let found = handbook.search("when are refunds possible?", 1).await?;
/// assert_eq!(found[0].source, "refunds.md");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Documents {
    memory: Arc<dyn MemoryStore>,
    name: Arc<str>,
    passages: Namespace,
    sources: Namespace,
    chars: usize,
}

/// A passage of a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Passage {
    /// The document.
    pub source: String,
    /// The text.
    pub text: String,
    /// Similarity to the query, up to 1.
    pub score: f32,
}

/// Result of [`Documents::add_folder`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexReport {
    /// Documents that were added or replaced.
    pub added: Vec<String>,
    /// Number of documents that were the same as before.
    pub unchanged: usize,
    /// Documents that are no longer in the folder, and were removed.
    pub removed: Vec<String>,
    /// Files that could not be read.
    pub unreadable: Vec<UnreadableFile>,
}

/// A file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableFile {
    /// The document.
    pub source: String,
    /// The reason.
    pub reason: String,
}

/// Error of [`Documents`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetrievalError {
    /// The memory refused.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The folder cannot be read.
    #[error("folder `{}` cannot be read: {reason}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// Index record of a document.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Indexed {
    /// Hash of its content and of the size of its passages; empty while passages are being written.
    hash: String,
    /// Highest number of passages that it may have in the memory.
    passages: usize,
}

impl Documents {
    /// Creates a collection in a memory that has an embedder.
    ///
    /// # Errors
    ///
    /// [`RetrievalError::Memory`]: the name is empty, longer than 128 bytes, or has control characters.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
    /// use agent_tools::retrieval::Documents;
    ///
    /// let memory = InMemoryStore::new().with_embedder(std::sync::Arc::new(WordEmbeddings));
    /// let handbook = Documents::new(memory, "handbook")?;
    /// # drop(handbook);
    /// # Ok::<(), agent_tools::retrieval::RetrievalError>(())
    /// ```
    pub fn new(memory: impl IntoMemory, name: &str) -> Result<Self, RetrievalError> {
        Ok(Self {
            memory: memory.into_memory(),
            name: name.into(),
            passages: Namespace::new(["documents", name, "passages"])?,
            sources: Namespace::new(["documents", name, "sources"])?,
            chars: 1_200,
        })
    }

    /// Sets the largest size of a passage in characters. Documents that were added with another size are added again by the
    /// next call. Default: 1,200.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
    /// # use agent_tools::retrieval::Documents;
    /// # let memory = InMemoryStore::new().with_embedder(std::sync::Arc::new(WordEmbeddings));
    /// let handbook = Documents::new(memory, "handbook")?.passage_chars(600);
    /// # drop(handbook);
    /// # Ok::<(), agent_tools::retrieval::RetrievalError>(())
    /// ```
    #[must_use]
    pub const fn passage_chars(mut self, chars: usize) -> Self {
        self.chars = if chars == 0 { 1 } else { chars };
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tool `search_documents` over this collection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Agent, memory::InMemoryStore, model::WordEmbeddings};
    /// # use agent_tools::retrieval::Documents;
    /// # let memory = InMemoryStore::new().with_embedder(std::sync::Arc::new(WordEmbeddings));
    /// let handbook = Documents::new(memory, "handbook")?;
    /// let agent = Agent::builder("librarian").tool(handbook.tool()).build()?;
    /// # assert_eq!(agent.name(), "librarian");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tool(&self) -> SearchDocuments {
        SearchDocuments::new(self.clone())
    }

    /// Adds a document, or replaces the one of the same source. Returns `false` if it is the same as before.
    ///
    /// # Errors
    ///
    /// [`RetrievalError::Memory`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves some passages out; the next call completes them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
    /// use agent_tools::retrieval::{Documents, load::Format};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let memory = InMemoryStore::new().with_embedder(std::sync::Arc::new(WordEmbeddings));
    /// let handbook = Documents::new(memory, "handbook")?;
    /// assert!(handbook.add("refunds.txt", "Refunds within 14 days.", Format::Text).await?);
    /// assert!(!handbook.add("refunds.txt", "Refunds within 14 days.", Format::Text).await?);
    /// # Ok(()) }
    /// ```
    pub async fn add(&self, source: &str, text: &str, format: Format) -> Result<bool, RetrievalError> {
        let hash = self.hash(text);
        let before = self.indexed(source).await?;
        if before.hash == hash {
            return Ok(false);
        }
        let chars = self.chars;
        let owned = text.to_owned();
        let passages = in_background(move || split(&owned, format, chars)).await;
        let count = passages.len();
        let changed = self.changed(source, passages, before.passages).await?;
        // A crash in between is visible: there is no hash, and all passages are known.
        let most = before.passages.max(count);
        self.note(source, &Indexed { hash: String::new(), passages: most }).await?;
        let mut puts = changed.into_iter().map(|(number, text)| {
            let value = json!({ "source": source, "text": text });
            Put::new(self.passages.clone(), key(source, number), value).text(text)
        });
        loop {
            let batch: Vec<Put> = puts.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            self.memory.put_many(batch).await?;
        }
        for number in count..most {
            self.memory.delete(&self.passages, &key(source, number)).await?;
        }
        self.note(source, &Indexed { hash, passages: count }).await?;
        Ok(true)
    }

    /// Returns the passages that the memory does not have yet, with their numbers: after a call that did not finish, and where
    /// a document changed only in part, the others are not embedded again.
    async fn changed(
        &self,
        source: &str,
        passages: Vec<String>,
        stored: usize,
    ) -> Result<Vec<(usize, String)>, RetrievalError> {
        let mut compared = stream::iter(passages.into_iter().enumerate())
            .map(async |(number, text)| {
                if number >= stored {
                    return Ok(Some((number, text)));
                }
                let item = self.memory.get(&self.passages, &key(source, number)).await?;
                let same = item.is_some_and(|item| item.value["text"] == *text);
                Ok::<_, RetrievalError>((!same).then_some((number, text)))
            })
            .buffered(READS);
        let mut changed = Vec::new();
        while let Some(passage) = compared.next().await {
            changed.extend(passage?);
        }
        Ok(changed)
    }

    /// Removes a document. Returns `false` if there is none of this source.
    ///
    /// # Errors
    ///
    /// [`RetrievalError::Memory`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves some passages; the next call removes them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
    /// use agent_tools::retrieval::{Documents, load::Format};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let memory = InMemoryStore::new().with_embedder(std::sync::Arc::new(WordEmbeddings));
    /// let handbook = Documents::new(memory, "handbook")?;
    /// handbook.add("refunds.txt", "Refunds within 14 days.", Format::Text).await?;
    /// handbook.remove("refunds.txt").await?;
    /// assert!(handbook.search("refunds", 5).await?.is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn remove(&self, source: &str) -> Result<bool, RetrievalError> {
        let before = self.indexed(source).await?;
        for number in 0..before.passages {
            self.memory.delete(&self.passages, &key(source, number)).await?;
        }
        Ok(self.memory.delete(&self.sources, &source_key(source)).await?)
    }

    /// Adds the files of a folder and its subfolders that have a known [`Format`], and removes documents that are no longer
    /// there. A file that cannot be read is reported and skipped.
    ///
    /// # Errors
    ///
    /// [`RetrievalError`].
    ///
    /// # Cancel safety
    ///
    /// As [`add`](Self::add).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
    /// use agent_tools::retrieval::Documents;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let memory = InMemoryStore::new().with_embedder(std::sync::Arc::new(WordEmbeddings));
    /// let handbook = Documents::new(memory, "handbook")?;
    /// let report = handbook.add_folder("handbook/").await?;
    /// println!("{} added, {} unchanged", report.added.len(), report.unchanged);
    /// # Ok(()) }
    /// ```
    pub async fn add_folder(&self, folder: impl AsRef<Path>) -> Result<IndexReport, RetrievalError> {
        let folder = folder.as_ref().to_owned();
        let listed = {
            let folder = folder.clone();
            in_background(move || load::files(&folder)).await
        };
        let files = listed.map_err(|error| RetrievalError::Folder { folder, reason: error.to_string() })?;
        let mut gone: BTreeSet<String> = self.known_sources().await?;
        let mut report = IndexReport::default();
        for file in files {
            gone.remove(&file.source);
            let (source, format) = (file.source.clone(), file.format);
            match in_background(move || load::read(&file)).await {
                Err(reason) => report.unreadable.push(UnreadableFile { source, reason }),
                Ok(text) if self.add(&source, &text, format).await? => report.added.push(source),
                Ok(_) => report.unchanged += 1,
            }
        }
        for source in gone {
            self.remove(&source).await?;
            report.removed.push(source);
        }
        Ok(report)
    }

    /// Returns the passages that are nearest to a query, the nearest first.
    ///
    /// # Errors
    ///
    /// [`RetrievalError::Memory`], also when the memory has no embedder.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
    /// use agent_tools::retrieval::{Documents, load::Format};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let memory = InMemoryStore::new().with_embedder(std::sync::Arc::new(WordEmbeddings));
    /// let handbook = Documents::new(memory, "handbook")?;
    /// handbook.add("refunds.txt", "Refunds within 14 days.", Format::Text).await?;
    /// let passages = handbook.search("refunds", 5).await?;
    /// assert_eq!(passages[0].source, "refunds.txt");
    /// # Ok(()) }
    /// ```
    pub async fn search(&self, query: &str, limit: usize) -> Result<Vec<Passage>, RetrievalError> {
        let found = self.memory.search(Search::new(self.passages.clone()).near(query).limit(limit)).await?;
        Ok(found
            .into_iter()
            .filter_map(|found| {
                let text = |name: &str| found.item.value[name].as_str().map(str::to_owned);
                Some(Passage { source: text("source")?, text: text("text")?, score: found.score? })
            })
            .collect())
    }

    fn hash(&self, text: &str) -> String {
        let digest = Sha256::digest(format!("{}\n{text}", self.chars));
        hex::encode(&digest[..16])
    }

    async fn indexed(&self, source: &str) -> Result<Indexed, RetrievalError> {
        let item = self.memory.get(&self.sources, &source_key(source)).await?;
        Ok(item.and_then(|item| Indexed::deserialize(&item.value).ok()).unwrap_or_default())
    }

    async fn note(&self, source: &str, indexed: &Indexed) -> Result<(), RetrievalError> {
        let value = json!({ "source": source, "hash": indexed.hash, "passages": indexed.passages });
        // Not searched by meaning: no text.
        Ok(self.memory.put(Put::new(self.sources.clone(), source_key(source), value).text("")).await?)
    }

    async fn known_sources(&self) -> Result<BTreeSet<String>, RetrievalError> {
        let mut known = BTreeSet::new();
        loop {
            let page = Search::new(self.sources.clone()).offset(known.len()).limit(PAGE);
            let found = self.memory.search(page).await?;
            let full = found.len() == PAGE;
            let sources = found.iter().filter_map(|found| found.item.value["source"].as_str());
            let before = known.len();
            known.extend(sources.map(str::to_owned));
            if !full || known.len() == before {
                return Ok(known);
            }
        }
    }
}

/// Key of a passage: the length of keys is limited, that of sources is not.
fn key(source: &str, number: usize) -> String {
    format!("{}#{number:06}", source_key(source))
}

fn source_key(source: &str) -> String {
    hex::encode(&Sha256::digest(source)[..16])
}

/// Runs work that may take long on a thread for it.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        // A panic stays a panic of the caller.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("name", &self.name).finish_non_exhaustive()
    }
}
