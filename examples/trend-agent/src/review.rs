//! One review, and the data set that is compiled into the binary.

use std::sync::LazyLock;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::catalogue::Brand;

/// A language that the analysis understands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Language {
    /// Korean.
    #[serde(rename = "ko")]
    Korean,
    /// English.
    #[serde(rename = "en")]
    English,
}

/// One review of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Unique in the data set, for example `LN-001`.
    pub id: String,
    /// The brand of the product.
    pub brand: Brand,
    /// English product name; see [`super::catalogue::Product`].
    pub product: String,
    /// Language of `text`.
    pub lang: Language,
    /// 1 to 5.
    pub rating: u8,
    /// The day it was written.
    pub date: Date,
    /// What was written.
    pub text: String,
    /// Kind of shop it was written in.
    pub channel: String,
}

/// Reads reviews from JSON lines, one object a line; empty lines are skipped.
///
/// # Errors
///
/// The first line that is not a review, with its number (counted from 1).
pub fn parse_reviews(lines: &str) -> Result<Vec<Review>, DataError> {
    lines
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let review: Review =
                serde_json::from_str(line).map_err(|source| DataError::Line { line: index + 1, source })?;
            if !(1..=5).contains(&review.rating) {
                return Err(DataError::Rating { line: index + 1, rating: review.rating });
            }
            Ok(review)
        })
        .collect()
}

/// Why a data file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A line is not a review.
    #[error("line {line} is not a review")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// A rating is outside 1 to 5.
    #[error("line {line} has the rating {rating}, outside 1 to 5")]
    Rating {
        /// Counted from 1.
        line: usize,
        /// What stood there.
        rating: u8,
    },
}

/// The reviews shipped with the project, in file order. Read once.
#[must_use]
pub fn demo_reviews() -> &'static [Review] {
    static REVIEWS: LazyLock<Vec<Review>> = LazyLock::new(|| {
        parse_reviews(include_str!("../data/reviews.jsonl")).expect("the shipped data is read by a test")
    });
    &REVIEWS
}

/// Returns the day of the newest shipped review. Periods such as "the last three months" are relative to this day and not
/// to the day of the request, so that a request has the same answer at any time.
#[must_use]
pub fn newest_day() -> Date {
    demo_reviews().iter().map(|review| review.date).max().unwrap_or(Date::constant(2026, 8, 31))
}

/// Returns the day of the oldest shipped review.
#[must_use]
pub fn oldest_day() -> Date {
    demo_reviews().iter().map(|review| review.date).min().unwrap_or(Date::constant(2025, 9, 1))
}
