//! `#[derive(State)]`: reducers, the stored form, claims, builder and error texts.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use agent_core::{
    State,
    graph::IntoOutcome,
    state::{ApplyError, Input, Keyed, Write},
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    id: String,
    text: String,
}
impl Keyed for Note {
    fn key(&self) -> &str {
        &self.id
    }
}
fn note(id: &str, text: &str) -> Note {
    Note { id: id.into(), text: text.into() }
}

fn keep_longest(held: &mut String, other: String) {
    if other.chars().count() > held.chars().count() {
        *held = other;
    }
}
fn refuse_negative(held: &mut i32, other: i32) -> Result<(), ApplyError> {
    if other < 0 {
        return Err(ApplyError::new("balance", "is never negative"));
    }
    *held = other;
    Ok(())
}

/// A state with every reducer.
#[derive(State, Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Report {
    /// The brand that the report is about.
    brand: String,
    #[state(append)]
    findings: Vec<String>,
    summary: Option<String>,
    rank: Option<u32>,
    #[state(add)]
    tokens: i64,
    #[state(max)]
    best: f64,
    #[state(min)]
    price: u32,
    #[state(merge)]
    scores: BTreeMap<String, u32>,
    #[state(extend)]
    seen: HashSet<u64>,
    #[state(messages)]
    notes: Vec<Note>,
    #[state(reduce = keep_longest)]
    title: String,
    #[state(reduce = refuse_negative)]
    balance: i32,
    #[state(untracked)]
    #[serde(skip)]
    cache: Option<usize>,
}

fn applied(updates: impl IntoIterator<Item = ReportUpdate>) -> Report {
    let mut state = Report::default();
    for update in updates {
        state.apply(update).unwrap();
    }
    state
}

fn claims<S: agent_core::state::State>(update: &S::Update) -> Vec<&'static str> {
    let mut names = Vec::new();
    S::claims(update, &mut |name| names.push(name));
    names
}

fn through_json<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn each_reducer_combines_in_its_way() {
    let first = Report::update()
        .brand("설화수")
        .findings(["향이 좋다"])
        .tokens(40)
        .best(0.5)
        .price(0)
        .scores([("a".to_owned(), 1), ("b".to_owned(), 2)])
        .seen([1, 2])
        .notes([note("1", "하나"), note("2", "둘")])
        .title("봄")
        .balance(3)
        .cache(9);
    let second = Report::update()
        .brand("라네즈")
        .findings(["끈적임"])
        .tokens(2)
        .best(0.25)
        .price(12)
        .scores([("b".to_owned(), 3)])
        .seen([2, 3])
        .notes([note("1", "하나!"), note("3", "셋")])
        .title("여름 보고서")
        .balance(4);
    assert_eq!(
        applied([first, second]),
        Report {
            brand: "라네즈".into(),
            findings: vec!["향이 좋다".into(), "끈적임".into()],
            summary: None,
            rank: None,
            tokens: 42,
            best: 0.5,
            price: 0,
            scores: BTreeMap::from([("a".into(), 1), ("b".into(), 3)]),
            seen: HashSet::from([1, 2, 3]),
            notes: vec![note("1", "하나!"), note("2", "둘"), note("3", "셋")],
            title: "여름 보고서".into(),
            balance: 4,
            cache: Some(9),
        }
    );
}

#[test]
fn absent_leaves_an_option_and_null_clears_it() {
    let set: ReportUpdate = serde_json::from_value(json!({ "summary": "요약" })).unwrap();
    let absent: ReportUpdate = serde_json::from_value(json!({})).unwrap();
    let null: ReportUpdate = serde_json::from_value(json!({ "summary": null })).unwrap();
    assert_eq!(applied([set, absent]).summary.as_deref(), Some("요약"));
    assert_eq!(applied([Report::update().summary("요약"), null]).summary, None);

    assert_eq!(serde_json::to_value(Report::update().summary(None)).unwrap(), json!({ "summary": null }));
    assert_eq!(serde_json::to_value(Report::update()).unwrap(), json!({}));
}

#[test]
fn an_option_takes_a_value_a_str_or_an_option() {
    assert_eq!(Report::update().summary("a").summary, Some(Some("a".to_owned())));
    assert_eq!(Report::update().summary("a".to_owned()).summary, Some(Some("a".to_owned())));
    assert_eq!(Report::update().summary(Some("a".to_owned())).summary, Some(Some("a".to_owned())));
    assert_eq!(Report::update().rank(3).rank, Some(Some(3)));
    assert_eq!(Report::update().rank(None).rank, Some(None));
}

#[test]
fn a_setter_called_twice_combines_as_its_reducer_does() {
    let update = Report::update()
        .findings(["하나"])
        .findings(vec!["둘".to_owned()])
        .tokens(40)
        .tokens(2)
        .best(1.0)
        .best(0.5)
        .seen([1])
        .seen([2])
        .scores([("a".to_owned(), 1)])
        .scores([("a".to_owned(), 2)])
        .notes([note("1", "a")])
        .notes([note("1", "b")])
        .title("the longer one")
        .title("later");
    assert_eq!(update.findings, Some(Write::Reduce(vec!["하나".into(), "둘".into()])));
    assert_eq!(update.tokens, Some(Write::Reduce(42)));
    assert_eq!(update.best, Some(Write::Reduce(1.0)));
    assert_eq!(update.seen, Some(Write::Reduce(HashSet::from([1, 2]))));
    assert_eq!(update.scores, Some(Write::Reduce(BTreeMap::from([("a".into(), 2)]))));
    assert_eq!(update.notes, Some(Write::Reduce(vec![note("1", "b")])));
    assert_eq!(update.title, Some(Write::Reduce("later".into())));
}

#[test]
fn an_overwrite_goes_past_the_reducer_and_keeps_what_is_added_after_it() {
    let update =
        Report::update().findings(["lost"]).overwrite_findings(["new".to_owned()]).findings(["more"]);
    assert_eq!(
        serde_json::to_value(&update).unwrap(),
        json!({ "findings": ["new", "more"], "$overwrite": ["findings"] })
    );
    let state =
        applied([Report::update().findings(["old"]).tokens(5), through_json(&update).overwrite_tokens(1)]);
    assert_eq!((state.findings, state.tokens), (vec!["new".into(), "more".into()], 1));
    assert!(
        applied([Report::update().findings(["old"]), Report::update().overwrite_findings([])])
            .findings
            .is_empty()
    );
}

#[test]
fn no_value_of_a_field_is_read_as_an_overwrite() {
    let key = |name: &str| BTreeMap::from([(name.to_owned(), 1)]);
    for name in ["$overwrite", "$some", "$reduce"] {
        let update = through_json(&Report::update().scores(key(name)));
        assert_eq!(update.scores, Some(Write::Reduce(key(name))));
        let update = through_json(&Report::update().overwrite_scores(key(name)));
        assert_eq!(update.scores, Some(Write::Overwrite(key(name))));
    }
    for wrong in [json!({ "$overwrite": ["scores"] }), json!({ "brand": "b", "$overwrite": ["brand"] })] {
        let error = serde_json::from_value::<ReportUpdate>(wrong).unwrap_err().to_string();
        assert!(error.starts_with("`$overwrite` names `"), "{error}");
    }
    // An update type written by hand has no place beside the value.
    for write in [
        Write::Reduce(key("a")),
        Write::Reduce(key("$overwrite")),
        Write::Reduce(key("$reduce")),
        Write::Overwrite(key("$overwrite")),
    ] {
        assert_eq!(through_json(&write), write);
    }
    for nested in [json!({ "$overwrite": { "$reduce": 1 } }), json!({ "$overwrite": { "a": 1 } })] {
        for write in [Write::Reduce(nested.clone()), Write::Overwrite(nested)] {
            assert_eq!(through_json(&write), write);
        }
    }
}

/// Options inside options, with names of their own in JSON.
#[derive(State, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Nested {
    two_levels: Option<Option<u8>>,
    #[serde(rename = "drei")]
    three: Option<Option<Option<String>>>,
    #[serde(rename(serialize = "out", deserialize = "in"), alias = "out")]
    #[state(append)]
    both_ways: Vec<u8>,
}

#[test]
fn nested_options_of_an_update_read_back_equal() {
    for two in [None, Some(None), Some(Some(None)), Some(Some(Some(1)))] {
        for three in [None, Some(None), Some(Some(None)), Some(Some(Some(None)))] {
            let mut update = Nested::update().both_ways([1]);
            (update.two_levels, update.three) = (two, three.clone());
            let copy = through_json(&update);
            assert_eq!((copy.two_levels, copy.three), (two, three.clone()));
        }
    }
    let mut update = Nested::update().overwrite_both_ways([1]);
    (update.two_levels, update.three) = (Some(Some(None)), Some(None));
    assert_eq!(
        serde_json::to_value(&update).unwrap(),
        json!({ "twoLevels": null, "drei": null, "out": [1], "$overwrite": ["out"], "$some": { "twoLevels": 1 } })
    );
    assert_eq!(through_json(&update).both_ways, Some(Write::Overwrite(vec![1])));
}

#[test]
fn replaced_and_overwritten_fields_claim_one_writer() {
    let update = Report::update()
        .tokens(1)
        .findings(["a"])
        .overwrite_seen([1])
        .cache(1)
        .summary(None)
        .brand("x")
        .overwrite_title("t");
    assert_eq!(claims::<Report>(&update), ["brand", "summary", "seen", "title", "cache"]);
    assert!(claims::<Report>(&Report::update().tokens(1)).is_empty());
}

#[test]
fn a_sum_that_does_not_fit_is_an_error_that_names_the_field() {
    let mut state = applied([Report::update().tokens(i64::MAX)]);
    let error = state.apply(Report::update().tokens(1)).unwrap_err();
    assert_eq!(error.to_string(), "field `tokens`: the sum does not fit its type");
    assert_eq!(state.tokens, i64::MAX);
}

#[test]
#[should_panic(expected = "field `tokens`: the sum does not fit its type")]
fn a_sum_that_does_not_fit_the_update_panics() {
    drop(Report::update().tokens(i64::MAX).tokens(1));
}

#[test]
fn a_custom_reducer_may_refuse() {
    let error = Report::default().apply(Report::update().balance(-1)).unwrap_err();
    assert_eq!(error, ApplyError::new("balance", "is never negative"));
    assert_eq!(applied([Report::update().overwrite_balance(-1)]).balance, -1);
}

#[test]
fn an_untracked_field_is_never_stored() {
    let update = Report::update().cache(7).brand("b");
    assert_eq!(serde_json::to_value(&update).unwrap(), json!({ "brand": "b" }));
    let state = applied([update]);
    assert_eq!(state.cache, Some(7));
    assert_eq!(through_json(&state).cache, None);
    assert!(serde_json::from_value::<ReportUpdate>(json!({ "cache": 1 })).is_err());
}

#[test]
fn an_unknown_field_in_a_stored_update_is_an_error() {
    let error = serde_json::from_value::<ReportUpdate>(json!({ "brnad": "x" })).unwrap_err().to_string();
    assert!(error.starts_with("unknown field `brnad`, expected one of `brand`, `findings`"), "{error}");
}

#[test]
fn debug_shows_names_and_no_values() {
    let update = Report::update().brand("secret").overwrite_tokens(1);
    assert_eq!(format!("{update:?}"), "ReportUpdate{brand, tokens}");
}

#[test]
fn is_empty_until_something_is_set() {
    assert!(Report::update().is_empty());
    assert!(!Report::update().summary(None).is_empty());
}

#[test]
fn a_state_or_an_update_is_an_input_and_an_update_is_an_outcome() {
    assert!(
        matches!(Input::from(Report { brand: "b".into(), ..Report::default() }), Input::State(s) if s.brand == "b")
    );
    assert!(
        matches!(Input::from(Report::update().brand("b")), Input::Update(u) if u.brand.as_deref() == Some("b"))
    );
    let outcome: agent_core::graph::Outcome<Report> = Report::update().into_outcome();
    drop(outcome);
}

fn rename_brand(from: u32, mut stored: Value) -> Result<Value, ApplyError> {
    if from != 1 {
        return Err(ApplyError::new("(state)", format!("no way from version {from}")));
    }
    if let Some(object) = stored.as_object_mut()
        && let Some(brand) = object.remove("brand")
    {
        object.insert("brandName".into(), brand);
    }
    Ok(stored)
}

/// Fields have other names in JSON.
#[derive(State, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[state(version = 2, migrate = rename_brand)]
struct Renamed {
    brand_name: String,
    #[serde(rename = "길이", alias = "len")]
    #[state(add)]
    total_length: u64,
    r#type: Option<bool>,
}

#[test]
fn the_update_is_stored_under_the_names_of_the_state() {
    let update = Renamed::update().brand_name("라네즈").total_length(3).r#type(true);
    assert_eq!(
        serde_json::to_value(&update).unwrap(),
        json!({ "brandName": "라네즈", "길이": 3, "type": true })
    );
    let by_alias: RenamedUpdate = serde_json::from_value(json!({ "len": 4 })).unwrap();
    assert_eq!(by_alias.total_length, Some(Write::Reduce(4)));
    // Claims use the names of the Rust fields.
    assert_eq!(claims::<Renamed>(&update), ["brand_name", "type"]);
}

#[test]
fn an_older_stored_form_is_migrated() {
    assert_eq!((Report::VERSION, Renamed::VERSION), (1, 2));
    let migrated = Renamed::migrate(1, json!({ "brand": "라네즈" })).unwrap();
    assert_eq!(migrated, json!({ "brandName": "라네즈" }));
    assert_eq!(Renamed::migrate_update(1, json!({ "brand": "b" })).unwrap(), json!({ "brandName": "b" }));
    assert!(Renamed::migrate(7, json!({})).is_err());
    let error = Report::migrate(0, json!({})).unwrap_err();
    assert!(error.to_string().contains("stored as version 0"), "{error}");
}

/// Generic in every way that a reducer allows.
#[derive(State, Default, Serialize, Deserialize)]
#[serde(bound = "T: Serialize + DeserializeOwned")]
struct Generic<T: Clone, const N: usize>
where
    T: Default,
{
    one: T,
    maybe: Option<T>,
    #[state(append)]
    many: Vec<T>,
    #[state(add)]
    sum: T,
    #[state(merge)]
    map: HashMap<String, T>,
    #[state(untracked)]
    #[serde(skip)]
    scratch: Vec<[T; N]>,
}

#[test]
fn a_generic_state_works_for_every_argument_that_its_reducers_allow() {
    let mut state = Generic::<u32, 2>::default();
    let update = Generic::<u32, 2>::update()
        .one(1u32)
        .maybe(2)
        .many([3, 4])
        .sum(5u32)
        .map([("다섯".to_owned(), 5)])
        .scratch([[6, 7]]);
    assert_eq!(claims::<Generic<u32, 2>>(&update), ["one", "maybe", "scratch"]);
    state.apply(update).unwrap();
    state.apply(through_json(&Generic::<u32, 2>::update().many([5]).sum(1u32))).unwrap();
    assert_eq!((state.one, state.maybe, state.sum), (1, Some(2), 6));
    assert_eq!((state.many, state.map.len(), state.scratch), (vec![3, 4, 5], 1, vec![[6, 7]]));
    let _input: Input<Generic<u32, 2>> = Generic::<u32, 2>::update().into();
}

#[derive(State, Default, Serialize, Deserialize)]
struct Empty {}

#[test]
fn a_state_without_fields_is_legal() {
    Empty::default().apply(through_json(&Empty::update())).unwrap();
    assert!(Empty::update().is_empty());
}

mod elsewhere {
    //! The update is as visible as its state.

    #[derive(agent_core::State, Default, serde::Serialize, serde::Deserialize)]
    pub(super) struct Inner {
        pub(super) open: String,
        closed: u8,
    }

    pub(super) fn closed(inner: &Inner) -> u8 {
        inner.closed
    }
}

#[test]
fn the_update_is_as_visible_as_its_state() {
    let mut inner = elsewhere::Inner::default();
    inner.apply(elsewhere::Inner::update().open("열림").closed(3)).unwrap();
    assert_eq!((inner.open.as_str(), elsewhere::closed(&inner)), ("열림", 3));
}

#[test]
fn faults_are_reported_on_the_attribute_that_is_wrong() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

prop_compose! {
    fn any_update()(
        brand in proptest::option::of(".*"),
        findings in proptest::option::of(proptest::collection::vec(".*", 0..4)),
        overwrite in any::<bool>(),
        summary in proptest::option::of(proptest::option::of(".*")),
        tokens in proptest::option::of(-1000i64..1000),
        best in proptest::option::of(proptest::num::f64::NORMAL),
        scores in proptest::option::of(proptest::collection::btree_map(".*", any::<u32>(), 0..4)),
        notes in proptest::option::of(proptest::collection::vec(("[a-c]", ".*"), 0..12)),
        seen in proptest::collection::btree_set(any::<u64>(), 0..4),
    ) -> ReportUpdate {
        let mut update = Report::update();
        if let Some(brand) = brand { update = update.brand(brand); }
        if let Some(findings) = findings {
            update = if overwrite { update.overwrite_findings(findings) } else { update.findings(findings) };
        }
        if let Some(summary) = summary { update = update.summary(summary); }
        if let Some(tokens) = tokens { update = update.tokens(tokens); }
        if let Some(best) = best { update = update.best(best); }
        if let Some(scores) = scores { update = update.scores(scores); }
        if let Some(notes) = notes { update = update.notes(notes.iter().map(|(id, text)| note(id, text))); }
        let seen: BTreeSet<u64> = seen;
        if !seen.is_empty() { update = update.seen(seen); }
        update
    }
}

proptest! {
    #[test]
    fn an_update_read_back_from_json_does_what_the_first_did(
        first in any_update(),
        second in any_update(),
    ) {
        let copies = [through_json(&first), through_json(&second)];
        prop_assert_eq!(claims::<Report>(&first), claims::<Report>(&copies[0]));
        let direct = applied([first, second]);
        prop_assert_eq!(&applied(copies), &direct);
        prop_assert_eq!(through_json(&direct), direct);
    }
}
