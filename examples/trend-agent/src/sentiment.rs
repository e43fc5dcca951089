//! How people feel: a lexicon with negation for Korean and English, joined with the rating. Pure and deterministic.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::review::Review;
use super::text::{Patterns, clauses, is_hangul, sentences};
use super::words::words;

/// Which way an opinion points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// Score of at least [`THRESHOLD`].
    Positive,
    /// Between the two.
    Neutral,
    /// Score of at most −[`THRESHOLD`].
    Negative,
}

/// From here on a score counts as an opinion.
pub const THRESHOLD: f64 = 0.2;

/// The weight of the rating in [`review_score`]; the rest is the text's.
pub const RATING_WEIGHT: f64 = 0.6;

/// The sentiment of one review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReviewSentiment {
    /// Which review.
    pub review: String,
    /// −1 to 1, text and rating joined.
    pub score: f64,
    /// −1 to 1, the text alone; 0 if no known word stands in it.
    pub text_score: f64,
    /// What `score` means.
    pub polarity: Polarity,
}

/// The sentiment of a set of reviews. `positive + neutral + negative` is the number of reviews.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sentiment {
    /// How many lean to the good.
    pub positive: usize,
    /// How many lean nowhere.
    pub neutral: usize,
    /// How many lean to the bad.
    pub negative: usize,
    /// Mean score, −1 to 1; 0 for no reviews.
    pub mean_score: f64,
    /// Mean rating, 1 to 5; 0 for no reviews.
    pub mean_rating: f64,
    /// Each review, in the order given.
    pub reviews: Vec<ReviewSentiment>,
}

impl Polarity {
    /// What a score of −1 to 1 means.
    #[must_use]
    pub fn of(score: f64) -> Self {
        if score >= THRESHOLD {
            Self::Positive
        } else if score <= -THRESHOLD {
            Self::Negative
        } else {
            Self::Neutral
        }
    }
}

/// Scores each review and counts.
#[must_use]
pub fn analyse_sentiment(reviews: &[Review]) -> Sentiment {
    let scored: Vec<ReviewSentiment> = reviews
        .iter()
        .map(|review| {
            let text_score = text_score(&review.text);
            let score = review_score(review);
            ReviewSentiment { review: review.id.clone(), score, text_score, polarity: Polarity::of(score) }
        })
        .collect();
    let count = |polarity| scored.iter().filter(|review| review.polarity == polarity).count();
    Sentiment {
        positive: count(Polarity::Positive),
        neutral: count(Polarity::Neutral),
        negative: count(Polarity::Negative),
        mean_score: round(mean(scored.iter().map(|review| review.score))),
        mean_rating: round(mean(reviews.iter().map(|review| f64::from(review.rating)))),
        reviews: scored,
    }
}

/// The score of one review, −1 to 1: its rating (weight [`RATING_WEIGHT`]) and its text; the rating alone if the
/// text says nothing we know.
#[must_use]
pub fn review_score(review: &Review) -> f64 {
    let rating = (f64::from(review.rating) - 3.0) / 2.0;
    let Some(text) = opinion(&review.text) else { return round(rating) };
    round(rating.mul_add(RATING_WEIGHT, text * (1.0 - RATING_WEIGHT)).clamp(-1.0, 1.0))
}

/// The score of a text alone, −1 to 1; 0 if no known word stands in it.
#[must_use]
pub fn text_score(text: &str) -> f64 {
    round(opinion(text).unwrap_or(0.0))
}

/// The score of a text, or nothing if no known word stands in it.
pub(super) fn opinion(text: &str) -> Option<f64> {
    let (mut good, mut bad) = (0.0, 0.0);
    for sentence in sentences(text) {
        for clause in clauses(sentence) {
            let (up, down) = weigh(&clause.to_lowercase());
            good += up;
            bad += down;
        }
    }
    (good + bad > 0.0).then(|| (good - bad) / (good + bad + 0.5))
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Good,
    Bad,
    Fixed(bool),
}

/// The words of opinion, longest first, so that a phrase is read before the words in it.
struct Lexicon {
    patterns: Patterns,
    kinds: Vec<Kind>,
}

fn lexicon() -> &'static Lexicon {
    static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
        let words = words();
        let lists = [
            (&words.good, Kind::Good),
            (&words.bad, Kind::Bad),
            (&words.good_as_it_is, Kind::Fixed(true)),
            (&words.bad_as_it_is, Kind::Fixed(false)),
        ];
        let mut all: Vec<_> =
            lists.into_iter().flat_map(|(list, kind)| list.iter().map(move |word| (*word, kind))).collect();
        all.sort_by_key(|(word, _)| (std::cmp::Reverse(word.chars().count()), *word));
        let (patterns, kinds) = all.into_iter().unzip();
        Lexicon { patterns: Patterns::new(patterns), kinds }
    });
    &LEXICON
}

/// The good and the bad in one clause (lower case).
fn weigh(clause: &str) -> (f64, f64) {
    let opinions = opinions(clause);
    let good = opinions.iter().filter(|(_, up)| *up).count();
    (good as f64, (opinions.len() - good) as f64)
}

/// The words of opinion in one clause (lower case), and whether each is good. Each stretch of text counts once.
fn opinions(clause: &str) -> Vec<((usize, usize), bool)> {
    let lexicon = lexicon();
    let mut taken: Vec<((usize, usize), bool)> = Vec::new();
    for (at, (from, to)) in lexicon.patterns.find(clause) {
        if taken.iter().any(|&((start, end), _)| from < end && start < to) {
            continue;
        }
        let up = match lexicon.kinds[at] {
            Kind::Fixed(up) => up,
            Kind::Good => !negated(clause, from, to, false),
            Kind::Bad => negated(clause, from, to, true),
        };
        taken.push(((from, to), up));
    }
    taken
}

/// The score of what a clause says about a topic that is named at `places`, or nothing if no known word is in it. Where a
/// clause is good and bad, the words nearest to the topic count.
pub(super) fn opinion_of(clause: &str, places: &[(usize, usize)]) -> Option<f64> {
    let lower = clause.to_lowercase();
    let opinions = opinions(&lower);
    let good = opinions.iter().filter(|(_, up)| *up).count();
    if opinions.is_empty() || good == 0 || good == opinions.len() || places.is_empty() {
        return opinion(clause);
    }
    let nearest = places.iter().filter_map(|place| {
        let distance =
            |span: (usize, usize)| span.0.saturating_sub(place.1).max(place.0.saturating_sub(span.1));
        opinions.iter().min_by_key(|(span, _)| distance(*span)).map(|(_, up)| if *up { 1.0 } else { -1.0 })
    });
    Some(mean(nearest) / 1.5)
}

/// Whether the word at `from..to` is turned into its opposite by what stands around it.
fn negated(clause: &str, from: usize, to: usize, trouble: bool) -> bool {
    if clause[from..to].chars().any(is_hangul) {
        negated_korean(clause, from, to, trouble)
    } else {
        negated_english(clause, from, to, trouble)
    }
}

fn negated_english(clause: &str, from: usize, to: usize, trouble: bool) -> bool {
    if clause[to..].starts_with("-free") || clause[..from].ends_with("non-") {
        return true;
    }
    let before = clause[..from]
        .rsplit(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
        .take(3);
    let mut turned = false;
    for word in before {
        if words().negators.contains(&word) || word == "non" || (trouble && words().relievers.contains(&word))
        {
            turned = !turned;
        }
    }
    // "My bumps settle", "the redness is gone": relief within three words after the trouble.
    let relief = trouble && {
        let after =
            clause[to..].split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).take(3);
        after.into_iter().any(|word| RELIEF_ENGLISH.contains(&word))
    };
    turned || relief
}

/// Verbs after a trouble that say that it went away.
const RELIEF_ENGLISH: [&str; 10] = [
    "settle",
    "settles",
    "settled",
    "gone",
    "disappeared",
    "faded",
    "healed",
    "vanished",
    "shrinks",
    "shrank",
];

/// The same in Korean.
const RELIEF_KOREAN: [&str; 12] =
    ["진정", "가라앉", "옅어", "사라", "줄어", "줄었", "줄고", "회복", "나아졌", "좋아졌", "맑아", "환해"];

fn negated_korean(clause: &str, from: usize, to: usize, trouble: bool) -> bool {
    let before = clause[..from].trim_end();
    // "안 끈적여요": the short form stands in front, as a word of its own.
    if let Some(rest) = before.strip_suffix('안').or_else(|| before.strip_suffix('못'))
        && !rest.chars().next_back().is_some_and(is_hangul)
    {
        return true;
    }
    // "끈적이지 않아요", "따갑지도 않고": the long form follows within the same word.
    let after = super::text::head(&clause[to..], 14);
    if let Some(at) = after.find("지") {
        let between = &after[..at];
        if between.chars().count() <= 3 && between.chars().all(is_hangul) {
            let rest =
                after[at + "지".len()..].trim_start_matches(['도', '는', '가', '를', '만']).trim_start();
            if rest.starts_with('않') || rest.starts_with('못') {
                return true;
            }
        }
    }
    // "자극 없이", "끈적임이 전혀 없어요", "백탁도 거의 없고요", "당김이 사라졌어요": the thing itself is absent.
    let mut rest = after
        .trim_start_matches(['이', '임', '은', '는', '도', '가', '감', '을', '함', '움', '한', '거', '림'])
        .trim_start();
    for adverb in ["거의", "전혀", "하나도", "아예", "별로", "크게"] {
        rest = rest.strip_prefix(adverb).map_or(rest, str::trim_start);
    }
    // "좁쌀이 가라앉았어요", "칙칙함이 줄고": the trouble went away, in the same clause.
    let relieved = trouble && RELIEF_KOREAN.iter().any(|relief| clause[to..].contains(relief));
    relieved || ["없", "못 느", "안 ", "덜 "].iter().any(|absent| rest.starts_with(absent))
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// To three places: the figures are printed, stored and compared, and more would be noise.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
