//! Stored values can be read again: bounds at every input, old journals, and values that look like commands.

mod hostile;
mod old_journals;

use std::{collections::BTreeMap, sync::Arc};

use agent_core::{
    Answers, BusyPolicy, Code, Context, END, Graph, NodeError, Result, RunOptions, RunStatus, START,
    SessionError, State,
    event::EventBody,
    graph::Dispatch,
    ids::{RunId, Seq, SessionId},
    journal::{Append, Epoch, InMemoryJournal, JournalStore, Record, Summary},
    session::Session,
    state::ApplyError,
};
use futures::FutureExt;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::{journal, on};

use self::hostile::{any_key, any_nested, any_value, copied};

#[derive(State, Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Bag {
    #[state(merge)]
    map: BTreeMap<String, Value>,
    #[state(append)]
    list: Vec<Value>,
    nested: Option<Option<u32>>,
    deeper: Option<Option<Option<String>>>,
    any: Option<Value>,
    #[state(append)]
    options: Vec<Option<Option<u32>>>,
    number: Option<f64>,
    #[state(add)]
    sum: f64,
}

/// One node that returns an update.
fn bag(make: impl Fn() -> BagUpdate + Clone + Send + Sync + 'static) -> Graph<Bag> {
    Graph::<Bag>::builder("bag")
        .node("make", async move |_: &Bag, _: &Context| Result::Ok(make()))
        .edge(START, "make")
        .edge("make", END)
        .build()
        .unwrap()
}

fn nothing() -> Graph<Bag> {
    bag(Bag::update)
}

/// One node that runs `work` with its context and keeps what comes of it in `list`.
fn working<F>(work: F) -> Graph<Bag>
where
    F: Fn(&Context) -> futures::future::BoxFuture<'_, Result<Value>> + Clone + Send + Sync + 'static,
{
    Graph::<Bag>::builder("bag")
        .node("work", async move |_: &Bag, cx: &Context| {
            let value = work(cx).await?;
            Result::Ok(Bag::update().list([value]))
        })
        .edge(START, "work")
        .edge("work", END)
        .build()
        .unwrap()
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> BTreeMap<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A session on a new runtime, as after a restart.
fn session(journal: &Arc<InMemoryJournal>, graph: &Graph<Bag>) -> Session {
    on(journal).graph(graph).build().session("s").unwrap()
}

async fn last(journal: &Arc<InMemoryJournal>) -> Seq {
    let id: SessionId = "s".parse().unwrap();
    journal.head(&id).await.unwrap().map_or(Seq::ZERO, |head| head.last)
}

/// The state, the events and the JSON of a session can be read after a restart.
async fn readable(journal: &Arc<InMemoryJournal>, graph: &Graph<Bag>) -> Bag {
    let session = session(journal, graph);
    session.state_json().await.unwrap();
    session.events(Seq::ZERO, 1_000).await.unwrap();
    session.status().await.unwrap();
    session.state::<Bag>().await.unwrap()
}

fn code<T>(result: std::result::Result<T, SessionError>) -> Code {
    result.err().expect("it is refused").code()
}

#[tokio::test]
async fn an_input_nested_too_deep_is_refused_and_stores_nothing() {
    let (graph, journal) = (nothing(), journal());
    let state = Bag { list: vec![deep(96)], ..Bag::default() };
    let refused = session(&journal, &graph).run(&graph, state).await.unwrap_err();
    assert_eq!(refused.code(), Code::ValueTooDeep);
    assert!(refused.to_string().starts_with("`/list/0/0/0/"), "{refused}");
    let update = || Bag::update().list([deep(96)]);
    assert_eq!(code(session(&journal, &graph).run(&graph, update()).await), Code::ValueTooDeep);
    let options = RunOptions::default;
    let started = session(&journal, &graph).run(&graph, update()).options(options()).start().await;
    assert_eq!(code(started), Code::ValueTooDeep);
    let json = json!({"list": [deep(96)]});
    let started = session(&journal, &graph).run_json("bag", json).options(options()).start().await;
    assert_eq!(code(started), Code::ValueTooDeep);
    // Far deeper than a recursive check or drop can handle.
    let mut abyss = json!(1);
    for _ in 0..100_000 {
        abyss = Value::Array(vec![abyss]);
    }
    // Not by `json!`, which would serialise it.
    let input = Value::Object(serde_json::Map::from_iter([("list".to_owned(), abyss)]));
    let started = session(&journal, &graph).run_json("bag", input).options(options()).start().await;
    assert_eq!(code(started), Code::ValueTooDeep);
    assert_eq!(last(&journal).await, Seq::ZERO);

    let most = Bag { list: vec![deep(94)], ..Bag::default() };
    session(&journal, &graph).run(&graph, most.clone()).await.unwrap();
    assert_eq!(readable(&journal, &graph).await, most);
    let before = last(&journal).await;
    let edited = session(&journal, &graph).edit(&graph, "make", update()).await;
    assert_eq!(code(edited), Code::ValueTooDeep);
    assert_eq!(last(&journal).await, before);
}

#[tokio::test]
async fn an_answer_or_a_queued_input_nested_too_deep_is_refused_and_the_question_stays_open() {
    let graph = working(|cx| async move { cx.ask::<Value>("Which?").await }.boxed());
    let journal = journal();
    let live = session(&journal, &graph);
    live.run(&graph, Bag::update()).await.unwrap();
    let before = last(&journal).await;
    for session in [&live, &session(&journal, &graph)] {
        let refused = session.answer(Answers::only(deep(97))).await.unwrap_err();
        assert_eq!(refused.code(), Code::ValueTooDeep);
        let reserved = json!({"a": {"$serde_json::private::RawValue": "x"}});
        let refused = session.answer(Answers::only(reserved)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ValueReservedKey);
        assert!(refused.to_string().contains("`/a` of the answer"), "{refused}");
        let options = RunOptions::default().on_busy(BusyPolicy::Enqueue);
        let queued = session.run(&graph, Bag::update().list([deep(97)])).options(options).start().await;
        assert_eq!(code(queued), Code::ValueTooDeep);
        assert_eq!(last(&journal).await, before);
        assert_eq!(session.status().await.unwrap().questions.len(), 1);
    }
    // As deep as allowed where the state wraps it in `{"list": [..]}`.
    let run = live.answer(Answers::only(deep(94))).await.unwrap();
    assert_eq!(run.outcome::<Bag>().await.unwrap().status(), RunStatus::Completed);
    assert_eq!(readable(&journal, &graph).await.list, [deep(94)]);
}

/// Runs a graph that must fail with `wanted`, and shows that the session is readable after it.
async fn fails_with(graph: &Graph<Bag>, wanted: Code, place: &str) {
    let journal = journal();
    let error = session(&journal, graph).run(graph, Bag::update().list([json!(0)])).await.unwrap_err();
    assert_eq!(error.code(), wanted, "{error}");
    let SessionError::Run(error) = error else { panic!("the run fails: {error}") };
    assert!(error.report().contains(place), "{}", error.report());
    assert_eq!(readable(&journal, graph).await.list, [json!(0)]);
    // A resume finds the same as the first attempt.
    let resumed = session(&journal, graph).resume().await.unwrap().outcome::<Bag>().await.unwrap_err();
    assert_eq!(resumed.code(), wanted, "{resumed}");
    let SessionError::Run(again) = resumed else { panic!("the run fails: {resumed}") };
    assert!(again.report().contains(place), "{}", again.report());
}

#[tokio::test]
async fn what_a_node_makes_and_nobody_could_read_fails_it_with_the_place() {
    let deep_list = bag(|| Bag::update().list([deep(96)]));
    fails_with(&deep_list, Code::ValueTooDeep, "`/list/0/0/").await;
    fails_with(&bag(|| Bag::update().number(f64::NAN)), Code::ValueNotFinite, "`/number` of the update")
        .await;
    let huge = || Bag::update().list([json!("x".repeat(65 * 1024 * 1024))]);
    fails_with(&bag(huge), Code::ValueTooLarge, "of JSON").await;
    let reserved = || Bag::update().map(map([("a", json!({"$serde_json::private::Number": "1"}))]));
    fails_with(&bag(reserved), Code::ValueReservedKey, "`/map/a`").await;

    let step = working(|cx| {
        async move {
            let found = cx.step("divide", async { std::io::Result::Ok(vec![1.0, f64::INFINITY]) }).await?;
            Ok(json!(found.len()))
        }
        .boxed()
    });
    fails_with(&step, Code::ValueNotFinite, "`/1` of the result of step `divide`").await;
    let deep_step = working(|cx| cx.step("dig", async { std::io::Result::Ok(deep(97)) }).boxed());
    fails_with(&deep_step, Code::ValueTooDeep, "of the result of step `dig`").await;

    let event = working(|cx| async move { cx.emit("rate", f32::NAN).map(|()| json!(1)) }.boxed());
    fails_with(&event, Code::ValueNotFinite, "event `rate`").await;
    let deep_event = working(|cx| async move { cx.emit("tree", deep(97)).map(|()| json!(1)) }.boxed());
    fails_with(&deep_event, Code::ValueTooDeep, "event `tree`").await;
}

#[tokio::test]
async fn a_send_that_json_cannot_express_fails_its_node_and_does_not_arrive_as_null() {
    for (input, place) in [(vec![1.0, f64::NEG_INFINITY], "`/1`"), (vec![f64::NAN], "`/0`")] {
        let graph = Graph::<Bag>::builder("bag")
            .node("send", async |_: &Bag, _: &Context| Ok(()))
            .node("take", async |_: &Bag, input: Vec<Option<f64>>, _: &Context| {
                Result::Ok(Bag::update().list([json!(input)]))
            })
            .edge(START, "send")
            .branch("send", move |_: &Bag| Dispatch::new("take", &input), ["take"])
            .edge("take", END)
            .build()
            .unwrap();
        fails_with(&graph, Code::SendRefused, place).await;
    }
}

#[tokio::test]
async fn a_step_that_failed_for_its_value_fails_alike_in_the_replay() {
    let graph = working(|cx| {
        async move {
            let failed = cx.step("nan", async { std::io::Result::Ok(f64::NAN) }).await.unwrap_err();
            let _: bool = cx.ask("Go on?").await?;
            Ok(json!([failed.to_string(), failed.is_retryable()]))
        }
        .boxed()
    });
    let journal = journal();
    session(&journal, &graph).run(&graph, Bag::update()).await.unwrap();
    let run = session(&journal, &graph).answer(Answers::only(true)).await.unwrap();
    let list = run.outcome::<Bag>().await.unwrap().state().unwrap().list.clone();
    assert!(list[0][0].as_str().unwrap().starts_with("the result of step `nan` is NaN"), "{list:?}");
    assert_eq!(list[0][1], json!(false));
}

#[tokio::test]
async fn a_sum_that_is_not_finite_is_refused_and_named() {
    let journal = journal();
    let graph = bag(|| Bag::update().sum(f64::MAX));
    let input = Bag { sum: f64::MAX, ..Bag::default() };
    let error = session(&journal, &graph).run(&graph, input).await.unwrap_err();
    assert_eq!(error.code(), Code::UpdateRefused);
    let SessionError::Run(error) = error else { panic!("{error}") };
    assert!(error.report().contains("field `sum`"), "{}", error.report());
    assert_eq!(readable(&journal, &graph).await.sum, f64::MAX);
}

fn divide(held: &mut f64, by: f64) {
    *held /= by;
}

fn keep(held: &mut Option<f64>, more: Option<f64>) -> std::result::Result<(), ApplyError> {
    *held = more.map(|more| more / 0.0);
    Ok(())
}

#[derive(State, Debug, Default, Serialize, Deserialize)]
struct Ratio {
    #[state(reduce = divide)]
    ratio: f64,
    #[state(reduce = keep)]
    kept: Option<f64>,
}

#[tokio::test]
async fn a_reducer_that_makes_nan_leaves_a_session_that_can_be_read() {
    let graph = Graph::<Ratio>::builder("ratio")
        .node("zero", async |_: &Ratio, _: &Context| Result::Ok(Ratio::update().ratio(0.0).kept(0.0)))
        .edge(START, "zero")
        .edge("zero", END)
        .build()
        .unwrap();
    let journal = journal();
    let runtime = on(&journal).graph(&graph).build();
    let live = runtime.session("s").unwrap();
    live.run(&graph, Ratio::update()).await.unwrap();
    let after = on(&journal).graph(&graph).build().session("s").unwrap();
    for session in [live, after] {
        let state = session.state::<Ratio>().await.unwrap();
        assert!(state.ratio.is_nan() && state.kept.unwrap().is_nan());
        assert_eq!(session.state_json().await.unwrap(), json!({"ratio": null, "kept": null}));
    }
}

#[tokio::test]
async fn a_map_key_that_looks_like_an_overwrite_is_data_after_a_restart() {
    let word = || map([("$overwrite", json!({"b": 2}))]);
    let graph = bag(move || Bag::update().map(word()));
    let journal = journal();
    let session = session(&journal, &graph);
    let input = Bag { map: map([("kept", json!(1))]), ..Bag::default() };
    let outcome = session.run(&graph, input).await.unwrap();
    let wanted = map([("$overwrite", json!({"b": 2})), ("kept", json!(1))]);
    assert_eq!(outcome.state().unwrap().map, wanted);
    // The same from the journal alone: no snapshot covers the first superstep.
    for place in session.history(Seq::ZERO, 10).await.unwrap().iter().skip(1) {
        assert_eq!(session.state_at::<Bag>(place.seq).await.unwrap().map, wanted);
    }
    assert_eq!(readable(&journal, &graph).await.map, wanted);

    // From a caller's JSON as well.
    let input = json!({"map": {"$overwrite": {"c": 3}}});
    let run = session.run_json("bag", input).start().await.unwrap();
    assert_eq!(run.outcome::<Bag>().await.unwrap().state().unwrap().map["kept"], json!(1));
    assert_eq!(readable(&journal, &graph).await.map["kept"], json!(1));
}

#[tokio::test]
async fn an_overwrite_bypasses_the_reducer_after_a_restart_and_in_json() {
    let graph = bag(|| Bag::update().overwrite_map(map([("$overwrite", json!(1))])).list([json!(2)]));
    let journal = journal();
    let input = Bag { map: map([("lost", json!(1))]), list: vec![json!(1)], ..Bag::default() };
    let session = session(&journal, &graph);
    session.run(&graph, input).await.unwrap();
    let wanted = map([("$overwrite", json!(1))]);
    for place in session.history(Seq::ZERO, 10).await.unwrap().iter().skip(1) {
        let state = session.state_at::<Bag>(place.seq).await.unwrap();
        assert_eq!((&state.map, &state.list), (&wanted, &vec![json!(1), json!(2)]));
    }
    let events = session.events(Seq::ZERO, 100).await.unwrap();
    let update = events.iter().find_map(|event| match &event.body {
        EventBody::NodeFinished(finished) => Some(&*finished.update),
        _ => None,
    });
    assert_eq!(update, Some(&json!({"map": wanted, "list": [2], "$overwrite": ["map"]})));
}

#[tokio::test]
async fn nested_options_are_the_same_after_a_restart() {
    let make = || {
        Bag::update()
            .nested(Some(None::<u32>))
            .deeper(Some(Some(None::<String>)))
            .any(Some(Value::Null))
            .options([None, Some(None), Some(Some(1))])
    };
    let made = move || {
        let mut update = make();
        update.nested = Some(Some(None));
        update.deeper = Some(Some(Some(None)));
        update.any = Some(Some(Value::Null));
        update
    };
    let wanted = Bag {
        nested: Some(None),
        deeper: Some(Some(None)),
        any: Some(Value::Null),
        options: vec![None, Some(None), Some(Some(1))],
        ..Bag::default()
    };
    // In an update, in the input, and set to none.
    let (graph, journal_of_update) = (bag(made), journal());
    session(&journal_of_update, &graph).run(&graph, Bag::update()).await.unwrap();
    assert_eq!(readable(&journal_of_update, &graph).await, wanted);
    let (graph, journal_of_input) = (nothing(), journal());
    let session_of_input = session(&journal_of_input, &graph);
    session_of_input.run(&graph, wanted.clone()).await.unwrap();
    assert_eq!(session_of_input.state::<Bag>().await.unwrap(), wanted);
    for place in session_of_input.history(Seq::ZERO, 10).await.unwrap() {
        assert_eq!(session_of_input.state_at::<Bag>(place.seq).await.unwrap(), wanted);
    }
    assert_eq!(readable(&journal_of_input, &graph).await, wanted);
    let clear = bag(|| {
        let mut update = Bag::update();
        (update.nested, update.deeper, update.any) = (Some(None), Some(Some(None)), Some(None));
        update
    });
    session(&journal_of_input, &clear).run(&clear, Bag::update()).await.unwrap();
    let cleared = readable(&journal_of_input, &clear).await;
    assert_eq!((cleared.nested, cleared.deeper, cleared.any), (None, Some(None), None));
}

#[tokio::test]
async fn a_step_gives_the_same_nested_option_in_the_replay() {
    let graph = working(|cx| {
        async move {
            let found: Vec<Option<Option<u8>>> =
                cx.step("find", async { std::io::Result::Ok(vec![Some(None), None, Some(Some(1))]) }).await?;
            let whole: Option<Option<u8>> =
                cx.step("whole", async { std::io::Result::Ok(Some(None)) }).await?;
            let _: bool = cx.ask("Go on?").await?;
            Ok(json!(format!("{found:?} {whole:?}")))
        }
        .boxed()
    });
    let journal = journal();
    session(&journal, &graph).run(&graph, Bag::update()).await.unwrap();
    let run = session(&journal, &graph).answer(Answers::only(true)).await.unwrap();
    let outcome = run.outcome::<Bag>().await.unwrap();
    assert_eq!(outcome.state().unwrap().list, [json!("[Some(None), None, Some(Some(1))] Some(None)")]);
}

type Nested = (Option<Option<Option<u32>>>, Option<Option<Value>>, Vec<Option<Option<u32>>>);

prop_compose! {
    fn any_update()(
        entries in proptest::collection::btree_map(any_key(), any_value(), 0..3),
        overwrite in any::<bool>(),
        list in proptest::collection::vec(any_value(), 0..2),
        (nested, any, options) in any_nested(),
        number in proptest::option::of(proptest::option::of(proptest::num::f64::ANY)),
    ) -> BagUpdate {
        let mut update = Bag::update().list(list).options(options);
        update = if overwrite { update.overwrite_map(entries) } else { update.map(entries) };
        (update.nested, update.any, update.number) = (nested, any, number);
        update
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_reads_back_equal_after_a_restart_and_what_is_refused_changes_nothing(
        input in any_update(),
        update in any_update(),
        step in (any_value(), any_nested()),
        answer in any_value(),
    ) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let journal = journal();
            let made = Arc::new((update, step));
            let graph = {
                let made = Arc::clone(&made);
                Graph::<Bag>::builder("bag")
                    .node("make", async move |_: &Bag, cx: &Context| {
                        let made = Arc::clone(&made);
                        let result = made.1.clone();
                        let found = cx.step("find", async { std::io::Result::Ok(result) }).await?;
                        let word: Value = cx.ask("Which?").await?;
                        if found != made.1 {
                            return Err(NodeError::permanent("the replay gives another result"));
                        }
                        cx.emit("word", &word)?;
                        Ok(copied(&made.0))
                    })
                    .edge(START, "make")
                    .edge("make", END)
                    .build()
                    .unwrap()
            };
            let bound = |code| matches!(code, Code::ValueTooDeep | Code::ValueNotFinite | Code::ValueReservedKey);
            let live = session(&journal, &graph);
            let mut wanted = Bag::default();
            match live.run(&graph, copied(&input)).await {
                Err(SessionError::Value(_)) => {
                    assert_eq!(last(&journal).await, Seq::ZERO);
                    return;
                }
                Err(error) => {
                    assert!(bound(error.code()), "{error}");
                    wanted.apply(input).unwrap();
                    assert_eq!(readable(&journal, &graph).await, wanted);
                    return;
                }
                Ok(outcome) => assert_eq!(outcome.questions().len(), 1),
            }
            wanted.apply(input).unwrap();
            assert_eq!(readable(&journal, &graph).await, wanted);
            let before = last(&journal).await;
            let revived = session(&journal, &graph);
            match revived.answer(Answers::only(answer)).await {
                Err(error) => {
                    assert!(bound(error.code()), "{error}");
                    assert_eq!(last(&journal).await, before);
                }
                Ok(run) => match run.outcome::<Bag>().await {
                    Err(error) => assert!(bound(error.code()), "{error}"),
                    Ok(outcome) => {
                        wanted.apply(copied(&made.0)).unwrap();
                        assert_eq!(outcome.state().unwrap(), &wanted);
                    }
                },
            }
            assert_eq!(readable(&journal, &graph).await, wanted);
        });
    }
}
