//! Runs the conformance suites against every store.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{cell::Cell, path::Path, sync::Arc};

use agent_core::{
    clock::Clock,
    journal::{InMemoryJournal, JournalStore, conformance},
    memory::{self, MemoryStore},
    model::Embedder,
    sqlite::Sqlite,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn journals_in_memory_keep_every_promise() {
    conformance::all(async |clock| Arc::new(InMemoryJournal::with_clock(clock)) as Arc<dyn JournalStore>)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn journals_in_an_sqlite_file_keep_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u32| folder.path().join(format!("{number}.db"));
    let count = Cell::new(0);
    conformance::all(async |clock| {
        count.set(count.get() + 1);
        Arc::new(Sqlite::builder().clock(clock).open(path(count.get())).unwrap()) as Arc<dyn JournalStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn journals_in_an_sqlite_memory_keep_every_promise() {
    conformance::all(async |clock| {
        Arc::new(Sqlite::builder().clock(clock).open(":memory:").unwrap()) as Arc<dyn JournalStore>
    })
    .await;
}

#[tokio::test]
async fn a_memory_in_memory_keeps_every_promise() {
    memory::conformance::all(async |clock, embedder| {
        let store = memory::InMemoryStore::new().with_clock(clock);
        let store = match embedder {
            Some(embedder) => store.with_embedder(embedder),
            None => store,
        };
        Arc::new(store) as Arc<dyn MemoryStore>
    })
    .await;
}

#[tokio::test]
async fn a_memory_in_an_sqlite_file_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    memory::conformance::all(async |clock, embedder| {
        count.set(count.get() + 1);
        sqlite_memory(&folder.path().join(format!("{}.db", count.get())), clock, embedder)
    })
    .await;
}

#[tokio::test]
async fn a_memory_in_an_sqlite_memory_keeps_every_promise() {
    memory::conformance::all(async |clock, embedder| sqlite_memory(":memory:".as_ref(), clock, embedder))
        .await;
}

fn sqlite_memory(
    path: &Path,
    clock: Arc<dyn Clock>,
    embedder: Option<Arc<dyn Embedder>>,
) -> Arc<dyn MemoryStore> {
    let store = Sqlite::builder().clock(clock).open(path).unwrap().memory();
    match embedder {
        Some(embedder) => Arc::new(store.with_embedder(embedder)),
        None => Arc::new(store),
    }
}
