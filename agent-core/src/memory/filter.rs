//! Filters of a search. Evaluated here for every store, so that all stores agree.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// Condition on one field of a value. All conditions of a search must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Filter {
    /// Name of a field of the value, or a JSON pointer (`/address/city`, `/tags/0`) if it begins with `/`.
    pub field: String,
    /// Test of the field.
    #[serde(flatten)]
    pub test: Test,
}

/// Comparison of a field. Numbers compare by value (`1` equals `1.0`), texts by bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Test {
    /// Equal to this value.
    Eq(Value),
    /// Not equal to this value, or absent.
    Ne(Value),
    /// A number or text greater than this one. Absent fields and other types do not match.
    Gt(Value),
    /// A number or text less than this one. Absent fields and other types do not match.
    Lt(Value),
    /// Equal to one of these values.
    In(Vec<Value>),
    /// Present (`true`; `null` counts as present) or absent (`false`).
    Exists(bool),
}

impl Filter {
    /// Creates a condition on a field.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{Filter, Test};
    /// use serde_json::json;
    ///
    /// let cheap = Filter::new("/price", Test::Lt(json!(10)));
    /// assert!(cheap.matches(&json!({ "price": 7 })));
    /// ```
    #[must_use]
    pub fn new(field: impl Into<String>, test: Test) -> Self {
        Self { field: field.into(), test }
    }

    /// Returns `true` if `value` meets the condition.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde_json::json;
    /// use agent_core::memory::{Filter, Test};
    ///
    /// let tagged = Filter::new("/tags/0", Test::Exists(true));
    /// assert!(tagged.matches(&json!({ "tags": ["new"] })));
    /// assert!(!tagged.matches(&json!({ "tags": [] })));
    /// ```
    #[must_use]
    pub fn matches(&self, value: &Value) -> bool {
        let field =
            if self.field.starts_with('/') { value.pointer(&self.field) } else { value.get(&self.field) };
        match &self.test {
            Test::Eq(wanted) => field.is_some_and(|field| same(field, wanted)),
            Test::Ne(unwanted) => !field.is_some_and(|field| same(field, unwanted)),
            Test::Gt(bound) => field.and_then(|field| order(field, bound)) == Some(Ordering::Greater),
            Test::Lt(bound) => field.and_then(|field| order(field, bound)) == Some(Ordering::Less),
            Test::In(wanted) => field.is_some_and(|field| wanted.iter().any(|wanted| same(field, wanted))),
            Test::Exists(there) => field.is_some() == *there,
        }
    }
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => numeric(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => numeric(left, right),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn numeric(left: &Number, right: &Number) -> Option<Ordering> {
    // As floats, integers beyond 2^53 would compare as equal.
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}
