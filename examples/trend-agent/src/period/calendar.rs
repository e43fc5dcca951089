//! Calendar arithmetic on months, quarters, halves, seasons and weeks.

use jiff::ToSpan;
use jiff::civil::Date;

use super::Period;

/// A part of a year that begins in month `first` and lasts `months` months; may reach into the next year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct YearPart {
    pub(super) first: i8,
    pub(super) months: i32,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Day,
    Week,
    Month,
    Quarter,
    HalfYear,
    Year,
}

pub(super) const SPRING: YearPart = YearPart { first: 3, months: 3 };
pub(super) const SUMMER: YearPart = YearPart { first: 6, months: 3 };
pub(super) const AUTUMN: YearPart = YearPart { first: 9, months: 3 };
pub(super) const WINTER: YearPart = YearPart { first: 12, months: 3 };

impl YearPart {
    pub(super) fn month(number: i16) -> Option<Self> {
        let first = i8::try_from(number).ok().filter(|number| (1..=12).contains(number))?;
        Some(Self { first, months: 1 })
    }

    pub(super) fn quarter(number: i16) -> Option<Self> {
        let first = i8::try_from(number).ok().filter(|number| (1..=4).contains(number))? * 3 - 2;
        Some(Self { first, months: 3 })
    }

    pub(super) fn half(number: i16) -> Option<Self> {
        let first = i8::try_from(number).ok().filter(|number| (1..=2).contains(number))? * 6 - 5;
        Some(Self { first, months: 6 })
    }

    pub(super) fn of(self, year: i16) -> Option<Period> {
        months(Date::new(year, self.first, 1).ok()?, self.months)
    }

    /// The latest one that has begun.
    pub(super) fn latest(self, today: Date) -> Option<Period> {
        let period = self.of(today.year())?;
        if period.from <= today { Some(period) } else { self.of(today.year() - 1) }
    }

    /// The latest one that is over.
    pub(super) fn last(self, today: Date) -> Option<Period> {
        let period = self.latest(today)?;
        if period.to < today { Some(period) } else { self.of(period.from.year() - 1) }
    }
}

fn months(from: Date, count: i32) -> Option<Period> {
    let to = from.checked_add(count.months()).ok()?.checked_sub(1.day()).ok()?;
    Some(Period { from, to })
}

pub(super) fn year(year: i16) -> Option<Period> {
    months(Date::new(year, 1, 1).ok()?, 12)
}

pub(super) fn day(year: i16, month: i16, day: i16) -> Option<Period> {
    let from = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    Some(Period { from, to: from })
}

/// The calendar unit of today, shifted by `offset` units.
pub(super) fn current(unit: Unit, offset: i32, today: Date) -> Option<Period> {
    let month = today.first_of_month();
    match unit {
        Unit::Day => {
            let from = today.checked_add(offset.days()).ok()?;
            Some(Period { from, to: from })
        }
        Unit::Week => {
            let since = i32::from(today.weekday().to_monday_zero_offset());
            let from = today.checked_add((offset * 7 - since).days()).ok()?;
            Some(Period { from, to: from.checked_add(6.days()).ok()? })
        }
        Unit::Month => months(month.checked_add(offset.months()).ok()?, 1),
        Unit::Quarter | Unit::HalfYear => {
            let size = if unit == Unit::Quarter { 3 } else { 6 };
            let since = (i32::from(today.month()) - 1) % size;
            months(month.checked_add((offset * size - since).months()).ok()?, size)
        }
        Unit::Year => year(today.year().checked_add(i16::try_from(offset).ok()?)?),
    }
}

/// The days of `count` units up to and including today.
pub(super) fn back(count: i16, unit: Unit, today: Date) -> Option<Period> {
    let count = i64::from(count.clamp(1, 1000));
    let span = match unit {
        Unit::Day => count.days(),
        Unit::Week => count.weeks(),
        Unit::Month => count.months(),
        Unit::Quarter => (count * 3).months(),
        Unit::HalfYear => (count * 6).months(),
        Unit::Year => count.years(),
    };
    let from = today.checked_sub(span).ok()?.checked_add(1.day()).ok()?;
    Some(Period { from, to: today })
}

/// The period `years` years later.
pub(super) fn shift(period: Period, years: i16) -> Option<Period> {
    let span = i64::from(years).years();
    let last = period.to == period.to.last_of_month();
    let to = period.to.checked_add(span).ok()?;
    Some(Period { from: period.from.checked_add(span).ok()?, to: if last { to.last_of_month() } else { to } })
}
