//! A server whose database is cut off, killed or restarted: it refuses with 503 what it cannot store, and recovers by itself.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{journal::JournalStore, secret::Secret};
use agent_postgres::{Postgres, testing::Cluster};
use hyper::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::{
    replicas::cluster,
    support::{
        Here, LONG,
        agent::{Puppeteer, Strings, puppet},
    },
};

/// A loopback proxy in front of the database. While it is cut, bytes are held back in both directions.
struct Network {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Network {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let is_open = is_open.clone();
                let Ok(there) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((from, to), (back, forth)) = (here.into_split(), there.into_split());
                tasks.spawn(forward(from, forth, is_open.clone()));
                tasks.spawn(forward(back, to, is_open));
            }
        });
        Self { address, open }
    }

    fn cut(&self) {
        self.open.send_replace(false);
    }

    fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn server(address: &str) -> (Here, Arc<Strings>) {
    let store = Postgres::builder()
        .max_connections(4)
        .query_timeout(Duration::from_secs(1))
        .connect(&Secret::new(address))
        .await
        .unwrap();
    let (runtime, strings) = puppet();
    let runtime = runtime.journal(Arc::new(store) as Arc<dyn JournalStore>);
    let here = Here::kept(runtime, |server| {
        server.agent(Puppeteer).options(|options| options.sweep = Duration::from_millis(200))
    });
    (here.await, strings)
}

/// Waits until a request is accepted, and returns the number of refusals before. Each of them can be repeated.
async fn until_accepted(here: &Here, session: &str, message: &str) -> u32 {
    let body = json!({"session_id": session, "message": message});
    let mut refused = 0;
    let begun = Instant::now();
    loop {
        let reply = here.post("/run", body.clone()).await;
        if reply.status == 200 {
            assert_eq!(reply.body["data"]["run"], 1, "what was refused was not stored: {reply:?}");
            return refused;
        }
        // The second one: a claim of an earlier attempt, which the network delivered late, took the session over.
        let retryable = [(503, "store_unavailable"), (409, "stale_writer")];
        assert!(retryable.contains(&reply.refusal()), "{reply:?}");
        refused += 1;
        assert!(begun.elapsed() < LONG, "the server recovers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_cut_off_from_its_database_refuses_and_recovers() {
    let network = Network::to(cluster().port()).await;
    let database = cluster().database();
    let address =
        format!("postgres://admin:word@127.0.0.1:{}/{database}?sslmode=disable", network.address.port());
    let (here, strings) = server(&address).await;
    assert_eq!(here.post("/run", json!({"session_id": "a", "message": "x"})).await.status, 200);
    here.start("during", "wait").await;
    strings.waiting.notified().await;

    network.cut();
    // The run ends while its end cannot be stored.
    strings.gate.add_permits(1);
    let asked = Instant::now();
    let refused = here.post("/run-async", json!({"session_id": "b", "message": "x"})).await;
    assert_eq!(refused.refusal(), (503, "store_unavailable"), "{refused:?}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!(here.get("/ready").await.status, 503);
    assert_eq!(here.get("/health").await.status, 200);

    network.mend();
    until_accepted(&here, "b", "x").await;
    timeout(LONG, here.reaches("during", "completed")).await.unwrap();
    let ready = async {
        while here.get("/ready").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, ready).await.unwrap();
    let journal = here.send(Method::GET, "/sessions/b/journal", &[], "").await.body;
    let started =
        journal["entries"].as_array().unwrap().iter().filter(|entry| entry["type"] == "run_started");
    assert_eq!(started.count(), 1, "{journal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_database_is_killed_refuses_and_recovers() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    let (here, strings) = server(cluster.address("postgres").expose()).await;
    here.start("during", "wait").await;
    strings.waiting.notified().await;
    for round in 0..2 {
        tokio::task::block_in_place(|| cluster.kill());
        if round == 0 {
            strings.gate.add_permits(1);
        }
        let body = json!({"session_id": format!("r{round}"), "message": "x"});
        let refused = here.post("/run-async", body).await;
        assert_eq!(refused.refusal(), (503, "store_unavailable"), "{refused:?}");
        tokio::task::block_in_place(|| cluster.resume());
        until_accepted(&here, &format!("r{round}"), "x").await;
    }
    timeout(LONG, here.reaches("during", "completed")).await.unwrap();
}
