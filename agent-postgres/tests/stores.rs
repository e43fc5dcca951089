//! Runs the conformance suites of the stores against a private PostgreSQL server.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    clock::Clock,
    ids::{Seq, SessionId},
    journal::{Append, Epoch, JournalStore, OwnerId, Record, StoreError, conformance},
    memory::{self, MemoryStore},
    secret::Secret,
};
use agent_postgres::{
    ConnectError, Postgres, PostgresBuilder, StatementCache,
    testing::{Bouncer, Cluster},
};

/// One server for all tests of this file. Ends with the process.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// A fresh store: a new schema in one database.
async fn store(address: &Secret, builder: PostgresBuilder) -> Postgres {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let schema = format!("s{}", COUNT.fetch_add(1, Ordering::Relaxed));
    builder.schema(schema).max_connections(4).connect(address).await.unwrap()
}

fn id(text: &str) -> SessionId {
    text.parse().unwrap()
}

fn records(after: u64, count: u64) -> Vec<Record> {
    (1..=count).map(|n| Record::new(Seq(after + n), format!("[{}]", after + n).into_bytes())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn journals_keep_every_promise() {
    let database = cluster().database();
    let address = cluster().address(&database);
    conformance::all(async |clock| {
        Arc::new(store(&address, Postgres::builder().clock(clock)).await) as Arc<dyn JournalStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn journals_with_prepared_statements_keep_every_promise() {
    let database = cluster().database();
    let address = cluster().socket_address(&database);
    conformance::all(async |clock| {
        let builder =
            Postgres::builder().clock(clock).statement_cache(StatementCache::PerConnection).writers(4);
        Arc::new(store(&address, builder).await) as Arc<dyn JournalStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn journals_behind_pgbouncer_in_transaction_mode_keep_every_promise() {
    let database = cluster().database();
    // Fewer connections than clients, so that clients change connections.
    let bouncer: Bouncer = cluster().bouncer(3);
    let address = bouncer.address(&database);
    conformance::all(async |clock| {
        Arc::new(store(&address, Postgres::builder().clock(clock)).await) as Arc<dyn JournalStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_memory_keeps_every_promise() {
    let database = cluster().database();
    let address = cluster().address(&database);
    memory::conformance::all(async |clock: Arc<dyn Clock>, embedder| {
        let memory = store(&address, Postgres::builder().clock(clock)).await.memory();
        match embedder {
            Some(embedder) => Arc::new(memory.with_embedder(embedder)) as Arc<dyn MemoryStore>,
            None => Arc::new(memory),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_together_prepare_the_tables_once() {
    let database = cluster().database();
    let address = cluster().address(&database);
    let starts = (0..8).map(|_| Postgres::builder().max_connections(2).connect(&address));
    for store in futures::future::join_all(starts).await {
        let store = store.unwrap();
        store.ping().await.unwrap();
    }
    Postgres::connect(&address).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_that_are_requested_together_are_granted_or_refused_each_by_itself() {
    let database = cluster().database();
    let store = store(&cluster().address(&database), Postgres::builder()).await;
    let ttl = Duration::from_secs(60);
    let (one, two) = (OwnerId("one".to_owned()), OwnerId("two".to_owned()));
    for n in (0..100).step_by(7) {
        store.acquire(&id(&format!("s{n}")), &two, ttl).await.unwrap();
    }
    let wanted = (0..100).rev().map(|n| {
        let (store, one) = (store.clone(), one.clone());
        async move { (n, store.acquire(&id(&format!("s{n}")), &one, ttl).await) }
    });
    for (n, outcome) in futures::future::join_all(wanted).await {
        match outcome {
            Ok(lease) => {
                assert!(n % 7 != 0, "s{n} is leased");
                assert_eq!((lease.owner, lease.epoch), (one.clone(), Epoch(1)), "s{n}");
            }
            Err(StoreError::Leased { session, owner }) => {
                assert!(n % 7 == 0, "s{n} is free");
                assert_eq!((session, owner.as_str()), (id(&format!("s{n}")), "two"));
            }
            Err(other) => panic!("s{n}: {other}"),
        }
    }
    // Each lease is that of its session: the next writer of a session is above it.
    let mut appends = Vec::new();
    for n in (0..100).filter(|n| n % 7 != 0) {
        let append = Append::new(id(&format!("s{n}")), Epoch(1), Seq::ZERO, records(0, 1));
        appends.push(store.append(append));
    }
    for outcome in futures::future::join_all(appends).await {
        outcome.unwrap();
    }
}

/// Each process has runtimes of both owners, and needs the rows of the owners in the other order. On one thread, so that the calls of
/// a process are in one batch.
#[tokio::test]
async fn leases_of_several_owners_do_not_block_each_other() {
    let database = cluster().database();
    // A deadlock that the database resolved would only take time.
    let setting = format!("ALTER DATABASE {database} SET deadlock_timeout = '1h'");
    cluster().try_sql_in(&database, &setting).unwrap();
    let address = cluster().address(&database);
    let connect = || Postgres::builder().query_timeout(Duration::from_secs(3)).connect(&address);
    let (here, there) = (connect().await.unwrap(), connect().await.unwrap());
    for round in 0..5 {
        let wanted =
            [(&here, "a", [1, 2]), (&there, "b", [2, 1])].into_iter().flat_map(|(store, name, owners)| {
                (0..64).map(move |n| {
                    let session = id(&format!("{name}-{round}-{n:02}"));
                    let owner = OwnerId(format!("owner-{round}-{}", owners[n / 32]));
                    async move { store.acquire(&session, &owner, Duration::from_secs(60)).await }
                })
            });
        for outcome in futures::future::join_all(wanted).await {
            outcome.unwrap();
        }
    }
}

#[tokio::test]
async fn lease_times_are_those_of_the_database() {
    let database = cluster().database();
    let store = store(&cluster().address(&database), Postgres::builder()).await;
    let (one, two) = (OwnerId("one".into()), OwnerId("two".into()));
    store.acquire(&id("a"), &one, Duration::from_millis(300)).await.unwrap();
    let held = store.acquire(&id("a"), &two, Duration::from_secs(5)).await;
    assert!(matches!(held, Err(StoreError::Leased { .. })), "{held:?}");
    let until = tokio::time::Instant::now() + Duration::from_secs(5);
    while store.acquire(&id("a"), &two, Duration::from_secs(5)).await.is_err() {
        assert!(tokio::time::Instant::now() < until, "the lease of a silent owner ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_database_that_is_down_is_named_without_the_password() {
    let address = Secret::new("postgres://u:hunter2@127.0.0.1:1/agents");
    let error = Postgres::connect(&address).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(text.contains("database `agents` at 127.0.0.1:1"), "{text}");
    assert!(!format!("{error:?}{text}").contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let address =
        Secret::new(format!("postgres://admin@127.0.0.1:{}/postgres?sslmode=require", cluster().port()));
    let error = Postgres::connect(&address).await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test]
async fn tables_of_a_newer_program_are_refused() {
    let database = cluster().database();
    let address = cluster().address(&database);
    Postgres::connect(&address).await.unwrap();
    let sql = "INSERT INTO agent.migration (version, needs) VALUES (9, 9)";
    cluster().try_sql_in(&database, sql).unwrap();
    let error = Postgres::connect(&address).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("format 9"), "{source}");
    // One that only adds keeps older programs running.
    cluster().try_sql_in(&database, "UPDATE agent.migration SET needs = 1").unwrap();
    Postgres::connect(&address).await.unwrap();
}

/// What is acknowledged is stored; what cannot be stored is refused as retryable, and works when the database is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_database_costs_a_retry() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    let store = Postgres::connect(&cluster.address("postgres")).await.unwrap();
    let append = |after| store.append(Append::new(id("a"), Epoch(0), Seq(after), records(after, 1)));
    append(0).await.unwrap();
    tokio::task::block_in_place(|| cluster.kill());
    let refused = append(1).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    tokio::task::block_in_place(|| cluster.resume());
    let mut tries = 0;
    while let Err(error) = append(1).await {
        tries += 1;
        assert!(error.is_transient() && tries < 50, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.read(&id("a"), Seq(0), Seq(9), 10).await.unwrap(), records(0, 2));
}
