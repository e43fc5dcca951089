//! Parts of a topic that a request can name: white cast and pilling are both of the finish, and not the same.

use std::sync::LazyLock;

use super::review::Language;
use super::text::Patterns;
use super::topics::Topic;

/// A part of a topic.
#[derive(Debug)]
pub struct Aspect {
    /// Which topic it is a part of.
    pub topic: Topic,
    korean: &'static str,
    english: &'static str,
    patterns: Patterns,
}

impl Aspect {
    /// Every aspect, read at first use from `data/words/aspects.txt`.
    #[must_use]
    pub fn all() -> &'static [Self] {
        static ASPECTS: LazyLock<Vec<Aspect>> =
            LazyLock::new(|| read(include_str!("../data/words/aspects.txt")));
        &ASPECTS
    }

    /// The aspects with these keys; a key that is none is left out.
    ///
    /// # Examples
    ///
    /// ```
    /// use trend_agent::aspect::Aspect;
    ///
    /// assert_eq!(Aspect::named(&["white cast".to_owned()]).len(), 1);
    /// ```
    #[must_use]
    pub fn named(keys: &[String]) -> Vec<&'static Self> {
        Self::all().iter().filter(|aspect| keys.iter().any(|key| key == aspect.english)).collect()
    }

    /// Returns the key in a [`Request`](crate::Request): the English name.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        self.english
    }

    /// Returns the name that a reader of `language` expects.
    #[must_use]
    pub const fn name(&self, language: Language) -> &'static str {
        match language {
            Language::Korean => self.korean,
            Language::English => self.english,
        }
    }

    /// Where a text (lower case) names it.
    pub(super) fn places(&self, lower: &str) -> Vec<(usize, usize)> {
        self.patterns.find(lower).map(|(_, place)| place).collect()
    }
}

/// Sections of the form `[topic | Korean name | English name]`, followed by patterns.
fn read(file: &'static str) -> Vec<Aspect> {
    let sections = file.split('[').filter_map(|section| section.split_once(']'));
    let aspects = sections.filter_map(|(head, patterns)| {
        let mut names = head.split('|').map(str::trim);
        let topic = names.next()?;
        let topic = Topic::ALL.into_iter().find(|own| own.slug() == topic)?;
        let (korean, english) = (names.next()?, names.next()?);
        let patterns = patterns.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
        Some(Aspect { topic, korean, english, patterns: Patterns::new(patterns.collect()) })
    });
    aspects.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_an_aspect_with_a_key_of_its_own() {
        let all = Aspect::all();
        assert_eq!(all.len(), include_str!("../data/words/aspects.txt").matches('[').count());
        for aspect in all {
            assert_eq!(all.iter().filter(|other| other.english == aspect.english).count(), 1);
        }
    }
}
