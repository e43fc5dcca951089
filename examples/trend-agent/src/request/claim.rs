//! What a message asserts about a topic: "끈적이지 않다는 리뷰", "does anyone say it stings?".

use super::Question;
use super::fault::{is_fault, wants_absence};
use crate::aspect::Aspect;
use crate::clause::clauses;
use crate::message::{Message, Span};
use crate::opinion::opinion_of;
use crate::sentiment::Polarity;
use crate::text::{find, head, is_hangul, mentions};
use crate::topics::Topic;

/// Nouns of a trouble: without a predicate they name a subject and assert nothing.
const TROUBLES: [&str; 24] = [
    "백탁",
    "자극",
    "트러블",
    "부작용",
    "밀림",
    "건조",
    "당김",
    "유분",
    "여드름",
    "각질",
    "블랙헤드",
    "번들",
    "white cast",
    "side effect*",
    "irritation",
    "stickiness",
    "dryness",
    "breakout*",
    "pilling",
    "shine",
    "acne",
    "oiliness",
    "pores",
    "leak*",
];

/// Predicates that make an assertion of such a noun.
const PREDICATES: [&str; 35] = [
    "잡",
    "있",
    "없",
    "나는",
    "나요",
    "났",
    "난다",
    "날까",
    "생기",
    "생겼",
    "심하",
    "심해",
    "심한",
    "느껴",
    "느낀",
    "올라",
    "유발",
    "안 ",
    "않",
    "덜",
    "have",
    "has",
    "had",
    "having",
    "get",
    "gets",
    "got",
    "caus*",
    "is there",
    "any",
    "no",
    "without",
    "not",
    "leaves",
    "experienc*",
];

/// Words of complaint and of praise that are about the topic beside them.
const COMPLAINTS: [&str; 18] = [
    "anything negative",
    "anything bad",
    "complain*",
    "criticis*",
    "criticiz*",
    "dislike*",
    "hate*",
    "unhappy",
    "dissatisf*",
    "annoyed",
    "annoying",
    "짜증",
    "불만",
    "싫어",
    "아쉬운",
    "아쉽",
    "불평",
    "혹평",
];
const PRAISE: [&str; 16] = [
    "anything positive",
    "anything good",
    "prais*",
    "like",
    "likes",
    "liked",
    "love",
    "loves",
    "loved",
    "happy with",
    "satisf*",
    "칭찬",
    "만족",
    "좋아하",
    "호평",
    "enjoy*",
];

/// Words with which a message reports what others say.
const REPORTED: [&str; 26] = [
    "다는",
    "라는",
    "다고",
    "라고",
    "단 리뷰",
    "단 사람",
    "다던",
    "say",
    "says",
    "said",
    "saying",
    "complain*",
    "claim*",
    "who think",
    "who thinks",
    "who find",
    "who finds",
    "who found",
    "find it",
    "finds it",
    "found it",
    "call it",
    "calls it",
    "who feel",
    "report*",
    "that mention it*",
];

/// Words for a subject that is only mentioned.
const MENTIONED: [&str; 16] = [
    "mention",
    "mentions",
    "mentioned",
    "mentioning",
    "about",
    "talk",
    "talks",
    "talked",
    "언급",
    "얘기",
    "이야기",
    "관한",
    "대한",
    "관련",
    "대해",
    "regarding",
];

/// Words that ask whether any review agrees.
const ANYONE: [&str; 41] = [
    "anything negative",
    "anything bad",
    "anything positive",
    "anything good",
    "anyone",
    "anybod*",
    "nobod*",
    "no one",
    "someone",
    "somebod*",
    "no-one",
    "any complaint*",
    "any review*",
    "any buyer*",
    "any user*",
    "any customer*",
    "any people",
    "are there people",
    "are there reviews",
    "is there a review",
    "사람 있",
    "사람도 있",
    "사람이 있",
    "사람은 있",
    "사람 없",
    "사람은 없",
    "사람들 있",
    "사람들도 있",
    "분 있",
    "분도 있",
    "분이 있",
    "분 계",
    "분들 계",
    "분도 계",
    "분들 있",
    "리뷰 있",
    "리뷰도 있",
    "리뷰가 있",
    "후기 있",
    "후기도 있",
    "의견 있",
];

/// The topics that a message names, with their places, and the message without what else was understood.
pub(super) struct Named {
    pub(super) places: Vec<(Span, Topic)>,
    /// The message (lower case); names and filters are blanks.
    pub(super) masked: String,
}

/// The keys of the aspects that a message names of the topics it wants.
pub(super) fn aspects(named: &Named, wanted: &[Topic]) -> Vec<String> {
    let named_by = |aspect: &Aspect| {
        let own = aspect.places(&named.masked);
        named.places.iter().any(|(span, topic)| {
            *topic == aspect.topic && own.iter().any(|own| own.0 < span.1 && span.0 < own.1)
        })
    };
    let aspects = Aspect::all().iter().filter(|aspect| wanted.contains(&aspect.topic));
    aspects.filter(|aspect| named_by(aspect)).map(|aspect| aspect.key().to_owned()).collect()
}

/// What a message asserts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) side: Option<Polarity>,
    /// Whether it asks if any review agrees.
    pub(super) anyone: bool,
    /// Whether the words that were read as a sentiment of reviews are about the topic.
    pub(super) takes_sentiment: bool,
}

/// Reads what the message asserts about the topics it wants.
pub(super) fn read(
    message: &mut Message,
    named: &Named,
    wanted: &[Topic],
    question: Question,
    ranked: bool,
) -> Claim {
    let lower = message.lower().to_owned();
    if wanted.is_empty() {
        return Claim::default();
    }
    let anyone = question == Question::Whether && message.says(&ANYONE);
    let counts = matches!(question, Question::Count | Question::Share | Question::Whether) || ranked;
    let complaint = counts && mentions(&lower, &COMPLAINTS);
    let praise = counts && mentions(&lower, &PRAISE);
    let negated =
        |words: &[&str]| words.iter().flat_map(|word| find(&lower, word)).any(|at| is_denied(&lower, at));
    let side = match (complaint, praise) {
        (true, false) => Some(if negated(&COMPLAINTS) { Polarity::Positive } else { Polarity::Negative }),
        (false, true) => Some(if negated(&PRAISE) { Polarity::Negative } else { Polarity::Positive }),
        _ => None,
    };
    if side.is_some() {
        return Claim { side, anyone, takes_sentiment: true };
    }
    let reported = mentions(&lower, &REPORTED);
    // "How is the scent" asserts nothing.
    let open = [
        "어때",
        "어떤가",
        "어떤지",
        "어떨",
        "어떻",
        "how is",
        "how are",
        "how's",
        "how does",
        "how do",
        "what about",
    ];
    if question == Question::Whether && !anyone && !reported && mentions(&lower, &open) {
        return Claim::default();
    }
    let may_claim = counts || (question != Question::Best && question != Question::Worst && reported);
    if !may_claim || (mentions(&lower, &MENTIONED) && !reported) {
        return Claim { side: None, anyone, takes_sentiment: false };
    }
    let mut sides = named.places.iter().filter(|(_, topic)| wanted.contains(topic));
    let side = sides.find_map(|(span, topic)| asserted(message, named, *span, *topic));
    Claim { side, anyone, takes_sentiment: false }
}

/// What the clause around a topic word says of it.
fn asserted(message: &Message, named: &Named, span: Span, topic: Topic) -> Option<Polarity> {
    let word = &named.masked[span.0..span.1];
    let korean = word.chars().any(is_hangul);
    let after = if korean { head(&named.masked[span.1..], 14) } else { named.masked.as_str() };
    if mentions(word, &TROUBLES) && !mentions(after, &PREDICATES) {
        return None;
    }
    if korean && is_attribute(message, &named.masked, span) {
        return None;
    }
    // The clause of the word; a comma before "is it" separates the subject.
    let clause = clauses(&named.masked).into_iter().find_map(|clause| {
        let from = clause.as_ptr() as usize - named.masked.as_ptr() as usize;
        (from <= span.0 && span.1 <= from + clause.len()).then_some((from, clause))
    });
    let (from, clause) = clause?;
    let score = opinion_of(clause, &[(span.0 - from, span.1 - from)], topic);
    // A fault that is no word of opinion in reviews is one in a request.
    let fallback = || {
        let side = if wants_absence(&named.masked) { Polarity::Positive } else { Polarity::Negative };
        is_fault(word).then_some(side)
    };
    let Some(score) = score else { return fallback() };
    match score {
        score if score > 0.0 => Some(Polarity::Positive),
        score if score < 0.0 => Some(Polarity::Negative),
        _ => None,
    }
}

/// Whether a word is an attribute of a product that follows it ("촉촉한 토너").
fn is_attribute(message: &Message, masked: &str, span: Span) -> bool {
    let rest: usize = masked[span.1..].chars().take_while(|c| is_hangul(*c)).map(char::len_utf8).sum();
    let end = span.1 + rest;
    let reported = ["다는", "라는", "다고", "단"].iter().any(|word| masked[span.1..end].ends_with(word));
    let next = end + masked[end..].len() - masked[end..].trim_start().len();
    // What was understood before is a blank here.
    !reported && next > end + 1 && !message.is_free((end + 1, end + 2))
}

/// Whether a word of complaint or praise is denied: "불만 없는", "not happy with", "nobod*" only asks.
fn is_denied(lower: &str, (from, to): Span) -> bool {
    let after = lower[to..].trim_start_matches(['이', '은', '도', '가', '족', '하', '스', '럽', '지', ' ']);
    let before = lower[..from].trim_end();
    let korean = ["없", "않", "안 "].iter().any(|word| after.starts_with(word))
        && !["사람 없", "사람은 없", "없어?", "없나", "없니", "없을까"]
            .iter()
            .any(|word| lower.contains(word));
    korean
        || ["not", "n't", "never", "without", "no"]
            .iter()
            .any(|word| before.strip_suffix(word).is_some_and(|rest| rest.ends_with(' ') || *word == "n't"))
}
