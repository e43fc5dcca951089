//! Clauses of a sentence, cut at the words and endings of contrast, result and exception.

use super::text::{find, is_hangul};
use super::words::words;

/// Words before a new clause.
const JOINTS: [&str; 21] = [
    " but ",
    " although ",
    " though ",
    " yet ",
    " however ",
    " because ",
    " so ",
    " while ",
    " whereas ",
    " which ",
    " and the ",
    " and my ",
    " and it ",
    " and i ",
    " and they ",
    " and this ",
    " and that ",
    " and has ",
    " and a ",
    " and an ",
    " and does ",
];

/// More verbs that start a clause after "and".
const VERBS: [&str; 2] = [" and leaves ", " and still "];

/// English words before an exception.
const EXCEPT_ENGLISH: [&str; 6] =
    ["except for ", "except ", "apart from ", "other than ", "aside from ", "besides "];

/// Korean endings of what was expected ("진정 앰플이라더니").
const EXPECTED: [&str; 4] = ["라더니", "다더니", "라길래", "다길래"];

/// Korean words after an exception.
const EXCEPT_KOREAN: [&str; 13] = [
    "말고는",
    "말고",
    "빼고는",
    "빼고",
    "빼면",
    "제외하면",
    "제외하고",
    "제외하고는",
    "외에는",
    "만 아니면",
    "만 아니라면",
    "만 아니었으면",
    "제외하면은",
];

/// Clauses of a sentence: cut at commas, at words of contrast ("but", "though"), after Korean endings of contrast ("-지만",
/// "-는데") and at exceptions ("except for", "말고는"), so that "moist but too expensive" is one good and one bad thing.
#[must_use]
pub fn clauses(sentence: &str) -> Vec<&str> {
    let lower = sentence.to_ascii_lowercase();
    let mut cuts = vec![0, sentence.len()];
    for (at, c) in sentence.char_indices() {
        if matches!(c, ',' | ';' | ':' | '(' | ')') {
            cuts.push(at + c.len_utf8());
        } else if c == ' ' && (ends_in_contrast(&sentence[..at]) || ends_in_exception(&sentence[..at])) {
            cuts.push(at);
        }
    }
    for word in JOINTS.iter().chain(&VERBS) {
        cuts.extend(lower.match_indices(word).map(|(at, _)| at));
    }
    for word in EXCEPT_ENGLISH {
        let places = lower.match_indices(word).map(|(at, _)| at);
        cuts.extend(
            places
                .filter(|at| lower[..*at].ends_with(' ') && !lower[..*at].ends_with("tell "))
                .map(|at| at - 1),
        );
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    for pair in cuts.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        match pieces.last_mut() {
            Some(last) if continues_negation(&lower[last.0..last.1], &lower[from..to]) => last.1 = to,
            _ => pieces.push((from, to)),
        }
    }
    pieces
        .into_iter()
        .map(|(from, to)| sentence[from..to].trim())
        .filter(|clause| clause.chars().any(char::is_alphanumeric))
        .collect()
}

/// Whether a clause is an exception to the rest of its sentence ("except for the scent", "향 말고는").
pub(super) fn is_exception(clause: &str) -> bool {
    let lower = clause.to_lowercase();
    let bare = lower.trim_matches([' ', ',']);
    ends_in_exception(bare) || EXCEPT_ENGLISH.iter().any(|word| bare.starts_with(word))
}

/// Whether a clause says what was expected, and not what was found ("가성비 좋다길래").
pub(super) fn is_expectation(clause: &str) -> bool {
    EXPECTED.iter().any(|end| clause.trim_matches([' ', ',']).ends_with(end))
}

/// Whether a clause says what its author is like, and nothing of the product ("한방 냄새 싫어하는데").
pub(super) fn is_disposition(clause: &str) -> bool {
    let bare = clause.trim_matches([' ', ',']);
    let korean = [
        "싫어하는데",
        "싫어하는 편",
        "싫어하지만",
        "민감한데",
        "예민한데",
        "예민한 편",
        "민감한 편",
        "예민하지만",
        "민감하지만",
    ];
    let english = [
        "i usually",
        "i normally",
        "i generally",
        "i always",
        "my skin is",
        "my skin usually",
        "my skin normally",
    ];
    korean.iter().any(|end| bare.contains(end)) || english.iter().any(|start| bare.starts_with(start))
}

/// Whether a clause says what was so once and is contrasted with the present ("it used to pill on me").
pub(super) fn is_of_the_past(clause: &str) -> bool {
    let habit = ["get used to", "got used to", "getting used to", "used to it", "used to be", "is used to"];
    !find(clause, "used to").is_empty() && !habit.iter().any(|word| clause.contains(word))
}

/// Whether a clause praises an earlier version ("예전 버전이 훨씬 촉촉했어요").
pub(super) fn is_of_predecessor(clause: &str) -> bool {
    let korean = [
        "예전 버전이",
        "예전 게",
        "예전게",
        "예전 것이",
        "예전 제품이",
        "예전이 더",
        "예전이 훨씬",
        "구버전이",
        "전 버전이",
    ];
    let english = [
        "old version was",
        "old one was",
        "old formula was",
        "previous version was",
        "previous one was",
        "original was",
    ];
    korean.iter().chain(&english).any(|word| clause.contains(word))
}

/// Whether a clause concedes something to the rest of its sentence ("적지만", "although it is thick").
pub(super) fn is_concession(clause: &str) -> bool {
    let lower = clause.to_lowercase();
    clause.trim().ends_with("지만") || lower.starts_with("although ") || lower.starts_with("though ")
}

/// Whether two clauses contrast.
pub(super) fn is_contrast(clause: &str, next: &str) -> bool {
    let next = next.to_lowercase();
    ends_in_contrast(clause.trim_end_matches([' ', ',']))
        || ["but ", "yet ", "though ", "although ", "however "].iter().any(|word| next.starts_with(word))
}

fn ends_in_contrast(text: &str) -> bool {
    // "-는데" is an ending, "데" a separate word ("흡수되는 데").
    let stem = text.strip_suffix('데').and_then(|stem| stem.chars().next_back());
    ["지만", "으나", "다만"].iter().chain(&EXPECTED).any(|end| text.ends_with(end))
        || stem.is_some_and(is_hangul)
}

fn ends_in_exception(text: &str) -> bool {
    EXCEPT_KOREAN.iter().any(|end| text.ends_with(end))
}

/// "Not that squeaky, tight feeling": what is negated may be a list of troubles.
fn continues_negation(before: &str, tail: &str) -> bool {
    let negated = [" not ", "never ", "without ", "n't "].iter().any(|word| before.contains(word));
    let tail = tail.trim_matches([' ', '.', ',', '!']);
    let mut tail_words = tail.split_whitespace();
    let Some(first) = tail_words.next() else { return false };
    let says = |text: &str, list: &[&str]| list.iter().any(|word| !find(text, word).is_empty());
    negated
        && before.ends_with(',')
        && tail_words.count() <= 1
        && says(first, &words().bad)
        && !says(tail, &words().good)
}
