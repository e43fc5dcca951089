//! Answers as Rust types: asked for by schema, checked, and asked for again with the fault.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::schema::{is_strict, schema_of, strict};
use super::{
    Abilities, FinishReason, Message, Model, ModelError, ModelFault, ModelReply, ModelRequest,
    ResponseFormat, Usage,
};

/// How often a model is asked before its answer is given up, the first time included.
const ATTEMPTS: u32 = 3;
/// How many faults of an answer it is told.
const FAULTS: usize = 8;

/// A value taken from a model's answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Extracted<T> {
    /// The value.
    pub value: T,
    /// The answer it was taken from.
    pub reply: ModelReply,
    /// What all attempts together used up.
    pub usage: Usage,
    /// How often the model was asked.
    pub asked: u32,
}

/// What follows an answer.
#[derive(Debug)]
pub enum Extraction<T> {
    /// The value is there.
    Done(T),
    /// The answer is not right; ask again with this request, which holds the answer and its faults.
    Again(Box<ModelRequest>),
}

/// The pure part of an extraction: it makes requests and judges answers, whoever does the asking.
///
/// [`Model::extract`] asks by itself; the engine asks through its journal.
pub struct Extractor<T> {
    request: ModelRequest,
    validator: jsonschema::Validator,
    /// The value is the field `value` of an object, because endpoints want an object outermost.
    wrapped: bool,
    asked: u32,
    usage: Usage,
    of: PhantomData<fn() -> T>,
}

impl<T: JsonSchema + DeserializeOwned> Extractor<T> {
    /// Prepares a request for a value of this type. The schema goes into `response_format` where the
    /// endpoint holds answers to it, and into the conversation where not.
    ///
    /// # Errors
    ///
    /// [`ModelFault::Unsupported`] when the type's schema is not a valid JSON Schema.
    pub fn new(mut request: ModelRequest, abilities: Abilities) -> Result<Self, ModelError> {
        let own = schema_of::<T>();
        let wrapped = own.get("type") != Some(&json!("object"));
        let schema = if wrapped { wrap(own) } else { own };
        let validator = jsonschema::validator_for(&schema).map_err(|error| {
            ModelError::new(ModelFault::Unsupported).with_detail(format!("the type's schema: {error}"))
        })?;
        if abilities.json_schema {
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

    /// The request to begin with.
    #[must_use]
    pub fn request(&self) -> ModelRequest {
        self.request.clone()
    }

    /// Judges an answer.
    ///
    /// # Errors
    ///
    /// [`ModelFault::Malformed`] when the third answer is still not right; [`ModelFault::Filtered`] when a
    /// filter cut the answer off.
    pub fn judge(&mut self, reply: &ModelReply) -> Result<Extraction<T>, ModelError> {
        self.asked += 1;
        self.usage += reply.usage.unwrap_or_default();
        if reply.finish == FinishReason::Filtered {
            return Err(ModelError::new(ModelFault::Filtered));
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
            return Err(ModelError::new(ModelFault::Malformed).with_detail(detail));
        }
        // Kept apart from the history: only the last wrong answer is shown again, the conversation does not grow.
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
        // Models that were not held to the wrapping object often leave it out.
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
    /// Asks for a value of a Rust type.
    ///
    /// The answer is held to the type's JSON Schema by the endpoint where it can do that, checked here in
    /// any case, and asked for again with its faults, three times in all.
    ///
    /// # Errors
    ///
    /// See [`complete`](Self::complete) and [`Extractor::judge`].
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

    /// Asks for a value of a Rust type and tells what it took.
    ///
    /// # Errors
    ///
    /// See [`extract`](Self::extract).
    pub async fn extract_reply<T: JsonSchema + DeserializeOwned>(
        &self,
        request: impl Into<ModelRequest>,
    ) -> Result<Extracted<T>, ModelError> {
        let named = |error: ModelError| error.with_model(self.name());
        let mut extractor = Extractor::<T>::new(request.into(), self.abilities()).map_err(named)?;
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

/// Puts a schema into the field `value` of an object; its definitions stay outermost, where references look.
fn wrap(mut schema: Value) -> Value {
    let definitions = schema.as_object_mut().and_then(|map| map.remove("$defs"));
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

/// A legal name for the schema.
fn name_of(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
        .take(64)
        .collect()
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The JSON in an answer: all of it, or what is in a fence, or the first value that begins with a bracket.
fn find_json(text: &str) -> Option<Value> {
    if let Ok(json) = serde_json::from_str(text.trim()) {
        return Some(json);
    }
    let fenced = text.split("```").skip(1).step_by(2).map(|block| block.trim_start_matches("json").trim());
    if let Some(json) = fenced.filter_map(|block| serde_json::from_str(block).ok()).next() {
        return Some(json);
    }
    // A few beginnings only: a long text of brackets must not cost its square.
    text.match_indices(['{', '['])
        .take(32)
        .find_map(|(at, _)| serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>().next()?.ok())
}
