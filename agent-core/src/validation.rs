//! JSON Schema validators with bounded time for all patterns and values.

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

/// Size of one compiled pattern, in bytes.
const PATTERN: usize = 1024 * 1024;
/// Steps that a pattern with look-around or back-references may take. Beyond them the value does not match.
const STEPS: usize = 100_000;

/// Compiles a schema. Patterns run in time linear in the value; those that only a backtracking engine knows
/// (look-around, back-references) run for a bounded number of steps.
///
/// # Errors
///
/// The fault of the schema.
pub(crate) fn validator(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    let linear = PatternOptions::regex().size_limit(PATTERN);
    jsonschema::options().with_pattern_options(linear).build(schema).or_else(|_| {
        let backtracking = PatternOptions::fancy_regex().size_limit(PATTERN).backtrack_limit(STEPS);
        jsonschema::options().with_pattern_options(backtracking).build(schema)
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    #[test]
    fn a_pattern_that_backtracks_takes_bounded_time_and_still_matches() {
        let hostile = json!("a".repeat(100_000) + "!");
        for pattern in ["^(a+)+$", "^(a|aa)+$", "^(?=a)(a+)+$", "^(a+)+\\1$"] {
            let validator = validator(&json!({"type": "string", "pattern": pattern})).unwrap();
            let begun = Instant::now();
            assert!(!validator.is_valid(&hostile), "{pattern}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{pattern}: {:?}", begun.elapsed());
            assert!(validator.is_valid(&json!("aaaa")), "{pattern}");
        }
        assert!(validator(&json!({"type": "string", "pattern": "("})).is_err());
    }
}
