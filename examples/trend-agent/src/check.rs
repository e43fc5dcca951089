//! Checks a model's report: every figure, quote and review id has to be in the data.
//!
//! Pure. Figures are compared with those of the facts that the model wrote from, quotes with the analysed reviews.

use std::collections::{BTreeSet, HashSet};

use super::catalogue::PRODUCTS;
use super::claimed_figures::{false_pairs, number_words};
use super::findings::Findings;
use super::message::words;
use super::report::{facts, opening};
use super::review::Review;
use super::text::head;

/// The most faults that are reported.
const FAULTS: usize = 8;

/// Quotation marks, opening and closing.
const MARKS: [(char, char); 6] = [('“', '”'), ('"', '"'), ('「', '」'), ('『', '』'), ('«', '»'), ('‘', '’')];

/// Returns what in a report the data doesn't have, one fault each; empty if the report can be shown. `message` is what the
/// user wrote: a figure that it has may be repeated.
///
/// # Examples
///
/// ```
/// use trend_agent::{Findings, Request, check::check_report};
///
/// let findings = Findings::of(&Request::parse("Analyse the Laneige reviews"));
/// assert!(check_report("Of 40 reviews most are happy.", &findings, "").is_empty());
/// assert_eq!(check_report("977 reviewers love it.", &findings, "").len(), 1);
/// ```
#[must_use]
pub fn check_report(report: &str, findings: &Findings, message: &str) -> Vec<String> {
    let reviews = findings.source_reviews();
    let ids: HashSet<&str> = reviews.iter().map(|review| review.id.as_str()).collect();
    let mut faults = Vec::new();
    let mut rest = String::with_capacity(report.len());
    let mut known = Figures::default();
    known.add(&facts(findings));
    known.add(&opening(findings, None));
    known.add(message);
    for product in &PRODUCTS {
        known.add(product.english);
        known.add(product.korean);
    }
    for line in report.lines() {
        let own = check_quotes(line, &reviews, &mut faults);
        if let Some(claimed) = claimed_review(&own).filter(|text| !is_in_reviews(text, &reviews)) {
            faults.push(format!("no review says “{}”", head(claimed.trim(), 60)));
        }
        rest.push_str(&own);
        rest.push('\n');
    }
    let plain = check_ids(&rest, &ids, &mut faults);
    for figure in Figures::in_text(&plain) {
        if !known.has(&figure) {
            faults.push(format!("the facts have no figure {figure}"));
        }
    }
    faults.extend(false_pairs(&plain, findings));
    for word in number_words(&plain) {
        faults.push(format!("“{word}” is a figure in words; the facts have figures in digits only"));
    }
    let mut seen = HashSet::new();
    faults.retain(|fault| seen.insert(fault.clone()));
    faults.truncate(FAULTS);
    faults
}

/// Checks the quotes of a line; returns the line without those that are in the reviews.
fn check_quotes(line: &str, reviews: &[&Review], faults: &mut Vec<String>) -> String {
    let mut own = String::new();
    let mut rest = line;
    loop {
        let next = MARKS
            .iter()
            .filter_map(|(open, close)| rest.find(*open).map(|at| (at, *open, *close)))
            .min_by_key(|(at, ..)| *at);
        let Some((at, open, close)) = next else { break };
        let after = &rest[at + open.len_utf8()..];
        let Some(end) = after.find(close) else { break };
        let (quote, tail) = (&after[..end], &after[end + close.len_utf8()..]);
        own.push_str(&rest[..at]);
        if is_long(quote) {
            let named = id_at_start(tail);
            let source = reviews
                .iter()
                .any(|review| named.is_none_or(|id| review.id == id) && contains(&review.text, quote));
            if !source {
                match named {
                    Some(id) => faults.push(format!("review {id} does not say “{}”", head(quote.trim(), 60))),
                    None => faults.push(format!("no review says “{}”", head(quote.trim(), 60))),
                }
            }
        } else {
            own.push_str(quote);
        }
        rest = tail;
    }
    own.push_str(rest);
    own
}

/// What a line without quotation marks presents as a review: a block quote, or text after "Review 3:".
fn claimed_review(line: &str) -> Option<&str> {
    let text = line.trim().trim_start_matches(['-', '*', '#', ' ']);
    if let Some(quoted) = text.strip_prefix('>') {
        let quoted = quoted.trim_matches([' ', '*', '_', '>', '—', '-']);
        let quoted = quoted.split(['(', '—']).next().unwrap_or_default();
        return Some(quoted).filter(|text| is_long(text));
    }
    let (lead, said) = text.split_once(':')?;
    let lead = lead.trim_matches(['*', ' ', '_']).to_lowercase();
    let lead = lead.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, ' ' | '#' | '.'));
    let speakers = [
        "review",
        "reviewer",
        "customer",
        "user",
        "customer review",
        "user review",
        "리뷰",
        "후기",
        "리뷰어",
        "고객",
        "구매자",
    ];
    (speakers.contains(&lead) && is_long(said)).then(|| said.trim_matches([' ', '*', '_']))
}

fn is_in_reviews(text: &str, reviews: &[&Review]) -> bool {
    reviews.iter().any(|review| contains(&review.text, text))
}

/// Whether a quote is more than a word.
fn is_long(quote: &str) -> bool {
    let quote = quote.trim();
    quote.contains(char::is_whitespace) && quote.chars().filter(|c| c.is_alphanumeric()).count() >= 6
}

/// Whether a review has the quoted text, apart from blanks and the mark at its end.
fn contains(review: &str, quote: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('’', "'");
    let quote = plain(quote);
    let quote =
        quote.trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | ',' | '…' | '!' | '*' | '_'));
    !quote.is_empty() && plain(review).contains(quote)
}

fn id_at_start(tail: &str) -> Option<&str> {
    let tail = tail.trim_start_matches([' ', '(', '[', '-', '—', '*', ',', '.']);
    let end = tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(tail.len());
    Some(&tail[..end]).filter(|id| is_id(id))
}

fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(code, number)| {
        code.len() == 2
            && code.bytes().all(|b| b.is_ascii_uppercase())
            && number.len() >= 2
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Checks the review ids; returns the text without them.
fn check_ids(text: &str, ids: &HashSet<&str>, faults: &mut Vec<String>) -> String {
    let mut out = text.to_owned();
    for (from, to) in words(text) {
        let word = &text[from..to];
        if is_id(word) {
            if !ids.contains(word) {
                faults.push(format!("there is no review {word} among those analysed"));
            }
            out.replace_range(from..to, &" ".repeat(to - from));
        }
    }
    out
}

/// The figures of a text: numbers, percentages and days.
#[derive(Debug, Default)]
struct Figures(BTreeSet<String>);

impl Figures {
    fn add(&mut self, text: &str) {
        for figure in Self::in_text(text) {
            if let Some(year) = figure.split_once('-').map(|(year, _)| year.to_owned()) {
                self.0.insert(year);
            }
            self.0.insert(figure);
        }
    }

    fn has(&self, figure: &str) -> bool {
        self.0.contains(figure)
    }

    /// The figures in a form to compare: `3.9` and `3.90` are the same, `40%` and `40` are not.
    fn in_text(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        for line in text.lines() {
            // The number of a list item is no figure.
            let marker = line.trim_start_matches([' ', '#', '*']);
            let digits = marker.len() - marker.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let numbered = (1..=2).contains(&digits) && marker[digits..].starts_with(['.', ')']);
            let decimal = marker[digits..].chars().nth(1).is_some_and(|c| c.is_ascii_digit());
            let line = if numbered && !decimal { &marker[digits + 1..] } else { line };
            let mut at = 0;
            while let Some(start) = line[at..].find(|c: char| c.is_ascii_digit()).map(|offset| at + offset) {
                let inside = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-');
                let end = line[start..].find(|c| !inside(c)).map_or(line.len(), |len| start + len);
                let token = line[start..end].trim_end_matches(['.', ',', '-']);
                at = start + token.len();
                let tail = line[at..].trim_start();
                let percent = ["%", "percent", "퍼센트", "프로"].iter().any(|word| tail.starts_with(word));
                let scale =
                    ["만 ", "만건", "만명", "천 ", "천건", "천명", "백 ", "억", "million", "thousand", "k "];
                let scaled = scale.iter().any(|word| tail.starts_with(word));
                let before = line[..start].trim_end();
                let full_marks = token == "5"
                    && (before.ends_with("of") || before.ends_with('/') || tail.starts_with("점 만점"));
                if is_day(token) {
                    out.push(token.to_owned());
                } else if !full_marks {
                    for part in token.split('-').filter(|part| !part.is_empty()) {
                        out.push(normal(part, percent, scaled));
                    }
                }
            }
        }
        out
    }
}

fn is_day(token: &str) -> bool {
    token.len() == 10 && token.parse::<jiff::civil::Date>().is_ok()
}

fn normal(number: &str, percent: bool, scaled: bool) -> String {
    let number = number.replace(',', "");
    let value = number.parse::<f64>().map_or(number, |value| value.to_string());
    format!("{value}{}{}", if scaled { "×" } else { "" }, if percent { "%" } else { "" })
}
