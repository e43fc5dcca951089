//! Events that subscribers receive: numbered events once and in order, merged text, reported gaps; the schema.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agent_core::{
    Answers, Context, END, Event, Graph, RunStatus, Runtime, START, State,
    event::{EventBody, EventFilter, EventKind, JournalNotice, Observer, Subscription, UpdateForm},
    ids::Seq,
};
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize, Serializer};
use tests::{journal, on, soon};

use super::graph::{Trail, step};

fn chatty(events: u64) -> Graph<Trail> {
    Graph::<Trail>::builder("chatty")
        .node("talk", async move |_: &Trail, cx: &Context| {
            for n in 0..events {
                cx.emit("n", n)?;
                cx.token("m", "가");
                cx.progress("p", n)?;
            }
            Ok(())
        })
        .node("end", step)
        .edge(START, "talk")
        .edge("talk", "end")
        .edge("end", END)
        .build()
        .unwrap()
}

/// The numbers up to the end of the run.
async fn numbers(subscription: &mut Subscription) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let event = soon(subscription.next()).await.unwrap();
        seen.extend(event.seq.map(|seq| seq.0));
        if event.body.ends_run() {
            return seen;
        }
    }
}

#[tokio::test]
async fn a_subscriber_from_before_during_or_after_sees_each_number_once_in_order() {
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    let (mut before, mut from_start) = (session.subscribe(None), session.subscribe(Some(Seq::ZERO)));
    session.run(&chatty(50), Trail::update()).await.unwrap();
    let last = session.status().await.unwrap().last.0;
    let all: Vec<u64> = (1..=last).collect();
    assert_eq!(numbers(&mut before).await, all);
    assert_eq!(numbers(&mut from_start).await, all);
    for after in [0, 7, last - 1] {
        let mut late = session.subscribe(Some(Seq(after)));
        assert_eq!(numbers(&mut late).await, all[after as usize..]);
    }
}

#[tokio::test]
async fn a_subscriber_misses_nothing_of_another_process_before_its_own_begins_to_write() {
    let store = journal();
    let (first, second) = (on(&store).build(), on(&store).build());
    let here = second.session("s").unwrap();
    let mut events = here.subscribe(Some(Seq::ZERO));
    assert!(events.next().now_or_never().is_none(), "the journal is read, and is empty");
    first.session("s").unwrap().run(&chatty(3), Trail::update()).await.unwrap();
    first.shutdown(std::time::Duration::from_secs(5)).await;
    let stored = here.head().await.unwrap().last.0;
    let mut live = here.subscribe(None);
    here.run(&chatty(3), Trail::update()).await.unwrap();
    let last = here.status().await.unwrap().last.0;
    assert_eq!(numbers(&mut events).await, (1..=stored).collect::<Vec<_>>());
    assert_eq!(numbers(&mut events).await, (stored + 1..=last).collect::<Vec<_>>());
    assert_eq!(numbers(&mut live).await, (stored + 1..=last).collect::<Vec<_>>(), "live events only");
}

#[tokio::test]
async fn a_slow_subscriber_loses_no_numbered_event_when_there_is_a_store() {
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    let mut slow = session.subscribe(None);
    session.run(&chatty(9_000), Trail::update()).await.unwrap();
    let last = session.status().await.unwrap().last.0;
    assert_eq!(numbers(&mut slow).await, (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_a_store_what_is_lost_is_told_as_a_gap() {
    let runtime = Runtime::builder().build();
    let session = runtime.session("s").unwrap();
    let mut slow = session.subscribe(None);
    session.run(&chatty(9_000), Trail::update()).await.unwrap();
    let first = soon(slow.next()).await.unwrap();
    let EventBody::Gap(gap) = &first.body else { panic!("{first:?}") };
    assert_eq!(gap.after, Seq::ZERO);
    let (numbers, upto) = (numbers(&mut slow).await, gap.upto.0);
    assert_eq!(numbers.first(), Some(&(upto + 1)));
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[tokio::test]
async fn text_that_waits_is_joined_and_progress_is_the_latest() {
    let graph = Graph::<Trail>::builder("text")
        .node("talk", async |_: &Trail, cx: &Context| {
            for piece in ["안", "녕", "하"] {
                cx.token("m", piece);
            }
            cx.token("other", "x");
            for n in 0..5 {
                cx.progress("p", n)?;
            }
            Ok(())
        })
        .edge(START, "talk")
        .edge("talk", END)
        .build()
        .unwrap();
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    let mut slow = session.subscribe(None);
    session.run(&graph, Trail::update()).await.unwrap();
    let (mut texts, mut progress) = (Vec::new(), Vec::new());
    loop {
        let event = soon(slow.next()).await.unwrap();
        match &event.body {
            EventBody::Token(token) => texts.push(token.text.clone()),
            EventBody::Progress(latest) => progress.push(latest.value.clone()),
            body if body.ends_run() => break,
            _ => {}
        }
    }
    assert_eq!((texts, progress), (vec!["안녕하".to_owned(), "x".to_owned()], vec![serde_json::json!(4)]));
}

#[tokio::test]
async fn events_of_a_subgraph_carry_their_path() {
    let inner = Graph::<Trail>::builder("inner")
        .node("안쪽", step)
        .edge(START, "안쪽")
        .edge("안쪽", END)
        .build()
        .unwrap();
    let graph = Graph::<Trail>::builder("outer")
        .node("sub", inner.as_node(|_: &Trail| Trail::default(), |t: Trail| Trail::update().steps(t.steps)))
        .edge(START, "sub")
        .edge("sub", END)
        .build()
        .unwrap();
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    session.run(&graph, Trail::update()).await.unwrap();
    let events = session.events(Seq::ZERO, 100).await.unwrap();
    assert!(
        events.iter().any(|event| event.task.as_ref().is_some_and(|task| task.to_string() == "sub#1/안쪽#1"))
    );
    for event in events {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "an event reads back as it was");
    }
}

#[test]
fn the_schema_of_events_is_the_one_in_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/event.schema.json");
    let schema = serde_json::to_string_pretty(&Event::schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    let stored = std::fs::read_to_string(path).expect("run once with UPDATE=1");
    assert!(stored == schema, "events changed; run with UPDATE=1 and look at the difference");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_upon_an_event_finds_the_session_no_earlier_than_it_told() {
    let graph = Graph::<Trail>::builder("asking")
        .node("ask", async |_: &Trail, cx: &Context| {
            let sum: i64 = cx.ask("n?").await?;
            Ok(Trail::update().sum(sum))
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap();
    let runtime = on(&journal()).build();
    // This is a race of two threads: among a few thousand attempts, some would see the status too early.
    for n in 0..5_000 {
        let session = runtime.session(&format!("s{n}")).unwrap();
        let mut events = session.subscribe(None);
        session.run(&graph, Trail::update()).start().await.unwrap();
        while !matches!(soon(events.next()).await.unwrap().body, EventBody::RunPaused(_)) {}
        let status = soon(session.status()).await.unwrap();
        assert_eq!(status.status, RunStatus::Paused);
        session.answer(Answers::to(status.questions[0].id.clone(), 1)).await.unwrap();
        while !soon(events.next()).await.unwrap().body.ends_run() {}
        assert_eq!(soon(session.status()).await.unwrap().status, RunStatus::Completed);
    }
}

#[tokio::test]
async fn a_filter_delivers_what_it_wants_live_and_from_the_journal() {
    for builder in [Runtime::builder(), on(&journal())] {
        let runtime = builder.build();
        let session = runtime.session("s").unwrap();
        let filter = EventFilter::none().with(EventKind::NodeFinished).with_ends();
        let mut live = session.subscribe_to(None, filter);
        let mut all = session.subscribe(None);
        session.run(&chatty(300), Trail::update()).await.unwrap();
        let mut wanted = Vec::new();
        loop {
            let event = soon(all.next()).await.unwrap();
            if filter.wants(event.body.kind()) {
                wanted.push(Event::clone(&event));
            }
            if event.body.ends_run() {
                break;
            }
        }
        let mut readers = vec![live];
        if runtime.has_journal() {
            readers.push(session.subscribe_to(Some(Seq::ZERO), filter));
        }
        for mut reader in readers {
            for event in &wanted {
                assert_eq!(*soon(reader.next()).await.unwrap(), *event);
            }
        }
        live = session.subscribe_to(None, EventFilter::none());
        session.run(&chatty(3), Trail::update()).await.unwrap();
        assert!(futures::poll!(Box::pin(live.next())).is_pending(), "nothing was wanted");
    }
}

static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Counts how often it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct Counted(u64);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WRITTEN.fetch_add(1, Ordering::SeqCst);
        self.0.serialize(serializer)
    }
}

#[derive(State, Debug, Default, Serialize, Deserialize)]
struct Counts {
    one: Counted,
}

#[tokio::test]
async fn an_update_is_written_only_for_subscribers_that_read_json() {
    let graph = Graph::<Counts>::builder("counts")
        .node("set", async |_: &Counts, _: &Context| Ok(Counts::update().one(Counted(7))))
        .edge(START, "set")
        .edge("set", END)
        .build()
        .unwrap();
    let runtime = Runtime::builder().build();
    let updates = EventFilter::none().with(EventKind::NodeFinished);
    // The state at the end of a run is written for the idle session in any case.
    runtime.session_of(agent_core::SessionId::random()).run(&graph, Counts::update()).await.unwrap();
    let unwatched = WRITTEN.load(Ordering::SeqCst);
    for (form, written) in [(UpdateForm::Omit, 0), (UpdateForm::Typed, 0), (UpdateForm::Json, 1)] {
        let session = runtime.session_of(agent_core::SessionId::random());
        let mut events = session.subscribe_to(None, updates.updates(form));
        let mut todos = session.subscribe_to(None, EventFilter::none().with(EventKind::TodoUpdated));
        WRITTEN.store(0, Ordering::SeqCst);
        session.run(&graph, Counts::update()).await.unwrap();
        let event = soon(events.next()).await.unwrap();
        let EventBody::NodeFinished(finished) = &event.body else { panic!("{event:?}") };
        let before = WRITTEN.load(Ordering::SeqCst);
        assert_eq!((before - unwatched).min(1), written, "{form:?}");
        match form {
            UpdateForm::Typed => {
                let update: &CountsUpdate = finished.update.downcast_ref().unwrap();
                assert_eq!(update.one, Some(Counted(7)));
                assert_eq!(finished.update["one"], 7, "written when it is read as JSON");
            }
            UpdateForm::Json => {
                assert_eq!(finished.update["one"], 7);
                assert_eq!(finished.update.text(), r#"{"one":7}"#);
                assert_eq!(WRITTEN.load(Ordering::SeqCst), before, "once for all readers");
            }
            _ => assert!(finished.update.is_null()),
        }
        assert!(futures::poll!(Box::pin(todos.next())).is_pending());
    }
}

#[tokio::test]
async fn the_events_of_a_run_are_a_stream() {
    let session = on(&journal()).build().session("s").unwrap();
    let stream = session.run(&chatty(3), Trail::update()).stream().await.unwrap();
    let kinds: Vec<EventKind> = stream.map(|event| event.unwrap().body.kind()).collect().await;
    assert_eq!(kinds.first(), Some(&EventKind::RunStarted));
    assert_eq!(kinds.last(), Some(&EventKind::RunCompleted));
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Observer for Counter {
    fn on_entry(&self, _: &JournalNotice<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn every_observer_is_notified() {
    let runtime = on(&journal()).build();
    let observers = [Arc::new(Counter::default()), Arc::new(Counter::default())];
    for observer in &observers {
        runtime.observe(Arc::clone(observer));
    }
    let session = runtime.session("s").unwrap();
    session.run(&chatty(1), Trail::update()).await.unwrap();
    let last = session.status().await.unwrap().last.0 as usize;
    assert_eq!(observers.map(|observer| observer.0.load(Ordering::SeqCst)), [last, last]);
}

#[tokio::test]
async fn a_custom_event_is_the_same_with_a_journal_and_without_one() {
    let graph = Graph::<Trail>::builder("emitting")
        .node("emit", async |_: &Trail, cx: &Context| cx.emit("found", serde_json::json!({"pages": [1, 2]})))
        .path([START, "emit", END])
        .build()
        .unwrap();
    for runtime in [Runtime::builder().build(), on(&journal()).build()] {
        let session = runtime.session("s").unwrap();
        let mut events = session.run(&graph, Trail::update()).stream().await.unwrap();
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            if let EventBody::Custom(custom) = &event.body {
                assert_eq!((event.run.0, event.task.as_ref().unwrap().node().as_ref()), (1, "emit"));
                assert!(event.seq.is_some() && event.at > 0 && event.session.as_str() == "s");
                seen.push((custom.name.clone(), custom.value.text().to_owned()));
            }
        }
        assert_eq!(seen, [("found".to_owned(), r#"{"pages":[1,2]}"#.to_owned())]);
    }
}
