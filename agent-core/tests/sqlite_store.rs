//! The SQLite store among processes, kills and damage.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stdout, reason = "a child tells its parent what was acknowledged")]

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use agent_core::{
    ids::{RunId, Seq, SessionId},
    journal::{Append, Epoch, JournalStore, Lease, OwnerId, Record, StoreError, StoredSnapshot, Summary},
    memory::{MemoryStore, Namespace, Put},
    sqlite::Sqlite,
};

const HOUR: Duration = Duration::from_secs(3600);
const END: Seq = Seq(u64::MAX);

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged_and_its_lease_is_free_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let (mut child, mut lines) = spawn_child(&path, u64::MAX);
    let mut acknowledged = reported(&mut lines);
    while acknowledged < 200 {
        acknowledged = reported(&mut lines);
    }
    let store = Sqlite::open(&path).unwrap();
    let me = OwnerId::random();
    let held = store.acquire(&id("child"), &me, HOUR).await;
    assert!(matches!(held, Err(StoreError::Leased { .. })), "while it lives: {held:?}");

    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts too.
    while let Some(Ok(line)) = lines.next() {
        acknowledged =
            line.strip_prefix("acknowledged ").map_or(acknowledged, |number| number.parse().unwrap());
    }

    let lease =
        store.acquire(&id("child"), &me, HOUR).await.expect("an hour was left, but its holder is dead");
    let head = store.head(&id("child")).await.unwrap().unwrap();
    assert!(head.last >= Seq(acknowledged), "{} of {acknowledged} acknowledged", head.last);
    let records = store.read(&id("child"), Seq(0), END, usize::MAX).await.unwrap();
    let expected: Vec<Record> = (1..=head.last.0).map(record).collect();
    assert_eq!(records, expected);
    append(&store, &id("child"), &lease, head.last.0, 1).await;
}

#[tokio::test]
async fn two_processes_share_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let store = Sqlite::open(&path).unwrap();
    let (mut child, mut lines) = spawn_child(&path, 300);
    reported(&mut lines);
    let lease = store.acquire(&id("parent"), &OwnerId::random(), HOUR).await.unwrap();
    for turn in 0..300 {
        append(&store, &id("parent"), &lease, turn, 1).await;
    }
    while told_more(&mut lines).is_some() {}
    assert!(child.wait().unwrap().success());
    for session in ["child", "parent"] {
        let records = store.read(&id(session), Seq(0), END, 1000).await.unwrap();
        assert_eq!(records, (1..=300).map(record).collect::<Vec<_>>(), "{session}");
    }
    // The child ended in order: nothing of it is left to wait for.
    store.acquire(&id("child"), &OwnerId::random(), HOUR).await.unwrap();
}

/// The child: appends to its session until it has `AGENT_CHILD_COUNT` entries, and says what was acknowledged.
#[tokio::test]
#[ignore = "runs as the child of other tests"]
async fn child_appends() {
    let path = std::env::var("AGENT_CHILD_DB").expect("its parent names the database");
    let count: u64 = std::env::var("AGENT_CHILD_COUNT").unwrap().parse().unwrap();
    let store = Sqlite::open(path).unwrap();
    let lease = store.acquire(&id("child"), &OwnerId::random(), HOUR).await.unwrap();
    for turn in 0..count {
        append(&store, &id("child"), &lease, turn, 1).await;
        println!("acknowledged {}", turn + 1);
    }
}

#[tokio::test]
async fn a_closed_store_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let store = Sqlite::open(&path).unwrap();
    let lease = store.acquire(&id("a"), &OwnerId::random(), HOUR).await.unwrap();
    append(&store, &id("a"), &lease, 0, 3).await;
    drop(store.clone());
    append(&store, &id("a"), &lease, 3, 1).await;
    drop(store);
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["agent.db"]);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.head(&id("a")).await.unwrap().unwrap().last, Seq(4));
    // Its holder's store was closed, in this very process.
    store.acquire(&id("a"), &OwnerId::random(), HOUR).await.unwrap();
}

#[tokio::test]
async fn two_stores_of_one_process_see_each_others_owners() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let (one, two) = (Sqlite::open(&path).unwrap(), Sqlite::open(&path).unwrap());
    let shared = OwnerId("worker 1/가".to_owned());
    let lease = one.acquire(&id("a"), &shared, HOUR).await.unwrap();
    let other = two.acquire(&id("a"), &OwnerId::random(), HOUR).await;
    assert!(matches!(other, Err(StoreError::Leased { .. })), "{other:?}");
    let again = two.acquire(&id("a"), &shared, HOUR).await.unwrap();
    assert!(again.epoch > lease.epoch);
    drop(one);
    let other = two.acquire(&id("b"), &OwnerId::random(), HOUR).await;
    assert!(other.is_ok(), "{other:?}");
    let other = two.acquire(&id("a"), &OwnerId::random(), HOUR).await;
    assert!(matches!(other, Err(StoreError::Leased { .. })), "its second store still holds it: {other:?}");
}

#[tokio::test]
async fn a_session_that_one_store_holds_is_not_deleted_through_another_on_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let (one, two) = (Sqlite::open(&path).unwrap(), Sqlite::open(&path).unwrap());
    let old = two.acquire(&id("a"), &OwnerId::random(), HOUR).await.unwrap();
    two.release(&id("a"), &old).await.unwrap();
    let held = one.acquire(&id("a"), &OwnerId::random(), HOUR).await.unwrap();
    append(&one, &id("a"), &held, 0, 3).await;
    let leased = two.acquire(&id("a"), &OwnerId::random(), HOUR).await;
    assert!(matches!(leased, Err(StoreError::Leased { .. })), "{leased:?}");
    let refused = two.delete_held(&id("a"), &old).await;
    assert!(matches!(refused, Err(StoreError::StaleWriter { .. })), "{refused:?}");
    append(&one, &id("a"), &held, 3, 1).await;
    assert!(one.delete_held(&id("a"), &held).await.unwrap());
    assert_eq!(two.head(&id("a")).await.unwrap(), None);
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_of_a_new_store_are_readable_by_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = Sqlite::open(&path).unwrap();
    store.acquire(&id("a"), &OwnerId::random(), HOUR).await.unwrap();
    let mut files = 0;
    for entry in fs::read_dir(folder.path()).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            assert_eq!(mode(&entry.path()), 0o700, "{:?}", entry.path());
            for lock in fs::read_dir(entry.path()).unwrap().flatten() {
                assert_eq!(mode(&lock.path()), 0o600, "{:?}", lock.path());
                files += 1;
            }
        } else {
            assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
            files += 1;
        }
    }
    assert_eq!(files, 4, "the database, its log, the log's index, one lock");
    drop(store);
    // A file that is there keeps the mode that somebody chose for it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    drop(Sqlite::open(&path).unwrap());
    assert_eq!(mode(&path), 0o640);
}

#[tokio::test]
async fn a_file_of_an_earlier_program_gets_the_index_of_deadlines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let store = Sqlite::open(&path).unwrap();
    let summary = || Summary::new("g", "paused", RunId(1), 1);
    let paused = |name: &str| Append::new(id(name), Epoch(0), Seq(0), Vec::new());
    store.append(paused("old").with_summary(Some(summary()))).await.unwrap();
    drop(store);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("DROP INDEX session_due; ALTER TABLE session DROP COLUMN due").unwrap();
    drop(db);

    let store = Sqlite::open(&path).unwrap();
    let mut due = summary();
    due.due = Some(7);
    store.append(paused("new").with_summary(Some(due))).await.unwrap();
    let found = store.due(None, 7, 10).await.unwrap();
    assert_eq!(found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(store.head(&id("old")).await.unwrap().unwrap().summary.due, None);
    // An earlier program changes the summary and not the index.
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE session SET summary = (SELECT summary FROM session WHERE name = 'old')", []).unwrap();
    let found = store.due(None, 7, 10).await.unwrap();
    assert_eq!(found.iter().map(|(_, head)| head.summary.due).collect::<Vec<_>>(), [Some(7)]);
}

#[tokio::test]
async fn journal_and_memory_share_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let store = Sqlite::open(&path).unwrap();
    let memory = store.memory();
    let users = Namespace::new(["users"]).unwrap();
    memory.put(Put::new(users.clone(), "1", "촉촉한 쿠션".into())).await.unwrap();
    drop(store);
    memory.put(Put::new(users.clone(), "2", 2.into())).await.unwrap();
    drop(memory);
    let memory = Sqlite::open(&path).unwrap().memory();
    assert_eq!(memory.get(&users, "1").await.unwrap().unwrap().value, "촉촉한 쿠션");
    assert_eq!(memory.get(&users, "2").await.unwrap().unwrap().value, 2);
}

#[test]
fn what_is_no_journal_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let garbage = "이것은 데이터베이스가 아니다 ".repeat(1000);
    fs::write(&path, &garbage).unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), garbage);

    let foreign = folder.path().join("foreign.db");
    let db = rusqlite::Connection::open(&foreign).unwrap();
    db.execute_batch("CREATE TABLE customer (id INTEGER); PRAGMA user_version = 1").unwrap();
    drop(db);
    let before = fs::read(&foreign).unwrap();
    let error = Sqlite::open(&foreign).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(fs::read(&foreign).unwrap(), before);
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    drop(Sqlite::open(&path).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::FormatTooNew { found: 9, known: 1 }), "{error:?}");
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_not_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let store = Sqlite::open(&path).unwrap();
    append_large(&store, "a", 100).await;
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    // All but the schema and the first table.
    let start = bytes.len() / 2;
    bytes[start..].fill(0xaa);
    fs::write(&path, bytes).unwrap();
    let store = Sqlite::open(&path).unwrap();
    let error = store.read(&id("a"), Seq(0), END, 1000).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_place_that_cannot_be_written_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    // `/proc` is read-only for everyone, also for root, whom modes do not stop.
    for path in [Path::new("/proc/agent.db"), &file.join("agent.db"), &folder.path().join("none/agent.db")] {
        let error = Sqlite::open(path).unwrap_err();
        assert!(error.to_string().contains("cannot be opened"), "{}: {error}", path.display());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_read_only_folder_is_named_as_such() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    drop(Sqlite::open(&path).unwrap());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        // Root writes everywhere; the test above covers it.
        return;
    }
    let error = Sqlite::open(&path).unwrap_err();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_locked_file_is_an_error_that_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let store = Sqlite::builder().busy_timeout(Duration::from_millis(20)).open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let append = || {
        let append = Append::new(id("a"), Epoch(0), Seq(0), vec![record(1)]);
        store.append(append)
    };
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = append().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unavailable { .. }) && error.to_string().contains("locked"),
        "{error}"
    );
    assert_eq!(store.head(&id("a")).await.unwrap(), None, "readers are not in the way of writers");
    other.execute_batch("ROLLBACK").unwrap();
    append().await.unwrap();
}

/// What an engine writes for a turn: the input, a node's update, the commit, the end of the run.
#[tokio::test]
async fn two_hundred_turns_fit_in_half_a_mebibyte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let store = Sqlite::open(&path).unwrap();
    let lease = store.acquire(&id("chat"), &OwnerId::random(), HOUR).await.unwrap();
    let message = "made-up words ".repeat(29)[..400].to_owned();
    let mut last = 0;
    for turn in 1..=200 {
        let accepted = vec![format!(
            r#"{{"at":1800000000000,"accepted":{{"run":{turn},"graph":"chat","input":{{"messages":[{{"id":"m-{turn}","role":"user","content":"{message}"}}]}}}}}}"#
        )];
        let done = vec![
            format!(
                r#"{{"at":1800000000000,"update":{{"task":"reply#{turn}","superstep":{turn},"update":{{"messages":[{{"id":"r-{turn}","role":"assistant","content":"{message}"}}]}}}}}}"#
            ),
            format!(r#"{{"at":1800000000000,"committed":{{"superstep":{turn},"due":[],"joins":[]}}}}"#),
            format!(r#"{{"at":1800000000000,"ended":{{"run":{turn},"outcome":"completed"}}}}"#),
        ];
        for (bodies, status) in [(accepted, "running"), (done, "completed")] {
            let records: Vec<Record> =
                (last + 1..).zip(bodies).map(|(seq, body)| Record::new(Seq(seq), body.into())).collect();
            let count = records.len() as u64;
            let append = Append::new(id("chat"), lease.epoch, Seq(last), records);
            let summary = Summary::new("chat", status, RunId(turn), 1_800_000_000_000);
            store.append(append.with_summary(Some(summary))).await.unwrap();
            last += count;
        }
    }
    drop(store);
    let size = fs::metadata(&path).unwrap().len();
    assert!(size <= 512 * 1024, "{size} bytes");
}

#[tokio::test]
async fn trimming_and_deleting_give_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.db");
    let size = || fs::metadata(&path).unwrap().len();
    let store = Sqlite::open(&path).unwrap();
    append_large(&store, "trimmed", 1000).await;
    append_large(&store, "deleted", 1000).await;
    append_large(&store, "kept", 100).await;
    drop(store);
    let full = size();
    assert!(full > 8_000_000, "{full} bytes");

    let store = Sqlite::open(&path).unwrap();
    store.put_snapshot(&id("trimmed"), StoredSnapshot::new(Seq(990), b"{}".to_vec())).await.unwrap();
    store.trim(&id("trimmed"), Seq(1000)).await.unwrap();
    assert!(store.delete(&id("deleted")).await.unwrap());
    drop(store);
    let left = size();
    assert!(left < 700_000, "{left} bytes of {full} are left");
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.read(&id("trimmed"), Seq(0), END, 1000).await.unwrap().len(), 10);
    assert_eq!(store.read(&id("kept"), Seq(0), END, 1000).await.unwrap().len(), 100);
}

async fn append_large(store: &Sqlite, session: &str, count: u64) {
    let records = (1..=count).map(|seq| Record::new(Seq(seq), vec![b'x'; 4000])).collect();
    store.append(Append::new(id(session), Epoch(0), Seq(0), records)).await.unwrap();
}

async fn append(store: &Sqlite, session: &SessionId, lease: &Lease, expected: u64, count: u64) {
    let records = (expected + 1..=expected + count).map(record).collect();
    store.append(Append::new(session.clone(), lease.epoch, Seq(expected), records)).await.unwrap();
}

fn record(seq: u64) -> Record {
    Record::new(Seq(seq), format!(r#"{{"항목":{seq}}}"#).into_bytes())
}

fn id(text: &str) -> SessionId {
    text.parse().unwrap()
}

fn spawn_child(path: &Path, count: u64) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_appends", "--exact", "--ignored", "--nocapture"])
        .env("AGENT_CHILD_DB", path)
        .env("AGENT_CHILD_COUNT", count.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// The next number that the child acknowledges.
fn reported(lines: &mut Lines<BufReader<ChildStdout>>) -> u64 {
    told_more(lines).expect("the child still writes")
}

fn told_more(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<u64> {
    lines.map(Result::unwrap).find_map(|line| line.strip_prefix("acknowledged ")?.parse().ok())
}
