//! Search by meaning with pgvector, on a private server. Where its PostgreSQL has no pgvector, only the search without it is tested
//! here, and the tests print that. `.ci/pgvector` runs them with one that has it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use agent_core::{
    clock::Clock,
    memory::{Filter, InMemoryStore, MemoryStore, Namespace, Put, Search, SearchHit, Test, conformance},
    model::{EmbedError, Embedder},
    secret::Secret,
};
use agent_postgres::{Postgres, PostgresMemory, testing::Cluster};
use futures::future::{BoxFuture, ready};
use serde_json::json;

/// One server for all tests of this file. Ends with the process.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// Returns whether the server has pgvector, and prints it if not.
fn has_pgvector() -> bool {
    let sql = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'";
    let found = cluster().sql(sql) == "1";
    if !found {
        eprintln!("pgvector is not installed: the search with it is not tested (.ci/pgvector does)");
    }
    found
}

/// Vectors of a few values, so that many are equally near.
#[derive(Debug)]
struct Coarse(usize);

impl Embedder for Coarse {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        let vectors = texts.iter().map(|text| {
            let seed = text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let mut random = fastrand::Rng::with_seed(seed % 500);
            (0..self.0).map(|_| f32::from(random.i8(-3..=3))).collect()
        });
        Box::pin(ready(Ok(vectors.collect())))
    }

    fn dimensions(&self) -> usize {
        self.0
    }
}

async fn memory(address: &Secret) -> PostgresMemory {
    let store = Postgres::builder().max_connections(4).connect(address).await.unwrap();
    store.memory().with_embedder(Arc::new(Coarse(12)))
}

fn ns(segments: &[&str]) -> Namespace {
    Namespace::new(segments.iter().copied()).unwrap()
}

fn items(from: usize, count: usize) -> Vec<Put> {
    let users = ["mina", "joon", "sora"];
    let item = |number: usize| {
        let value = json!({"text": format!("note {number}"), "n": number % 10});
        Put::new(ns(&["users", users[number % 3]]), format!("note-{number:05}"), value)
    };
    (from..from + count).map(item).collect()
}

async fn fill(memory: &dyn MemoryStore, from: usize, count: usize) {
    memory.put_many(items(from, count)).await.unwrap();
}

fn searches() -> Vec<Search> {
    let near = |namespace: &[&str], text: &str| Search::new(ns(namespace)).near(text);
    let third = Filter::new("n", Test::Eq(json!(3)));
    let none = Filter::new("n", Test::Eq(json!("nothing")));
    let mut all = vec![
        near(&[], "tea").limit(1),
        near(&["users"], "coffee").limit(40).offset(25),
        near(&["users", "mina"], "tea").limit(1_000),
        near(&["users", "no such user"], "tea"),
        near(&["users"], "milk").filter(third.clone()).limit(30),
        near(&["users", "joon"], "milk").filter(third).offset(60).limit(50),
        near(&["users"], "milk").filter(none),
        near(&[], "tea").limit(0),
    ];
    all.extend((0..30).map(|number| near(&["users"], &format!("query {number}")).limit(7)));
    all
}

async fn results(memory: &dyn MemoryStore) -> Vec<Vec<(String, String, Option<f32>)>> {
    let flat = |hit: SearchHit| (hit.item.namespace.to_string(), hit.item.key, hit.score);
    let mut found = Vec::new();
    for search in searches() {
        found.push(memory.search(search).await.unwrap().into_iter().map(flat).collect());
    }
    found
}

async fn until(condition: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "the condition is never met");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_memory_with_pgvector_keeps_every_promise() {
    if !has_pgvector() {
        return;
    }
    let address = cluster().address(&cluster().database());
    conformance::all(async |clock: Arc<dyn Clock>, embedder| {
        let schema = format!("memory_{}", fastrand::u32(..));
        let builder = Postgres::builder().schema(schema).max_connections(2).clock(clock);
        let memory = builder.connect(&address).await.unwrap().memory();
        assert!(memory.searches_in_database());
        match embedder {
            Some(embedder) => Arc::new(memory.with_embedder(embedder)) as Arc<dyn MemoryStore>,
            None => Arc::new(memory),
        }
    })
    .await;
}

#[tokio::test]
async fn results_are_those_of_the_search_in_process() {
    let expected = InMemoryStore::new().with_embedder(Arc::new(Coarse(12)));
    let memory = memory(&cluster().address(&cluster().database())).await;
    assert_eq!(memory.searches_in_database(), has_pgvector());
    for part in 0..6 {
        fill(&expected, part * 500, 500).await;
        fill(&memory, part * 500, 500).await;
    }
    assert_eq!(results(&memory).await, results(&expected).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_that_is_removed_and_added_later_costs_no_item() {
    if !has_pgvector() {
        return;
    }
    let database = cluster().database();
    let address = cluster().address(&database);
    let expected = InMemoryStore::new().with_embedder(Arc::new(Coarse(12)));
    let older = memory(&address).await;
    for store in [&older as &dyn MemoryStore, &expected] {
        fill(store, 0, 700).await;
    }
    cluster().try_sql_in(&database, "DROP EXTENSION vector CASCADE").unwrap();
    assert_eq!(results(&older).await, results(&expected).await);
    assert!(!older.searches_in_database());
    for store in [&older as &dyn MemoryStore, &expected] {
        fill(store, 700, 500).await;
    }
    // The next process adds it again, while the first one writes without it.
    let newer = memory(&address).await;
    for store in [&older as &dyn MemoryStore, &expected] {
        fill(store, 1_200, 300).await;
        store.put(Put::new(ns(&["users", "mina"]), "note-00000", json!("another"))).await.unwrap();
        store.delete(&ns(&["users", "joon"]), "note-00001").await.unwrap();
    }
    until(|| newer.searches_in_database()).await;
    assert_eq!(results(&newer).await, results(&expected).await);
    assert_eq!(results(&older).await, results(&expected).await);
    // A third one finds it complete.
    assert!(memory(&address).await.searches_in_database());
}

#[tokio::test]
async fn a_user_without_the_right_to_add_it_searches_in_process() {
    let database = cluster().database();
    let first = memory(&cluster().address(&database)).await;
    fill(&first, 0, 200).await;
    cluster().try_sql_in(&database, "DROP EXTENSION IF EXISTS vector CASCADE").unwrap();
    let plain = format!("plain_{}", fastrand::u32(..));
    let grants = format!(
        "CREATE ROLE {plain} LOGIN; GRANT USAGE ON SCHEMA agent TO {plain};
         GRANT ALL ON ALL TABLES IN SCHEMA agent TO {plain}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA agent TO {plain}"
    );
    cluster().try_sql_in(&database, &grants).unwrap();
    let address = format!("postgres://{plain}@127.0.0.1:{}/{database}", cluster().port());
    let memory = memory(&Secret::new(address)).await;
    assert!(!memory.searches_in_database());
    fill(&memory, 200, 100).await;
    let expected = InMemoryStore::new().with_embedder(Arc::new(Coarse(12)));
    fill(&expected, 0, 300).await;
    assert_eq!(results(&memory).await, results(&expected).await);
}
