//! What every long-term store promises, one function a promise: run [`all`] on a new store and it is known.
//!
//! Each function asks the factory for fresh, empty stores with the clock and the embedder that it hands over.
//! A broken promise panics with its name.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::future::{self, BoxFuture};
use serde_json::{Value, json};

use super::{
    filter::{Filter, Test},
    store::{
        DEPTH, FILTERS, KEY_BYTES, LIMIT, MemoryError, MemoryStore, Namespace, OFFSET, Put, SEGMENT_BYTES,
        Search, SearchHit, VALUE_BYTES,
    },
};
use crate::{
    clock::{Clock, ManualClock},
    model::{EmbedError, Embedder},
};

const START: i64 = 1_800_000_000_000;

/// Checks every promise. The factory gets `None` when the store must have no embedder.
///
/// # Panics
///
/// With the name of the promise that is broken.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use agent_core::memory::{InMemoryStore, MemoryStore, conformance};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// conformance::all(async |clock, embedder| {
///     let store = InMemoryStore::new().with_clock(clock);
///     let store = match embedder {
///         Some(embedder) => store.with_embedder(embedder),
///         None => store,
///     };
///     Arc::new(store) as Arc<dyn MemoryStore>
/// })
/// .await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn all<F: Factory>(make: F) {
    an_item_comes_back_as_it_was(&make).await;
    putting_again_replaces(&make).await;
    items_put_together_are_put_in_their_order(&make).await;
    an_item_ends_with_its_time(&make).await;
    a_search_stays_below_its_namespace(&make).await;
    a_search_is_paged_in_the_order_of_names(&make).await;
    every_filter_means_what_it_says(&make).await;
    the_nearest_meaning_comes_first(&make).await;
    a_meaning_needs_an_embedder(&make).await;
    what_breaks_a_bound_is_refused(&make).await;
}

/// Makes a fresh, empty store. Every async closure with these arguments is one.
pub trait Factory: AsyncFn(Arc<dyn Clock>, Option<Arc<dyn Embedder>>) -> Arc<dyn MemoryStore> {}

impl<F: AsyncFn(Arc<dyn Clock>, Option<Arc<dyn Embedder>>) -> Arc<dyn MemoryStore>> Factory for F {}

/// Any JSON value comes back under its name and no other, with its times.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn an_item_comes_back_as_it_was(make: &impl Factory) {
    let bench = Bench::new("an item comes back as it was", make, false).await;
    let values = [
        json!({"선호": ["라네즈", "이니스프리"], "나이": 31, "깊이": {"a": [null, false, 0, "", 1.5, -7]}}),
        json!(null),
        json!(false),
        json!(0),
        json!(""),
        json!({}),
        json!([]),
        json!(u64::MAX),
        json!("한글과 \"따옴표\"와\n줄바꿈 🌸 \u{0}"),
    ];
    for (number, value) in values.iter().enumerate() {
        let key = format!("키 {number}");
        bench.put(Put::new(ns(&["users", "42"]), &key, value.clone())).await;
        let item = bench.get(&["users", "42"], &key).await;
        bench.same(&item.as_ref().map(|item| &item.value), &Some(value), "the value");
        let times = item.map(|item| (item.created_at, item.updated_at, item.expires_at));
        bench.same(&times, &Some((START, START, None)), "its times");
    }
    for (namespace, key) in [
        (&["users"][..], "키 0"),
        (&["users", "4"], "키 0"),
        (&["users", "42", "x"], "키 0"),
        (&["users", "42"], "키"),
    ] {
        bench.same(&bench.get(namespace, key).await, &None, "another name");
    }
}

/// Putting under a used name replaces value and end, keeps the time of making, and delete removes it once.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn putting_again_replaces(make: &impl Factory) {
    let bench = Bench::new("putting again replaces", make, false).await;
    bench.put(Put::new(ns(&["a"]), "k", json!(1)).ttl(Duration::from_secs(5))).await;
    bench.clock.advance(Duration::from_secs(2));
    bench.put(Put::new(ns(&["a"]), "k", json!(2))).await;
    bench.clock.advance(Duration::from_secs(60));
    let item = bench.get(&["a"], "k").await;
    let seen = item.map(|item| (item.value, item.created_at, item.updated_at, item.expires_at));
    bench.same(&seen, &Some((json!(2), START, START + 2000, None)), "the item");
    bench.same(&bench.found(&Search::new(ns(&["a"]))).await.len(), &1, "how many there are");
    bench.same(&bench.done(bench.store.delete(&ns(&["a"]), "k").await), &true, "the first delete");
    bench.same(&bench.done(bench.store.delete(&ns(&["a"]), "k").await), &false, "the second delete");
    bench.same(&bench.get(&["a"], "k").await, &None, "the item after it");
}

/// Items that are put together are all there, found by meaning, and the later of two with one name is kept; one that breaks
/// a bound keeps all of them out.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn items_put_together_are_put_in_their_order(make: &impl Factory) {
    let bench = Bench::new("items put together are put in their order", make, true).await;
    let put = |key: &str, text: &str| Put::new(ns(&["a"]), key, json!(text));
    let puts = vec![put("one", "aaaa"), put("two", "bbbb"), put("one", "aaab")];
    bench.done(bench.store.put_many(puts).await);
    let item = bench.get(&["a"], "one").await;
    bench.same(&item.map(|item| item.value), &Some(json!("aaab")), "the item put twice");
    let nearest = bench.found(&Search::new(ns(&["a"])).near("b").limit(1)).await;
    let keys: Vec<&str> = nearest.iter().map(|found| found.item.key.as_str()).collect();
    bench.same(&keys, &vec!["two"], "the nearest");
    let illegal = bench.store.put_many(vec![put("three", "x"), put("", "y")]).await;
    bench.same(&illegal.is_err(), &true, "an illegal name among them");
    bench.same(&bench.get(&["a"], "three").await, &None, "the one before it");
    bench.done(bench.store.put_many(Vec::new()).await);
}

/// An item is there until its time runs out, and then not for get, search or delete; its name is free again.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn an_item_ends_with_its_time(make: &impl Factory) {
    let bench = Bench::new("an item ends with its time", make, true).await;
    let put = |key: &str| Put::new(ns(&["a"]), key, json!("붉은 립스틱")).ttl(Duration::from_secs(10));
    for key in ["one", "three"] {
        bench.put(put(key)).await;
    }
    // More than a store may care to remove at once.
    for number in 0..150 {
        bench.put(put(&format!("many {number}")).ttl(Duration::from_secs(9))).await;
    }
    bench.put(put("two")).await;
    bench.clock.advance(Duration::from_millis(9_999));
    let item = bench.get(&["a"], "one").await;
    bench.same(&item.map(|item| item.expires_at), &Some(Some(START + 10_000)), "just before its end");
    bench.same(&bench.found(&Search::new(ns(&["a"]))).await.len(), &3, "a search just before its end");
    bench.clock.advance(Duration::from_millis(1));
    bench.same(&bench.get(&["a"], "one").await, &None, "get at its end");
    bench.same(&bench.found(&Search::new(ns(&["a"]))).await, &Vec::new(), "search at its end");
    bench.same(&bench.found(&Search::new(ns(&[])).near("립스틱")).await, &Vec::new(), "near at its end");
    bench.same(&bench.done(bench.store.delete(&ns(&["a"]), "one").await), &false, "delete at its end");
    bench.put(put("two")).await;
    let item = bench.get(&["a"], "two").await;
    bench.same(
        &item.map(|item| item.created_at),
        &Some(START + 10_000),
        "the time of making of a name used again",
    );
}

/// A search finds items of its namespace and those below, by whole segments; the empty one finds all.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_search_stays_below_its_namespace(make: &impl Factory) {
    let bench = Bench::new("a search stays below its namespace", make, false).await;
    for path in [&["a"][..], &["a", "b"], &["a", "b", "c"], &["ab"], &["a!"], &["가"], &["가", "b"], &["b"]]
    {
        bench.put(Put::new(ns(path), "k", json!(path.join("/")))).await;
    }
    for (path, expected) in [
        (&["a"][..], &["a", "a/b", "a/b/c"][..]),
        (&["a", "b"], &["a/b", "a/b/c"]),
        (&["가"], &["가", "가/b"]),
        (&["b"], &["b"]),
        (&["c"], &[]),
        (&[], &["a", "a/b", "a/b/c", "a!", "ab", "b", "가", "가/b"]),
    ] {
        let found = bench.values(&Search::new(ns(path))).await;
        bench.same(&found, &expected.iter().map(|text| json!(text)).collect(), &format!("below {path:?}"));
    }
}

/// Pages by offset and limit follow each other in the order of names, filtered or not.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_search_is_paged_in_the_order_of_names(make: &impl Factory) {
    let bench = Bench::new("a search is paged in the order of names", make, false).await;
    for number in 0..25 {
        let number = number * 7 % 25;
        bench
            .put(Put::new(ns(&["a"]), format!("{number:02}"), json!({"n": number, "even": number % 2 == 0})))
            .await;
    }
    let even = Filter::new("even", Test::Eq(json!(true)));
    for (filter, step) in [(None, 1), (Some(even), 2)] {
        let all: Vec<u64> = (0..25).step_by(step).collect();
        for limit in [1, 4, 25, LIMIT] {
            let mut seen = Vec::new();
            loop {
                let mut search = Search::new(ns(&[])).limit(limit).offset(seen.len());
                search.filters.extend(filter.clone());
                let page = bench.values(&search).await;
                if page.is_empty() {
                    break;
                }
                seen.extend(page.iter().filter_map(|value| value["n"].as_u64()));
            }
            bench.same(&seen, &all, &format!("pages of {limit}"));
        }
    }
    bench.same(&bench.found(&Search::new(ns(&["a"])).limit(0)).await, &Vec::new(), "a page of nothing");
}

/// Each test on a field, by name or JSON pointer; several filters must all hold.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn every_filter_means_what_it_says(make: &impl Factory) {
    let bench = Bench::new("every filter means what it says", make, false).await;
    let items = [
        ("1", json!({"brand": "라네즈", "stars": 5, "at": {"city": "서울"}, "tags": ["쿠션", "세럼"]})),
        ("2", json!({"brand": "코스알엑스", "stars": 3.5, "at": {"city": "부산"}, "note": null})),
        ("3", json!({"brand": "라네즈", "stars": "많음"})),
        ("4", json!({"stars": 9_007_199_254_740_993_u64, "a/b": true})),
        ("5", json!("그냥 글")),
    ];
    for (key, value) in items {
        bench.put(Put::new(ns(&["reviews"]), key, value)).await;
    }
    let one = |field: &str, test: Test| vec![Filter::new(field, test)];
    let cases = [
        (one("brand", Test::Eq(json!("라네즈"))), "13"),
        (one("brand", Test::Ne(json!("라네즈"))), "245"),
        (one("stars", Test::Eq(json!(5.0))), "1"),
        (one("stars", Test::Gt(json!(3.5))), "14"),
        (one("stars", Test::Lt(json!(5))), "2"),
        (one("stars", Test::Gt(json!(9_007_199_254_740_992_u64))), "4"),
        (one("stars", Test::Gt(json!("가"))), "3"),
        (one("stars", Test::Gt(json!(null))), ""),
        (one("brand", Test::In(vec![json!("코스알엑스"), json!("라네즈")])), "123"),
        (one("stars", Test::In(vec![])), ""),
        (one("note", Test::Exists(true)), "2"),
        (one("note", Test::Eq(json!(null))), "2"),
        (one("brand", Test::Exists(false)), "45"),
        (one("/at/city", Test::Eq(json!("서울"))), "1"),
        (one("/tags/1", Test::Eq(json!("세럼"))), "1"),
        (one("tags", Test::Eq(json!(["쿠션", "세럼"]))), "1"),
        (one("at", Test::Eq(json!({"city": "부산"}))), "2"),
        (one("a/b", Test::Eq(json!(true))), "4"),
        (one("/a~1b", Test::Eq(json!(true))), "4"),
        (one("' OR 1=1 --", Test::Exists(true)), ""),
        (
            vec![Filter::new("brand", Test::Eq(json!("라네즈"))), Filter::new("stars", Test::Lt(json!(10)))],
            "1",
        ),
        (vec![], "12345"),
    ];
    for (filters, expected) in cases {
        let mut search = Search::new(ns(&["reviews"]));
        search.filters.clone_from(&filters);
        let keys: String = bench.found(&search).await.into_iter().map(|found| found.item.key).collect();
        bench.same(&keys.as_str(), &expected, &format!("{filters:?}"));
    }
}

/// With an embedder, `near` orders by the cosine, obeys namespace, filters, offset and limit, and returns the score.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn the_nearest_meaning_comes_first(make: &impl Factory) {
    let bench = Bench::new("the nearest meaning comes first", make, true).await;
    let texts =
        [("lip", "aaaa"), ("cushion", "aaab"), ("serum", "aabb"), ("mask", "abbb"), ("cream", "bbbb")];
    for (key, text) in texts {
        bench.put(Put::new(ns(&["a"]), key, json!({"deep": [text], "n": text.len()}))).await;
    }
    bench.put(Put::new(ns(&["b"]), "other", json!("aaaa"))).await;
    bench.put(Put::new(ns(&["a"]), "named", json!({"said": "aaaa", "n": 0})).text("bbba")).await;
    let near = |text: &str| Search::new(ns(&["a"])).near(text);
    let keys = async |search: Search| {
        let found = bench.found(&search).await;
        found.into_iter().map(|found| found.item.key).collect::<Vec<_>>().join(" ")
    };
    bench.same(&keys(near("a")).await.as_str(), &"lip cushion serum mask named cream", "near a");
    bench.same(&keys(near("b")).await.as_str(), &"cream mask named serum cushion lip", "near b");
    bench.same(&keys(near("b").limit(2).offset(1)).await.as_str(), &"mask named", "the second page");
    bench.same(&keys(near("b").limit(1).offset(5)).await.as_str(), &"lip", "the last page");
    bench.same(&keys(near("b").offset(9)).await.as_str(), &"", "a page behind the end");
    bench.same(&keys(near("b").limit(0)).await.as_str(), &"", "a page of nothing");
    let four = Filter::new("n", Test::Gt(json!(0)));
    bench.same(&keys(near("b").filter(four).limit(3)).await.as_str(), &"cream mask serum", "filtered");
    let scores: Vec<f32> = bench.found(&near("a")).await.iter().filter_map(|found| found.score).collect();
    let cosines = [1.0, 3.0 / 10_f32.sqrt(), 0.5_f32.sqrt(), 1.0 / 10_f32.sqrt(), 1.0 / 10_f32.sqrt(), 0.0];
    let close =
        scores.len() == 6 && scores.iter().zip(cosines).all(|(score, cosine)| (score - cosine).abs() < 1e-5);
    bench.holds(close, &format!("scores: found {scores:?}, expected {cosines:?}"));
    bench.put(Put::new(ns(&["a"]), "lip", json!("bbbb"))).await;
    bench.same(&keys(near("a").limit(1)).await.as_str(), &"cushion", "near a when the nearest was replaced");
}

/// Without an embedder, a meaning is refused and everything else works.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_meaning_needs_an_embedder(make: &impl Factory) {
    let bench = Bench::new("a meaning needs an embedder", make, false).await;
    bench.put(Put::new(ns(&["a"]), "k", json!("aaaa"))).await;
    let answer = bench.store.search(Search::new(ns(&["a"])).near("a")).await;
    bench.holds(matches!(answer, Err(MemoryError::NoEmbedder)), "a search by meaning");
    bench.same(&bench.found(&Search::new(ns(&["a"]))).await.len(), &1, "a search by name");
}

/// Each bound is kept to the byte, and what is refused changes nothing.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn what_breaks_a_bound_is_refused(make: &impl Factory) {
    let bench = Bench::new("what breaks a bound is refused", make, false).await;
    let path = |depth: usize, segment: usize| Namespace::new((0..depth).map(|_| "n".repeat(segment)));
    let large = |size: usize| json!("x".repeat(size - 2));
    let widest = bench.done(path(DEPTH, SEGMENT_BYTES));
    bench.put(Put::new(widest.clone(), "k".repeat(KEY_BYTES), large(VALUE_BYTES))).await;
    let all = Search::new(ns(&[]));
    let before = bench.found(&all).await;
    bench.same(&before.len(), &1, "an item that fills every bound");
    bench.holds(
        path(DEPTH + 1, 1).is_err() && path(1, SEGMENT_BYTES + 1).is_err(),
        "a namespace that is too large",
    );
    for segment in ["", "a\u{0}b", "a\nb", "\u{7f}"] {
        bench.holds(Namespace::new([segment]).is_err(), &format!("the segment {segment:?}"));
    }
    let refused = [
        Put::new(widest.clone(), "k".repeat(KEY_BYTES + 1), json!(1)),
        Put::new(widest.clone(), "", json!(1)),
        Put::new(widest.clone(), "a\0b", json!(1)),
        Put::new(ns(&[]), "k", json!(1)),
        Put::new(widest.clone(), "k".repeat(KEY_BYTES), large(VALUE_BYTES + 1)),
    ];
    for (number, put) in refused.into_iter().enumerate() {
        let answer = bench.store.put(put).await;
        let reported = matches!(answer, Err(MemoryError::TooLarge { .. } | MemoryError::Illegal { .. }));
        bench.holds(reported, &format!("put number {number}"));
    }
    let mut filtered = all.clone();
    filtered.filters = vec![Filter::new("a", Test::Exists(true)); FILTERS + 1];
    for search in [all.clone().limit(LIMIT + 1), all.clone().offset(OFFSET + 1), filtered] {
        let answer = bench.store.search(search).await;
        bench.holds(matches!(answer, Err(MemoryError::TooLarge { .. })), "a search that is too large");
    }
    bench.holds(
        bench.store.get(&widest, &"k".repeat(KEY_BYTES + 1)).await.is_err(),
        "get with a key too long",
    );
    bench.holds(bench.store.delete(&ns(&[]), "k").await.is_err(), "delete without a namespace");
    bench.same(&bench.found(&all).await, &before, "what is there afterwards");
}

/// A fresh store, its clock, and the promise that is checked.
struct Bench {
    promise: &'static str,
    store: Arc<dyn MemoryStore>,
    clock: Arc<ManualClock>,
}

impl Bench {
    async fn new(promise: &'static str, make: &impl Factory, embedded: bool) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let embedder = embedded.then(|| Arc::new(Letters) as Arc<dyn Embedder>);
        let store = make(Arc::clone(&clock) as Arc<dyn Clock>, embedder).await;
        Self { promise, store, clock }
    }

    #[track_caller]
    fn broken(&self, what: &str) -> ! {
        panic!("promise broken: {}: {what}", self.promise)
    }

    #[track_caller]
    fn holds(&self, condition: bool, what: &str) {
        if !condition {
            self.broken(what);
        }
    }

    #[track_caller]
    fn same<T: PartialEq + Debug>(&self, found: &T, expected: &T, what: &str) {
        if found != expected {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            self.broken(&format!("{what}: found {found:.500}, expected {expected:.500}"));
        }
    }

    #[track_caller]
    fn done<T>(&self, answer: Result<T, MemoryError>) -> T {
        match answer {
            Ok(value) => value,
            Err(error) => self.broken(&format!("a call that must work failed: {error:?}")),
        }
    }

    async fn put(&self, put: Put) {
        self.done(self.store.put(put).await);
    }

    async fn get(&self, namespace: &[&str], key: &str) -> Option<super::store::Item> {
        self.done(self.store.get(&ns(namespace), key).await)
    }

    async fn found(&self, search: &Search) -> Vec<SearchHit> {
        self.done(self.store.search(search.clone()).await)
    }

    async fn values(&self, search: &Search) -> Vec<Value> {
        self.found(search).await.into_iter().map(|found| found.item.value).collect()
    }
}

/// Counts the letters `a` and `b`: near are texts with a like share of both.
#[derive(Debug)]
struct Letters;

impl Embedder for Letters {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        let count = |text: &String, letter| text.matches(letter).map(|_| 1.0).sum();
        let vectors = texts.iter().map(|text| vec![count(text, 'a'), count(text, 'b')]).collect();
        Box::pin(future::ready(Ok(vectors)))
    }

    fn dimensions(&self) -> usize {
        2
    }
}

fn ns(segments: &[&str]) -> Namespace {
    Namespace::new(segments.iter().copied()).expect("the suite's namespaces are legal")
}
