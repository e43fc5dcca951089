//! Two periods that a message compares: `compare March with May`, `3월 대비 5월`, `작년 하반기와 올해 비교`.

use super::calendar::YearPart;
use super::english::ORDINALS;
use super::ranges::{forwards, word_after};
use super::{Calendar, Cursor, Period, PeriodMention, Point};

/// Words between two periods that compare them.
const BETWEEN: [&str; 14] = [
    "with",
    "vs",
    "vs.",
    "versus",
    "against",
    "compared with",
    "compared to",
    "over",
    "대비",
    "보다",
    "에 비해",
    "에 비하면",
    "하고 비교해서",
    "대",
];

/// Words between two periods that compare them if the message compares before or after them.
const ALSO: [&str; 12] = ["and", "to", "&", "와", "과", "랑", "이랑", "하고", "및", "·", "/", ""];

/// English words before the first period.
const BEFORE: [&str; 7] = [
    "compare",
    "comparing",
    "comparison of",
    "difference between",
    "differences between",
    "changed between",
    "change between",
];

/// Words for the reviews of a period.
const FILLERS: [&str; 16] = [
    "거",
    "것",
    "꺼",
    "the",
    "that",
    "those",
    "of",
    "in",
    "from",
    "reviews",
    "ratings",
    "ones",
    "리뷰",
    "리뷰를",
    "후기",
    "후기를",
];

/// Reads the comparison of two periods. The earlier one is what the later one is compared with.
pub(super) fn compared(lower: &str, first: Point, second: Point) -> Option<PeriodMention> {
    let mut spans = vec![(first.span.0, second.span.1)];
    let between = without_fillers(&lower[first.span.1..second.span.0]);
    let clear = BETWEEN.contains(&between.as_str())
        || ["와 비교", "과 비교", "랑 비교"].iter().any(|word| between.starts_with(word));
    if !clear {
        let after = said_after(lower, second.span.1);
        let lead = without_fillers(&lower[..first.span.0]);
        let before = BEFORE.iter().any(|word| lead.ends_with(word));
        // "5월은 3월보다".
        let than = ["은", "는", "이", "가", ""].contains(&between.as_str()).then(|| {
            word_after(
                lower,
                second.span.1,
                &["보다", "에 비해", "대비", "와 비교", "과 비교", "랑 비교", "이랑 비교"],
            )
        });
        let than = than.flatten();
        spans.extend(than);
        let apart = lower.contains("compar")
            && between == "and"
            && !lead.ends_with("between")
            && !adjoin(first.period, second.period);
        // "Is it better this quarter than last quarter", "이번 분기 평점이 지난 분기보다": other words are between the two.
        let measured = measured_against(lower, first, second);
        if let Some(word) = measured {
            spans = vec![first.span, second.span, word];
        }
        let apart = apart || measured.is_some();
        if than.is_none() && !(ALSO.contains(&between.as_str()) && (before || after)) && !apart {
            return None;
        }
    }
    // Without years both are the latest ones, so their order in the message says nothing.
    let asked = measured_against(lower, first, second).is_some();
    let in_order = first.period.from <= second.period.from || (first.yearless != second.yearless && !asked);
    let (earlier, later) = match (asked, in_order) {
        // "상반기가 작년 하반기보다": the one without a year is the latest one.
        (true, true) => (first.period, second.period),
        (true, false) => (second.period, first.period),
        (false, true) => forwards(first, second).unwrap_or((first.period, second.period)),
        (false, false) => forwards(second, first).unwrap_or((first.period, second.period)),
    };
    if earlier.to >= later.from {
        return None;
    }
    let relative = [first, second].iter().any(|point| point.relative && !point.yearless)
        || (first.yearless && second.yearless);
    Some(PeriodMention {
        period: later,
        against: Some(earlier),
        relative,
        spans,
        excluded: false,
        without: None,
        others: Vec::new(),
    })
}

/// The word that measures the first period against the second one, wherever the two are in the sentence.
fn measured_against(lower: &str, first: Point, second: Point) -> Option<(usize, usize)> {
    let after =
        ["보다", "에 비해", "에 비하면", "대비", "와 비교", "과 비교", "랑 비교", "이랑 비교", "하고 비교"];
    let korean = word_after(lower, second.span.1, &after);
    let before = lower[first.span.1..second.span.0].trim_end();
    let before = ["the", "in", "of"].iter().fold(before, |text, word| {
        text.strip_suffix(word).filter(|rest| rest.ends_with(' ')).map_or(text, str::trim_end)
    });
    let english =
        ["than", "than in", "compared to", "compared with", "versus", "vs", "against", "relative to"];
    let english = english.iter().find_map(|word| {
        let rest = before.strip_suffix(word).filter(|rest| rest.ends_with([' ', ',']) || rest.is_empty())?;
        let from = first.span.1 + rest.len();
        Some((from, from + word.len()))
    });
    korean.or(english)
}

/// One period that the message compares with, without a second: `작년이랑 비교`, `compared with last year`. The later one is
/// what follows it up to today.
pub(super) fn against_alone(lower: &str, points: &[Point], calendar: Calendar) -> Option<PeriodMention> {
    let &[only] = points else { return None };
    let with = ["이랑", "랑", "와", "과", "하고", "에"];
    let after = with.iter().find_map(|particle| {
        let particle = word_after(lower, only.span.1, &[particle])?;
        word_after(lower, particle.1, &["비교", "비해", "비하면", "대비", "차이", "달라"])
    });
    let after = after.or_else(|| word_after(lower, only.span.1, &["보다", "대비"]));
    let lead = without_fillers(&lower[..only.span.0]);
    let english = ["compare with", "compare to", "compare it with", "compare it to", "compare that with"];
    let more = ["compare that to", "compared with", "compared to", "than", "than in", "versus", "vs"];
    let before = english.iter().chain(&more).any(|word| lead.ends_with(word));
    if after.is_none() && !before {
        return None;
    }
    let later = only.period.to.tomorrow().ok().filter(|next| *next <= calendar.today)?;
    Some(PeriodMention {
        period: Period { from: later, to: calendar.today },
        against: Some(only.period),
        relative: true,
        spans: std::iter::once(only.span).chain(after).collect(),
        excluded: false,
        without: None,
        others: Vec::new(),
    })
}

/// The `second` of `the first half of 2025 with the second`: a part as long as the one before, of the same year.
pub(super) fn same_part(cursor: &mut Cursor<'_>, last: Point) -> Option<(Period, bool, bool)> {
    if !cursor.text[..cursor.at].ends_with("the ") {
        return None;
    }
    let number = cursor.eat_word(&ORDINALS)?;
    cursor.eat_word(&[("one", ())]);
    let Period { from, to } = last.period;
    let months = i32::from(to.year() - from.year()) * 12 + i32::from(to.month() - from.month()) + 1;
    let part = match months {
        3 => YearPart::quarter(number)?,
        6 => YearPart::half(number)?,
        _ => return None,
    };
    Some((part.of(from.year())?, last.yearless, last.relative))
}

fn adjoin(first: Period, second: Period) -> bool {
    first.to.tomorrow().is_ok_and(|next| next == second.from)
}

/// Whether the words right after the second period compare: `비교`, `차이`, `어떻게 달라`.
fn said_after(lower: &str, at: usize) -> bool {
    let mut rest = lower[at..].trim_start();
    let skipped = [
        "거",
        "것",
        "리뷰",
        "후기",
        "평점",
        "별점",
        "반응",
        "평가",
        "데이터",
        "기간",
        "의",
        "을",
        "를",
        "은",
        "는",
        "이",
        "가",
        "간",
        "사이",
        "좀",
        "어떻게",
        "뭐가",
        "얼마나",
    ];
    for _ in 0..6 {
        for word in skipped {
            rest = rest.strip_prefix(word).unwrap_or(rest).trim_start();
        }
    }
    ["비교", "차이", "달라", "다른", "변했", "변화", "바뀌"].iter().any(|word| rest.starts_with(word))
}

fn without_fillers(text: &str) -> String {
    // "작년 거랑 올해 거": the noun carries the conjunction.
    let noun = |word: &'_ str| {
        ["거", "것", "꺼"].iter().any(|noun| word.starts_with(noun)) && word.chars().count() > 1
    };
    let words = text.split_whitespace().filter(|word| !FILLERS.contains(word));
    let words = words.map(|word| if noun(word) { word.trim_start_matches(['거', '것', '꺼']) } else { word });
    words.collect::<Vec<_>>().join(" ")
}
