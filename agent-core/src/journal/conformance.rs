//! Conformance suite of journal stores: one function per promise; [`all`] runs all of them.
//!
//! Each function gets fresh, empty stores from the factory, with a clock for their leases.
//! A broken promise panics with its name. Needs tokio's runtime.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::task::JoinSet;

use super::store::{
    Append, Epoch, Head, JournalStore, Label, Lease, OwnerId, Recent, RecentCursor, Record, ReplayStart,
    StoreError, StoredSnapshot, Summary,
};
use crate::{
    clock::{Clock, ManualClock},
    ids::{RunId, Seq, SessionId},
};

/// The end of every number: reads to the end of a journal.
const END: Seq = Seq(u64::MAX);

const TTL: Duration = Duration::from_secs(30);

/// Checks every promise.
///
/// # Panics
///
/// With the name of the promise that is broken.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use agent_core::journal::{InMemoryJournal, JournalStore, conformance};
///
/// # tokio::runtime::Builder::new_multi_thread().build()?.block_on(async {
/// conformance::all(async |clock| Arc::new(InMemoryJournal::with_clock(clock)) as Arc<dyn JournalStore>).await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn all<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: F) {
    entries_are_read_in_the_order_of_their_numbers(&make).await;
    any_bytes_come_back_as_they_were(&make).await;
    a_wrong_end_changes_nothing(&make).await;
    an_old_epoch_changes_nothing(&make).await;
    numbers_with_a_gap_are_refused(&make).await;
    one_of_racing_writers_wins(&make).await;
    many_sessions_append_at_once(&make).await;
    a_summary_is_stored_without_entries(&make).await;
    a_head_knows_end_start_and_sizes(&make).await;
    a_living_lease_is_not_taken(&make).await;
    a_lease_that_ran_out_is_taken_over(&make).await;
    renewing_extends_every_lease_of_the_owner(&make).await;
    a_released_lease_is_free(&make).await;
    one_of_racing_owners_gets_the_lease(&make).await;
    the_newest_fitting_snapshot_is_chosen(&make).await;
    trimming_keeps_what_is_folded(&make).await;
    a_copy_is_whole_and_its_own(&make).await;
    a_list_is_paged_in_order_and_filtered(&make).await;
    the_latest_come_first(&make).await;
    a_deleted_session_is_gone(&make).await;
    a_writer_of_a_deleted_session_stays_out(&make).await;
    only_the_holder_of_the_lease_deletes(&make).await;
    deadlines_are_listed_in_their_order(&make).await;
    a_thousand_sessions_are_kept_apart(&make).await;
}

/// `read` gives entries with `after < seq <= upto` in order, at most `limit`; an unknown session is empty.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn entries_are_read_in_the_order_of_their_numbers<
    F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>,
>(
    make: &F,
) {
    let bench = Bench::new("entries are read in the order of their numbers", make).await;
    let session = id("a");
    bench.append(&session, 0, 3).await;
    bench.append(&session, 3, 1).await;
    bench.append(&session, 4, 6).await;
    bench.append(&id("b"), 0, 2).await;
    let cases = [
        (0, END.0, usize::MAX, 1..=10),
        (0, 10, 100, 1..=10),
        (0, 10, 4, 1..=4),
        (3, 7, 100, 4..=7),
        (3, 7, 2, 4..=5),
        (9, END.0, 100, 10..=10),
        #[expect(clippy::reversed_empty_ranges, reason = "nothing")]
        (10, END.0, 100, 1..=0),
        #[expect(clippy::reversed_empty_ranges, reason = "nothing")]
        (END.0, END.0, 100, 1..=0),
        #[expect(clippy::reversed_empty_ranges, reason = "nothing")]
        (7, 3, 100, 1..=0),
        #[expect(clippy::reversed_empty_ranges, reason = "nothing")]
        (0, 10, 0, 1..=0),
    ];
    for (after, upto, limit, expected) in cases {
        let read = bench.read(&session, after, upto, limit).await;
        let expected: Vec<Record> = expected.map(|seq| record(&session, seq)).collect();
        bench.same(&read, &expected, &format!("read({after}, {upto}, {limit})"));
    }
    bench.same(&bench.read(&id("unknown"), 0, END.0, 10).await, &Vec::new(), "an unknown session");
    bench.same(&bench.head(&id("unknown")).await, &None, "the head of an unknown session");
}

/// Bodies come back byte for byte: Korean, empty, zero bytes, no UTF-8, large.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn any_bytes_come_back_as_they_were<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("any bytes come back as they were", make).await;
    let session = id("bytes");
    let bodies: Vec<Vec<u8>> = vec![
        r#"{"말":"라네즈 크림 스킨은 촉촉하고 향이 은은해요 🌊"}"#.into(),
        Vec::new(),
        vec![0; 7],
        (0..=u8::MAX).collect(),
        vec![0xff, 0xfe, 0x00, 0xc3, 0x28],
        "가".repeat(400_000).into_bytes(),
    ];
    let records: Vec<Record> =
        (1..).zip(&bodies).map(|(seq, body)| Record::new(Seq(seq), body.clone())).collect();
    bench.done(bench.store.append(Append::new(session.clone(), Epoch(0), Seq(0), records.clone())).await);
    bench.same(&bench.read(&session, 0, END.0, 100).await, &records, "entries");
    for record in &records {
        let snapshot = StoredSnapshot::new(record.seq, record.body.clone());
        bench.done(bench.store.put_snapshot(&session, snapshot.clone()).await);
        bench.same(&bench.snapshot(&session, record.seq.0).await, &Some(snapshot), "a snapshot");
    }
    let mut summary = Summary::new("그래프", "실행 중", RunId(1), 1);
    summary.labels.insert("제목".into(), "올해의 \"쿠션\" 트렌드\u{0}\n".into());
    let append =
        Append::new(session.clone(), Epoch(0), Seq(6), Vec::new()).with_summary(Some(summary.clone()));
    bench.done(bench.store.append(append).await);
    bench.same(&bench.known(&session).await.summary, &summary, "a summary");
}

/// An append with an `expected` number that is not the end of the journal fails with `Conflict` and stores nothing.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_wrong_end_changes_nothing<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("a wrong end changes nothing", make).await;
    let session = id("a");
    let lease = bench.acquire(&session, "one").await;
    let append = |expected, count| {
        let records = records(&session, expected, count);
        Append::new(session.clone(), lease.epoch, Seq(expected), records)
            .with_summary(Some(summary("completed")))
    };
    bench.done(bench.store.append(append(0, 3)).await);
    let before = bench.known(&session).await;
    for (expected, count) in [(0, 1), (2, 2), (4, 1), (5, 0), (u64::MAX, 0), (1 << 40, 1)] {
        let answer = bench.store.append(append(expected, count).with_summary(Some(summary("failed")))).await;
        let Err(StoreError::Conflict { expected: reported, last, .. }) = answer else {
            bench.broken(&format!("an append behind {expected} answered {answer:?}"))
        };
        bench.same(&(reported, last), &(Seq(expected), Seq(3)), "the numbers in the error");
    }
    bench.same(&bench.known(&session).await, &before, "the head");
    bench.same(&bench.read(&session, 0, END.0, 10).await, &records(&session, 0, 3), "the entries");
    let fresh = id("fresh");
    let answer =
        bench.store.append(Append::new(fresh.clone(), Epoch(0), Seq(1), records(&fresh, 1, 1))).await;
    bench.holds(
        matches!(answer, Err(StoreError::Conflict { last: Seq::ZERO, .. })),
        "a new session ends at 0",
    );
    bench.same(&bench.head(&fresh).await, &None, "a refused append makes no session");
}

/// An append with an epoch that is not the one in force is `StaleWriter`, whatever else is right or wrong.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn an_old_epoch_changes_nothing<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("an old epoch changes nothing", make).await;
    let session = id("a");
    let old = bench.acquire(&session, "one").await;
    bench.append_as(&session, &old, 0, 2).await;
    bench.clock.advance(TTL);
    let new = bench.acquire(&session, "two").await;
    bench.holds(new.epoch > old.epoch, "the epoch rises");
    let before = bench.known(&session).await;
    for (epoch, expected) in [(old.epoch, 2), (old.epoch, 7), (Epoch(0), 2), (Epoch(new.epoch.0 + 1), 2)] {
        let records = records(&session, expected, 1);
        let append = Append::new(session.clone(), epoch, Seq(expected), records);
        let answer = bench.store.append(append.with_summary(Some(summary("failed")))).await;
        let Err(StoreError::StaleWriter { current, .. }) = answer else {
            bench.broken(&format!("an append with epoch {epoch} behind {expected} answered {answer:?}"))
        };
        bench.same(&current, &new.epoch, "the epoch in the error");
    }
    bench.same(&bench.known(&session).await, &before, "the head");
    bench.append_as(&session, &new, 2, 1).await;
}

/// Entries with numbers other than `expected + 1, expected + 2, …` are `Illegal`.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn numbers_with_a_gap_are_refused<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("numbers with a gap are refused", make).await;
    let session = id("a");
    bench.append(&session, 0, 2).await;
    for numbers in [vec![4], vec![3, 5], vec![3, 3], vec![2], vec![0], vec![3, 4, 2]] {
        let records = numbers.iter().map(|seq| record(&session, *seq)).collect();
        let answer = bench.store.append(Append::new(session.clone(), Epoch(0), Seq(2), records)).await;
        bench.holds(matches!(answer, Err(StoreError::Illegal { .. })), &format!("{numbers:?} behind 2"));
    }
    bench.same(&bench.read(&session, 0, END.0, 10).await, &records(&session, 0, 2), "the entries");
}

/// Of many writers that append behind the same number at once, exactly one wins; the rest see `Conflict`.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn one_of_racing_writers_wins<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    const WRITERS: u64 = 16;
    let bench = Bench::new("one of racing writers wins", make).await;
    let session = id("race");
    for round in 0..20 {
        let mut racers = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, session) = (Arc::clone(&bench.store), session.clone());
            racers.spawn(async move {
                let body = format!("{round}/{writer}").into_bytes();
                let records = vec![Record::new(Seq(round + 1), body.clone())];
                (body, store.append(Append::new(session, Epoch(0), Seq(round), records)).await)
            });
        }
        let mut winners = Vec::new();
        for (body, answer) in racers.join_all().await {
            match answer {
                Ok(()) => winners.push(body),
                Err(StoreError::Conflict { .. }) => {}
                Err(other) => bench.broken(&format!("a loser got {other:?}")),
            }
        }
        bench.same(&winners.len(), &1, &format!("winners of round {round}"));
        let written: Vec<_> =
            bench.read(&session, round, END.0, 10).await.into_iter().map(|record| record.body).collect();
        bench.same(&written, &winners, "what the winner wrote");
    }
}

/// Appends of many sessions at once all succeed, also beside one that is refused.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn many_sessions_append_at_once<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    const SESSIONS: u64 = 32;
    const APPENDS: u64 = 10;
    let bench = Bench::new("many sessions append at once", make).await;
    bench.append(&id("spoiler"), 0, 1).await;
    let mut writers = JoinSet::new();
    for number in 0..SESSIONS {
        let store = Arc::clone(&bench.store);
        let session = id(&format!("s{number}"));
        writers.spawn(async move {
            for expected in 0..APPENDS {
                let good =
                    Append::new(session.clone(), Epoch(0), Seq(expected), records(&session, expected, 1));
                let spoiler = id("spoiler");
                let bad = Append::new(spoiler.clone(), Epoch(0), Seq(0), records(&spoiler, 0, 1));
                let (good, bad) = futures::future::join(store.append(good), store.append(bad)).await;
                good?;
                if !matches!(bad, Err(StoreError::Conflict { .. })) {
                    return Err(StoreError::Illegal { reason: format!("the refused neighbour got {bad:?}") });
                }
            }
            Ok(())
        });
    }
    for answer in writers.join_all().await {
        bench.done(answer);
    }
    for number in 0..SESSIONS {
        let session = id(&format!("s{number}"));
        bench.same(&bench.read(&session, 0, END.0, 100).await, &records(&session, 0, APPENDS), "the entries");
    }
}

/// An append without entries stores its summary; one without a summary keeps the old one.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_summary_is_stored_without_entries<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("a summary is stored without entries", make).await;
    let session = id("a");
    bench.summarise(&session, 0, "running").await;
    bench.same(&bench.known(&session).await.summary, &summary("running"), "the first summary");
    bench.same(&bench.known(&session).await.last, &Seq(0), "the end");
    bench.append(&session, 0, 2).await;
    bench.same(&bench.known(&session).await.summary, &summary("running"), "a summary that was not replaced");
    bench.summarise(&session, 2, "paused").await;
    bench.same(&bench.known(&session).await.summary, &summary("paused"), "the second summary");
    bench.same(&bench.read(&session, 0, END.0, 10).await, &records(&session, 0, 2), "the entries");
    bench.done(bench.store.append(Append::new(session.clone(), Epoch(0), Seq(2), Vec::new())).await);
    bench.same(&bench.known(&session).await.summary, &summary("paused"), "after an append of nothing");
}

/// `head` returns the last and first number, the epoch, and the bytes of entries and snapshots.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_head_knows_end_start_and_sizes<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("a head knows end, start and sizes", make).await;
    let session = id("a");
    let lease = bench.acquire(&session, "one").await;
    let head = |last, first, journal, snapshots| {
        Some(Head::new(Seq(last), Seq(first), lease.epoch, Summary::default(), journal, snapshots))
    };
    bench.same(&bench.head(&session).await, &head(0, 1, 0, 0), "only a lease");
    bench.append_as(&session, &lease, 0, 4).await;
    let all = bytes(&records(&session, 0, 4));
    bench.same(&bench.head(&session).await, &head(4, 1, all, 0), "four entries");
    bench.put_snapshot(&session, 2, 100).await;
    bench.put_snapshot(&session, 3, 50).await;
    bench.put_snapshot(&session, 3, 70).await;
    bench.same(&bench.head(&session).await, &head(4, 1, all, 170), "two snapshots, one written twice");
    bench.done(bench.store.trim(&session, Seq(3)).await);
    let rest = bytes(&records(&session, 3, 1));
    bench.same(&bench.head(&session).await, &head(4, 4, rest, 70), "trimmed to 3");
    bench.put_snapshot(&session, 4, 10).await;
    bench.done(bench.store.trim(&session, END).await);
    bench.same(&bench.head(&session).await, &head(4, 5, 0, 10), "trimmed to the end");
    bench.append_as(&session, &lease, 4, 1).await;
    bench.same(&bench.known(&session).await.last, &Seq(5), "the end after an append behind a trim");
}

/// A lease that did not run out keeps other owners away; its own owner may take it again and the epoch rises.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_living_lease_is_not_taken<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("a living lease is not taken", make).await;
    let session = id("a");
    let first = bench.acquire(&session, "one").await;
    bench.same(&first.owner, &owner("one"), "the owner of the lease");
    bench.clock.advance(TTL - Duration::from_millis(1));
    bench.leased(&session, "two", "one").await;
    bench.append_as(&session, &first, 0, 1).await;
    let again = bench.acquire(&session, "one").await;
    bench.holds(again.epoch > first.epoch, "the epoch rises when the owner acquires again");
    let answer =
        bench.store.append(Append::new(session.clone(), first.epoch, Seq(1), records(&session, 1, 1))).await;
    bench.holds(matches!(answer, Err(StoreError::StaleWriter { .. })), "the first lease is old");
    bench.append_as(&session, &again, 1, 1).await;
    bench.acquire(&id("b"), "two").await;
}

/// An expired lease is taken over at once; its writer may write until then, and not afterwards.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_lease_that_ran_out_is_taken_over<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("a lease that ran out is taken over", make).await;
    let session = id("a");
    let old = bench.acquire(&session, "one").await;
    bench.clock.advance(TTL);
    bench.append_as(&session, &old, 0, 1).await;
    let new = bench.acquire(&session, "two").await;
    bench.holds(new.epoch > old.epoch, "the epoch rises");
    bench.leased(&session, "one", "two").await;
    let answer =
        bench.store.append(Append::new(session.clone(), old.epoch, Seq(1), records(&session, 1, 1))).await;
    bench.holds(matches!(answer, Err(StoreError::StaleWriter { .. })), "the old writer is out");
    bench.append_as(&session, &new, 1, 1).await;
}

/// `renew` extends all leases of one owner and of no other.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn renewing_extends_every_lease_of_the_owner<
    F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>,
>(
    make: &F,
) {
    let bench = Bench::new("renewing extends every lease of the owner", make).await;
    let (a, b, c) = (id("a"), id("b"), id("c"));
    let lease = bench.acquire(&a, "one").await;
    bench.acquire(&b, "one").await;
    bench.acquire(&c, "two").await;
    bench.clock.advance(TTL / 2);
    bench.done(bench.store.renew(&owner("one"), TTL).await);
    bench.clock.advance(TTL / 2);
    bench.leased(&a, "three", "one").await;
    bench.leased(&b, "three", "one").await;
    bench.acquire(&c, "three").await;
    bench.append_as(&a, &lease, 0, 1).await;
    // Too late for `two`: its session has another writer by now.
    bench.done(bench.store.renew(&owner("two"), TTL).await);
    bench.leased(&c, "two", "three").await;
    bench.clock.advance(TTL / 2);
    bench.acquire(&a, "three").await;
    bench.done(bench.store.renew(&owner("unknown"), TTL).await);
}

/// `release` frees the session for anyone at once; a lease that is not held any more frees nothing.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_released_lease_is_free<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("a released lease is free", make).await;
    let session = id("a");
    let first = bench.acquire(&session, "one").await;
    bench.done(bench.store.release(&session, &first).await);
    let second = bench.acquire(&session, "two").await;
    bench.holds(second.epoch > first.epoch, "the epoch rises after a release");
    bench.done(bench.store.release(&session, &first).await);
    bench.leased(&session, "one", "two").await;
    let third = bench.acquire(&session, "two").await;
    bench.done(bench.store.release(&session, &second).await);
    bench.leased(&session, "one", "two").await;
    bench.done(bench.store.release(&session, &third).await);
    bench.done(bench.store.release(&session, &third).await);
    bench.acquire(&session, "one").await;
    bench.done(bench.store.release(&id("unknown"), &third).await);
    bench.same(&bench.head(&id("unknown")).await, &None, "a release makes no session");
}

/// Of many owners that acquire at once, exactly one gets the lease.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn one_of_racing_owners_gets_the_lease<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("one of racing owners gets the lease", make).await;
    for round in 0..10 {
        let session = id(&format!("s{round}"));
        let mut racers = JoinSet::new();
        for number in 0..8 {
            let (store, session) = (Arc::clone(&bench.store), session.clone());
            racers.spawn(async move { store.acquire(&session, &owner(&format!("o{number}")), TTL).await });
        }
        let mut leases = 0;
        for answer in racers.join_all().await {
            match answer {
                Ok(_) => leases += 1,
                Err(StoreError::Leased { .. }) => {}
                Err(other) => bench.broken(&format!("a loser got {other:?}")),
            }
        }
        bench.same(&leases, &1, "leases");
    }
}

/// `snapshot` gives the newest one at or before the number; the same number again replaces.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn the_newest_fitting_snapshot_is_chosen<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("the newest fitting snapshot is chosen", make).await;
    let session = id("a");
    bench.append(&session, 0, 20).await;
    bench.append(&id("b"), 0, 20).await;
    bench.put_snapshot(&id("b"), 7, 9).await;
    bench.same(&bench.snapshot(&session, END.0).await, &None, "no snapshot yet");
    for seq in [10, 5, 20] {
        bench.put_snapshot(&session, seq, 3).await;
    }
    for (upto, expected) in [(0, 0), (4, 0), (5, 5), (9, 5), (10, 10), (19, 10), (20, 20), (END.0, 20)] {
        let found = bench.snapshot(&session, upto).await.map_or(0, |snapshot| snapshot.seq.0);
        bench.same(&found, &expected, &format!("the snapshot at or before {upto}"));
        let start = bench.replay_start(&session, upto, 3).await;
        let found = start.snapshot.map_or(0, |snapshot| snapshot.seq.0);
        bench.same(&found, &expected, &format!("the start of a replay up to {upto}"));
        let after = records(&session, expected, upto.min(20).saturating_sub(expected).min(3));
        bench.same(&start.records, &after, &format!("the first entries of a replay up to {upto}"));
    }
    bench.put_snapshot(&session, 10, 77).await;
    let replaced = bench.snapshot(&session, 10).await.map(|snapshot| snapshot.body.len());
    bench.same(&replaced, &Some(77), "the bytes of a snapshot that was written again");
    let early = bench.store.put_snapshot(&session, StoredSnapshot::new(Seq(21), Vec::new())).await;
    bench.holds(matches!(early, Err(StoreError::Conflict { .. })), "no snapshot behind the end");
    let missing = bench.store.put_snapshot(&id("unknown"), StoredSnapshot::new(Seq(0), Vec::new())).await;
    bench.holds(matches!(missing, Err(StoreError::NotFound { .. })), "no snapshot of an unknown session");
    bench.same(&bench.snapshot(&id("unknown"), 10).await, &None, "the snapshot of an unknown session");
    let unknown = bench.replay_start(&id("unknown"), 10, 3).await;
    bench.same(&unknown, &ReplayStart::new(None, Vec::new()), "the replay of an unknown session");
}

/// `trim` removes entries up to the newest snapshot at or before the number, and older snapshots, no more.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn trimming_keeps_what_is_folded<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("trimming keeps what is folded", make).await;
    let (session, other) = (id("a"), id("b"));
    bench.append(&session, 0, 20).await;
    bench.append(&other, 0, 20).await;
    bench.put_snapshot(&other, 20, 5).await;
    bench.done(bench.store.trim(&session, Seq(15)).await);
    bench.same(&bench.known(&session).await.first, &Seq(1), "the start without a snapshot");
    bench.put_snapshot(&session, 5, 5).await;
    bench.put_snapshot(&session, 10, 5).await;
    bench.put_snapshot(&session, 18, 5).await;
    bench.done(bench.store.trim(&session, Seq(4)).await);
    bench.same(&bench.known(&session).await.first, &Seq(1), "the start when the first snapshot is later");
    bench.done(bench.store.trim(&session, Seq(15)).await);
    bench.same(&bench.known(&session).await.first, &Seq(11), "the start: entries behind a snapshot stay");
    bench.same(&bench.read(&session, 0, END.0, 100).await, &records(&session, 10, 10), "the entries");
    bench.same(&bench.read(&session, 0, 10, 100).await, &Vec::new(), "the entries that are gone");
    bench.same(&bench.read(&session, 0, END.0, 2).await, &records(&session, 10, 2), "a limited read");
    bench.same(&bench.snapshot(&session, 9).await, &None, "an older snapshot");
    let found = bench.snapshot(&session, 15).await.map(|snapshot| snapshot.seq);
    bench.same(&found, &Some(Seq(10)), "the snapshot that is needed");
    bench.done(bench.store.trim(&session, Seq(15)).await);
    bench.same(&bench.known(&session).await.first, &Seq(11), "the start after the same again");
    bench.same(&bench.read(&other, 0, END.0, 100).await, &records(&other, 0, 20), "another session");
    bench.append(&session, 20, 1).await;
    bench.done(bench.store.trim(&id("unknown"), Seq(5)).await);
}

/// `copy` takes entries, numbers and snapshots up to a number; both sessions then go their own ways.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_copy_is_whole_and_its_own<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("a copy is whole and its own", make).await;
    let (source, target) = (id("source"), id("target"));
    let lease = bench.acquire(&source, "one").await;
    bench.append_as(&source, &lease, 0, 12).await;
    bench.put_snapshot(&source, 4, 40).await;
    bench.put_snapshot(&source, 9, 90).await;
    bench.done(bench.store.copy(&source, &target, Seq(8), summary("paused")).await);
    let copied = records(&source, 0, 8);
    bench.same(&bench.read(&target, 0, END.0, 100).await, &copied, "the copied entries");
    let head = Head::new(Seq(8), Seq(1), Epoch(0), summary("paused"), bytes(&copied), 40);
    bench.same(&bench.known(&target).await, &head, "the head of the copy");
    bench.same(&bench.snapshot(&target, END.0).await.map(|found| found.seq), &Some(Seq(4)), "its snapshot");

    // The copy has no lease; the source keeps its own.
    let own = bench.acquire(&target, "two").await;
    bench.append_as(&target, &own, 8, 2).await;
    bench.append_as(&source, &lease, 12, 1).await;
    bench.same(&bench.known(&source).await.last, &Seq(13), "the end of the source");
    bench.same(&bench.known(&target).await.last, &Seq(10), "the end of the copy");

    let exists = bench.store.copy(&source, &target, Seq(8), summary("paused")).await;
    bench.holds(matches!(exists, Err(StoreError::Exists { .. })), "a target that exists");
    let itself = bench.store.copy(&source, &source, Seq(8), summary("paused")).await;
    bench.holds(matches!(itself, Err(StoreError::Exists { .. })), "a copy onto itself");
    let missing = bench.store.copy(&id("unknown"), &id("new"), Seq(8), summary("paused")).await;
    bench.holds(matches!(missing, Err(StoreError::NotFound { .. })), "a source that is not there");
    bench.same(&bench.head(&id("new")).await, &None, "a refused copy makes no session");

    bench.done(bench.store.copy(&source, &id("whole"), END, summary("paused")).await);
    bench.same(&bench.known(&id("whole")).await.last, &Seq(13), "the end of a copy of all");
    bench.done(bench.store.copy(&source, &id("empty"), Seq(0), summary("paused")).await);
    bench.same(&bench.known(&id("empty")).await.last, &Seq(0), "the end of a copy of nothing");

    bench.done(bench.store.trim(&source, Seq(9)).await);
    let gone = bench.store.copy(&source, &id("gone"), Seq(6), summary("paused")).await;
    bench
        .holds(matches!(gone, Err(StoreError::Trimmed { first: Seq(10), .. })), "a copy of what was trimmed");
    for (name, upto) in [("at", 9), ("behind", 11)] {
        let copy = id(name);
        bench.done(bench.store.copy(&source, &copy, Seq(upto), summary("paused")).await);
        let head = bench.known(&copy).await;
        bench.same(
            &(head.first, head.last),
            &(Seq(10), Seq(upto)),
            "the ends of a copy of a trimmed session",
        );
        bench.same(&bench.read(&copy, 0, END.0, 100).await, &records(&source, 9, upto - 9), "its entries");
        bench.same(&bench.snapshot(&copy, upto).await.map(|found| found.seq), &Some(Seq(9)), "its snapshot");
        bench.append(&copy, upto, 1).await;
    }
}

/// `list` goes through all sessions in the order of their ids, a page at a time, by status when asked.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_list_is_paged_in_order_and_filtered<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("a list is paged in order and filtered", make).await;
    bench.same(&bench.pages(&[], 10).await, &Vec::new(), "an empty store");
    let statuses = ["running", "paused", "completed"];
    let mut expected = BTreeSet::new();
    for number in 0..50_usize {
        // Ids that do not sort as they are made: s-49, s-7, S.3, 12:a …
        let name = ["s-", "S.", "a:", "z_"][number % 4].to_owned() + &(number * 37 % 50).to_string();
        bench.summarise(&id(&name), 0, statuses[number % 3]).await;
        expected.insert((id(&name), statuses[number % 3].to_owned()));
    }
    bench.acquire(&id("leased-only"), "one").await;
    expected.insert((id("leased-only"), String::new()));
    for wanted in [&[][..], &["running"], &["paused", "running"], &["running", "running"], &["failed"], &[""]]
    {
        let expected: Vec<_> = expected
            .iter()
            .filter(|(_, status)| wanted.is_empty() || wanted.contains(&status.as_str()))
            .cloned()
            .collect();
        for limit in [1, 7, 1000] {
            let found = bench.pages(wanted, limit).await;
            bench.same(&found, &expected, &format!("{wanted:?} in pages of {limit}"));
        }
    }
    let none = bench.done(bench.store.list(None, &[], 0).await);
    bench.same(&none.len(), &0, "a page of nothing");
    // A status that changed is found under the new one only.
    bench.summarise(&id("s-0"), 0, "failed").await;
    bench.same(&bench.pages(&["failed"], 10).await, &vec![(id("s-0"), "failed".to_owned())], "a new status");
    let head = bench.done(bench.store.list(None, &["failed".to_owned()], 1).await).remove(0).1;
    bench.same(&head, &bench.known(&id("s-0")).await, "the head in a list");
}

/// `recent` lists sessions with a summary, the latest first, filtered, in pages of any size.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn the_latest_come_first<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("the latest come first", make).await;
    let statuses = ["running", "paused", "completed"];
    let mut all = Vec::new();
    for number in 0..40_usize {
        let session = id(&format!("{}{}", ["s-", "S.", "a:"][number % 3], number * 37 % 40));
        // Many at one time, so that the id decides too.
        let at = i64::try_from(number * 7 % 10).unwrap_or_default();
        let graph = ["trend", "그래프"][usize::from(number % 7 == 0)];
        let mut summary = Summary::new(graph, statuses[number % 3], RunId(1), at).questions(number % 3);
        let owner = format!("사람 \"{}\"", number % 4);
        if number % 5 > 0 {
            summary.labels.insert("owner".to_owned(), owner);
        }
        let lease = bench.acquire(&session, "one").await;
        bench.done(
            bench
                .store
                .append(
                    Append::new(session.clone(), lease.epoch, Seq::ZERO, records(&session, 0, 1))
                        .with_summary(Some(summary.clone())),
                )
                .await,
        );
        all.push((session, summary));
    }
    bench.acquire(&id("leased-only"), "one").await;
    all.sort_by(|(left, one), (right, other)| (other.at, right).cmp(&(one.at, left)));
    let owned = |owner: &str| Some(Label::new("owner", owner));
    let labels = [None, owned("사람 \"1\""), owned("unknown"), Some(Label::new("of.no-one_1", ""))];
    let graphs = [
        (None, &[][..]),
        (Some("그래프"), &[]),
        (None, &["그래프"]),
        (None, &["그래프", "trend"]),
        (Some("trend"), &["trend"]),
    ];
    for (label, (graph, without)) in labels.iter().flat_map(|label| graphs.map(|graphs| (label, graphs))) {
        for wanted in [&[][..], &["paused"], &["paused", "running"], &["failed"]] {
            for limit in [1, 7, 1000] {
                let mut query = Recent {
                    statuses: wanted.iter().map(|status| (*status).to_owned()).collect(),
                    label: label.clone(),
                    graph: graph.map(str::to_owned),
                    without: without.iter().map(|graph| (*graph).to_owned()).collect(),
                    limit,
                    before: None,
                };
                let expected: Vec<_> =
                    all.iter().filter(|(id, summary)| query.takes(id, summary)).cloned().collect();
                let mut found: Vec<(SessionId, Summary)> = Vec::new();
                loop {
                    let page = bench.done(bench.store.recent(&query).await);
                    let short = page.len() < limit;
                    found.extend(page.into_iter().map(|(id, head)| (id, head.summary)));
                    if short {
                        break;
                    }
                    query.before = found
                        .last()
                        .map(|(id, summary)| RecentCursor { at: summary.at, session: id.clone() });
                }
                bench.same(&found, &expected, &format!("{query:?}"));
            }
        }
    }
}

/// `delete` removes entries, snapshots, lease and summary, of that session only, and says whether it was there.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_deleted_session_is_gone<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(make: &F) {
    let bench = Bench::new("a deleted session is gone", make).await;
    let (session, other) = (id("a"), id("b"));
    for session in [&session, &other] {
        bench.append(session, 0, 5).await;
        bench.put_snapshot(session, 3, 30).await;
    }
    let deleted = bench.done(bench.store.delete(&session).await);
    bench.holds(deleted, "a session that was there");
    let again = bench.done(bench.store.delete(&session).await);
    bench.holds(!again, "a session that is not there any more");
    bench.same(&bench.head(&session).await, &None, "its head");
    bench.same(&bench.read(&session, 0, END.0, 10).await, &Vec::new(), "its entries");
    bench.same(&bench.snapshot(&session, END.0).await, &None, "its snapshot");
    bench.same(&bench.pages(&[], 10).await.len(), &1, "sessions in the list");
    bench.same(&bench.read(&other, 0, END.0, 10).await, &records(&other, 0, 5), "another session");
    bench.append(&session, 0, 1).await;
    bench.same(&bench.read(&session, 0, END.0, 10).await, &records(&session, 0, 1), "the session made again");
    bench.same(&bench.snapshot(&session, END.0).await, &None, "the snapshot of the session made again");
}

/// The writer of a session that was deleted, even if it was made again, can write nothing.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_writer_of_a_deleted_session_stays_out<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("a writer of a deleted session stays out", make).await;
    let session = id("a");
    let old = bench.acquire(&session, "one").await;
    bench.done(bench.store.delete(&session).await);
    let write =
        || bench.store.append(Append::new(session.clone(), old.epoch, Seq(0), records(&session, 0, 1)));
    bench.holds(matches!(write().await, Err(StoreError::NotFound { .. })), "while it is deleted");
    bench.same(&bench.head(&session).await, &None, "the session");
    let new = bench.acquire(&session, "two").await;
    bench.holds(new.epoch > old.epoch, "the epoch of a session made again is higher");
    bench.holds(matches!(write().await, Err(StoreError::StaleWriter { .. })), "when it was made again");
    bench.append_as(&session, &new, 0, 1).await;
}

/// `delete_held` deletes a session only with the current lease, so a run of another process is never deleted.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn only_the_holder_of_the_lease_deletes<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("only the holder of the lease deletes", make).await;
    let session = id("a");
    let old = bench.acquire(&session, "one").await;
    bench.append_as(&session, &old, 0, 2).await;
    bench.clock.advance(TTL);
    let new = bench.acquire(&session, "two").await;
    let refused = bench.store.delete_held(&session, &old).await;
    bench.holds(matches!(refused, Err(StoreError::StaleWriter { .. })), "an old lease is refused");
    bench.same(&bench.read(&session, 0, END.0, 10).await, &records(&session, 0, 2), "what is left");
    let deleted = bench.done(bench.store.delete_held(&session, &new).await);
    bench.holds(deleted, "the lease in force deletes");
    bench.same(&bench.head(&session).await, &None, "its head");
    let again = bench.done(bench.store.delete_held(&session, &new).await);
    bench.holds(!again, "a session that is not there any more");
    let later = bench.acquire(&session, "three").await;
    bench.holds(later.epoch > new.epoch, "the epoch of a session made again is higher");
}

/// `due` lists sessions by deadline, in pages, and follows every change of a summary.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn deadlines_are_listed_in_their_order<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("deadlines are listed in their order", make).await;
    let set = async |name: &str, due: Option<i64>| {
        let status = if due.is_some() { "paused" } else { "running" };
        let append = Append::new(id(name), Epoch(0), Seq(0), Vec::new());
        let summary = Summary { due, ..summary(status) };
        bench.done(bench.store.append(append.with_summary(Some(summary))).await);
    };
    let listed = async |until: i64, limit: usize| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = bench.done(bench.store.due(after.clone(), until, limit).await);
            bench.holds(page.len() <= limit, "a page is not longer than its limit");
            let short = page.len() < limit;
            for (id, head) in page {
                after = head.summary.due.map(|due| (due, id.clone()));
                all.push(id.to_string());
            }
            if short {
                return all.join(" ");
            }
        }
    };
    for (name, due) in [("d", 30), ("a", 20), ("c", 10), ("b", 20), ("never", i64::MAX)] {
        set(name, Some(due)).await;
    }
    set("running", None).await;
    for limit in [1, 2, 100] {
        bench.same(&listed(i64::MAX - 1, limit).await, &"c a b d".to_owned(), "all that are due some time");
        bench.same(&listed(20, limit).await, &"c a b".to_owned(), "those that are due until 20");
    }
    bench.same(&listed(9, 100).await, &String::new(), "nothing is due until 9");
    set("a", Some(40)).await;
    set("c", None).await;
    bench.done(bench.store.delete(&id("b")).await);
    let copied = Summary { due: Some(5), ..summary("paused") };
    bench.append(&id("d"), 0, 1).await;
    bench.done(bench.store.copy(&id("d"), &id("e"), Seq(1), copied).await);
    bench.same(&listed(i64::MAX - 1, 100).await, &"e d a".to_owned(), "after each of them changed");
}

/// A thousand sessions each find their own entries.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn a_thousand_sessions_are_kept_apart<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
    make: &F,
) {
    let bench = Bench::new("a thousand sessions are kept apart", make).await;
    let sessions: Vec<SessionId> = (0..1000).map(|number| id(&format!("session-{number}"))).collect();
    for expected in [0, 2] {
        let appends = sessions.iter().map(|session| bench.append(session, expected, 2));
        join_all(appends).await;
    }
    for session in &sessions {
        bench.same(&bench.read(session, 0, END.0, 10).await, &records(session, 0, 4), "the entries");
    }
    let listed: BTreeSet<SessionId> = bench.pages(&[], 300).await.into_iter().map(|(id, _)| id).collect();
    bench.same(&listed, &sessions.into_iter().collect(), "the list");
}

/// A fresh store, its clock, and the promise that is checked.
struct Bench {
    promise: &'static str,
    store: Arc<dyn JournalStore>,
    clock: Arc<ManualClock>,
}

impl Bench {
    async fn new<F: AsyncFn(Arc<dyn Clock>) -> Arc<dyn JournalStore>>(
        promise: &'static str,
        make: &F,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(1_800_000_000_000));
        let store = make(Arc::clone(&clock) as Arc<dyn Clock>).await;
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
    fn same<T: PartialEq + std::fmt::Debug>(&self, found: &T, expected: &T, what: &str) {
        if found != expected {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            self.broken(&format!("{what}: found {found:.500}, expected {expected:.500}"));
        }
    }

    #[track_caller]
    fn done<T>(&self, answer: Result<T, StoreError>) -> T {
        match answer {
            Ok(value) => value,
            Err(error) => self.broken(&format!("a call that must work failed: {error}")),
        }
    }

    async fn append(&self, session: &SessionId, expected: u64, count: u64) {
        let records = records(session, expected, count);
        self.done(self.store.append(Append::new(session.clone(), Epoch(0), Seq(expected), records)).await);
    }

    async fn append_as(&self, session: &SessionId, lease: &Lease, expected: u64, count: u64) {
        let records = records(session, expected, count);
        self.done(self.store.append(Append::new(session.clone(), lease.epoch, Seq(expected), records)).await);
    }

    async fn summarise(&self, session: &SessionId, expected: u64, status: &str) {
        let append = Append::new(session.clone(), Epoch(0), Seq(expected), Vec::new());
        self.done(self.store.append(append.with_summary(Some(summary(status)))).await);
    }

    async fn read(&self, session: &SessionId, after: u64, upto: u64, limit: usize) -> Vec<Record> {
        self.done(self.store.read(session, Seq(after), Seq(upto), limit).await)
    }

    async fn head(&self, session: &SessionId) -> Option<Head> {
        self.done(self.store.head(session).await)
    }

    async fn known(&self, session: &SessionId) -> Head {
        match self.head(session).await {
            Some(head) => head,
            None => self.broken(&format!("session {session} is not there")),
        }
    }

    async fn put_snapshot(&self, session: &SessionId, seq: u64, size: usize) {
        self.done(self.store.put_snapshot(session, StoredSnapshot::new(Seq(seq), vec![b'x'; size])).await);
    }

    async fn snapshot(&self, session: &SessionId, upto: u64) -> Option<StoredSnapshot> {
        self.done(self.store.snapshot(session, Seq(upto)).await)
    }

    async fn replay_start(&self, session: &SessionId, upto: u64, limit: usize) -> ReplayStart {
        self.done(self.store.replay_start(session, Seq(upto), limit).await)
    }

    async fn acquire(&self, session: &SessionId, name: &str) -> Lease {
        self.done(self.store.acquire(session, &owner(name), TTL).await)
    }

    /// Checks that `name` does not get the lease and that the error has its holder.
    async fn leased(&self, session: &SessionId, name: &str, holder: &str) {
        match self.store.acquire(session, &owner(name), TTL).await {
            Err(StoreError::Leased { owner, .. }) if owner == holder => {}
            other => self.broken(&format!("{name} acquired what {holder} holds and got {other:?}")),
        }
    }

    async fn pages(&self, statuses: &[&str], limit: usize) -> Vec<(SessionId, String)> {
        let statuses: Vec<String> = statuses.iter().map(|status| (*status).to_owned()).collect();
        let mut all: Vec<(SessionId, String)> = Vec::new();
        loop {
            let after = all.last().map(|(id, _)| id.clone());
            let page = self.done(self.store.list(after.as_ref(), &statuses, limit).await);
            self.holds(page.len() <= limit, "a page is not longer than its limit");
            let short = page.len() < limit;
            all.extend(page.into_iter().map(|(id, head)| (id, head.summary.status)));
            if short {
                return all;
            }
        }
    }
}

fn id(text: &str) -> SessionId {
    text.parse().expect("the suite's session ids are legal")
}

fn owner(name: &str) -> OwnerId {
    OwnerId(name.to_owned())
}

fn summary(status: &str) -> Summary {
    Summary::new("trend", status, RunId(7), 1_800_000_000_000)
}

/// The body names the session and the number, so that a mix-up shows.
fn record(session: &SessionId, seq: u64) -> Record {
    Record::new(Seq(seq), format!(r#"{{"{session}":{seq},"말":"항목"}}"#).into_bytes())
}

fn records(session: &SessionId, expected: u64, count: u64) -> Vec<Record> {
    (1..=count).map(|offset| record(session, expected.saturating_add(offset))).collect()
}

fn bytes(records: &[Record]) -> u64 {
    records.iter().map(|record| record.body.len() as u64).sum()
}
