//! Asking a person before a call: when, what is shown, what can be answered, and for what the answer counts.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Effect, PreparedCall, ToolOutput};

/// When a person is asked before a call.
#[derive(Clone, Default)]
pub enum Approval {
    /// Never.
    #[default]
    Never,
    /// Before each call that no earlier approval covers.
    Always,
    /// Where the rule says `true` of the arguments. A rule that panics has said `true`.
    When(Arc<dyn Fn(&Value) -> bool + Send + Sync>),
}

impl Approval {
    pub(super) fn asks(&self, args: &Value) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::When(rule) => catch_unwind(AssertUnwindSafe(|| rule(args))).unwrap_or(true),
        }
    }
}

impl fmt::Debug for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "Never",
            Self::Always => "Always",
            Self::When(_) => "When(..)",
        })
    }
}

/// For which later calls of the session an approval counts too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalScope {
    /// For none.
    #[default]
    ThisCall,
    /// For the same tool with the same arguments.
    SameArguments,
    /// For every call of the tool.
    Tool,
}

/// The approvals that count for later calls. Plain data, part of what a session remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StandingApprovals(BTreeSet<String>);

impl StandingApprovals {
    /// Remembers the approval of `call`, as far as its policy lets it count.
    pub fn remember(&mut self, call: &PreparedCall) {
        if let Some(key) = key(call) {
            self.0.insert(key);
        }
    }

    /// Takes in what was remembered elsewhere too.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether an earlier approval covers `call`.
    #[must_use]
    pub fn covers(&self, call: &PreparedCall) -> bool {
        key(call).is_some_and(|key| self.0.contains(&key))
    }
}

fn key(call: &PreparedCall) -> Option<String> {
    match call.policy().sticky {
        ApprovalScope::ThisCall => None,
        ApprovalScope::SameArguments => Some(format!("{}#{}", call.name(), fingerprint(call))),
        ApprovalScope::Tool => Some(call.name().to_owned()),
    }
}

/// What a person is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalRequest {
    /// The call; the key of the question.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// What it would do to the world.
    pub effect: Effect,
    /// With what.
    pub arguments: Value,
    /// For which later calls an approval would count.
    pub sticky: ApprovalScope,
    /// SHA-256 of tool and arguments: an answer is for exactly what was shown.
    pub fingerprint: String,
}

/// What a person may answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "decision", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decision {
    /// Do it.
    Approve {},
    /// Do it with these arguments instead.
    Edit {
        /// The arguments, whole.
        arguments: Value,
    },
    /// Do not do it.
    Reject {
        /// Why; the model reads it.
        #[serde(default)]
        reason: String,
    },
    /// Do not do it and give the model this as the result.
    Respond {
        /// The result.
        output: Value,
    },
}

/// What follows from a decision.
#[derive(Debug)]
pub enum DecisionOutcome {
    /// Run this, without asking again.
    Run(PreparedCall),
    /// Run nothing; this is the result.
    Answer(Result<ToolOutput, super::ToolError>),
}

pub(super) fn request(call: &PreparedCall) -> ApprovalRequest {
    ApprovalRequest {
        call_id: call.id().to_owned(),
        tool: call.name().to_owned(),
        effect: call.policy().effect,
        arguments: call.args().clone(),
        sticky: call.policy().sticky,
        fingerprint: fingerprint(call),
    }
}

/// Independent of the order in which the model wrote the keys.
pub(super) fn fingerprint(call: &PreparedCall) -> String {
    let mut hash = Sha256::new();
    hash.update(call.name().as_bytes());
    hash.update([0]);
    let mut text = String::new();
    canonical(call.args(), &mut text);
    hash.update(text.as_bytes());
    hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        hex
    })
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (key, value) in entries {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}
