//! What is said in a conversation: messages, their parts, tool calls and reasoning. Plain data.

use std::fmt;
use std::ops::Deref;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions of the author of the agent.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of one tool call.
    Tool,
}

/// One piece of a message that is more than plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Text.
    Text {
        /// The text itself.
        text: String,
    },
    /// A picture the model is shown.
    Image {
        /// An `https:` address, or a `data:` address that holds the picture itself (see [`Part::image_bytes`]).
        url: String,
        /// How closely the model should look (`low`, `high`, `auto`); the endpoint decides when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

impl Part {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// A picture by address.
    pub fn image_url(url: impl Into<String>) -> Self {
        Self::Image { url: url.into(), detail: None }
    }

    /// A picture by its bytes; `mime` is for example `image/png`. A third larger when encoded.
    #[must_use]
    pub fn image_bytes(mime: &str, bytes: &[u8]) -> Self {
        Self::image_url(format!("data:{mime};base64,{}", base64(bytes)))
    }
}

/// The content of a message: nearly always one text, else a list of parts.
///
/// Serialises as a string or as an array, which is also how the chat APIs write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One text.
    Text(String),
    /// Texts and pictures in order.
    Parts(Vec<Part>),
}

impl Content {
    /// Nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Parts(parts) => parts.is_empty(),
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<Part>> for Content {
    fn from(parts: Vec<Part>) -> Self {
        Self::Parts(parts)
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Parts(parts) => parts.serialize(serializer),
        }
    }
}

// By hand: serde's untagged enums buffer the whole value first, and histories are read often.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;
        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of parts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
                Ok(Content::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}

impl schemars::JsonSchema for Content {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let parts = generator.subschema_for::<Vec<Part>>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, parts] })
    }
}

/// The model's wish to have one tool called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolCall {
    /// Names this call; its result carries the same id. Made here when the endpoint gave none.
    pub id: String,
    /// The tool's name as the model wrote it; it may name a tool that does not exist.
    pub name: String,
    /// The arguments as raw JSON text, exactly as the model wrote it; it may be malformed.
    pub arguments: String,
    /// Data of the endpoint that must be sent back with the call (Gemini's thought signature).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Value>,
}

impl ToolCall {
    /// A call with an id of its own.
    pub fn new(name: impl Into<String>, arguments: &Value) -> Self {
        Self { id: new_id("call_"), name: name.into(), arguments: arguments.to_string(), provider: None }
    }

    /// The arguments as JSON; no text at all counts as `{}` (several servers send that for tools without arguments).
    ///
    /// # Errors
    ///
    /// The model wrote something that is not JSON.
    pub fn parse_arguments(&self) -> Result<Value, serde_json::Error> {
        if self.arguments.trim().is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_str(&self.arguments)
    }
}

/// What the model thought before it answered. Kept, because several endpoints want it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reasoning {
    /// The readable part; may be a summary, may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The endpoint's id of this item (Responses API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The sealed part: a signature (Anthropic) or the encrypted content (Responses API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// One message of a conversation.
///
/// Two messages with the same `id` are the same message; later versions replace earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Message {
    /// Made at creation; `msg_` and 16 hexadecimal digits.
    #[serde(default = "new_message_id")]
    pub id: String,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub content: Content,
    /// Tools the assistant wants called, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For role `tool`: the call this is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Name of the tool (role `tool`) or of the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the assistant thought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasoning: Vec<Reasoning>,
}

impl Message {
    fn new(role: Role, content: Content) -> Self {
        Self {
            id: new_message_id(),
            role,
            content,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            reasoning: Vec::new(),
        }
    }

    /// Instructions for the model.
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content.into())
    }

    /// What the person says.
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User, content.into())
    }

    /// What the model said.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new(Role::Assistant, content.into())
    }

    /// The result of the tool call `call_id`.
    pub fn tool_result(call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        let mut message = Self::new(Role::Tool, content.into());
        message.tool_call_id = Some(call_id.into());
        message
    }

    /// Adds tool calls (assistant messages).
    #[must_use]
    pub fn with_tool_calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        self.tool_calls.extend(calls);
        self
    }

    /// Sets the name of the tool or speaker.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Replaces the id, for messages that come from elsewhere with one.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// The text of the message; texts of several parts are put together, pictures left out.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        match &self.content {
            Content::Text(text) => text.as_str().into(),
            Content::Parts(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text { text } => Some(text.as_str()),
                    Part::Image { .. } => None,
                })
                .collect::<String>()
                .into(),
        }
    }
}

/// A conversation that is cheap to hand around: a clone shares it, a push on an unshared one moves nothing.
///
/// The tool loop clones it into each request and drops that before it appends, so a round costs
/// the same at message 10 and at message 1,000.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Messages(#[schemars(with = "Vec<Message>")] Arc<List>);

/// The messages, and what is known of them so that nobody looks at all of them again in each round.
#[derive(Default)]
struct List {
    items: Vec<Arc<Message>>,
    /// The ends of the ids of the first messages; made when one is first looked for.
    marks: Vec<u64>,
    /// So many of the first messages are known to be a valid history; see `memory::conversation`.
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

/// The end of an id as a number. Ids begin alike, so their ends tell them apart.
fn mark(id: &str) -> u64 {
    let bytes = id.as_bytes();
    match bytes.last_chunk::<8>() {
        Some(end) => u64::from_le_bytes(*end),
        None => bytes.iter().fold(0, |mark, byte| mark << 8 | u64::from(*byte)),
    }
}

impl Messages {
    /// An empty conversation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message. Copies the list of pointers, never the messages, when the list is shared.
    pub fn push(&mut self, message: impl Into<Arc<Message>>) {
        Arc::make_mut(&mut self.0).items.push(message.into());
    }

    /// The list of shared messages for changes beyond a push; copies the pointers when shared.
    pub fn make_mut(&mut self) -> &mut Vec<Arc<Message>> {
        let list = Arc::make_mut(&mut self.0);
        // Whatever was known of them, it may be another list in a moment.
        list.marks.clear();
        list.sound = AtomicUsize::new(0);
        &mut list.items
    }

    /// The place of the last message with this id.
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

    /// So many of the first messages are known to be a valid history.
    pub(crate) fn sound(&self) -> usize {
        self.0.sound.load(Ordering::Relaxed)
    }

    /// All messages are a valid history, whatever is appended.
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

fn new_message_id() -> String {
    new_id("msg_")
}

/// `prefix` and 16 random hexadecimal digits. For names that must not clash, not for secrets.
pub(crate) fn new_id(prefix: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut random = fastrand::u64(..);
    let mut id = String::with_capacity(prefix.len() + 16);
    id.push_str(prefix);
    for _ in 0..16 {
        id.push(char::from(DIGITS[(random & 15) as usize]));
        random >>= 4;
    }
    id
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for position in 0..4 {
            text.push(if position <= group.len() {
                char::from(ALPHABET[(word >> (18 - 6 * position) & 63) as usize])
            } else {
                '='
            });
        }
    }
    text
}
