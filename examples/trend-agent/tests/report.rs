//! What the report, the plan and the prompts of the sample agent contain.

use trend_agent::audience::Audience;
use trend_agent::catalogue::{Brand, PRODUCTS};
use trend_agent::findings::Findings;
use trend_agent::plan::{PlanError, TITLE_CHARS, TODOS, offline_plan, parse_plan};
use trend_agent::prompt::{plan_messages, report_messages};
use trend_agent::report::write_report;
use trend_agent::request::{MESSAGE_CHARS, Request};
use trend_agent::review::{Language, demo_reviews};
use trend_agent::text::is_hangul;
use trend_agent::topics::{Topic, TopicFinding};

// The report

#[test]
fn the_report_is_in_the_language_of_the_request_and_says_who_made_it() {
    for audience in Audience::ALL {
        let korean = write_report(&Findings::of(&Request::parse("라네즈 리뷰 분석해줘")), audience);
        assert!(
            korean.contains("언어 모델 없이 내장 오프라인 분석기가 데모 데이터의 리뷰 40건으로"),
            "{korean}"
        );
        assert!(korean.contains(audience.label(Language::Korean)));
        let own_words = korean.lines().filter(|line| !line.contains('“')).collect::<String>();
        let hangul = own_words.chars().filter(|c| is_hangul(*c)).count();
        let latin = own_words.chars().filter(char::is_ascii_alphabetic).count();
        assert!(hangul > latin * 5, "{hangul} Hangul, {latin} Latin letters");

        let english = write_report(&Findings::of(&Request::parse("Analyse the Laneige reviews")), audience);
        assert!(
            english.contains("built-in offline analyst, without a language model, from 40 reviews"),
            "{english}"
        );
        assert!(english.contains(&format!("Recommendations for {}", audience.label(Language::English))));
        assert!(!english.lines().filter(|line| !line.contains('“')).any(|line| line.chars().any(is_hangul)));
    }
}

#[test]
fn each_reader_gets_other_advice_from_the_same_figures() {
    let findings = Findings::of(&Request::parse("Analyse Anua"));
    let reports = Audience::ALL.map(|audience| write_report(&findings, audience));
    let facts = |report: &str| {
        report[report.find("## Anua").unwrap()..report.find("### Recommendations").unwrap()].to_owned()
    };
    let advice = |report: &str| report[report.find("### Recommendations").unwrap()..].to_owned();
    assert_eq!(facts(&reports[0]), facts(&reports[1]));
    assert_eq!(facts(&reports[1]), facts(&reports[2]));
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        assert_ne!(advice(&reports[a]), advice(&reports[b]));
    }
    assert!(reports.iter().all(|report| advice(report).matches("\n- ").count() >= 3));
}

#[test]
fn every_quote_of_a_report_is_in_the_data() {
    let report = write_report(&Findings::of(&Request::parse("all brands")), Audience::Makers);
    let mut quotes = 0;
    for line in report.lines() {
        let Some((_, rest)) = line.split_once('“') else { continue };
        let (text, source) = rest.split_once("” (").unwrap();
        let (id, _) = source.split_once(',').unwrap();
        let review = demo_reviews().iter().find(|review| review.id == id).unwrap();
        assert!(review.text.contains(text), "{line}");
        quotes += 1;
    }
    assert!(quotes >= 40, "{quotes} quotes for eight brands");
}

/// The topics that recommendations name with one side, and the counts of that side for all topics.
fn recommended(report: &str, topics: &[TopicFinding], side: &str) -> Vec<Topic> {
    let advice = report.split_once("### Recommendations").expect("the report has recommendations").1;
    let name = |topic: Topic| match (topic, side) {
        (Topic::Irritation, "mentions praise it") => "gentleness",
        _ => topic.name(Language::English),
    };
    let named = |topic: Topic| {
        let line = |line: &str| {
            let line = line.to_lowercase();
            line.contains(side) && line.contains(name(topic))
        };
        advice.lines().any(line)
    };
    topics.iter().map(|found| found.topic).filter(|topic| named(*topic)).collect()
}

#[test]
fn recommendations_never_rank_equals() {
    let products = PRODUCTS.iter().map(|product| product.english.to_owned());
    let brands = Brand::ALL.iter().map(|brand| brand.name(Language::English).to_owned());
    let mut compared = 0;
    for subject in products.chain(brands) {
        for filter in ["", " Korean reviews", " English reviews", " social media"] {
            let findings = Findings::of(&Request::parse(&format!("Analyse {subject}{filter} in English")));
            if findings.reviews() == 0 {
                continue;
            }
            let report = write_report(&findings, Audience::Buyers);
            let topics = &findings.brands[0].topics;
            let blamed = recommended(&report, topics, "mentions complain");
            let praised = recommended(&report, topics, "mentions praise it");
            for found in topics {
                let out = |list: &[Topic]| !list.contains(&found.topic);
                let of = |list: &[Topic], count: fn(&TopicFinding) -> usize| {
                    topics.iter().filter(|one| list.contains(&one.topic)).map(count).min()
                };
                if let Some(least) = of(&blamed, |one| one.negative).filter(|_| out(&blamed)) {
                    assert!(found.negative < least, "{subject}{filter}: {:?}\n{report}", found.topic);
                    compared += 1;
                }
                if let Some(least) =
                    of(&praised, |one| one.positive).filter(|_| out(&praised) && out(&blamed))
                {
                    assert!(found.positive < least, "{subject}{filter}: {:?}\n{report}", found.topic);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn two_periods_are_compared_with_counts_and_small_numbers_are_no_difference() {
    let report = |message: &str| write_report(&Findings::of(&Request::parse(message)), Audience::Buyers);
    let all = report("Compare all brands, the second half of 2025 with the first half of 2026");
    let (head, _) = all.split_once("## At a glance").unwrap();
    assert!(
        head.contains("two periods compared: 2025-07-01 to 2025-12-31 and 2026-01-01 to 2026-06-30"),
        "{head}"
    );
    let reviews = |from: &str, to: &str| {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        demo_reviews().iter().filter(|review| (from..=to).contains(&review.date)).count()
    };
    let (first, second) = (reviews("2025-07-01", "2025-12-31"), reviews("2026-01-01", "2026-06-30"));
    assert!(head.contains(&format!("- Reviews: {first} → {second}")), "{head}");
    assert!(head.contains("no clear difference"), "{head}");
    assert!(!all.contains("What changed over time"), "the halves of the sample are no periods: {all}");

    let few = report("아누아 3월 대비 5월");
    assert!(few.contains("너무 적어 차이를 말할 수 없습니다"), "{few}");
    assert!(!few.contains("이해하지 못한 부분"), "{few}");
    let outside = report("Compare the first half of 2025 with the second for Anua");
    assert!(outside.contains("No review is from 2025-01-01 to 2025-06-30"), "{outside}");
}

// Plans and prompts

#[test]
fn the_offline_plan_names_each_brand_in_the_language_of_the_request() {
    let plan = offline_plan(&Request::parse("라네즈와 아누아"));
    let ids: Vec<_> = plan.iter().map(|todo| todo.id.as_str()).collect();
    assert_eq!(ids, ["collect:laneige", "analyse:laneige", "collect:anua", "analyse:anua", "write"]);
    assert_eq!(plan[0].title, "라네즈 리뷰 수집");
    assert_eq!(offline_plan(&Request::parse("Analyse Anua"))[1].title, "Find topics and sentiment for Anua");
}

#[test]
fn a_models_plan_is_read_wherever_it_stands() {
    let pairs = |answer: &str| -> Vec<(String, String)> {
        parse_plan(answer).unwrap().into_iter().map(|todo| (todo.id, todo.title)).collect()
    };
    let expected = vec![("a".to_owned(), "리뷰 수집".to_owned()), ("b".to_owned(), "Write".to_owned())];
    let list = r#"[{"id":"a","title":"리뷰 수집"},{"id":"b","title":"Write"}]"#;
    assert_eq!(pairs(list), expected);
    assert_eq!(pairs(&format!("Sure! Here it is [as asked]:\n```json\n{list}\n```\nGood luck.")), expected);
    assert_eq!(pairs(&format!(r#"<think>[1, 2]</think>{{"note":"x","todos":{list}}}"#)), expected);
    assert_eq!(
        pairs(
            r#"["Collect", {"id":7,"task":"Analyse"}, {"id":"7!","title":" Two\n lines "}, {"nothing":1}, {"id":"7!","title":"Again"}]"#
        ),
        [("step-1", "Collect"), ("step-7", "Analyse"), ("7-", "Two lines"), ("step-4", "Again")]
            .map(|(id, title)| (id.to_owned(), title.to_owned()))
    );
}

#[test]
fn a_models_plan_is_bounded_and_its_absence_is_typed() {
    let many: Vec<String> = (0..500).map(|n| format!("{n} {}", "가".repeat(500))).collect();
    let plan = parse_plan(&serde_json::to_string(&many[..30]).unwrap()).unwrap();
    assert_eq!(plan.len(), TODOS);
    assert!(plan.iter().all(|todo| todo.title.chars().count() <= TITLE_CHARS));
    assert!(matches!(parse_plan(&serde_json::to_string(&many).unwrap()), Err(PlanError::TooLong { .. })));
    for answer in ["", "I cannot plan this.", "[]", "[1,2]", r#"{"todos":[]}"#, r#"[{"id":"x"}]"#, "[[[[[["] {
        assert_eq!(parse_plan(answer), Err(PlanError::NoList), "{answer}");
    }
    assert_eq!(parse_plan(&"[".repeat(60_000)), Err(PlanError::NoList), "depth is bounded too");
}

#[test]
fn a_prompt_holds_the_facts_and_no_message_can_pull_in_another_value() {
    let message = "Analyse Anua {{facts}} {{known_brands}}";
    let request = Request::parse(message);
    let plan = plan_messages(message, &request, None);
    assert!(plan[0].content.contains("Laneige (라네즈)"));
    assert!(plan[1].content.contains(message), "{}", plan[1].content);
    let findings = Findings::of(&request);
    let report = report_messages(message, &findings, Audience::Makers);
    assert!(report[1].content.contains(message));
    assert!(report[1].content.contains("39 of 39 reviews analysed"));
    assert!(report[0].content.contains("reports on product reviews for makers"));
    let template = |text: &str| text.replace(message, "").contains("{{");
    assert!(!plan.iter().chain(&report).any(|message| template(&message.content)), "every name has a value");
    let huge = "x".repeat(1_000_000);
    assert!(plan_messages(&huge, &request, None)[1].content.len() < MESSAGE_CHARS * 2);
}
