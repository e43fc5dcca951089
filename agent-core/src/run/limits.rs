//! Limits of a run, its usage, and the error of a limit that was reached.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::error::Code;

/// Limits of a run. `None` means unlimited.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, Runtime, START, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
/// #     .edge(START, "add").edge("add", END).build()?;
/// # let session = Runtime::builder().build().session("s-1")?;
/// # use agent_core::RunOptions;
/// use agent_core::run::Limits;
///
/// let mut limits = Limits::default();
/// limits.model_calls = Some(20);
/// limits.tokens = Some(100_000);
/// let options = RunOptions::default().limits(limits);
/// assert!(session.run(&graph, Count::update()).options(options).await?.is_completed());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
#[non_exhaustive]
pub struct Limits {
    /// Supersteps of the outermost graph. Default: that of the graph (100).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersteps: Option<u64>,
    /// Model calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_calls: Option<u64>,
    /// Tool calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Cost in millionths of the price table's currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Active time, without pauses. When it is exceeded, tasks are dropped within the superstep, and a task that blocks
    /// its thread is abandoned. With [`OverrunPolicy::Ask`], the superstep continues while an extension is requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Duration>,
    /// Policy for a limit that is reached. Default: the run fails.
    #[serde(skip_serializing_if = "OverrunPolicy::is_default")]
    pub on_overrun: OverrunPolicy,
}

/// Policy for a call that would exceed a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
// The name in schemas is permanent.
#[schemars(rename = "Overrun")]
pub enum OverrunPolicy {
    /// The call fails with a [`LimitError`], and the run with it unless a node handles that.
    #[default]
    Fail,
    /// Requests an extension from a person: one question per limit, regardless of the number of waiting tasks. The answer
    /// is the extension (a whole number, or `{"more": n}`) or `"stop"`, with which the call fails. Not used for
    /// supersteps.
    Ask,
}

impl OverrunPolicy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_default(&self) -> bool {
        *self == Self::Fail
    }
}

impl Limits {
    /// Sets the maximum number of supersteps.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::run::Limits;
    /// let limits = Limits::default().supersteps(50);
    /// assert_eq!(limits.supersteps, Some(50));
    /// ```
    #[must_use]
    pub const fn supersteps(mut self, limit: u64) -> Self {
        self.supersteps = Some(limit);
        self
    }

    /// Sets the maximum number of model calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::run::Limits;
    /// let limits = Limits::default().model_calls(20);
    /// assert_eq!(limits.model_calls, Some(20));
    /// ```
    #[must_use]
    pub const fn model_calls(mut self, limit: u64) -> Self {
        self.model_calls = Some(limit);
        self
    }

    /// Sets the maximum number of tool calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::run::Limits;
    /// let limits = Limits::default().tool_calls(100);
    /// assert_eq!(limits.tool_calls, Some(100));
    /// ```
    #[must_use]
    pub const fn tool_calls(mut self, limit: u64) -> Self {
        self.tool_calls = Some(limit);
        self
    }

    /// Sets the maximum number of tokens.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::run::Limits;
    /// let limits = Limits::default().tokens(200_000);
    /// assert_eq!(limits.tokens, Some(200_000));
    /// ```
    #[must_use]
    pub const fn tokens(mut self, limit: u64) -> Self {
        self.tokens = Some(limit);
        self
    }

    /// Sets the maximum cost, in millionths of the price table's currency. Each model must have a price; see
    /// [`RuntimeBuilder::prices`](crate::session::RuntimeBuilder::prices).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::run::Limits;
    /// let limits = Limits::default().cost_micros(500_000); // 0.50 of the currency
    /// assert_eq!(limits.cost_micros, Some(500_000));
    /// ```
    #[must_use]
    pub const fn cost_micros(mut self, limit: u64) -> Self {
        self.cost_micros = Some(limit);
        self
    }

    /// Sets the policy for a limit that is reached. Default: [`OverrunPolicy::Fail`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::run::{Limits, OverrunPolicy};
    /// let limits = Limits::default().model_calls(20).on_overrun(OverrunPolicy::Ask);
    /// assert_eq!(limits.on_overrun, OverrunPolicy::Ask);
    /// ```
    #[must_use]
    pub const fn on_overrun(mut self, policy: OverrunPolicy) -> Self {
        self.on_overrun = policy;
        self
    }

    /// Sets the maximum active time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::run::Limits;
    /// # use std::time::Duration;
    /// let limits = Limits::default().active(Duration::from_secs(600));
    /// assert_eq!(limits.active, Some(Duration::from_secs(600)));
    /// ```
    #[must_use]
    pub const fn active(mut self, limit: Duration) -> Self {
        self.active = Some(limit);
        self
    }
}

/// Budget usage of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
// The name in schemas is permanent.
#[schemars(rename = "Used")]
#[non_exhaustive]
pub struct BudgetUsage {
    /// Model calls.
    #[serde(skip_serializing_if = "is_zero")]
    pub model_calls: u64,
    /// Tool calls.
    #[serde(skip_serializing_if = "is_zero")]
    pub tool_calls: u64,
    /// Tokens read by models.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_tokens: u64,
    /// Tokens written by models.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_tokens: u64,
    /// Cost in millionths of the price table's currency.
    #[serde(skip_serializing_if = "is_zero")]
    pub cost_micros: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl BudgetUsage {
    /// Adds another usage. Saturates at the maximum.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::run::BudgetUsage;
    /// let (mut total, mut more) = (BudgetUsage::default(), BudgetUsage::default());
    /// more.model_calls = 2;
    /// total.add(&more);
    /// assert_eq!(total.model_calls, 2);
    /// ```
    pub fn add(&mut self, more: &Self) {
        self.model_calls = self.model_calls.saturating_add(more.model_calls);
        self.tool_calls = self.tool_calls.saturating_add(more.tool_calls);
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.cost_micros = self.cost_micros.saturating_add(more.cost_micros);
    }

    pub(crate) const fn subtract(&mut self, less: &Self) {
        self.model_calls = self.model_calls.saturating_sub(less.model_calls);
        self.tool_calls = self.tool_calls.saturating_sub(less.tool_calls);
        self.input_tokens = self.input_tokens.saturating_sub(less.input_tokens);
        self.output_tokens = self.output_tokens.saturating_sub(less.output_tokens);
        self.cost_micros = self.cost_micros.saturating_sub(less.cost_micros);
    }
}

/// Error of a run that reached a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the run may use {limit} {kind} and has used {used}; raise the limit and resume")]
#[non_exhaustive]
pub struct LimitError {
    /// The kind of limit.
    pub kind: LimitKind,
    /// The limit.
    pub limit: u64,
    /// Amount that was used or reserved.
    pub used: u64,
}

/// Kind of a limit of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitKind {
    /// Supersteps of the outermost graph.
    Supersteps,
    /// Model calls.
    ModelCalls,
    /// Tool calls.
    ToolCalls,
    /// Input and output tokens.
    Tokens,
    /// Cost in millionths of the price table's currency.
    Cost,
    /// Time spent running, in milliseconds.
    Active,
}

impl LimitKind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Supersteps, Self::ModelCalls, Self::ToolCalls, Self::Tokens, Self::Cost, Self::Active];

    /// Returns the name used in the ids of budget questions.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Supersteps => "supersteps",
            Self::ModelCalls => "model_calls",
            Self::ToolCalls => "tool_calls",
            Self::Tokens => "tokens",
            Self::Cost => "cost_micros",
            Self::Active => "active_ms",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Supersteps => "supersteps",
            Self::ModelCalls => "model calls",
            Self::ToolCalls => "tool calls",
            Self::Tokens => "tokens",
            Self::Cost => "millionths of cost",
            Self::Active => "ms of running",
        })
    }
}

impl Limits {
    /// Returns the limit of a kind; `None` if it is unlimited.
    pub(crate) fn get(&self, kind: LimitKind) -> Option<u64> {
        match kind {
            LimitKind::Supersteps => self.supersteps,
            LimitKind::ModelCalls => self.model_calls,
            LimitKind::ToolCalls => self.tool_calls,
            LimitKind::Tokens => self.tokens,
            LimitKind::Cost => self.cost_micros,
            LimitKind::Active => {
                self.active.map(|active| u64::try_from(active.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }

    /// Sets the limit of a kind.
    pub(crate) const fn set(&mut self, kind: LimitKind, limit: u64) {
        match kind {
            LimitKind::Supersteps => self.supersteps = Some(limit),
            LimitKind::ModelCalls => self.model_calls = Some(limit),
            LimitKind::ToolCalls => self.tool_calls = Some(limit),
            LimitKind::Tokens => self.tokens = Some(limit),
            LimitKind::Cost => self.cost_micros = Some(limit),
            LimitKind::Active => self.active = Some(Duration::from_millis(limit)),
        }
    }
}

impl LimitError {
    pub(crate) const fn new(kind: LimitKind, limit: u64, used: u64) -> Self {
        Self { kind, limit, used }
    }

    pub(crate) const fn code(&self) -> Code {
        match self.kind {
            LimitKind::Supersteps => Code::SuperstepLimit,
            _ => Code::BudgetExceeded,
        }
    }
}
