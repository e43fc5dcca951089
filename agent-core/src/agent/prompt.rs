//! Prompt templates: Jinja by minijinja, parsed once, rendered for each call.

use std::{fmt, sync::Arc};

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

const NAME: &str = "prompt";
/// Maximum number of steps of one rendering, so that a loop in a template ends.
const FUEL: u64 = 1_000_000;

/// A prompt template in Jinja's syntax: `{{ name }}`, `{% if %}`, `{% for %}` and everything else that needs no second
/// file. Values are not escaped. Cheap to clone.
///
/// # Examples
///
/// ```
/// use agent_core::agent::Prompt;
/// let prompt = Prompt::new("{% if emotion %}The user is {{ emotion }}. {% endif %}Answer in {{ language }}.")?;
/// let text = prompt.render(&serde_json::json!({ "emotion": "sad", "language": "한국어" }))?;
/// assert_eq!(text, "The user is sad. Answer in 한국어.");
/// # Ok::<_, agent_core::agent::PromptError>(())
/// ```
#[derive(Clone)]
pub struct Prompt(Arc<Environment<'static>>);

/// Error of a template that cannot be parsed or rendered. Contains the place and the cause, not the values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the prompt template, line {line}: {reason}")]
#[non_exhaustive]
pub struct PromptError {
    /// Line number, from 1; 0 if unknown.
    pub line: usize,
    /// The cause.
    pub reason: String,
}

impl From<minijinja::Error> for PromptError {
    fn from(error: minijinja::Error) -> Self {
        let kind = error.kind();
        let reason = error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"));
        Self { line: error.line().unwrap_or(0), reason }
    }
}

impl Prompt {
    /// Parses a template. One trailing newline is removed.
    ///
    /// # Errors
    ///
    /// The syntax of the template is invalid.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::agent::Prompt;
    /// assert!(Prompt::new("Dear {{ name }},").is_ok());
    /// assert_eq!(Prompt::new("Dear {{ name").unwrap_err().line, 1);
    /// ```
    pub fn new(source: impl Into<String>) -> Result<Self, PromptError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(FUEL));
        // A tag on a separate line leaves no empty line.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.add_template_owned(NAME, source.into())?;
        Ok(Self(Arc::new(environment)))
    }

    /// Renders the template. An undefined name may be tested (`{% if name %}`) but not printed.
    ///
    /// # Errors
    ///
    /// A name is undefined, a value has the wrong type, or the rendering takes too many steps.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::agent::Prompt;
    /// let prompt = Prompt::new("Dear {{ name }},")?;
    /// assert_eq!(prompt.render(&serde_json::json!({ "name": "Ana" }))?, "Dear Ana,");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn render(&self, values: &impl Serialize) -> Result<String, PromptError> {
        let values = minijinja::Value::from(Serde(values));
        Ok(self.0.get_template(NAME)?.render(values)?)
    }
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prompt")
    }
}
