//! `Messages`: a conversation that is cheap to clone and to append to.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Message;

/// A list of messages that is cheap to clone: clones share it, and a push on an unshared list copies nothing.
///
/// The tool loop clones it into each request and drops the clone before it appends, so that a turn costs the same
/// at message 10 and at message 1,000.
///
/// # Examples
///
/// ```
/// use agent_core::model::{Message, Messages};
///
/// let mut messages = Messages::from("hello");
/// messages.push(Message::assistant("hi"));
/// assert_eq!(messages.iter().map(|message| message.text()).collect::<Vec<_>>(), ["hello", "hi"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Messages(#[schemars(with = "Vec<Message>")] Arc<List>);

/// The messages, and facts about them that are cached so that a turn does not inspect all of them.
#[derive(Default)]
struct List {
    items: Vec<Arc<Message>>,
    /// Last parts of the ids of the first messages; built on the first lookup.
    marks: Vec<u64>,
    /// Number of leading messages that are known to be a valid history; see `agent::conversation`.
    sound: AtomicUsize,
}

impl List {
    fn of(items: Vec<Arc<Message>>) -> Self {
        Self { items, marks: Vec::new(), sound: AtomicUsize::new(0) }
    }
}

impl Clone for List {
    fn clone(&self) -> Self {
        let sound = AtomicUsize::new(self.sound.load(Ordering::Relaxed));
        Self { items: self.items.clone(), marks: self.marks.clone(), sound }
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl Eq for List {}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.items, f)
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.items.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::of)
    }
}

/// Returns the last part of an id as a number. Ids have a common prefix, so their last parts distinguish them.
fn mark(id: &str) -> u64 {
    let bytes = id.as_bytes();
    match bytes.last_chunk::<8>() {
        Some(end) => u64::from_le_bytes(*end),
        None => bytes.iter().fold(0, |mark, byte| mark << 8 | u64::from(*byte)),
    }
}

impl Messages {
    /// Creates an empty conversation.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::Messages;
    /// assert!(Messages::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message. If the list is shared, the pointers are copied, never the messages.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Message, Messages};
    ///
    /// let mut messages = Messages::new();
    /// messages.push(Message::user("hello"));
    /// assert_eq!(messages.len(), 1);
    /// ```
    pub fn push(&mut self, message: impl Into<Arc<Message>>) {
        Arc::make_mut(&mut self.0).items.push(message.into());
    }

    /// Returns the list for other changes than a push. If it is shared, the pointers are copied.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Message, Messages};
    /// let mut messages = Messages::from([Message::user("hi"), Message::assistant("hello")]);
    /// messages.make_mut().truncate(1);
    /// assert_eq!(messages.len(), 1);
    /// ```
    pub fn make_mut(&mut self) -> &mut Vec<Arc<Message>> {
        let list = Arc::make_mut(&mut self.0);
        // The caller may change anything, so cached facts are discarded.
        list.marks.clear();
        list.sound = AtomicUsize::new(0);
        &mut list.items
    }

    /// Returns the index of the last message with this id.
    pub(crate) fn place_of(&mut self, id: &str) -> Option<usize> {
        let List { items, marks, .. } = Arc::make_mut(&mut self.0);
        marks.extend(items[marks.len()..].iter().map(|message| mark(&message.id)));
        let wanted = mark(id);
        let mut end = marks.len();
        while let Some(at) = marks[..end].iter().rposition(|known| *known == wanted) {
            if items[at].id == id {
                return Some(at);
            }
            end = at;
        }
        None
    }

    /// Number of leading messages that are known to be a valid history.
    pub(crate) fn sound(&self) -> usize {
        self.0.sound.load(Ordering::Relaxed)
    }

    /// Marks all messages as a valid history; later appends do not change this.
    pub(crate) fn is_sound(&self) {
        self.0.sound.store(self.0.items.len(), Ordering::Relaxed);
    }
}

impl Deref for Messages {
    type Target = [Arc<Message>];
    fn deref(&self) -> &Self::Target {
        &self.0.items
    }
}

impl<M: Into<Arc<Message>>> FromIterator<M> for Messages {
    fn from_iter<I: IntoIterator<Item = M>>(messages: I) -> Self {
        Self(Arc::new(List::of(messages.into_iter().map(Into::into).collect())))
    }
}

impl<M: Into<Arc<Message>>> Extend<M> for Messages {
    fn extend<I: IntoIterator<Item = M>>(&mut self, messages: I) {
        Arc::make_mut(&mut self.0).items.extend(messages.into_iter().map(Into::into));
    }
}

impl From<Vec<Message>> for Messages {
    fn from(messages: Vec<Message>) -> Self {
        messages.into_iter().collect()
    }
}

impl<const N: usize> From<[Message; N]> for Messages {
    fn from(messages: [Message; N]) -> Self {
        messages.into_iter().collect()
    }
}

impl From<Message> for Messages {
    fn from(message: Message) -> Self {
        [message].into()
    }
}

impl From<&str> for Messages {
    fn from(text: &str) -> Self {
        Message::user(text).into()
    }
}

impl From<String> for Messages {
    fn from(text: String) -> Self {
        Message::user(text).into()
    }
}

impl<'a> IntoIterator for &'a Messages {
    type Item = &'a Arc<Message>;
    type IntoIter = std::slice::Iter<'a, Arc<Message>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.items.iter()
    }
}
