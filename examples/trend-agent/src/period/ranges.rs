//! Periods combined with the words around them: `between … and …`, `since …`, `…부터 …까지`, `… 이후`.

use jiff::ToSpan;

use super::calendar::{Unit, back, shift};
use super::comparison::{against_alone, compared, same_part};
use super::{Calendar, Cursor, Period, PeriodMention, Point, english, korean};
use crate::text::{find, is_hangul};

/// `recently` without a number means this many months.
const RECENT_MONTHS: i16 = 3;

/// Reads the period of a message; see [`Period::parse`].
pub(super) fn parse(lower: &str, calendar: Calendar) -> Option<PeriodMention> {
    let mut points = points(lower, calendar);
    let without = take_excluded(lower, &mut points, calendar);
    let mut mention = combine(lower, &points, calendar)?;
    if let Some((point, word)) = without {
        mention.without = Some(point.period);
        mention.relative |= point.relative;
        mention.spans.extend([point.span, word]);
    }
    let unread = |span: &(usize, usize)| !mention.spans.iter().any(|read| read.0 < span.1 && span.0 < read.1);
    mention.others = points.iter().map(|point| point.span).filter(unread).collect();
    Some(mention)
}

/// Takes out the first point that the message excludes, if others are left ("올해 것 중 6월은 제외"). A point of a range stays.
fn take_excluded(
    lower: &str,
    points: &mut Vec<Point>,
    calendar: Calendar,
) -> Option<(Point, (usize, usize))> {
    let joined = |at: usize| {
        let (Some(first), Some(second)) = (points.get(at), points.get(at + 1)) else { return false };
        range(lower, *first, *second, calendar).is_some()
    };
    let found = (0..points.len()).find_map(|at| {
        let alone = !joined(at) && !at.checked_sub(1).is_some_and(joined);
        excluder(lower, points[at].span).filter(|_| alone && points.len() > 1).map(|word| (at, word))
    });
    let (at, word) = found?;
    Some((points.remove(at), word))
}

/// The period that the first points make with the words around them.
fn combine(lower: &str, points: &[Point], calendar: Calendar) -> Option<PeriodMention> {
    let Some(&first) = points.first() else { return recently(lower, calendar) };
    let mut spans = vec![first.span];
    let before = lower[..first.span.0].trim_end();
    if let Some(second) = points.get(1)
        && let Some(compared) = compared(lower, first, *second)
    {
        return Some(compared);
    }
    if let Some(alone) = against_alone(lower, points, calendar) {
        return Some(alone);
    }
    if let Some(second) = points.get(1)
        && let Some(range) = range(lower, first, *second, calendar)
    {
        spans.push((first.span.0, second.span.1));
        spans.extend(word_before(before, &["between", "from"]));
        let last = word_after(lower, second.span.1, &["까지", "사이"]);
        spans.extend(last);
        let excluder = excluder(lower, (first.span.0, last.map_or(second.span.1, |word| word.1)));
        spans.extend(excluder);
        return Some(PeriodMention { spans, excluded: excluder.is_some(), ..range });
    }
    let Point { period, relative, span, .. } = first;
    // "Reviews from May" are those of May; "from May on" has no end.
    let (start, end) = (calendar.oldest.min(period.from), calendar.today.max(period.to));
    let since = Period { from: period.from, to: end };
    let until = Period { from: start, to: period.to };
    // A period that is over before the data begins leaves nothing before it.
    let earlier = period.from.checked_sub(1.day()).ok();
    let earlier = earlier.map(|to| Period { from: calendar.oldest.min(to), to });
    let later = period.to.checked_add(1.day()).ok();
    let later = later.map(|from| Period { from, to: calendar.today.max(from) });
    let onwards =
        word_after(lower, span.1, &["onwards", "onward"]).or_else(|| on_without_noun(lower, span.1));
    let from = word_before(before, &["from"]);
    let combined = if let Some(word) = word_before(before, &["since", "starting", "beginning"]).or(onwards) {
        spans.extend(from);
        Some((since, word))
    } else if let Some(word) = word_before(before, &["after"]) {
        later.map(|period| (period, word))
    } else if let Some(word) = word_before(before, &["before", "prior to"]) {
        earlier.map(|period| (period, word))
    } else if let Some(word) = word_before(before, &["until", "till", "up to", "through", "by"]) {
        Some((until, word))
    } else if let Some(word) = word_after(lower, span.1, &["이후", "부터", "이래", "이후로"]) {
        Some((since, word))
    } else if let Some(word) = word_after(lower, span.1, &["이전", "전에", "전까지", "전 "]) {
        earlier.map(|period| (period, word))
    } else {
        word_after(lower, span.1, &["까지"]).map(|word| (until, word))
    };
    let Some((period, word)) = combined else {
        spans.extend(from);
        spans.extend(excluder(lower, span));
        let excluded = excluder(lower, span).is_some();
        return Some(PeriodMention {
            period,
            relative,
            spans,
            excluded,
            against: None,
            without: None,
            others: Vec::new(),
        });
    };
    spans.push(word);
    // What is left when the days before or after a day are excluded is a period again.
    let whole = (span.0.min(word.0), span.1.max(word.1));
    let excluder = excluder(lower, whole);
    spans.extend(excluder);
    let period = match excluder.is_some() {
        true if period.from == calendar.oldest => {
            Period { from: period.to.checked_add(1.day()).ok()?, to: calendar.today.max(period.to) }
        }
        true => Period { from: calendar.oldest, to: period.from.checked_sub(1.day()).ok()? },
        false => period,
    };
    if period.from > period.to {
        return None;
    }
    // An open end is the day of the request.
    let open = period.to == calendar.today && first.period.to != calendar.today;
    Some(PeriodMention {
        period,
        relative: relative || open,
        spans,
        excluded: false,
        against: None,
        without: None,
        others: Vec::new(),
    })
}

/// Every period in the message, in order. `3~5월` is two: the first takes its unit from the second.
fn points(lower: &str, calendar: Calendar) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let mut next = 0;
    for (at, c) in lower.char_indices() {
        let before = lower[..at].chars().next_back();
        let starts = if is_hangul(c) {
            !before.is_some_and(is_hangul)
        } else {
            c.is_ascii_alphanumeric() && !before.is_some_and(|c| c.is_ascii_alphanumeric())
        };
        if at < next || !starts {
            continue;
        }
        let mut cursor = Cursor { text: lower, at };
        let read = korean::read(&mut cursor, calendar.today)
            .or_else(|| {
                cursor.at = at;
                english::read(&mut cursor, calendar.today)
            })
            .or_else(|| {
                cursor.at = at;
                first_of_two_months(&mut cursor, calendar)
            })
            .or_else(|| {
                cursor.at = at;
                same_part(&mut cursor, *points.last()?)
            });
        if let Some((period, yearless, relative)) = read {
            points.push(Point { span: (at, cursor.at), period, yearless, relative });
            next = cursor.at;
        }
    }
    points
}

/// The `3` of `3~5월` and of `3-5월`.
fn first_of_two_months(cursor: &mut Cursor<'_>, calendar: Calendar) -> Option<(Period, bool, bool)> {
    let number = cursor.number()?;
    let mut ahead = *cursor;
    ahead.eat_any(&[("~", ()), ("-", ()), ("–", ()), ("∼", ())])?;
    ahead.number()?;
    ahead.eat_any(&[("월", ())])?;
    let part = super::calendar::YearPart::month(number)?;
    Some((part.latest(calendar.today)?, true, true))
}

/// The range from one point to another, if the words between them say so or the two adjoin.
fn range(lower: &str, first: Point, second: Point, calendar: Calendar) -> Option<PeriodMention> {
    let between = lower[first.span.1..second.span.0].trim();
    let lead = lower[..first.span.0].trim_end();
    let joined = ["to", "until", "till", "through", "thru", "up to", "-", "–", "~", "∼", "부터", "에서"]
        .contains(&between)
        || (between == "and" && lead.ends_with("between"))
        || (["과", "와", "하고"].contains(&between)
            && lower[second.span.1..].trim_start().starts_with("사이"));
    let also = ["and", "&", ",", "과", "와", "랑", "하고", "및", ""].contains(&between);
    if !joined && !also {
        return None;
    }
    let (from, to) = forwards(first, second)?;
    let adjoining = from.to.checked_add(1.day()).ok().is_some_and(|next| next == to.from);
    if !joined && !adjoining {
        return None;
    }
    let relative = (first.yearless && second.yearless)
        || (first.relative && !first.yearless)
        || (second.relative && !second.yearless);
    let _ = calendar;
    Some(PeriodMention {
        period: Period { from: from.from, to: to.to },
        relative,
        spans: Vec::new(),
        excluded: false,
        against: None,
        without: None,
        others: Vec::new(),
    })
}

/// Two periods in order; an open year is the one that makes them run forwards.
pub(super) fn forwards(first: Point, second: Point) -> Option<(Period, Period)> {
    let (mut from, mut to) = (first.period, second.period);
    if first.yearless && !second.yearless {
        from = with_year(from, to.from.year())?;
        if from.from > to.to {
            from = shift(from, -1)?;
        }
    } else if second.yearless && !first.yearless {
        to = with_year(to, from.from.year())?;
        if to.to < from.from {
            to = shift(to, 1)?;
        }
    } else if first.yearless && from.from > to.to {
        from = shift(from, -1)?;
    }
    (from.from <= to.to).then_some((from, to))
}

fn with_year(period: Period, year: i16) -> Option<Period> {
    shift(period, year.checked_sub(period.from.year())?)
}

/// `recently` and `요즘` without a number.
fn recently(lower: &str, calendar: Calendar) -> Option<PeriodMention> {
    let words = ["recent", "recently", "lately", "latest", "these days", "최근", "요즘", "요새", "근래"];
    let span = words.iter().find_map(|word| find(lower, word).first().copied())?;
    let period = back(RECENT_MONTHS, Unit::Month, calendar.today)?;
    Some(PeriodMention {
        period,
        relative: true,
        spans: vec![span],
        excluded: false,
        against: None,
        without: None,
        others: Vec::new(),
    })
}

/// The `on` of "from May on": it ends its clause, or a preposition follows. Before a noun it means a place ("on social media").
fn on_without_noun(lower: &str, at: usize) -> Option<(usize, usize)> {
    let word = word_after(lower, at, &["on "]).map(|(from, to)| (from, to - 1));
    let word = word.or_else(|| word_after(lower, at, &["on,", "on.", "on?", "on;", "on:", "on!"]))?;
    let rest = lower[word.0 + 2..].trim_start();
    let next = rest.find(|c: char| !c.is_ascii_alphabetic()).map_or(rest, |end| &rest[..end]);
    let closes = rest.starts_with(|c: char| !c.is_alphanumeric())
        || ["", "for", "of", "in", "and", "but", "please", "only", "about", "by", "with"].contains(&next);
    closes.then_some((word.0, word.0 + 2))
}

/// The word with which the message excludes what is at `span`.
fn excluder(lower: &str, span: (usize, usize)) -> Option<(usize, usize)> {
    let mut before = lower[..span.0].trim_end();
    let fillers = [
        "between",
        "from",
        "in",
        "the",
        "everything",
        "anything",
        "reviews",
        "those",
        "ones",
        "written",
        "posted",
        "what",
        "that",
        "which",
        "was",
        "were",
        "is",
        "are",
    ];
    while let Some(rest) = fillers.iter().find_map(|filler| before.strip_suffix(filler)) {
        before = rest.trim_end();
    }
    let negated = [
        "except",
        "except for",
        "excluding",
        "exclude",
        "without",
        "other than",
        "apart from",
        "ignore",
        "ignoring",
        "leave out",
        "leaving out",
        "not",
        "skip",
        "skipping",
        "minus",
        "omit",
    ]
    .iter()
    .find_map(|word| word_before(before, &[word]));
    let mut at = span.1;
    for particle in ["에", "것", "거", "리뷰", "후기", "은", "는", "의", "을", "를", "만"] {
        at = word_after(lower, at, &[particle]).map_or(at, |word| word.1);
    }
    negated.or_else(|| {
        word_after(lower, at, &["말고", "빼고", "빼줘", "뺀", "빼면", "빼", "제외하고", "제외한", "제외"])
    })
}

fn word_before(before: &str, words: &[&str]) -> Option<(usize, usize)> {
    let before = before.strip_suffix(" the").unwrap_or(before).trim_end();
    words.iter().find_map(|word| {
        let start = before.strip_suffix(word)?;
        (!start.ends_with(|c: char| c.is_ascii_alphanumeric())).then_some((start.len(), before.len()))
    })
}

pub(super) fn word_after(lower: &str, at: usize, words: &[&str]) -> Option<(usize, usize)> {
    let start = at + lower[at..].len() - lower[at..].trim_start().len();
    words.iter().find_map(|word| lower[start..].starts_with(word).then_some((start, start + word.len())))
}
