//! Two periods against each other: counts and shares with a quote for what differs, and no verdict from small numbers.

use super::super::understood::days;
use super::super::{Say, line, percent};
use super::evidence;
use crate::findings::Findings;
use crate::period::Period;
use crate::review::{Review, demo_reviews};
use crate::sentiment::{Polarity, analyse_sentiment};
use crate::topics::{Topic, TopicFinding, analyse_topics};

/// A period with fewer reviews than this carries no verdict.
pub(super) const FEWEST: usize = 5;

/// How many standard errors a difference must be to be called one: 95 % of differences by chance are smaller.
const ERRORS: f64 = 1.96;

/// How many topics that differ are shown.
const TOPICS: usize = 4;

/// The reviews of one period.
pub(super) struct Side {
    pub(super) reviews: usize,
    pub(super) positive: usize,
    pub(super) negative: usize,
    pub(super) mean_rating: f64,
    variance: f64,
    pub(super) topics: Vec<TopicFinding>,
}

impl Side {
    pub(super) fn of(reviews: &[Review]) -> Self {
        let sentiment = analyse_sentiment(reviews);
        let mean = sentiment.mean_rating;
        let squares: f64 = reviews.iter().map(|review| (f64::from(review.rating) - mean).powi(2)).sum();
        Self {
            reviews: reviews.len(),
            positive: sentiment.positive,
            negative: sentiment.negative,
            mean_rating: mean,
            variance: squares / reviews.len().saturating_sub(1).max(1) as f64,
            topics: analyse_topics(reviews),
        }
    }

    /// How many reviews praise a topic or complain of it.
    fn count(&self, topic: Topic, side: Polarity) -> usize {
        let found = self.topics.iter().find(|found| found.topic == topic);
        found.map_or(0, |found| if side == Polarity::Positive { found.positive } else { found.negative })
    }
}

/// The comparison, brand by brand; with several brands, all of them first.
pub(super) fn compared(findings: &Findings, earlier: Period, later: Period) -> String {
    let say = Say(findings.request.language);
    let reviews_of = |ids: &mut dyn Iterator<Item = &str>| -> Vec<Review> {
        let ids: Vec<&str> = ids.collect();
        demo_reviews().iter().filter(|review| ids.contains(&review.id.as_str())).cloned().collect()
    };
    let mut out = String::new();
    if findings.brands.len() > 1 {
        let all = &mut findings
            .brands
            .iter()
            .flat_map(|brand| brand.sentiment.reviews.iter().map(|review| review.review.as_str()));
        let name = say.of("전체", "All of them");
        out.push_str(&one(&name, &reviews_of(all), findings, earlier, later));
    }
    for finding in &findings.brands {
        let own = &mut finding.sentiment.reviews.iter().map(|review| review.review.as_str());
        out.push_str(&one(finding.brand.name(say.0), &reviews_of(own), findings, earlier, later));
    }
    out
}

fn one(name: &str, reviews: &[Review], findings: &Findings, earlier: Period, later: Period) -> String {
    let request = &findings.request;
    let say = Say(request.language);
    let within = |period: Period| -> Vec<Review> {
        reviews.iter().filter(|review| period.contains(review.date)).cloned().collect()
    };
    let (before, after) = (Side::of(&within(earlier)), Side::of(&within(later)));
    let (from, to) = (days(earlier, say), days(later, say));
    let mut out = String::new();
    if before.reviews < FEWEST || after.reviews < FEWEST {
        let (first, second) = (before.reviews, after.reviews);
        line(
            &mut out,
            &say.of(
                &format!("**{name}**: 리뷰가 {from}에 {first}건, {to}에 {second}건으로 너무 적어 차이를 말할 수 없습니다."),
                &format!("**{name}**: {first} reviews from {from} and {second} from {to} are too few to speak of a difference."),
            ),
        );
        figures(&mut out, &before, &after, request.sentiment.is_some(), say);
        line(&mut out, "");
        return out;
    }
    let better = rating_differs(&before, &after);
    let verdict = match better {
        Some(true) => say.of("평점이 뚜렷하게 올랐습니다", "ratings rose clearly"),
        Some(false) => say.of("평점이 뚜렷하게 내렸습니다", "ratings fell clearly"),
        None => say.of("평점에는 뚜렷한 차이가 없습니다", "ratings do not differ clearly"),
    };
    line(
        &mut out,
        &say.of(
            &format!("**{name}**: {verdict} ({from} → {to})."),
            &format!("**{name}**: {verdict} ({from} → {to})."),
        ),
    );
    figures(&mut out, &before, &after, request.sentiment.is_some(), say);
    let mut differing = Vec::new();
    for topic in Topic::ALL {
        if !request.topics.is_empty() && !request.topics.contains(&topic) {
            continue;
        }
        for side in [Polarity::Negative, Polarity::Positive] {
            let (first, second) = (before.count(topic, side), after.count(topic, side));
            let named = request.topics.contains(&topic);
            let differs = shares_differ((first, before.reviews), (second, after.reviews));
            if differs || named {
                let size = second as f64 / after.reviews as f64 - first as f64 / before.reviews as f64;
                differing.push((topic, side, first, second, differs, size.abs()));
            }
        }
    }
    differing.sort_by(|a, b| b.4.cmp(&a.4).then(b.5.total_cmp(&a.5)));
    for (topic, side, first, second, differs, _) in differing.iter().take(TOPICS) {
        let what = topic.name(say.0);
        let (korean, english) =
            if *side == Polarity::Positive { ("칭찬", "praise") } else { ("불만", "complaints") };
        let share = |count: usize, all: usize| percent(count as f64 / all as f64);
        let (old, new) = (share(*first, before.reviews), share(*second, after.reviews));
        let (all_before, all_after) = (before.reviews, after.reviews);
        let note =
            if *differs { "" } else { &say.of(" (뚜렷한 차이 아님)", " (no clear difference)") };
        line(
            &mut out,
            &say.of(
                &format!("- {what}, {korean}: {all_before}건 중 {first}건({old}) → {all_after}건 중 {second}건({new}){note}"),
                &format!("- {what}, {english}: {first} of {all_before} ({old}) → {second} of {all_after} ({new}){note}"),
            ),
        );
        let source = if first * after.reviews > second * before.reviews { &before } else { &after };
        let quotes = source.topics.iter().find(|found| found.topic == *topic).map(|found| &found.quotes);
        if let Some(quote) = quotes.and_then(|all| all.iter().find(|quote| quote.polarity == *side)) {
            line(&mut out, &format!("  {}", evidence(*topic, quote, say.0)));
        }
    }
    if !differing.iter().any(|one| one.4) {
        line(
            &mut out,
            &say.of(
                "- 뚜렷하게 달라진 주제는 없습니다. 작은 차이는 우연일 수 있습니다.",
                "- No topic differs clearly; smaller differences may be chance.",
            ),
        );
    }
    line(&mut out, "");
    out
}

/// How many reviews, the mean ratings and the shares. With one sentiment asked for, its share is no figure.
fn figures(out: &mut String, before: &Side, after: &Side, one_sentiment: bool, say: Say) {
    let (first, second) = (before.reviews, after.reviews);
    line(out, &say.of(&format!("- 리뷰: {first}건 → {second}건"), &format!("- Reviews: {first} → {second}")));
    if first == 0 || second == 0 {
        return;
    }
    let (old, new) = (before.mean_rating, after.mean_rating);
    line(
        out,
        &say.of(&format!("- 평균 평점: {old:.2} → {new:.2}"), &format!("- Mean rating: {old:.2} → {new:.2}")),
    );
    if one_sentiment {
        return;
    }
    let share = |count: usize, all: usize| percent(count as f64 / all as f64);
    for (korean, english, old, new) in [
        ("긍정", "Positive", before.positive, after.positive),
        ("부정", "Negative", before.negative, after.negative),
    ] {
        let (old_share, new_share) = (share(old, first), share(new, second));
        let differs = if shares_differ((old, first), (new, second)) {
            ""
        } else {
            &say.of(" (뚜렷한 차이 아님)", " (no clear difference)")
        };
        line(
            out,
            &say.of(
                &format!("- {korean}: {first}건 중 {old}건({old_share}) → {second}건 중 {new}건({new_share}){differs}"),
                &format!("- {english}: {old} of {first} ({old_share}) → {new} of {second} ({new_share}){differs}"),
            ),
        );
    }
}

/// Whether two shares, as counts of a number of reviews, differ by more than chance; never with fewer than [`FEWEST`] reviews.
fn shares_differ(before: (usize, usize), after: (usize, usize)) -> bool {
    if before.1 < FEWEST || after.1 < FEWEST {
        return false;
    }
    let (first, second) = (before.1 as f64, after.1 as f64);
    let pooled = (before.0 + after.0) as f64 / (first + second);
    let error = (pooled * (1.0 - pooled) * (1.0 / first + 1.0 / second)).sqrt();
    let difference = (after.0 as f64 / second - before.0 as f64 / first).abs();
    difference > 0.0 && difference > ERRORS * error
}

/// Whether the later mean rating is better, or nothing if they differ no more than by chance.
pub(super) fn rating_differs(before: &Side, after: &Side) -> Option<bool> {
    let error = (before.variance / before.reviews as f64 + after.variance / after.reviews as f64).sqrt();
    let difference = after.mean_rating - before.mean_rating;
    (difference.abs() > ERRORS * error && difference.abs() >= super::verdict::RATING_MARGIN)
        .then_some(difference > 0.0)
}
