//! The stores keep what the contracts promise, each run through the conformance suites.

use std::sync::Arc;

use agent_core::journal::{InMemory, JournalStore, Sqlite, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn journals_in_memory_keep_every_promise() {
    conformance::all(async |clock| Arc::new(InMemory::with_clock(clock)) as Arc<dyn JournalStore>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn journals_in_an_sqlite_file_keep_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u32| folder.path().join(format!("{number}.db"));
    let count = std::cell::Cell::new(0);
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
