//! The rules a tool runs under.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AnyGuardrail, Approval, ApprovalScope, Guardrail};
use crate::retry::RetryPolicy;

/// What a call does to the world. Decides what may be repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing.
    ReadOnly,
    /// Something, but twice is the same as once.
    Idempotent,
    /// Something each time.
    #[default]
    Writes,
    /// Something that cannot be taken back.
    Destructive,
}

impl Effect {
    /// Whether a call that may have happened may be made again.
    #[must_use]
    pub const fn repeatable(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Idempotent)
    }
}

/// What becomes of a call that was begun and whose result nobody knows: the process died in the middle of it, or it was
/// dropped by a stop or a time limit of its node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterruptedCallPolicy {
    /// Repeated when its [`Effect`] is repeatable, else told.
    #[default]
    ByEffect,
    /// Made again, with the same idempotency key: for a service that knows such keys.
    Repeat,
    /// The model is told that the outcome is not known.
    Tell,
    /// A person is asked whether to make it again; a no is told to the model.
    Ask,
}

/// How many calls of a tool run at once, over all runs that share the registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as are asked for.
    #[default]
    Unlimited,
    /// This many; the others wait.
    AtMost(NonZeroUsize),
}

/// The rules a tool runs under. Each setter says its default.
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
    /// The defaults for a tool that only reads.
    #[must_use]
    pub fn read_only() -> Self {
        Self::default().effect(Effect::ReadOnly)
    }

    /// Sets the longest time of one attempt. Default: 60 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the retries: a number of attempts, or a [`RetryPolicy`]. Default: no retries.
    ///
    /// Only errors that say that nothing happened ([`ToolError::unavailable`](super::ToolError::unavailable)) are retried,
    /// and timeouts if the [`Effect`] allows.
    #[must_use]
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.retry = policy.into();
        self
    }

    /// Sets how many calls run at once. Default: unlimited.
    #[must_use]
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Sets how many bytes of a result the model reads. A longer one is kept whole in the runtime's long-term memory, if it
    /// has one, and read in parts with [`ReadResult`](crate::tool::ReadResult). Default: 32 KiB.
    #[must_use]
    pub fn result_limit(mut self, bytes: usize) -> Self {
        self.result_limit = bytes;
        self
    }

    /// Sets what a call does to the world. Default: it writes.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Sets what becomes of a call whose result is not known. Default: it is made again if its effect allows, else the
    /// model is told.
    #[must_use]
    pub fn interrupted(mut self, rule: InterruptedCallPolicy) -> Self {
        self.interrupted = rule;
        self
    }

    /// Whether a call is noted before it is made, so that a later process knows of it.
    pub(crate) const fn notes_begin(&self) -> bool {
        match self.interrupted {
            InterruptedCallPolicy::ByEffect => !self.effect.repeatable(),
            InterruptedCallPolicy::Repeat => false,
            InterruptedCallPolicy::Tell | InterruptedCallPolicy::Ask => true,
        }
    }

    /// Sets when a person is asked first. Default: never.
    #[must_use]
    pub fn approval(mut self, approval: Approval) -> Self {
        self.approval = approval;
        self
    }

    /// Asks a person first where `rule` says so. A rule that panics has said so.
    #[must_use]
    pub fn approval_when(self, rule: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        self.approval(Approval::When(Arc::new(rule)))
    }

    /// Sets for which later calls an approval counts too. Default: none.
    #[must_use]
    pub fn sticky(mut self, sticky: ApprovalScope) -> Self {
        self.sticky = sticky;
        self
    }

    /// Adds a guardrail; they run in the order they were added. Default: none.
    #[must_use]
    pub fn guard(mut self, guard: impl Guardrail) -> Self {
        self.guards.push(AnyGuardrail::new(guard));
        self
    }
}
