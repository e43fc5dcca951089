//! Approval of tool calls by a person: the policy, the request, the decision, and standing approvals.

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

/// Policy for the approval of calls by a person.
#[derive(Clone, Default)]
pub enum Approval {
    /// Calls need no approval.
    #[default]
    Never,
    /// Each call needs approval, unless a standing approval covers it.
    Always,
    /// Calls need approval if the rule returns `true` for their arguments. A panic counts as `true`.
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

/// Later calls of the session that an approval covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalScope {
    /// No later calls.
    #[default]
    ThisCall,
    /// Calls of the same tool with the same arguments.
    SameArguments,
    /// All calls of the tool.
    Tool,
}

/// Approvals that cover later calls. Plain data, stored in the state of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StandingApprovals(BTreeSet<String>);

impl StandingApprovals {
    /// Adds the approval of `call`, with the scope that its policy sets; see [`ToolPolicy::sticky`](super::ToolPolicy::sticky).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool;
    /// # use agent_core::tool::{Approval, ApprovalScope, StandingApprovals, ToolCall};
    /// # use agent_core::tool::{ToolError, ToolPolicy, ToolRegistry};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # let policy = ToolPolicy::default().approval(Approval::Always).sticky(ApprovalScope::Tool);
    /// # let tools = ToolRegistry::builder().tool_with(weather, policy).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// let mut approvals = StandingApprovals::default();
    /// approvals.remember(&call);
    /// assert!(approvals.covers(&call));
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
    pub fn remember(&mut self, call: &PreparedCall) {
        if let Some(key) = key(call) {
            self.0.insert(key);
        }
    }

    /// Adds all approvals of `other`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool;
    /// # use agent_core::tool::{Approval, ApprovalScope, StandingApprovals, ToolCall};
    /// # use agent_core::tool::{ToolError, ToolPolicy, ToolRegistry};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # let policy = ToolPolicy::default().approval(Approval::Always).sticky(ApprovalScope::Tool);
    /// # let tools = ToolRegistry::builder().tool_with(weather, policy).build()?;
    /// # let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// let (mut approvals, mut other) = (StandingApprovals::default(), StandingApprovals::default());
    /// other.remember(&call);
    /// approvals.join(other);
    /// assert!(approvals.covers(&call));
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns `true` if an earlier approval covers `call`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool;
    /// # use agent_core::tool::{Approval, ApprovalScope, StandingApprovals, ToolCall};
    /// # use agent_core::tool::{ToolError, ToolPolicy, ToolRegistry};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// let policy = ToolPolicy::default().approval(Approval::Always).sticky(ApprovalScope::SameArguments);
    /// let tools = ToolRegistry::builder().tool_with(weather, policy).build()?;
    /// let seoul = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// let lima = tools.prepare(ToolCall::new("weather", &json!({ "city": "Lima" })))?;
    /// let mut approvals = StandingApprovals::default();
    /// approvals.remember(&seoul);
    /// assert!(approvals.covers(&seoul) && !approvals.covers(&lima));
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
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

/// Approval request for a tool call, as a person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApprovalRequest {
    /// Id of the call, which is part of the key of the question.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// Effect of the call.
    pub effect: Effect,
    /// Arguments of the call.
    pub arguments: Value,
    /// Later calls that the approval would cover.
    pub sticky: ApprovalScope,
    /// SHA-256 of tool and arguments: the decision applies to exactly this call.
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

/// Result of [`PreparedCall::decide`].
#[derive(Debug)]
pub enum DecisionOutcome {
    /// The call to execute; it needs no further approval.
    Run(PreparedCall),
    /// The call is not executed; contains its result.
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
