//! Task agents: the interface of an agent that `/run` starts.

use agent_core::model::{Message, Role};
use serde_json::{Map, Value, json};

use crate::{
    Assistant,
    error::{ApiError, Rejection},
    spelling::misspelled,
};

/// A field that an agent reads from the `context` of a request.
///
/// # Examples
///
/// ```
/// use agent_server::ContextField;
///
/// let field = ContextField::new("audience").values(&["buyers", "makers"], |text| text == "buyers" || text == "makers");
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "return it from `TaskAgent::context_fields`"]
pub struct ContextField {
    name: &'static str,
    values: &'static [&'static str],
    /// `None`: any value.
    accepts: Option<fn(&str) -> bool>,
}

impl ContextField {
    /// Creates a field with any value.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::ContextField;
    ///
    /// let period = ContextField::new("period"); // any value
    /// # drop(period);
    /// ```
    pub const fn new(name: &'static str) -> Self {
        Self { name, values: &[], accepts: None }
    }

    /// Limits the field to texts that `accepts` returns `true` for. An error for any other value names `values`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::ContextField;
    ///
    /// const AUDIENCES: &[&str] = &["buyers", "makers"];
    /// let audience = ContextField::new("audience").values(AUDIENCES, |text| AUDIENCES.contains(&text));
    /// # drop(audience);
    /// ```
    pub const fn values(mut self, values: &'static [&'static str], accepts: fn(&str) -> bool) -> Self {
        self.values = values;
        self.accepts = Some(accepts);
        self
    }

    /// Returns the name.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Checks a context against the fields that its agent reads.
    pub(crate) fn check_all(fields: &[Self], context: &Map<String, Value>) -> Result<(), ApiError> {
        if context.is_empty() || fields.is_empty() {
            return Ok(());
        }
        let known: Vec<&str> = fields.iter().map(Self::name).collect();
        if let Some((field, meant)) = misspelled(context.keys().map(String::as_str), &known) {
            let message = format!("unknown field `{field}` in `context`; did you mean `{meant}`?");
            return Err(ApiError::new(Rejection::InvalidRequest, message).at(format!("context.{field}")));
        }
        for field in fields {
            let name = field.name();
            if let Some(values) = context.get(name).and_then(|value| field.refuses(value)) {
                let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                let message = format!("`context.{name}` must be one of {}", values.join(", "));
                return Err(ApiError::new(Rejection::InvalidRequest, message).at(format!("context.{name}")));
            }
        }
        Ok(())
    }

    /// Returns the values to name if `value` is not accepted.
    pub(crate) fn refuses(&self, value: &Value) -> Option<&'static [&'static str]> {
        let accepted = value.is_null() || value.as_str().is_some_and(self.accepts?);
        (!accepted).then_some(self.values)
    }
}

/// An agent that `/run` starts: a graph that takes a message and ends with a text.
///
/// # Examples
///
/// ```
/// use agent_server::TaskAgent;
/// use serde_json::{Map, Value, json};
///
/// struct Summary;
///
/// impl TaskAgent for Summary {
///     fn graph(&self) -> &str {
///         "summary"
///     }
///
///     fn input(&self, message: String, _: Map<String, Value>) -> Value {
///         json!({"text": message})
///     }
///
///     fn response(&self, state: &Value) -> String {
///         state["summary"].as_str().unwrap_or_default().to_owned()
///     }
/// }
/// ```
pub trait TaskAgent: Send + Sync + 'static {
    /// Returns the name of the graph, which must be registered with the runtime.
    fn graph(&self) -> &str;

    /// Returns what the agent does, for programs and models that choose one. Default: empty.
    fn description(&self) -> &str {
        ""
    }

    /// Returns the update that starts a run, as JSON.
    fn input(&self, message: String, context: Map<String, Value>) -> Value;

    /// Returns the answer in a final state; empty if there is none.
    fn response(&self, state: &Value) -> String;

    /// Returns the fields that the agent reads from the `context` of a request. A request with a misspelled field, or with
    /// a value that a field does not accept, gets a 400. Other fields are passed to [`input`](Self::input). Default: none,
    /// any context is accepted.
    fn context_fields(&self) -> &[ContextField] {
        &[]
    }

    /// Returns the update that starts a run at the end of a conversation that the client keeps (`/v1`). `message` is the
    /// text of the user's last message that is not an answer to a question, `messages` is the whole conversation.
    ///
    /// Default: [`input`](Self::input), with the texts of the conversation in `context.messages` as a list of
    /// `{role, content}`.
    fn conversation(&self, message: String, messages: &[Message], mut context: Map<String, Value>) -> Value {
        let texts = messages.iter().filter(|message| message.role != Role::Tool);
        let texts = texts.map(|message| json!({"role": message.role, "content": message.text()}));
        context.insert("messages".to_owned(), texts.collect());
        self.input(message, context)
    }

    /// Returns the agent as an assistant, if it is one: its text is then streamed, and it takes tools of the caller.
    /// Default: `None`.
    fn as_assistant(&self) -> Option<&Assistant> {
        None
    }
}
