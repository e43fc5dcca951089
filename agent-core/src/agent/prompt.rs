//! Prompts as templates: Jinja by minijinja, read once, rendered for each call.

use std::{fmt, sync::Arc};

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

const NAME: &str = "prompt";
/// Steps one rendering may take, so that a loop in a template ends.
const FUEL: u64 = 1_000_000;

/// A prompt with places to fill in: `{{ name }}`, `{% if %}`, `{% for %}` and the other parts of Jinja that need no
/// second file. Nothing is escaped. Cheap to clone.
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

/// A template that cannot be read or filled in. Names place and cause, not the values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the prompt template, line {line}: {reason}")]
#[non_exhaustive]
pub struct PromptError {
    /// The line, from 1; 0 where it is not known.
    pub line: usize,
    /// What is wrong there.
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
    /// Reads a template. One line end at its end is left out.
    ///
    /// # Errors
    ///
    /// It is no template.
    pub fn new(source: impl Into<String>) -> Result<Self, PromptError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(FUEL));
        // A tag on a separate line leaves no empty line.
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.add_template_owned(NAME, source.into())?;
        Ok(Self(Arc::new(environment)))
    }

    /// Fills the template in. A name that is not there may be asked for (`{% if name %}`), not written.
    ///
    /// # Errors
    ///
    /// A name is not there, a value is not of the kind that is needed, or it takes too long.
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
