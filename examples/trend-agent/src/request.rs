//! What a message asks for: brands, products, topics, period, reader and language. Bounded whatever comes in.

use serde::{Deserialize, Serialize};

use super::audience::Audience;
use super::catalogue::{Brand, PRODUCTS};
use super::period::Period;
use super::review::{Language, demo_count, newest_day};
use super::text::{find, head, is_hangul, mentions};
use super::topics::Topic;
use super::words::words;

/// At most this many characters of a message are read; the rest is left and [`Request::cut`] says so.
pub const MESSAGE_CHARS: usize = 4_000;

/// How many brands are taken when a message names none.
pub const DEFAULT_BRANDS: usize = 3;

/// At most this many unknown names are kept, each of at most [`UNKNOWN_CHARS`] characters.
pub const UNKNOWN_NAMES: usize = 5;

/// See [`UNKNOWN_NAMES`].
pub const UNKNOWN_CHARS: usize = 40;

/// How the brands of a request were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The message names them.
    Named,
    /// The message asks for all.
    All,
    /// The message names none: the most reviewed.
    MostReviewed,
    /// The message names only brands that we have no reviews of; there is nothing to analyse.
    Unknown,
}

/// A message, understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The language to answer in.
    pub language: Language,
    /// How `brands` came about.
    pub scope: Scope,
    /// What to analyse, in catalogue order; empty exactly when `scope` is [`Scope::Unknown`].
    pub brands: Vec<Brand>,
    /// Only these products (English names); empty means all of the brands.
    pub products: Vec<String>,
    /// Brand-like names that the data set does not know, as they were written.
    pub unknown: Vec<String>,
    /// Only reviews that mention one of these; empty means all.
    pub topics: Vec<Topic>,
    /// Only reviews of these days.
    pub period: Option<Period>,
    /// Who the report is for, if the message says so.
    pub audience: Option<Audience>,
    /// Whether the message was longer than [`MESSAGE_CHARS`] and its end was not read.
    pub cut: bool,
}

impl Request {
    /// Reads a message. Never fails: what is not understood is left at its default.
    #[must_use]
    pub fn parse(message: &str) -> Self {
        let read = head(message, MESSAGE_CHARS);
        let lower = read.to_lowercase();
        let squeezed: String = lower.chars().filter(|c| !c.is_whitespace()).collect();
        let products: Vec<_> = PRODUCTS
            .iter()
            .filter(|product| {
                [product.english, product.korean].iter().any(|name| {
                    let name: String = name.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
                    squeezed.contains(&name)
                })
            })
            .collect();
        let named: Vec<Brand> = Brand::ALL
            .into_iter()
            .filter(|brand| {
                brand.aliases().iter().any(|alias| names(&lower, &squeezed, alias))
                    || products.iter().any(|product| product.brand == *brand)
            })
            .collect();
        let unknown = unknown_names(read, &lower);
        let (scope, brands) = if !named.is_empty() {
            (Scope::Named, named)
        } else if !unknown.is_empty() {
            (Scope::Unknown, Vec::new())
        } else if mentions(
            &lower,
            &["all brands", "every brand", "전체 브랜드", "모든 브랜드", "브랜드 전체"],
        ) {
            (Scope::All, Brand::ALL.to_vec())
        } else {
            (Scope::MostReviewed, most_reviewed(DEFAULT_BRANDS))
        };
        // A product's own name ("Water Bank Blue Hyaluronic Cream") is not a wish for a topic.
        let mut bare = lower.clone();
        for product in &products {
            bare = bare
                .replace(&product.english.to_lowercase(), " ")
                .replace(&product.korean.to_lowercase(), " ");
        }
        Self {
            language: language(&lower),
            scope,
            brands,
            products: products.iter().map(|product| product.english.to_owned()).collect(),
            unknown,
            topics: Topic::named_in(&bare),
            period: Period::parse(&lower, newest_day()),
            audience: Audience::parse(&lower),
            cut: read.len() < message.len(),
        }
    }

    /// What to tell a person about names that the data set does not know; nothing if there were none.
    #[must_use]
    pub fn statement(&self) -> Option<String> {
        if self.unknown.is_empty() {
            return None;
        }
        let unknown = self.unknown.join(", ");
        let known = known_brands(self.language);
        Some(match self.language {
            Language::Korean => format!(
                "다음 브랜드의 리뷰는 데모 데이터에 없습니다: {unknown}. 분석할 수 있는 브랜드: {known}."
            ),
            Language::English => {
                format!("The demo data set has no reviews of {unknown}. Brands it knows: {known}.")
            }
        })
    }
}

/// The known brands, both names of each, the one of `language` first.
#[must_use]
pub fn known_brands(language: Language) -> String {
    let other = match language {
        Language::Korean => Language::English,
        Language::English => Language::Korean,
    };
    let names: Vec<String> =
        Brand::ALL.iter().map(|brand| format!("{} ({})", brand.name(language), brand.name(other))).collect();
    names.join(", ")
}

/// The brands with the most reviews, most first; a tie in catalogue order.
#[must_use]
pub fn most_reviewed(count: usize) -> Vec<Brand> {
    let mut brands = Brand::ALL.to_vec();
    brands.sort_by_key(|brand| std::cmp::Reverse(demo_count(*brand)));
    brands.truncate(count);
    brands
}

/// Whether an alias stands in the message. Korean takes particles ("라네즈의"), so it may stand anywhere; a Latin one must
/// be a word of its own, apart from a Korean particle stuck to it ("Laneige의").
fn names(lower: &str, squeezed: &str, alias: &str) -> bool {
    if alias.chars().any(is_hangul) {
        return squeezed.contains(alias);
    }
    if !find(lower, alias).is_empty() {
        return true;
    }
    // "Beauty of Joseon", "round lab": compare without spaces, at word borders.
    lower.char_indices().filter(|(at, c)| c.is_ascii_alphanumeric() && !ends_in_latin(&lower[..*at])).any(
        |(at, _)| {
            let mut rest = lower[at..].chars().filter(|c| !c.is_whitespace());
            let mut wanted = alias.chars();
            loop {
                match wanted.next() {
                    None => {
                        let words = alias_end(&lower[at..], alias);
                        return !lower[at + words..].starts_with(|c: char| c.is_ascii_alphanumeric());
                    }
                    Some(c) if rest.next() == Some(c) => {}
                    Some(_) => return false,
                }
            }
        },
    )
}

fn ends_in_latin(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// Bytes of `text` that the alias takes when spaces are skipped; the alias is known to stand there.
fn alias_end(text: &str, alias: &str) -> usize {
    let mut left = alias.chars().count();
    for (at, c) in text.char_indices() {
        if left == 0 {
            return at;
        }
        if !c.is_whitespace() {
            left -= 1;
        }
    }
    text.len()
}

/// The language to answer in: the one asked for, else the one of the words around the brand names.
fn language(lower: &str) -> Language {
    if mentions(lower, &["in english", "영어로", "영문으로"]) {
        return Language::English;
    }
    if mentions(lower, &["in korean", "한국어로", "한글로", "우리말로"]) {
        return Language::Korean;
    }
    let mut around = lower.to_owned();
    for alias in Brand::ALL.iter().flat_map(|brand| brand.aliases()) {
        around = around.replace(alias, " ");
    }
    let letters = |text: &str| {
        let hangul = text.chars().filter(|c| is_hangul(*c)).count();
        (hangul, text.chars().filter(char::is_ascii_alphabetic).count())
    };
    let (mut hangul, mut latin) = letters(&around);
    if hangul + latin == 0 {
        (hangul, latin) = letters(lower);
    }
    // A Korean sentence needs fewer letters than the Latin names in it.
    if hangul > 0 && hangul * 2 >= latin { Language::Korean } else { Language::English }
}

/// Brand-like names the data set does not know: known strangers anywhere, and the words right before or after "reviews".
fn unknown_names(message: &str, lower: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        // The name is shown to people: letters, digits and what stands inside names, nothing that could be markup.
        let name: String = name
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '&' | '\'' | '-' | '+'))
            .collect();
        let name = head(name.trim(), UNKNOWN_CHARS);
        if name.is_empty() {
            return;
        }
        let taken = out.iter().any(|have| have.to_lowercase().contains(&name.to_lowercase()));
        if out.len() < UNKNOWN_NAMES && !taken {
            out.push(name.to_owned());
        }
    };
    for stranger in &words().other_brands {
        // Short Korean names hide in other words ("헤라" in "전해라"), so they must begin one.
        let pattern =
            if stranger.chars().any(is_hangul) { format!("^{stranger}") } else { (*stranger).to_owned() };
        if let Some((from, to)) = find(lower, &pattern).first() {
            // Lower case may have other lengths than the message; then the lower-case name has to do.
            add(message.get(*from..*to).filter(|name| name.to_lowercase() == *stranger).unwrap_or(stranger));
        }
    }
    let words: Vec<&str> = message
        .split(|c: char| {
            c.is_whitespace()
                || matches!(
                    c,
                    ',' | '.' | '?' | '!' | '"' | ':' | ';' | '(' | ')' | '/' | '[' | ']' | '{' | '}'
                )
        })
        .filter(|word| !word.is_empty())
        .collect();
    for (at, word) in words.iter().enumerate() {
        let word = word.to_lowercase();
        if matches!(word.as_str(), "review" | "reviews") {
            let follows = words.get(at + 1).is_some_and(|next| matches!(*next, "of" | "about" | "on"));
            if follows {
                let after = words[at + 2..].iter().copied().skip_while(|word| matches!(*word, "the" | "The"));
                add_unless_empty(&mut add, after.take(3).take_while(|word| !plain(word)));
            } else {
                let before = words[..at].iter().rev().take(3).copied().take_while(|word| !plain(word));
                let mut before: Vec<&str> = before.collect();
                // Names have capitals; in a message without them, only the word right before counts.
                if !before.iter().any(|word| word.starts_with(char::is_uppercase)) {
                    before.truncate(1);
                }
                add_unless_empty(&mut add, before.into_iter().rev());
            }
        } else if (word.starts_with("리뷰") || word.starts_with("후기"))
            && let Some(before) = at.checked_sub(1).map(|at| words[at]).filter(|word| !plain(word))
        {
            add(without_particle(before));
        }
    }
    out
}

fn add_unless_empty<'a>(add: &mut impl FnMut(&str), words: impl Iterator<Item = &'a str>) {
    let name = words
        .map(|word| word.strip_suffix("'s").or_else(|| word.strip_suffix("’s")).unwrap_or(word))
        .collect::<Vec<_>>()
        .join(" ");
    if !name.is_empty() {
        add(&name);
    }
}

/// Whether a word cannot be the name of an unknown brand: an everyday word, a number, a known brand or product, a topic.
fn plain(word: &str) -> bool {
    let lower = word.to_lowercase();
    let bare = lower.strip_suffix("'s").or_else(|| lower.strip_suffix("’s")).unwrap_or(&lower);
    let stem = without_particle(bare);
    let part_of_known = |name: &str| {
        name.to_lowercase()
            .split(|c: char| c.is_whitespace() || c == '/')
            .any(|part| part == bare || part == stem)
    };
    !bare.chars().any(char::is_alphabetic)
        || bare.starts_with(|c: char| c.is_ascii_digit())
        || words().everyday_english.contains(&bare)
        || words().everyday_korean.contains(&bare)
        || words().everyday_korean.contains(&stem)
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
        || !Topic::named_in(bare).is_empty()
        || Audience::parse(bare).is_some()
        || korean_grammar(bare)
}

/// A Korean word whose ending is a verb's or an adverb's, not a name's.
fn korean_grammar(word: &str) -> bool {
    word.chars().any(is_hangul)
        && [
            "하는", "하고", "해서", "에서", "에게", "부터", "까지", "으로", "로", "적인", "있는", "없는",
            "된", "한", "할", "줘", "줄", "요", "은데", "지만", "면", "와", "과", "랑",
        ]
        .iter()
        .any(|end| word.ends_with(end))
}

/// A Korean word without the particle at its end ("라네즈의" → "라네즈"); words of one syllable stay.
fn without_particle(word: &str) -> &str {
    for particle in
        ["에서", "에게", "이랑", "의", "은", "는", "이", "가", "을", "를", "와", "과", "랑", "도", "만"]
    {
        if let Some(stem) = word.strip_suffix(particle).filter(|stem| stem.chars().count() >= 2) {
            return stem;
        }
    }
    word
}
