//! The word lists of `data/words`, read once: they are edited by speakers of the language, without Rust.
//!
//! A list is patterns separated by commas (see [`super::text::find`]; `_` means a space at an end). Their meaning is
//! not defined here.

use std::sync::LazyLock;

use super::text::Patterns;
use super::{product_type::ProductType, topics::Topic};

/// The lists that are not about topics.
pub(super) struct Words {
    /// Good words: the opposite when negated ("not soft").
    pub(super) good: Vec<&'static str>,
    /// Bad words: good when negated ("not sticky", "끈적이지 않아요").
    pub(super) bad: Vec<&'static str>,
    /// Good as they are: they include their negation.
    pub(super) good_as_it_is: Vec<&'static str>,
    /// Bad as they are: they include their negation.
    pub(super) bad_as_it_is: Vec<&'static str>,
    /// Nouns that are good if nothing else is said about them.
    pub(super) good_by_default: Vec<&'static str>,
    /// Words of a wish, which is a complaint.
    pub(super) wishes: Vec<&'static str>,
    /// Words after a trouble that say that it went away.
    pub(super) relief: Vec<&'static str>,
    /// English words that turn what follows within three words.
    pub(super) negators: Vec<&'static str>,
    /// English words of relief: a trouble named after them went away ("calmed my redness").
    pub(super) relievers: Vec<&'static str>,
    /// Brands that people ask for and the data set does not have.
    pub(super) other_brands: Vec<&'static str>,
    /// Words before "review" that name no brand.
    pub(super) everyday_english: Vec<&'static str>,
    /// Words before "리뷰" that name no brand.
    pub(super) everyday_korean: Vec<&'static str>,
    /// English words of requests that need no understanding.
    pub(super) request_english: Vec<&'static str>,
    /// Korean words of requests that need no understanding.
    pub(super) request_korean: Vec<&'static str>,
}

/// The words of one topic.
pub(super) struct TopicWords {
    /// Adjectives of the topic that mean another one next to a container ("뻑뻑한 펌프").
    pub(super) adjectives: Vec<&'static str>,
    /// Words of a request that name the topic.
    pub(super) request: Vec<&'static str>,
    /// Words of a review that mean it.
    review: Patterns,
    /// Words that mean it in reviews of cleansers.
    cleanser: Patterns,
    /// Words that mean it in reviews of make-up.
    colour: Patterns,
    /// Words that mean it in reviews of what stays on all day: make-up, sunscreens, patches.
    worn: Patterns,
    /// Phrases in which these words mean something else ("the tube is small" is about the size).
    except: Patterns,
    /// The same in reviews of make-up ("잡티" is what it covers).
    except_colour: Patterns,
    /// Troubles that mean it when they are said to be less or gone.
    trouble: Patterns,
    /// Words that are good for this topic only.
    pub(super) good: Vec<&'static str>,
    /// Words that are bad for this topic only.
    pub(super) bad: Vec<&'static str>,
    /// Sizes of a container.
    pub(super) size: Patterns,
    /// Containers that have a size.
    pub(super) container: Patterns,
}

impl TopicWords {
    /// Where a text (lower case) speaks about the topic, whatever the product.
    pub(super) fn all_places(&self, lower: &str) -> Vec<(usize, usize)> {
        self.review.places(lower).collect()
    }

    /// Where a text (lower case) about a product of these kinds names a trouble of the topic.
    pub(super) fn troubles(&self, lower: &str, kinds: &[ProductType]) -> Vec<(usize, usize)> {
        self.without_exceptions(self.trouble.places(lower).collect(), lower, is_make_up(kinds))
    }

    /// Where a text (lower case) about a product of these kinds speaks about the topic.
    pub(super) fn places(&self, lower: &str, kinds: &[ProductType]) -> Vec<(usize, usize)> {
        let make_up = is_make_up(kinds);
        let mut places = self.all_places(lower);
        if kinds.contains(&ProductType::Cleanser) {
            places.extend(self.cleanser.places(lower));
        }
        if make_up {
            places.extend(self.colour.places(lower));
        }
        if make_up || kinds.iter().any(|kind| [ProductType::Sunscreen, ProductType::Patch].contains(kind)) {
            places.extend(self.worn.places(lower));
        }
        self.without_exceptions(places, lower, make_up)
    }

    /// Leaves out places inside of phrases that mean something else.
    fn without_exceptions(
        &self,
        mut places: Vec<(usize, usize)>,
        lower: &str,
        make_up: bool,
    ) -> Vec<(usize, usize)> {
        if places.is_empty() {
            return places;
        }
        let mut except: Vec<(usize, usize)> = self.except.places(lower).collect();
        if make_up {
            except.extend(self.except_colour.places(lower));
        }
        places.retain(|place| !except.iter().any(|phrase| phrase.0 <= place.0 && place.1 <= phrase.1));
        places
    }
}

/// Whether one of these kinds is make-up.
pub(super) fn is_make_up(kinds: &[ProductType]) -> bool {
    kinds.iter().any(|kind| kind.is_make_up())
}

/// The lists, read at first use.
pub(super) fn words() -> &'static Words {
    static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
        good: list(include_str!("../data/words/good.txt")),
        bad: list(include_str!("../data/words/bad.txt")),
        good_as_it_is: list(include_str!("../data/words/good_as_it_is.txt")),
        bad_as_it_is: list(include_str!("../data/words/bad_as_it_is.txt")),
        good_by_default: list(include_str!("../data/words/good_by_default.txt")),
        wishes: list(include_str!("../data/words/wishes.txt")),
        relief: list(include_str!("../data/words/relief.txt")),
        negators: list(include_str!("../data/words/negators.txt")),
        relievers: list(include_str!("../data/words/relievers.txt")),
        other_brands: list(include_str!("../data/words/other_brands.txt")),
        everyday_english: list(include_str!("../data/words/everyday_english.txt")),
        everyday_korean: list(include_str!("../data/words/everyday_korean.txt")),
        request_english: list(include_str!("../data/words/request_english.txt")),
        request_korean: list(include_str!("../data/words/request_korean.txt")),
    });
    &WORDS
}

/// The words of a topic, read at first use.
pub(super) fn topic_words(topic: Topic) -> &'static TopicWords {
    static TOPICS: LazyLock<Vec<TopicWords>> = LazyLock::new(|| {
        let file = include_str!("../data/words/topics.txt");
        Topic::ALL
            .map(|topic| TopicWords {
                request: section(file, topic, "request"),
                review: Patterns::new(section(file, topic, "review")),
                cleanser: Patterns::new(section(file, topic, "cleanser")),
                colour: Patterns::new(section(file, topic, "colour")),
                worn: Patterns::new(section(file, topic, "worn")),
                except: Patterns::new(section(file, topic, "except")),
                except_colour: Patterns::new(section(file, topic, "except-colour")),
                trouble: Patterns::new(section(file, topic, "trouble")),
                good: section(file, topic, "good"),
                bad: section(file, topic, "bad"),
                adjectives: section(file, topic, "adjectives"),
                size: Patterns::new(section(file, topic, "size")),
                container: Patterns::new(section(file, topic, "container")),
            })
            .into()
    });
    &TOPICS[topic as usize]
}

/// The list under `[TOPIC KIND]`.
fn section(file: &'static str, topic: Topic, kind: &str) -> Vec<&'static str> {
    let heading = format!("[{} {kind}]", topic.slug());
    let after = file.split_once(heading.as_str()).map_or("", |(_, after)| after);
    list(after.split_once('[').map_or(after, |(here, _)| here))
}

fn list(text: &'static str) -> Vec<&'static str> {
    text.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_words_for_requests_and_reviews() {
        for (at, topic) in Topic::ALL.into_iter().enumerate() {
            assert_eq!(topic as usize, at, "the table is indexed by the order of `Topic::ALL`");
            assert!(topic_words(topic).request.len() >= 4, "{topic:?}");
            assert!(topic_words(topic).review.len() >= 10, "{topic:?}");
        }
    }

    #[test]
    fn no_word_is_both_good_and_bad() {
        let lists = words();
        for word in &lists.good {
            assert!(!lists.bad.contains(word), "{word}");
        }
        for word in &lists.good_as_it_is {
            assert!(!lists.bad_as_it_is.contains(word), "{word}");
        }
    }
}
