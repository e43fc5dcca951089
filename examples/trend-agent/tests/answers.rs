//! What the answer of a report says, with figures that were counted in the data by other means.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use trend_agent::{Findings, Request, report::opening};

fn answer(messages: &[&str]) -> String {
    let request = messages.iter().fold(None, |previous: Option<Request>, message| {
        Some(Request::parse_after(message, previous.as_ref()))
    });
    opening(&Findings::of(&request.unwrap()), None)
}

#[test]
fn every_answer_of_the_data_file_has_the_figures_of_the_data() {
    let mut wrong = Vec::new();
    for line in include_str!("data/answers.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let messages: Vec<&str> =
            line["messages"].as_array().unwrap().iter().map(|message| message.as_str().unwrap()).collect();
        let answer = answer(&messages);
        for said in line["says"].as_array().unwrap() {
            if !answer.contains(said.as_str().unwrap()) {
                wrong.push(format!("{messages:?} does not say {said}:\n{answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn reviews_that_are_asked_for_are_shown_word_for_word_without_an_overview() {
    let text = answer(&["COSRX 리뷰만 보여줘"]);
    assert_eq!(text.matches("\n- “").count(), 10, "{text}");
    assert!(
        text.contains("리뷰 10건입니다 (조건에 맞는 리뷰 38건 중)") && !text.contains("칭찬이 많은"),
        "{text}"
    );
}

#[test]
fn a_brand_without_reviews_has_no_mean_rating() {
    let text = answer(&["Laneige and Anua mean rating in March on social media"]);
    assert!(text.contains("Laneige: no reviews") && !text.contains("0.00"), "{text}");
}

#[test]
fn no_report_is_about_a_brand_that_the_message_excludes_or_the_data_does_not_have() {
    for message in [
        "에뛰드나 클리오 말고 롬앤 틴트",
        "헤라 블랙쿠션",
        "롬앤 틴트 리뷰",
        "Romand tint reviews",
        "TIRTIR cushion reviews",
        "라네즈 선크림",
    ] {
        assert!(Findings::of(&Request::parse(message)).brands.is_empty(), "{message}");
    }
    for message in ["불만 있다 리뷰 라네즈", "라네즈 리뷰 빼고 리뷰", "라네즈 향 좋다는 근거 리뷰"]
    {
        assert_eq!(Request::parse(message).unknown, Vec::<String>::new(), "{message}");
    }
}
