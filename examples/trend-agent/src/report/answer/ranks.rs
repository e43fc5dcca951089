//! Superlatives: brands or products in the order of what is measured, the extreme one named first.

use super::super::understood::sentiment_name;
use super::super::{Say, line, percent, product_name};
use super::{base, counted};
use crate::catalogue::PRODUCTS;
use crate::collect::product_share;
use crate::findings::Findings;
use crate::request::{Measure, Ranked, Ranking};

/// The most subjects that are listed.
const LISTED: usize = 10;

/// Fewer reviews than this carry no share and no mean rating.
const FEWEST: usize = 3;

/// A brand or a product.
struct Row {
    name: String,
    value: f64,
    figure: String,
    enough: bool,
}

/// The extreme one, and the order.
pub(super) fn ranked(findings: &Findings, ranking: Ranking) -> String {
    let say = Say(findings.request.language);
    let mut rows = rows(findings, ranking, say);
    rows.sort_by(|a, b| {
        let order = a.value.total_cmp(&b.value);
        b.enough.cmp(&a.enough).then(if ranking.most { order.reverse() } else { order })
    });
    let mut out = String::new();
    let what = measure(findings, ranking, say);
    let Some(first) = rows.first().filter(|row| row.enough) else {
        line(
            &mut out,
            &say.of(
                &format!("{what}: 리뷰가 너무 적어 순위를 말할 수 없습니다."),
                &format!("{what}: there are too few reviews for an order."),
            ),
        );
        return out;
    };
    let level: Vec<&str> = rows
        .iter()
        .filter(|row| row.enough && (row.value - first.value).abs() < 0.0005)
        .map(|row| row.name.as_str())
        .collect();
    let names = level.join(", ");
    let degree =
        if ranking.most { say.of("가장 높은", "highest") } else { say.of("가장 낮은", "lowest") };
    let degree = match ranking.measure {
        Measure::Reviews if ranking.most => say.of("가장 많은", "most"),
        Measure::Reviews => say.of("가장 적은", "fewest"),
        _ => degree,
    };
    let figure = &first.figure;
    line(
        &mut out,
        &match ranking.measure {
            Measure::Reviews => say.of(
                &format!(
                    "{} {degree} 것은 **{names}**입니다 ({figure}).",
                    super::super::korean::with(&what, "이", "가")
                ),
                &format!(
                    "**{names}** {} the {degree} {what} ({figure}).",
                    if level.len() > 1 { "have" } else { "has" }
                ),
            ),
            _ => say.of(
                &format!(
                    "{} {degree} 것은 **{names}**입니다 ({figure}).",
                    super::super::korean::with(&what, "이", "가")
                ),
                &format!(
                    "**{names}** {} the {degree} {what} ({figure}).",
                    if level.len() > 1 { "have" } else { "has" }
                ),
            ),
        },
    );
    line(&mut out, "");
    for row in rows.iter().take(LISTED) {
        let few = if row.enough {
            String::new()
        } else {
            say.of(" (리뷰가 적어 순위 없음)", " (too few reviews to rank)")
        };
        line(&mut out, &format!("- {}: {}{few}", row.name, row.figure));
    }
    if let Some(more) = rows.len().checked_sub(LISTED).filter(|more| *more > 0) {
        line(&mut out, &say.of(&format!("- 그 밖에 {more}개"), &format!("- and {more} more")));
    }
    out
}

/// What is measured, in words.
fn measure(findings: &Findings, ranking: Ranking, say: Say) -> String {
    let request = &findings.request;
    match ranking.measure {
        Measure::MeanRating => say.of("평균 평점", "mean rating"),
        Measure::Reviews => {
            match (request.ratings, request.claim, request.topics.is_empty(), request.sentiment) {
                (Some(ratings), _, true, None) if ratings.min == ratings.max => {
                    say.of(&format!("{}점 리뷰", ratings.min), &format!("{}-star reviews", ratings.min))
                }
                _ => counted(request, say),
            }
        }
        Measure::Share => {
            let what = match (request.sentiment, request.ratings) {
                (Some(sentiment), _) if request.topics.is_empty() => sentiment_name(sentiment, say),
                (None, Some(ratings)) if request.topics.is_empty() && ratings.min == ratings.max => {
                    say.of(&format!("{}점 리뷰", ratings.min), &format!("{}-star reviews", ratings.min))
                }
                _ => counted(request, say),
            };
            say.of(&format!("{what} 비율"), &format!("share of {what}"))
        }
    }
}

fn rows(findings: &Findings, ranking: Ranking, say: Say) -> Vec<Row> {
    let request = &findings.request;
    let row = |name: String, kept: usize, all: usize, mean: f64| {
        let share = if all == 0 { 0.0 } else { kept as f64 / all as f64 };
        let of_all = if all == kept {
            say.of(&format!("리뷰 {kept}건"), &format!("{kept} reviews"))
        } else {
            say.of(&format!("{all}건 중 {kept}건"), &format!("{kept} of {all}"))
        };
        let (value, figure, enough) = match ranking.measure {
            Measure::Reviews => (kept as f64, of_all, true),
            Measure::Share => (share, format!("{}, {of_all}", percent(share)), all >= FEWEST),
            Measure::MeanRating if kept == 0 => (0.0, say.of("리뷰 없음", "no reviews"), false),
            Measure::MeanRating => (
                mean,
                say.of(&format!("{mean:.2}점, 리뷰 {kept}건"), &format!("{mean:.2}, {kept} reviews")),
                kept >= FEWEST,
            ),
        };
        Row { name, value, figure, enough }
    };
    match ranking.of {
        Ranked::Brands => findings
            .brands
            .iter()
            .map(|finding| {
                let name = finding.brand.name(say.0).to_owned();
                row(name, finding.reviews, base(request, finding), finding.sentiment.mean_rating)
            })
            .collect(),
        Ranked::Products => PRODUCTS
            .iter()
            .filter(|product| request.brands.contains(&product.brand) && request.means(product))
            .map(|product| {
                let (kept, all) = product_share(request, product);
                let tallies = findings.brands.iter().flat_map(|finding| &finding.products);
                let mean = tallies.into_iter().find(|tally| tally.product == product.english);
                let name = product_name(product.english, say);
                row(name, kept, all, mean.map_or(0.0, |tally| tally.mean_rating))
            })
            .collect(),
    }
}
