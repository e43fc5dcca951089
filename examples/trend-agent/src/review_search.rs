//! The search over the shipped reviews as a tool: words, brand, rating. Reads the data that is compiled in, nothing else.

use agent_core::tool::{Tool, ToolContext, ToolError, ToolPolicy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{Brand, Product},
    review::{Language, Review, demo_reviews},
};

/// The longest query, in characters, and how many of its words count.
const QUERY: (usize, usize) = (200, 12);
/// Reviews in one answer: what a caller gets who names no number, and the most.
const SHOWN: (usize, usize) = (5, 20);

/// Searches the reviews that the project ships.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReviewSearch;

/// Arguments of [`ReviewSearch`]. With none at all it gives the latest reviews.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReviewSearchArgs {
    /// Words that a review should have, in Korean or English, for example `dry lips` or `보습`. The most of them first.
    pub query: Option<String>,
    /// Only this brand, for example `laneige` or `라네즈`.
    pub brand: Option<String>,
    /// Only reviews with at least this many of 5 stars.
    pub min_rating: Option<u8>,
    /// Only reviews with at most this many of 5 stars.
    pub max_rating: Option<u8>,
    /// How many reviews to show, 1 to 20. Default: 5.
    pub limit: Option<usize>,
}

/// What [`ReviewSearch`] answers.
#[derive(Debug, Serialize)]
pub struct ReviewsFound {
    /// How many reviews match, shown or not.
    pub found: usize,
    /// Their mean rating, of 5; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_rating: Option<f64>,
    /// The best matches; among equals the latest first.
    pub reviews: Vec<FoundReview>,
}

/// One review as the model reads it.
#[derive(Debug, Serialize)]
pub struct FoundReview {
    /// To quote it by, for example `LN-001`.
    pub id: &'static str,
    /// The brand's name in the review's language.
    pub brand: &'static str,
    /// The product's name in the review's language.
    pub product: &'static str,
    /// 1 to 5.
    pub rating: u8,
    /// The day it was written, `YYYY-MM-DD`.
    pub date: String,
    /// What was written.
    pub text: &'static str,
}

impl Tool for ReviewSearch {
    type Args = ReviewSearchArgs;
    type Output = ReviewsFound;

    fn name(&self) -> &str {
        "search_reviews"
    }

    fn description(&self) -> &str {
        "Searches 305 Korean and English reviews of K-beauty products (a demo data set) by words, brand and rating. \
         Gives the number of matches, their mean rating and the best ones with their ids."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only()
    }

    async fn call(&self, args: ReviewSearchArgs, _: &ToolContext) -> Result<ReviewsFound, ToolError> {
        let brand = match args.brand.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => Some(Brand::from_name(name).ok_or_else(|| {
                let known: Vec<&str> = Brand::ALL.iter().map(|brand| brand.slug()).collect();
                ToolError::failed(format!("there is no such brand; known: {}", known.join(", ")))
            })?),
        };
        let query = args.query.unwrap_or_default();
        if query.chars().count() > QUERY.0 {
            return Err(ToolError::failed(format!("the query is longer than {} characters", QUERY.0)));
        }
        let words = stems(&query);
        let (least, most) = (args.min_rating.unwrap_or(1), args.max_rating.unwrap_or(5));
        let mut matches: Vec<(usize, &'static Review)> = demo_reviews()
            .iter()
            .filter(|review| brand.is_none_or(|brand| review.brand == brand))
            .filter(|review| (least..=most).contains(&review.rating))
            .filter_map(|review| {
                let hits = hits(review, &words);
                (hits > 0 || words.is_empty()).then_some((hits, review))
            })
            .collect();
        matches.sort_by(|(hits, a), (others, b)| {
            others.cmp(hits).then_with(|| b.date.cmp(&a.date)).then_with(|| a.id.cmp(&b.id))
        });
        let found = matches.len();
        let stars: u32 = matches.iter().map(|(_, review)| u32::from(review.rating)).sum();
        let mean = (found > 0).then(|| (f64::from(stars) / found as f64 * 100.0).round() / 100.0);
        let shown = args.limit.unwrap_or(SHOWN.0).clamp(1, SHOWN.1);
        let reviews = matches.into_iter().take(shown).map(|(_, review)| show(review)).collect();
        Ok(ReviewsFound { found, mean_rating: mean, reviews })
    }
}

/// What is looked for: words in lower case, and Korean ones without their last two syllables, as far as two are left:
/// endings and particles.
fn stems(query: &str) -> Vec<String> {
    query
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(QUERY.1)
        .map(|word| {
            let word = word.to_lowercase();
            if !word.chars().all(|c| ('가'..='힣').contains(&c)) {
                return word;
            }
            let stem = word.chars().count().saturating_sub(2).max(2);
            word.chars().take(stem).collect()
        })
        .collect()
}

fn hits(review: &Review, words: &[String]) -> usize {
    if words.is_empty() {
        return 0;
    }
    let product = Product::find(&review.product).map_or("", |product| product.korean);
    let text = format!("{} {} {product}", review.text, review.product).to_lowercase();
    words.iter().filter(|word| text.contains(word.as_str())).count()
}

fn show(review: &'static Review) -> FoundReview {
    let product = Product::find(&review.product);
    FoundReview {
        id: &review.id,
        brand: review.brand.name(review.lang),
        product: match (product, review.lang) {
            (Some(product), Language::Korean) => product.korean,
            _ => &review.product,
        },
        rating: review.rating,
        date: review.date.to_string(),
        text: &review.text,
    }
}
