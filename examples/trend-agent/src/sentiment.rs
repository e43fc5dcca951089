//! How people feel: a lexicon with negation for Korean and English, joined with the rating. Pure and deterministic.

use serde::{Deserialize, Serialize};

use super::opinion::opinion;
use super::review::Review;

/// Which way an opinion points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// Score of at least [`THRESHOLD`].
    Positive,
    /// Between the two.
    Neutral,
    /// Score of at most −[`THRESHOLD`].
    Negative,
}

/// From here on a score counts as an opinion.
pub const THRESHOLD: f64 = 0.2;

/// The weight of the rating in [`review_score`]; the rest is the text's.
pub const RATING_WEIGHT: f64 = 0.6;

/// The sentiment of one review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReviewSentiment {
    /// Which review.
    pub review: String,
    /// −1 to 1, text and rating joined.
    pub score: f64,
    /// −1 to 1, the text alone; 0 if it contains no word of the lists.
    pub text_score: f64,
    /// What `score` means.
    pub polarity: Polarity,
}

/// The sentiment of a set of reviews. `positive + neutral + negative` is the number of reviews.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sentiment {
    /// Number of positive reviews.
    pub positive: usize,
    /// Number of neutral reviews.
    pub neutral: usize,
    /// Number of negative reviews.
    pub negative: usize,
    /// Mean score, −1 to 1; 0 for no reviews.
    pub mean_score: f64,
    /// Mean rating, 1 to 5; 0 for no reviews.
    pub mean_rating: f64,
    /// Each review, in the order given.
    pub reviews: Vec<ReviewSentiment>,
}

impl Polarity {
    /// What a score of −1 to 1 means.
    #[must_use]
    pub fn of(score: f64) -> Self {
        if score >= THRESHOLD {
            Self::Positive
        } else if score <= -THRESHOLD {
            Self::Negative
        } else {
            Self::Neutral
        }
    }
}

/// Scores each review and counts.
#[must_use]
pub fn analyse_sentiment(reviews: &[Review]) -> Sentiment {
    let scored: Vec<ReviewSentiment> = reviews
        .iter()
        .map(|review| {
            let text_score = text_score(&review.text);
            let score = review_score(review);
            ReviewSentiment { review: review.id.clone(), score, text_score, polarity: Polarity::of(score) }
        })
        .collect();
    let count = |polarity| scored.iter().filter(|review| review.polarity == polarity).count();
    Sentiment {
        positive: count(Polarity::Positive),
        neutral: count(Polarity::Neutral),
        negative: count(Polarity::Negative),
        mean_score: round(mean(scored.iter().map(|review| review.score))),
        mean_rating: round(mean(reviews.iter().map(|review| f64::from(review.rating)))),
        reviews: scored,
    }
}

/// The score of one review, −1 to 1: its rating (weight [`RATING_WEIGHT`]) and its text; the rating alone if the
/// text contains no word of the lists.
#[must_use]
pub fn review_score(review: &Review) -> f64 {
    let rating = (f64::from(review.rating) - 3.0) / 2.0;
    let Some(text) = opinion(&review.text) else { return round(rating) };
    round(rating.mul_add(RATING_WEIGHT, text * (1.0 - RATING_WEIGHT)).clamp(-1.0, 1.0))
}

/// The score of a text alone, −1 to 1; 0 if it contains no word of the lists.
#[must_use]
pub fn text_score(text: &str) -> f64 {
    round(opinion(text).unwrap_or(0.0))
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// To three places: the figures are printed, stored and compared, and more would be noise.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
