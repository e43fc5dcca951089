//! Ids of sessions, runs, tasks and questions. Parsed once, when they enter the process.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Name of a node in its graph. Cheap to clone.
pub type NodeName = Arc<str>;

/// Id of a session: 1 to 128 characters of `[A-Za-z0-9._:-]`.
///
/// # Examples
///
/// ```
/// use agent_core::SessionId;
///
/// let id: SessionId = "customer:42".parse()?;
/// assert_eq!(id.as_str(), "customer:42");
/// assert!("not a legal id".parse::<SessionId>().is_err());
/// # Ok::<(), agent_core::ids::InvalidSessionId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

/// A session id that is empty, too long or contains an illegal character. The rejected text is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a session id has 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'; this one has {len} bytes"
)]
pub struct InvalidSessionId {
    /// Length of the rejected text in bytes.
    pub len: usize,
}

impl SessionId {
    /// Generates a random id: `s-` and 32 hexadecimal digits.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::SessionId;
    ///
    /// assert!(SessionId::random().as_str().starts_with("s-"));
    /// ```
    #[must_use]
    pub fn random() -> Self {
        // Formatted by hand: a server generates one for each request that names no session.
        let mut text = *b"s-00000000000000000000000000000000";
        let mut bits = fastrand::u128(..);
        for digit in text.iter_mut().skip(2) {
            *digit = b"0123456789abcdef"[(bits & 15) as usize];
            bits >>= 4;
        }
        Self(str::from_utf8(&text).expect("these are ASCII").into())
    }

    /// Returns the id as text.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::SessionId;
    /// let id: SessionId = "order-7".parse()?;
    /// assert_eq!(id.as_str(), "order-7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        match text.len() {
            1..=128 if text.bytes().all(legal) => Ok(Self(text.into())),
            len => Err(InvalidSessionId { len }),
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Sequence number of an entry in the journal of a session. The first entry is 1; 0 means "before everything".
///
/// # Examples
///
/// ```
/// use agent_core::ids::Seq;
///
/// assert_eq!(Seq::ZERO.next(), Seq(1));
/// ```
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// Returns the number after this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::ids::Seq;
    ///
    /// assert_eq!(Seq::ZERO.next(), Seq(1));
    /// ```
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a run within its session, counted from 1.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run-{}", self.0)
    }
}

/// Id of one activation of a node, written `node#7`; inside a subgraph `outer#3/inner#2`.
///
/// The number counts the activations of the whole session and is never reused, so that an id always refers to the
/// same task. (Temporal: "workflow task". Not a tokio task and not a todo.)
///
/// # Examples
///
/// ```
/// use agent_core::ids::TaskId;
///
/// let task: TaskId = "outer#3/inner#2".parse()?;
/// assert_eq!((&**task.node(), task.number()), ("inner", 2));
/// assert_eq!(task.outermost().to_string(), "outer#3");
/// # Ok::<(), agent_core::ids::InvalidTaskId>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TaskId {
    parent: Option<Arc<TaskId>>,
    node: NodeName,
    number: u64,
}

impl std::hash::Hash for TaskId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Numbers distinguish tasks; hashing the names too would only cost time.
        state.write_u64(self.number);
        if let Some(parent) = &self.parent {
            parent.hash(state);
        }
    }
}

impl TaskId {
    /// Creates the id of a task of the outermost graph.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::TaskId;
    /// assert_eq!(TaskId::root("write".into(), 1).to_string(), "write#1");
    /// ```
    #[must_use]
    pub fn root(node: NodeName, number: u64) -> Self {
        Self { parent: None, node, number }
    }

    /// Creates the id of a task of the subgraph that runs inside `self`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::TaskId;
    /// # use std::sync::Arc;
    /// let outer = Arc::new(TaskId::root("chapter".into(), 3));
    /// assert_eq!(outer.child("write".into(), 1).to_string(), "chapter#3/write#1");
    /// ```
    #[must_use]
    pub fn child(self: &Arc<Self>, node: NodeName, number: u64) -> Self {
        Self { parent: Some(Arc::clone(self)), node, number }
    }

    /// Returns the name of the activated node.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::TaskId;
    /// let task: TaskId = "chapter#3/write#1".parse()?;
    /// assert_eq!(&**task.node(), "write");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Returns the number of the activation.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::TaskId;
    /// let task: TaskId = "chapter#3/write#1".parse()?;
    /// assert_eq!(task.number(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Returns the enclosing task of the outermost graph, or `self` if the task belongs to it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::TaskId;
    /// let task: TaskId = "chapter#3/write#1".parse()?;
    /// assert_eq!(task.outermost().to_string(), "chapter#3");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn outermost(&self) -> &Self {
        self.parent.as_ref().map_or(self, |parent| parent.outermost())
    }

    /// Returns the enclosing task of the outer graph.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::TaskId;
    /// let task: TaskId = "chapter#3/write#1".parse()?;
    /// assert_eq!(task.parent().map(ToString::to_string).as_deref(), Some("chapter#3"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn parent(&self) -> Option<&Arc<TaskId>> {
        self.parent.as_ref()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = &self.parent {
            write!(f, "{parent}/")?;
        }
        write!(f, "{}#{}", self.node, self.number)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A text that is not a task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task id is written `node#7` or `outer#3/inner#2`")]
pub struct InvalidTaskId;

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, InvalidTaskId> {
        let mut task: Option<TaskId> = None;
        for part in text.split('/') {
            let (node, number) = part.rsplit_once('#').ok_or(InvalidTaskId)?;
            let number = number.parse().map_err(|_| InvalidTaskId)?;
            task = Some(TaskId { parent: task.map(Arc::new), node: node.into(), number });
        }
        task.ok_or(InvalidTaskId)
    }
}

/// Id of one question: the task and the key, `ask#4:tone`. Never reused.
///
/// # Examples
///
/// ```
/// use agent_core::ids::QuestionId;
///
/// let id = QuestionId::from("approve#1/size");
/// assert_eq!(&*id.0, "approve#1/size");
/// ```
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct QuestionId(pub Arc<str>);

impl QuestionId {
    /// Creates the id of the question that `task` asks under `key`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::ids::{QuestionId, TaskId};
    ///
    /// let id = QuestionId::new(&TaskId::root("ask".into(), 4), "tone");
    /// assert_eq!(id.to_string(), "ask#4:tone");
    /// ```
    #[must_use]
    pub fn new(task: &TaskId, key: &str) -> Self {
        Self(format!("{task}:{key}").into())
    }
}

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for QuestionId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_task_id_survives_text() {
        let outer = Arc::new(TaskId::root("sub".into(), 3));
        let inner = outer.child("ask".into(), 12);
        assert_eq!(inner.to_string(), "sub#3/ask#12");
        assert_eq!(inner.to_string().parse::<TaskId>(), Ok(inner));
    }

    #[test]
    fn an_illegal_session_id_is_refused_without_repeating_it() {
        for text in ["", "a b", "세션", "../etc", &"x".repeat(129)] {
            let error = text.parse::<SessionId>().unwrap_err();
            assert_eq!(error.len, text.len());
        }
        assert!("a.B_9:-".parse::<SessionId>().is_ok());
    }
}
