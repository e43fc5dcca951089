//! Prints what the stores cost. Nothing is asserted, so it runs only when asked for:
//! `cargo test --release -p agent-core --test store_speed -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{
    ids::{RunId, Seq, SessionId},
    journal::{Append, Epoch, InMemoryJournal, JournalStore, OwnerId, Record, Summary},
    sqlite::Sqlite,
    sqlite::Synchronous,
};
use tokio::task::JoinSet;

const BODY: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, asserts nothing"]
async fn what_an_append_costs() {
    let memory = one_at_a_time(&InMemoryJournal::new(), 300_000, 3).await;
    println!("in memory, 3 records:              {:>8.3} µs an append", micros(memory));
    for (name, synchronous) in [("FULL", Synchronous::Full), ("NORMAL", Synchronous::Normal)] {
        let folder = tempfile::tempdir_in(std::env::var("PEERS_WORK").unwrap_or("/var/tmp".into())).unwrap();
        // Alternately, so that a change of the disk's speed affects both.
        let (mut bare_time, mut ours_time) = (Vec::new(), Vec::new());
        let store = Sqlite::builder().synchronous(synchronous).open(folder.path().join("ours.db")).unwrap();
        let mut bare = Bare::open(&folder.path().join("bare.db"), name);
        for _ in 0..20 {
            bare_time.push(bare.commits(100));
            ours_time.push(one_at_a_time(&store, 100, 3).await);
        }
        let (bare_time, ours_time) = (median(bare_time), median(ours_time));
        println!("SQLite {name}, one at a time, bare:   {:>8.1} µs", micros(bare_time));
        let ratio = ours_time.as_secs_f64() / bare_time.as_secs_f64();
        println!("SQLite {name}, one at a time, ours:   {:>8.1} µs ({ratio:.2} ×)", micros(ours_time));
        for sessions in [1, 8, 64] {
            let rate = together(&store, sessions, 4000 / sessions).await;
            println!("SQLite {name}, {sessions:>2} sessions at once:    {rate:>8.0} appends/s");
        }
    }
}

async fn one_at_a_time(store: &dyn JournalStore, appends: u64, records: u64) -> Duration {
    let session = SessionId::random();
    let lease = store.acquire(&session, &OwnerId::random(), Duration::from_secs(600)).await.unwrap();
    let mut batches: Vec<Append> =
        (0..appends).map(|turn| batch(&session, lease.epoch, turn * records, records)).collect();
    batches.reverse();
    let start = Instant::now();
    while let Some(append) = batches.pop() {
        store.append(append).await.unwrap();
    }
    start.elapsed() / u32::try_from(appends).unwrap()
}

async fn together(store: &Sqlite, sessions: u64, appends: u64) -> f64 {
    let store = Arc::new(store.clone());
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for _ in 0..sessions {
        let store = Arc::clone(&store);
        writers.spawn(async move { one_at_a_time(&*store, appends, 3).await });
    }
    writers.join_all().await;
    (sessions * appends) as f64 / start.elapsed().as_secs_f64()
}

fn batch(session: &SessionId, epoch: Epoch, after: u64, count: u64) -> Append {
    let records = (1..=count).map(|n| Record::new(Seq(after + n), vec![b'x'; BODY])).collect();
    let summary = Summary::new("bench", "running", RunId(1), 1_800_000_000_000);
    Append::new(session.clone(), epoch, Seq(after), records).with_summary(Some(summary))
}

/// A hand-written equivalent with the same durability.
struct Bare {
    db: rusqlite::Connection,
    last: i64,
}

impl Bare {
    fn open(path: &Path, synchronous: &str) -> Self {
        let db = rusqlite::Connection::open(path).unwrap();
        db.execute_batch(&format!(
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
             CREATE TABLE session (id INTEGER PRIMARY KEY, last INTEGER, summary TEXT);
             CREATE TABLE entry (key INTEGER PRIMARY KEY, body BLOB); INSERT INTO session VALUES (1, 0, '');"
        ))
        .unwrap();
        Self { db, last: 0 }
    }

    fn commits(&mut self, count: u32) -> Duration {
        let (body, summary) = (vec![b'x'; BODY], "s".repeat(80));
        let start = Instant::now();
        for _ in 0..count {
            let transaction = self.db.transaction().unwrap();
            for _ in 0..3 {
                self.last += 1;
                let mut insert = transaction.prepare_cached("INSERT INTO entry VALUES (?1, ?2)").unwrap();
                insert.execute(rusqlite::params![self.last, body]).unwrap();
            }
            transaction
                .prepare_cached("UPDATE session SET last = ?1, summary = ?2 WHERE id = 1")
                .unwrap()
                .execute(rusqlite::params![self.last, summary])
                .unwrap();
            transaction.commit().unwrap();
        }
        start.elapsed() / count
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
