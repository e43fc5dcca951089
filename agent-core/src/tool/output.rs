//! Results of tools, and the part that the model reads.

use std::any::Any;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ToolCall, ToolError, ToolFault};
use crate::{
    json::{self, ValueError},
    model::{Content, Message, Part},
};

/// Formats of images that models read.
const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
/// Most images of one result that a model is shown.
const MOST_IMAGES: usize = 8;
/// Most bytes of these images together, in base64.
const IMAGE_BYTES: usize = 4 * 1024 * 1024;

/// Complete result of a call.
///
/// # Examples
///
/// ```
/// use agent_core::tool::ToolOutput;
///
/// assert_eq!(ToolOutput::text("done").to_text(), "done");
/// assert_eq!(ToolOutput::from(serde_json::json!({ "n": 1 })).to_text(), r#"{"n":1}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolOutput {
    /// Shown unchanged.
    Text(String),
    /// Shown as compact JSON.
    Json(Value),
    /// Text with content that is not text: images, audio, resources. The model reads the text, which describes them, and is
    /// shown [images](ToolOutput::images) where its protocol has them.
    Blocks {
        /// Text for the model.
        text: String,
        /// All content, as content blocks of the Model Context Protocol.
        blocks: Vec<Value>,
    },
}

impl ToolOutput {
    /// Creates a text output.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolOutput;
    /// assert_eq!(ToolOutput::text("sunny"), ToolOutput::Text("sunny".to_owned()));
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Converts the value that a tool returned: a string to text, a `ToolOutput` unchanged, and other values to JSON.
    pub(super) fn of<T: Serialize + 'static>(value: T) -> Result<Self, ToolError> {
        let mut slot = Some(value);
        if let Some(own) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Self>>()
            && let Some(own) = own.take()
        {
            return own.checked();
        }
        match json::to_value(&slot) {
            Ok(Value::String(text)) => Ok(Self::Text(text)),
            Ok(Value::Null) => Ok(Self::Text("done".to_owned())),
            Ok(value) => Ok(Self::Json(value)),
            Err(error) => Err(refused(&error)),
        }
    }

    /// Refuses JSON that nests too deep to be written as text.
    fn checked(self) -> Result<Self, ToolError> {
        if let Self::Json(value) = &self
            && let Err(error) = json::check(value)
        {
            let error = refused(&error);
            if let Self::Json(value) = self {
                json::dismantle(value);
            }
            return Err(error);
        }
        Ok(self)
    }

    /// Returns the complete text for the model.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolOutput;
    /// # use serde_json::json;
    /// assert_eq!(ToolOutput::Json(json!({ "sunny": true })).to_text(), r#"{"sunny":true}"#);
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Json(value) => value.to_string(),
            Self::Blocks { text, .. } => text.clone(),
        }
    }
}

impl ToolOutput {
    /// Returns the images that a model is shown: PNG, JPEG, GIF and WebP, in the result itself or in an embedded resource, at
    /// most 8 and 4 MiB in base64 together.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{model::Part, tool::ToolOutput};
    /// use serde_json::json;
    ///
    /// let blocks = vec![json!({ "type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png" })];
    /// let drawn = ToolOutput::Blocks { text: "a dot".to_owned(), blocks };
    /// assert_eq!(drawn.images(), [Part::image_url("data:image/png;base64,iVBORw0KGgo=")]);
    /// ```
    #[must_use]
    pub fn images(&self) -> Vec<Part> {
        let Self::Blocks { blocks, .. } = self else { return Vec::new() };
        let mut left = IMAGE_BYTES;
        let images = blocks.iter().filter_map(|block| {
            let (place, data) = match block["type"].as_str()? {
                "image" => (block, block["data"].as_str()?),
                "resource" => (&block["resource"], block["resource"]["blob"].as_str()?),
                _ => return None,
            };
            let kind = place["mimeType"].as_str().filter(|kind| IMAGES.contains(kind))?;
            left = left.checked_sub(data.len())?;
            Some(Part::image_url(format!("data:{kind};base64,{data}")))
        });
        images.take(MOST_IMAGES).collect()
    }
}

fn refused(error: &ValueError) -> ToolError {
    let error = error.clone().of("the tool's result");
    ToolError::failed(format!("the tool's result cannot be written as JSON: {error}")).with_cause(error)
}

impl From<&str> for ToolOutput {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for ToolOutput {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Value> for ToolOutput {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

/// Sizes of a result that was shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncation {
    /// Size of the complete text in bytes.
    pub whole: usize,
    /// Size of the part that the model reads, in bytes.
    pub shown: usize,
}

/// Reply to one call, as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolReply {
    /// The call.
    pub call_id: String,
    /// Name of the tool, as written by the model.
    pub name: String,
    /// The result, shortened if it is too long, or the error message.
    pub text: String,
    /// The kind of the fault, if the call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<ToolFault>,
    /// Set if the result was longer than its limit. The complete result is then stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Truncation>,
    /// Images of the result; see [`ToolOutput::images`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Part>,
}

impl ToolReply {
    /// Creates the reply to `call`. A result of more than `limit` bytes is shortened to its beginning and end.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{ToolCall, ToolOutput, ToolReply};
    /// # use serde_json::json;
    /// let call = ToolCall::new("weather", &json!({ "city": "Seoul" }));
    /// let reply = ToolReply::new(&call, &Ok(ToolOutput::text("sunny")), 1_000);
    /// assert_eq!((reply.text.as_str(), reply.cut), ("sunny", None));
    /// ```
    #[must_use]
    pub fn new(call: &ToolCall, result: &Result<ToolOutput, ToolError>, limit: usize) -> Self {
        let (text, fault, cut) = match result {
            Ok(output) => {
                let (text, cut) = preview(output.to_text(), limit);
                (text, None, cut)
            }
            Err(error) => (format!("Error: {}", error.for_model()), Some(error.fault()), None),
        };
        let images = result.as_ref().map_or_else(|_| Vec::new(), ToolOutput::images);
        Self { call_id: call.id.clone(), name: call.name.clone(), text, fault, cut, images }
    }

    /// Converts the reply into the message that answers the call. Images follow the text as parts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{ToolCall, ToolError, ToolReply};
    /// # use serde_json::json;
    /// let call = ToolCall::new("weather", &json!({ "city": "Seoul" }));
    /// let message = ToolReply::new(&call, &Err(ToolError::failed("no such city")), 1_000).into_message();
    /// assert_eq!(message.tool_call_id, Some(call.id));
    /// ```
    #[must_use]
    pub fn into_message(self) -> Message {
        let content = match self.images.is_empty() {
            true => Content::Text(self.text),
            false => Content::Parts(std::iter::once(Part::text(self.text)).chain(self.images).collect()),
        };
        Message::tool_result(self.call_id, content).with_name(self.name)
    }
}

/// Three quarters of `limit` from the beginning and one from the end, whole characters only.
fn preview(text: String, limit: usize) -> (String, Option<Truncation>) {
    if text.len() <= limit {
        return (text, None);
    }
    let head = text.floor_char_boundary(limit - limit / 4);
    let tail = text.ceil_char_boundary(text.len() - limit / 4);
    let cut = Truncation { whole: text.len(), shown: head + (text.len() - tail) };
    let gap = tail - head;
    (format!("{}\n[… {gap} bytes left out …]\n{}", &text[..head], &text[tail..]), Some(cut))
}
