//! What is put around a model: retry, fallback, answers as types, token counts.

use std::time::Duration;

use agent_core::model::schema::{is_strict, schema_of, strict};
use agent_core::model::testing::{Chunking, Scripted, Turn};
use agent_core::model::tokens::{CountTokens, Estimate};
use agent_core::model::{
    ChatModel, Delta, Fallback, Message, Model, ModelError, ModelErrorKind, ModelRequest, ResponseFormat,
    RetryModel, TimeoutPhase, Usage,
};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

fn failing(fault: ModelErrorKind) -> Turn {
    Turn::error(ModelError::new(fault))
}

fn breaking(text: &str, pieces: usize) -> Turn {
    Turn::text(text)
        .chunked(Chunking::Chars(1))
        .then_error(pieces, ModelError::new(ModelErrorKind::Transport))
}

async fn deltas(model: impl ChatModel) -> Vec<Result<Delta, ModelError>> {
    Model::new(model).stream("x").await.unwrap().collect().await
}

#[tokio::test(start_paused = true)]
async fn passing_faults_are_tried_again_after_growing_waits() {
    let script = Scripted::new([
        failing(ModelErrorKind::Transport),
        failing(ModelErrorKind::Overloaded { retry_after: None }),
        Turn::text("ok"),
    ]);
    let started = tokio::time::Instant::now();
    let reply = Model::new(RetryModel::new(script.clone())).complete("x").await.unwrap();
    assert_eq!((reply.message.text().as_ref(), script.calls()), ("ok", 3));
    let waited = started.elapsed();
    assert!((Duration::from_millis(750)..=Duration::from_millis(1_510)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_wait_an_endpoint_asks_for_is_kept_and_one_too_long_ends_it() {
    let asked = |seconds| ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
    let started = tokio::time::Instant::now();
    let script = Scripted::new([failing(asked(7)), Turn::text("ok")]);
    Model::new(RetryModel::new(script)).complete("x").await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 7);

    let script = Scripted::new([failing(asked(3_600)), Turn::text("ok")]);
    let error = Model::new(RetryModel::new(script.clone())).complete("x").await.unwrap_err();
    assert_eq!((error.retry_after(), script.calls()), (Some(Duration::from_secs(3_600)), 1));
}

#[tokio::test(start_paused = true)]
async fn lasting_faults_are_not_tried_again_and_attempts_are_counted() {
    for fault in [
        ModelErrorKind::Auth,
        ModelErrorKind::Quota,
        ModelErrorKind::ContextTooLong,
        ModelErrorKind::Filtered,
        ModelErrorKind::BadRequest,
    ] {
        let script = Scripted::new([failing(fault), Turn::text("ok")]);
        let error = Model::new(RetryModel::new(script.clone())).complete("x").await.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), script.calls()), (fault, 1, 1));
    }
    let late = ModelErrorKind::TimedOut { waited: TimeoutPhase::FirstToken };
    let script = Scripted::rule(move |_, _| failing(late));
    let policy = agent_core::retry::RetryPolicy::attempts(4);
    let error = Model::new(RetryModel::new(script.clone()).policy(policy)).complete("x").await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), script.calls()), (late, 4, 4));
    assert!(error.to_string().ends_with("; failed after 4 attempts"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_answer_is_announced_when_output_was_shown() {
    let script = Scripted::new([breaking("abc", 2), Turn::text("다시")]);
    let items = deltas(RetryModel::new(script)).await;
    let items: Vec<Delta> = items.into_iter().map(Result::unwrap).take(4).collect();
    assert_eq!(
        items,
        [
            Delta::text("a"),
            Delta::text("b"),
            Delta::Restarted { attempt: 2, reason: "model_transport".into() },
            Delta::text("다시"),
        ]
    );
    let script = Scripted::new([breaking("abc", 2), Turn::text("다시")]);
    let reply = Model::new(RetryModel::new(script)).complete("x").await.unwrap();
    assert_eq!((reply.message.text().as_ref(), reply.attempts), ("다시", 2));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_announced_when_nothing_was_shown() {
    let items = deltas(RetryModel::new(Scripted::new([breaking("abc", 0), Turn::text("ok")]))).await;
    assert_eq!(items[0], Ok(Delta::text("ok")));
}

#[tokio::test(start_paused = true)]
async fn attempts_that_run_out_in_the_middle_end_with_the_last_error() {
    let script = Scripted::new([breaking("ab", 1), failing(ModelErrorKind::Transport), breaking("ab", 1)]);
    let items = deltas(RetryModel::new(script)).await;
    let error = items.last().unwrap().as_ref().unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ModelErrorKind::Transport, 3));
    assert_eq!(items.len(), 4, "a, restarted, a, the error");
}

#[tokio::test]
async fn the_next_model_answers_when_one_fails() {
    let (first, second) =
        (Scripted::new([failing(ModelErrorKind::Auth)]), Scripted::new([Turn::text("둘째")]));
    let model = Model::new(Fallback::new(first.clone()).or(second.clone()));
    let reply = model.complete(ModelRequest::new("x").model("only-the-first-has-it")).await.unwrap();
    assert_eq!(reply.message.text(), "둘째");
    assert_eq!(first.requests()[0].model.as_deref(), Some("only-the-first-has-it"));
    assert_eq!(second.requests()[0].model, None);
}

#[tokio::test]
async fn a_request_that_is_wrong_everywhere_is_not_passed_on() {
    let second = Scripted::new([Turn::text("no")]);
    let model =
        Model::new(Fallback::new(Scripted::new([failing(ModelErrorKind::BadRequest)])).or(second.clone()));
    assert_eq!(model.complete("x").await.unwrap_err().kind(), ModelErrorKind::BadRequest);
    assert_eq!(second.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_retries_announces_each_new_beginning_once() {
    let once = agent_core::retry::RetryPolicy::attempts(2);
    let first = RetryModel::new(Scripted::new([breaking("ab", 1), breaking("cd", 1)])).policy(once);
    let items = deltas(Fallback::new(first).or(Scripted::new([Turn::text("끝")]))).await;
    let restarts: Vec<u32> = items
        .iter()
        .filter_map(|item| match item {
            Ok(Delta::Restarted { attempt, .. }) => Some(*attempt),
            _ => None,
        })
        .collect();
    assert_eq!(restarts, [2, 3]);
    assert!(items.contains(&Ok(Delta::text("끝"))));
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Finding {
    topic: String,
    #[schemars(range(min = 1, max = 5))]
    stars: u8,
    note: Option<String>,
}

fn usage(tokens: u64) -> Usage {
    Usage { input_tokens: tokens, output_tokens: 1, ..Usage::default() }
}

#[tokio::test]
async fn a_type_is_asked_for_by_its_strict_schema() {
    let script = Scripted::new([Turn::text(r#"{"topic":"보습","stars":5,"note":null}"#)]);
    let finding: Finding = Model::new(script.clone()).extract("리뷰").await.unwrap();
    assert_eq!(finding, Finding { topic: "보습".into(), stars: 5, note: None });
    let Some(ResponseFormat::JsonSchema { name, schema, strict }) =
        script.requests()[0].response_format.clone()
    else {
        panic!("no schema was sent")
    };
    assert_eq!((name.as_str(), strict), ("Finding", true));
    let mut required: Vec<_> =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    required.sort_unstable();
    assert_eq!(required, ["note", "stars", "topic"]);
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[tokio::test]
async fn a_wrong_answer_is_asked_for_again_with_its_faults() {
    let script = Scripted::new([
        Turn::text("보습이 좋아요!").usage(usage(10)),
        Turn::text(r#"{"topic":"보습","stars":9}"#).usage(usage(20)),
        Turn::text("네:\n```json\n{\"topic\":\"보습\",\"stars\":4}\n```").usage(usage(30)),
    ]);
    let got = Model::new(script.clone()).extract_reply::<Finding>("리뷰").await.unwrap();
    assert_eq!((got.value.stars, got.asked, got.usage), (4, 3, Usage { output_tokens: 3, ..usage(60) }));
    let last = &script.requests()[2];
    assert_eq!(last.messages.len(), 3, "the question, the last wrong answer, its faults");
    let reported = last.messages[2].text();
    assert!(reported.contains("at `/stars`: 9 is greater than the maximum of 5"), "{reported}");
}

#[tokio::test]
async fn an_answer_that_stays_wrong_is_malformed() {
    let script = Scripted::rule(|_, _| Turn::text("{}"));
    let error = Model::new(script.clone()).extract::<Finding>("x").await.unwrap_err();
    assert_eq!((error.kind(), script.calls()), (ModelErrorKind::Malformed, 3));
    assert!(error.detail().unwrap().contains("\"topic\" is a required property"), "{error:?}");
}

#[tokio::test]
async fn what_is_not_an_object_is_wrapped_in_one() {
    let script = Scripted::new([Turn::text(r#"{"value":["a","b"]}"#), Turn::text(r#"["c"]"#)]);
    let model = Model::new(script);
    assert_eq!(model.extract::<Vec<String>>("x").await.unwrap(), ["a", "b"]);
    assert_eq!(model.extract::<Vec<String>>("x").await.unwrap(), ["c"]);
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Shape {
    Circle { radius: f64 },
    Box { sides: Vec<u32> },
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Drawing {
    shapes: Vec<Shape>,
    #[serde(default)]
    title: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Free {
    anything: std::collections::BTreeMap<String, u32>,
}

#[test]
fn schemas_become_strict_where_the_type_allows_it() {
    let closed = strict(&schema_of::<Drawing>());
    assert!(is_strict(&closed), "{closed:#}");
    assert_eq!(closed["required"], json!(["shapes", "title"]));
    assert_eq!(closed["$defs"]["Shape"]["anyOf"][0]["additionalProperties"], json!(false));
    assert!(!closed.to_string().contains("oneOf") && !closed.to_string().contains("uint32"));
    let free = strict(&schema_of::<Free>());
    assert!(!is_strict(&free), "a map with free keys cannot be strict: {free:#}");
}

#[test]
fn strict_schemas_follow_the_rules_of_the_python_package() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/A", "description": "mine"},
            "b": {"allOf": [{"type": "string", "minLength": 1}], "default": null},
            "c": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "integer"}}}},
        },
        "$defs": {"A": {"type": "object", "properties": {"e": {"type": "number"}}, "description": "theirs"}},
    });
    assert_eq!(
        strict(&schema),
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["a", "b", "c"],
            "properties": {
                "a": {"type": "object", "properties": {"e": {"type": "number"}}, "description": "mine", "additionalProperties": false, "required": ["e"]},
                "b": {"type": "string", "minLength": 1},
                "c": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "integer"}}, "additionalProperties": false, "required": ["d"]}},
            },
            "$defs": {"A": {"type": "object", "properties": {"e": {"type": "number"}}, "description": "theirs", "additionalProperties": false, "required": ["e"]}},
        })
    );
}

/// `(text, tokens by the vocabulary of GPT-4o, o200k_base)`
#[test]
fn the_estimate_is_near_the_real_count() {
    let known = [
        ("The quick brown fox jumps over the lazy dog. It was not amused by this at all, and said so.", 23),
        ("라네즈 수분크림은 촉촉하고 흡수가 빨라서 아침에 쓰기 좋아요. 다만 향이 조금 강한 편입니다.", 36),
        (r#"{"name": "weather", "arguments": {"city": "Seoul", "days": 3}}"#, 22),
    ];
    for (text, real) in known {
        let estimate = Estimate.text(text);
        assert!(estimate * 10 >= real * 7 && estimate * 10 <= real * 15, "{text}: {estimate}, really {real}");
    }
    assert_eq!(Estimate.text(""), 0);
    let request = ModelRequest::new([Message::user("안녕"), Message::assistant("hi")]).system("be kind");
    assert_eq!(
        Estimate.request(&request),
        12 + Estimate.text("안녕") + Estimate.text("hi") + Estimate.text("be kind")
    );
}
