//! `ToolPolicy`: timeout, retries, concurrency, effect, approval and guardrails of a tool.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AnyGuardrail, Approval, ApprovalScope, Guardrail};
use crate::retry::RetryPolicy;

/// Effect of a call outside the run. Decides whether it may be repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// No effect: the call only reads.
    ReadOnly,
    /// Repeating the call has no further effect.
    Idempotent,
    /// Each call has an effect.
    #[default]
    Writes,
    /// The effect cannot be undone.
    Destructive,
}

impl Effect {
    /// Returns `true` if a call with an unknown outcome may be repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::Effect;
    /// assert!(Effect::Idempotent.repeatable());
    /// assert!(!Effect::Writes.repeatable());
    /// ```
    #[must_use]
    pub const fn repeatable(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Idempotent)
    }
}

/// Policy for a call with an unknown outcome, because the process crashed during the call, or a stop or timeout of its
/// node dropped it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterruptedCallPolicy {
    /// Repeats the call if its [`Effect`] is repeatable, otherwise as [`Tell`](Self::Tell).
    #[default]
    ByEffect,
    /// Repeats the call with the same idempotency key, for services that support such keys.
    Repeat,
    /// The model reads that the outcome is unknown.
    Tell,
    /// Asks a person whether to repeat it; a refusal is the result for the model.
    Ask,
}

/// Maximum number of concurrent calls of a tool, over all runs that share the registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// No limit.
    #[default]
    Unlimited,
    /// At most this number; further calls wait.
    AtMost(NonZeroUsize),
}

/// Policy of a tool: timeout, retries, concurrency, effect, approval, guardrails.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use agent_core::tool::{Approval, Effect, ToolPolicy};
///
/// let policy = ToolPolicy::default()
///     .effect(Effect::Idempotent)
///     .timeout(Duration::from_secs(10))
///     .retry(3)
///     .approval(Approval::Always);
/// assert_eq!(policy.retry.attempts, 3);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ToolPolicy {
    /// See [`timeout`](Self::timeout).
    pub timeout: Duration,
    /// See [`retry`](Self::retry).
    pub retry: RetryPolicy,
    /// See [`concurrency`](Self::concurrency).
    pub concurrency: Concurrency,
    /// See [`result_limit`](Self::result_limit).
    pub result_limit: usize,
    /// See [`effect`](Self::effect).
    pub effect: Effect,
    /// See [`interrupted`](Self::interrupted).
    pub interrupted: InterruptedCallPolicy,
    /// See [`approval`](Self::approval).
    pub approval: Approval,
    /// See [`sticky`](Self::sticky).
    pub sticky: ApprovalScope,
    pub(super) guards: Vec<AnyGuardrail>,
}

impl Default for ToolPolicy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            retry: RetryPolicy::never(),
            concurrency: Concurrency::default(),
            result_limit: 32 * 1024,
            effect: Effect::default(),
            interrupted: InterruptedCallPolicy::default(),
            approval: Approval::default(),
            sticky: ApprovalScope::default(),
            guards: Vec::new(),
        }
    }
}

impl ToolPolicy {
    /// Creates the default policy of a tool that only reads.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::{Effect, ToolPolicy};
    ///
    /// assert_eq!(ToolPolicy::read_only().effect, Effect::ReadOnly);
    /// ```
    #[must_use]
    pub fn read_only() -> Self {
        Self::default().effect(Effect::ReadOnly)
    }

    /// Sets the timeout of one attempt. Default: 60 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use agent_core::tool::ToolPolicy;
    ///
    /// let policy = ToolPolicy::default().timeout(Duration::from_secs(5));
    /// # drop(policy);
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the retries: a number of attempts, or a [`RetryPolicy`]. Default: no retries.
    ///
    /// Only errors of calls without an effect ([`ToolError::unavailable`](super::ToolError::unavailable)) are retried, and
    /// timeouts if the [`Effect`] is repeatable.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::ToolPolicy;
    ///
    /// assert_eq!(ToolPolicy::default().retry(3).retry.attempts, 3);
    /// ```
    #[must_use]
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.retry = policy.into();
        self
    }

    /// Sets the maximum number of concurrent calls. Default: unlimited.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use agent_core::tool::{Concurrency, ToolPolicy};
    ///
    /// let policy = ToolPolicy::default().concurrency(Concurrency::AtMost(NonZeroUsize::MIN));
    /// # drop(policy);
    /// ```
    #[must_use]
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Sets the maximum size of a result for the model, in bytes. A longer result is stored completely in the runtime's
    /// long-term memory, if there is one, and read in parts with [`ReadResult`](crate::tool::ReadResult). Default: 32 KiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::ToolPolicy;
    ///
    /// assert_eq!(ToolPolicy::default().result_limit(4_096).result_limit, 4_096);
    /// ```
    #[must_use]
    pub fn result_limit(mut self, bytes: usize) -> Self {
        self.result_limit = bytes;
        self
    }

    /// Sets the effect. Default: [`Effect::Writes`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{Effect, ToolPolicy};
    /// let policy = ToolPolicy::default().effect(Effect::Idempotent);
    /// assert!(policy.effect.repeatable());
    /// ```
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Sets the policy for a call with an unknown outcome. Default: [`InterruptedCallPolicy::ByEffect`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{InterruptedCallPolicy, ToolPolicy};
    /// let policy = ToolPolicy::default().interrupted(InterruptedCallPolicy::Ask);
    /// assert_eq!(policy.interrupted, InterruptedCallPolicy::Ask);
    /// ```
    #[must_use]
    pub fn interrupted(mut self, rule: InterruptedCallPolicy) -> Self {
        self.interrupted = rule;
        self
    }

    /// Returns whether a call is noted before it is made, so that a later process knows of it.
    pub(crate) const fn notes_begin(&self) -> bool {
        match self.interrupted {
            InterruptedCallPolicy::ByEffect => !self.effect.repeatable(),
            InterruptedCallPolicy::Repeat => false,
            InterruptedCallPolicy::Tell | InterruptedCallPolicy::Ask => true,
        }
    }

    /// Sets which calls require the approval of a person. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{Approval, ToolPolicy};
    /// let policy = ToolPolicy::default().approval(Approval::Always);
    /// # assert!(matches!(policy.approval, Approval::Always));
    /// ```
    #[must_use]
    pub fn approval(mut self, approval: Approval) -> Self {
        self.approval = approval;
        self
    }

    /// Requires approval for arguments for which `rule` returns `true`. A panic counts as `true`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::ToolPolicy;
    ///
    /// let policy = ToolPolicy::default().approval_when(|args| args["amount"].as_u64() > Some(100));
    /// # drop(policy);
    /// ```
    #[must_use]
    pub fn approval_when(self, rule: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        self.approval(Approval::When(Arc::new(rule)))
    }

    /// Sets the later calls that an approval covers. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::{Approval, ApprovalScope, ToolPolicy};
    ///
    /// let policy = ToolPolicy::default().approval(Approval::Always).sticky(ApprovalScope::SameArguments);
    /// # drop(policy);
    /// ```
    #[must_use]
    pub fn sticky(mut self, sticky: ApprovalScope) -> Self {
        self.sticky = sticky;
        self
    }

    /// Adds a guardrail; they run in the order they were added. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{Guardrail, ToolPolicy, Verdict};
    /// struct OnlySeoul;
    ///
    /// impl Guardrail for OnlySeoul {
    ///     async fn before(&self, _tool: &str, args: &serde_json::Value) -> Verdict<serde_json::Value> {
    ///         if args["city"] == "Seoul" { Verdict::Allow } else { Verdict::Refuse("only Seoul".to_owned()) }
    ///     }
    /// }
    ///
    /// let policy = ToolPolicy::read_only().guard(OnlySeoul);
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn guard(mut self, guard: impl Guardrail) -> Self {
        self.guards.push(AnyGuardrail::new(guard));
        self
    }
}
