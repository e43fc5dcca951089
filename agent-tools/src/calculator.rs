//! Calculator: an expression evaluator with limits on length and time, and without access to anything else.

use std::time::Duration;

use agent_core::tool::{Tool, ToolContext, ToolError, ToolPolicy};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::blocking::{Stop, with_stack};

/// Maximum length of an expression in characters, and maximum nesting of brackets.
const MAX_CHARS: usize = 500;
const MAX_NESTING: usize = 50;
const MAX_TIME: Duration = Duration::from_secs(1);
/// The evaluator also recurses on signs and functions. This is enough for an expression that consists only of them.
/// Only the part that is used occupies memory.
const STACK: usize = 256 * 1024 * 1024;

/// Tool that evaluates an expression: exact decimals and fractions, percent, functions, units and conversions.
///
/// # Examples
///
/// ```
/// use agent_core::{model::ToolCall, tool::{ToolContext, ToolRegistry}};
/// use agent_tools::Calculator;
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tools = ToolRegistry::builder().tool(Calculator::default()).build()?;
/// let call = ToolCall::new("calculator", &json!({"expression": "0.1 + 0.2"}));
/// let call = tools.prepare(call).map_err(|error| error.to_string())?;
/// let result = call.run(&ToolContext::detached()).await.map_err(|error| error.to_string())?;
/// assert_eq!(result.to_text(), "0.3");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Calculator;

/// Arguments of [`Calculator`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CalculatorArgs {
    /// The expression, for example `(1200 - 15%) * 3`, `sqrt(2)`, `0.1 + 0.2`, `12 km to miles`, `2^100 mod 7`.
    pub expression: String,
}

impl Tool for Calculator {
    type Args = CalculatorArgs;
    type Output = String;

    fn name(&self) -> &str {
        "calculator"
    }

    fn description(&self) -> &str {
        "Evaluates an arithmetic expression exactly, with functions, percentages and units. Use it for every \
         calculation instead of doing it in your head."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only().timeout(Duration::from_secs(5)).result_limit(4 * 1024)
    }

    async fn call(&self, args: CalculatorArgs, _: &ToolContext) -> Result<String, ToolError> {
        let expression = args.expression;
        if expression.chars().count() > MAX_CHARS {
            return Err(ToolError::failed(format!("the expression is longer than {MAX_CHARS} characters")));
        }
        if nesting(&expression) > MAX_NESTING {
            return Err(ToolError::failed(format!("brackets are nested deeper than {MAX_NESTING}")));
        }
        with_stack(MAX_TIME, STACK, move |stop| {
            let mut context = fend_core::Context::new();
            context.disable_rng();
            fend_core::evaluate_with_interrupt(&expression, &mut context, &Limits(stop))
                .map(|result| result.get_main_result().to_owned())
                .map_err(|text| match text.as_str() {
                    "interrupted" => ToolError::failed("the calculation takes too long; make it simpler"),
                    _ => ToolError::failed(format!("cannot evaluate the expression: {text}")),
                })
        })
        .await
    }
}

/// Returns the nesting depth of brackets, on which the evaluator recurses.
fn nesting(expression: &str) -> usize {
    let (mut level, mut deepest) = (0_usize, 0);
    for c in expression.chars() {
        match c {
            '(' => level += 1,
            ')' => level = level.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(level);
    }
    deepest
}

struct Limits<'a>(&'a Stop);

impl fend_core::Interrupt for Limits<'_> {
    fn should_interrupt(&self) -> bool {
        self.0.now()
    }
}
