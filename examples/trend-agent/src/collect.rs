//! Which reviews of a brand a request means: filtered, and sampled within a bound, the same every time.

use std::hash::Hasher;

use fnv::FnvHasher;
use serde::{Deserialize, Serialize};

use super::catalogue::{Brand, Product};
use super::period::Period;
use super::request::Request;
use super::review::{Language, Review, demo_reviews};
use super::sentiment::{Polarity, review_score};
use super::topics::{Topic, opinion_on, topics_of};

/// The most reviews of one brand that are analysed.
pub const SAMPLE: usize = 200;

/// Reviews with fewer letters than this say too little.
pub const SHORTEST: usize = 4;

/// Why a review was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Written outside the requested period.
    OutsidePeriod,
    /// About a product that was not requested.
    OtherProduct,
    /// Mentions none of the requested topics.
    OffTopic,
    /// Fewer than [`SHORTEST`] letters.
    TooShort,
    /// The same text as an earlier review.
    Duplicate,
    /// Beyond the bound of the sample.
    OverSample,
    /// In another language than requested.
    OtherLanguage,
    /// From another kind of shop than requested.
    OtherChannel,
    /// With another rating than requested.
    OtherRating,
    /// Of another sentiment than requested.
    OtherSentiment,
    /// Speaks about a requested topic, but does not say what was requested.
    OtherOpinion,
}

/// How many reviews were left out for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// How many; never 0.
    pub count: usize,
}

/// The reviews of one brand that a request means. `reviews.len()` and the counts of `dropped` add up to `considered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// The brand of the reviews.
    pub brand: Brand,
    /// How many reviews of the brand there are.
    pub considered: usize,
    /// Those kept, oldest first.
    pub reviews: Vec<Review>,
    /// Those left out, by reason.
    pub dropped: Vec<Dropped>,
    /// The bound that applied.
    pub bound: usize,
    /// The requested topics.
    #[serde(default)]
    pub topics: Vec<Topic>,
    /// Keys of the aspects of these topics that were requested.
    #[serde(default)]
    pub aspects: Vec<String>,
}

/// Collects from the shipped reviews, at most [`SAMPLE`].
#[must_use]
pub fn collect(request: &Request, brand: Brand) -> Collected {
    collect_from(demo_reviews(), request, brand, SAMPLE)
}

/// Collects at most `bound` reviews of a brand from a set. Beyond the bound, both languages keep their
/// proportion and the choice falls by a hash of the id, so that it is spread over time and always the same.
#[must_use]
pub fn collect_from(reviews: &[Review], request: &Request, brand: Brand, bound: usize) -> Collected {
    let mut counts: Vec<Dropped> = Vec::new();
    let mut kept: Vec<&Review> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut considered = 0;
    for review in reviews.iter().filter(|review| review.brand == brand) {
        considered += 1;
        match reason_against(review, request) {
            Some(reason) => note(&mut counts, reason, 1),
            None if !seen.insert(review.text.trim()) => note(&mut counts, Reason::Duplicate, 1),
            None => kept.push(review),
        }
    }
    if kept.len() > bound {
        note(&mut counts, Reason::OverSample, kept.len() - bound);
        kept = sample(&kept, bound);
    }
    kept.sort_by(|a, b| (a.date, &a.id).cmp(&(b.date, &b.id)));
    counts.sort_by_key(|dropped| dropped.reason);
    Collected {
        brand,
        considered,
        reviews: kept.into_iter().cloned().collect(),
        dropped: counts,
        bound,
        topics: request.topics.clone(),
        aspects: request.aspects.clone(),
    }
}

fn reason_against(review: &Review, request: &Request) -> Option<Reason> {
    let within = |period: Period| period.contains(review.date);
    if request.period.is_some_and(|period| !within(period) && !request.against.is_some_and(within)) {
        return Some(Reason::OutsidePeriod);
    }
    if request.excluded.period.is_some_and(within) {
        return Some(Reason::OutsidePeriod);
    }
    if !Product::find(&review.product).is_some_and(|product| request.means(product)) {
        return Some(Reason::OtherProduct);
    }
    if request.review_language.is_some_and(|language| language != review.lang) {
        return Some(Reason::OtherLanguage);
    }
    if !request.channels.is_empty()
        && !request.channels.iter().any(|channel| channel.slug() == review.channel)
    {
        return Some(Reason::OtherChannel);
    }
    if review.text.chars().filter(|c| c.is_alphanumeric()).count() < SHORTEST {
        return Some(Reason::TooShort);
    }
    // What a question counts comes last, so that the reviews before it are its base; see `Request::measured`.
    if request.ratings.is_some_and(|ratings| !ratings.contains(review.rating)) {
        return Some(Reason::OtherRating);
    }
    if request.excluded.sentiment.is_some_and(|sentiment| sentiment == Polarity::of(review_score(review))) {
        return Some(Reason::OtherSentiment);
    }
    let excluded = &request.excluded.topics;
    if !request.topics.is_empty() || !excluded.is_empty() {
        let topics = topics_of(review);
        let wanted = request.topics.is_empty()
            || request.topics.iter().any(|topic| {
                let aspects = request.aspects_of(*topic);
                topics.contains(topic)
                    && (aspects.is_empty() || opinion_on(review, *topic, &aspects).is_some())
            });
        let only_excluded = !topics.is_empty() && topics.iter().all(|topic| excluded.contains(topic));
        if !wanted || only_excluded {
            return Some(Reason::OffTopic);
        }
    }
    let says = |claim: Polarity| {
        let opinions = request.topics.iter();
        opinions
            .map(|topic| opinion_on(review, *topic, &request.aspects_of(*topic)))
            .any(|own| own == Some(claim))
    };
    if request.claim.is_some_and(|claim| request.keeps_claim_only() && !says(claim)) {
        return Some(Reason::OtherOpinion);
    }
    if request.sentiment.is_some_and(|sentiment| sentiment != Polarity::of(review_score(review))) {
        return Some(Reason::OtherSentiment);
    }
    None
}

/// How many reviews of a product are kept, and how many are the base of a share of them.
#[must_use]
pub fn product_share(request: &Request, product: &Product) -> (usize, usize) {
    let own = demo_reviews().iter().filter(|review| review.product == product.english);
    own.fold((0, 0), |(kept, base), review| match reason_against(review, request) {
        None => (kept + 1, base + 1),
        Some(reason) => (kept, base + usize::from(request.measured().contains(&reason))),
    })
}

fn note(counts: &mut Vec<Dropped>, reason: Reason, more: usize) {
    match counts.iter_mut().find(|dropped| dropped.reason == reason) {
        Some(dropped) => dropped.count += more,
        None => counts.push(Dropped { reason, count: more }),
    }
}

fn sample<'a>(kept: &[&'a Review], bound: usize) -> Vec<&'a Review> {
    let (mut korean, mut english): (Vec<_>, Vec<_>) =
        kept.iter().copied().partition(|review| review.lang == Language::Korean);
    for side in [&mut korean, &mut english] {
        side.sort_by(|a, b| (fnv(&a.id), &a.id).cmp(&(fnv(&b.id), &b.id)));
    }
    let share = (korean.len() * bound + kept.len() / 2) / kept.len();
    korean.truncate(share);
    english.truncate(bound - korean.len());
    korean.extend(english);
    korean
}

/// Stable across versions of Rust, which the standard hasher does not promise.
fn fnv(text: &str) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}
