//! Opinions in a clause: the words of the lexicon, with what turns them into their opposite.

use std::sync::LazyLock;

use super::clause::clauses;
use super::negation::{
    excesses, is_condition, is_negated, is_of_another, is_relieved, is_undecided, wishes_korean,
};
use super::sentiment::mean;
use super::text::{Patterns, normal, sentences};
use super::topics::Topic;
use super::words::{topic_words, words};

/// Where a word is in a clause.
type Span = (usize, usize);

/// How an opinion is expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A word that is good or bad for one topic only ("strong" of a scent).
    OfTopic,
    /// A word that is good or bad for every topic.
    Plain,
    /// A noun that is good if nothing else is said about it ("흡수", "value").
    Default,
    /// A trouble as the condition of a part of the body.
    Condition,
    /// A wish, which is a complaint.
    Wish,
}

/// One opinion in a clause.
#[derive(Debug, Clone, Copy)]
struct Opinion {
    span: Span,
    kind: Kind,
    good: bool,
}

/// How a word of the lexicon is read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reading {
    Good,
    Bad,
    Fixed(bool),
    Default,
    Wish,
}

/// Words of opinion, longest first, so that a phrase is read before the words in it.
struct Lexicon {
    patterns: Patterns,
    readings: Vec<Reading>,
}

impl Lexicon {
    fn new(lists: &[(&[&'static str], Reading)]) -> Self {
        let mut all: Vec<(&'static str, Reading)> =
            lists.iter().flat_map(|(list, reading)| list.iter().map(move |word| (*word, *reading))).collect();
        all.sort_by_key(|(word, _)| (std::cmp::Reverse(word.chars().count()), *word));
        let (patterns, readings) = all.into_iter().unzip();
        Self { patterns: Patterns::new(patterns), readings }
    }

    fn of_all_topics() -> &'static Self {
        static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
            let words = words();
            Lexicon::new(&[
                (&words.good, Reading::Good),
                (&words.bad, Reading::Bad),
                (&words.good_as_it_is, Reading::Fixed(true)),
                (&words.bad_as_it_is, Reading::Fixed(false)),
                (&words.good_by_default, Reading::Default),
                (&words.wishes, Reading::Wish),
            ])
        });
        &LEXICON
    }

    fn of_topic(topic: Topic) -> &'static Self {
        static LEXICONS: LazyLock<Vec<Lexicon>> = LazyLock::new(|| {
            let lexicon = |topic| {
                let words = topic_words(topic);
                Lexicon::new(&[(&words.good, Reading::Good), (&words.bad, Reading::Bad)])
            };
            Topic::ALL.map(lexicon).into()
        });
        &LEXICONS[topic as usize]
    }
}

/// The score of a text, or nothing if no known word is in it.
pub(super) fn opinion(text: &str) -> Option<f64> {
    let (mut good, mut bad) = (0.0, 0.0);
    for sentence in sentences(text) {
        for clause in clauses(sentence) {
            for opinion in opinions(&normal(clause), None) {
                if opinion.good { good += 1.0 } else { bad += 1.0 }
            }
        }
    }
    (good + bad > 0.0).then(|| (good - bad) / (good + bad + 0.5))
}

/// The score of what a clause (lower case) says about a topic that is named at `places`, or nothing if no known word is in
/// it. Words of the topic come before other words; where a clause is good and bad, the words nearest to the topic count.
pub(super) fn opinion_of(clause: &str, places: &[Span], topic: Topic) -> Option<f64> {
    if is_undecided(clause) {
        return Some(0.0);
    }
    let mut opinions = opinions(clause, Some(topic));
    if opinions.iter().any(|opinion| opinion.kind == Kind::OfTopic) {
        opinions.retain(|opinion| opinion.kind == Kind::OfTopic);
    }
    let good = opinions.iter().filter(|opinion| opinion.good).count();
    if opinions.is_empty() || good == 0 || good == opinions.len() || places.is_empty() {
        let count = opinions.len() as f64;
        let sign = if good > 0 { 1.0 } else { -1.0 };
        return (count > 0.0).then(|| sign * count / (count + 0.5));
    }
    let nearest = places.iter().filter_map(|place| {
        let distance = |span: Span| span.0.saturating_sub(place.1).max(place.0.saturating_sub(span.1));
        let nearest = opinions.iter().min_by_key(|opinion| distance(opinion.span));
        nearest.map(|opinion| if opinion.good { 1.0 } else { -1.0 })
    });
    Some(mean(nearest) / 1.5)
}

/// The score of what a clause (lower case) says in words that only fit this topic.
pub(super) fn opinion_in_words_of(clause: &str, topic: Topic) -> Option<f64> {
    let opinions = opinions(clause, Some(topic));
    let own = || opinions.iter().filter(|opinion| opinion.kind == Kind::OfTopic);
    own().next()?;
    Some(mean(own().map(|opinion| if opinion.good { 1.0 } else { -1.0 })))
}

/// The opinions in a clause (lower case). Each stretch of text counts once. A wish outweighs what else is said.
fn opinions(clause: &str, topic: Option<Topic>) -> Vec<Opinion> {
    let mut taken: Vec<Opinion> = Vec::new();
    let bad = |span, kind| Opinion { span, kind, good: false };
    taken.extend(wishes_korean(clause).into_iter().map(|span| bad(span, Kind::Wish)));
    taken.extend(excesses(clause).into_iter().map(|span| bad(span, Kind::Plain)));
    let free = |taken: &[Opinion], span: Span| {
        !taken.iter().any(|other| span.0 < other.span.1 && other.span.0 < span.1)
    };
    let own = topic.map(|topic| (Lexicon::of_topic(topic), true));
    for (lexicon, of_topic) in own.into_iter().chain([(Lexicon::of_all_topics(), false)]) {
        for (at, span) in lexicon.patterns.find(clause) {
            if !free(&taken, span) {
                continue;
            }
            let reading = lexicon.readings[at];
            let trouble = reading == Reading::Bad;
            if is_of_another(clause, span) {
                continue;
            }
            if trouble && is_condition(clause, span) && !is_relieved(clause, span) {
                taken.push(bad(span, Kind::Condition));
                continue;
            }
            let good = match reading {
                Reading::Fixed(good) => good,
                Reading::Wish => false,
                _ => trouble == is_negated(clause, span, trouble, topic),
            };
            let kind = match reading {
                Reading::Wish => Kind::Wish,
                Reading::Default => Kind::Default,
                _ if of_topic => Kind::OfTopic,
                _ => Kind::Plain,
            };
            taken.push(Opinion { span, kind, good });
        }
    }
    if topic == Some(Topic::Scent) {
        for span in topic_words(Topic::Scent).all_places(clause) {
            if free(&taken, span) && is_absent(clause, span) {
                taken.push(Opinion { span, kind: Kind::Plain, good: true });
            }
        }
    }
    let of = |kinds: &[Kind]| taken.iter().copied().filter(|opinion| kinds.contains(&opinion.kind)).collect();
    let orders: [&[Kind]; 4] =
        [&[Kind::Wish], &[Kind::Plain, Kind::OfTopic], &[Kind::Default], &[Kind::Condition]];
    orders.into_iter().map(of).find(|found: &Vec<Opinion>| !found.is_empty()).unwrap_or_default()
}

/// Whether a neutral thing at `span` is said to be absent ("no scent", "향도 없고요").
fn is_absent(clause: &str, span: Span) -> bool {
    let mut before = clause[..span.0].split_whitespace().rev();
    let absent = ["no", "without", "zero"];
    let (last, earlier) = (before.next(), before.next());
    is_negated(clause, span, true, Some(Topic::Scent))
        || [last, earlier].into_iter().flatten().any(|word| absent.contains(&word))
}
