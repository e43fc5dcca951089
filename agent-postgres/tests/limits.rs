//! Counters that processes share: rates, permits and reserved sessions, as two processes count them.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{sync::Arc, time::Duration};

use agent_core::{
    clock::ManualClock,
    ids::{RunId, Seq, SessionId},
    journal::{
        Append, Epoch, JournalStore, OwnerId, Record, SessionReservation, SharedLimits, SharedPermit, Summary,
    },
};
use agent_postgres::{Postgres, testing::Cluster};

const TTL: Duration = Duration::from_secs(15);

/// Two processes on a new database, with one clock.
struct Two {
    cluster: Cluster,
    clock: Arc<ManualClock>,
    stores: [Postgres; 2],
}

impl Two {
    async fn start() -> Self {
        let cluster = tokio::task::block_in_place(Cluster::start);
        let clock = Arc::new(ManualClock::new(1_000_000));
        let connect = async || {
            let builder = Postgres::builder().clock(clock.clone());
            builder.connect(&cluster.address("postgres")).await.unwrap()
        };
        let stores = [connect().await, connect().await];
        Self { cluster, clock, stores }
    }

    fn limits(&self, at: usize) -> Arc<dyn SharedLimits> {
        self.stores[at].shared_limits().unwrap()
    }
}

fn permit(key: &str, count: u32) -> SharedPermit {
    SharedPermit { key: key.to_owned(), count }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_rates_permits_and_sessions() {
    let two = Two::start().await;
    rate(&two).await;
    permits(&two).await;
    sessions(&two).await;
    assert_eq!(two.cluster.sql("SELECT count(*) FROM agent.permit"), "0");
}

async fn rate(two: &Two) {
    let ask = async |at: usize, key: &str| two.limits(at).request(key, 6).await.unwrap();
    // All at the same time, and exactly as many as may be.
    let all = futures::future::join_all((0..20).map(|n| ask(n % 2, "a"))).await;
    assert_eq!(all.iter().filter(|wait| wait.is_none()).count(), 6, "{all:?}");
    assert_eq!(ask(0, "a").await, Some(Duration::from_secs(10)), "a sixth of a minute");
    assert_eq!(ask(1, "b\0").await, None, "the share of another caller");
    two.clock.advance(Duration::from_secs(10));
    assert_eq!((ask(1, "a").await, ask(0, "a").await), (None, Some(Duration::from_secs(10))));
    // A clock that was set back does not block for longer than the minute.
    two.clock.set(1_000);
    assert_eq!(ask(0, "a").await, None);
    two.clock.set(2_000_000);
}

async fn permits(two: &Two) {
    let (one, other) = (OwnerId("one".into()), OwnerId("other".into()));
    let hold = async |at: usize, owner: &OwnerId, count| {
        two.limits(at).hold(owner, &permit("runs/a", count), 3, TTL).await.unwrap()
    };
    assert!(hold(0, &one, 2).await && hold(1, &other, 1).await);
    assert!(!hold(1, &other, 2).await, "three of both together");
    let many = futures::future::join_all((0..8).map(|n| {
        let (limits, owner) = (two.limits(n % 2), OwnerId(format!("p{n}")));
        async move { limits.hold(&owner, &permit("runs/b", 1), 3, TTL).await.unwrap() }
    }));
    assert_eq!(many.await.into_iter().filter(|held| *held).count(), 3, "at the same time");
    two.limits(0).keep(&one, vec![permit("runs/a", 1)], TTL).await.unwrap();
    assert!(hold(1, &other, 2).await, "one was released elsewhere");
    // A process that died keeps nothing from the others for longer than the time to live.
    two.clock.advance(Duration::from_secs(10));
    two.limits(1).keep(&other, vec![permit("runs/a", 2)], TTL).await.unwrap();
    assert!(!hold(1, &other, 3).await);
    two.clock.advance(Duration::from_secs(6));
    assert!(hold(1, &other, 3).await);
    two.limits(1).keep(&other, vec![permit("runs/a", 0)], TTL).await.unwrap();
}

async fn sessions(two: &Two) {
    let id = |text: &str| -> SessionId { text.parse().unwrap() };
    let reserve = async |at: usize, session: &str| {
        let reservation =
            SessionReservation { owner: "ana".into(), session: id(session), without: "webhook".into() };
        two.limits(at).reserve(&reservation, 3, TTL).await.unwrap()
    };
    let store = async |session: &str, graph: &str, owner: &str| {
        let mut summary = Summary::new(graph, "completed", RunId(1), 0);
        summary.labels.insert("owner".into(), owner.into());
        let append = Append::new(id(session), Epoch(0), Seq::ZERO, vec![Record::new(Seq(1), b"1".to_vec())]);
        two.stores[0].append(append.with_summary(Some(summary))).await.unwrap();
    };
    store("a", "talk", "ana").await;
    store("delivery", "webhook", "ana").await;
    store("other", "talk", "bo").await;
    let all = futures::future::join_all((0..6).map(|n| {
        let reserve = &reserve;
        async move { reserve(n % 2, &format!("s{n}")).await }
    }))
    .await;
    assert_eq!(all.iter().filter(|reserved| **reserved).count(), 2, "with the one that is stored: {all:?}");
    // One of them becomes a session, and still counts once.
    let first = all.iter().position(|reserved| *reserved).unwrap();
    store(&format!("s{first}"), "talk", "ana").await;
    assert!(!reserve(0, "new").await);
    assert!(reserve(1, &format!("s{}", all.iter().rposition(|reserved| *reserved).unwrap())).await, "again");
    two.stores[1].delete(&id("a")).await.unwrap();
    assert!(reserve(0, "new").await && !reserve(1, "newer").await);
    two.clock.advance(TTL);
    assert!(reserve(1, "newer").await, "a session that was not created");
}
