//! Limits per caller that hold over all servers on one PostgreSQL database, and without the database.

use std::time::{Duration, Instant};

use agent_postgres::{Postgres, testing::Cluster};
use agent_server::{Auth, ServerOptions};
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    replicas::cluster,
    support::{
        Here, LONG, Reply,
        agent::{Puppeteer, puppet},
    },
};

const ALICE: (&str, &str) = ("authorization", "Bearer alice-has-a-key-of-her-own");
const BOB: (&str, &str) = ("authorization", "Bearer bob-has-a-key-of-his-own");

/// Two servers on a database, and what lets runs of the first one continue.
async fn two(
    cluster: &Cluster,
    set: impl Fn(&mut ServerOptions),
) -> ([Here; 2], std::sync::Arc<crate::support::agent::Strings>) {
    let address = cluster.address(&cluster.database());
    let server = async || {
        let (runtime, strings) = puppet();
        let store = Postgres::builder().max_connections(4).connect(&address).await.unwrap();
        let auth = Auth::required().key("alice", ALICE.1[7..].into()).unwrap();
        let auth = auth.key("bob", BOB.1[7..].into()).unwrap();
        let runtime = runtime.journal(store);
        let here = Here::kept(runtime, |server| server.agent(Puppeteer).auth(auth).options(&set)).await;
        (here, strings)
    };
    let ((one, strings), (other, _)) = (server().await, server().await);
    ([one, other], strings)
}

async fn run(here: &Here, who: (&str, &str), path: &str, session: &str, message: &str) -> Reply {
    let body = json!({"session_id": session, "message": message}).to_string();
    here.send(Method::POST, path, &[who], body).await
}

async fn get(here: &Here, who: (&str, &str)) -> Reply {
    here.send(Method::GET, "/agents", &[who], "").await
}

#[tokio::test]
async fn a_rate_is_counted_over_all_servers() {
    let (servers, _) = two(cluster(), |options| options.requests_per_minute = 6).await;
    for request in 0..6 {
        assert_eq!(get(&servers[request % 2], ALICE).await.status, 200, "{request}");
    }
    for here in &servers {
        let refused = get(here, ALICE).await;
        assert_eq!(refused.refusal(), (429, "rate_limited"));
        let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=11).contains(&wait), "a sixth of a minute: {wait}");
        assert_eq!(get(here, BOB).await.status, 200, "the share of another caller");
    }
}

#[tokio::test]
async fn runs_of_a_caller_are_counted_over_all_servers() {
    let (servers, strings) = two(cluster(), |options| options.runs_per_caller = 1).await;
    assert_eq!(run(&servers[0], ALICE, "/run-async", "a", "wait").await.status, 200);
    strings.waiting.notified().await;
    assert_eq!(run(&servers[1], ALICE, "/run", "b", "x").await.refusal(), (429, "quota_exceeded"));
    assert_eq!(run(&servers[1], BOB, "/run", "c", "x").await.status, 200);
    strings.gate.add_permits(1);
    // The permit is released soon after the end of the run, at the other server too.
    let again = async {
        while run(&servers[1], ALICE, "/run", "b", "x").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), again).await.unwrap();
    // A server that ends takes its runs with it.
    let [one, other] = servers;
    let begun = async {
        while run(&one, ALICE, "/run-async", "d", "wait").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, begun).await.unwrap();
    strings.waiting.notified().await;
    assert_eq!(run(&other, ALICE, "/run", "b", "x").await.status, 429);
    one.end().await;
    assert_eq!(run(&other, ALICE, "/run", "b", "x").await.status, 200);
}

#[tokio::test]
async fn sessions_of_a_subject_are_counted_over_all_servers() {
    let (servers, _) = two(cluster(), |options| options.sessions_per_subject = 2).await;
    for (at, session) in ["a", "b", "a", "b"].into_iter().enumerate() {
        assert_eq!(run(&servers[at % 2], ALICE, "/run", session, "x").await.status, 200, "{session}");
    }
    for here in &servers {
        assert_eq!(run(here, ALICE, "/run", "c", "x").await.refusal(), (429, "quota_exceeded"));
        let fork = here.send(Method::POST, "/sessions/a/fork", &[ALICE], "{}").await;
        assert_eq!(fork.refusal(), (429, "quota_exceeded"));
    }
    assert_eq!(run(&servers[1], BOB, "/run", "d", "x").await.status, 200);
    assert_eq!(servers[0].send(Method::DELETE, "/sessions/a", &[ALICE], "").await.status, 204);
    assert_eq!(run(&servers[1], ALICE, "/run", "c", "x").await.status, 200);
    assert_eq!(run(&servers[0], ALICE, "/run", "e", "x").await.status, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_each_server_counts_for_itself() {
    let cluster = tokio::task::block_in_place(Cluster::start);
    let (servers, _) = two(&cluster, |options| options.requests_per_minute = 4).await;
    assert_eq!(get(&servers[0], ALICE).await.status, 200);
    tokio::task::block_in_place(|| cluster.kill());
    let asked = Instant::now();
    for _ in 0..3 {
        assert_eq!(get(&servers[0], ALICE).await.status, 200);
    }
    assert_eq!(get(&servers[0], ALICE).await.refusal(), (429, "rate_limited"));
    for _ in 0..4 {
        assert_eq!(get(&servers[1], ALICE).await.status, 200, "nothing of the other server is known");
    }
    assert_eq!(get(&servers[1], ALICE).await.status, 429);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    tokio::task::block_in_place(|| cluster.resume());
    let shared = async {
        // Counted in the database again: the other server's request is the last of Bob's four.
        loop {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            let stored = cluster.try_sql_in("db0", "SELECT count(*) FROM agent.rate WHERE key LIKE '%bob%'");
            if stored.is_ok_and(|count| count == "1") {
                return;
            }
            get(&servers[0], BOB).await;
        }
    };
    timeout(LONG, shared).await.unwrap();
}
