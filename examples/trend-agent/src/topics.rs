//! What people talk about: a lexicon of topics in Korean and English, with counts, leanings and real quotes.

use serde::{Deserialize, Serialize};

use super::aspect::Aspect;
use super::catalogue::Product;
use super::clause::{
    clauses, is_concession, is_contrast, is_disposition, is_exception, is_expectation, is_of_predecessor,
    is_of_the_past,
};
use super::negation::is_relieved;
use super::opinion::{opinion, opinion_in_words_of, opinion_of};
use super::product_type::ProductType;
use super::review::{Language, Review};
use super::sentiment::{Polarity, mean, review_score, round};
use super::text::{find, mentions, normal, sentences};
use super::words::{is_make_up, topic_words};

/// Something that reviews talk about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Moisture and dryness.
    Hydration,
    /// Feel, weight, absorption.
    Texture,
    /// Shine, white cast, pilling, how it sits under make-up.
    Finish,
    /// Smell.
    Scent,
    /// What it does: calming, pores, brightening, cleansing.
    Effect,
    /// Stinging, redness, breakouts, and their absence.
    Irritation,
    /// How long it lasts on the skin.
    Longevity,
    /// Colour, shade, coverage.
    Shade,
    /// Price, size, value.
    Price,
    /// Jar, pump, lid, refill.
    Packaging,
    /// Delivery, exchange, customer service.
    Delivery,
}

/// A sentence of a review, word for word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Which review.
    pub review: String,
    /// A sentence of the review, verbatim.
    pub text: String,
    /// Language of the sentence.
    pub lang: Language,
    /// Rating of the review, 1 to 5.
    pub rating: u8,
    /// Which way the sentence leans on this topic.
    pub polarity: Polarity,
}

/// One topic in a set of reviews. `positive + neutral + negative = count`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicFinding {
    /// Which topic.
    pub topic: Topic,
    /// How many reviews mention it.
    pub count: usize,
    /// `count` as a share of all reviews, 0 to 1.
    pub share: f64,
    /// How many speak well of it.
    pub positive: usize,
    /// How many mention it without leaning.
    pub neutral: usize,
    /// How many complain of it.
    pub negative: usize,
    /// Mean rating of the reviews that mention it, 1 to 5.
    pub mean_rating: f64,
    /// At most [`QUOTES`] of each leaning, good first.
    pub quotes: Vec<Quote>,
}

/// The most quotes kept for each leaning of a topic.
pub const QUOTES: usize = 3;

impl Topic {
    /// Every topic, in the order of the lexicon.
    pub const ALL: [Self; 11] = [
        Self::Hydration,
        Self::Texture,
        Self::Finish,
        Self::Scent,
        Self::Effect,
        Self::Irritation,
        Self::Longevity,
        Self::Shade,
        Self::Price,
        Self::Packaging,
        Self::Delivery,
    ];

    /// The name a reader of `language` expects.
    #[must_use]
    pub const fn name(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Hydration, Language::Korean) => "보습",
            (Self::Hydration, Language::English) => "hydration",
            (Self::Texture, Language::Korean) => "제형·사용감",
            (Self::Texture, Language::English) => "texture",
            (Self::Finish, Language::Korean) => "마무리감(유분·백탁·밀림)",
            (Self::Finish, Language::English) => "finish (shine, cast, pilling)",
            (Self::Scent, Language::Korean) => "향",
            (Self::Scent, Language::English) => "scent",
            (Self::Effect, Language::Korean) => "효과(진정·모공·톤)",
            (Self::Effect, Language::English) => "effect (calming, pores, tone)",
            (Self::Irritation, Language::Korean) => "자극·트러블",
            (Self::Irritation, Language::English) => "irritation",
            (Self::Longevity, Language::Korean) => "지속력",
            (Self::Longevity, Language::English) => "longevity",
            (Self::Shade, Language::Korean) => "색상·커버력",
            (Self::Shade, Language::English) => "shade and coverage",
            (Self::Price, Language::Korean) => "가격·용량",
            (Self::Price, Language::English) => "price and size",
            (Self::Packaging, Language::Korean) => "용기·패키지",
            (Self::Packaging, Language::English) => "packaging",
            (Self::Delivery, Language::Korean) => "배송·고객 응대",
            (Self::Delivery, Language::English) => "delivery and service",
        }
    }

    /// The name in ids and word lists: one lower-case word.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Hydration => "hydration",
            Self::Texture => "texture",
            Self::Finish => "finish",
            Self::Scent => "scent",
            Self::Effect => "effect",
            Self::Irritation => "irritation",
            Self::Longevity => "longevity",
            Self::Shade => "shade",
            Self::Price => "price",
            Self::Packaging => "packaging",
            Self::Delivery => "delivery",
        }
    }

    /// The topics that a request (lower case) names, in the order of [`Topic::ALL`].
    #[must_use]
    pub fn named_in(request: &str) -> Vec<Self> {
        // A space at the end lets "향" at the end of a message match "향_".
        let padded = format!("{request} ");
        Self::ALL.into_iter().filter(|topic| mentions(&padded, &topic_words(*topic).request)).collect()
    }
}

/// The topics of a review, in the order of [`Topic::ALL`].
#[must_use]
pub fn topics_of(review: &Review) -> Vec<Topic> {
    let kinds = kinds_of(review);
    let clauses: Vec<String> = sentences(&review.text).into_iter().flat_map(clauses).map(normal).collect();
    let named = |topic: &Topic| clauses.iter().any(|clause| !places(*topic, clause, kinds).is_empty());
    Topic::ALL.into_iter().filter(named).collect()
}

/// Counts topics over reviews, the most mentioned first (a tie in the order of [`Topic::ALL`]). Topics
/// without a mention are left out.
#[must_use]
pub fn analyse_topics(reviews: &[Review]) -> Vec<TopicFinding> {
    let reviews: Vec<ReviewText<'_>> = reviews.iter().map(ReviewText::of).collect();
    let mut findings: Vec<TopicFinding> = Topic::ALL
        .into_iter()
        .filter_map(|topic| analyse_topic(Named { topic, aspects: &[] }, &reviews))
        .collect();
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.count), finding.topic));
    findings
}

/// Counts the mentions of these aspects, as a finding of their topic.
pub(super) fn analyse_aspects(topic: Topic, aspects: &[&Aspect], reviews: &[Review]) -> Option<TopicFinding> {
    let reviews: Vec<ReviewText<'_>> = reviews.iter().map(ReviewText::of).collect();
    analyse_topic(Named { topic, aspects }, &reviews)
}

/// Which way a review leans on a topic, or on aspects of it where there are some; nothing if it says nothing about them.
#[must_use]
pub fn opinion_on(review: &Review, topic: Topic, aspects: &[&Aspect]) -> Option<Polarity> {
    leaning(Named { topic, aspects }, &ReviewText::of(review)).map(|(score, _)| Polarity::of(score))
}

/// A review, cut into sentences and clauses once for all topics.
struct ReviewText<'a> {
    review: &'a Review,
    kinds: &'static [ProductType],
    /// Each sentence with its clauses in lower case.
    sentences: Vec<(&'a str, Vec<String>)>,
}

impl<'a> ReviewText<'a> {
    fn of(review: &'a Review) -> Self {
        let sentences = statements(&review.text).into_iter();
        let sentences =
            sentences.map(|sentence| (sentence, clauses(sentence).into_iter().map(normal).collect()));
        Self { review, kinds: kinds_of(review), sentences: sentences.collect() }
    }
}

/// A topic, or some aspects of it.
#[derive(Clone, Copy)]
struct Named<'a> {
    topic: Topic,
    /// Empty for the whole topic.
    aspects: &'a [&'a Aspect],
}

impl Named<'_> {
    /// Where a clause (lower case) names it.
    fn places(self, clause: &str, kinds: &[ProductType]) -> Vec<(usize, usize)> {
        let mut places = places(self.topic, clause, kinds);
        if !self.aspects.is_empty() && !places.is_empty() {
            let own: Vec<_> = self.aspects.iter().flat_map(|aspect| aspect.places(clause)).collect();
            places.retain(|place| own.iter().any(|own| own.0 < place.1 && place.0 < own.1));
        }
        places
    }
}

fn analyse_topic(subject: Named<'_>, reviews: &[ReviewText<'_>]) -> Option<TopicFinding> {
    let topic = subject.topic;
    let mentions: Vec<(&Review, f64, &str)> = reviews
        .iter()
        .filter_map(|text| leaning(subject, text).map(|(score, sentence)| (text.review, score, sentence)))
        .collect();
    if mentions.is_empty() {
        return None;
    }
    let count = |polarity| mentions.iter().filter(|(_, score, _)| Polarity::of(*score) == polarity).count();
    let mut quotes = quotes(&mentions, Polarity::Positive);
    quotes.extend(self::quotes(&mentions, Polarity::Negative));
    Some(TopicFinding {
        topic,
        count: mentions.len(),
        share: round(mentions.len() as f64 / reviews.len() as f64),
        positive: count(Polarity::Positive),
        neutral: count(Polarity::Neutral),
        negative: count(Polarity::Negative),
        mean_rating: round(mean(mentions.iter().map(|(review, ..)| f64::from(review.rating)))),
        quotes,
    })
}

/// The opinion of a review on a topic, and the sentence that expresses it. The clauses that name the topic decide; if they hold
/// no opinion word, their sentence; if that holds none either, the review as a whole.
fn leaning<'a>(subject: Named<'_>, text: &ReviewText<'a>) -> Option<(f64, &'a str)> {
    let (topic, kinds) = (subject.topic, text.kinds);
    let mut scores = Vec::new();
    let mut said: Option<(f64, &str)> = None;
    for (sentence, pieces) in &text.sentences {
        let named: Vec<_> = pieces.iter().map(|clause| subject.places(clause, kinds)).collect();
        if named.iter().all(Vec::is_empty) {
            continue;
        }
        let opinions: Vec<f64> =
            (0..pieces.len()).filter_map(|at| clause_score(topic, at, pieces, &named, kinds)).collect();
        let score = match opinions.split_last() {
            None => opinion(sentence).unwrap_or_else(|| review_score(text.review)),
            // "Slimy at first, but it sinks in": what comes last is the conclusion.
            Some((last, earlier)) => mean(earlier.iter().copied().chain([*last, *last])),
        };
        scores.push(score);
        if said.is_none_or(|(best, _)| score.abs() > best.abs()) {
            said = Some((score, sentence));
        }
    }
    said.map(|(_, sentence)| (mean(scores.into_iter()), sentence))
}

/// What the clause at `at` says about a topic, or nothing. `named` is where each clause names it.
fn clause_score(
    topic: Topic,
    at: usize,
    pieces: &[String],
    named: &[Vec<(usize, usize)>],
    kinds: &[ProductType],
) -> Option<f64> {
    let clause = pieces[at].as_str();
    // "비싸지만 그만한 값을 해요": a clause that names no subject continues the one before.
    if named[at].is_empty() {
        let before = at.checked_sub(1)?;
        let goes_on = !named[before].is_empty()
            && is_contrast(&pieces[before], clause)
            && Topic::ALL.iter().all(|topic| places(*topic, clause, kinds).is_empty());
        return if goes_on { opinion_in_words_of(clause, topic) } else { None };
    }
    let later = || {
        let opinions = pieces[at + 1..].iter().filter_map(|other| opinion(other)).collect::<Vec<_>>();
        opinions.last().copied()
    };
    // "진정 앰플이라더니 …": what was expected, and what was found instead.
    if is_expectation(clause) {
        return later().or(Some(-0.5));
    }
    // "한방 냄새 싫어하는데 이건 거부감이 없네요".
    let own = opinion_of(clause, &named[at], topic);
    // Without a known word after it, the rest is still the opposite of what its author usually thinks.
    if is_disposition(clause)
        && let Some(found) = later().or_else(|| own.filter(|_| at + 1 < pieces.len()).map(|own| -own))
    {
        return Some(found);
    }
    if is_of_predecessor(clause)
        && let Some(own) = own
    {
        return Some(-own.abs());
    }
    // "It used to pill": what was bad is not any more.
    if is_of_the_past(clause)
        && let Some(own) = own
    {
        return Some(own.abs());
    }
    // "Except for the scent", "향 말고는": the opposite of the rest.
    let opposed = is_exception(clause) || (own.is_none() && is_concession(clause));
    let rest: Vec<f64> = if opposed {
        let others = pieces.iter().enumerate().filter(|(other, _)| *other != at);
        others.filter_map(|(_, other)| opinion(other)).collect()
    } else {
        Vec::new()
    };
    if rest.is_empty() {
        // An exception without more is one from praise.
        if is_exception(clause) { Some(-0.5) } else { own.or_else(|| contrasted(pieces, at)) }
    } else {
        Some(-mean(rest.into_iter()))
    }
}

/// The opposite of what the clause beside a clause says, if the two contrast ("moist, but the scent...").
fn contrasted(pieces: &[String], at: usize) -> Option<f64> {
    let before = at.checked_sub(1).filter(|before| is_contrast(&pieces[*before], &pieces[at]));
    let after =
        Some(at + 1).filter(|after| *after < pieces.len() && is_contrast(&pieces[at], &pieces[*after]));
    let other = [before, after].into_iter().flatten().find_map(|other| opinion(&pieces[other]))?;
    Some(-other)
}

/// The kinds of product that a review is about.
fn kinds_of(review: &Review) -> &'static [ProductType] {
    Product::find(&review.product).map_or(&[], |product| product.types)
}

/// Whether reviews of products of these kinds can speak about a topic: make-up has a shade and no effect on the skin, and what
/// is rinsed off neither lasts nor has a finish. Nothing is known of a product without a kind.
fn concerns(topic: Topic, kinds: &[ProductType]) -> bool {
    let make_up = is_make_up(kinds);
    match topic {
        Topic::Effect => !make_up,
        Topic::Shade => make_up || kinds.is_empty(),
        Topic::Longevity | Topic::Finish => !kinds.contains(&ProductType::Cleanser),
        _ => true,
    }
}

/// Where a clause (lower case) names a topic.
pub(super) fn places(topic: Topic, clause: &str, kinds: &[ProductType]) -> Vec<(usize, usize)> {
    if !concerns(topic, kinds) {
        return Vec::new();
    }
    let words = topic_words(topic);
    let mut places = words.places(clause, kinds);
    // "Fewer breakouts": a trouble that is less or gone is an effect.
    places.extend(words.troubles(clause, kinds).into_iter().filter(|place| is_relieved(clause, *place)));
    match topic {
        Topic::Price => places.extend(sizes(clause)),
        // The tube of "a bigger tube" is about the size.
        Topic::Texture if !places.is_empty() => {
            let containers = topic_words(Topic::Packaging).places(clause, kinds);
            places.retain(|place| !is_of_container(clause, *place, &containers));
            let sizes = sizes(clause);
            places.retain(|place| !sizes.iter().any(|size| size.0 <= place.0 && place.1 <= size.1));
        }
        Topic::Packaging | Topic::Longevity if !places.is_empty() => {
            let sizes = sizes(clause);
            places.retain(|place| !sizes.iter().any(|size| size.0 <= place.0 && place.1 <= size.1));
        }
        _ => {}
    }
    places
}

/// Whether an adjective of texture describes a container ("펌프가 뻑뻑한", "a heavy jar").
fn is_of_container(clause: &str, place: (usize, usize), containers: &[(usize, usize)]) -> bool {
    let adjective = topic_words(Topic::Texture)
        .adjectives
        .iter()
        .any(|word| find(clause, word).iter().any(|own| own.0 <= place.0 && place.0 < own.1));
    adjective
        && containers.iter().any(|container| {
            let (first, second) = if place < *container { (place, *container) } else { (*container, place) };
            clause.get(first.1..second.0).is_some_and(|gap| gap.split_whitespace().count() <= 3)
        })
}

/// The sentences of a text; a short question is one with its answer ("Brightening? Barely.").
fn statements(text: &str) -> Vec<&str> {
    let start = |piece: &str| piece.as_ptr() as usize - text.as_ptr() as usize;
    let mut out: Vec<&str> = Vec::new();
    for sentence in sentences(text) {
        let from = start(sentence);
        match out.last_mut() {
            Some(last) if last.ends_with('?') && last.split_whitespace().count() <= 3 => {
                *last = &text[start(last)..from + sentence.len()];
            }
            _ => out.push(sentence),
        }
    }
    out
}

/// Where a clause (lower case) speaks about the size of a container ("a bigger tube", "통도 커서").
fn sizes(clause: &str) -> Vec<(usize, usize)> {
    let words = topic_words(Topic::Price);
    // A container that does not fit into a bag is about the container.
    if ["여행", "휴대", "파우치", "가방", "travel", "handbag", "purse", "carry"]
        .iter()
        .any(|word| clause.contains(word))
    {
        return Vec::new();
    }
    let containers: Vec<_> = words.container.places(clause).collect();
    let near = |size: (usize, usize)| {
        containers.iter().filter_map(move |container| {
            let (first, second) = if size < *container { (size, *container) } else { (*container, size) };
            let gap = clause.get(first.1..second.0)?;
            let apart = gap.contains([',', '.', ';', ':'])
                || gap.split_whitespace().any(|word| ["and", "but", "or", "with"].contains(&word));
            (!apart && gap.split_whitespace().count() <= 3).then_some((first.0, second.1))
        })
    };
    if containers.is_empty() { Vec::new() } else { words.size.places(clause).flat_map(near).collect() }
}

/// The clearest sentences of one leaning, both languages in turn.
fn quotes(mentions: &[(&Review, f64, &str)], polarity: Polarity) -> Vec<Quote> {
    let mut fitting: Vec<_> =
        mentions.iter().filter(|(_, score, _)| Polarity::of(*score) == polarity).collect();
    // A sentence that leans the same way as its rating is less likely to be misread.
    let against = |review: &Review| match polarity {
        Polarity::Positive => review.rating < 3,
        Polarity::Neutral => false,
        Polarity::Negative => review.rating > 3,
    };
    fitting.sort_by(|(a, x, _), (b, y, _)| {
        let clearer = y.abs().total_cmp(&x.abs());
        against(a).cmp(&against(b)).then(clearer).then_with(|| a.id.cmp(&b.id))
    });
    let (korean, english): (Vec<_>, Vec<_>) =
        fitting.into_iter().partition(|(review, ..)| review.lang == Language::Korean);
    let mut turns = [korean.into_iter(), english.into_iter()];
    let mut out = Vec::new();
    while out.len() < QUOTES {
        let before = out.len();
        for side in &mut turns {
            if let Some((review, _, sentence)) = side.next().filter(|_| out.len() < QUOTES) {
                out.push(Quote {
                    review: review.id.clone(),
                    text: (*sentence).to_owned(),
                    lang: review.lang,
                    rating: review.rating,
                    polarity,
                });
            }
        }
        if out.len() == before {
            break;
        }
    }
    out
}
