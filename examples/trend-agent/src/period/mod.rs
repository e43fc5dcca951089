//! Periods named in a message, in Korean and English, relative to a stated day.

mod calendar;
mod comparison;
mod english;
mod korean;
mod neighbour;
mod ranges;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A range of days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Period {
    /// The first day, YYYY-MM-DD.
    #[schemars(with = "String")]
    pub from: Date,
    /// The last day, YYYY-MM-DD.
    #[schemars(with = "String")]
    pub to: Date,
}

/// A period as a message names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodMention {
    /// The days.
    pub period: Period,
    /// Whether the days depend on the day of the request (`last month`, a month without its year).
    pub relative: bool,
    /// Byte ranges of the message that were read.
    pub spans: Vec<(usize, usize)>,
    /// Whether the message excludes these days; the days outside are then not a period.
    pub excluded: bool,
    /// The earlier of two periods that the message compares; `period` is the later one.
    pub against: Option<Period>,
    /// A part of the period that the message excludes.
    pub without: Option<Period>,
    /// Byte ranges of further periods of the message, which do not count.
    pub others: Vec<(usize, usize)>,
}

/// The days that a period without one of its ends is limited to.
#[derive(Debug, Clone, Copy)]
pub struct Calendar {
    /// The day of the request.
    pub today: Date,
    /// The first day with data: the start of `until May`.
    pub oldest: Date,
}

impl Period {
    /// Returns whether a day lies in the period.
    #[must_use]
    pub fn contains(&self, day: Date) -> bool {
        self.from <= day && day <= self.to
    }

    /// Returns the period named in a message (lower case): days, months, seasons, quarters, halves and years, alone or as a
    /// range (`between march and may 2026`, `3월부터 5월까지`, `5월 이후`), and periods relative to `calendar.today` (`last
    /// quarter`, `지난 3개월`, `작년 하반기`).
    ///
    /// `last month` and `지난달` are the previous calendar month, `past month` and `지난 한 달` the days up to today. A month
    /// without its year is the latest one that has begun. Two periods that don't adjoin are not a range: the first one counts,
    /// unless the message compares them (`compare March with May`, `3월 대비 5월`).
    #[must_use]
    pub fn parse(lower: &str, calendar: Calendar) -> Option<PeriodMention> {
        ranges::parse(lower, calendar)
    }

    /// Returns the period that a message (lower case) names by its place beside this one: `그 전 달`, `the quarter before`.
    #[must_use]
    pub fn neighbour(self, lower: &str) -> Option<PeriodMention> {
        neighbour::parse(lower, self)
    }
}

/// One period in a message, before it is combined with the words around it.
#[derive(Debug, Clone, Copy)]
struct Point {
    span: (usize, usize),
    period: Period,
    /// Whether the message leaves the year open.
    yearless: bool,
    relative: bool,
}

/// A position in a message.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\n']).len();
    }

    /// Passes `word` if it comes next.
    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Passes the first of `words` that comes next, after spaces.
    fn eat_any<T: Copy>(&mut self, words: &[(&str, T)]) -> Option<T> {
        let mut ahead = *self;
        ahead.skip_spaces();
        let (_, value) = words.iter().find(|(word, _)| ahead.eat(word))?;
        *self = ahead;
        Some(*value)
    }

    /// Passes the first of `words` that comes next as a whole Latin word, after spaces.
    fn eat_word<T: Copy>(&mut self, words: &[(&str, T)]) -> Option<T> {
        let mut ahead = *self;
        ahead.skip_spaces();
        let rest = ahead.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, value) = words.iter().find(|(word, _)| *word == &rest[..end])?;
        ahead.at += word.len();
        *self = ahead;
        Some(*value)
    }

    /// Passes a number of at most four digits, after spaces.
    fn number(&mut self) -> Option<i16> {
        let mut ahead = *self;
        ahead.skip_spaces();
        let rest = ahead.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..end].parse().ok().filter(|_| end <= 4)?;
        ahead.at += end;
        *self = ahead;
        Some(number)
    }

    /// Passes a plausible year, after spaces.
    fn year(&mut self) -> Option<i16> {
        let mut ahead = *self;
        let year = ahead.number().filter(|year| (2000..2100).contains(year))?;
        if ahead.rest().starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return None;
        }
        *self = ahead;
        Some(year)
    }
}
