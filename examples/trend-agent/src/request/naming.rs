//! The topics that a message names, in words of requests or in those of reviews.

use super::{Request, fault};
use crate::catalogue::Product;
use crate::message::{Mention, Message, Span};
use crate::product_type::ProductType;
use crate::text::find;
use crate::topics::Topic;
use crate::words::topic_words;

/// Where a message names a topic.
pub(super) type Place = (Span, Topic);

/// The topics of a message: requested, excluded, and where each is named.
pub(super) type Topics = (Vec<Topic>, Vec<Topic>, Vec<Place>);

/// Reads the topics that a message names; `more` are places of further ones.
pub(super) fn topics(message: &mut Message, more: &[Place]) -> Topics {
    let mut places: Vec<_> = Topic::ALL
        .into_iter()
        .flat_map(|topic| {
            message.places(&topic_words(topic).request).into_iter().map(move |span| (span, topic))
        })
        .collect();
    places.extend(more.iter().filter(|(span, _)| message.is_free(*span)));
    places.sort_unstable();
    for (span, _) in &places {
        message.mark(*span);
    }
    // The words "지속" in "지속력 말고": the longer one decides.
    let all = places.clone();
    places.retain(|(span, topic)| {
        let contains = |other: Span| other != *span && other.0 <= span.0 && span.1 <= other.1;
        !all.iter().any(|(other, of)| of == topic && contains(*other))
    });
    let (mut wanted, mut excluded) = (Vec::new(), Vec::new());
    // "No white cast", "자극 없이": what is not wanted is a fault, so its absence is asked about.
    let read = places.clone();
    let lower = message.lower().to_owned();
    for mention in message.with_exclusion(places) {
        let word = &lower[mention.span.0..mention.span.1];
        let fault = fault::is_fault(word) && fault::wants_absence(&lower);
        // "Not moisturizing" denies a quality; "not the price" excludes a subject.
        let before = lower[..mention.span.0].trim_end();
        let no = ["not", "n't", "no", "not too", "not very"].iter().any(|no| before.ends_with(no));
        // "Has no effect" asserts as well.
        let verb = before.strip_suffix(" no").and_then(|rest| rest.split_whitespace().next_back());
        let verbs = [
            "has", "have", "had", "see", "saw", "feel", "felt", "leaves", "left", "with", "is", "was",
            "makes",
        ];
        let denied = (fault::is_quality(word) && no) || verb.is_some_and(|verb| verbs.contains(&verb));
        let listed = mention.excluded && !fault && !denied;
        let mention = Mention { excluded: listed, ..mention };
        let list = if mention.excluded { &mut excluded } else { &mut wanted };
        if !list.contains(&mention.what) {
            list.push(mention.what);
        }
    }
    wanted.sort_unstable();
    excluded.sort_unstable();
    excluded.retain(|topic| !wanted.contains(topic));
    (wanted, excluded, read)
}

/// Where a message that names no topic does so in words of reviews ("질감", "stay on"): places with a word that was not understood.
pub(super) fn in_words_of_reviews(message: &str, request: &Request) -> Vec<Place> {
    if !request.topics.is_empty() || !request.excluded.topics.is_empty() || request.ignored.is_empty() {
        return Vec::new();
    }
    let text = Message::new(message);
    let lower = text.lower();
    let strange: Vec<Span> = request.ignored.iter().flat_map(|word| find(lower, word)).collect();
    let products = request.products.iter().filter_map(|name| Product::find(name));
    let mut kinds: Vec<ProductType> = products.flat_map(|product| product.types).copied().collect();
    kinds.extend(&request.product_types);
    let places = Topic::ALL.into_iter().flat_map(|topic| {
        crate::topics::places(topic, lower, &kinds).into_iter().map(move |span| (span, topic))
    });
    places.filter(|(span, _)| strange.iter().any(|word| word.0 < span.1 && span.0 < word.1)).collect()
}
