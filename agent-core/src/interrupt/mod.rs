//! Interrupts: questions of a run to a person, and their answers.

mod answer;
mod pending;
mod fingerprint;

pub use answer::{AnswerError, Answers};
pub(crate) use answer::{check_answers, check_question};
pub(crate) use fingerprint::{QuestionFingerprint, key_of};
pub(crate) use pending::{AnswerWaiter, PendingQuestions};

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{QuestionId, TaskId};

/// Question to a person, asked with [`Context::ask`](crate::Context::ask).
///
/// # Examples
///
/// ```
/// use agent_core::interrupt::Question;
///
/// let question = Question::choose("Who is the report for?", ["buyers", "makers"]).key("audience");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Question {
    /// Text for the person.
    pub prompt: String,
    /// Answers to choose from; empty: any. An answer outside them is refused unless `open`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Value>,
    /// Other labels of the options, in their order, for example in another language. An answer with one of them counts
    /// as the option.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Vec<String>>,
    /// Whether an answer beside the options is accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// JSON Schema that an answer must meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Details shown with the prompt, such as the call to approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// Time until the task gets an error instead of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// Key of the question within its task. Default: its position among the questions of the task or step, which never
    /// equals a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Set for a timer ([`Context::sleep`](crate::Context::sleep)): no person is asked, and the deadline is its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timer: bool,
}

impl Question {
    /// Creates a question to which any JSON value is an answer, `null`, `false`, `0`, `""`, `{}` and `[]` included.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Question;
    ///
    /// let question = Question::new("What is the report about?");
    /// assert!(question.options.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }

    /// Creates a question with options.
    ///
    /// An answer is one of them: the value itself, its text with blanks around it or in another letter case (`"10"` for the
    /// option `10`, `"true"` for `true`), its number counted from 1, or one of its [labels](Self::labels).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Question;
    ///
    /// let question = Question::choose("Publish?", ["yes", "no"]);
    /// assert_eq!(question.options.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn choose<V: Into<Value>>(prompt: impl Into<String>, options: impl IntoIterator<Item = V>) -> Self {
        Self {
            prompt: prompt.into(),
            options: options.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Sets other labels of the options, in their order: an answer with one of them counts as the option. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Question;
    ///
    /// let question = Question::choose("Publish?", ["yes", "no"]).labels([["예"], ["아니요"]]);
    /// assert_eq!(question.labels[1], ["아니요"]);
    /// ```
    #[must_use]
    pub fn labels<L, T>(mut self, labels: impl IntoIterator<Item = L>) -> Self
    where
        L: IntoIterator<Item = T>,
        T: Into<String>,
    {
        self.labels = labels.into_iter().map(|labels| labels.into_iter().map(Into::into).collect()).collect();
        self
    }

    /// Also accepts answers that are not among the options.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Question;
    ///
    /// let question = Question::choose("For whom?", ["buyers", "makers"]).or_anything();
    /// assert!(question.open);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn or_anything(mut self) -> Self {
        self.open = true;
        self
    }

    /// Sets the key of the question within its task, so that its id does not depend on the order of asking. Default: a number.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Question;
    ///
    /// let question = Question::new("Which colour?").key("colour");
    /// assert_eq!(question.key.as_deref(), Some("colour"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the JSON Schema that an answer must match. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Question;
    ///
    /// let question = Question::new("How many?").schema(serde_json::json!({ "type": "integer", "minimum": 1 }));
    /// assert!(question.schema.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Sets details that are shown with the prompt. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Question;
    ///
    /// let question = Question::choose("Send it?", ["yes", "no"]).details("Dear customer, …");
    /// assert!(question.details.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Sets the deadline; the task then gets [`AskError::Expired`]. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Question;
    ///
    /// let question = Question::new("Still there?").deadline(std::time::Duration::from_secs(3_600));
    /// assert!(question.deadline.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl From<&str> for Question {
    fn from(prompt: &str) -> Self {
        Self::new(prompt)
    }
}

impl From<String> for Question {
    fn from(prompt: String) -> Self {
        Self::new(prompt)
    }
}

/// Question without an answer.
///
/// # Examples
///
/// ```
/// use agent_core::{Answers, Context, Graph, Runtime, START, END, State};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Draft { title: String }
///
/// async fn title(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
///     let title: String = cx.ask("Which title?").await?;
///     Ok(Draft::update().title(title))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let graph = Graph::<Draft>::builder("draft").node("title", title).path([START, "title", END]).build()?;
/// let session = Runtime::builder().build().session("s-1")?;
/// let outcome = session.run(&graph, Draft::update()).await?;
/// let open = &outcome.questions()[0];
/// assert_eq!(open.question.prompt, "Which title?");
/// session.answer(Answers::only("Durability")).await?;
/// # session.wait_status().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct OpenQuestion {
    /// The id, which an answer must contain.
    pub id: QuestionId,
    /// The task that asks.
    #[schemars(with = "String")]
    pub task: Arc<TaskId>,
    /// What it asks.
    pub question: Question,
    /// When it was asked, in milliseconds since 1970.
    pub asked_at: i64,
    /// Hash of prompt, options, schema and details. An answer applies to exactly this hash. Empty in
    /// journals of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Key of the recorded step that asks. `None`: the node itself asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub step: Option<Arc<str>>,
}

impl OpenQuestion {
    /// When it runs out of time, in milliseconds since 1970. `None`: never.
    pub(crate) fn due(&self) -> Option<i64> {
        Some(self.asked_at.saturating_add(crate::clock::millis(self.question.deadline?)))
    }
}

/// Error of [`Context::ask`](crate::Context::ask).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No answer arrived before the deadline.
    #[error("question `{question}` was not answered before its deadline")]
    Expired {
        /// The question.
        question: QuestionId,
    },
    /// The answer is not of the type that the node asked for. Give the question a schema to refuse such answers.
    #[error("the answer to `{question}` cannot be read: {reason}")]
    WrongType {
        /// The question.
        question: QuestionId,
        /// Message of serde.
        reason: String,
    },
    /// The text, options, schema or details of the question have changed since they were shown to the person who answered.
    /// The answer is not used.
    ///
    /// Build questions from the state and from recorded results only. After a deliberate change, resume the failed run:
    /// the next attempt asks the new question.
    #[error(
        "question `{question}` was shown as \"{shown}\" and is asked as \"{asked}\" now, so its answer is not used; restore the question, or resume the run to ask it anew"
    )]
    Changed {
        /// The question.
        question: QuestionId,
        /// Start of the text that was shown.
        shown: String,
        /// Start of the text that would be shown now.
        asked: String,
    },
    /// The question is invalid: its schema is not a JSON Schema, or it is too large.
    #[error("question `{key}` cannot be asked: {reason}")]
    Illegal {
        /// Its key.
        key: String,
        /// Why.
        reason: String,
    },
}
