//! What changed over time: the earlier half of the reviews against the later half.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::review::Review;
use super::sentiment::{analyse_sentiment, round};
use super::topics::{Topic, TopicFinding, analyse_topics};

/// Fewer reviews than this say nothing about a change.
pub const FEWEST: usize = 8;

/// A topic's complaints or praise must move by this share of the reviews to be named.
pub const NOTEWORTHY: f64 = 0.1;

/// One half of the reviews.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Half {
    /// Its first day.
    pub from: Date,
    /// Its last day.
    pub to: Date,
    /// How many reviews.
    pub reviews: usize,
    /// Mean rating, 1 to 5.
    pub mean_rating: f64,
    /// Mean score, −1 to 1.
    pub mean_score: f64,
}

/// How a topic moved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TopicMove {
    /// Which topic.
    pub topic: Topic,
    /// Share of reviews that complained of it in the earlier half, 0 to 1.
    pub complaints_before: f64,
    /// The same in the later half.
    pub complaints_after: f64,
    /// Share of reviews that praised it in the earlier half, 0 to 1.
    pub praise_before: f64,
    /// The same in the later half.
    pub praise_after: f64,
}

/// The earlier half against the later half; an odd review belongs to the later one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The older reviews.
    pub earlier: Half,
    /// The newer reviews.
    pub later: Half,
    /// Topics that moved by at least [`NOTEWORTHY`], the biggest move first.
    pub moved: Vec<TopicMove>,
}

/// Compares the halves; nothing if there are fewer than [`FEWEST`] reviews.
#[must_use]
pub fn analyse_change(reviews: &[Review]) -> Option<Change> {
    if reviews.len() < FEWEST {
        return None;
    }
    let mut sorted = reviews.to_vec();
    sorted.sort_by(|a, b| (a.date, &a.id).cmp(&(b.date, &b.id)));
    let (earlier, later) = sorted.split_at(sorted.len() / 2);
    let (before, after) = (analyse_topics(earlier), analyse_topics(later));
    let mut moved: Vec<TopicMove> = Topic::ALL
        .into_iter()
        .map(|topic| TopicMove {
            topic,
            complaints_before: share(&before, topic, earlier.len(), |finding| finding.negative),
            complaints_after: share(&after, topic, later.len(), |finding| finding.negative),
            praise_before: share(&before, topic, earlier.len(), |finding| finding.positive),
            praise_after: share(&after, topic, later.len(), |finding| finding.positive),
        })
        .filter(|moved| moved.size() >= NOTEWORTHY)
        .collect();
    moved.sort_by(|a, b| b.size().total_cmp(&a.size()).then(a.topic.cmp(&b.topic)));
    Some(Change { earlier: half(earlier), later: half(later), moved })
}

impl TopicMove {
    /// The larger of the two moves.
    fn size(&self) -> f64 {
        (self.complaints_after - self.complaints_before)
            .abs()
            .max((self.praise_after - self.praise_before).abs())
    }
}

fn share(findings: &[TopicFinding], topic: Topic, of: usize, count: impl Fn(&TopicFinding) -> usize) -> f64 {
    let found = findings.iter().find(|finding| finding.topic == topic).map_or(0, count);
    round(found as f64 / of as f64)
}

fn half(reviews: &[Review]) -> Half {
    let sentiment = analyse_sentiment(reviews);
    let days = || reviews.iter().map(|review| review.date);
    Half {
        from: days().min().unwrap_or_default(),
        to: days().max().unwrap_or_default(),
        reviews: reviews.len(),
        mean_rating: sentiment.mean_rating,
        mean_score: sentiment.mean_score,
    }
}
