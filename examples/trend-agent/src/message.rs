//! A message while it is read: where words occur, which of them were understood, which mentions are excluded.

use super::text::{find, head};

/// Byte range in the lower-case message.
pub(crate) type Span = (usize, usize);

/// Korean words after a mention that exclude it ("라네즈 말고").
const EXCLUDED_AFTER: [&str; 17] = [
    "말고",
    "말구",
    "빼",
    "뺀",
    "제외",
    "이외",
    "외에",
    "외의",
    "외 다른",
    "아니라",
    "아니고",
    "아닌",
    "없이",
    "필요 없",
    "필요없",
    "제하고",
    "빠진",
];

/// English words before a mention that exclude it, and every further one of the same list.
const EXCLUDED_BEFORE: [&str; 21] = [
    "except",
    "except for",
    "excluding",
    "exclude",
    "without",
    "other than",
    "apart from",
    "aside from",
    "besides",
    "instead of",
    "rather than",
    "ignore",
    "ignoring",
    "skip",
    "skipping",
    "leave out",
    "leaving out",
    "minus",
    "drop",
    "remove",
    "omit",
];

/// English words before a mention that exclude this one only.
const NEGATED_BEFORE: [&str; 6] = ["not", "but not", "no", "don't include", "neither", "nor"];

/// Words between "except" and what is excluded.
const FILLERS: [&str; 16] = [
    "the", "any", "all", "from", "of", "for", "about", "those", "reviews", "review", "brand", "products",
    "product", "on", "in", "both",
];

/// Korean particles and nouns between a mention and the word that excludes it.
const PARTICLES: [&str; 30] = [
    "으로는",
    "로는",
    "에서",
    "이랑",
    "으로",
    "리뷰들",
    "리뷰",
    "후기",
    "브랜드",
    "제품",
    "점짜리",
    "짜리",
    "쪽",
    "것",
    "거",
    "관련",
    "얘기",
    "이야기",
    "랑",
    "의",
    "은",
    "는",
    "이",
    "가",
    "을",
    "를",
    "도",
    "만",
    "로",
    "들",
];

/// A message while it is read.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    lower: String,
    used: Vec<Span>,
}

/// Something that a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mention<T> {
    pub(crate) what: T,
    pub(crate) span: Span,
    /// Whether the message excludes it.
    pub(crate) excluded: bool,
}

impl Message {
    /// Reads a message. A space at the end lets patterns that end in a space match the last word.
    pub(crate) fn new(text: &str) -> Self {
        Self { lower: format!("{} ", text.to_lowercase()), used: Vec::new() }
    }

    pub(crate) fn lower(&self) -> &str {
        &self.lower
    }

    pub(crate) fn mark(&mut self, span: Span) {
        self.used.push(span);
    }

    /// Whether nothing in `span` was understood yet.
    pub(crate) fn is_free(&self, span: Span) -> bool {
        !self.used.iter().any(|used| used.0 < span.1 && span.0 < used.1)
    }

    /// The first place of any of the patterns that was not understood yet; marks every such place.
    pub(crate) fn take(&mut self, patterns: &[&str]) -> Option<Span> {
        let found = self.places(patterns);
        for span in &found {
            self.mark(*span);
        }
        found.first().copied()
    }

    /// Whether one of the patterns occurs, understood already or not; marks the places.
    pub(crate) fn says(&mut self, patterns: &[&str]) -> bool {
        let found: Vec<Span> = patterns.iter().flat_map(|pattern| find(&self.lower, pattern)).collect();
        for span in &found {
            self.mark(*span);
        }
        !found.is_empty()
    }

    /// The places of patterns that were not understood yet, in order.
    pub(crate) fn places(&self, patterns: &[&str]) -> Vec<Span> {
        let mut found: Vec<Span> = patterns
            .iter()
            .flat_map(|pattern| find(&self.lower, pattern))
            .filter(|span| self.is_free(*span))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What the message names out of `names`, longest names first, spaces and hyphens ignored; marks the places. A plural "s"
    /// belongs to the name.
    pub(crate) fn mentions<T: Copy + PartialEq>(
        &mut self,
        names: impl IntoIterator<Item = (T, &'static str)>,
    ) -> Vec<Mention<T>> {
        self.mentions_of(names, true)
    }

    /// As [`Message::mentions`], for names without a plural; the exact patterns of `more` are names too.
    pub(crate) fn proper_mentions<T: Copy + PartialEq>(
        &mut self,
        names: impl IntoIterator<Item = (T, &'static str)>,
        more: impl IntoIterator<Item = (T, String)>,
    ) -> Vec<Mention<T>> {
        let mut found = self.loose_places(names, false);
        for (what, pattern) in more {
            found.extend(self.places(&[&pattern]).into_iter().map(|span| (span, what)));
        }
        self.longest(found)
    }

    fn mentions_of<T: Copy + PartialEq>(
        &mut self,
        names: impl IntoIterator<Item = (T, &'static str)>,
        plural: bool,
    ) -> Vec<Mention<T>> {
        let found = self.loose_places(names, plural);
        self.longest(found)
    }

    fn loose_places<T: Copy>(
        &self,
        names: impl IntoIterator<Item = (T, &'static str)>,
        plural: bool,
    ) -> Vec<(Span, T)> {
        names
            .into_iter()
            .flat_map(|(what, name)| self.loose(name, plural).into_iter().map(move |span| (span, what)))
            .filter(|(span, _)| self.is_free(*span))
            .collect()
    }

    /// Marks the longest of the places that overlap, and decides which ones the message excludes.
    fn longest<T: Copy + PartialEq>(&mut self, mut found: Vec<(Span, T)>) -> Vec<Mention<T>> {
        found.sort_by_key(|(span, _)| (std::cmp::Reverse(span.1 - span.0), span.0));
        let mut kept: Vec<(Span, T)> = Vec::new();
        for (span, what) in found {
            // A name that several products share means all of them.
            let overlaps = |(other, _): &(Span, T)| *other != span && other.0 < span.1 && span.0 < other.1;
            if !kept.iter().any(overlaps) && !kept.contains(&(span, what)) {
                kept.push((span, what));
            }
        }
        kept.sort_by_key(|(span, _)| *span);
        for (span, _) in &kept {
            self.mark(*span);
        }
        self.with_exclusion(kept)
    }

    /// Decides which of these places the message excludes.
    pub(crate) fn with_exclusion<T: Copy>(&mut self, places: Vec<(Span, T)>) -> Vec<Mention<T>> {
        let mut mentions: Vec<Mention<T>> =
            places.into_iter().map(|(span, what)| Mention { what, span, excluded: false }).collect();
        // Korean: the word follows the list, so the list is read backwards.
        let mut carried = false;
        for at in (0..mentions.len()).rev() {
            let span = mentions[at].span;
            let joined = mentions.get(at + 1).is_some_and(|next| self.joined(span, next.span));
            carried = self.excluded_after(span) || (carried && joined);
            mentions[at].excluded = carried;
        }
        // English: the word precedes the list.
        let (mut carried, mut denied) = (false, false);
        for at in 0..mentions.len() {
            let span = mentions[at].span;
            let joined = at > 0 && self.joined(mentions[at - 1].span, span);
            let listed = self.excluded_before(span, &EXCLUDED_BEFORE);
            carried = listed || (carried && joined);
            // "Not A or B" denies both, "not A and B" only the first.
            let or = at > 0 && {
                let between = self.lower.get(mentions[at - 1].span.1..span.0).unwrap_or_default();
                ["or", "nor"].contains(&between.trim())
            };
            denied = self.excluded_before(span, &NEGATED_BEFORE) || (denied && or);
            mentions[at].excluded |= carried || denied;
        }
        mentions
    }

    /// Whether what is at `span` is said to be absent ("불만 없는", "no complaints" is read before).
    pub(crate) fn is_absent(&mut self, span: Span) -> bool {
        let mut at = span.1;
        let denials = [
            "적이지 않",
            "적이진 않",
            "적이지는 않",
            "적이 아닌",
            "적이 아니",
            "하지 않",
            "족하지 않",
            "이지 않",
            "지 않",
        ];
        if let Some(word) = denials.iter().find(|word| self.lower[at..].starts_with(**word)) {
            self.mark((at, at + word.len()));
            return true;
        }
        for _ in 0..3 {
            at += self.lower[at..].len() - self.lower[at..].trim_start_matches(' ').len();
            let rest = &self.lower[at..];
            if let Some(word) =
                ["없는", "없던", "없다", "없음", "없이"].iter().find(|word| rest.starts_with(**word))
            {
                self.mark((at, at + word.len()));
                return true;
            }
            let Some(particle) = ["하나도", "전혀", "이", "은", "도", "가", "점", "적인", "리뷰", "의견"]
                .iter()
                .find(|word| rest.starts_with(**word))
            else {
                return false;
            };
            at += particle.len();
        }
        false
    }

    /// The message with blanks in the place of what was understood.
    pub(crate) fn masked(&self) -> String {
        let mut out = self.lower.clone();
        for &(from, to) in &self.used {
            if out.is_char_boundary(from) && out.is_char_boundary(to) && from < to {
                out.replace_range(from..to, &" ".repeat(to - from));
            }
        }
        out
    }

    /// Words that were not understood, with their places.
    pub(crate) fn free_words(&self) -> Vec<&str> {
        words(&self.lower)
            .filter(|span| self.is_free(*span))
            .map(|(from, to)| &self.lower[from..to])
            .collect()
    }

    /// Whether only a conjunction is between two mentions.
    fn joined(&self, first: Span, second: Span) -> bool {
        if first == second {
            return true;
        }
        let Some(between) = self.lower.get(first.1..second.0) else { return false };
        let between = between.trim().trim_matches(',').trim();
        ["", "and", "or", "nor", "&", "/", "랑", "이랑", "와", "과", "하고", "및", "·", "나", "이나", "도"]
            .contains(&between)
    }

    fn excluded_after(&mut self, span: Span) -> bool {
        let mut at = span.1;
        for _ in 0..4 {
            let rest = &self.lower[at..];
            let blank = rest.len() - rest.trim_start_matches(' ').len();
            let rest = &rest[blank..];
            if let Some(word) = EXCLUDED_AFTER.iter().find(|word| rest.starts_with(**word)) {
                let end = at + blank + word.len();
                self.mark((at + blank, end));
                return true;
            }
            let Some(particle) = PARTICLES.iter().find(|particle| rest.starts_with(**particle)) else {
                return false;
            };
            at += blank + particle.len();
        }
        false
    }

    fn excluded_before(&mut self, span: Span, words: &[&str]) -> bool {
        let mut before = self.lower[..span.0].trim_end_matches([' ', ',', '"', '“']);
        for _ in 0..4 {
            for word in words {
                if let Some(rest) = before.strip_suffix(word)
                    && !rest.ends_with(|c: char| c.is_alphanumeric() || c == '\'')
                {
                    let found = (rest.len(), before.len());
                    self.mark(found);
                    return true;
                }
            }
            let filler = FILLERS.iter().find_map(|filler| {
                before.strip_suffix(filler).filter(|rest| !rest.ends_with(char::is_alphanumeric))
            });
            let Some(rest) = filler else { return false };
            before = rest.trim_end();
        }
        false
    }

    /// Places of a name when spaces and hyphens are ignored. A Latin name is a word; a Korean one may carry particles, so
    /// only its start must not be inside a Latin word.
    fn loose(&self, name: &str, plurals: bool) -> Vec<Span> {
        let skipped = |c: char| c.is_whitespace() || matches!(c, '-' | '_' | '·');
        let wanted: Vec<char> = name.chars().flat_map(char::to_lowercase).filter(|c| !skipped(*c)).collect();
        let Some(first) = wanted.first() else { return Vec::new() };
        let latin_end = wanted.last().is_some_and(char::is_ascii_alphanumeric);
        let mut found = Vec::new();
        for (at, _) in self.lower.match_indices(*first) {
            let before = self.lower[..at].chars().next_back();
            if first.is_ascii_alphanumeric() && before.is_some_and(|c| c.is_ascii_alphanumeric()) {
                continue;
            }
            let mut left = wanted.iter();
            let mut next = left.next();
            let mut end = at;
            for (offset, c) in self.lower[at..].char_indices() {
                match next {
                    None => break,
                    Some(wanted) if *wanted == c => {
                        end = at + offset + c.len_utf8();
                        next = left.next();
                    }
                    Some(_) if skipped(c) => {}
                    Some(_) => break,
                }
            }
            let after = self.lower[end..].chars().next();
            let plural = plurals && latin_end && self.lower[end..].starts_with('s') && {
                let rest = self.lower[end + 1..].chars().next();
                !rest.is_some_and(|c| c.is_ascii_alphanumeric())
            };
            if next.is_none() && (plural || !latin_end || !after.is_some_and(|c| c.is_ascii_alphanumeric())) {
                found.push((at, end + usize::from(plural)));
            }
        }
        found
    }
}

/// The places of the words of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = Span> {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’' | '&' | '+' | '%' | '-');
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let from = at + rest.find(inside)?;
        let to = text[from..].find(|c| !inside(c)).map_or(text.len(), |len| from + len);
        at = to;
        Some((from, to))
    })
}

/// A Korean word without the particles at its end ("라네즈의" → "라네즈"); a stem has at least two syllables.
pub(crate) fn without_particle(word: &str) -> &str {
    for particle in [
        "에서는",
        "으로는",
        "이라는",
        "에서",
        "에게",
        "이랑",
        "까지",
        "부터",
        "으로",
        "처럼",
        "보다",
        "한테",
        "에는",
        "로는",
        "이나",
        "라는",
        "에",
        "의",
        "은",
        "는",
        "이",
        "가",
        "을",
        "를",
        "와",
        "과",
        "랑",
        "도",
        "만",
        "로",
    ] {
        if let Some(stem) = word.strip_suffix(particle).filter(|stem| stem.chars().count() >= 2) {
            return stem;
        }
    }
    word
}

/// The part of a message that is read; see [`super::request::MESSAGE_CHARS`].
pub(crate) fn read_part(message: &str) -> &str {
    head(message, super::request::MESSAGE_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<(u8, bool)> {
        let names =
            [(1, "laneige"), (1, "라네즈"), (2, "anua"), (2, "아누아"), (3, "cosrx"), (3, "코스알엑스")];
        let found = Message::new(text).proper_mentions(names, []);
        found.into_iter().map(|mention| (mention.what, mention.excluded)).collect()
    }

    #[test]
    fn exclusion_covers_a_list_and_stops_at_its_end() {
        for (text, expected) in [
            ("라네즈 말고 아누아만", &[(1, true), (2, false)][..]),
            ("라네즈랑 아누아는 빼고 코스알엑스", &[(1, true), (2, true), (3, false)]),
            ("Anua, not Laneige", &[(2, false), (1, true)]),
            ("all except Laneige and Anua", &[(1, true), (2, true)]),
            ("not Laneige but Anua", &[(1, true), (2, false)]),
            ("anua without the reviews of COSRX", &[(2, false), (3, true)]),
            ("라네즈가 아니라 아누아", &[(1, true), (2, false)]),
            ("라네즈와 아누아 비교", &[(1, false), (2, false)]),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }
}
