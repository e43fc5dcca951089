//! What a message names and nothing here recognises: brands that the data doesn't have, and words that were not understood.

use super::{UNKNOWN_CHARS, UNKNOWN_NAMES};
use crate::catalogue::{Brand, PRODUCTS};
use crate::message::{Message, Span, without_particle, words as places};
use crate::review::Language;
use crate::text::{head, is_hangul};
use crate::words::words;

/// The most words that are reported as not understood.
const IGNORED: usize = 6;

/// Endings of Korean words that are grammar and not names.
const GRAMMAR: [&str; 31] = [
    "십시오",
    "주라",
    "줘라",
    "세용",
    "어용",
    "아용",
    "해용",
    "때용",
    "나여",
    "가여",
    "세여",
    "어여",
    "아여",
    "해여",
    "때여",
    "하는",
    "하고",
    "해서",
    "적으로",
    "적인",
    "있는",
    "없는",
    "된",
    "한",
    "할",
    "줘",
    "줄",
    "요",
    "은데",
    "지만",
    "면",
];

/// Particles that no name before "리뷰" has.
const ADVERBIAL: [&str; 6] = ["에서", "에게", "부터", "까지", "으로", "로"];

/// Endings of Korean verbs and adjectives: words that end so are not reported as not understood.
const VERBS: [&str; 34] = [
    "다", "까", "니", "냐", "나", "해", "야", "지", "게", "서", "고", "며", "던", "인", "든지", "려고",
    "거든", "네", "죠", "자", "어", "아", "봐", "돼", "런", "떤", "러", "히", "와", "과", "랑", "는", "은",
    "할지",
];

/// Reads brand-like names that the data doesn't have: those at `strangers`, and the words right before or after "reviews". Beside
/// a subject that is known (`named`), the word before "리뷰" is a name only if a conjunction joins it to another one.
pub(super) fn brands(message: &mut Message, original: &str, strangers: &[Span], named: bool) -> Vec<String> {
    let lower = message.lower().to_owned();
    let mut out: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        // Shown to people: letters, digits and the punctuation of names, nothing that could be markup.
        let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '&' | '\'' | '-' | '+');
        let name: String = name.chars().filter(|c| kept(*c)).collect();
        let name = head(name.trim(), UNKNOWN_CHARS);
        let taken = out.iter().any(|have| have.to_lowercase().contains(&name.to_lowercase()));
        if !name.is_empty() && out.len() < UNKNOWN_NAMES && !taken {
            out.push(name.to_owned());
        }
    };
    for &(from, to) in strangers {
        // Lower case may have other lengths than the message; then the lower-case name is shown.
        let own = original.get(from..to).filter(|name| name.to_lowercase() == lower[from..to]);
        add(own.unwrap_or(&lower[from..to]));
    }
    let same = original.len() + 1 == lower.len();
    let all: Vec<(usize, usize)> = places(&lower).collect();
    let text = |(from, to): (usize, usize)| {
        if same { original.get(from..to).unwrap_or(&lower[from..to]) } else { &lower[from..to] }
    };
    let mut marked = Vec::new();
    // "Foobar랑 quux": a Latin name with a Korean conjunction.
    for span in &all {
        let word = text(*span);
        let stem = ["이랑", "랑", "하고", "와", "과"].iter().find_map(|particle| word.strip_suffix(particle));
        let stem =
            stem.filter(|stem| stem.chars().count() > 2 && stem.chars().all(|c| c.is_ascii_alphanumeric()));
        if let Some(stem) = stem.filter(|stem| message.is_free(*span) && !plain(stem)) {
            add(stem);
            marked.push(*span);
        }
    }
    for (at, span) in all.iter().enumerate() {
        let word = &lower[span.0..span.1];
        let unknown = |span: &(usize, usize)| message.is_free(*span) && !plain(&lower[span.0..span.1]);
        let joined = |from: usize, to: usize| lower[from..to].trim().is_empty();
        let mut name: Vec<(usize, usize)> = Vec::new();
        if matches!(word, "review" | "reviews") {
            let follows =
                all.get(at + 1).is_some_and(|next| ["of", "about", "on"].contains(&&lower[next.0..next.1]));
            if follows {
                let after = all[at + 2..].iter().skip_while(|next| &lower[next.0..next.1] == "the");
                name = after.take(3).take_while(|span| unknown(span)).copied().collect();
            } else {
                name = all[..at].iter().rev().take(3).take_while(|span| unknown(span)).copied().collect();
                // Names have capitals; in a message without them, only the word right before counts.
                if !name.iter().any(|span| text(*span).starts_with(char::is_uppercase)) {
                    name.truncate(1);
                }
                name.reverse();
            }
            name = name.into_iter().fold(Vec::new(), |mut kept: Vec<(usize, usize)>, span| {
                if kept.last().is_some_and(|last| !joined(last.1, span.0)) && !follows {
                    kept.clear();
                }
                kept.push(span);
                kept
            });
        } else if (word.starts_with("리뷰") || word.starts_with("후기"))
            && let Some(before) = at.checked_sub(1).map(|at| all[at]).filter(|span| unknown(span))
            && !ends(&lower[before.0..before.1], &VERBS)
            && !ends(&lower[before.0..before.1], &ADVERBIAL)
            && (!named || at.checked_sub(2).is_some_and(|at| joins(&lower, all[at], before)))
        {
            add(without_particle(text(before)));
            marked.push(before);
        }
        if let (Some(first), Some(last)) = (name.first(), name.last()) {
            let name = text((first.0, last.1));
            add(name.strip_suffix("'s").or_else(|| name.strip_suffix("’s")).unwrap_or(name));
            marked.push((first.0, last.1));
        }
    }
    // "Foobar vs Anua": a name with a capital beside a word that puts two things side by side.
    for (at, span) in all.iter().enumerate().skip(usize::from(!same)) {
        let near = [at.checked_sub(1), Some(at + 1)].into_iter().flatten().filter_map(|at| all.get(at));
        let beside = near.into_iter().any(|near| {
            ["vs", "versus", "and", "or", "with", "against", "than", "to", "랑", "이랑", "와", "과"]
                .contains(&&lower[near.0..near.1])
        });
        let named = same && text(*span).starts_with(|c: char| c.is_ascii_uppercase());
        if beside
            && named
            && message.is_free(*span)
            && !marked.contains(span)
            && !plain(&lower[span.0..span.1])
        {
            add(text(*span));
            marked.push(*span);
        }
    }
    for span in marked {
        message.mark(span);
    }
    out.sort_by_key(|name| lower.find(&name.to_lowercase()));
    out
}

/// The words that nothing recognised, in order, without everyday words and grammar.
pub(super) fn ignored(message: &Message) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in message.free_words() {
        let bare = word.trim_matches(['\'', '’', '-', '&', '+', '%']);
        let bare = bare.strip_suffix("'s").or_else(|| bare.strip_suffix("’s")).unwrap_or(bare);
        let shown = without_particle(bare);
        let korean = bare.chars().any(is_hangul);
        let short = bare.chars().count() < if korean { 2 } else { 3 };
        if short || plain(bare) || ends(bare, &VERBS) || out.iter().any(|have| have == shown) {
            continue;
        }
        if out.len() == IGNORED {
            break;
        }
        out.push(head(shown, UNKNOWN_CHARS).to_owned());
    }
    out
}

/// Whether a word cannot be the name of an unknown brand: an everyday word, a number, a part of a known name, grammar.
fn plain(word: &str) -> bool {
    let lower = word.to_lowercase();
    let bare = lower.strip_suffix("'s").or_else(|| lower.strip_suffix("’s")).unwrap_or(&lower);
    let stem = without_particle(bare);
    let part_of_known = |name: &str| {
        name.to_lowercase()
            .split(|c: char| c.is_whitespace() || c == '/')
            .any(|part| part == bare || part == stem)
    };
    let everyday = |word: &str| {
        words().everyday_english.contains(&word)
            || words().everyday_korean.contains(&word)
            || words().request_english.contains(&word)
            || words().request_korean.contains(&word)
    };
    !bare.chars().any(char::is_alphabetic)
        || bare.starts_with(|c: char| c.is_ascii_digit())
        || bare.starts_with("리뷰")
        || bare.starts_with("후기")
        || everyday(bare)
        || everyday(stem)
        || Brand::ALL.iter().any(|brand| {
            part_of_known(brand.name(Language::English))
                || brand.aliases().iter().any(|alias| {
                    let korean = alias.chars().any(is_hangul);
                    // "조선 미녀": half of a known name is not an unknown one.
                    let half = korean && stem.chars().count() >= 2 && alias.contains(stem);
                    half || (bare.contains(alias) && (korean || stem == *alias))
                })
        })
        || PRODUCTS.iter().any(|product| part_of_known(product.english) || part_of_known(product.korean))
        || ends(bare, &GRAMMAR)
}

/// Whether a conjunction joins two words: "라네즈랑 푸바르", "Anua, Foobar".
fn joins(lower: &str, first: Span, second: Span) -> bool {
    let word = &lower[first.0..first.1];
    let korean = ["랑", "와", "과", "하고", "나", "및", "그리고"].iter().any(|end| word.ends_with(end));
    korean || ["and", "or", "vs"].contains(&word) || lower[first.1..second.0].contains([',', '/', '&', '·'])
}

fn ends(word: &str, endings: &[&str]) -> bool {
    word.chars().any(is_hangul) && endings.iter().any(|end| word.ends_with(end))
}
