//! One period in English words.

use jiff::civil::Date;

use super::calendar::{AUTUMN, SPRING, SUMMER, Unit, WINTER, YearPart, back, current, day, year};
use super::{Cursor, Period};

const MONTHS: [(&str, i16); 24] = [
    ("january", 1),
    ("february", 2),
    ("march", 3),
    ("april", 4),
    ("may", 5),
    ("june", 6),
    ("july", 7),
    ("august", 8),
    ("september", 9),
    ("october", 10),
    ("november", 11),
    ("december", 12),
    ("jan", 1),
    ("feb", 2),
    ("mar", 3),
    ("apr", 4),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sep", 9),
    ("sept", 9),
    ("oct", 10),
    ("nov", 11),
    ("dec", 12),
];

const NUMBERS: [(&str, i16); 14] = [
    ("a", 1),
    ("one", 1),
    ("two", 2),
    ("couple", 2),
    ("three", 3),
    ("few", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("twelve", 12),
];

const UNITS: [(&str, Unit); 12] = [
    ("day", Unit::Day),
    ("days", Unit::Day),
    ("week", Unit::Week),
    ("weeks", Unit::Week),
    ("month", Unit::Month),
    ("months", Unit::Month),
    ("quarter", Unit::Quarter),
    ("quarters", Unit::Quarter),
    ("half", Unit::HalfYear),
    ("halves", Unit::HalfYear),
    ("year", Unit::Year),
    ("years", Unit::Year),
];

const SEASONS: [(&str, YearPart); 5] =
    [("spring", SPRING), ("summer", SUMMER), ("autumn", AUTUMN), ("fall", AUTUMN), ("winter", WINTER)];

/// Ordinal numbers of a part of a year.
pub(super) const ORDINALS: [(&str, i16); 8] = [
    ("first", 1),
    ("1st", 1),
    ("second", 2),
    ("2nd", 2),
    ("third", 3),
    ("3rd", 3),
    ("fourth", 4),
    ("4th", 4),
];

/// Whether a year was named, and by which kind of word.
enum Year {
    Open,
    Named(i16),
    Relative(i16),
}

/// Reads a period at the cursor, which is at the start of a word. Returns the period, whether its year is open, and whether
/// it is relative.
pub(super) fn read(cursor: &mut Cursor<'_>, today: Date) -> Option<(Period, bool, bool)> {
    let start = *cursor;
    for reader in [days, relative, day_of_month, part] {
        *cursor = start;
        if let Some(found) = reader(cursor, today) {
            return Some(found);
        }
    }
    *cursor = start;
    // A bare year; "2026-03" was read above.
    let named = cursor.year()?;
    Some((year(named)?, false, false))
}

/// `2026-03-05`, `2026-03`, and the same with dots or slashes.
fn days(cursor: &mut Cursor<'_>, _: Date) -> Option<(Period, bool, bool)> {
    let year = cursor.number().filter(|year| (2000..2100).contains(year))?;
    let mark = cursor.rest().chars().next().filter(|c| matches!(c, '-' | '.' | '/'))?;
    cursor.at += 1;
    if !cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let month = cursor.number()?;
    let before = *cursor;
    if cursor.eat(mark.encode_utf8(&mut [0; 4]))
        && cursor.rest().starts_with(|c: char| c.is_ascii_digit())
        && let Some(number) = cursor.number()
    {
        return Some((day(year, month, number)?, false, false));
    }
    *cursor = before;
    Some((YearPart::month(month)?.of(year)?, false, false))
}

/// `last month`, `past 3 weeks`, `this year`, `yesterday`.
fn relative(cursor: &mut Cursor<'_>, today: Date) -> Option<(Period, bool, bool)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Lead {
        /// The previous calendar unit.
        Last,
        /// The days up to today.
        Past,
        This,
    }
    if let Some(offset) = cursor.eat_word(&[("yesterday", -1), ("today", 0)]) {
        return Some((current(Unit::Day, offset, today)?, false, true));
    }
    let lead = cursor.eat_word(&[
        ("last", Lead::Last),
        ("previous", Lead::Last),
        ("past", Lead::Past),
        ("recent", Lead::Past),
        ("latest", Lead::Past),
        ("this", Lead::This),
        ("current", Lead::This),
    ])?;
    if lead != Lead::This {
        let before = *cursor;
        if let Some(count) = cursor.number().or_else(|| cursor.eat_word(&NUMBERS)) {
            cursor.eat_word(&[("of", ())]);
            if cursor.rest().starts_with('-') {
                cursor.at += 1;
            }
            let unit = cursor.eat_word(&UNITS)?;
            return Some((back(count, unit, today)?, false, true));
        }
        *cursor = before;
        if let Some(part) =
            cursor.eat_word(&SEASONS).or_else(|| cursor.eat_word(&MONTHS).and_then(YearPart::month))
        {
            return Some((part.last(today)?, false, true));
        }
    } else if let Some(season) = cursor.eat_word(&SEASONS) {
        return Some((season.latest(today)?, false, true));
    }
    let unit = cursor.eat_word(&UNITS)?;
    let period = match lead {
        Lead::Last => current(unit, -1, today)?,
        Lead::Past => back(1, unit, today)?,
        Lead::This => {
            let period = current(unit, 0, today)?;
            Period { to: period.to.min(today), ..period }
        }
    };
    Some((period, false, true))
}

/// `5 march 2026`, `march 5, 2026`.
fn day_of_month(cursor: &mut Cursor<'_>, today: Date) -> Option<(Period, bool, bool)> {
    let (month, number) = if let Some(number) = cursor.number() {
        cursor.eat_any(&[("st", ()), ("nd", ()), ("rd", ()), ("th", ())]);
        cursor.eat_word(&[("of", ())]);
        (cursor.eat_word(&MONTHS)?, number)
    } else {
        let month = cursor.eat_word(&MONTHS)?;
        let number = cursor.number().filter(|number| (1..=31).contains(number))?;
        cursor.eat_any(&[("st", ()), ("nd", ()), ("rd", ()), ("th", ())]);
        (month, number)
    };
    if cursor.rest().starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let (period, open, relative) = match year_after(cursor, today) {
        Year::Named(year) => (day(year, month, number)?, false, false),
        Year::Relative(year) => (day(year, month, number)?, false, true),
        Year::Open => {
            let this = day(today.year(), month, number)?;
            let period = if this.from <= today { this } else { day(today.year() - 1, month, number)? };
            (period, true, true)
        }
    };
    Some((period, open, relative))
}

/// A month, a quarter, a half or a season, with its year if it is named.
fn part(cursor: &mut Cursor<'_>, today: Date) -> Option<(Period, bool, bool)> {
    let start = *cursor;
    let short = |number: i16, half: bool| {
        if half { YearPart::half(number) } else { YearPart::quarter(number) }
    };
    let leading = cursor.year();
    if leading.is_none() {
        *cursor = start;
    }
    cursor.skip_spaces();
    let part = if let Some(month) = cursor.eat_word(&MONTHS) {
        let may = start.at;
        if month == 5 && !after_preposition(start.text, may) && leading.is_none() {
            // "may" is also a verb: it needs a year or a preposition.
            let mut ahead = *cursor;
            ahead.year()?;
        }
        YearPart::month(month)?
    } else if let Some(season) = cursor.eat_word(&SEASONS) {
        season
    } else if cursor.rest().starts_with(['q', 'h'])
        && cursor.rest()[1..].starts_with(|c: char| c.is_ascii_digit())
    {
        let half = cursor.rest().starts_with('h');
        cursor.at += 1;
        let part = short(cursor.number()?, half)?;
        if cursor.rest().starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return None;
        }
        part
    } else {
        let number = cursor.eat_word(&ORDINALS)?;
        let half = cursor.eat_word(&[("half", true), ("quarter", false)])?;
        short(number, half)?
    };
    let year = leading.map_or_else(|| year_after(cursor, today), Year::Named);
    match year {
        Year::Named(year) => Some((part.of(year)?, false, false)),
        Year::Relative(year) => Some((part.of(year)?, false, true)),
        Year::Open => Some((part.latest(today)?, true, true)),
    }
}

/// The year right after a month or another part of a year.
fn year_after(cursor: &mut Cursor<'_>, today: Date) -> Year {
    let start = *cursor;
    cursor.eat_any(&[(",", ()), ("'", ())]);
    cursor.eat_word(&[("of", ()), ("in", ())]);
    if let Some(year) = cursor.year() {
        return Year::Named(year);
    }
    cursor.eat_word(&[("the", ())]);
    if let Some(offset) = cursor.eat_word(&[("last", -1), ("this", 0)])
        && cursor.eat_word(&[("year", ())]).is_some()
    {
        return Year::Relative(today.year() + offset);
    }
    *cursor = start;
    Year::Open
}

fn after_preposition(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end();
    let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let word_ends = before.len() < at;
    before.ends_with(['-', '~', '–'])
        || (word_ends
            && [
                "in", "of", "since", "from", "until", "till", "between", "and", "to", "through", "after",
                "before", "by", "during", "for",
            ]
            .contains(&word))
}
