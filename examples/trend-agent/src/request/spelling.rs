//! Brand names in Latin letters with a slip of the keyboard ("laniege", "inisfree").

use std::borrow::Cow;

use crate::catalogue::Brand;
use crate::text::find;

/// Shorter names are too close to other words.
const SHORTEST: usize = 6;

/// Names of this length have one slip only: two letters that changed places.
const SHORT: usize = 4;

/// Latin letters with an accent, which keyboards differ in ("Étude"), without it.
const ACCENTS: [(&str, char); 6] =
    [("àáâãäå", 'a'), ("èéêë", 'e'), ("ìíîï", 'i'), ("òóôõö", 'o'), ("ùúûü", 'u'), ("ç", 'c')];

fn without_accents(message: &str) -> Cow<'_, str> {
    let plain = |c: char| {
        let lower = c.to_lowercase().next().unwrap_or(c);
        let plain =
            ACCENTS.iter().find(|(accented, _)| accented.contains(lower)).map_or(c, |(_, plain)| *plain);
        if c.is_uppercase() { plain.to_ascii_uppercase() } else { plain }
    };
    let has = message.chars().any(|c| ('À'..='ü').contains(&c) && plain(c) != c);
    if has { Cow::Owned(message.chars().map(plain).collect()) } else { Cow::Borrowed(message) }
}

/// Other words that are misspelled often.
const WORDS: [&str; 10] = [
    "cleanser",
    "sunscreen",
    "essence",
    "cushion",
    "ampoule",
    "palette",
    "irritation",
    "hydration",
    "packaging",
    "delivery",
];

/// Puts brand names and a few other words in place of words that are one letter away from them: one left out, added, changed or swapped with its
/// neighbour. Letters lose their accents.
pub(super) fn corrected(message: &str) -> Cow<'_, str> {
    let mut out = without_accents(message);
    let brands = || Brand::ALL.iter().flat_map(|brand| brand.aliases()).filter(|name| name.is_ascii());
    let names = || brands().copied().chain(WORDS);
    let plain = out.clone().into_owned();
    for word in plain.split(|c: char| !c.is_ascii_alphabetic()) {
        let lower = word.to_ascii_lowercase();
        if word.len() < SHORT || names().any(|name| !find(name, &lower).is_empty()) {
            continue;
        }
        let slip = |name: &str| match name.len() {
            SHORTEST.. => word.len() >= SHORTEST && is_slip(&lower, name),
            // Of a short name, only neighbours that changed places.
            SHORT.. => word.len() == name.len() && is_swap(&lower, name),
            _ => false,
        };
        let plural = lower.strip_suffix('s').is_some_and(|one| WORDS.contains(&one));
        if let Some(name) = names().find(|name| slip(name)).filter(|_| !plural) {
            out = Cow::Owned(out.replace(word, name));
        }
    }
    out
}

/// Whether two neighbouring letters changed places in one of two words of ASCII letters.
fn is_swap(word: &str, name: &str) -> bool {
    let (word, name) = (word.as_bytes(), name.as_bytes());
    let same = word.iter().zip(name).take_while(|(a, b)| a == b).count();
    is_swap_of(&word[same..], &name[same..])
}

/// Whether the first two letters changed places, and the others are the same.
fn is_swap_of(rest: &[u8], wanted: &[u8]) -> bool {
    rest.len() >= 2
        && wanted.len() >= 2
        && rest[0] == wanted[1]
        && rest[1] == wanted[0]
        && rest[2..] == wanted[2..]
}

/// Whether two words of ASCII letters are one slip apart.
fn is_slip(word: &str, name: &str) -> bool {
    let (word, name) = (word.as_bytes(), name.as_bytes());
    let same = word.iter().zip(name).take_while(|(a, b)| a == b).count();
    let (rest, wanted) = (&word[same..], &name[same..]);
    let changed = !rest.is_empty() && !wanted.is_empty() && rest[1..] == wanted[1..];
    let left_out = !wanted.is_empty() && *rest == wanted[1..];
    let added = !rest.is_empty() && rest[1..] == *wanted;
    is_swap_of(rest, wanted) || changed || left_out || added
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_in_a_brand_is_corrected_and_other_words_stay() {
        for (written, read) in [
            ("laniege 리뷰", "laneige 리뷰"),
            ("Inisfree toner", "innisfree toner"),
            ("sulwhaso", "sulwhasoo"),
            ("anau toner", "anua toner"),
            ("auto and Anna", "auto and Anna"),
            ("Laneige", "Laneige"),
            ("laneige's", "laneige's"),
            ("linage and sulphur", "linage and sulphur"),
            ("Étude 틴트", "Etude 틴트"),
        ] {
            assert_eq!(corrected(written), read);
        }
    }
}
