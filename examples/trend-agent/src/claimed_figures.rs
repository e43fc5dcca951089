//! Figures of a model's report that are not plain numbers: number words, pairs such as "26 of 39", and means.

use std::collections::BTreeSet;

use super::findings::Findings;
use super::message::words;
use super::sentiment::Polarity;
use super::text::is_hangul;
use super::topics::TopicFinding;

/// Nouns that a number word in front of makes a figure of ("nine reviewers").
const COUNTED: [&str; 24] = [
    "of",
    "out",
    "percent",
    "per",
    "review",
    "reviews",
    "reviewer",
    "reviewers",
    "mention",
    "mentions",
    "customer",
    "customers",
    "user",
    "users",
    "buyer",
    "buyers",
    "people",
    "person",
    "star",
    "stars",
    "respondents",
    "consumers",
    "women",
    "men",
];

/// Figures that are written as words.
pub(super) fn number_words(text: &str) -> Vec<String> {
    const LARGE: [&str; 26] = [
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
        "thirty",
        "forty",
        "fifty",
        "sixty",
        "seventy",
        "eighty",
        "ninety",
        "hundred",
        "hundreds",
        "thousand",
        "thousands",
        "million",
        "dozen",
        "dozens",
        "two-thirds",
        "three-quarters",
    ];
    const SMALL: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    const KOREAN: [&str; 13] = [
        "절반",
        "수십",
        "수백",
        "수천",
        "한 명",
        "두 명",
        "세 명",
        "네 명",
        "다섯 명",
        "열 명",
        "두 건",
        "세 건",
        "네 건",
    ];
    let lower = text.to_lowercase();
    let all: Vec<&str> = words(&lower).map(|(from, to)| &lower[from..to]).collect();
    let mut out = Vec::new();
    for (at, word) in all.iter().enumerate() {
        let next = all.get(at + 1).copied().unwrap_or_default();
        let counted = COUNTED.contains(&next);
        let part = (*word == "half" && ["of", "the"].contains(&next))
            || (["third", "thirds", "quarter", "quarters", "majority"].contains(word) && next == "of");
        let part = part && *word != "majority";
        if LARGE.contains(word) || (SMALL.contains(word) && counted && *word != "one") || part {
            out.push(format!("{word} {next}").trim().to_owned());
        }
    }
    if lower.chars().any(is_hangul) {
        out.extend(KOREAN.iter().filter(|word| lower.contains(**word)).map(|word| (*word).to_owned()));
        out.extend(korean_numerals(&lower));
    }
    out
}

/// Korean numerals before a counter: "오백 건", "구십 퍼센트", "스물세 명".
fn korean_numerals(lower: &str) -> Vec<String> {
    const SINO: &str = "영일이삼사오육칠팔구십백천만";
    const LARGE: [char; 4] = ['십', '백', '천', '만'];
    const NATIVE: [&str; 18] = [
        "하나", "한", "두", "둘", "세", "셋", "네", "넷", "다섯", "여섯", "일곱", "여덟", "아홉", "열",
        "스물", "스무", "서른", "마흔",
    ];
    const PERCENT: [&str; 4] = ["퍼센트", "프로", "%", "할"];
    const COUNTERS: [&str; 6] = ["건", "명", "분", "사람", "개의", "개 리뷰"];
    const SCORES: [&str; 2] = ["점", "배"];
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(from) = lower[at..].find(is_hangul).map(|offset| at + offset) {
        let before = lower[..from].chars().next_back();
        let numeral: usize =
            lower[from..].chars().take_while(|c| SINO.contains(*c)).map(char::len_utf8).sum();
        let mut native = 0;
        while let Some(word) = NATIVE
            .iter()
            .filter(|word| lower[from + native..].starts_with(**word))
            .max_by_key(|word| word.len())
        {
            native += word.len();
        }
        let starts = |text: &str, list: &[&str]| list.iter().any(|word| text.starts_with(word));
        let mut found = None;
        if !before.is_some_and(is_hangul) {
            let text = &lower[from..from + numeral];
            let after = lower[from + numeral..].trim_start();
            let large = text.chars().count() > 1 && text.contains(LARGE)
                || text.len() == 3 && text.contains(['십', '백', '천']);
            let score =
                text.chars().count() == 1 && lower[from + numeral..].starts_with("점 ") && before.is_some();
            if numeral > 0
                && (starts(after, &PERCENT)
                    || (large && (starts(after, &COUNTERS) || starts(after, &SCORES))))
                && !score
            {
                found = Some(numeral);
            } else if native > 0
                && starts(lower[from + native..].trim_start(), &COUNTERS)
                && &lower[from..from + native] != "한"
            {
                found = Some(native);
            }
        }
        let len = lower[from..].chars().take_while(|c| is_hangul(*c)).map(char::len_utf8).sum::<usize>();
        if let Some(length) = found {
            let rest: String = lower[from..].chars().take(10).collect();
            out.push(rest.trim().to_owned());
            at = from + length.max(len);
        } else {
            at = from + len;
        }
    }
    out
}

/// A part of a whole as a report states it.
type Pair = (u64, u64);

/// What the data has: parts of wholes, and those of the three sentiments.
#[derive(Default)]
struct Known {
    pairs: BTreeSet<Pair>,
    positive: BTreeSet<Pair>,
    neutral: BTreeSet<Pair>,
    negative: BTreeSet<Pair>,
    means: BTreeSet<String>,
}

impl Known {
    fn of(findings: &Findings) -> Self {
        let mut known = Self::default();
        let (mut all, mut up, mut even, mut down) = (0, 0, 0, 0);
        let mut weighted = 0.0;
        for brand in &findings.brands {
            let feeling = &brand.sentiment;
            known.side(Some(Polarity::Positive), feeling.positive, brand.reviews);
            known.side(Some(Polarity::Neutral), feeling.neutral, brand.reviews);
            known.side(Some(Polarity::Negative), feeling.negative, brand.reviews);
            known.side(None, brand.korean, brand.reviews);
            known.side(None, brand.reviews - brand.korean, brand.reviews);
            known.side(None, brand.reviews, brand.considered);
            known.mean(feeling.mean_rating);
            for dropped in &brand.dropped {
                known.side(None, dropped.count, brand.considered);
            }
            for product in &brand.products {
                known.side(None, product.reviews, brand.reviews);
                known.mean(product.mean_rating);
                product.topics.iter().for_each(|topic| known.topic(topic, product.reviews));
            }
            brand.topics.iter().for_each(|topic| known.topic(topic, brand.reviews));
            if let Some(change) = &brand.change {
                known.mean(change.earlier.mean_rating);
                known.mean(change.later.mean_rating);
            }
            all += brand.reviews;
            up += feeling.positive;
            even += feeling.neutral;
            down += feeling.negative;
            weighted += feeling.mean_rating * brand.reviews as f64;
        }
        known.side(Some(Polarity::Positive), up, all);
        known.side(Some(Polarity::Neutral), even, all);
        known.side(Some(Polarity::Negative), down, all);
        if all > 0 {
            known.mean(weighted / all as f64);
        }
        let said = format!("{}\n{}", super::report::facts(findings), super::report::opening(findings, None));
        for (pair, ..) in pairs(&said) {
            known.pairs.insert(pair);
        }
        known
    }

    fn topic(&mut self, topic: &TopicFinding, reviews: usize) {
        self.side(None, topic.count, reviews);
        self.side(Some(Polarity::Positive), topic.positive, topic.count);
        self.side(Some(Polarity::Neutral), topic.neutral, topic.count);
        self.side(Some(Polarity::Negative), topic.negative, topic.count);
        self.side(Some(Polarity::Positive), topic.positive, reviews);
        self.side(Some(Polarity::Negative), topic.negative, reviews);
        self.mean(topic.mean_rating);
    }

    fn side(&mut self, side: Option<Polarity>, part: usize, whole: usize) {
        let pair = (part as u64, whole as u64);
        self.pairs.insert(pair);
        match side {
            Some(Polarity::Positive) => self.positive.insert(pair),
            Some(Polarity::Neutral) => self.neutral.insert(pair),
            Some(Polarity::Negative) => self.negative.insert(pair),
            None => false,
        };
    }

    fn mean(&mut self, mean: f64) {
        for figure in [format!("{mean:.2}"), format!("{mean:.1}"), format!("{mean:.3}")] {
            self.means.insert(figure.trim_end_matches('0').trim_end_matches('.').to_owned());
        }
    }
}

/// What a report states as a part of a whole, or as a mean rating, and the data doesn't have.
pub(super) fn false_pairs(text: &str, findings: &Findings) -> Vec<String> {
    let known = Known::of(findings);
    let mut faults = Vec::new();
    for ((part, whole), before, after) in pairs(text) {
        let near = |words: &[&str]| words.iter().any(|word| after.contains(word));
        let list = if near(&["positive", "긍정", "칭찬", "satisfied", "만족", "happy"])
            && !near(&["negative", "부정"])
        {
            &known.positive
        } else if near(&["negative", "부정", "불만", "complain"]) && !near(&["positive", "긍정"]) {
            &known.negative
        } else if near(&["neutral", "중립"]) && !near(&["positive", "긍정", "negative", "부정"]) {
            &known.neutral
        } else {
            &known.pairs
        };
        // A part of a sentiment has to be that sentiment's, of a whole that the facts divide so; any other part has to be there.
        let divided = list.iter().any(|own| own.1 == whole);
        let there =
            if divided { list.contains(&(part, whole)) } else { known.pairs.contains(&(part, whole)) };
        if !there {
            faults.push(format!("the facts have no {part} of {whole} ({})", before.trim()));
        }
    }
    for line in text.lines() {
        let lower = line.to_lowercase();
        for name in ["mean rating", "average rating", "평균 평점", "평균 별점", "average score"] {
            let Some(at) = lower.find(name) else { continue };
            let rest = &lower[at + name.len()..];
            let clause = rest.split([';', '\n', '|']).next().unwrap_or_default();
            let Some(start) = clause.find(|c: char| c.is_ascii_digit()).filter(|start| *start <= 24) else {
                continue;
            };
            let end = clause[start..]
                .find(|c: char| !(c.is_ascii_digit() || c == '.'))
                .map_or(clause.len(), |end| start + end);
            let figure = clause[start..end].trim_end_matches('.');
            let plain = if figure.contains('.') {
                figure.trim_end_matches('0').trim_end_matches('.')
            } else {
                figure
            };
            let value: f64 = figure.parse().unwrap_or(0.0);
            if value > 5.0 || (figure.contains('.') && !known.means.contains(plain)) {
                faults.push(format!("the facts have no mean rating of {figure}"));
            }
        }
    }
    faults
}

/// The parts of wholes in a text: "26 of 39", "26 out of the 39", "39건 중 26건", each with the text before and after it.
fn pairs(text: &str) -> Vec<(Pair, String, String)> {
    let mut out = Vec::new();
    for line in text.lines() {
        let lower = line.to_lowercase();
        let numbers: Vec<(usize, usize)> = numbers(&lower);
        for two in numbers.windows(2) {
            let [first, second] = [two[0], two[1]];
            let between = lower[first.1..second.0].trim();
            let value =
                |(from, to): (usize, usize)| lower[from..to].trim_end_matches('.').parse::<f64>().ok();
            let (Some(one), Some(other)) = (value(first), value(second)) else { continue };
            let english =
                ["of", "out of", "of the", "out of the", "of all", "of its", "of their"].contains(&between);
            let korean =
                ["건 중", "개 중", "건 가운데", "건 중에서", "개 중에서", "명 중", "건 중에", "개의 리뷰 중"]
                    .contains(&between);
            let whole_number = |value: f64| value.fract() == 0.0 && value >= 0.0;
            if !(english || korean) || !whole_number(one) || !whole_number(other) {
                continue;
            }
            let pair = if english { (one as u64, other as u64) } else { (other as u64, one as u64) };
            let rest = &lower[second.1..];
            // "3 of 5" as a rating.
            if english
                && pair.1 == 5
                && (lower[..first.0].contains("rat") || lower[first.0..first.1].contains('.'))
            {
                continue;
            }
            let stop = rest.find([',', ';', '.', '(', '|']).unwrap_or(rest.len()).min(rest.len());
            let after = super::text::head(&rest[..stop], 40).to_owned();
            out.push((pair, lower[first.0..second.1].to_owned(), after));
        }
    }
    out
}

fn numbers(lower: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(from) = lower[at..].find(|c: char| c.is_ascii_digit()).map(|offset| at + offset) {
        let to = lower[from..]
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .map_or(lower.len(), |end| from + end);
        out.push((from, to));
        at = to;
    }
    out
}
