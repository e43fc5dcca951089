//! Answers as Rust types: requested by schema, validated, and requested again with the violations.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::schema::{is_strict, schema_of, strict};
use super::{
    FinishReason, Message, Model, ModelCapabilities, ModelError, ModelErrorKind, ModelReply, ModelRequest,
    ResponseFormat, Usage,
};

/// Maximum number of requests, including the first one.
const ATTEMPTS: u32 = 3;
/// Maximum number of violations reported to the model.
const FAULTS: usize = 8;

/// A value extracted from a model's answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Extracted<T> {
    /// The value.
    pub value: T,
    /// The answer that contains the value.
    pub reply: ModelReply,
    /// Usage of all requests.
    pub usage: Usage,
    /// Number of requests.
    pub asked: u32,
}

/// Result of judging an answer.
#[derive(Debug)]
pub enum Extraction<T> {
    /// The answer is valid.
    Done(T),
    /// The answer is invalid. Send this request, which contains the answer and its violations.
    Again(Box<ModelRequest>),
}

/// The pure part of an extraction: creates requests and judges answers.
///
/// [`Model::extract`] calls the model directly; the engine records each call in the journal.
pub struct Extractor<T> {
    request: ModelRequest,
    validator: jsonschema::Validator,
    /// Whether the value is wrapped in the field `value` of an object, because endpoints require an object.
    wrapped: bool,
    asked: u32,
    usage: Usage,
    of: PhantomData<fn() -> T>,
}

impl<T: JsonSchema + DeserializeOwned> Extractor<T> {
    /// Prepares a request for a value of this type. The schema is sent in `response_format` if the endpoint
    /// supports it, otherwise in the conversation.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Unsupported`] if the type's schema is not a valid JSON Schema.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::model::{Extraction, Extractor};
    ///
    /// #[derive(schemars::JsonSchema, serde::Deserialize)]
    /// struct Person { age: u32 }
    ///
    /// let model = Model::new(Scripted::new([Turn::text(r#"{"age":41}"#)]));
    /// let mut extractor = Extractor::<Person>::new("Ana is 41 years old.".into(), model.capabilities())?;
    /// let reply = model.complete(extractor.request()).await?;
    /// assert!(matches!(extractor.judge(&reply)?, Extraction::Done(Person { age: 41 })));
    /// # Ok(()) }
    /// ```
    pub fn new(mut request: ModelRequest, capabilities: ModelCapabilities) -> Result<Self, ModelError> {
        let own = schema_of::<T>();
        let wrapped = own.get("type") != Some(&json!("object"));
        let schema = if wrapped { wrap(own) } else { own };
        let validator = crate::validation::validator(&schema).map_err(|error| {
            ModelError::new(ModelErrorKind::Unsupported).with_detail(format!("the type's schema: {error}"))
        })?;
        if capabilities.json_schema {
            let closed = strict(&schema);
            let is_strict = is_strict(&closed);
            request.response_format = Some(ResponseFormat::JsonSchema {
                name: name_of(&T::schema_name()),
                schema: Arc::new(if is_strict { closed } else { schema }),
                strict: is_strict,
            });
        } else {
            let ask = format!(
                "Answer with one JSON value and nothing else. It must match this JSON Schema:\n{schema}"
            );
            request.messages.push(Message::user(ask));
        }
        Ok(Self { request, validator, wrapped, asked: 0, usage: Usage::default(), of: PhantomData })
    }

    /// Returns the first request.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Extractor, ModelCapabilities};
    ///
    /// let extractor = Extractor::<Vec<String>>::new("Name two birds.".into(), ModelCapabilities::default())?;
    /// assert_eq!(extractor.request().messages[0].text(), "Name two birds.");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn request(&self) -> ModelRequest {
        self.request.clone()
    }

    /// Judges an answer.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Malformed`] if the third answer is invalid too; [`ModelErrorKind::Filtered`] if a content filter
    /// ended the answer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::model::{Extraction, Extractor};
    ///
    /// let model = Model::new(Scripted::new([Turn::text("two birds")]));
    /// let mut extractor = Extractor::<Vec<String>>::new("Name two birds.".into(), model.capabilities())?;
    /// let reply = model.complete(extractor.request()).await?;
    /// // Not JSON: the next request contains the fault.
    /// assert!(matches!(extractor.judge(&reply)?, Extraction::Again(_)));
    /// # Ok(()) }
    /// ```
    pub fn judge(&mut self, reply: &ModelReply) -> Result<Extraction<T>, ModelError> {
        self.asked += 1;
        self.usage += reply.usage.unwrap_or_default();
        if reply.finish == FinishReason::Filtered {
            return Err(ModelError::new(ModelErrorKind::Filtered));
        }
        let faults = match self.read(&reply.message.text()) {
            Ok(value) => return Ok(Extraction::Done(value)),
            Err(faults) if reply.finish == FinishReason::Length => {
                format!("The answer was cut off at the token limit; be shorter. {faults}")
            }
            Err(faults) => faults,
        };
        if self.asked >= ATTEMPTS {
            let detail = format!("after {ATTEMPTS} answers: {faults}");
            return Err(ModelError::new(ModelErrorKind::Malformed).with_detail(detail));
        }
        // Only the last invalid answer is sent again, so that the conversation does not grow.
        let mut request = self.request.clone();
        let mut answer = reply.message.clone();
        answer.tool_calls.clear();
        if !answer.content.is_empty() {
            request.messages.push(answer);
        }
        request.messages.push(Message::user(format!(
            "That answer cannot be used: {faults}\nAnswer again, with one corrected JSON value and nothing else."
        )));
        Ok(Extraction::Again(Box::new(request)))
    }

    fn read(&self, text: &str) -> Result<T, String> {
        let mut json = find_json(text).ok_or("it is not JSON.")?;
        // Models without schema enforcement often omit the wrapping object.
        if self.wrapped && !json.as_object().is_some_and(|map| map.len() == 1 && map.contains_key("value")) {
            json = json!({ "value": json });
        }
        let faults: Vec<String> = self
            .validator
            .iter_errors(&json)
            .take(FAULTS)
            .map(|fault| {
                let path = fault.instance_path().to_string();
                format!("at `{}`: {}", if path.is_empty() { "/" } else { &path }, short(&fault.to_string()))
            })
            .collect();
        if !faults.is_empty() {
            return Err(faults.join("; ") + ".");
        }
        let value = if self.wrapped { json["value"].take() } else { json };
        serde_json::from_value(value).map_err(|fault| short(&fault.to_string()) + ".")
    }
}

impl<T> fmt::Debug for Extractor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extractor").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Model {
    /// Requests a value of a Rust type.
    ///
    /// The endpoint enforces the type's JSON Schema if it can. The answer is validated here in any case. After a
    /// violation the model is called again with the violations, at most three times in total.
    ///
    /// # Errors
    ///
    /// See [`complete`](Self::complete) and [`Extractor::judge`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Tone { sentiment: String, score: f32 }
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let model = Model::new(Scripted::new([Turn::text(r#"{"sentiment": "좋음", "score": 0.9}"#)]));
    /// let tone: Tone = model.extract("촉촉하고 좋아요").await.unwrap();
    /// assert_eq!(tone.sentiment, "좋음");
    /// # });
    /// ```
    pub async fn extract<T: JsonSchema + DeserializeOwned>(
        &self,
        request: impl Into<ModelRequest>,
    ) -> Result<T, ModelError> {
        Ok(self.extract_reply(request).await?.value)
    }

    /// Requests a value of a Rust type and returns it with the answer and the usage.
    ///
    /// # Errors
    ///
    /// See [`extract`](Self::extract).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// #[derive(schemars::JsonSchema, serde::Deserialize)]
    /// struct Person { age: u32 }
    ///
    /// let model = Model::new(Scripted::new([Turn::text(r#"{"age":41}"#)]));
    /// let extracted = model.extract_reply::<Person>("Ana is 41 years old.").await?;
    /// assert_eq!((extracted.value.age, extracted.asked), (41, 1));
    /// # Ok(()) }
    /// ```
    pub async fn extract_reply<T: JsonSchema + DeserializeOwned>(
        &self,
        request: impl Into<ModelRequest>,
    ) -> Result<Extracted<T>, ModelError> {
        let named = |error: ModelError| error.with_model(self.name());
        let mut extractor = Extractor::<T>::new(request.into(), self.capabilities()).map_err(named)?;
        let mut request = extractor.request();
        loop {
            let reply = self.complete(request).await?;
            match extractor.judge(&reply).map_err(named)? {
                Extraction::Done(value) => {
                    return Ok(Extracted { value, reply, usage: extractor.usage, asked: extractor.asked });
                }
                Extraction::Again(again) => request = *again,
            }
        }
    }
}

/// Wraps a schema in the field `value` of an object. Definitions stay at the root, where references resolve.
fn wrap(mut schema: Value) -> Value {
    let definitions = schema.as_object_mut().and_then(|map| map.shift_remove("$defs"));
    let mut outer = json!({
        "type": "object",
        "properties": { "value": schema },
        "required": ["value"],
        "additionalProperties": false,
    });
    if let (Some(definitions), Some(map)) = (definitions, outer.as_object_mut()) {
        map.insert("$defs".to_owned(), definitions);
    }
    outer
}

/// Returns a valid name for the schema.
fn name_of(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
        .take(64)
        .collect()
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Returns the JSON of an answer: the whole text, the content of a code fence, or the first value that begins with
/// a bracket.
fn find_json(text: &str) -> Option<Value> {
    if let Ok(json) = serde_json::from_str(text.trim()) {
        return Some(json);
    }
    let fenced = text.split("```").skip(1).step_by(2).map(|block| block.trim_start_matches("json").trim());
    if let Some(json) = fenced.filter_map(|block| serde_json::from_str(block).ok()).next() {
        return Some(json);
    }
    // Only the first few brackets are tried, so that a long text of brackets does not cost quadratic time.
    text.match_indices(['{', '['])
        .take(32)
        .find_map(|(at, _)| serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>().next()?.ok())
}
