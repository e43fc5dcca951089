//! Journals of older versions keep their meaning.

use super::*;

/// The state of the journal in `fixtures/overwrite.jsonl`.
#[derive(State, Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Golden {
    #[state(merge)]
    pub(super) scores: BTreeMap<String, u32>,
    #[state(merge)]
    pub(super) facts: BTreeMap<String, Value>,
    #[state(append)]
    pub(super) log: Vec<String>,
    pub(super) note: Option<String>,
}

pub(super) fn golden() -> Graph<Golden> {
    Graph::<Golden>::builder("golden")
        .node("first", async |_: &Golden, _: &Context| {
            let facts = [("$overwrite".to_owned(), json!(1)), ("k".to_owned(), json!(2))];
            Result::Ok(Golden::update().scores([("x".to_owned(), 1)]).facts(facts).log(["first"]))
        })
        .node("second", async |_: &Golden, _: &Context| {
            let scores = BTreeMap::from([("y".to_owned(), 2)]);
            Result::Ok(
                Golden::update().overwrite_scores(scores).overwrite_log(["second".to_owned()]).note(None),
            )
        })
        .node("third", async |_: &Golden, cx: &Context| {
            let found: Option<u32> = cx.step("look", async { std::io::Result::Ok(Some(3)) }).await?;
            let word: String = cx.ask("Which word?").await?;
            let facts = [("$overwrite".to_owned(), json!(word))];
            Result::Ok(Golden::update().facts(facts).log([format!("third {found:?}")]))
        })
        .edge(START, "first")
        .edge("first", "second")
        .edge("second", "third")
        .edge("third", END)
        .build()
        .unwrap()
}

/// Puts a journal into a new store, a line an entry.
pub(super) async fn stored(id: &str, graph: &str, lines: &str) -> Arc<InMemoryJournal> {
    let journal = journal();
    let records = lines.lines().zip(1..);
    let records: Vec<Record> =
        records.map(|(line, seq)| Record::new(Seq(seq), line.as_bytes().to_vec())).collect();
    let summary = Summary::new(graph, "paused", RunId(1), 0).questions(1);
    let append = Append::new(id.parse().unwrap(), Epoch(0), Seq::ZERO, records).with_summary(Some(summary));
    journal.append(append).await.unwrap();
    journal
}

pub(super) async fn lines(journal: &Arc<InMemoryJournal>, id: &str) -> String {
    let records = journal.read(&id.parse().unwrap(), Seq::ZERO, Seq(1_000), 1_000).await.unwrap();
    records.iter().map(|record| String::from_utf8(record.body.to_vec()).unwrap() + "\n").collect()
}

/// The fixture was written by the version before overwrites had a separate field: a run that waits for an answer,
/// and one behind it that overwrites `scores`.
#[tokio::test]
pub(super) async fn a_journal_of_before_overwrites_had_a_place_of_their_own_keeps_its_meaning() {
    let fixture = include_str!("../../fixtures/overwrite.jsonl");
    assert!(fixture.contains(r#"{"$overwrite":{"y":2}}"#));
    let journal = stored("golden", "golden", fixture).await;
    let runtime = on(&journal).graph(&golden()).build();
    let session = runtime.session("golden").unwrap();
    let state = session.state::<Golden>().await.unwrap();
    let facts = map([("$overwrite", json!(1)), ("k", json!(2))]);
    assert_eq!((state.facts, state.log), (facts, vec!["second".to_owned()]));
    assert_eq!((state.scores, state.note), (BTreeMap::from([("y".to_owned(), 2)]), None));

    let before = session.status().await.unwrap().last;
    session.answer(Answers::only("word")).await.unwrap();
    // The run behind it begins with what it was queued with, and asks as well.
    let mut events = session.subscribe(Some(before));
    loop {
        let event = events.next().await.unwrap();
        if event.run == RunId(2) && matches!(event.body, EventBody::RunPaused(_)) {
            break;
        }
    }
    let places = session.history(Seq::ZERO, 100).await.unwrap();
    let begun = places.iter().find(|place| place.run == RunId(2)).unwrap();
    let state = session.state_at::<Golden>(begun.seq).await.unwrap();
    assert_eq!(state.scores, BTreeMap::from([("q".to_owned(), 7)]));
    assert_eq!(state.facts, map([("$overwrite", json!("word")), ("k", json!(2))]));
    assert_eq!(state.log, ["second", "third Some(3)"]);
}

#[tokio::test]
pub(super) async fn values_that_older_versions_stored_deeper_than_allowed_are_read() {
    let graph = working(|cx| {
        async move {
            cx.emit("tree", json!("DEEP-1"))?;
            let step: Value = cx.step("dig", async { std::io::Result::Ok(json!("DEEP-2")) }).await?;
            let first: Value = cx.ask("First?").await?;
            let _: Value = cx.ask("Second?").await?;
            Ok(json!([step, first]))
        }
        .boxed()
    });
    let young = journal();
    let input = Bag { list: vec![json!("DEEP-3")], ..Bag::default() };
    let session_of_young = session(&young, &graph);
    session_of_young.run(&graph, input).await.unwrap();
    let run = session_of_young.answer(Answers::only("DEEP-4")).await.unwrap();
    let mut run = run;
    while run.wait_status().await != RunStatus::Paused {}
    for levels in [120, 130, 500, 1_000] {
        let tree = deep(levels).to_string();
        let mut text = lines(&young, "s").await;
        for place in 1..=4 {
            let (there, with) = (format!("\"DEEP-{place}\""), &tree);
            assert!(text.contains(&there), "{there}");
            text = text.replace(&there, with);
        }
        let old = stored("s", "bag", &text).await;
        assert_eq!(readable(&old, &graph).await.list, [deep(levels)]);
        // What would be written again is refused by today's bound with a named error, and the session stays readable.
        let run = session(&old, &graph).answer(Answers::only(1)).await.unwrap();
        let failed = run.outcome::<Bag>().await.unwrap_err();
        assert_eq!(failed.code(), Code::ValueTooDeep);
        assert_eq!(readable(&old, &graph).await.list, [deep(levels)]);
    }
    let mut text = lines(&young, "s").await;
    text = text.replace("\"DEEP-3\"", &format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000)));
    let old = stored("s", "bag", &text).await;
    let error = session(&old, &graph).state::<Bag>().await.unwrap_err();
    assert_eq!(error.code(), Code::StoredState);
    assert!(error.to_string().contains("nested 5000"), "{error}");
}
