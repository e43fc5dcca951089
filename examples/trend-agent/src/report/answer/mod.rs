//! The direct answer to the question of a request, with its evidence. Every figure is a count of the findings.

use super::understood::{sentiment_name, wanted_topics as topics};
use super::{Say, korean, line, percent, product_name};
use crate::collect::Reason;
use crate::findings::{BrandFinding, Findings};
use crate::request::{Listing, Question, Request};
use crate::review::{Language, demo_reviews};
use crate::sentiment::Polarity;
use crate::topics::{Quote, Topic, TopicFinding};

mod holds;
mod inventory;
mod periods;
mod ranks;
mod splits;
mod verdict;

/// How many topics an answer names for each side.
const TOPICS: usize = 3;

/// The answer, as Markdown; empty if there is nothing to answer from.
pub(super) fn answer(findings: &Findings) -> String {
    let say = Say(findings.request.language);
    if findings.brands.is_empty() {
        return String::new();
    }
    let topical = !findings.request.topics.is_empty();
    let says_none = match findings.request.question {
        Question::Count | Question::Share => true,
        Question::Whether => topical,
        _ => false,
    };
    if findings.reviews() == 0 && !says_none {
        return say.of("조건에 맞는 리뷰가 없습니다.\n", "No review fits these conditions.\n");
    }
    if let (Some(earlier), Some(later)) = (findings.request.against, findings.request.period) {
        return periods::compared(findings, earlier, later);
    }
    let request = &findings.request;
    if let Some(ranking) = request.ranking {
        return ranks::ranked(findings, ranking);
    }
    if let Some(split) = request.split {
        return splits::compared(findings, split);
    }
    let mut out = match request.shows_reviews_only() {
        true => String::new(),
        false => answer_to(request.question, findings, say),
    };
    for also in &request.also {
        out.push('\n');
        out.push_str(&answer_to(*also, findings, say));
    }
    if let Some(listing) = request.listing {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&listed(findings, listing, say));
    }
    out
}

fn answer_to(question: Question, findings: &Findings, say: Say) -> String {
    match question {
        Question::Count => count(findings, say),
        Question::Share => share(findings, say),
        Question::MeanRating => mean_rating(findings, say),
        Question::Best => verdict::verdict(findings, true),
        Question::Worst => verdict::verdict(findings, false),
        Question::Reasons => reasons(findings, say),
        Question::Change => change(findings, say),
        Question::Whether => holds::whether(findings, say),
        Question::Inventory => inventory::listed(findings),
        Question::Overview => overview(findings, say),
    }
}

/// Reviews word for word, the newest or the first ones.
fn listed(findings: &Findings, listing: Listing, say: Say) -> String {
    let mut reviews = findings.source_reviews();
    reviews.sort_by(|a, b| (b.date, &a.id).cmp(&(a.date, &b.id)));
    let shown = reviews.len().min(usize::from(listing.count));
    let mut out = say.of(
        &format!("최근 순으로 리뷰 {shown}건입니다 (조건에 맞는 리뷰 {}건 중).\n", reviews.len()),
        &format!("{shown} of {} reviews, newest first.\n", reviews.len()),
    );
    for review in reviews.into_iter().take(shown) {
        let product = product_name(&review.product, say);
        line(
            &mut out,
            &format!("- “{}” ({}, ★{}, {}, {product})", review.text, review.id, review.rating, review.date),
        );
    }
    out
}

/// A topic, or the parts of it that are meant.
fn topic_name(request: &Request, topic: Topic, language: Language) -> String {
    let aspects = request.aspects_of(topic);
    if aspects.is_empty() {
        return topic.name(language).to_owned();
    }
    aspects.iter().map(|aspect| aspect.name(language)).collect::<Vec<_>>().join(", ")
}

/// How many reviews of a brand are the base of a share: those kept, and those left out for what is measured.
fn base(request: &Request, finding: &BrandFinding) -> usize {
    let measured = request.measured();
    let left_out = finding.dropped.iter().filter(|dropped| measured.contains(&dropped.reason));
    finding.reviews + left_out.map(|dropped| dropped.count).sum::<usize>()
}

/// What is counted, in words.
fn counted(request: &Request, say: Say) -> String {
    if let Some(sentiment) = request.sentiment {
        let name = sentiment_name(sentiment, say);
        return match request.topics.as_slice() {
            [] => name,
            _ => {
                let named = topics(request, say.0);
                say.of(&format!("{named}에 관한 {name}"), &format!("{name} that mention {named}"))
            }
        };
    }
    if let Some(sentiment) = request.excluded.sentiment.filter(|_| request.topics.is_empty()) {
        let name = sentiment_name(sentiment, say);
        return say.of(
            &format!("{} 아닌 리뷰", korean::with(&name, "이", "가")),
            &format!("reviews that are not {name}").replace(" reviews", ""),
        );
    }
    match request.topics.as_slice() {
        [] => say.of("리뷰", "reviews"),
        _ if request.claim.is_some() && request.keeps_claim_only() => {
            let named = topics(request, say.0);
            if request.claim == Some(Polarity::Positive) {
                say.of(&format!("{named}에 만족하는 리뷰"), &format!("reviews that are pleased with {named}"))
            } else {
                say.of(&format!("{named}에 불만인 리뷰"), &format!("reviews that complain of {named}"))
            }
        }
        _ => {
            let named = topics(request, say.0);
            say.of(&format!("{named}에 관한 리뷰"), &format!("reviews that mention {named}"))
        }
    }
}

fn count(findings: &Findings, say: Say) -> String {
    let what = counted(&findings.request, say);
    let total = findings.reviews();
    let all: usize = findings.brands.iter().map(|finding| base(&findings.request, finding)).sum();
    let mut out = if all == total {
        say.of(&format!("**{total}건**입니다 ({what}).\n"), &format!("**{total}** {what}.\n"))
    } else {
        say.of(
            &format!("**{total}건**입니다 ({what}, 전체 {all}건 중).\n"),
            &format!("**{total}** {what}, of {all}.\n"),
        )
    };
    per_brand(findings, &mut out, |finding| {
        let all = base(&findings.request, finding);
        if all == finding.reviews {
            say.of(&format!("{}건", finding.reviews), &finding.reviews.to_string())
        } else {
            say.of(
                &format!("{}건 (전체 {all}건 중)", finding.reviews),
                &format!("{} of {all}", finding.reviews),
            )
        }
    });
    sides(findings, &mut out, say);
    without_ignored(findings, &mut out, say);
    out
}

/// Names the words that a number does not take into account.
fn without_ignored(findings: &Findings, out: &mut String, say: Say) {
    let ignored = &findings.request.ignored;
    if !ignored.is_empty() {
        let words = ignored.iter().map(|word| format!("“{word}”")).collect::<Vec<_>>().join(", ");
        line(
            out,
            &say.of(
                &format!("- 이해하지 못해 이 수에 반영하지 않은 말: {words}."),
                &format!("- Not part of this number, because it was not understood: {words}."),
            ),
        );
    }
}

/// What the counted reviews say about the topics: the sides of those that only mention one, and the base of those that say
/// what is asked.
fn sides(findings: &Findings, out: &mut String, say: Say) {
    let request = &findings.request;
    if request.claim.is_some() || request.sentiment.is_some() {
        let other = |reason| {
            let dropped = findings.brands.iter().flat_map(|finding| &finding.dropped);
            dropped.filter(|dropped| dropped.reason == reason).map(|dropped| dropped.count).sum::<usize>()
        };
        if request.claim.is_some() {
            let mentions = findings.reviews() + other(Reason::OtherOpinion);
            let named = topics(request, say.0);
            line(
                out,
                &say.of(
                    &format!("- {named} 언급: {mentions}건"),
                    &format!("- {mentions} reviews mention {named}."),
                ),
            );
        }
        return;
    }
    for topic in &request.topics {
        let own = findings.brands.iter().flat_map(|finding| &finding.topics);
        let (good, bad) = own
            .filter(|found| found.topic == *topic)
            .fold((0, 0), |(good, bad), found| (good + found.positive, bad + found.negative));
        let what = topic_name(request, *topic, say.0);
        line(
            out,
            &say.of(
                &format!("- {what}: 칭찬 {good}건, 불만 {bad}건"),
                &format!("- {what}: {good} praise it, {bad} complain."),
            ),
        );
    }
}

fn share(findings: &Findings, say: Say) -> String {
    let request = &findings.request;
    if request.measured().is_empty() && findings.reviews() > 0 {
        // "What share is positive, neutral, negative": nothing was asked to be measured, so all three are shown.
        let (mut up, mut even, mut down) = (0, 0, 0);
        for finding in &findings.brands {
            up += finding.sentiment.positive;
            even += finding.sentiment.neutral;
            down += finding.sentiment.negative;
        }
        let all = findings.reviews();
        let of = |count: usize| percent(count as f64 / all as f64);
        return say.of(
            &format!("리뷰 {all}건 중 긍정 **{}** ({up}건), 중립 {} ({even}건), 부정 **{}** ({down}건)입니다.\n", of(up), of(even), of(down)),
            &format!("Of {all} reviews, **{}** are positive ({up}), {} neutral ({even}), **{}** negative ({down}).\n", of(up), of(even), of(down)),
        );
    }
    let what = counted(request, say);
    let total = findings.reviews();
    let all: usize = findings.brands.iter().map(|finding| base(request, finding)).sum();
    if all == 0 {
        return say.of("조건에 맞는 리뷰가 없습니다.\n", "No review fits these conditions.\n");
    }
    let of = percent(total as f64 / all as f64);
    let mut out = say.of(
        &format!("**{of}**입니다 ({what} {total}건, 전체 {all}건).\n"),
        &format!("**{of}**: {total} {what}, of {all}.\n"),
    );
    per_brand(findings, &mut out, |finding| {
        let all = base(request, finding);
        let of = if all == 0 { "0%".to_owned() } else { percent(finding.reviews as f64 / all as f64) };
        say.of(
            &format!("{of} ({all}건 중 {}건)", finding.reviews),
            &format!("{of} ({} of {all})", finding.reviews),
        )
    });
    out
}

fn mean_rating(findings: &Findings, say: Say) -> String {
    let total = findings.reviews();
    if total == 0 {
        return say.of(
            "조건에 맞는 리뷰가 없어 평균이 없습니다.\n",
            "No review fits these conditions, so there is no mean.\n",
        );
    }
    let sum: f64 =
        findings.brands.iter().map(|finding| finding.sentiment.mean_rating * finding.reviews as f64).sum();
    let mean = sum / total as f64;
    let mut out = say.of(
        &format!("평균 평점은 5점 만점에 **{mean:.2}점**입니다 (리뷰 {total}건).\n"),
        &format!("The mean rating is **{mean:.2}** of 5 ({total} reviews).\n"),
    );
    if findings.brands.len() > 1 {
        per_brand(findings, &mut out, |finding| {
            if finding.reviews == 0 {
                return say.of("리뷰 없음", "no reviews");
            }
            say.of(
                &format!("{:.2}점 ({}건)", finding.sentiment.mean_rating, finding.reviews),
                &format!("{:.2} ({} reviews)", finding.sentiment.mean_rating, finding.reviews),
            )
        });
    } else if let Some(finding) = findings.brands.first().filter(|finding| finding.products.len() > 1) {
        line(&mut out, "");
        for tally in &finding.products {
            let name = product_name(&tally.product, say);
            line(
                &mut out,
                &say.of(
                    &format!("- {name}: {:.2}점 ({}건)", tally.mean_rating, tally.reviews),
                    &format!("- {name}: {:.2} ({} reviews)", tally.mean_rating, tally.reviews),
                ),
            );
        }
    }
    out
}

fn per_brand(findings: &Findings, out: &mut String, figure: impl Fn(&BrandFinding) -> String) {
    if findings.brands.len() < 2 {
        return;
    }
    line(out, "");
    for finding in &findings.brands {
        let name = finding.brand.name(findings.request.language);
        line(out, &format!("- {name}: {}", figure(finding)));
    }
}

/// The topics with the highest counts of one side; equals are never cut apart.
fn leading(finding: &BrandFinding, side: impl Fn(&TopicFinding) -> usize) -> Vec<&TopicFinding> {
    super::advice::leading(finding, (TOPICS, TOPICS + 2), side)
}

/// Topics with their counts of one side.
fn named(topics: &[&TopicFinding], side: Polarity, say: Say) -> String {
    let figures = topics.iter().map(|topic| {
        let (name, count) = if side == Polarity::Positive {
            (super::advice::praised_name(topic.topic, say.0), topic.positive)
        } else {
            (topic.topic.name(say.0), topic.negative)
        };
        let all = topic.count;
        say.of(&format!("{name}({all}건 중 {count}건)"), &format!("{name} ({count} of {all} mentions)"))
    });
    figures.collect::<Vec<_>>().join(", ")
}

fn overview(findings: &Findings, say: Say) -> String {
    let mut out = String::new();
    let several = findings.brands.len() > 1 || findings.request.products.len() > 1;
    if several && findings.request.comparison && !findings.request.topics.is_empty() {
        out.push_str(&verdict::verdict(findings, true));
        line(&mut out, "");
    } else if findings.brands.len() > 1 {
        let ranking = verdict::ranking(findings);
        if !ranking.is_empty() {
            line(&mut out, &ranking);
        }
    }
    let list = findings.brands.len() > 1;
    for finding in findings.brands.iter().filter(|finding| finding.reviews > 0) {
        let name = finding.brand.name(say.0);
        let (all, good, mean) = (finding.reviews, finding.sentiment.positive, finding.sentiment.mean_rating);
        let share = percent(good as f64 / all as f64);
        if !findings.request.topics.is_empty() {
            line(&mut out, &on_topics(finding, &findings.request, say));
            continue;
        }
        let mut text = say.of(
            &format!(
                "**{name}**: 리뷰 {all}건 중 {good}건({share})이 긍정이고 평균 평점은 {mean:.2}점입니다."
            ),
            &format!("**{name}**: {good} of {all} reviews are positive ({share}), mean rating {mean:.2}."),
        );
        if let Some(sentiment) = findings.request.sentiment {
            let (kind, of) = (sentiment_name(sentiment, say), base(&findings.request, finding));
            text = say.of(
                &format!("**{name}**: 리뷰 {of}건 중 {kind}는 {all}건이고 그 평균 평점은 {mean:.2}점입니다."),
                &format!("**{name}**: {all} {kind} of {of}, with a mean rating of {mean:.2}."),
            );
        }
        let (best, worst) =
            (leading(finding, |topic| topic.positive), leading(finding, |topic| topic.negative));
        if !best.is_empty() {
            let best = named(&best, Polarity::Positive, say);
            text.push_str(
                &say.of(&format!(" 칭찬이 많은 주제: {best}."), &format!(" Praised most: {best}.")),
            );
        }
        if !worst.is_empty() {
            let worst = named(&worst, Polarity::Negative, say);
            text.push_str(
                &say.of(&format!(" 불만이 많은 주제: {worst}."), &format!(" Criticised most: {worst}.")),
            );
        }
        line(&mut out, &if list { format!("- {text}") } else { text });
    }
    out
}

/// What a brand's reviews say about the topics asked for, with a quote for each side.
fn on_topics(finding: &BrandFinding, request: &Request, say: Say) -> String {
    let name = finding.brand.name(say.0);
    let mut lines = Vec::new();
    for topic in finding.topics.iter().filter(|found| request.topics.contains(&found.topic)) {
        let what = topic_name(request, topic.topic, say.0);
        let (all, good, bad) = (topic.count, topic.positive, topic.negative);
        lines.push(say.of(
            &format!("- **{name}**, {what}: 언급 {all}건 중 칭찬 {good}건, 불만 {bad}건."),
            &format!("- **{name}**, {what}: {good} of {all} mentions praise it, {bad} complain."),
        ));
        for side in [Polarity::Positive, Polarity::Negative] {
            if let Some(quote) = topic.quotes.iter().find(|quote| quote.polarity == side) {
                lines.push(format!("  {}", evidence(topic.topic, quote, say.0)));
            }
        }
    }
    lines.join("\n")
}

fn reasons(findings: &Findings, say: Say) -> String {
    let mut out = String::new();
    let sides: &[(Polarity, &str, &str)] = match findings.request.sentiment {
        Some(Polarity::Positive) => &[(Polarity::Positive, "칭찬", "Praise")],
        Some(Polarity::Negative) => &[(Polarity::Negative, "불만", "Complaints")],
        _ => &[(Polarity::Positive, "칭찬", "Praise"), (Polarity::Negative, "불만", "Complaints")],
    };
    for finding in findings.brands.iter().filter(|finding| finding.reviews > 0) {
        for (side, korean, english) in sides {
            let count = |topic: &TopicFinding| {
                if *side == Polarity::Positive { topic.positive } else { topic.negative }
            };
            let mut top = leading(finding, count);
            if !findings.request.topics.is_empty() {
                top = finding.topics.iter().filter(|topic| count(topic) > 0).collect();
                top.retain(|topic| findings.request.topics.contains(&topic.topic));
            }
            let name = finding.brand.name(say.0);
            if top.is_empty() {
                line(
                    &mut out,
                    &say.of(
                        &format!("**{name}**: {korean}이 없습니다."),
                        &format!("**{name}**: no {}.", english.to_lowercase()),
                    ),
                );
                continue;
            }
            let list = named(&top, *side, say);
            line(
                &mut out,
                &say.of(
                    &format!("**{name} — {korean}**: {list}."),
                    &format!("**{name}, {}**: {list}.", english.to_lowercase()),
                ),
            );
            for topic in top {
                if let Some(quote) = topic.quotes.iter().find(|quote| quote.polarity == *side) {
                    line(&mut out, &evidence(topic.topic, quote, say.0));
                }
            }
            line(&mut out, "");
        }
    }
    out
}

fn change(findings: &Findings, say: Say) -> String {
    let mut out = String::new();
    for finding in findings.brands.iter().filter(|finding| finding.reviews > 0) {
        let name = finding.brand.name(say.0);
        let Some(change) = &finding.change else {
            line(
                &mut out,
                &say.of(
                    &format!("**{name}**: 리뷰가 {}건뿐이라 변화를 말할 수 없습니다.", finding.reviews),
                    &format!("**{name}**: {} reviews are too few to speak of a change.", finding.reviews),
                ),
            );
            continue;
        };
        let (before, after) = (change.earlier.mean_rating, change.later.mean_rating);
        let verdict = if (after - before).abs() < super::advice::RATING_MOVE {
            say.of("평점은 거의 그대로입니다", "ratings hardly moved")
        } else if after > before {
            say.of("평점이 올랐습니다", "ratings rose")
        } else {
            say.of("평점이 내렸습니다", "ratings fell")
        };
        line(&mut out, &format!("**{name}**: {verdict} ({before:.2} → {after:.2})."));
        out.push_str(&super::changed(change, say));
    }
    out
}

/// A quote as evidence.
fn evidence(topic: Topic, quote: &Quote, language: Language) -> String {
    let product = demo_reviews().iter().find(|review| review.id == quote.review);
    let product = product
        .map_or_else(String::new, |review| format!(", {}", product_name(&review.product, Say(language))));
    format!("- {}: “{}” ({}, ★{}{product})", topic.name(language), quote.text, quote.review, quote.rating)
}
