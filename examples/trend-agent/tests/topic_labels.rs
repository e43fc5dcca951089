//! Topics and their leanings in the sentences of the shipped reviews, labelled by hand. The sentences of the set `held-out`
//! were labelled before the rules were changed and are not used to improve them. Those of `written` are in no review: they
//! were written and labelled before the code was run on them, because every sentence of the data is in one of the other sets.
//! The 126 sentences of `fresh_labels.jsonl` are of the same kind, in the way customers write. Every third of them is in the
//! set `fresh-held-out`: its faults are not printed, and the rules and lists are improved with the other two thirds only.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::print_stdout, reason = "a figure that a person reads")]

use std::collections::BTreeMap;

use serde_json::Value;
use trend_agent::{review::demo_reviews, topics::analyse_topics};

/// Labels right and wrong of a set of sentences.
#[derive(Debug, Default)]
struct Score {
    right: usize,
    wrong: Vec<String>,
    sentences: usize,
    sentences_right: usize,
}

fn labels(line: &Value) -> BTreeMap<String, String> {
    let sentence = line["sentence"].as_str().unwrap();
    let mut review = if line["set"]
        .as_str()
        .is_some_and(|set| ["written", "fresh", "dev2", "foreign"].iter().any(|own| set.starts_with(own)))
    {
        let product = line["product"].as_str().unwrap();
        let mut review = demo_reviews().iter().find(|own| own.product == product).unwrap().clone();
        review.rating = u8::try_from(line["rating"].as_u64().unwrap()).unwrap();
        review.lang = serde_json::from_value(line["lang"].clone()).unwrap();
        review
    } else {
        let review = demo_reviews().iter().find(|own| own.id == line["review"]).unwrap().clone();
        assert!(review.text.contains(sentence), "{sentence}");
        review
    };
    review.text = sentence.to_owned();
    analyse_topics(&[review])
        .into_iter()
        .map(|found| {
            let leaning = match (found.positive, found.negative) {
                (1, 0) => "positive",
                (0, 1) => "negative",
                _ => "neutral",
            };
            (found.topic.slug().to_owned(), leaning.to_owned())
        })
        .collect()
}

fn score(set: &str) -> Score {
    let mut score = Score::default();
    let lines = include_str!("data/topic_labels.jsonl").lines();
    let lines = lines.chain(include_str!("data/fresh_labels.jsonl").lines());
    for line in lines.chain(include_str!("data/foreign_labels.jsonl").lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["set"] != set {
            continue;
        }
        let sentence = line["sentence"].as_str().unwrap();
        let got = labels(&line);
        let expected = line["labels"].as_object().unwrap();
        let optional = line["optional"].as_object();
        let fits = |wanted: &Value, leaning: &str| wanted == leaning || wanted == "any";
        let mut faults = Vec::new();
        for (topic, wanted) in expected {
            match got.get(topic) {
                Some(leaning) if fits(wanted, leaning) => score.right += 1,
                other => faults.push(format!("{topic}: {other:?}, not {wanted}")),
            }
        }
        for (topic, leaning) in got.iter().filter(|(topic, _)| !expected.contains_key(*topic)) {
            match optional.and_then(|optional| optional.get(topic)) {
                Some(wanted) if fits(wanted, leaning) => {}
                _ => faults.push(format!("{topic}: {leaning}, not a topic of it")),
            }
        }
        score.sentences += 1;
        score.sentences_right += usize::from(faults.is_empty());
        score.wrong.extend(faults.iter().map(|fault| format!("{sentence}\n    {fault}")));
    }
    score
}

#[track_caller]
fn check(set: &str, least: f64) {
    let score = score(set);
    let all = score.right + score.wrong.len();
    let share = score.right as f64 / all as f64;
    let summary = format!(
        "{} of {all} labels right ({:.1}%), {} of {} sentences",
        score.right,
        share * 100.0,
        score.sentences_right,
        score.sentences
    );
    println!("{summary}");
    // What is held out must not be read while the code is improved.
    let shown = if !set.ends_with("held-out") { score.wrong.join("\n") } else { String::new() };
    assert!(share >= least, "{summary}\n{shown}");
}

#[test]
fn topics_and_leanings_are_right_in_the_sentences_that_the_lexicon_was_improved_with() {
    check("development", 0.99);
}

#[test]
fn topics_and_leanings_are_right_in_the_sentences_that_were_held_out() {
    check("held-out", 0.96);
}

#[test]
fn topics_and_leanings_of_sentences_that_no_review_has_are_measured() {
    check("written", 0.97);
}

#[test]
fn topics_and_leanings_of_sentences_written_after_the_lists_are_measured() {
    check("written-2", 0.97);
}

#[test]
fn topics_and_leanings_of_fresh_sentences_that_the_rules_were_improved_with() {
    check("fresh-development", 0.97);
}

/// 622 sentences in nine rounds: before the lists knew them, 60, 66, 70, 84, 82, 77, 79, 84 and 58 % of the labels of a round
/// were right. The last round has eight sentences about one fault.
#[test]
fn topics_and_leanings_of_sentences_that_were_written_in_rounds() {
    check("written-3", 0.92);
}

/// The sentences of the set `dev2` in `foreign_labels.jsonl` were written and labelled by another person, who had not read
/// the lists.
#[test]
fn topics_and_leanings_of_sentences_of_another_writer() {
    check("dev2", 0.97);
}

#[test]
fn topics_and_leanings_of_fresh_sentences_that_were_held_out() {
    check("fresh-held-out", 0.72);
}

/// Of the writer of `dev2`, in a file that was measured once, at the end.
#[test]
fn topics_and_leanings_of_sentences_of_another_writer_that_were_held_out() {
    check("foreign-held-out", 0.67);
}
