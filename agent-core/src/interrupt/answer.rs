//! Answers, and their validation against the open questions, options and schemas.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{OpenQuestion, Question};
use crate::{
    compute::compute,
    ids::QuestionId,
    json::{self, ValueError},
    validation::validator,
};

/// Answers to one question, to several, or to the only open question.
///
/// # Examples
///
/// ```
/// use agent_core::Answers;
///
/// let one = Answers::only("yes");
/// let named = Answers::to("approve#1/size", 3);
/// let several = Answers::each([("approve#1/size", 3), ("approve#1/colour", 7)]);
/// assert!(one != named && named != several);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Answers {
    /// Answer to the only open question. Refused if several are open.
    Only(Value),
    /// Answers by question. Not all open questions need an answer.
    Each(BTreeMap<QuestionId, Value>),
}

impl Answers {
    /// Refuses answers that could not be read back. Those that are refused are dropped without recursion.
    pub(crate) fn checked(self) -> Result<Self, AnswerError> {
        let values = match &self {
            Self::Only(value) => vec![(None, value)],
            Self::Each(values) => values.iter().map(|(id, value)| (Some(id), value)).collect(),
        };
        let fault = values.into_iter().find_map(|(id, value)| {
            let error = json::check(value).err()?;
            Some(error.of(id.map_or_else(|| "the answer".to_owned(), |id| format!("the answer to `{id}`"))))
        });
        let Some(fault) = fault else { return Ok(self) };
        match self {
            Self::Only(value) => json::dismantle(value),
            Self::Each(values) => values.into_values().for_each(json::dismantle),
        }
        Err(fault.into())
    }

    /// Creates an answer to the only open question.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Answers;
    ///
    /// let answers = Answers::only(serde_json::json!({ "size": 3 }));
    /// assert!(matches!(answers, Answers::Only(_)));
    /// ```
    #[must_use]
    pub fn only(value: impl Into<Value>) -> Self {
        Self::Only(value.into())
    }

    /// Creates an answer to one question.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Answers;
    ///
    /// let answers = Answers::to("approve#1/size", 3);
    /// assert!(matches!(answers, Answers::Each(_)));
    /// ```
    #[must_use]
    pub fn to(question: impl Into<QuestionId>, value: impl Into<Value>) -> Self {
        Self::Each(BTreeMap::from([(question.into(), value.into())]))
    }

    /// Creates answers to several questions, accepted or refused together.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Answers;
    ///
    /// let answers = Answers::each([("approve#1/size", "XL"), ("approve#1/colour", "red")]);
    /// assert!(matches!(answers, Answers::Each(each) if each.len() == 2));
    /// ```
    #[must_use]
    pub fn each<Q: Into<QuestionId>, V: Into<Value>>(answers: impl IntoIterator<Item = (Q, V)>) -> Self {
        Self::Each(answers.into_iter().map(|(id, value)| (id.into(), value.into())).collect())
    }
}

/// Why an answer was refused. A refused answer changes nothing.
///
/// # Examples
///
/// ```
/// # use agent_core::{Answers, Context, END, Graph, Runtime, SessionError, START, State};
/// # use agent_core::interrupt::AnswerError;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Greeting { name: String }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Greeting>::builder("greet")
/// #     .node("ask", async |_: &Greeting, cx: &Context| {
/// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
/// #     })
/// #     .edge(START, "ask").edge("ask", END).build()?;
/// # let session = Runtime::builder().build().session("s-1")?;
/// session.run(&graph, Greeting::update()).await?;
/// let answers = Answers::to("ask#1:title", "Dr.");
/// let refused = session.answer(answers).await.unwrap_err();
/// assert!(matches!(refused, SessionError::Answer(AnswerError::Unknown { .. })));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// No question is open.
    #[error("session has no open question")]
    NothingAsked,
    /// No open question has this id, and none with it was answered in this run.
    #[error("no open question has the id `{question}`{}", listed(open))]
    Unknown {
        /// The id, cut.
        question: String,
        /// Ids of the open questions.
        open: Vec<String>,
    },
    /// The question was already answered.
    #[error("question `{question}` was already answered by {by}")]
    AlreadyAnswered {
        /// The question.
        question: QuestionId,
        /// Name of the person who answered it.
        by: String,
    },
    /// An answer without an id while several questions are open.
    #[error("several questions are open, name one: {}", open.join(", "))]
    Ambiguous {
        /// Their ids.
        open: Vec<String>,
    },
    /// The answer does not match the options or the schema. The question stays open.
    #[error("the answer to `{question}` does not fit{}: {expected}", at(path))]
    Invalid {
        /// The question.
        question: QuestionId,
        /// Place in the answer (JSON Pointer).
        path: String,
        /// The expected value.
        expected: String,
    },
    /// The answer cannot be stored. The question stays open.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The run was stopped; resume it first.
    #[error("the run is {status}; resume it before answering")]
    NotWaiting {
        /// Status of the run.
        status: String,
    },
}

/// The place in an answer, unless it is the whole of it.
fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at `{path}`") }
}

/// Levels of nesting that a question may add around a valid value, such as the arguments of a call to approve.
const AROUND: usize = 4;

/// Checks the question itself, once, before it is asked.
pub(crate) fn check_question(question: &Question) -> Result<(), String> {
    if question.prompt.len() > 65_536 {
        return Err("its prompt is longer than 64 KiB".into());
    }
    let parts = [("its details", question.details.as_ref()), ("its schema", question.schema.as_ref())];
    let options = question.options.iter().map(|option| ("an option", Some(option)));
    for (what, value) in parts.into_iter().chain(options) {
        let checked = value.map_or(Ok(()), |value| json::check_within(value, json::MAX_DEPTH + AROUND));
        checked.map_err(|error| error.of(what).to_string())?;
    }
    if let Some(schema) = &question.schema {
        validator(schema).map_err(|error| format!("its schema is not a valid JSON Schema: {error}"))?;
    }
    Ok(())
}

/// Maximum length of a text that is compared with labels, in bytes.
const LONGEST_LABEL: usize = 4 * 1024;

/// Returns the ids of the open questions, for an error.
fn listed(open: &[String]) -> String {
    if open.is_empty() { "; none is open".to_owned() } else { format!("; open: {}", open.join(", ")) }
}

/// Returns the text of an option, as forms and buttons send it: the string itself, or the JSON of another value.
fn text_of(option: &Value) -> Cow<'_, str> {
    match option {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => Cow::Owned(option.to_string()),
        Value::Array(_) | Value::Object(_) => Cow::Borrowed(""),
    }
}

/// Returns the option that `value` names: itself, its text or one of its labels whatever the case and the blanks around,
/// or its number from 1. `None`: it names none.
fn option_of<'a>(question: &'a Question, value: &Value) -> Option<&'a Value> {
    let options = &question.options;
    if let Some(option) = options.iter().find(|option| *option == value) {
        return Some(option);
    }
    let folded = |text: &str| text.trim().to_lowercase();
    let number = |number: u64| options.get(usize::try_from(number).ok()?.checked_sub(1)?);
    match value {
        Value::String(text) if text.len() <= LONGEST_LABEL => {
            let text = folded(text);
            if text.is_empty() && !options.iter().any(|option| option.as_str().is_some_and(str::is_empty)) {
                return None;
            }
            let is_same = |(at, option): &(usize, &Value)| {
                let mut labels = question.labels.get(*at).into_iter().flatten();
                labels.any(|label| folded(label) == text) || folded(&text_of(option)) == text
            };
            let named = options.iter().enumerate().find(is_same).map(|(_, option)| option);
            // In an open question, a number may be the answer itself.
            named.or_else(|| number(text.parse().ok()?).filter(|_| !question.open))
        }
        Value::Number(value) if !question.open => number(value.as_u64()?),
        _ => None,
    }
}

/// Replaces an answer by the option that it names.
pub(super) fn name_option(question: &Question, value: &mut Value) {
    if let Some(option) = option_of(question, value)
        && option != value
    {
        *value = option.clone();
    }
}

/// Checks answers against the options and schemas of their questions, and returns them. Large ones are checked off the
/// async workers: the time that a schema takes is bounded by its author only.
pub(crate) async fn check_answers(
    answers: Vec<(Arc<OpenQuestion>, Value)>,
) -> Result<Vec<(Arc<OpenQuestion>, Value)>, AnswerError> {
    let bytes = answers.iter().map(|(open, value)| match &open.question.schema {
        Some(schema) => json::size(schema) + json::size(value),
        None if open.question.options.is_empty() => 0,
        None => json::size(value),
    });
    compute(bytes.sum(), move || {
        answers.iter().try_for_each(|(open, value)| check(open, value))?;
        Ok(answers)
    })
    .await
}

/// Checks an answer against the options and the schema of its question.
fn check(asked: &OpenQuestion, value: &Value) -> Result<(), AnswerError> {
    let invalid = |path: Cow<'_, str>, expected: String| AnswerError::Invalid {
        question: asked.id.clone(),
        path: path.into_owned(),
        expected,
    };
    let question = &asked.question;
    if !question.options.is_empty() && !question.open && !question.options.contains(value) {
        let options = serde_json::to_string(&question.options).unwrap_or_default();
        return Err(invalid("".into(), format!("one of {}", crate::util::shorten(&options, 400))));
    }
    if let Some(schema) = &question.schema {
        let validator = validator(schema)
            .map_err(|error| invalid("".into(), format!("the question's schema is broken: {error}")))?;
        if let Err(error) = validator.validate(value) {
            let mut text = crate::util::shorten(&error.to_string(), 400);
            // A text that was meant as an option.
            if value.is_string() && !question.options.is_empty() {
                let options = serde_json::to_string(&question.options).unwrap_or_default();
                let options = crate::util::shorten(&options, 400);
                text = format!("one of {options}, or a value that matches the schema of the question");
            }
            return Err(invalid(error.instance_path().to_string().into(), text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_option_is_named_by_its_text_its_number_or_a_label() {
        let question = Question::choose("For whom?", ["소비자", "Makers"]).labels([["buyers"], ["담당자"]]);
        for (answer, option) in [
            (json!("소비자"), Some("소비자")),
            (json!("  makers\n"), Some("Makers")),
            (json!("BUYERS"), Some("소비자")),
            (json!(" 담당자 "), Some("Makers")),
            (json!(2), Some("Makers")),
            (json!("1"), Some("소비자")),
            (json!(0), None),
            (json!(3), None),
            (json!(1.5), None),
            (json!("-1"), None),
            (json!(""), None),
            (json!(null), None),
            (json!(["소비자"]), None),
        ] {
            assert_eq!(option_of(&question, &answer).and_then(Value::as_str), option, "{answer}");
        }
        // Options that are numbers are meant themselves before their places are, also as text.
        let sizes = Question::choose("Which?", [2, 1, 250]);
        for (answer, option) in [(json!(1), 1), (json!(" 1 "), 1), (json!("250"), 250), (json!(3), 250)] {
            assert_eq!(option_of(&sizes, &answer), Some(&json!(option)), "{answer}");
        }
        let others = Question::choose("Really?", [json!(true), json!(null), json!([])]);
        for (answer, option) in
            [("True", Some(json!(true))), ("null", Some(json!(null))), ("", None), (" ", None)]
        {
            assert_eq!(option_of(&others, &json!(answer)), option.as_ref(), "{answer}");
        }
        let open = Question::choose("How many?", ["few", "many"]).or_anything();
        assert_eq!(
            (option_of(&open, &json!(2)), option_of(&open, &json!("Few"))),
            (None, Some(&json!("few")))
        );
    }
}
