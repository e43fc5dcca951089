//! Tools over the long-term memory: a model saves, searches and forgets notes in a namespace that the developer chooses.

use std::{borrow::Cow, sync::Arc, time::Duration};

use agent_core::{
    memory::{MemoryError, MemoryStore, Namespace, Put, SEGMENT_BYTES, Search, SearchHit},
    tool::{Effect, RegistryError, Tool, ToolContext, ToolError, ToolPolicy, ToolRegistry},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Longest note in characters.
const NOTE_CHARS: usize = 8_000;
/// Longest key of a note in characters.
const KEY_CHARS: usize = 100;
/// Most notes one search gives.
const MOST: usize = 20;
/// Notes looked at for words, where the store knows no meanings.
const LOOKED_AT: usize = 1_000;

/// The tools `save_memory`, `search_memory` and `forget_memory`, over the runtime's long-term memory.
///
/// A model names a note by its key only: the namespace is the developer's, so no model reads or writes elsewhere.
///
/// # Examples
///
/// ```
/// use agent_core::memory::Namespace;
/// use agent_tools::MemoryTools;
/// let notes = Namespace::new(["users", "42", "notes"])?;
/// let tools = MemoryTools::new(notes).registry()?;
/// assert_eq!(tools.names().collect::<Vec<_>>(), ["save_memory", "search_memory", "forget_memory"]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MemoryTools {
    namespace: Namespace,
    by_session: bool,
    ttl: Option<Duration>,
}

impl MemoryTools {
    /// Creates tools for the notes of one namespace, which must not be the empty one.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::Namespace;
    /// use agent_tools::MemoryTools;
    ///
    /// let tools = MemoryTools::new(Namespace::new(["notes"])?).registry()?;
    /// assert_eq!(tools.names().count(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn new(namespace: Namespace) -> Self {
        Self { namespace, by_session: false, ttl: None }
    }

    /// Separates the notes of each session, in a namespace below. Default: all sessions share them.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::Namespace;
    /// use agent_tools::MemoryTools;
    ///
    /// let tools = MemoryTools::new(Namespace::new(["notes"])?).by_session();
    /// # drop(tools);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn by_session(mut self) -> Self {
        self.by_session = true;
        self
    }

    /// Sets the time to live of a note. Default: until it is forgotten.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use agent_core::memory::Namespace;
    /// use agent_tools::MemoryTools;
    ///
    /// let tools = MemoryTools::new(Namespace::new(["notes"])?).keep_for(Duration::from_secs(30 * 86_400));
    /// # drop(tools);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn keep_for(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Returns the three tools. Combine them with others with [`ToolRegistry::join`], or take fewer with [`ToolRegistry::allow`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::Namespace;
    /// use agent_tools::MemoryTools;
    ///
    /// let tools = MemoryTools::new(Namespace::new(["users", "42"])?).registry()?;
    /// assert_eq!(tools.names().count(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None in practice: their names and schemas are fixed.
    pub fn registry(&self) -> Result<ToolRegistry, RegistryError> {
        ToolRegistry::builder()
            .tool(SaveMemory(self.clone()))
            .tool(SearchMemory(self.clone()))
            .tool(ForgetMemory(self.clone()))
            .group("memory", ["save_memory", "search_memory", "forget_memory"])
            .build()
    }

    fn store(&self, cx: &ToolContext) -> Result<(Arc<dyn MemoryStore>, Namespace), ToolError> {
        let store = cx.memory().ok_or_else(|| ToolError::failed("there is no long-term memory here"))?;
        if !self.by_session {
            return Ok((store, self.namespace.clone()));
        }
        let session = cx.session().ok_or_else(|| ToolError::failed("there is no session here"))?;
        // A session's id has at most as many bytes as a segment.
        let own = [session.as_str().get(..SEGMENT_BYTES).unwrap_or(session.as_str())];
        let segments = self.namespace.segments().iter().map(String::as_str).chain(own);
        Ok((store, Namespace::new(segments)?))
    }
}

/// The tool `save_memory`.
struct SaveMemory(MemoryTools);

/// A note to save.
#[derive(Debug, Deserialize, JsonSchema)]
struct Note {
    /// A short name for the note; a note with the same name is replaced.
    #[schemars(length(min = 1, max = KEY_CHARS))]
    key: String,
    /// What to remember, in full sentences that make sense without this conversation.
    #[schemars(length(min = 1, max = NOTE_CHARS))]
    text: String,
}

impl Tool for SaveMemory {
    type Args = Note;
    type Output = Cow<'static, str>;

    fn name(&self) -> &str {
        "save_memory"
    }

    fn description(&self) -> &str {
        "Saves a note that outlasts this conversation, such as a preference or a fact about the user."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::default().effect(Effect::Idempotent)
    }

    async fn call(&self, note: Note, cx: &ToolContext) -> Result<Self::Output, ToolError> {
        let (store, namespace) = self.0.store(cx)?;
        let mut put = Put::new(namespace, note.key, json!({ "text": note.text })).text(note.text);
        put.ttl = self.0.ttl;
        store.put(put).await?;
        Ok("saved".into())
    }
}

/// The tool `search_memory`.
struct SearchMemory(MemoryTools);

/// What to look for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Query {
    /// What to look for, in words; empty: all notes.
    #[serde(default)]
    #[schemars(length(max = NOTE_CHARS))]
    query: String,
}

/// A note as the model reads it.
#[derive(Debug, Serialize)]
struct Read {
    key: String,
    text: String,
    saved: String,
}

impl From<SearchHit> for Read {
    fn from(found: SearchHit) -> Self {
        let text = match found.item.value.get("text").and_then(serde_json::Value::as_str) {
            Some(text) => text.to_owned(),
            None => found.item.value.to_string(),
        };
        let saved = jiff::Timestamp::from_millisecond(found.item.updated_at);
        let saved = saved.map(|at| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default();
        Self { key: found.item.key, text, saved }
    }
}

impl Tool for SearchMemory {
    type Args = Query;
    type Output = Vec<serde_json::Value>;

    fn name(&self) -> &str {
        "search_memory"
    }

    fn description(&self) -> &str {
        "Looks through the saved notes for what the query means or says. Returns at most 20 notes."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only()
    }

    /// By meaning where the store has an embedder, else by words.
    async fn call(&self, query: Query, cx: &ToolContext) -> Result<Self::Output, ToolError> {
        let (store, namespace) = self.0.store(cx)?;
        let all = Search::new(namespace);
        let query = query.query.trim();
        let found = if query.is_empty() {
            store.search(all.limit(MOST)).await?
        } else {
            match store.search(all.clone().near(query).limit(MOST)).await {
                Err(MemoryError::NoEmbedder) => by_words(store.search(all.limit(LOOKED_AT)).await?, query),
                found => found?,
            }
        };
        let notes = found.into_iter().map(|found| serde_json::to_value(Read::from(found)));
        Ok(notes.collect::<Result<_, _>>()?)
    }
}

/// The notes that hold the most of the words, in key or text, upper and lower case alike.
fn by_words(found: Vec<SearchHit>, query: &str) -> Vec<SearchHit> {
    let query = query.to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    let mut scored: Vec<(usize, SearchHit)> = found
        .into_iter()
        .filter_map(|found| {
            let text = format!("{}\n{}", found.item.key, found.item.value).to_lowercase();
            let hits = words.iter().filter(|word| text.contains(*word)).count();
            (hits > 0).then_some((hits, found))
        })
        .collect();
    scored.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    scored.into_iter().take(MOST).map(|(_, found)| found).collect()
}

/// The tool `forget_memory`.
struct ForgetMemory(MemoryTools);

/// A note to forget.
#[derive(Debug, Deserialize, JsonSchema)]
struct Forget {
    /// The name of the note.
    #[schemars(length(min = 1, max = KEY_CHARS))]
    key: String,
}

impl Tool for ForgetMemory {
    type Args = Forget;
    type Output = Cow<'static, str>;

    fn name(&self) -> &str {
        "forget_memory"
    }

    fn description(&self) -> &str {
        "Forgets a saved note for good."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::default().effect(Effect::Idempotent)
    }

    async fn call(&self, forget: Forget, cx: &ToolContext) -> Result<Self::Output, ToolError> {
        let (store, namespace) = self.0.store(cx)?;
        let known = store.delete(&namespace, &forget.key).await?;
        Ok(if known { "forgotten" } else { "there is no note with this name" }.into())
    }
}
