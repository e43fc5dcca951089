//! Follow-ups: a message that changes the request before it.

use super::subject::Subjects;
use super::{Question, Request, Scope};
use crate::catalogue::Brand;
use crate::message::Message;
use crate::review::Language;

/// The words of a message that refer to the request before it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FollowUp {
    /// "again", "that report", "이번엔".
    refers: bool,
    /// "what about", "그럼".
    instead: bool,
    /// "also", "도".
    adds: bool,
    /// "translate".
    translates: bool,
    /// "all periods": filters are dropped.
    widens: bool,
    /// "Any rating": this filter is dropped.
    any_rating: bool,
    /// "All periods": this filter is dropped.
    any_period: bool,
    /// "compare … with".
    compares: bool,
    /// "shorter", "in English": another form of the same report.
    reforms: bool,
}

/// Words for a form of the report that the built-in analyst doesn't have.
const FORMS: [&str; 30] = [
    "shorter",
    "briefer",
    "more briefly",
    "more concise",
    "longer version",
    "make it longer",
    "more detail*",
    "in a table",
    "as a table",
    "bullet points",
    "simpler",
    "one sentence",
    "one line",
    "more formal",
    "as an email",
    "더 짧게",
    "좀 짧게",
    "더 길게",
    "더 자세히",
    "더 자세하게",
    "더 간단히",
    "더 간단하게",
    "더 쉽게",
    "한 줄로",
    "한 문장으로",
    "표로",
    "이메일로",
    "글머리",
    "존댓말로",
    "반말로",
];

/// The words for a form of the report that cannot be given.
pub(super) fn forms(message: &mut Message) -> Vec<String> {
    let found = message.places(&FORMS);
    let lower = message.lower().to_owned();
    found
        .into_iter()
        .map(|span| {
            message.mark(span);
            lower[span.0..span.1].to_owned()
        })
        .collect()
}

/// Reads the words; `subject` is whether the message names one, `reforms` whether it asks for another form of a report.
pub(super) fn read(message: &mut Message, subject: bool, reforms: bool) -> FollowUp {
    let translates = message.says(&["translat*", "번역"]);
    let refers = message.says(&[
        "that report",
        "the report",
        "this report",
        "that one",
        "those",
        "again",
        "rewrite",
        "redo",
        "same",
        "now for",
        "this time",
        "only the",
        "just the",
        "그 보고서",
        "이 보고서",
        "방금",
        "아까",
        "위 보고서",
        "이번엔",
        "이번에는",
        "다시",
        "그거",
        "그걸",
        "그것",
        "그중",
        "그 중",
        "여기서",
        "거기서",
        "이걸",
        "이거를",
        "같은",
        "앞에서",
    ]) || translates;
    let lower = message.lower().trim().to_owned();
    let starts = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    let text = lower.trim_end_matches(['?', '!', '.', ' ', '요']);
    let short = text.chars().count() <= 14;
    let topic_mark = subject && short && (text.ends_with('는') || text.ends_with('은'));
    let instead = topic_mark
        || starts(&[
            "what about",
            "how about",
            "and what about",
            "and how about",
            "and for ",
            "그럼",
            "그러면",
            "대신",
            "instead",
        ])
        || message.says(&["instead"]);
    let narrows = subject && short && (text.ends_with('만') || starts(&["only ", "just "]));
    let refers = refers || narrows;
    // "And for Innisfree?" asks the same of another one.
    let repeats = subject && starts(&["and for "]);
    let adds = starts(&["and ", "also", "add ", "plus ", "그리고", "추가로", "include "])
        || message.says(&[
            "도 추가",
            "추가해",
            "도 포함",
            "도 넣어",
            "도 같이",
            "도 함께",
            "도 보여",
            "도 분석",
            "as well",
            "too ",
        ])
        || (subject && short && text.ends_with('도'));
    let adds = adds && !repeats;
    let compares = message.says(&[
        "compare it",
        "compare that",
        "compare them",
        "compare with",
        "하고 비교",
        "이랑 비교",
        "랑 비교",
        "와 비교",
        "과 비교",
    ]);
    let any_rating = message.says(&[
        "any rating",
        "all ratings",
        "every rating",
        "모든 평점",
        "모든 별점",
        "별점 상관없이",
        "평점 상관없이",
        "별점 무관",
        "평점 무관",
    ]);
    let any_period = message.says(&[
        "all periods",
        "whole period",
        "any period",
        "all time",
        "전체 기간",
        "모든 기간",
        "전 기간",
        "기간 상관없이",
        "기간 무관",
    ]);
    let widens = message.says(&[
        "필터 없이",
        "조건 없이",
        "without filters",
        "no filters",
        "without any filter",
        "no conditions",
    ]);
    for word in [
        "what about",
        "how about",
        "그럼",
        "그러면",
        "대신",
        "그리고",
        "추가로",
        "also",
        "add",
        "plus",
        "include",
    ] {
        message.says(&[word]);
    }
    FollowUp { refers, instead, adds, translates, widens, any_rating, any_period, compares, reforms }
}

impl FollowUp {
    /// Whether the message changes the request before it, rather than making a new one.
    pub(super) fn applies(self, subjects: &Subjects, request: &Request) -> bool {
        if request.question == Question::Inventory {
            // "Which brands are there" asks about all data, whatever was asked before.
            return self.refers;
        }
        if subjects.named() || !request.unknown.is_empty() {
            // A comparison needs two subjects; with one, the other is the previous one.
            let lone = subjects.brands.len() + subjects.products.len() <= 1;
            return self.instead || self.adds || (self.refers && !subjects.all) || (self.compares && lone);
        }
        self.refers
            || self.instead
            || self.adds
            || self.widens
            || self.any_rating
            || self.any_period
            || self.reforms
            || self.compares
            || subjects.excludes()
            || request.has_condition()
    }

    /// Puts what the previous request said under what this one says. Returns the brands that are named.
    pub(super) fn merge(
        self,
        request: &mut Request,
        previous: &Request,
        named: Vec<Brand>,
        subjects: &Subjects,
        asked_language: Option<Language>,
    ) -> Vec<Brand> {
        request.follows = true;
        let brands = if subjects.named() || !request.unknown.is_empty() {
            let adds = self.adds || (self.compares && !self.instead);
            if adds {
                request.comparison |= self.compares;
                let own = std::mem::take(&mut request.products);
                request.products.clone_from(&previous.products);
                request.products.extend(own);
                request.products.dedup();
                if named.is_empty() && subjects.all {
                    Brand::ALL.to_vec()
                } else {
                    previous.brands.iter().copied().chain(named).collect()
                }
            } else if named.is_empty()
                && subjects.products.is_empty()
                && !subjects.all
                && !subjects.types.is_empty()
            {
                // "and the sunscreens?": another kind of product of the same brands.
                if previous.scope == Scope::All || previous.is_implied_by_types() {
                    Vec::new()
                } else {
                    previous.brands.clone()
                }
            } else {
                // "What about Anua?": the same kind of product of another brand.
                if self.instead && subjects.types.is_empty() && subjects.products.is_empty() && !subjects.all
                {
                    request.product_types.clone_from(&previous.product_types);
                }
                named
            }
        } else {
            request.products.clone_from(&previous.products);
            request.product_types.clone_from(&previous.product_types);
            request.absent.clone_from(&previous.absent);
            request.unknown.clone_from(&previous.unknown);
            let dropped = std::mem::take(&mut request.excluded.products);
            request.products.retain(|name| !dropped.contains(name));
            request.excluded.products = dropped;
            previous.brands.clone()
        };
        let excluded = &mut request.excluded;
        if !subjects.named() {
            excluded.brands.extend(&previous.excluded.brands);
            excluded.brands.sort_unstable();
            excluded.brands.dedup();
        }
        excluded.brands.retain(|brand| !subjects.brands.contains(brand));
        if excluded.products.is_empty() {
            excluded.products.clone_from(&previous.excluded.products);
        }
        if excluded.product_types.is_empty() {
            excluded.product_types.clone_from(&previous.excluded.product_types);
        }
        if excluded.topics.is_empty() {
            excluded.topics.clone_from(&previous.excluded.topics);
        }
        request.audience = request.audience.or(previous.audience);
        if !self.widens {
            if request.topics.is_empty() {
                request.topics.clone_from(&previous.topics);
                request.aspects.clone_from(&previous.aspects);
                request.claim = request.claim.or(previous.claim);
                request.fault |= previous.fault;
            }
            let excluded = &request.excluded.topics;
            request.topics.retain(|topic| !excluded.contains(topic));
            if self.any_period {
                request.against = None;
            } else if request.period.is_none() && request.excluded.period.is_none() {
                (request.period, request.today) = (previous.period, previous.today);
                request.against = previous.against;
                request.excluded.period = previous.excluded.period;
            } else if self.compares
                && let (Some(own), Some(before)) = (request.against.or(request.period), previous.period)
                && (own.to < before.from || before.to < own.from)
            {
                // "작년이랑 비교해줘": what the previous request was about is compared with it.
                let (earlier, later) = if own.to < before.from { (own, before) } else { (before, own) };
                (request.against, request.period) = (Some(earlier), Some(later));
                request.today = request.today.or(previous.today);
            }
            if !self.any_rating {
                request.ratings = request.ratings.or(previous.ratings);
            }
            if request.sentiment.is_none() && request.excluded.sentiment.is_none() {
                request.sentiment = previous.sentiment;
                request.excluded.sentiment = previous.excluded.sentiment;
            }
            request.review_language = request.review_language.or(previous.review_language);
            if request.channels.is_empty() {
                request.channels.clone_from(&previous.channels);
            }
            request.split = request.split.or(previous.split);
        }
        if request.question == Question::Overview {
            let rewritten =
                self.refers && previous.question.is_for_a_number() && request.audience != previous.audience;
            if !rewritten {
                request.question = previous.question;
                request.ranking = previous.ranking;
                request.anyone = previous.anyone;
                request.also.clone_from(&previous.also);
                request.inventory.clone_from(&previous.inventory);
            }
        }
        request.comparison |= previous.comparison;
        if self.translates && asked_language.is_none() {
            request.language = match previous.language {
                Language::Korean => Language::English,
                Language::English => Language::Korean,
            };
        }
        brands
    }
}

impl Request {
    /// Whether the message says anything beyond a subject.
    pub(super) fn has_condition(&self) -> bool {
        self.period.is_some()
            || self.audience.is_some()
            || self.ratings.is_some()
            || self.sentiment.is_some()
            || self.review_language.is_some()
            || !self.channels.is_empty()
            || !self.topics.is_empty()
            || !self.excluded.is_empty()
            || !self.gaps.is_empty()
            || self.question != Question::Overview
            || self.comparison
            || self.listing.is_some()
    }

    /// Whether the brands are all those with a product of the kinds that were asked for, so that none was named.
    fn is_implied_by_types(&self) -> bool {
        !self.product_types.is_empty()
            && Brand::ALL.into_iter().all(|brand| {
                let has = self.product_types.iter().any(|kind| kind.in_brand(brand));
                !has || self.brands.contains(&brand) || self.excluded.brands.contains(&brand)
            })
    }
}
