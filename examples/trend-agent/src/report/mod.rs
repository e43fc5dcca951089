//! The report of the built-in analyst: Markdown for a given reader, in the language of the request, from counted facts.

mod advice;
mod answer;
mod korean;
mod markup;
mod understood;

use std::fmt::Write as _;

use super::audience::Audience;
use super::catalogue::Product;
use super::change::Change;
use super::collect::Reason;
use super::findings::{BrandFinding, Findings};
use super::review::Language;
use super::sentiment::Polarity;
use super::topics::{Quote, TopicFinding};

/// How many topics of a brand are shown with quotes.
const QUOTED_TOPICS: usize = 5;

/// How many moved topics are shown.
const MOVES: usize = 4;

/// Writes the report: how the request was understood, the answer, the figures, and what the reader can do with them. The
/// answer to a question for a number has no recommendations.
#[must_use]
pub fn write_report(findings: &Findings, audience: Audience) -> String {
    format!("{}\n{}\n{}", opening(findings, Some(audience)), origin(findings), details(findings, audience))
}

/// Writes the report in place of a model's that cannot be shown, and says why.
#[must_use]
pub fn write_instead(findings: &Findings, audience: Audience, why: Unusable) -> String {
    let say = Say(findings.request.language);
    let why = match why {
        Unusable::Invented => say.of(
            "데이터에 없는 수치나 리뷰가 들어 있어",
            "it had figures or quotes that the data does not have",
        ),
        Unusable::Cut => say.of("끝까지 작성되지 않아", "it was cut off before its end"),
        Unusable::Filtered => say.of("콘텐츠 필터에 걸려", "a content filter ended it"),
        Unusable::Empty => say.of("비어 있어", "it was empty"),
        Unusable::TimedOut => say.of("제때 오지 않아", "it did not come in time"),
        Unusable::TooLong => say.of(
            "모델의 문맥 길이에 사실이 다 들어가지 않아",
            "the facts exceed the context length of the model",
        ),
    };
    let note = say.of(
        &format!("> 언어 모델의 보고서는 {why} 쓰지 않았습니다. 아래는 내장 분석기의 글입니다."),
        &format!("> The language model's report is not shown: {why}. The text is the built-in analyst's."),
    );
    let opening = opening(findings, Some(audience));
    format!("{opening}\n{note}\n>\n{}\n{}", origin(findings), details(findings, audience))
}

/// Puts a model's checked report under the head that every report has.
#[must_use]
pub fn frame(findings: &Findings, audience: Audience, report: &str) -> String {
    let count = findings.reviews();
    let origin = Say(findings.request.language).of(
        &format!(
            "> 언어 모델이 데모 데이터의 리뷰 {count}건으로 작성했고, 수치와 인용은 데이터와 대조했습니다. 리뷰는 데모용 창작물이며 실제 제품에 대한 근거가 아닙니다."
        ),
        &format!(
            "> Written by a language model from {count} reviews of the demo data set; its figures and quotes were compared with the data. The reviews are invented and no evidence about real products."
        ),
    );
    format!("{}\n{origin}\n\n{}", opening(findings, Some(audience)), markup::without_html(report))
}

/// Why a model's report cannot be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Figures or quotes that the data doesn't have.
    Invented,
    /// Cut off at the token limit.
    Cut,
    /// Ended by a content filter.
    Filtered,
    /// No text.
    Empty,
    /// Not within the timeout.
    TimedOut,
    /// The facts exceed the context length of the model.
    TooLong,
}

/// The title, how the request was understood, and the answer. Begins a model's report too.
#[must_use]
pub fn opening(findings: &Findings, audience: Option<Audience>) -> String {
    let request = &findings.request;
    let say = Say(request.language);
    let number = request.is_same_for_every_reader();
    let mut out = format!("# {}\n\n", title(findings, audience.filter(|_| !number)));
    out.push_str(&understood::head(request));
    let answer = answer::answer(findings);
    if !answer.is_empty() {
        line(&mut out, &format!("\n## {}\n", say.of("답", "Answer")));
        out.push_str(answer.trim_end());
        out.push('\n');
    }
    out
}

/// The figures of each brand, with recommendations.
fn details(findings: &Findings, audience: Audience) -> String {
    let say = Say(findings.request.language);
    let mut out = String::new();
    if findings.reviews() == 0 {
        for finding in &findings.brands {
            let name = finding.brand.name(say.0);
            line(&mut out, &format!("\n**{name}:** {}", sample_line(finding, say)));
        }
        return out;
    }
    if findings.brands.len() > 1 {
        line(&mut out, &format!("\n## {}\n", say.of("한눈에 보기", "At a glance")));
        out.push_str(&overview(findings));
    }
    if findings.request.is_same_for_every_reader() {
        for finding in &findings.brands {
            let name = finding.brand.name(say.0);
            line(&mut out, &format!("\n**{name}:** {}", sample_line(finding, say)));
        }
        return out;
    }
    for finding in &findings.brands {
        line(&mut out, &format!("\n## {}\n", finding.brand.name(say.0)));
        out.push_str(&brand_facts(finding, say));
        if finding.reviews == 0 {
            continue;
        }
        line(
            &mut out,
            &format!(
                "\n### {}\n",
                say.of(
                    &format!("{} 위한 제안", korean::with(audience.label(Language::Korean), "을", "를")),
                    &format!("Recommendations for {}", audience.label(Language::English)),
                )
            ),
        );
        for advice in advice::advice(finding, audience, say) {
            line(&mut out, &format!("- {advice}"));
        }
    }
    out
}

/// The counted facts alone, as Markdown: what a model gets to write from.
#[must_use]
pub fn facts(findings: &Findings) -> String {
    let say = Say(findings.request.language);
    let mut out = answer::answer(findings);
    out.push('\n');
    out.push_str(&overview(findings));
    for finding in &findings.brands {
        line(&mut out, &format!("\n## {}\n", finding.brand.name(say.0)));
        out.push_str(&brand_facts(finding, say));
    }
    out
}

/// Chooses between two languages.
#[derive(Clone, Copy)]
pub(crate) struct Say(pub(crate) Language);

impl Say {
    pub(crate) fn of(self, korean: &str, english: &str) -> String {
        match self.0 {
            Language::Korean => korean.to_owned(),
            Language::English => english.to_owned(),
        }
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn title(findings: &Findings, audience: Option<Audience>) -> String {
    let say = Say(findings.request.language);
    let names: Vec<&str> = findings.brands.iter().map(|finding| finding.brand.name(say.0)).collect();
    let names = if names.is_empty() { say.of("K-뷰티", "K-beauty") } else { names.join(", ") };
    match audience.map(|audience| audience.label(say.0)) {
        Some(reader) if !findings.brands.is_empty() => say.of(
            &format!("{names} 리뷰 트렌드 보고서 ({reader}용)"),
            &format!("{names}: review trends for {reader}"),
        ),
        _ => say.of(&format!("{names} 리뷰"), &format!("{names} reviews")),
    }
}

/// The one line that says who wrote this and from what.
fn origin(findings: &Findings) -> String {
    let count = findings.reviews();
    Say(findings.request.language).of(
        &format!(
            "> 언어 모델 없이 내장 오프라인 분석기가 데모 데이터의 리뷰 {count}건으로 작성했습니다. 리뷰는 데모용 창작물이며 실제 제품에 대한 근거가 아닙니다."
        ),
        &format!(
            "> Made by the built-in offline analyst, without a language model, from {count} reviews of the demo data set. The reviews are invented and no evidence about real products."
        ),
    )
}

fn overview(findings: &Findings) -> String {
    let say = Say(findings.request.language);
    let mut out = say.of(
        "| 브랜드 | 리뷰 | 평균 평점 | 긍정 | 중립 | 부정 | 감성 점수 |\n|---|---:|---:|---:|---:|---:|---:|\n",
        "| Brand | Reviews | Mean rating | Positive | Neutral | Negative | Score |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for finding in &findings.brands {
        let sentiment = &finding.sentiment;
        if finding.reviews == 0 {
            line(&mut out, &format!("| {} | 0 | – | 0 | 0 | 0 | – |", finding.brand.name(say.0)));
            continue;
        }
        let row = format!(
            "| {} | {} | {:.2} | {} | {} | {} | {:+.2} |",
            finding.brand.name(say.0),
            finding.reviews,
            sentiment.mean_rating,
            sentiment.positive,
            sentiment.neutral,
            sentiment.negative,
            sentiment.mean_score
        );
        line(&mut out, &row);
    }
    out
}

fn brand_facts(finding: &BrandFinding, say: Say) -> String {
    let mut out = String::new();
    line(&mut out, &sample_line(finding, say));
    let Some((from, to)) = finding.days else { return out };
    let sentiment = &finding.sentiment;
    let (positive, neutral, negative) = (sentiment.positive, sentiment.neutral, sentiment.negative);
    let (rating, score) = (sentiment.mean_rating, sentiment.mean_score);
    line(&mut out, "");
    line(&mut out, &say.of(
        &format!("기간 {from} ~ {to}. 평균 평점 {rating:.2}, 감성 점수 {score:+.2} (−1~1). 긍정 {positive}건, 중립 {neutral}건, 부정 {negative}건."),
        &format!("From {from} to {to}. Mean rating {rating:.2}, sentiment {score:+.2} (−1 to 1): {positive} positive, {neutral} neutral, {negative} negative."),
    ));
    line(&mut out, &format!("\n### {}\n", say.of("제품별 평점", "Products")));
    for tally in &finding.products {
        let name = product_name(&tally.product, say);
        let (count, rating) = (tally.reviews, tally.mean_rating);
        line(
            &mut out,
            &say.of(
                &format!("- {name}: {rating:.2} ({count}건)"),
                &format!("- {name}: {rating:.2} ({count} reviews)"),
            ),
        );
    }
    line(&mut out, &format!("\n### {}\n", say.of("무엇을 이야기하나", "What people talk about")));
    line(&mut out, &say.of(
        "| 주제 | 언급 | 비중 | 긍정 | 중립 | 부정 | 평균 평점 |\n|---|---:|---:|---:|---:|---:|---:|",
        "| Topic | Mentions | Share | Good | Neutral | Bad | Mean rating |\n|---|---:|---:|---:|---:|---:|---:|",
    ));
    for topic in &finding.topics {
        let row = format!(
            "| {} | {} | {} | {} | {} | {} | {:.2} |",
            topic.topic.name(say.0),
            topic.count,
            percent(topic.share),
            topic.positive,
            topic.neutral,
            topic.negative,
            topic.mean_rating
        );
        line(&mut out, &row);
    }
    line(&mut out, &format!("\n### {}\n", say.of("리뷰에서", "In their words")));
    let mut reported = Vec::new();
    for topic in finding.topics.iter().take(QUOTED_TOPICS) {
        for polarity in [Polarity::Positive, Polarity::Negative] {
            // A sentence about two topics is shown once, under the bigger one.
            if let Some(quote) =
                topic.quotes.iter().find(|quote| quote.polarity == polarity && !reported.contains(quote))
            {
                line(&mut out, &quoted(topic, quote, say));
                reported.push(quote);
            }
        }
    }
    if let Some(change) = &finding.change {
        line(&mut out, &format!("\n### {}\n", say.of("시간에 따른 변화", "What changed over time")));
        out.push_str(&changed(change, say));
    }
    out
}

fn sample_line(finding: &BrandFinding, say: Say) -> String {
    let (considered, reviews, korean) = (finding.considered, finding.reviews, finding.korean);
    let english = reviews - korean;
    let mut text = say.of(
        &format!(
            "전체 리뷰 {considered}건 중 {reviews}건을 분석했습니다 (한국어 {korean}건, 영어 {english}건)."
        ),
        &format!("{reviews} of {considered} reviews analysed ({korean} in Korean, {english} in English)."),
    );
    let dropped: Vec<String> = finding
        .dropped
        .iter()
        .map(|dropped| {
            let reason = match dropped.reason {
                Reason::OutsidePeriod => say.of("기간 밖", "outside the period"),
                Reason::OtherProduct => say.of("다른 제품", "of other products"),
                Reason::OffTopic => say.of("주제와 무관", "off the topic"),
                Reason::TooShort => say.of("너무 짧음", "too short"),
                Reason::Duplicate => say.of("중복", "duplicates"),
                Reason::OverSample => say.of("표본 한도 초과", "beyond the sample bound"),
                Reason::OtherLanguage => say.of("다른 언어", "in the other language"),
                Reason::OtherChannel => say.of("다른 판매처", "from other shops"),
                Reason::OtherRating => say.of("다른 별점", "with other ratings"),
                Reason::OtherOpinion => say.of("다른 의견", "with another opinion"),
                Reason::OtherSentiment => say.of("다른 감성", "of other sentiment"),
            };
            say.of(&format!("{reason} {}건", dropped.count), &format!("{} {reason}", dropped.count))
        })
        .collect();
    if !dropped.is_empty() {
        let list = dropped.join(", ");
        // Writing to a String cannot fail.
        let written = write!(text, " {}", say.of(&format!("제외: {list}."), &format!("Left out: {list}.")));
        debug_assert!(written.is_ok());
    }
    text
}

fn quoted(topic: &TopicFinding, quote: &Quote, say: Say) -> String {
    let mark = match quote.polarity {
        Polarity::Positive => "👍",
        Polarity::Negative => "👎",
        Polarity::Neutral => "·",
    };
    format!("- {mark} {}: “{}” ({}, ★{})", topic.topic.name(say.0), quote.text, quote.review, quote.rating)
}

fn changed(change: &Change, say: Say) -> String {
    let (earlier, later) = (&change.earlier, &change.later);
    let mut out = say.of(
        &format!(
            "- 평균 평점: {:.2} ({} ~ {}, {}건) → {:.2} ({} ~ {}, {}건)\n",
            earlier.mean_rating,
            earlier.from,
            earlier.to,
            earlier.reviews,
            later.mean_rating,
            later.from,
            later.to,
            later.reviews
        ),
        &format!(
            "- Mean rating: {:.2} ({} to {}, {} reviews) → {:.2} ({} to {}, {} reviews)\n",
            earlier.mean_rating,
            earlier.from,
            earlier.to,
            earlier.reviews,
            later.mean_rating,
            later.from,
            later.to,
            later.reviews
        ),
    );
    for moved in change.moved.iter().take(MOVES) {
        let name = moved.topic.name(say.0);
        let (bad, worse) = (percent(moved.complaints_before), percent(moved.complaints_after));
        let (good, better) = (percent(moved.praise_before), percent(moved.praise_after));
        line(
            &mut out,
            &say.of(
                &format!("- {name}: 불만 {bad} → {worse}, 칭찬 {good} → {better}"),
                &format!("- {name}: complaints {bad} → {worse}, praise {good} → {better}"),
            ),
        );
    }
    if change.moved.is_empty() {
        line(&mut out, &say.of("- 뚜렷하게 달라진 주제는 없습니다.", "- No topic moved clearly."));
    }
    out
}

fn product_name(english: &str, say: Say) -> String {
    Product::find(english).map_or(english, |product| product.name(say.0)).to_owned()
}

/// A share of 0 to 1 in whole percent.
fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}
