//! Sessions that are copied to another store read and continue as before; damaged copies are detected.

use std::{fs, path::Path, sync::Arc};

use agent_core::{
    clock::ManualClock,
    ids::{Seq, SessionId},
    journal::{
        Append, InMemoryJournal, JournalStore, OwnerId, StoreError, TransferError, TransferOutcome, transfer,
        verify,
    },
    model::testing::Scripted,
    sqlite::Sqlite,
};
use serde_json::Value;
use tests::golden::{Outside, SCENARIOS, WRITTEN_AT, reading, runtime};

const LEASE: std::time::Duration = std::time::Duration::from_secs(60);

/// A copy of a golden file.
fn golden(folder: &Path, name: &str) -> Sqlite {
    let path = folder.join(format!("{name}.db"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v2").join(format!("{name}.db"));
    fs::copy(source, &path).unwrap();
    Sqlite::open(path).unwrap()
}

async fn ids(store: &dyn JournalStore) -> Vec<SessionId> {
    store.list(None, &[], 1_000).await.unwrap().into_iter().map(|(id, _)| id).collect()
}

/// What a runtime on the store reads of all sessions.
async fn read(store: Arc<dyn JournalStore>) -> Value {
    let clock = Arc::new(ManualClock::new(WRITTEN_AT));
    let runtime = runtime(store, &Arc::<Outside>::default(), Scripted::new([])).clock(clock).build();
    reading(&runtime).await
}

#[tokio::test]
async fn a_copied_session_reads_as_the_original_does() {
    let folder = tempfile::tempdir().unwrap();
    for name in SCENARIOS {
        let from = golden(folder.path(), name);
        let expected =
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/v2/{name}.json"))).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let file = Sqlite::open(folder.path().join(format!("{name}-copy.db"))).unwrap();
        let targets: [Arc<dyn JournalStore>; 2] = [Arc::new(file), Arc::new(InMemoryJournal::new())];
        for to in targets {
            for id in ids(&from).await {
                let done = transfer(&from, &*to, &id).await.unwrap();
                assert!(matches!(done, TransferOutcome::Copied(_)), "{name}: {id}: {done:?}");
                assert_eq!(
                    transfer(&from, &*to, &id).await.unwrap(),
                    TransferOutcome::Unchanged,
                    "{name}: {id}"
                );
            }
            assert_eq!(read(to).await, expected, "{name}");
        }
        assert_eq!(read(Arc::new(from)).await, expected, "{name}: the original stays");
    }
}

#[tokio::test]
async fn an_incomplete_copy_is_invisible_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (golden(folder.path(), "snapshot"), InMemoryJournal::new());
    let id: SessionId = "s".parse().unwrap();
    // As a process leaves it that is killed while it copies.
    let lease = to.acquire(&id, &OwnerId::random(), LEASE).await.unwrap();
    let first = from.read(&id, Seq::ZERO, Seq(u64::MAX), 1).await.unwrap();
    let record = agent_core::journal::Record::new(Seq(1), first[0].body.clone());
    to.append(Append::new(id.clone(), lease.epoch, Seq::ZERO, vec![record])).await.unwrap();
    to.release(&id, &lease).await.unwrap();
    assert!(verify(&to, &id).await.is_err());
    assert!(matches!(transfer(&from, &to, &id).await.unwrap(), TransferOutcome::Copied(_)));
    assert_eq!(verify(&to, &id).await.unwrap(), verify(&from, &id).await.unwrap());
}

#[tokio::test]
async fn a_session_that_is_executed_or_differs_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (golden(folder.path(), "paused"), InMemoryJournal::new());
    let id: SessionId = "s".parse().unwrap();
    let lease = from.acquire(&id, &OwnerId::random(), LEASE).await.unwrap();
    let held = transfer(&from, &to, &id).await.unwrap_err();
    assert!(matches!(held, TransferError::Source(StoreError::Leased { .. })), "{held}");
    assert!(to.head(&id).await.unwrap().is_none());
    from.release(&id, &lease).await.unwrap();

    transfer(&golden(folder.path(), "idle"), &to, &id).await.unwrap();
    let before = to.head(&id).await.unwrap();
    let different = transfer(&from, &to, &id).await.unwrap_err();
    assert!(matches!(different, TransferError::Different { .. }), "{different}");
    assert_eq!(to.head(&id).await.unwrap(), before);
    let missing = transfer(&from, &to, &"nowhere".parse().unwrap()).await.unwrap_err();
    assert!(matches!(missing, TransferError::Source(StoreError::NotFound { .. })), "{missing}");
}

#[tokio::test]
async fn verify_names_the_session_and_the_entry_of_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let id: SessionId = "s".parse().unwrap();
    for name in SCENARIOS {
        let store = golden(folder.path(), name);
        for id in ids(&store).await {
            verify(&store, &id).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    let damage = |name: &str, sql: &str| {
        drop(golden(folder.path(), name));
        let path = folder.path().join(format!("{name}.db"));
        let db = rusqlite::Connection::open(&path).unwrap();
        assert!(db.execute(sql, []).unwrap() > 0, "{sql}");
        drop(db);
        Sqlite::open(path).unwrap()
    };
    for (name, sql, reason) in [
        (
            "idle",
            "DELETE FROM entry WHERE key = (SELECT key FROM entry ORDER BY key LIMIT 1 OFFSET 3)",
            "missing",
        ),
        (
            "idle",
            "UPDATE entry SET body = x'7B' WHERE key = (SELECT key FROM entry ORDER BY key LIMIT 1 OFFSET 3)",
            "EOF",
        ),
        ("snapshot", "DELETE FROM snapshot", "missing"),
        ("snapshot", "UPDATE snapshot SET body = x'5B5D'", "snapshot"),
        (
            "paused",
            "UPDATE session SET summary = json_set(summary, '$.status', 'completed')",
            "the summary says `completed`",
        ),
        ("idle", "UPDATE session SET journal_bytes = journal_bytes + 1", "bytes"),
    ] {
        let store = damage(name, sql);
        let error = verify(&store, &id).await.expect_err(sql);
        assert!(matches!(error, StoreError::Corrupt { .. }), "{sql}: {error}");
        assert!(error.to_string().contains(reason) && error.to_string().contains("`s`"), "{sql}: {error}");
    }
}
