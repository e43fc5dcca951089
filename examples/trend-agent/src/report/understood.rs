//! The head of a report: how the request was understood, what was not, and what the data doesn't have.

use super::{Say, line, product_name};
use crate::catalogue::Brand;
use crate::period::Period;
use crate::product_type::ProductType;
use crate::request::{Measure, Question, Ranked, Ratings, Request, Scope, Split, Unread, known_brands};
use crate::review::{Language, newest_day, oldest_day};
use crate::sentiment::Polarity;
use crate::topics::Topic;

/// The paragraphs about the request; see [`super::write_report`].
pub(super) fn head(request: &Request) -> String {
    let say = Say(request.language);
    let mut out = String::new();
    let label = if request.follows {
        say.of("이전 요청을 바꿔 이해했습니다", "Understood, as a change of the request before")
    } else {
        say.of("이렇게 이해했습니다", "Understood")
    };
    line(&mut out, &format!("**{label}:** {}.", parts(request).join(" · ")));
    if let Some(today) = request.today {
        line(&mut out, "");
        line(
            &mut out,
            &say.of(
                &format!("**기준일:** 가장 최근 리뷰의 날짜인 {today}을 오늘로 보았습니다."),
                &format!("**Today** is taken as {today}, the day of the newest review."),
            ),
        );
    }
    if let Some(unread) = request.unread {
        let why = match unread {
            Unread::TimedOut => say.of("제때 답하지 않아", "it did not answer in time"),
            Unread::Unusable => say.of("답을 쓸 수 없어", "its answer could not be used"),
        };
        line(&mut out, "");
        line(
            &mut out,
            &say.of(
                &format!("**읽은 주체:** 언어 모델이 {why} 내장 분석기가 메시지를 읽었습니다."),
                &format!("**Read by** the built-in analyst, not by the language model: {why}."),
            ),
        );
    }
    let ignored = ignored(request, say);
    if !ignored.is_empty() {
        line(&mut out, "");
        line(
            &mut out,
            &format!("**{}:** {}", say.of("이해하지 못한 부분", "Not understood"), ignored.join(" ")),
        );
    }
    let gaps = gaps(request);
    if !gaps.is_empty() {
        line(&mut out, "");
        line(&mut out, &format!("**{}:** {}", say.of("데이터에 없는 것", "Not in the data"), gaps.join(" ")));
    }
    out
}

/// What was understood, one part each.
pub(super) fn parts(request: &Request) -> Vec<String> {
    let say = Say(request.language);
    let names =
        |brands: &[Brand]| brands.iter().map(|brand| brand.name(say.0)).collect::<Vec<_>>().join(", ");
    let mut out = Vec::new();
    match request.scope {
        Scope::All if request.excluded.brands.is_empty() => out.push(say.of("모든 브랜드", "all brands")),
        Scope::Open => out.push(say.of("대상 없음", "no subject")),
        Scope::Unknown => {
            let mut asked: Vec<String> = request.unknown.clone();
            asked.extend(request.missing.iter().map(|missing| {
                format!("{} {}", missing.brand.name(say.0), missing.product_type.name(say.0))
            }));
            asked.extend(request.absent.iter().cloned());
            out.push(if asked.is_empty() {
                say.of("남은 대상 없음", "no subject left")
            } else {
                asked.join(", ")
            });
        }
        _ => out.push(say.of(&format!("브랜드 {}", names(&request.brands)), &names(&request.brands))),
    }
    if !request.excluded.brands.is_empty() {
        let without = names(&request.excluded.brands);
        out.push(say.of(&format!("{without} 제외"), &format!("without {without}")));
    }
    if !request.products.is_empty() {
        let products: Vec<String> = request.products.iter().map(|name| product_name(name, say)).collect();
        out.push(say.of(&format!("제품 {}", products.join(", ")), &format!("only {}", products.join(", "))));
    }
    let kinds =
        |kinds: &[ProductType]| kinds.iter().map(|kind| kind.name(say.0)).collect::<Vec<_>>().join(", ");
    if !request.product_types.is_empty() && request.scope != Scope::Unknown {
        let kinds = kinds(&request.product_types);
        out.push(say.of(&format!("제품 종류 {kinds}"), &format!("product type {kinds}")));
    }
    let mut without: Vec<String> =
        request.excluded.products.iter().map(|name| product_name(name, say)).collect();
    if !request.excluded.product_types.is_empty() {
        without.push(kinds(&request.excluded.product_types));
    }
    if !request.excluded.topics.is_empty() {
        without.push(topics(&request.excluded.topics, say.0));
    }
    if let Some(sentiment) = request.excluded.sentiment {
        without.push(sentiment_name(sentiment, say));
    }
    if let Some(period) = request.excluded.period {
        without.push(days(period, say));
    }
    if !without.is_empty() {
        let without = without.join(", ");
        out.push(say.of(&format!("{without} 제외"), &format!("without {without}")));
    }
    if !request.topics.is_empty() {
        let topics = wanted_topics(request, say.0);
        out.push(say.of(&format!("주제 {topics}"), &format!("about {topics}")));
    }
    if let Some(claim) = request.claim {
        out.push(match claim {
            Polarity::Positive => say.of("의견: 만족", "opinion: pleased"),
            _ => say.of("의견: 불만", "opinion: a complaint"),
        });
    }
    if let (Some(later), Some(earlier)) = (request.period, request.against) {
        let (earlier, later) = (days(earlier, say), days(later, say));
        out.push(say.of(
            &format!("두 기간 비교: {earlier} / {later}"),
            &format!("two periods compared: {earlier} and {later}"),
        ));
    } else if let Some(period) = request.period {
        out.push(say.of(
            &format!("기간 {} ~ {}", period.from, period.to),
            &format!("from {} to {}", period.from, period.to),
        ));
    }
    if let Some(Ratings { min, max }) = request.ratings {
        out.push(if min == max {
            say.of(&format!("별점 {min}점"), &format!("rated {min}"))
        } else {
            say.of(&format!("별점 {min}~{max}점"), &format!("rated {min} to {max}"))
        });
    }
    if let Some(sentiment) = request.sentiment {
        out.push(sentiment_name(sentiment, say));
    }
    if let Some(language) = request.review_language {
        out.push(match language {
            Language::Korean => say.of("한국어 리뷰", "reviews in Korean"),
            Language::English => say.of("영어 리뷰", "reviews in English"),
        });
    }
    if !request.channels.is_empty() {
        let channels: Vec<&str> = request.channels.iter().map(|channel| channel.name(say.0)).collect();
        out.push(
            say.of(&format!("판매처 {}", channels.join(", ")), &format!("from {}", channels.join(", "))),
        );
    }
    if let Some(audience) = request.audience {
        out.push(
            say.of(&format!("독자 {}", audience.label(say.0)), &format!("for {}", audience.label(say.0))),
        );
    }
    if request.comparison {
        out.push(say.of("비교", "a comparison"));
    }
    if let Some(split) = request.split {
        out.push(match split {
            Split::Channels => say.of("판매처끼리 비교", "shops compared"),
            Split::Languages => say.of("리뷰의 언어끼리 비교", "languages of reviews compared"),
        });
    }
    if let Some(listing) = request.listing {
        out.push(
            say.of(&format!("리뷰 {}건 보기", listing.count), &format!("{} reviews shown", listing.count)),
        );
    }
    if request.question != Question::Overview {
        out.push(
            say.of(&format!("질문: {}", question(request)), &format!("question: {}", question(request))),
        );
    }
    for also in &request.also {
        let also = name(*also, say);
        out.push(say.of(&format!("또한 {also}"), &format!("and {also}")));
    }
    out
}

/// The days of a period.
pub(super) fn days(period: Period, say: Say) -> String {
    let Period { from, to } = period;
    say.of(&format!("{from} ~ {to}"), &format!("{from} to {to}"))
}

pub(super) fn sentiment_name(sentiment: Polarity, say: Say) -> String {
    match sentiment {
        Polarity::Positive => say.of("긍정 리뷰", "positive reviews"),
        Polarity::Neutral => say.of("중립 리뷰", "neutral reviews"),
        Polarity::Negative => say.of("부정 리뷰", "negative reviews"),
    }
}

/// The topics that are asked about; a topic of which parts are meant has their names.
pub(super) fn wanted_topics(request: &Request, language: Language) -> String {
    let names = request.topics.iter().map(|topic| {
        let aspects = request.aspects_of(*topic);
        let aspects = aspects.iter().map(|aspect| aspect.name(language)).collect::<Vec<_>>().join(", ");
        if aspects.is_empty() { topic.name(language).to_owned() } else { aspects }
    });
    names.collect::<Vec<_>>().join(", ")
}

fn topics(topics: &[Topic], language: Language) -> String {
    topics.iter().map(|topic| topic.name(language)).collect::<Vec<_>>().join(", ")
}

fn question(request: &Request) -> String {
    let say = Say(request.language);
    if let Some(ranking) = request.ranking {
        let of = match ranking.of {
            Ranked::Brands => say.of("브랜드", "brand"),
            Ranked::Products => say.of("제품", "product"),
        };
        let what = match ranking.measure {
            Measure::Reviews => say.of("리뷰 수", "number of reviews"),
            Measure::Share => say.of("비율", "share"),
            Measure::MeanRating => say.of("평균 평점", "mean rating"),
        };
        let (korean, english) =
            if ranking.most { ("가장 높은", "highest") } else { ("가장 낮은", "lowest") };
        return say.of(
            &format!("{} {korean} {of}", super::korean::with(&what, "이", "가")),
            &format!("which {of} has the {english} {what}"),
        );
    }
    name(request.question, say)
}

fn name(question: Question, say: Say) -> String {
    match question {
        Question::Overview => say.of("개요", "overview"),
        Question::Count => say.of("리뷰 수", "how many reviews"),
        Question::Share => say.of("비율", "which share"),
        Question::MeanRating => say.of("평균 평점", "the mean rating"),
        Question::Best => say.of("가장 좋은 것", "which is best"),
        Question::Worst => say.of("가장 나쁜 것", "which is worst"),
        Question::Reasons => say.of("칭찬과 불만의 이유", "what people praise and complain of"),
        Question::Change => say.of("시간에 따른 변화", "what changed over time"),
        Question::Whether => say.of("그런지 아닌지", "whether it is so"),
        Question::Inventory => say.of("데이터에 있는 것", "what the data has"),
    }
}

fn ignored(request: &Request, say: Say) -> Vec<String> {
    let mut out = Vec::new();
    if !request.ignored.is_empty() {
        let words: Vec<String> = request.ignored.iter().map(|word| format!("“{word}”")).collect();
        out.push(format!("{}.", words.join(", ")));
    }
    if request.cut {
        out.push(say.of(
            "메시지가 길어 끝부분은 읽지 않았습니다.",
            "The message was too long; its end was not read.",
        ));
    }
    out
}

/// What the data doesn't have, one sentence each.
pub(super) fn gaps(request: &Request) -> Vec<String> {
    let say = Say(request.language);
    let mut out: Vec<String> = Vec::new();
    for missing in &request.missing {
        let (brand, kind) = (missing.brand.name(say.0), missing.product_type.name(say.0));
        out.push(say.of(
            &format!("{brand}에는 {kind} 제품이 없습니다."),
            &format!("{brand} has no {kind} in the data set."),
        ));
    }
    let mut kinds: Vec<ProductType> = request.missing.iter().map(|missing| missing.product_type).collect();
    if request.missing.is_empty() {
        kinds.clone_from(&request.product_types);
    }
    kinds.dedup();
    if request.scope == Scope::Unknown {
        for kind in kinds {
            let brands = kind.brands().map(|brand| brand.name(say.0)).collect::<Vec<_>>().join(", ");
            let name = kind.name(say.0);
            out.push(say.of(
                &format!("{name}의 리뷰가 있는 브랜드: {brands}."),
                &format!("Brands with reviews of this type ({name}): {brands}."),
            ));
        }
    }
    if !request.absent.is_empty() {
        let absent = request.absent.join(", ");
        let known = ProductType::ALL.map(|kind| kind.name(say.0)).join(", ");
        out.push(say.of(
            &format!("다음 종류의 제품은 데이터에 없습니다: {absent}. 있는 종류: {known}."),
            &format!("No product of this type is in the data set: {absent}. Types it has: {known}."),
        ));
    }
    if !request.gaps.is_empty() {
        let names = request.gaps.iter().map(|gap| gap.name(say.0)).collect::<Vec<_>>().join(", ");
        out.push(say.of(&format!("{names}."), &format!("{names}.")));
    }
    for period in request.against.into_iter().chain(request.period) {
        let (oldest, newest) = (oldest_day(), newest_day());
        if period.to < oldest || period.from > newest {
            let days = days(period, say);
            out.push(if request.against.is_some() {
                say.of(
                    &format!("{days}의 리뷰가 없습니다. 데이터의 기간은 {oldest} ~ {newest}입니다."),
                    &format!("No review is from {days}; the data is from {oldest} to {newest}."),
                )
            } else {
                say.of(
                    &format!("이 기간의 리뷰가 없습니다. 데이터의 기간은 {oldest} ~ {newest}입니다."),
                    &format!("No review is from this period; the data is from {oldest} to {newest}."),
                )
            });
        } else if period.from < oldest {
            out.push(say.of(&format!("{oldest} 이전의 리뷰."), &format!("Reviews before {oldest}.")));
        }
    }
    out.extend(request.statement());
    if !request.has_subject() && out.is_empty() {
        let known = known_brands(request.language);
        out.push(say.of(&format!("분석할 수 있는 브랜드: {known}."), &format!("Brands it knows: {known}.")));
    }
    out
}

impl Request {
    /// Returns the sentence about names that the data set doesn't have; nothing if there were none.
    #[must_use]
    pub fn statement(&self) -> Option<String> {
        if self.unknown.is_empty() {
            return None;
        }
        let unknown = self.unknown.join(", ");
        let known = known_brands(self.language);
        Some(match self.language {
            Language::Korean => format!(
                "다음 브랜드의 리뷰는 데모 데이터에 없습니다: {unknown}. 분석할 수 있는 브랜드: {known}."
            ),
            Language::English => {
                format!("The demo data set has no reviews of {unknown}. Brands it knows: {known}.")
            }
        })
    }

    /// Returns one line on how the request was understood.
    #[must_use]
    pub fn summary(&self) -> String {
        parts(self).join(" · ")
    }
}
