//! Messages of a conversation, with their parts, tool calls and reasoning. Plain data.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Role of a message's author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions of the developer.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of one tool call.
    Tool,
}

/// A part of a message that consists of more than plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// An `https:` URL, or a `data:` URL that contains the image (see [`Part::image_bytes`]).
        url: String,
        /// Level of detail (`low`, `high`, `auto`). Default: chosen by the endpoint.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

impl Part {
    /// Creates a text part.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Message, Part};
    ///
    /// assert_eq!(Message::user(vec![Part::text("hello")]).text(), "hello");
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// Creates an image part from a URL.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Message, Part};
    ///
    /// let message = Message::user(vec![Part::text("What is this?"), Part::image_url("https://example.com/a.png")]);
    /// assert_eq!(message.text(), "What is this?");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn image_url(url: impl Into<String>) -> Self {
        Self::Image { url: url.into(), detail: None }
    }

    /// Creates an image part from its bytes; `mime` is for example `image/png`. The encoded size is a third larger.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::Part;
    ///
    /// let picture = Part::image_bytes("image/png", b"\x89PNG");
    /// assert!(format!("{picture:?}").contains("data:image/png;base64,"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn image_bytes(mime: &str, bytes: &[u8]) -> Self {
        Self::image_url(format!("data:{mime};base64,{}", base64(bytes)))
    }
}

/// Content of a message: usually one text, otherwise a list of parts.
///
/// Serialized as a string or as an array, like in the chat APIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One text.
    Text(String),
    /// Texts and images in order.
    Parts(Vec<Part>),
}

impl Content {
    /// Returns `true` if there is no text and no part.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::Content;
    /// assert!(Content::from("").is_empty());
    /// ```
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

// Implemented by hand: serde's untagged enums buffer the whole value first, and histories are read often.
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

/// Request of the model to call one tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolCall {
    /// Id of the call; its result carries the same id. Generated if the endpoint sent none.
    pub id: String,
    /// Name of the tool as the model wrote it; the tool may not exist.
    pub name: String,
    /// Arguments as raw JSON text, exactly as the model wrote it; may be malformed.
    pub arguments: String,
    /// Provider data that must be sent back with the call (for example Gemini's thought signature).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Value>,
}

impl ToolCall {
    /// Creates a call with a new id.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ToolCall;
    ///
    /// let call = ToolCall::new("weather", &serde_json::json!({ "city": "Seoul" }));
    /// assert_eq!(call.parse_arguments()?["city"], "Seoul");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(name: impl Into<String>, arguments: &Value) -> Self {
        Self { id: new_id("call_"), name: name.into(), arguments: arguments.to_string(), provider: None }
    }

    /// Parses the arguments. Empty text counts as `{}`, because several servers send it for tools without
    /// arguments.
    ///
    /// # Errors
    ///
    /// The text is not valid JSON.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolCall;
    /// # use serde_json::json;
    /// let mut call = ToolCall::new("weather", &json!({ "city": "Seoul" }));
    /// assert_eq!(call.parse_arguments()?["city"], "Seoul");
    /// call.arguments.clear();
    /// assert_eq!(call.parse_arguments()?, json!({}));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse_arguments(&self) -> Result<Value, serde_json::Error> {
        if self.arguments.trim().is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        crate::json::parse(self.arguments.as_bytes())
    }
}

/// Reasoning of the model before its answer. Kept, because several endpoints require it in the next request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reasoning {
    /// Readable text; may be a summary or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Id of the item, assigned by the endpoint (Responses API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Opaque part: a signature (Anthropic) or the encrypted content (Responses API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// One message of a conversation.
///
/// Messages with the same `id` are versions of one message; later versions replace earlier ones.
///
/// # Examples
///
/// ```
/// use agent_core::model::{Message, Role};
///
/// let message = Message::user("hello").with_name("mina");
/// assert_eq!((message.role, message.text().as_ref()), (Role::User, "hello"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Message {
    /// Generated on creation: `msg_` and 16 hexadecimal digits.
    #[serde(default = "new_message_id")]
    pub id: String,
    /// Role of the author.
    pub role: Role,
    /// Content of the message.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub content: Content,
    /// Tool calls of the assistant, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For the role `tool`: the call that this is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Name of the tool (role `tool`) or of the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Reasoning of the assistant.
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

    /// Creates a message with instructions for the model.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Message, Role};
    ///
    /// assert_eq!(Message::system("Be brief.").role, Role::System);
    /// ```
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content.into())
    }

    /// Creates a user message.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Message, Part};
    ///
    /// let question = Message::user("What is this?");
    /// let picture = Message::user(vec![Part::text("What is this?"), Part::image_url("https://example.com/a.png")]);
    /// assert_eq!(question.text(), picture.text());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User, content.into())
    }

    /// Creates an assistant message.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::Message;
    ///
    /// assert_eq!(Message::assistant("hello").text(), "hello");
    /// ```
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new(Role::Assistant, content.into())
    }

    /// Creates the result of the tool call `call_id`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::Message;
    ///
    /// let result = Message::tool_result("call_1", "sunny").with_name("weather");
    /// assert_eq!(result.tool_call_id.as_deref(), Some("call_1"));
    /// ```
    pub fn tool_result(call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        let mut message = Self::new(Role::Tool, content.into());
        message.tool_call_id = Some(call_id.into());
        message
    }

    /// Sets the tool calls of an assistant message.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Message, ToolCall};
    ///
    /// let call = ToolCall::new("weather", &serde_json::json!({ "city": "Seoul" }));
    /// let message = Message::assistant("").with_tool_calls([call]);
    /// assert_eq!(message.tool_calls.len(), 1);
    /// ```
    #[must_use]
    pub fn with_tool_calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        self.tool_calls.extend(calls);
        self
    }

    /// Sets the name of the tool or author.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::Message;
    /// assert_eq!(Message::user("hi").with_name("ana").name.as_deref(), Some("ana"));
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Replaces the id, for messages that already have one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::Message;
    /// assert_eq!(Message::user("hi").with_id("m1").id, "m1");
    /// ```
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Returns the text of the message. The texts of several parts are joined; images are left out.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::Message;
    /// assert_eq!(Message::user("hi").text(), "hi");
    /// ```
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

fn new_message_id() -> String {
    new_id("msg_")
}

/// Returns `prefix` and 16 random hexadecimal digits. For unique names, not for secrets.
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
