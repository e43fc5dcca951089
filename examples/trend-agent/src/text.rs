//! Cutting Korean and English text into sentences, and finding words in it. Slices only: nothing here
//! cuts inside a character.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

/// Sentences of a text, trimmed, each with its closing mark. A piece without any letter (an emoji, say) stays
/// with the sentence before it.
#[must_use]
pub fn sentences(text: &str) -> Vec<&str> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let closes = match c {
            '!' | '?' | '…' | '。' | '\n' => true,
            // A full stop inside a number or a word ("0.1", "a.m") does not close.
            '.' => chars.peek().is_none_or(|(_, next)| next.is_whitespace() || !next.is_alphanumeric()),
            _ => false,
        };
        if closes && !matches!(chars.peek(), Some((_, '!' | '?' | '.' | '…'))) {
            push(text, &mut out, start, at + c.len_utf8());
            start = at + c.len_utf8();
        }
    }
    push(text, &mut out, start, text.len());
    out.into_iter().map(|(from, to)| text[from..to].trim()).collect()
}

fn push(text: &str, out: &mut Vec<(usize, usize)>, from: usize, to: usize) {
    let piece = &text[from..to];
    if piece.chars().any(char::is_alphanumeric) {
        out.push((from, to));
    } else if let Some(last) = out.last_mut() {
        last.1 = to;
    }
}

/// The byte ranges of `lower` (text already in lower case) that match `pattern`.
///
/// A pattern in Latin letters matches whole words; with a `*` at its end it matches the beginning of a word. A
/// Korean pattern matches anywhere, because stems carry endings; with a `^` before it, only at the beginning of a word.
/// A `~` at the end of a Korean stem is for its forms that change the last syllable ("번지~" is 번지, 번진, 번져 and 번졌).
/// A `_` at the end means a space. ` … ` between two patterns means at most six words without a comma.
#[must_use]
pub fn find(lower: &str, pattern: &str) -> Vec<(usize, usize)> {
    if let Some((first, second)) = pattern.split_once(GAP) {
        let ends = find(lower, second);
        let pairs = find(lower, first).into_iter().flat_map(|(from, start)| {
            let fits = move |&&(end, _): &&(usize, usize)| {
                end >= start
                    && lower[start..end].split_whitespace().count() <= GAP_WORDS
                    && !lower[start..end].contains([',', ';', ':'])
            };
            ends.iter().filter(fits).map(move |&(_, to)| (from, to)).collect::<Vec<_>>()
        });
        return pairs.collect();
    }
    let needle = Needle::of(pattern);
    if needle.text.is_empty() {
        return Vec::new();
    }
    let found = lower.match_indices(&*needle.text);
    found.filter_map(|(at, found)| needle.place(lower, at, at + found.len())).collect()
}

/// Separator of the two parts of a pattern with a gap.
const GAP: &str = " … ";

/// The most words in a gap.
const GAP_WORDS: usize = 6;

/// A pattern, read.
#[derive(Debug)]
struct Needle<'a> {
    /// Only at the beginning of a word.
    anchored: bool,
    /// The beginning of a word is enough.
    prefix: bool,
    /// The last syllable of a stem, which is not part of `text`.
    stem: Option<char>,
    text: Cow<'a, str>,
}

impl<'a> Needle<'a> {
    fn of(pattern: &'a str) -> Self {
        let (anchored, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
        let (prefix, rest) = rest.strip_suffix('*').map_or((false, rest), |rest| (true, rest));
        if let Some(rest) = rest.strip_suffix('~')
            && let Some(last) = rest.chars().next_back()
        {
            let text = Cow::Borrowed(&rest[..rest.len() - last.len_utf8()]);
            return Self { anchored, prefix, stem: Some(last), text };
        }
        let text = rest.strip_suffix('_').map_or(Cow::Borrowed(rest), |rest| Cow::Owned(format!("{rest} ")));
        Self { anchored, prefix, stem: None, text }
    }

    /// The range of the pattern in `lower` that has its text at `from..to`, if it matches there.
    fn place(&self, lower: &str, from: usize, mut to: usize) -> Option<(usize, usize)> {
        if let Some(last) = self.stem {
            let next = lower[to..].chars().next()?;
            if !is_form_of(next, last) {
                return None;
            }
            to += next.len_utf8();
        }
        let before = lower[..from].chars().next_back();
        let matches = if self.text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let after = lower[to..].chars().next();
            !before.is_some_and(|c| c.is_ascii_alphanumeric())
                && (self.prefix || !after.is_some_and(|c| c.is_ascii_alphanumeric()))
        } else {
            !self.anchored || !before.is_some_and(is_hangul)
        };
        matches.then_some((from, to))
    }
}

/// Many patterns, searched together in one pass over a text.
#[derive(Debug)]
pub(super) struct Patterns {
    patterns: Vec<(&'static str, Needle<'static>)>,
    /// Finds their letters; its numbers are theirs.
    letters: AhoCorasick,
}

impl Patterns {
    pub(super) fn new(patterns: Vec<&'static str>) -> Self {
        let first =
            |pattern: &'static str| Needle::of(pattern.split_once(GAP).map_or(pattern, |(first, _)| first));
        let patterns: Vec<_> = patterns.into_iter().map(|pattern| (pattern, first(pattern))).collect();
        // About a hundred automata are searched for each clause. The smallest kind fits into the caches of a processor.
        let letters = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(patterns.iter().map(|(_, needle)| &*needle.text))
            .expect("a few hundred short words fit into an automaton");
        Self { patterns, letters }
    }

    /// The byte ranges of `lower` that match a pattern, with the index of the pattern, in the order of the list.
    pub(super) fn find(&self, lower: &str) -> impl Iterator<Item = (usize, (usize, usize))> {
        let found = self.letters.find_overlapping_iter(lower);
        let mut found: Vec<_> = found.map(|it| (it.pattern().as_usize(), it.start(), it.end())).collect();
        found.sort_unstable();
        let mut last = None;
        found.into_iter().flat_map(move |(at, from, to)| {
            let (pattern, needle) = &self.patterns[at];
            // Matches of one pattern do not overlap, and a pattern with a gap is searched once.
            let again = last.is_some_and(|(before, end)| before == at && from < end);
            let places = if again || needle.text.is_empty() {
                Vec::new()
            } else if pattern.contains(GAP) {
                last = Some((at, usize::MAX));
                find(lower, pattern)
            } else {
                last = Some((at, to));
                needle.place(lower, from, to).into_iter().collect()
            };
            places.into_iter().map(move |place| (at, place))
        })
    }

    /// The byte ranges of `lower` that match a pattern, in the order of the list.
    pub(super) fn places(&self, lower: &str) -> impl Iterator<Item = (usize, usize)> {
        self.find(lower).map(|(_, place)| place)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.patterns.len()
    }
}

/// Whether any of `patterns` matches in `lower`; see [`find`].
#[must_use]
pub fn mentions(lower: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| !find(lower, pattern).is_empty())
}

/// A sentence in lower case, with contractions written out: offsets are of this text.
pub(super) fn normal(clause: &str) -> String {
    let lower = clause.to_lowercase().replace('\u{2019}', "'");
    if !lower.contains('\'') && !lower.contains("cannot") {
        return lower;
    }
    let written = [("can't", "can not"), ("won't", "will not"), ("cannot", "can not"), ("n't", " not")];
    written.iter().fold(lower, |text, (short, long)| text.replace(short, long))
}

/// Whether a syllable is a form of the last syllable of a stem: with the endings ㄴ, ㄹ, ㅁ, ㅂ and ㅆ, and contracted with 어
/// (지 → 져, 하 → 해).
fn is_form_of(syllable: char, last: char) -> bool {
    const FINALS: [u32; 6] = [0, 4, 8, 16, 17, 20];
    let parts = |c: char| {
        matches!(c, '\u{AC00}'..='\u{D7A3}').then(|| {
            let index = u32::from(c) - 0xAC00;
            (index / 588, index / 28 % 21, index % 28)
        })
    };
    let (Some((initial, vowel, end)), Some((own, own_vowel, own_end))) = (parts(syllable), parts(last))
    else {
        return syllable == last;
    };
    // The numbers of vowels: ㅏ 0, ㅐ 1, ㅕ 6, ㅣ 20.
    let contracted = (own_vowel == 20 && vowel == 6) || (last == '하' && vowel == 1);
    let plain = vowel == own_vowel && FINALS.contains(&end);
    own_end == 0 && initial == own && (plain || (contracted && [0, 20].contains(&end)))
}

/// Whether a character is a Hangul syllable or letter.
#[must_use]
pub const fn is_hangul(c: char) -> bool {
    matches!(c, '\u{AC00}'..='\u{D7A3}' | '\u{1100}'..='\u{11FF}' | '\u{3130}'..='\u{318F}')
}

/// The first `limit` characters of a text, never half of one.
#[must_use]
pub fn head(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(at, _)| &text[..at])
}
