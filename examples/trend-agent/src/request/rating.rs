//! Star ratings in a message: `4점 이상`, `1~2점`, `5-star`, `three stars or less`, `low-rated`.

use serde::{Deserialize, Serialize};

use crate::message::{Message, Span};

/// A range of ratings, both ends included, 1 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratings {
    /// The lowest rating.
    pub min: u8,
    /// The highest rating.
    pub max: u8,
}

/// The best of the ratings that count as low, and the worst of those that count as high.
const LOW_HIGH: (u8, u8) = (2, 4);

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    AtLeast,
    AtMost,
    Above,
    Below,
    Exactly,
}

impl Ratings {
    /// Returns whether a rating is in the range.
    #[must_use]
    pub const fn contains(self, rating: u8) -> bool {
        self.min <= rating && rating <= self.max
    }

    fn new(bound: Bound, from: u8, to: u8) -> Option<Self> {
        let (min, max) = match bound {
            Bound::AtLeast => (from, 5),
            Bound::AtMost => (1, to),
            Bound::Above => (from + 1, 5),
            Bound::Below => (1, to.saturating_sub(1)),
            Bound::Exactly => (from.min(to), from.max(to)),
        };
        (min >= 1 && max <= 5 && min <= max).then_some(Self { min, max })
    }

    /// The ratings outside an excluded range, if they are a range.
    const fn without(excluded: Self) -> Option<Self> {
        match (excluded.min, excluded.max) {
            (1, 5) => None,
            (1, max) => Some(Self { min: max + 1, max: 5 }),
            (min, 5) => Some(Self { min: 1, max: min - 1 }),
            _ => None,
        }
    }
}

/// Reads the ratings that a message asks for.
pub(super) fn read(message: &mut Message) -> Option<Ratings> {
    let lower = message.lower().to_owned();
    let found = numbers(&lower).into_iter().find_map(|(span, from, last, to)| {
        korean(&lower, span, last, from, to).or_else(|| english(&lower, span, last, from, to))
    });
    if let Some((ratings, span)) = found {
        let excluded = message.with_exclusion(vec![(span, ratings)])[0].excluded;
        message.mark(span);
        return if excluded { Ratings::without(ratings) } else { Some(ratings) };
    }
    let superlative = ["가장", "제일", "lowest", "highest"].iter().any(|word| lower.contains(word));
    if superlative {
        return None;
    }
    let low = [
        "low-rated",
        "low rated",
        "poorly rated",
        "low rating*",
        "낮은 평점",
        "낮은 별점",
        "평점이 낮",
        "평점 낮",
        "별점이 낮",
        "별점 낮",
    ];
    let high = [
        "high-rated",
        "highly rated",
        "high rating*",
        "높은 평점",
        "높은 별점",
        "평점이 높",
        "평점 높",
        "별점이 높",
        "별점 높",
    ];
    if message.take(&low).is_some() {
        return Some(Ratings { min: 1, max: LOW_HIGH.0 });
    }
    message.take(&high).map(|_| Ratings { min: LOW_HIGH.1, max: 5 })
}

/// Numbers from 1 to 5, alone or as a range: the first number's place, its value, the last number's place, its value.
fn numbers(lower: &str) -> Vec<(Span, u8, Span, u8)> {
    let single = singles(lower);
    let mut out = Vec::new();
    let mut at = 0;
    while at < single.len() {
        let (span, from) = single[at];
        let range = single.get(at + 1).filter(|(next, _)| {
            let between = lower[span.1..next.0].trim();
            let and = between == "and" && lower[..span.0].trim_end().ends_with("between");
            ["~", "-", "–", "to", "점~", "점에서", "점부터", "점 ~", "이나", "or", "점이나", "점과", "and"]
                .contains(&between)
                || and
        });
        match range {
            Some(&(next, to)) => {
                out.push((span, from, next, to));
                at += 2;
            }
            None => {
                out.push((span, from, span, from));
                at += 1;
            }
        }
    }
    out
}

fn singles(lower: &str) -> Vec<(Span, u8)> {
    const WORDS: [(&str, u8); 5] = [("one", 1), ("two", 2), ("three", 3), ("four", 4), ("five", 5)];
    const KOREAN: [(&str, u8); 8] =
        [("하나", 1), ("둘", 2), ("두 ", 2), ("셋", 3), ("세 ", 3), ("넷", 4), ("네 ", 4), ("다섯", 5)];
    let mut out = Vec::new();
    for (at, c) in lower.char_indices() {
        let before = lower[..at].chars().next_back();
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.') {
            continue;
        }
        let after = |len: usize| lower[at + len..].chars().next();
        if ('1'..='5').contains(&c)
            && !after(1).is_some_and(|c| c.is_ascii_alphanumeric() || c == '.' || c == '%')
        {
            out.push(((at, at + 1), c as u8 - b'0'));
        } else if let Some((word, value)) = WORDS.iter().find(|(word, _)| {
            lower[at..].starts_with(word) && !after(word.len()).is_some_and(|c| c.is_ascii_alphanumeric())
        }) {
            out.push(((at, at + word.len()), *value));
        } else if let Some((word, value)) = KOREAN.iter().find(|(word, _)| lower[at..].starts_with(word))
            && lower[..at].trim_end().ends_with(['별', '점'])
        {
            out.push(((at, at + word.trim_end().len()), *value));
        }
    }
    out
}

fn korean(lower: &str, first: Span, last: Span, from: u8, to: u8) -> Option<(Ratings, Span)> {
    let before = lower[..first.0].trim_end();
    let before = before.strip_suffix("이").filter(|before| before.ends_with("점")).unwrap_or(before);
    let lead = ["별점", "평점", "점수", "별"].iter().find(|word| before.ends_with(**word));
    let after = &lower[last.1..];
    let unit = if after.starts_with('점') { "점".len() } else { 0 };
    let count = after.trim_start().starts_with('개') && lead.is_some();
    let spaced = after.trim_start().starts_with("점 ").then(|| after.find('점').unwrap_or(0) + "점".len());
    let unit = if unit == 0 { spaced.unwrap_or(0) } else { unit };
    if unit == 0 && lead.is_none() {
        return None;
    }
    let mut end = last.1 + unit;
    if count {
        end = last.1 + after.find('개').unwrap_or(0) + "개".len();
    }
    let mut rest = lower[end..].trim_start();
    for word in ["짜리", "대", "을", "를", "보다", "인", "의"] {
        rest = rest.strip_prefix(word).unwrap_or(rest).trim_start();
    }
    let words = [
        ("이상", Bound::AtLeast),
        ("이하", Bound::AtMost),
        ("미만", Bound::Below),
        ("초과", Bound::Above),
        ("넘", Bound::Above),
        ("높", Bound::Above),
        ("낮", Bound::Below),
        ("아래", Bound::Below),
        ("밑", Bound::Below),
        ("만점", Bound::Exactly),
        ("부터", Bound::AtLeast),
        ("까지", Bound::AtMost),
    ];
    let (bound, word) = words
        .iter()
        .find(|(word, _)| rest.starts_with(word))
        .map_or((Bound::Exactly, ""), |(word, bound)| (*bound, *word));
    let bound = if from != to { Bound::Exactly } else { bound };
    let end = lower.len() - rest.len() + word.len();
    let start = lead.map_or(first.0, |word| before.len() - word.len());
    Ratings::new(bound, from, to).map(|ratings| (ratings, (start, end)))
}

fn english(lower: &str, first: Span, last: Span, from: u8, to: u8) -> Option<(Ratings, Span)> {
    let mut rest = &lower[last.1..];
    let mut bound = Bound::Exactly;
    let mut star = false;
    let words: [(&str, Option<Bound>); 20] = [
        ("stars", None),
        ("star", None),
        ("points", None),
        ("or more", Some(Bound::AtLeast)),
        ("or higher", Some(Bound::AtLeast)),
        ("or above", Some(Bound::AtLeast)),
        ("or better", Some(Bound::AtLeast)),
        ("or up", Some(Bound::AtLeast)),
        ("and up", Some(Bound::AtLeast)),
        ("and above", Some(Bound::AtLeast)),
        ("and over", Some(Bound::AtLeast)),
        ("+", Some(Bound::AtLeast)),
        ("or less", Some(Bound::AtMost)),
        ("or fewer", Some(Bound::AtMost)),
        ("or lower", Some(Bound::AtMost)),
        ("or below", Some(Bound::AtMost)),
        ("or under", Some(Bound::AtMost)),
        ("or worse", Some(Bound::AtMost)),
        ("and below", Some(Bound::AtMost)),
        ("and under", Some(Bound::AtMost)),
    ];
    let mut end = last.1;
    for _ in 0..3 {
        let blank = rest.len() - rest.trim_start_matches([' ', '-']).len();
        let Some((word, meaning)) = words.iter().find(|(word, _)| rest[blank..].starts_with(word)) else {
            break;
        };
        star |= word.starts_with("star") || *word == "points";
        if let Some(meaning) = meaning {
            bound = *meaning;
        }
        end += blank + word.len();
        rest = &lower[end..];
    }
    let mut before = lower[..first.0].trim_end();
    let leads: [(&str, Option<Bound>); 24] = [
        ("at least", Some(Bound::AtLeast)),
        ("minimum of", Some(Bound::AtLeast)),
        ("minimum", Some(Bound::AtLeast)),
        ("at most", Some(Bound::AtMost)),
        ("up to", Some(Bound::AtMost)),
        ("maximum", Some(Bound::AtMost)),
        ("above", Some(Bound::Above)),
        ("over", Some(Bound::Above)),
        ("more than", Some(Bound::Above)),
        ("higher than", Some(Bound::Above)),
        ("better than", Some(Bound::Above)),
        ("below", Some(Bound::Below)),
        ("under", Some(Bound::Below)),
        ("less than", Some(Bound::Below)),
        ("fewer than", Some(Bound::Below)),
        ("lower than", Some(Bound::Below)),
        ("worse than", Some(Bound::Below)),
        ("between", None),
        ("from", None),
        ("of", None),
        ("rated", None),
        ("ratings", None),
        ("rating", None),
        ("a", None),
    ];
    let mut rated = false;
    for _ in 0..4 {
        let found = leads.iter().find_map(|(word, meaning)| {
            let start = before.strip_suffix(word)?;
            (!start.ends_with(char::is_alphanumeric)).then_some((*word, *meaning, start))
        });
        let Some((word, meaning, start)) = found else { break };
        rated |= word.starts_with("rat");
        if let Some(meaning) = meaning {
            bound = meaning;
        }
        before = start.trim_end();
    }
    if !star && !rated {
        return None;
    }
    let bound = if from != to { Bound::Exactly } else { bound };
    let start =
        lower[before.len()..].find(|c: char| !c.is_whitespace()).map_or(first.0, |at| before.len() + at);
    Ratings::new(bound, from, to).map(|ratings| (ratings, (start.min(first.0), end)))
}
