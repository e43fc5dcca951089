//! Which brand or product is best or worst, by the share of praise on the topics asked about, or by the mean rating.

use super::super::advice::praised_name;
use super::super::{Say, line, percent, product_name};
use super::evidence;
use crate::findings::Findings;
use crate::sentiment::Polarity;
use crate::topics::{Quote, Topic, TopicFinding};

/// Fewer mentions than this carry no verdict.
const FEWEST: usize = 3;

/// Shares of praise that differ by less are equal.
const SHARE_MARGIN: f64 = 0.05;

/// Mean ratings that differ by less are equal.
pub(super) const RATING_MARGIN: f64 = 0.05;

/// A brand or a product in a ranking.
struct Candidate<'a> {
    name: String,
    /// What it is ranked by: a share of praise, 0 to 1, or a mean rating.
    score: f64,
    figure: String,
    mentions: usize,
    enough: bool,
    quotes: Vec<(Topic, &'a Quote)>,
}

/// The verdict, its figures and its quotes.
pub(super) fn verdict(findings: &Findings, best: bool) -> String {
    let say = Say(findings.request.language);
    let topics = &findings.request.topics;
    let mut all = candidates(findings);
    let margin = if topics.is_empty() { RATING_MARGIN } else { SHARE_MARGIN };
    all.sort_by(|a, b| {
        let order = b.score.total_cmp(&a.score);
        b.enough.cmp(&a.enough).then(if best { order } else { order.reverse() })
    });
    let what = match topics.as_slice() {
        [] => say.of("평균 평점", "mean rating"),
        topics if best && findings.request.aspects.is_empty() => {
            let names = topics.iter().map(|topic| praised_name(*topic, say.0));
            names.collect::<Vec<_>>().join(", ")
        }
        _ => super::topics(&findings.request, say.0),
    };
    let mut out = String::new();
    let ranked: Vec<&Candidate<'_>> = all.iter().filter(|one| one.enough).collect();
    let Some(first) = ranked.first() else {
        line(
            &mut out,
            &say.of(
                &format!("{what}에 대한 언급이 너무 적어 판단할 수 없습니다."),
                &format!("Too few reviews speak of {what} for a verdict."),
            ),
        );
        figures(&all, &mut out);
        return out;
    };
    let level: Vec<&str> = ranked
        .iter()
        .filter(|one| (one.score - first.score).abs() < margin)
        .map(|one| one.name.as_str())
        .collect();
    let few = few_mentions(&ranked, &all, &what, best, say);
    let text = match (ranked.len(), level.as_slice()) {
        (1, _) if few.is_some() => few.unwrap_or_default(),
        (1, _) if all.len() > 1 => say.of(
            &format!("언급이 충분한 것은 **{}**뿐이라 비교할 수 없습니다 ({}).", first.name, first.figure),
            &format!(
                "Only **{}** is mentioned often enough ({}), so there is no comparison.",
                first.name, first.figure
            ),
        ),
        (1, _) => say.of(
            &format!("비교할 대상이 **{}** 하나입니다 ({}).", first.name, first.figure),
            &format!("There is only **{}** to judge ({}).", first.name, first.figure),
        ),
        (_, [_]) => {
            let second = ranked.get(1).map(|one| format!("{}: {}", one.name, one.figure)).unwrap_or_default();
            let name = format!("**{}**", first.name);
            if best {
                say.of(
                    &format!("{what}에서는 {name} 쪽이 가장 좋습니다 ({}; 다음은 {second}).", first.figure),
                    &format!("{name} is best for {what} ({}; next is {second}).", first.figure),
                )
            } else {
                say.of(
                    &format!("{what}에서는 {name} 쪽이 가장 나쁩니다 ({}; 다음은 {second}).", first.figure),
                    &format!("{name} is worst for {what} ({}; next is {second}).", first.figure),
                )
            }
        }
        (_, level) => {
            let names = level.join(", ");
            say.of(
                &format!("{what}에서는 뚜렷한 차이가 없습니다: **{names}**."),
                &format!("There is no clear difference for {what} between **{names}**."),
            )
        }
    };
    line(&mut out, &text);
    line(&mut out, "");
    figures(&all, &mut out);
    let quotes = ranked.iter().take(1).chain(ranked.iter().skip(1).last()).flat_map(|one| {
        let wanted = if std::ptr::eq(*one, *first) == best { Polarity::Positive } else { Polarity::Negative };
        one.quotes.iter().filter(move |(_, quote)| quote.polarity == wanted).take(1)
    });
    for (topic, quote) in quotes {
        line(&mut out, &evidence(*topic, quote, say.0));
    }
    out
}

/// The verdict where all but one subject are mentioned too seldom for a clear one.
fn few_mentions(
    ranked: &[&Candidate<'_>],
    all: &[Candidate<'_>],
    what: &str,
    best: bool,
    say: Say,
) -> Option<String> {
    let mut others = all.iter().filter(|one| !one.enough && one.mentions > 0);
    let (first, second) = (ranked.first()?, others.next()?);
    if ranked.len() > 1 || others.next().is_some() {
        return None;
    }
    let (high, low) = if (first.score >= second.score) == best { (*first, second) } else { (second, *first) };
    if (high.score - low.score).abs() < SHARE_MARGIN {
        return Some(say.of(
            &format!(
                "{what}에서는 차이가 없지만 언급이 적습니다: **{}**({}), **{}**({}).",
                high.name, high.figure, low.name, low.figure
            ),
            &format!(
                "There is no difference for {what}, from few mentions: **{}** ({}), **{}** ({}).",
                high.name, high.figure, low.name, low.figure
            ),
        ));
    }
    let (better, worse) = if best { ("낫습니다", "is ahead") } else { ("나쁩니다", "is behind") };
    Some(say.of(
        &format!(
            "{what}에서는 **{}** 쪽이 더 {better} ({}; **{}**: {}). 언급이 적어 확실하지는 않습니다.",
            high.name, high.figure, low.name, low.figure
        ),
        &format!(
            "For {what}, **{}** {worse} ({}; **{}**: {}). With so few mentions this is not certain.",
            high.name, high.figure, low.name, low.figure
        ),
    ))
}

/// One sentence that ranks the brands of an overview by their mean rating.
pub(super) fn ranking(findings: &Findings) -> String {
    let say = Say(findings.request.language);
    if !findings.request.topics.is_empty() {
        return String::new();
    }
    let mut rated: Vec<_> = findings.brands.iter().filter(|finding| finding.reviews >= FEWEST).collect();
    rated.sort_by(|a, b| b.sentiment.mean_rating.total_cmp(&a.sentiment.mean_rating));
    let (Some(first), Some(last)) = (rated.first(), rated.last()) else { return String::new() };
    let (high, low) = (first.sentiment.mean_rating, last.sentiment.mean_rating);
    if rated.len() < 2 {
        return String::new();
    }
    let at = |mean: f64| {
        let level =
            rated.iter().filter(|finding| (finding.sentiment.mean_rating - mean).abs() < RATING_MARGIN);
        level.map(|finding| finding.brand.name(say.0)).collect::<Vec<_>>().join(", ")
    };
    if high - low < RATING_MARGIN {
        return say.of(
            &format!("평균 평점에는 뚜렷한 차이가 없습니다 ({low:.2}~{high:.2}점).\n"),
            &format!("The mean ratings don't differ clearly ({low:.2} to {high:.2}).\n"),
        );
    }
    say.of(
        &format!(
            "평균 평점은 **{}** 쪽이 가장 높고({high:.2}점) **{}** 쪽이 가장 낮습니다({low:.2}점).\n",
            at(high),
            at(low)
        ),
        &format!(
            "By mean rating, **{}** leads ({high:.2}) and **{}** trails ({low:.2}).\n",
            at(high),
            at(low)
        ),
    )
}

fn figures(all: &[Candidate<'_>], out: &mut String) {
    if all.len() > 1 {
        for one in all {
            line(out, &format!("- {}: {}", one.name, one.figure));
        }
    }
}

/// The brands, or the products where there is one brand or a kind of product is asked for.
fn candidates(findings: &Findings) -> Vec<Candidate<'_>> {
    let request = &findings.request;
    let say = Say(request.language);
    let topics = &request.topics;
    let by_product =
        findings.brands.len() == 1 || !request.product_types.is_empty() || request.products.len() > 1;
    let mut out = Vec::new();
    for finding in findings.brands.iter().filter(|finding| finding.reviews > 0) {
        if by_product {
            for tally in &finding.products {
                let name = product_name(&tally.product, say);
                out.push(candidate(name, tally.mean_rating, tally.reviews, &tally.topics, topics, say));
            }
        } else {
            let (name, mean) = (finding.brand.name(say.0).to_owned(), finding.sentiment.mean_rating);
            out.push(candidate(name, mean, finding.reviews, &finding.topics, topics, say));
        }
    }
    out
}

fn candidate<'a>(
    name: String,
    mean: f64,
    reviews: usize,
    found: &'a [TopicFinding],
    topics: &[Topic],
    say: Say,
) -> Candidate<'a> {
    if topics.is_empty() {
        let figure =
            say.of(&format!("{mean:.2}점, 리뷰 {reviews}건"), &format!("{mean:.2}, {reviews} reviews"));
        return Candidate {
            name,
            score: mean,
            figure,
            mentions: reviews,
            enough: reviews >= FEWEST,
            quotes: Vec::new(),
        };
    }
    let own: Vec<&TopicFinding> = found.iter().filter(|finding| topics.contains(&finding.topic)).collect();
    let sum = |count: fn(&TopicFinding) -> usize| own.iter().map(|finding| count(finding)).sum::<usize>();
    let (all, good, bad) = (sum(|one| one.count), sum(|one| one.positive), sum(|one| one.negative));
    let score = if all == 0 { 0.0 } else { good as f64 / all as f64 };
    let share = percent(score);
    let figure = say.of(
        &format!("언급 {all}건 중 칭찬 {good}건({share}), 불만 {bad}건"),
        &format!("{good} of {all} mentions praise it ({share}), {bad} complain"),
    );
    let quotes =
        own.iter().flat_map(|finding| finding.quotes.iter().map(|quote| (finding.topic, quote))).collect();
    Candidate { name, score, figure, mentions: all, enough: all >= FEWEST, quotes }
}
