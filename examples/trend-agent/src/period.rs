//! The stretch of time a request names, in Korean and English, counted back from the newest review.

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::text::find;

/// A stretch of days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
}

impl Period {
    /// Whether a day lies in it.
    #[must_use]
    pub fn contains(&self, day: Date) -> bool {
        self.from <= day && day <= self.to
    }

    /// The period named in a message (lower case), if it names one: a month (`2026-03`, `2026년 3월`, `march 2026`), a
    /// year (`2026년`, `in 2026`), or a stretch back from `newest` (`last 3 months`, `최근 3개월`). A message that names
    /// several means the first of that list that it names.
    #[must_use]
    pub fn parse(lower: &str, newest: Date) -> Option<Self> {
        month_in_digits(lower)
            .or_else(|| month_in_english(lower))
            .or_else(|| back_in_korean(lower, newest))
            .or_else(|| back_in_english(lower, newest))
            .or_else(|| year(lower))
    }
}

fn month(year: i16, month: i8) -> Option<Period> {
    let from = Date::new(year, month, 1).ok()?;
    Some(Period { from, to: from.last_of_month() })
}

/// The number that ends right before byte `at`, spaces between allowed.
fn number_before(lower: &str, at: usize) -> Option<i16> {
    let before = lower[..at].trim_end();
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    before[before.len() - digits..].parse().ok()
}

/// The number that begins right after byte `at`, spaces between allowed.
fn number_after(lower: &str, at: usize) -> Option<i16> {
    let after = lower[at..].trim_start();
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..end].parse().ok()
}

fn plausible(year: i16) -> bool {
    (2000..2100).contains(&year)
}

fn month_in_digits(lower: &str) -> Option<Period> {
    for mark in ["년", "-", ".", "/"] {
        for (at, _) in lower.match_indices(mark) {
            let Some(year) = number_before(lower, at).filter(|year| plausible(*year)) else { continue };
            let Some(number) = number_after(lower, at + mark.len()) else { continue };
            if mark == "년" && !lower[at..].contains('월') {
                continue;
            }
            if let Some(found) = i8::try_from(number).ok().and_then(|number| month(year, number)) {
                return Some(found);
            }
        }
    }
    None
}

fn month_in_english(lower: &str) -> Option<Period> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    (1_i8..).zip(MONTHS).find_map(|(number, name)| {
        let (_, to) = *find(lower, name).first()?;
        month(number_after(lower, to).filter(|year| plausible(*year))?, number)
    })
}

fn year(lower: &str) -> Option<Period> {
    let named = lower
        .match_indices("년")
        .find_map(|(at, _)| number_before(lower, at).filter(|year| plausible(*year)));
    let named = named.or_else(|| {
        ["in ", "during ", "of ", "from "].iter().find_map(|word| {
            lower
                .match_indices(word)
                .find_map(|(at, _)| number_after(lower, at + word.len()).filter(|year| plausible(*year)))
        })
    })?;
    Some(Period { from: Date::new(named, 1, 1).ok()?, to: Date::new(named, 12, 31).ok()? })
}

#[derive(Clone, Copy)]
enum Unit {
    Day,
    Week,
    Month,
    Year,
}

fn back(count: i16, unit: Unit, newest: Date) -> Option<Period> {
    let count = i64::from(count.clamp(1, 1000));
    let span = match unit {
        Unit::Day => count.days(),
        Unit::Week => count.weeks(),
        Unit::Month => count.months(),
        Unit::Year => count.years(),
    };
    let from = newest.checked_sub(span).ok()?.checked_add(1.day()).ok()?;
    Some(Period { from, to: newest })
}

fn back_in_korean(lower: &str, newest: Date) -> Option<Period> {
    const UNITS: [(&str, Unit); 7] = [
        ("개월", Unit::Month),
        ("달", Unit::Month),
        ("주일", Unit::Week),
        ("주간", Unit::Week),
        ("주", Unit::Week),
        ("일", Unit::Day),
        ("년", Unit::Year),
    ];
    for lead in ["최근", "지난"] {
        for (at, _) in lower.match_indices(lead) {
            let after = lower[at + lead.len()..].trim_start();
            if after.starts_with("반년") {
                return back(6, Unit::Month, newest);
            }
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (count, rest) = match after[..digits].parse::<i16>() {
                Ok(count) => (count, after[digits..].trim_start()),
                Err(_) => match after.chars().next() {
                    Some('한') => (1, after["한".len()..].trim_start()),
                    Some('두') => (2, after["두".len()..].trim_start()),
                    Some('세') => (3, after["세".len()..].trim_start()),
                    Some('달') => (1, after),
                    _ => continue,
                },
            };
            if let Some((_, unit)) = UNITS.iter().find(|(word, _)| rest.starts_with(word)) {
                return back(count, *unit, newest);
            }
        }
    }
    None
}

fn back_in_english(lower: &str, newest: Date) -> Option<Period> {
    const NUMBERS: [(&str, i16); 8] = [
        ("two", 2),
        ("three", 3),
        ("four", 4),
        ("five", 5),
        ("six", 6),
        ("nine", 9),
        ("ten", 10),
        ("twelve", 12),
    ];
    for lead in ["last", "past", "recent", "previous"] {
        for (_, to) in find(lower, lead) {
            let mut words = lower[to..].split_whitespace().take(2);
            let first = words.next().unwrap_or_default();
            let spelled = NUMBERS.iter().find(|(word, _)| *word == first).map(|(_, number)| *number);
            let (count, unit) = match first.parse().ok().or(spelled) {
                Some(count) => (count, words.next().unwrap_or_default()),
                None => (1, first),
            };
            let unit = unit.trim_matches(|c: char| !c.is_alphanumeric()).trim_end_matches('s');
            let unit = match unit {
                "day" => Unit::Day,
                "week" => Unit::Week,
                "month" => Unit::Month,
                "quarter" => return back(count.clamp(1, 300) * 3, Unit::Month, newest),
                "year" => Unit::Year,
                _ => continue,
            };
            return back(count, unit, newest);
        }
    }
    None
}
