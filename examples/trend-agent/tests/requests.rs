//! Requests in Korean and English with what must be understood, as data; and what holds for every message.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use trend_agent::{
    catalogue::Brand,
    extraction::{Extraction, read_answer, schema},
    period::{Calendar, Period},
    request::{Request, Scope},
    review::{newest_day, oldest_day},
};

/// A request, as the fields of the data file; what a line of the file leaves out is empty.
fn fields(request: &Request) -> Map<String, Value> {
    let days = |period: Period| json!([period.from.to_string(), period.to.to_string()]);
    let missing = request.missing.iter().map(|missing| {
        format!("{} {}", missing.brand.slug(), json!(missing.product_type).as_str().unwrap_or_default())
    });
    let all = json!({
        "language": request.language,
        "scope": request.scope,
        "brands": request.brands,
        "products": request.products,
        "product_types": request.product_types,
        "excluded_brands": request.excluded.brands,
        "excluded_products": request.excluded.products,
        "excluded_types": request.excluded.product_types,
        "excluded_topics": request.excluded.topics,
        "topics": request.topics,
        "period": request.period.map(days),
        "ratings": request.ratings.map(|ratings| [ratings.min, ratings.max]),
        "sentiment": request.sentiment,
        "review_language": request.review_language,
        "channels": request.channels,
        "audience": request.audience,
        "question": request.question,
        "fault": request.fault,
        "comparison": request.comparison,
        "missing": missing.collect::<Vec<_>>(),
        "absent": request.absent,
        "gaps": request.gaps,
        "unknown": request.unknown,
        "ignored": request.ignored,
        "follows": request.follows,
        "against": request.against.map(days),
        "excluded_sentiment": request.excluded.sentiment,
        "excluded_period": request.excluded.period.map(days),
        "aspects": request.aspects,
        "claim": request.claim,
        "anyone": request.anyone,
        "ranking": request.ranking,
        "split": request.split,
        "also": request.also,
        "listing": request.listing,
        "inventory": request.inventory,
    });
    let Value::Object(all) = all else { unreachable!() };
    all.into_iter()
        .filter(|(_, value)| !matches!(value, Value::Null) && *value != json!([]) && *value != json!(false))
        .collect()
}

fn expected(line: &Value) -> Map<String, Value> {
    let mut expected = line["expected"].as_object().unwrap().clone();
    for (name, value) in [("language", "ko"), ("scope", "named"), ("question", "overview")] {
        expected.entry(name).or_insert_with(|| json!(value));
    }
    expected.retain(|_, value| *value != json!([]) && *value != json!(false));
    expected
}

#[test]
fn every_request_of_the_data_file_is_understood() {
    let lines: Vec<Value> =
        include_str!("data/requests.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut wrong = Vec::new();
    for line in &lines {
        let before = line["before"].as_array().into_iter().flatten();
        let previous = before.fold(None, |previous: Option<Request>, message| {
            Some(Request::parse_after(message.as_str().unwrap(), previous.as_ref()))
        });
        let message = line["message"].as_str().unwrap();
        let (got, expected) = (fields(&Request::parse_after(message, previous.as_ref())), expected(line));
        let names = got.keys().chain(expected.keys());
        let differences: Vec<String> = names
            .filter(|name| got.get(*name) != expected.get(*name))
            .map(|name| format!("  {name}: {:?}, not {:?}", got.get(name), expected.get(name)))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        if !differences.is_empty() {
            wrong.push(format!("{message}\n{}", differences.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
}

/// Whatever the built-in reader understands, a model can extract in the form of the schema.
#[test]
fn the_extraction_of_a_model_has_the_structure_of_the_built_in_reading() {
    let mut wrong = Vec::new();
    for line in include_str!("data/requests.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let before = line["before"].as_array().into_iter().flatten();
        let previous = before.fold(None, |previous: Option<Request>, message| {
            Some(Request::parse_after(message.as_str().unwrap(), previous.as_ref()))
        });
        let message = line["message"].as_str().unwrap();
        let request = Request::parse_after(message, previous.as_ref());
        if request.scope == Scope::Unknown || !request.missing.is_empty() || !request.unknown.is_empty() {
            // What the catalogue does not have is read by the built-in reader only.
            continue;
        }
        let nothing = Request::parse("ㅎ");
        let answer = json!({"request": Extraction::of(&request), "steps": []}).to_string();
        let read = read_answer(&answer, message, &nothing).request.unwrap();
        let (mut got, mut expected) = (fields(&read), fields(&request));
        for name in ["language", "ignored", "follows", "absent"] {
            got.remove(name);
            expected.remove(name);
        }
        if got != expected {
            wrong.push(format!("{message}\n  {got:?}\n  {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_schema_of_the_extraction_names_what_the_catalogue_has_and_no_figures() {
    let schema = schema();
    let properties = schema["properties"].as_object().unwrap();
    for name in
        ["excluded", "against", "aspects", "claim", "ranking", "split", "listing", "inventory", "gaps"]
    {
        assert!(properties.contains_key(name), "{name}");
    }
    assert!(properties["products"]["items"]["enum"].as_array().unwrap().contains(&json!("Dynasty Cream")));
    assert_eq!(schema["additionalProperties"], json!(false));
    for (request, fault) in [
        (json!({"aspects": ["wings"]}), "there is no `wings`"),
        (json!({"excluded": {"products": ["Elixir"]}}), "`excluded.products`"),
        (json!({"against": {"from": "2026-03-01", "to": "2026-03-31"}}), "`against`"),
        (json!({"listing": {"count": 50, "newest": true}}), "`listing.count`"),
        (json!({"claim": "neutral", "topics": ["scent"]}), "`claim`"),
        (json!({"question": "inventory"}), "`inventory`"),
        (json!({"mean_rating": 4.9}), "mean_rating"),
    ] {
        let answer = json!({"request": request}).to_string();
        let read = read_answer(&answer, "리뷰", &Request::parse("리뷰")).request.unwrap_err();
        assert!(read.contains(fault), "{read}");
    }
    // A name that the message does not have is not taken over.
    let answer = json!({"request": {"unknown_brands": ["Foobar", "Quux"]}}).to_string();
    let read = read_answer(&answer, "foobar 어때", &Request::parse("ㅎ")).request.unwrap();
    assert_eq!(read.unknown, ["Foobar"]);
}

const WORDS: &str = "라네즈|아누아|이니스프리|laneige|anua|cosrx|toner|선크림|토너|말고|빼고|except|without|not|and|랑|와|지난 3개월|last quarter|between|march|may|2026|5월|이후|부터|까지|since|until|4점|이상|이하|star|stars|2|negative|부정|긍정|positive|영어 리뷰|korean reviews|in english|올리브영|social|마케터용|for buyers|비교|compare|versus|대비|보다|와|which|best|how many|몇 건|왜|why|향|보습|scent|moisture|translate|다시|그 보고서|again|only|만|reviews|리뷰|\\?|,";

proptest! {
    #[test]
    fn whatever_the_words_the_structure_holds(words in prop::collection::vec(prop::sample::select(WORDS.split('|').collect::<Vec<_>>()), 0..12), follow in any::<bool>()) {
        let previous = Request::parse("라네즈와 아누아 리뷰, 5월 이후, 소비자용");
        let request = Request::parse_after(&words.join(" "), follow.then_some(&previous));
        prop_assert_eq!(request.brands.is_empty(), matches!(request.scope, Scope::Open | Scope::Unknown));
        prop_assert!(request.brands.is_sorted());
        prop_assert!(request.brands.iter().all(|brand| !request.excluded.brands.contains(brand)), "{:?}", request);
        prop_assert!(request.topics.iter().all(|topic| !request.excluded.topics.contains(topic)));
        prop_assert!(request.ratings.is_none_or(|ratings| 1 <= ratings.min && ratings.min <= ratings.max && ratings.max <= 5));
        prop_assert!(request.period.is_none_or(|period| period.from <= period.to), "{:?}", request.period);
        let ordered = |earlier: Period| request.period.is_some_and(|later| earlier.from <= earlier.to && earlier.to < later.from);
        prop_assert!(request.against.is_none_or(ordered), "{:?} {:?}", request.against, request.period);
        prop_assert!(request.scope != Scope::All || request.brands.len() + request.excluded.brands.len() == Brand::ALL.len());
        let kept: Request = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        prop_assert_eq!(kept, request);
    }

    #[test]
    fn any_two_months_are_a_range_that_runs_forwards(first in 1..=12_u8, second in 1..=12_u8, year in 2024..=2027_i32) {
        let calendar = Calendar { today: newest_day(), oldest: oldest_day() };
        for text in [format!("{first}월부터 {second}월까지"), format!("{year}년 {first}월부터 {second}월까지"), format!("{first}월에서 {year}년 {second}월 사이")] {
            let mention = Period::parse(&format!("{text} "), calendar);
            let period = mention.as_ref().map(|mention| mention.period);
            prop_assert!(period.is_some_and(|period| period.from <= period.to), "{}: {:?}", text, period);
            let period = period.unwrap();
            prop_assert_eq!((period.from.month(), period.to.month()), (i8::try_from(first).unwrap(), i8::try_from(second).unwrap()));
            prop_assert!(period.to.year() - period.from.year() <= 1);
        }
    }

    #[test]
    fn any_text_has_a_period_within_its_bytes_or_none(text in "\\PC{0,80}|[0-9년월일~ .-]{0,30}|(지난|최근|last|since|2026|3월|may| ){0,8}") {
        let calendar = Calendar { today: newest_day(), oldest: oldest_day() };
        let lower = text.to_lowercase();
        if let Some(mention) = Period::parse(&lower, calendar) {
            prop_assert!(mention.period.from <= mention.period.to);
            for (from, to) in mention.spans {
                prop_assert!(from < to && lower.get(from..to).is_some());
            }
        }
    }
}
