//! A period named by its place beside another: `그 전 달`, `the month before`, `다음 분기`.

use super::calendar::{Unit, current};
use super::{Period, PeriodMention};
use crate::text::find;

/// Korean units, longest first.
const KOREAN: [(&str, Unit); 6] = [
    ("분기", Unit::Quarter),
    ("반기", Unit::HalfYear),
    ("달", Unit::Month),
    ("주", Unit::Week),
    ("해", Unit::Year),
    ("년도", Unit::Year),
];

/// English units.
const ENGLISH: [(&str, Unit); 5] = [
    ("month", Unit::Month),
    ("quarter", Unit::Quarter),
    ("half", Unit::HalfYear),
    ("week", Unit::Week),
    ("year", Unit::Year),
];

/// Reads a period beside `previous`. Words that are relative to today ("last month") are not read here.
pub(super) fn parse(lower: &str, previous: Period) -> Option<PeriodMention> {
    let (span, unit, offset) = korean(lower).or_else(|| english(lower))?;
    let edge = if offset < 0 { previous.from } else { previous.to };
    Some(PeriodMention {
        period: current(unit, offset, edge)?,
        relative: false,
        spans: vec![span],
        excluded: false,
        against: None,
        without: None,
        others: Vec::new(),
    })
}

fn korean(lower: &str) -> Option<((usize, usize), Unit, i32)> {
    let leads =
        [("^그전", -1), ("^그 전", -1), ("^그 이전", -1), ("^바로 전", -1), ("^전", -1), ("^직전", -1)];
    let later = [("^그다음", 1), ("^그 다음", 1), ("^그 후", 1), ("^그 뒤", 1)];
    leads.into_iter().chain(later).find_map(|(lead, offset)| {
        find(lower, lead).into_iter().find_map(|(from, to)| {
            let rest = lower[to..].trim_start_matches(' ');
            let (word, unit) = KOREAN.into_iter().find(|(word, _)| rest.starts_with(word))?;
            let after = rest[word.len()..].chars().next();
            // "전달" as a noun is followed by a verb, the period by a particle or a blank.
            let ends = after.is_none_or(|c| !c.is_alphanumeric() || "은는의엔에이과와랑도만".contains(c));
            ends.then_some(((from, lower.len() - rest.len() + word.len()), unit, offset))
        })
    })
}

fn english(lower: &str) -> Option<((usize, usize), Unit, i32)> {
    ENGLISH.into_iter().find_map(|(word, unit)| {
        let forms = [
            (format!("{word} before that"), -1),
            (format!("{word} before"), -1),
            (format!("{word} earlier"), -1),
            (format!("preceding {word}"), -1),
            (format!("{word} after that"), 1),
            (format!("{word} after"), 1),
            (format!("{word} later"), 1),
            (format!("following {word}"), 1),
        ];
        forms.into_iter().find_map(|(form, offset)| {
            let span = find(lower, &form).into_iter().find(|span| {
                let rest = lower[span.1..].trim();
                rest.is_empty() || rest.starts_with(|c: char| !c.is_alphanumeric())
            })?;
            Some((span, unit, offset))
        })
    })
}
