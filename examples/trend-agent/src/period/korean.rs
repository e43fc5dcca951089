//! One period in Korean words.

use jiff::civil::Date;

use super::calendar::{AUTUMN, SPRING, SUMMER, Unit, WINTER, YearPart, back, current, day, year};
use super::{Cursor, Period};

const NUMBERS: [(&str, i16); 11] = [
    ("한", 1),
    ("두", 2),
    ("세", 3),
    ("석", 3),
    ("네", 4),
    ("다섯", 5),
    ("여섯", 6),
    ("일곱", 7),
    ("여덟", 8),
    ("아홉", 9),
    ("열", 10),
];

const UNITS: [(&str, Unit); 10] = [
    ("개월", Unit::Month),
    ("달", Unit::Month),
    ("주일", Unit::Week),
    ("주간", Unit::Week),
    ("주", Unit::Week),
    ("일", Unit::Day),
    ("년", Unit::Year),
    ("분기", Unit::Quarter),
    ("반기", Unit::HalfYear),
    ("해", Unit::Year),
];

const SEASONS: [(&str, YearPart); 4] = [("봄", SPRING), ("여름", SUMMER), ("가을", AUTUMN), ("겨울", WINTER)];

/// Reads a period at the cursor. Returns the period, whether its year is open, and whether it is relative.
pub(super) fn read(cursor: &mut Cursor<'_>, today: Date) -> Option<(Period, bool, bool)> {
    let start = *cursor;
    for reader in [relative, in_year, part_alone] {
        *cursor = start;
        if let Some(found) = reader(cursor, today) {
            return Some(found);
        }
    }
    None
}

/// `지난 3개월`, `최근 한 달`, `지난달`, `이번 주`, `어제`.
fn relative(cursor: &mut Cursor<'_>, today: Date) -> Option<(Period, bool, bool)> {
    if let Some(offset) = cursor.eat_any(&[("오늘", 0), ("어제", -1)]) {
        return Some((current(Unit::Day, offset, today)?, false, true));
    }
    if cursor.eat_any(&[("이달", ())]).is_some() {
        return so_far(Unit::Month, today);
    }
    if cursor.eat_any(&[("이번", ()), ("금", ())]).is_some() {
        if let Some(season) = cursor.eat_any(&SEASONS) {
            return Some((season.latest(today)?, false, true));
        }
        let unit = cursor.eat_any(&[
            ("달", Unit::Month),
            ("주", Unit::Week),
            ("분기", Unit::Quarter),
            ("반기", Unit::HalfYear),
            ("해", Unit::Year),
        ])?;
        return so_far(unit, today);
    }
    let start = *cursor;
    if let Some(count) = cursor.number().or_else(|| cursor.eat_any(&NUMBERS))
        && let Some(unit) = cursor.eat_any(&UNITS)
        && cursor.eat_any(&[("전부터", ())]).is_some()
    {
        return Some((back(count, unit, today)?, false, true));
    }
    *cursor = start;
    let last = cursor.eat_any(&[("지난", true), ("저번", true), ("최근", false), ("직전", true)])?;
    if cursor.eat_any(&[("반년", ())]).is_some() {
        return Some((back(6, Unit::Month, today)?, false, true));
    }
    let before = *cursor;
    if let Some(count) = cursor.number().or_else(|| cursor.eat_any(&NUMBERS))
        && let Some(unit) = cursor.eat_any(&UNITS)
    {
        return Some((back(count, unit, today)?, false, true));
    }
    *cursor = before;
    if !last {
        // "최근 일주일": the number is in the word.
        let days = cursor.eat_any(&[("일주일", 7), ("보름", 15), ("열흘", 10)])?;
        return Some((back(days, Unit::Day, today)?, false, true));
    }
    if cursor.eat_any(&[("일주일", ())]).is_some() {
        return Some((back(7, Unit::Day, today)?, false, true));
    }
    if let Some(season) = cursor.eat_any(&SEASONS) {
        return Some((season.last(today)?, false, true));
    }
    if let Some(number) = cursor.number()
        && cursor.eat_any(&[("월", ())]).is_some()
    {
        return Some((YearPart::month(number)?.last(today)?, false, true));
    }
    *cursor = before;
    if let Some(half) = cursor.eat_any(&[("상반기", 1), ("하반기", 2)]) {
        return Some((YearPart::half(half)?.last(today)?, false, true));
    }
    let unit = cursor.eat_any(&[
        ("달", Unit::Month),
        ("주", Unit::Week),
        ("분기", Unit::Quarter),
        ("반기", Unit::HalfYear),
        ("해", Unit::Year),
    ])?;
    if unit == Unit::Year {
        // "지난해 하반기".
        return within(cursor, today.year() - 1, true);
    }
    Some((current(unit, -1, today)?, false, true))
}

fn so_far(unit: Unit, today: Date) -> Option<(Period, bool, bool)> {
    let period = current(unit, 0, today)?;
    Some((Period { to: period.to.min(today), ..period }, false, true))
}

/// `2026년`, `2026년 3월`, `작년 하반기`, `올해 2분기`.
fn in_year(cursor: &mut Cursor<'_>, today: Date) -> Option<(Period, bool, bool)> {
    let words = [("재작년", -2), ("작년", -1), ("전년", -1), ("올해", 0), ("올 ", 0), ("금년", 0)];
    if let Some(offset) = cursor.eat_any(&words) {
        cursor.eat_any(&[("의", ())]);
        let (mut period, open, relative) = within(cursor, today.year() + offset, true)?;
        if offset == 0 && period.contains(today) {
            period.to = today;
        }
        return Some((period, open, relative));
    }
    let named = cursor.number().map(|year| if (20..100).contains(&year) { 2000 + year } else { year });
    let named = named.filter(|year| (2000..2100).contains(year))?;
    cursor.eat_any(&[("년", ())])?;
    cursor.eat_any(&[("도", ())]);
    within(cursor, named, false)
}

/// The part of a year that follows its name, or the whole year.
fn within(cursor: &mut Cursor<'_>, named: i16, relative: bool) -> Option<(Period, bool, bool)> {
    let before = *cursor;
    let Some(part) = part(cursor) else {
        *cursor = before;
        return Some((year(named)?, false, relative));
    };
    let day_start = *cursor;
    if part.months == 1
        && let Some(number) = cursor.number()
        && cursor.eat_any(&[("일", ())]).is_some()
    {
        return Some((day(named, i16::from(part.first), number)?, false, relative));
    }
    *cursor = day_start;
    Some((part.of(named)?, false, relative))
}

/// A part of a year without the year: `3월`, `하반기`, `2분기`, `여름`.
fn part_alone(cursor: &mut Cursor<'_>, today: Date) -> Option<(Period, bool, bool)> {
    let part = part(cursor)?;
    let before = *cursor;
    if part.months == 1
        && let Some(number) = cursor.number()
        && cursor.eat_any(&[("일", ())]).is_some()
    {
        let month = i16::from(part.first);
        let this = day(today.year(), month, number)?;
        let period = if this.from <= today { this } else { day(today.year() - 1, month, number)? };
        return Some((period, true, true));
    }
    *cursor = before;
    Some((part.latest(today)?, true, true))
}

fn part(cursor: &mut Cursor<'_>) -> Option<YearPart> {
    if let Some(half) = cursor.eat_any(&[("상반기", 1), ("하반기", 2)]) {
        return YearPart::half(half);
    }
    if let Some(season) = cursor.eat_any(&SEASONS) {
        return Some(season);
    }
    let number = cursor.number()?;
    if cursor.eat_any(&[("월", ())]).is_some() {
        return YearPart::month(number);
    }
    cursor.eat_any(&[("분기", ())])?;
    YearPart::quarter(number)
}
