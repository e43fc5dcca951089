//! Single reviews that a message asks to see: `리뷰 3개만 보여줘`, `the latest review`.

use serde::{Deserialize, Serialize};

use crate::message::Message;
use crate::text::{find, mentions};

/// The most reviews that are shown.
pub const LISTED: u8 = 10;

/// Reviews that are shown word for word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Listing {
    /// How many, 1 to [`LISTED`].
    pub count: u8,
    /// Whether the newest ones are asked for; else the clearest.
    pub newest: bool,
}

const NUMBERS: [(&str, u8); 26] = [
    ("한 ", 1),
    ("하나", 1),
    ("두 ", 2),
    ("세 ", 3),
    ("네 ", 4),
    ("다섯 ", 5),
    ("열 ", 10),
    ("a ", 1),
    ("one ", 1),
    ("two ", 2),
    ("three ", 3),
    ("four ", 4),
    ("five ", 5),
    ("ten ", 10),
    ("1", 1),
    ("2", 2),
    ("3", 3),
    ("4", 4),
    ("5", 5),
    ("6", 6),
    ("7", 7),
    ("8", 8),
    ("9", 9),
    ("10", 10),
    ("six ", 6),
    ("some ", 3),
];

/// Words between "show" and "reviews" that ask for something about them.
const ABOUT: [&str; 20] = [
    "brands",
    "brand",
    "products",
    "languages",
    "summary",
    "analysis",
    "report",
    "overview",
    "trend*",
    "what",
    "how",
    "breakdown",
    "number",
    "share",
    "rating",
    "ratings",
    "why",
    "which",
    "topics",
    "sentiment",
];

/// Words that ask for a report instead of single reviews.
const ANALYSIS: [&str; 7] = ["보고서", "report", "정리", "분석", "요약", "summar*", "analy*"];

/// Whether a message (lower case) asks to see the reviews themselves.
fn shows_reviews(lower: &str) -> bool {
    if mentions(lower, &["다시", "again"]) || mentions(lower, &ANALYSIS) {
        return false;
    }
    let korean = ["리뷰", "후기"].iter().flat_map(|noun| find(lower, noun)).any(|(_, end)| {
        let mut rest = lower[end..].trim_start_matches(['만', '를', '들', '도', '을']).trim_start();
        for word in ["좀", "한번", "전부", "모두", "다 ", "쭉", "그대로", "원문"] {
            rest = rest.strip_prefix(word).map_or(rest, str::trim_start);
        }
        ["보여", "나열", "뽑아", "골라", "읽어", "보고 싶", "볼래", "볼 수"]
            .iter()
            .any(|verb| rest.starts_with(verb))
    });
    let verbs = ["show", "list", "read", "quote", "print", "display", "see"];
    let english = verbs.iter().flat_map(|verb| find(lower, verb)).any(|(_, end)| {
        let after = &lower[end..];
        let nouns = ["reviews", "quotes"].iter().filter_map(|noun| find(after, noun).into_iter().next());
        nouns.min().is_some_and(|(at, _)| {
            let between = &after[..at];
            between.split_whitespace().count() <= 8
                && !mentions(between, &ABOUT)
                && !between.contains(['.', ';'])
        })
    });
    korean || english
}

/// Reads it. Returns the message (lower case) for the readers of periods, without the words for the newest.
pub(super) fn read(message: &mut Message) -> (Option<Listing>, String) {
    let mut lower = message.lower().to_owned();
    let newest_words = [
        "가장 최근",
        "제일 최근",
        "최신 리뷰",
        "최신 후기",
        "가장 최신",
        "most recent",
        "latest review",
        "latest reviews",
        "newest first",
        "최신순",
        "최근순",
        "newest",
        "the latest",
        "last review",
    ];
    let shown = shows_reviews(&lower);
    // An order of all of them, and not the first one.
    let ordered =
        mentions(&lower, &["최신순", "최근순", "newest first", "most recent first", "latest reviews"]);
    let mut newest: Vec<_> = newest_words.iter().flat_map(|word| find(&lower, word)).collect();
    let shows = mentions(
        &lower,
        &[
            "보여", "알려", "뽑아", "골라", "줘", "만 ", "show", "give", "list", "see", "quote", "read",
            "print",
        ],
    );
    let number = number(&lower);
    if number.is_some() {
        // Beside a number of reviews, "recent" is an order and no period.
        let recent = ["latest", "recent", "최근", "최신"];
        newest.extend(recent.iter().flat_map(|word| find(&lower, word)));
    }
    let count = number.filter(|_| shows || !newest.is_empty());
    // "Analyse the latest reviews" is no request for one of them.
    if count.is_none() && mentions(&lower, &ANALYSIS) {
        return (None, lower);
    }
    if let Some((_, span)) = count {
        message.mark(span);
    }
    for &span in &newest {
        message.mark(span);
        lower.replace_range(span.0..span.1, &" ".repeat(span.1 - span.0));
    }
    // "Questions for a number of reviews" are read elsewhere.
    if mentions(&lower, &["몇", "how many", "개수", "건수"]) {
        return (None, lower);
    }
    let listing = match count {
        Some((count, _)) => Some(Listing { count: count.clamp(1, LISTED), newest: !newest.is_empty() }),
        None if newest.is_empty() && shown => Some(Listing { count: LISTED, newest: false }),
        None if newest.is_empty() => None,
        None => Some(Listing { count: if ordered { LISTED } else { 1 }, newest: true }),
    };
    (listing, lower)
}

/// A number of reviews: `3개`, `리뷰 세 건`, `three reviews`.
fn number(lower: &str) -> Option<(u8, (usize, usize))> {
    NUMBERS.iter().rev().find_map(|(word, value)| {
        lower.match_indices(word).find_map(|(at, found)| {
            let before = lower[..at].chars().next_back();
            if before.is_some_and(char::is_alphanumeric) {
                return None;
            }
            // "별 3개" is a rating.
            let lead = lower[..at].trim_end();
            if ["별", "별점", "평점"].iter().any(|word| lead.ends_with(word)) {
                return None;
            }
            let end = at + found.len();
            let rest = lower[end..].trim_start();
            let units = ["개만", "개 ", "건만", "건 ", "개를", "건을", "개씩", "만 보여"];
            let korean = units.iter().find(|unit| rest.starts_with(**unit));
            let english = [
                "reviews",
                "review",
                "latest reviews",
                "recent reviews",
                "examples",
                "quotes",
                "of them",
                "of these",
                "of those",
                "newest reviews",
            ];
            let named = rest.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
            let english = english.iter().find(|unit| named.starts_with(**unit) || named.ends_with(**unit));
            // "Just show me three".
            let alone = rest.is_empty() && mentions(lower, &["show", "give", "list"]);
            let star = ["star", "-star", "or", "and", "to"].iter().any(|word| rest.starts_with(word));
            let latin = !word.starts_with(|c: char| !c.is_ascii());
            let fits = korean.is_some() || (latin && !star && (english.is_some() || alone) && *word != "a ");
            fits.then(|| {
                (
                    *value,
                    (
                        at,
                        end + korean
                            .map_or(0, |unit| unit.trim_end().len() + (lower[end..].len() - rest.len())),
                    ),
                )
            })
        })
    })
}
