//! Token usage of model calls, and their cost by a price table.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// Tokens used by one call, or the sum of several calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Usage {
    /// Input tokens, including cached ones.
    pub input_tokens: u64,
    /// Output tokens, including reasoning.
    pub output_tokens: u64,
    /// Input tokens that were read from the endpoint's cache, usually at a lower price.
    #[serde(skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Output tokens used for reasoning.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Returns the sum of input and output tokens.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::Usage;
    ///
    /// let usage = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
    /// assert_eq!(usage.total(), 110);
    /// ```
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

impl Add for Usage {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), Add::add)
    }
}

/// Amount of money in millionths of the price table's currency. An integer, so that sums are exact.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

/// Prices of one model in millionths of the currency per million tokens (0.15 USD per million tokens is 150,000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Input that was not cached.
    pub input: u64,
    /// Output, including reasoning.
    pub output: u64,
    /// Cached input. Default: the price of other input.
    #[serde(default)]
    pub cached: Option<u64>,
}

/// Prices by model name. Set by the application, because prices change more often than programs.
///
/// A name matches its own entry, or else the longest entry that is a prefix of it (`gpt-4o-mini` matches
/// `gpt-4o-mini-2024-07-18`).
///
/// # Examples
///
/// ```
/// use agent_core::model::{Price, PriceTable, Usage};
/// let prices = PriceTable::new().with("gpt-4o-mini", Price { input: 150_000, output: 600_000, cached: None });
/// let usage = Usage { input_tokens: 1_000_000, output_tokens: 500_000, ..Usage::default() };
/// assert_eq!(prices.cost("gpt-4o-mini-2024-07-18", &usage).unwrap().0, 450_000);
/// assert_eq!(prices.cost("another", &usage), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceTable(BTreeMap<String, Price>);

impl PriceTable {
    /// Creates a table without prices.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::PriceTable;
    /// assert!(PriceTable::new().price("gpt-5").is_none());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces the price of a model.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Price, PriceTable};
    ///
    /// let prices = PriceTable::new().with("gpt-5", Price::default());
    /// assert!(prices.price("gpt-5").is_some());
    /// ```
    #[must_use]
    pub fn with(mut self, model: impl Into<String>, price: Price) -> Self {
        self.0.insert(model.into(), price);
        self
    }

    /// Returns the price of a model, by its name or the longest entry that is a prefix of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Price, PriceTable};
    /// let prices = PriceTable::new().with("gpt-5", Price::default());
    /// assert!(prices.price("gpt-5-mini").is_some()); // a prefix
    /// ```
    #[must_use]
    pub fn price(&self, model: &str) -> Option<Price> {
        let exact = self.0.get(model);
        let longest =
            || self.0.iter().rev().find(|(name, _)| model.starts_with(name.as_str())).map(|(_, price)| price);
        exact.or_else(longest).copied()
    }

    /// Returns the cost of a usage, rounded up to a millionth; `None` if the model has no price.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Price, PriceTable};
    /// use agent_core::model::{Micros, Usage};
    ///
    /// let prices = PriceTable::new().with("gpt-5", Price { input: 1_000_000, output: 8_000_000, cached: None });
    /// let usage = Usage { input_tokens: 1_000, output_tokens: 500, ..Usage::default() };
    /// assert_eq!(prices.cost("gpt-5", &usage), Some(Micros(5_000)));
    /// ```
    #[must_use]
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<Micros> {
        let price = self.price(model)?;
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let parts = [
            (usage.input_tokens - cached, price.input),
            (cached, price.cached.unwrap_or(price.input)),
            (usage.output_tokens, price.output),
        ];
        let sum: u128 = parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
        Some(Micros(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)))
    }
}
