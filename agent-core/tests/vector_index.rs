//! The index of the in-memory store finds what a comparison of all items finds, and never what was deleted.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use agent_core::{
    clock::ManualClock,
    memory::{Filter, InMemoryStore, MemoryStore, Namespace, Put, Search, Test},
    model::{EmbedError, Embedder},
};
use futures::future::BoxFuture;
use serde_json::json;
use tokio::task::JoinSet;

const DIMENSIONS: usize = 8;

/// Random vectors; the text is the seed.
#[derive(Debug)]
struct Points;

impl Embedder for Points {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        let vector = |text: &String| {
            let mut random = fastrand::Rng::with_seed(text.parse().unwrap());
            (0..DIMENSIONS).map(|_| random.f32() - 0.5).collect()
        };
        Box::pin(async move { Ok(texts.iter().map(vector).collect()) })
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }
}

fn notes(of: &str) -> Namespace {
    Namespace::new(["notes", of]).unwrap()
}

fn store() -> InMemoryStore {
    InMemoryStore::new().with_embedder(Arc::new(Points))
}

/// Puts items into the namespaces `even` and `odd`. Their keys and meanings are their numbers.
async fn fill(store: &InMemoryStore, numbers: Range<u64>) {
    let numbers: Vec<u64> = numbers.collect();
    for chunk in numbers.chunks(500) {
        let puts = chunk.iter().map(|n| {
            let place = if n % 2 == 0 { "even" } else { "odd" };
            Put::new(notes(place), n.to_string(), json!({ "n": n, "third": n % 3 })).text(n.to_string())
        });
        store.put_many(puts.collect()).await.unwrap();
    }
    store.wait_index().await;
}

async fn found(store: &InMemoryStore, search: Search) -> Vec<(String, Option<f32>)> {
    let hits = store.search(search).await.unwrap();
    hits.into_iter().map(|hit| (hit.item.key, hit.score)).collect()
}

fn near(seed: u64) -> Search {
    Search::new(Namespace::new(["notes"]).unwrap()).near(seed.to_string()).limit(10)
}

fn is_odd(hits: &[(String, Option<f32>)]) -> bool {
    hits.iter().all(|(key, _)| key.parse::<u64>().unwrap() % 2 == 1)
}

/// Searches of `numbers`, as both stores answer them. Returns the share of the nearest that the index finds.
async fn recall(exact: &InMemoryStore, indexed: &InMemoryStore, search: impl Fn(u64) -> Search) -> f64 {
    let (mut hits, mut all) = (0, 0);
    for seed in 1_000_000..1_000_020 {
        let wanted = found(exact, search(seed)).await;
        let given = found(indexed, search(seed)).await;
        assert_eq!(given.len(), wanted.len());
        assert!(given.windows(2).all(|pair| pair[0].1 >= pair[1].1), "the best first: {given:?}");
        let given: BTreeSet<_> = given.into_iter().map(|hit| hit.0).collect();
        all += wanted.len();
        hits += wanted.iter().filter(|(key, _)| given.contains(key)).count();
    }
    f64::from(u32::try_from(hits).unwrap()) / f64::from(u32::try_from(all).unwrap())
}

#[tokio::test]
async fn the_index_finds_what_a_comparison_of_all_items_finds() {
    let (exact, indexed) = (store().index_above(usize::MAX), store().index_above(500));
    for store in [&exact, &indexed] {
        fill(store, 0..800).await;
        // New since the build.
        fill(store, 800..900).await;
    }
    assert!(recall(&exact, &indexed, near).await >= 0.95);
    let third = |n: u64| near(n).filter(Filter::new("third", Test::Eq(json!(n % 3))));
    assert!(recall(&exact, &indexed, third).await >= 0.95);
    let odd = |n: u64| Search::new(notes("odd")).near(n.to_string()).limit(10).offset(3);
    assert!(recall(&exact, &indexed, odd).await >= 0.95);
    assert!(is_odd(&found(&indexed, odd(7)).await));
    // Items that are new since the build are found, and many results are exact.
    assert_eq!(found(&indexed, near(899)).await[0].0, "899");
    let many = |n: u64| near(n).limit(500);
    assert!((recall(&exact, &indexed, many).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn what_was_deleted_replaced_expired_or_does_not_match_is_never_found() {
    let clock = Arc::new(ManualClock::new(0));
    let store = store().with_clock(clock.clone()).index_above(400);
    fill(&store, 0..600).await;
    let best = async |seed| found(&store, near(seed)).await.remove(0).0;
    let has = async |seed, key: &str| found(&store, near(seed)).await.iter().any(|hit| hit.0 == key);
    assert_eq!(best(77).await, "77");
    assert!(store.delete(&notes("odd"), "77").await.unwrap());
    assert!(!has(77, "77").await);
    // Another meaning under the same name, without and with a later build.
    store.put(Put::new(notes("even"), "78", json!({})).text("9000")).await.unwrap();
    store
        .put(Put::new(notes("odd"), "79", json!({})).text("9001").ttl(Duration::from_secs(60)))
        .await
        .unwrap();
    for round in 0..2 {
        assert!(best(78).await != "78" && best(79).await != "79", "{round}");
        assert_eq!(best(9_000).await, "78", "{round}");
        assert_eq!(best(9_001).await, "79", "{round}");
        fill(&store, 10_000..10_400).await;
    }
    clock.advance(Duration::from_secs(61));
    assert!(!has(9_001, "79").await);
    let third = |n| near(n).filter(Filter::new("third", Test::Eq(json!(1))));
    let hits = found(&store, third(80)).await;
    assert!(hits.iter().all(|(key, _)| key.parse::<u64>().unwrap() % 3 == 1), "{hits:?}");
    // Few match: all items are compared.
    let one = near(80).filter(Filter::new("n", Test::Eq(json!(599))));
    assert_eq!(found(&store, one).await.len(), 1);
    // Most of it is deleted.
    for n in 0..600_u64 {
        let place = if n % 2 == 0 { "even" } else { "odd" };
        store.delete(&notes(place), &n.to_string()).await.unwrap();
    }
    store.wait_index().await;
    for seed in 0..20 {
        let hits = found(&store, near(seed)).await;
        assert_eq!(hits.len(), 10);
        assert!(hits.iter().all(|(key, _)| key.parse::<u64>().unwrap() >= 10_000), "{hits:?}");
    }
    assert_eq!(best(10_377).await, "10377");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_and_changes_during_a_build_are_right() {
    let store = Arc::new(store().index_above(500));
    let mut writer = JoinSet::new();
    writer.spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0..900_u64 {
                store
                    .put(Put::new(notes("odd"), n.to_string(), json!({})).text(n.to_string()))
                    .await
                    .unwrap();
                if n >= 100 {
                    store.delete(&notes("odd"), &(n - 100).to_string()).await.unwrap();
                }
                if n < 500 {
                    store
                        .put(Put::new(notes("even"), n.to_string(), json!({})).text(n.to_string()))
                        .await
                        .unwrap();
                }
            }
        }
    });
    let written = loop {
        if let Some(written) = writer.try_join_next() {
            break written;
        }
        for seed in 0..3 {
            let hits = found(&store, near(seed)).await;
            assert!(hits.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{hits:?}");
        }
        tokio::task::yield_now().await;
    };
    written.unwrap();
    store.wait_index().await;
    let odd = |n: u64| Search::new(notes("odd")).near(n.to_string()).limit(1);
    assert_ne!(found(&store, odd(5)).await[0].0, "5");
    assert_eq!(found(&store, odd(850)).await[0].0, "850");
    assert_eq!(found(&store, near(5)).await[0].0, "5");
}
