//! Subscribers that arrive in the middle of a message, or with a number of another journal, and what slow ones lose.

use std::sync::Arc;

use agent_core::{
    Answers, Context, END, Event, Graph, Runtime, START,
    event::{EventBody, Subscription, payload},
    ids::Seq,
    session::RuntimeBuilder,
};
use tests::{journal, on, soon};
use tokio::sync::Semaphore;

use super::graph::{Trail, step};

fn stores() -> [RuntimeBuilder; 2] {
    [Runtime::builder(), on(&journal())]
}

/// A node that says a piece for each permit: `said` counts those that were said.
#[derive(Debug)]
struct Speech {
    next: Semaphore,
    said: Semaphore,
}

impl Speech {
    fn new() -> Arc<Self> {
        Arc::new(Self { next: Semaphore::new(0), said: Semaphore::new(0) })
    }

    async fn say(&self, pieces: usize) {
        self.next.add_permits(pieces);
        soon(self.said.acquire_many(u32::try_from(pieces).unwrap())).await.unwrap().forget();
    }
}

/// Says `pieces` of each of two messages by turns, then ends.
fn speaking(pieces: &'static [(&'static str, &'static str)]) -> Graph<Trail> {
    Graph::<Trail>::builder("speaking")
        .node("speaks", async move |_: &Trail, cx: &Context| {
            let speech = cx.get::<Arc<Speech>>()?;
            for (message, piece) in pieces {
                soon(speech.next.acquire()).await.unwrap().forget();
                cx.token(*message, *piece);
                speech.said.add_permits(1);
            }
            soon(speech.next.acquire()).await.unwrap().forget();
            Ok(Trail::update().sum(1))
        })
        .node("end", step)
        .edge(START, "speaks")
        .edge("speaks", "end")
        .edge("end", END)
        .build()
        .unwrap()
}

const PIECES: &[(&str, &str)] = &[("a", "가"), ("b", "x"), ("a", "나"), ("b", "y"), ("a", "다")];

/// The texts of the messages up to the run's end, in pieces joined by `|`.
async fn texts(subscription: &mut Subscription) -> (String, String) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        let event = soon(subscription.next()).await.unwrap();
        match &event.body {
            EventBody::Token(token) if token.message == "a" => a.push(token.text.clone()),
            EventBody::Token(token) => b.push(token.text.clone()),
            body if body.ends_run() => return (a.concat(), b.concat()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_subscriber_in_the_middle_of_a_message_gets_what_was_said_so_far_once() {
    for watched in [false, true] {
        for (kind, builder) in stores().into_iter().enumerate() {
            let speech = Speech::new();
            let session = builder.provide(Arc::clone(&speech)).build().session("s").unwrap();
            let mut early = watched.then(|| session.subscribe(None));
            let run = session.run(&speaking(PIECES), Trail::update()).start().await.unwrap();
            speech.say(3).await;
            let (mut live, mut again) = (session.subscribe(None), session.subscribe(Some(Seq::ZERO)));
            let first = soon(live.next()).await.unwrap();
            assert!(matches!(first.body, EventBody::Token(_)), "store {kind}: {first:?}");
            speech.say(2).await;
            let mut late = session.subscribe(None);
            speech.next.add_permits(1);
            let whole = ("가나다".to_owned(), "xy".to_owned());
            let EventBody::Token(token) = &first.body else { panic!("{first:?}") };
            let (mut a, mut b) = texts(&mut live).await;
            let said = if token.message == "a" { &mut a } else { &mut b };
            said.insert_str(0, &token.text);
            assert_eq!((a, b), whole, "store {kind}: from now on");
            assert_eq!(texts(&mut again).await, whole, "store {kind}: from the journal's start");
            assert_eq!(texts(&mut late).await, whole, "store {kind}: at the message's end");
            if let Some(early) = &mut early {
                assert_eq!(texts(early).await, whole, "store {kind}: from before");
            }
            assert!(soon(run.outcome::<Trail>()).await.unwrap().is_completed());
            let mut after = session.subscribe(None);
            speech.next.add_permits(PIECES.len() + 1);
            soon(session.run(&speaking(PIECES), Trail::update())).await.unwrap();
            assert_eq!(texts(&mut after).await, whole, "store {kind}: nothing of the run before");
        }
    }
}

#[tokio::test]
async fn a_message_that_ended_is_not_told_again() {
    let asks = async |_: &Trail, cx: &Context| {
        cx.token("a", "said");
        let sum: i64 = cx.ask("n?").await?;
        Ok(Trail::update().sum(sum))
    };
    let waits = async |_: &Trail, cx: &Context| {
        let sum: i64 = cx.ask("more?").await?;
        Ok(Trail::update().sum(sum))
    };
    let graph = Graph::<Trail>::builder("asking")
        .node("asks", asks)
        .node("waits", waits)
        .edge(START, "asks")
        .edge("asks", "waits")
        .edge("waits", END)
        .build()
        .unwrap();
    for builder in stores() {
        let session = builder.build().session("s").unwrap();
        session.run(&graph, Trail::update()).await.unwrap();
        let mut here = session.subscribe(None);
        let event = soon(here.next()).await.unwrap();
        assert!(matches!(&event.body, EventBody::Token(token) if token.text == "said"), "{event:?}");
        drop(here);
        // The first node ended, and the second one asks.
        let mut run = session.answer(Answers::only(1)).await.unwrap();
        soon(run.wait()).await;
        let mut late = session.subscribe(None);
        session.answer(Answers::only(1)).await.unwrap();
        assert_eq!(texts(&mut late).await, (String::new(), String::new()));
    }
}

#[tokio::test]
async fn text_beyond_the_bound_is_a_gap_that_counts_its_pieces() {
    let speech = Speech::new();
    let graph = Graph::<Trail>::builder("long")
        .node("speaks", async |_: &Trail, cx: &Context| {
            let speech = cx.get::<Arc<Speech>>()?;
            for n in 0..1_024_u32 {
                cx.token("long", format!("{n:01024}"));
            }
            speech.said.add_permits(1);
            speech.next.acquire().await.unwrap().forget();
            Ok(())
        })
        .edge(START, "speaks")
        .edge("speaks", END)
        .build()
        .unwrap();
    let session = on(&journal()).provide(Arc::clone(&speech)).build().session("s").unwrap();
    session.run(&graph, Trail::update()).start().await.unwrap();
    soon(speech.said.acquire()).await.unwrap().forget();
    let mut late = session.subscribe(None);
    let gap = soon(late.next()).await.unwrap();
    let EventBody::Gap(payload::Gap { after, upto, unnumbered, .. }) = &gap.body else { panic!("{gap:?}") };
    assert_eq!(after, upto);
    let text = soon(late.next()).await.unwrap();
    let EventBody::Token(token) = &text.body else { panic!("{text:?}") };
    assert_eq!(unnumbered + token.text.len() as u64 / 1_024, 1_024);
    assert!(token.text.ends_with("1023") && token.text.len() <= 256 * 1024);
    speech.next.add_permits(1);
}

fn short() -> Graph<Trail> {
    Graph::<Trail>::builder("short").node("end", step).edge(START, "end").edge("end", END).build().unwrap()
}

/// What a gap says: its ends, the unnumbered events, the number that was ahead.
fn gap(event: &Event) -> (u64, u64, u64, Option<u64>) {
    let EventBody::Gap(gap) = &event.body else { panic!("{event:?}") };
    (gap.after.0, gap.upto.0, gap.unnumbered, gap.ahead.map(|seq| seq.0))
}

#[tokio::test]
async fn a_number_ahead_of_the_journal_is_named_and_what_happens_then_follows() {
    for (kind, builder) in stores().into_iter().enumerate() {
        let runtime = builder.provide(Speech::new()).build();
        for ahead in [7_000, u64::MAX] {
            let session = runtime.session(&format!("s{ahead}")).unwrap();
            // The session does not exist yet.
            let mut early = session.subscribe(Some(Seq(ahead)));
            let reported = Some(ahead.min(u64::MAX >> 1));
            assert_eq!(gap(&soon(early.next()).await.unwrap()), (0, 0, 0, reported), "store {kind}");
            session.run(&short(), Trail::update()).await.unwrap();
            assert_eq!(soon(early.next()).await.unwrap().seq, Some(Seq(1)));
            let last = session.status().await.unwrap().last.0;
            let mut late = session.subscribe(Some(Seq(ahead)));
            assert_eq!(gap(&soon(late.next()).await.unwrap()), (last, last, 0, reported), "store {kind}");
            session.run(&short(), Trail::update()).await.unwrap();
            assert_eq!(soon(late.next()).await.unwrap().seq, Some(Seq(last + 1)));
            // The last number is not ahead.
            let last = session.status().await.unwrap().last;
            let mut exact = session.subscribe(Some(last));
            session.run(&short(), Trail::update()).await.unwrap();
            assert_eq!(soon(exact.next()).await.unwrap().seq, Some(last.next()));
        }
    }
}

#[tokio::test]
async fn a_gap_counts_the_unnumbered_events_that_are_missing() {
    const EVENTS: u64 = 20_000;
    for (kind, builder) in stores().into_iter().enumerate() {
        let graph = Graph::<Trail>::builder("chatty")
            .node("talk", async |_: &Trail, cx: &Context| {
                for n in 0..EVENTS {
                    cx.progress(format!("p{n}"), n)?;
                }
                Ok(())
            })
            .edge(START, "talk")
            .edge("talk", END)
            .build()
            .unwrap();
        let session = builder.build().session("s").unwrap();
        let mut slow = session.subscribe(None);
        soon(session.run(&graph, Trail::update())).await.unwrap();
        let (mut seen, mut missing) = (0, 0);
        loop {
            let event = soon(slow.next()).await.unwrap();
            match &event.body {
                EventBody::Progress(_) | EventBody::NodeStarted(_) => seen += 1,
                EventBody::Gap(gap) => missing += gap.unnumbered,
                body if body.ends_run() => break,
                _ => {}
            }
        }
        assert!(missing > 0, "store {kind}");
        assert_eq!(seen + missing, EVENTS + 1, "store {kind}: every progress and the start of the node");
    }
}
