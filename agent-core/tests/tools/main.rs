//! Tools: schemas, argument faults, registries, approval, and how a call is executed.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod approval;

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    model::ToolCall,
    tool,
    tool::{
        Approval, ApprovalScope, CallListener, Concurrency, Decision, DecisionOutcome, DynamicTool, Effect,
        Guardrail, PreparedCall, RegistryFault, StandingApprovals, Tool, ToolContext, ToolError, ToolFault,
        ToolOutput, ToolPolicy, ToolRegistry, ToolReply, Verdict, schema,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize)]
struct Forecast {
    city: String,
    days: u8,
    call: String,
}

/// The weather of a city.
///
/// Not for the past.
#[tool(policy = ToolPolicy::read_only())]
async fn weather(
    /// Name of the city, in any language.
    city: String,
    /// Days from today.
    #[schemars(range(max = 16))]
    days: Option<u8>,
    cx: &ToolContext,
    #[serde(default)] detailed: bool,
) -> Result<Forecast, ToolError> {
    if city.is_empty() {
        return Err(ToolError::failed("name a city"));
    }
    Ok(Forecast { city, days: days.unwrap_or(u8::from(detailed)), call: cx.call_id.clone() })
}

#[derive(Deserialize, JsonSchema)]
struct Query {
    #[serde(rename = "찾을말")]
    words: Vec<String>,
}

/// Looks for words.
#[tool(name = "find-words")]
async fn find(#[args] query: Query) -> Result<String, std::num::ParseIntError> {
    let numbers: Result<Vec<u32>, _> = query.words.iter().map(|word| word.parse::<u32>()).collect();
    Ok(format!("{:?}", numbers?))
}

fn registry() -> ToolRegistry {
    ToolRegistry::builder().tool(weather).tool(find).group("read", ["weather"]).build().unwrap()
}

fn call(name: &str, arguments: Value) -> ToolCall {
    let mut call = ToolCall::new(name, &arguments);
    call.id = "call_1".to_owned();
    call
}

async fn run(registry: &ToolRegistry, name: &str, arguments: Value) -> Result<ToolOutput, ToolError> {
    registry.prepare(call(name, arguments))?.run(&ToolContext::new("call_1", "key", Default::default())).await
}

/// A tool of one line, under a policy.
fn with<F, Fut>(policy: ToolPolicy, f: F) -> PreparedCall
where
    F: Fn(Value, ToolContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
{
    let tool = DynamicTool::new(
        "t",
        "A tool.",
        json!({ "type": "object", "properties": { "n": { "type": "integer" } } }),
        f,
    )
    .with_policy(policy);
    let registry = ToolRegistry::builder().tool(tool).build().unwrap();
    registry.prepare(call("t", json!({ "n": 1 }))).unwrap()
}

#[test]
fn the_strict_form_is_that_of_the_openai_package() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/strict_schema.json")).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 25);
    for case in cases {
        let name = &case["name"];
        // Where a `$ref` leads to a `$ref`, the package drops both and leaves a schema that allows anything.
        if *name == "ref_to_ref" {
            let ours = schema::strict(&case["schema"]).unwrap();
            assert_eq!(ours.pointer("/properties/a/properties/z/type"), Some(&json!("null")));
            assert_eq!(case.pointer("/strict/properties/a"), Some(&json!({ "description": "mine" })));
            continue;
        }
        if *name == "endless" {
            assert!(matches!(schema::strict(&case["schema"]), Err(schema::SchemaError::TooDeep { .. })));
            continue;
        }
        match (schema::strict(&case["schema"]), case.get("strict")) {
            (Ok(ours), Some(theirs)) => assert_eq!(&ours, theirs, "{name}"),
            (Err(_), None) => {}
            (ours, _) => panic!("{name}: ours {ours:?}, theirs {case}"),
        }
    }
}

#[test]
fn a_function_becomes_a_strict_tool_with_its_docs_as_descriptions() {
    let specs = registry().specs();
    assert_eq!(specs[0].description, "The weather of a city.\n\nNot for the past.");
    assert!(specs[0].strict);
    assert_eq!(
        specs[0].parameters,
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["city", "days", "detailed"],
            "properties": {
                "city": { "type": "string", "description": "Name of the city, in any language." },
                "days": { "type": ["integer", "null"], "minimum": 0, "maximum": 16, "description": "Days from today." },
                "detailed": { "type": ["boolean", "null"], "default": false },
            }
        })
    );
    assert_eq!(
        (specs[1].name.as_str(), specs[1].parameters["required"].clone()),
        ("find-words", json!(["찾을말"]))
    );
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Shape {
    Circle { radius: f64 },
    Square { side: f64, name: Option<String> },
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Tree {
    shape: Shape,
    #[serde(default)]
    children: Vec<Tree>,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct WithMap {
    map: HashMap<String, u32>,
}

#[test]
fn variants_and_recursion_are_strict_and_maps_are_not() {
    let tree = schema::for_model(&schema::of::<Tree>()).unwrap();
    assert!(!tree.to_string().contains("oneOf") && tree.to_string().contains("$ref"), "{tree}");
    assert!(schema::for_model(&schema::of::<WithMap>()).is_none());
    assert!(schema::for_model(&json!({ "type": "object", "properties": { "any": {} } })).is_none());
    assert_eq!(
        schema::for_model(&json!({ "type": "object" })),
        Some(json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false }))
    );
}

#[tokio::test]
async fn a_call_gives_the_tools_result() {
    let output = run(&registry(), "weather", json!({ "city": "서울", "days": 3 })).await.unwrap();
    assert_eq!(output, ToolOutput::Json(json!({ "city": "서울", "days": 3, "call": "call_1" })));
    let output = run(&registry(), "find-words", json!({ "찾을말": ["1", "2"] })).await.unwrap();
    assert_eq!(output, ToolOutput::Text("[1, 2]".into()));
    let direct = weather::run("부산".into(), None, &ToolContext::detached(), true).await.unwrap();
    assert_eq!((direct.city.as_str(), direct.days), ("부산", 1));
}

#[tokio::test]
async fn null_stands_for_what_is_optional_and_so_does_absence() {
    for args in [json!({ "city": "a", "days": null, "detailed": null }), json!({ "city": "a" })] {
        let output = run(&registry(), "weather", args).await.unwrap();
        assert_eq!(output, ToolOutput::Json(json!({ "city": "a", "days": 0, "call": "call_1" })));
    }
    assert!(run(&registry(), "weather", json!({ "city": null })).await.is_err());
}

#[test]
fn bad_arguments_are_told_all_at_once_in_words() {
    let error = registry().prepare(call("weather", json!({ "days": 300, "contry": "kr" }))).unwrap_err();
    assert_eq!(error.fault(), ToolFault::BadArguments);
    let text = error.for_model();
    for part in [
        "the arguments of `weather`",
        "`/days`: 300 is greater than the maximum of 16",
        "contry",
        "\"city\" is a required",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut broken = call("weather", json!({}));
    broken.arguments = "{\"city\": \"서".into();
    let text = registry().prepare(broken).unwrap_err().for_model().to_owned();
    assert!(text.contains("they are not valid JSON: EOF while parsing a string"), "{text}");
}

#[test]
fn long_hostile_arguments_make_a_short_fault() {
    let error = registry().prepare(call("weather", json!({ "city": ["한".repeat(100_000)] }))).unwrap_err();
    assert!(error.for_model().chars().count() < 500, "{}", error.for_model().len());
}

#[test]
fn arguments_encoded_twice_or_left_out_are_read() {
    let twice = call("weather", json!(json!({ "city": "a" }).to_string()));
    assert_eq!(registry().prepare(twice).unwrap().args(), &json!({ "city": "a" }));
    let tools = ToolRegistry::builder()
        .tool(DynamicTool::new("now", "The time.", json!({ "type": "object" }), async |_, _| {
            Ok("12:00".into())
        }))
        .build()
        .unwrap();
    for text in ["", "null", "{}"] {
        let mut call = call("now", json!({}));
        call.arguments = text.into();
        assert_eq!(tools.prepare(call).unwrap().args(), &json!({}));
    }
}

#[test]
fn an_unknown_tool_is_told_with_those_there_are() {
    let error = registry().prepare(call("wether", json!({}))).unwrap_err();
    assert_eq!(error.fault(), ToolFault::Unknown);
    assert_eq!(error.for_model(), "unknown tool `wether`; available tools: weather, find-words");
}

#[test]
fn an_allow_list_takes_tools_and_groups_and_refuses_what_is_not_there() {
    let all = registry();
    assert_eq!(all.allow(["read"]).unwrap().names().collect::<Vec<_>>(), ["weather"]);
    assert_eq!(
        all.allow(["find-words", "read"]).unwrap().names().collect::<Vec<_>>(),
        ["weather", "find-words"]
    );
    assert_eq!(all.allow(Vec::<String>::new()).unwrap().specs().len(), 0);
    let hidden =
        all.allow(["find-words"]).unwrap().prepare(call("weather", json!({ "city": "a" }))).unwrap_err();
    assert_eq!(hidden.fault(), ToolFault::Unknown);
    let error = all.allow(["reed", "nope"]).unwrap_err();
    assert_eq!(error.faults.len(), 2);
}

#[test]
fn a_registry_tells_every_fault() {
    let tool = |name: &'static str, schema| DynamicTool::new(name, "", schema, async |_, _| Ok("".into()));
    let error = ToolRegistry::builder()
        .tool(weather)
        .tool(weather)
        .tool(tool("날씨", json!({ "type": "object" })))
        .tool(tool("list", json!({ "type": "array" })))
        .tool(tool(
            "ref",
            json!({ "type": "object", "properties": { "a": { "$ref": "https://example.org/x" } } }),
        ))
        .group("weather", ["nobody"])
        .build()
        .unwrap_err();
    let kinds: Vec<_> = error
        .faults
        .iter()
        .map(|fault| match fault {
            RegistryFault::Twice { .. } => "twice",
            RegistryFault::IllegalName { .. } => "name",
            RegistryFault::BadSchema { .. } => "schema",
            RegistryFault::NothingIsCalled { .. } => "nothing",
            _ => "?",
        })
        .collect();
    assert_eq!(kinds, ["twice", "name", "schema", "schema", "twice", "nothing"]);
    assert!(error.to_string().contains("the first: two tools or groups are named `weather`"), "{error}");
}

#[test]
fn a_fault_of_a_schema_is_found_at_registration_and_a_schema_without_fault_checks_every_call() {
    let registry = |keyword: &str, value: &Value| {
        let schema = json!({ "type": "object", "properties": { "a": { keyword: value } } });
        let tool = DynamicTool::new("t", "", schema, async |_, _| Ok("".into()));
        ToolRegistry::builder().tool(tool).build()
    };
    for (keyword, value) in [
        ("type", json!("strin")),
        ("type", json!([])),
        ("type", json!(["string", "string"])),
        ("enum", json!("x")),
        ("format", json!(1)),
        ("minimum", json!("1")),
        ("maxLength", json!(-1)),
        ("required", json!(["a", "a"])),
        ("properties", json!({ "b": 1 })),
        ("items", json!([])),
        ("additionalProperties", json!(null)),
        ("anyOf", json!([])),
        ("oneOf", json!([{ "type": "strin" }])),
        ("pattern", json!("(")),
        ("$ref", json!("#/nothing")),
    ] {
        let error = registry(keyword, &value).unwrap_err();
        assert!(matches!(error.faults[..], [RegistryFault::BadSchema { .. }]), "{keyword} {value}");
    }
    for (keyword, value, good, bad) in [
        ("type", json!(["string", "null"]), json!(null), json!(1)),
        ("type", json!("integer"), json!(1), json!("b")),
        ("enum", json!(["b", "b"]), json!("b"), json!("c")),
        ("enum", json!([true]), json!(true), json!("c")),
        ("const", json!({ "$ref": "#/nothing" }), json!({ "$ref": "#/nothing" }), json!("c")),
        ("minimum", json!(1.5), json!(2), json!(1)),
        ("maximum", json!(u64::MAX), json!(2), json!(1e300)),
        ("minLength", json!(2), json!("bb"), json!("b")),
        ("maxItems", json!(1), json!([1]), json!([1, 2])),
        ("required", json!(["b"]), json!({ "b": 1 }), json!({})),
        ("properties", json!({ "$ref": { "type": "null" } }), json!({ "$ref": null }), json!({ "$ref": 1 })),
        ("items", json!({ "type": "null" }), json!([null]), json!([1])),
        ("additionalProperties", json!(false), json!({}), json!({ "b": 1 })),
        ("anyOf", json!([{ "type": "null" }, { "enum": [1] }]), json!(1), json!(2)),
        ("oneOf", json!([{ "format": "uint32", "type": "integer" }]), json!(1), json!("b")),
    ] {
        let registry = registry(keyword, &value).unwrap();
        assert!(registry.prepare(call("t", json!({ "a": good }))).is_ok(), "{keyword} {value}");
        let error = registry.prepare(call("t", json!({ "a": bad }))).map(|_| ()).unwrap_err();
        assert_eq!(error.fault(), ToolFault::BadArguments, "{keyword} {value}");
    }
}

#[tokio::test]
async fn an_error_of_a_library_is_kept_from_the_model() {
    let error = run(&registry(), "find-words", json!({ "찾을말": ["x"] })).await.unwrap_err();
    assert_eq!((error.fault(), error.for_model()), (ToolFault::Failed, "the tool failed"));
    assert_eq!(error.cause().unwrap().to_string(), "invalid digit found in string");
    let stored = serde_json::to_value(&error).unwrap();
    assert_eq!(stored, json!({ "fault": "failed", "for_model": "the tool failed" }));
    assert!(serde_json::from_value::<ToolError>(stored).unwrap().cause().is_none());
}

#[tokio::test]
async fn a_panic_is_a_failure_of_that_call() {
    let prepared = with(ToolPolicy::default(), async |_, _| panic!("secret path"));
    let error = prepared.run(&ToolContext::detached()).await.unwrap_err();
    assert_eq!((error.fault(), error.for_model()), (ToolFault::Panicked, "the tool failed"));
    assert_eq!(error.cause().unwrap().to_string(), "secret path");
}

#[tokio::test(start_paused = true)]
async fn a_slow_tool_times_out_and_is_repeated_only_if_it_may_be() {
    for (effect, attempts) in [(Effect::Writes, 1), (Effect::Idempotent, 3)] {
        let tried = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&tried);
        let policy = ToolPolicy::default().effect(effect).timeout(Duration::from_secs(2)).retry(3);
        let prepared = with(policy, move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::pending()
        });
        let error = prepared.run(&ToolContext::detached()).await.unwrap_err();
        assert_eq!((error.fault(), error.for_model()), (ToolFault::TimedOut, "`t` did not finish within 2s"));
        assert_eq!(tried.load(Ordering::SeqCst), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_lost_is_repeated_only_if_it_may_be() {
    for (effect, attempts) in [(Effect::Destructive, 1), (Effect::Writes, 1), (Effect::ReadOnly, 3)] {
        let tried = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&tried);
        let policy = ToolPolicy::default().effect(effect).retry(3);
        let prepared = with(policy, move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Err(ToolError::lost("it may have happened")) }
        });
        let error = prepared.run(&ToolContext::detached()).await.unwrap_err();
        assert_eq!(
            (error.fault(), error.fault().code()),
            (ToolFault::OutcomeUnknown, "tool_outcome_unknown")
        );
        assert_eq!(tried.load(Ordering::SeqCst), attempts);
    }
}

#[tokio::test]
async fn a_call_of_no_run_has_who_listens_and_nobody_to_ask() {
    struct Heard(std::sync::mpsc::Sender<Value>);
    impl CallListener for Heard {
        fn progress(&self, value: Value) {
            self.0.send(value).unwrap();
        }
    }
    let prepared = with(ToolPolicy::default(), async |_, cx: ToolContext| {
        cx.progress(json!({ "progress": 1 }));
        cx.ask("really?").await.map(ToolOutput::from)
    });
    let (received, notes) = std::sync::mpsc::channel();
    let error = prepared.run(&ToolContext::detached().with_listener(Heard(received))).await.unwrap_err();
    assert_eq!(error.fault(), ToolFault::Refused);
    assert_eq!(notes.try_iter().collect::<Vec<_>>(), [json!({ "progress": 1 })]);
    let alone = prepared.run(&ToolContext::detached()).await.unwrap_err();
    assert_eq!(alone.fault(), ToolFault::Refused);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_tool_is_tried_again_with_the_same_key() {
    let policy = ToolPolicy::default().retry(3);
    let prepared = with(policy, async |_, cx: ToolContext| match cx.attempt {
        3 => Ok(cx.idempotency_key.into()),
        _ => Err(ToolError::unavailable("busy").retry_after(Duration::from_secs(5))),
    });
    let began = tokio::time::Instant::now();
    let output = prepared.run(&ToolContext::new("c", "key-1", Default::default())).await.unwrap();
    assert_eq!((output, began.elapsed().as_secs()), (ToolOutput::text("key-1"), 10));
}

#[tokio::test]
async fn a_stop_drops_the_tool_and_wins() {
    let cx = ToolContext::detached();
    let prepared = with(ToolPolicy::default(), |_, _| std::future::pending());
    let running = prepared.run(&cx);
    cx.cancelled.cancel();
    assert_eq!(running.await.unwrap_err().fault(), ToolFault::Cancelled);
}

#[tokio::test]
async fn no_more_calls_run_at_once_than_allowed() {
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let peak = Arc::clone(&most);
    let policy = ToolPolicy::default().concurrency(Concurrency::AtMost(NonZeroUsize::new(2).unwrap()));
    let prepared = with(policy, move |_, _| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok("".into())
        }
    });
    let cx = ToolContext::detached();
    let results = futures::future::join_all((0..8).map(|_| prepared.run(&cx))).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[test]
fn a_long_result_is_cut_between_characters_and_says_so() {
    let text = "가나다라마바사".repeat(1000);
    let call = call("t", json!({}));
    for limit in [0, 1, 100, 101, 102, 103] {
        let reply = ToolReply::new(&call, &Ok(text.as_str().into()), limit);
        let cut = reply.cut.unwrap();
        assert_eq!(cut.whole, text.len());
        assert!(cut.shown <= limit && cut.shown + 6 > limit, "{cut:?} of {limit}");
        assert!(reply.text.contains(&format!("{} bytes left out", cut.whole - cut.shown)), "{}", reply.text);
    }
    let whole = ToolReply::new(&call, &Ok(text.as_str().into()), text.len());
    assert_eq!((whole.cut, whole.text.len()), (None, text.len()));
}

#[test]
fn a_reply_answers_its_call() {
    let reply = ToolReply::new(&call("t", json!({})), &Err(ToolError::refused("no")), 10);
    assert_eq!((reply.text.as_str(), reply.fault), ("Error: no", Some(ToolFault::Refused)));
    let message = reply.into_message();
    assert_eq!((message.tool_call_id.as_deref(), message.text().as_ref()), (Some("call_1"), "Error: no"));
}

#[test]
fn a_tool_written_by_hand_names_itself() {
    assert_eq!((weather.name(), find.name()), ("weather", "find-words"));
    assert_eq!(weather.policy().effect, Effect::ReadOnly);
}
