//! Figures of the store, beside bare commits of the same database in the same run.
//!
//! `cargo run --release -p agent-postgres --features test-util --example speed` starts a private server that flushes to disk;
//! `PEERS_PG` names another one.

#![expect(clippy::print_stdout, reason = "it prints figures")]

use std::time::{Duration, Instant};

use agent_core::{
    Answers, Context, Durability, Graph, Input, Runtime, State,
    event::EventBody,
    graph::{END, START},
    ids::{Seq, SessionId},
    secret::Secret,
};
use agent_postgres::{Postgres, StatementCache, testing::Cluster};
use serde::{Deserialize, Serialize};
use tokio_postgres::NoTls;

type Error = Box<dyn std::error::Error + Send + Sync>;

const STEPS: usize = 100;

#[derive(State, Default, Clone, Serialize, Deserialize)]
struct Chain {
    #[state(append)]
    said: Vec<String>,
}

fn chain(length: usize) -> Result<Graph<Chain>, Error> {
    let mut builder = Graph::<Chain>::builder("chain");
    let mut before = START.to_owned();
    for number in 0..length {
        let name = format!("n{number}");
        builder = builder.node(&*name, async |_: &Chain, _: &Context| Ok(Chain::update()));
        builder = builder.edge(&*before, &*name);
        before = name;
    }
    Ok(builder.edge(&*before, END).build()?)
}

fn asking() -> Result<Graph<Chain>, Error> {
    Ok(Graph::<Chain>::builder("asking")
        .node("ask", async |_: &Chain, cx: &Context| {
            let said: String = cx.ask("?").await?;
            Ok(Chain::update().said([said]))
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()?)
}

fn runtime(store: &Postgres) -> Runtime {
    Runtime::builder().journal(store.clone()).durability(Durability::Sync).build()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Inserts of the size of a commit, each in its own transaction.
async fn bare(address: &Secret) -> Result<Duration, Error> {
    let (client, connection) = tokio_postgres::connect(address.expose(), NoTls).await?;
    let work = async {
        client
            .batch_execute("DROP TABLE IF EXISTS bare; CREATE TABLE bare (id bigint PRIMARY KEY, body bytea)")
            .await?;
        let insert = client.prepare("INSERT INTO bare VALUES ($1, $2)").await?;
        let body = vec![b'x'; 300];
        let start = Instant::now();
        for number in 0..STEPS as i64 {
            client.execute(&insert, &[&number, &body]).await?;
        }
        Ok::<_, Error>(start.elapsed())
    };
    tokio::select! {
        took = work => took,
        ended = connection => Err(ended.err().map_or_else(|| "the connection ended".into(), Into::into)),
    }
}

async fn once(runtime: &Runtime, graph: &Graph<Chain>) -> Result<Duration, Error> {
    let session = runtime.session_of(SessionId::random());
    let start = Instant::now();
    let outcome = session.run(graph, Input::Update(Chain::update())).await?;
    outcome.completed().ok_or("the run did not complete")?;
    Ok(start.elapsed())
}

async fn measure(address: &Secret, cache: StatementCache) -> Result<(), Error> {
    println!("statement cache: {cache:?}");
    let connect = || Postgres::builder().statement_cache(cache).connect(address);
    let here = runtime(&connect().await?);
    let graph = chain(STEPS)?;
    once(&here, &graph).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        theirs.push(bare(address).await?);
        ours.push(once(&here, &graph).await?);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{STEPS} bare commits {theirs:.1?}, chain of {STEPS} in `sync` {ours:.1?}: {ratio:.2} x");

    let ten = chain(10)?;
    let start = Instant::now();
    for _ in 0..64 {
        once(&here, &ten).await?;
    }
    let alone = start.elapsed();
    let mut together = Duration::ZERO;
    // The first time opens connections.
    for _ in 0..2 {
        let start = Instant::now();
        let runs = (0..64).map(|_| once(&here, &ten));
        for run in futures::future::join_all(runs).await {
            run?;
        }
        together = start.elapsed();
    }
    let ratio = alone.as_secs_f64() / together.as_secs_f64();
    println!("64 runs of 10 one after another {alone:.1?}, at once {together:.1?}: {ratio:.1} x");

    let ask = asking()?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let session = here.session_of(SessionId::random());
        session.run(&ask, Chain::update()).await?;
        let start = Instant::now();
        session.answer(Answers::only("yes")).await?;
        session.wait_status().await?;
        times.push(start.elapsed());
    }
    println!("from an answer to the end of the run: median {:.2?}", median(times));

    let there = runtime(&connect().await?);
    here.register(&ask);
    there.register(&ask);
    let (mut stored, mut seen) = (Vec::new(), Vec::new());
    let session = here.session_of(SessionId::random());
    let far = there.session_of(session.id().clone());
    let (mut near_events, mut far_events) =
        (session.subscribe(Some(Seq::ZERO)), far.subscribe(Some(Seq::ZERO)));
    for round in 0..300 {
        session.run(&ask, Chain::update()).start().await?;
        loop {
            if let EventBody::RunPaused(_) = near_events.next().await?.body {
                break;
            }
        }
        let start = Instant::now();
        loop {
            if let EventBody::RunPaused(_) = far_events.next().await?.body {
                break;
            }
        }
        if round > 5 {
            seen.push(start.elapsed());
        }
        let start = Instant::now();
        session.answer(Answers::only("yes")).await?;
        session.wait_status().await?;
        stored.push(start.elapsed());
    }
    seen.sort();
    println!(
        "an event at another replica, after it was seen at the first: median {:.2?}, 99 % {:.2?}",
        seen[seen.len() / 2],
        seen[seen.len() * 99 / 100]
    );
    println!("answer to end, watched from another replica: median {:.2?}", median(stored));
    here.shutdown(Duration::from_secs(1)).await;
    there.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn measure_all(address: &Secret) -> Result<(), Error> {
    measure(address, StatementCache::None).await?;
    measure(address, StatementCache::PerConnection).await
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    match Secret::from_env("PEERS_PG") {
        Some(address) => measure_all(&address).await,
        None => {
            let cluster = Cluster::start_with(&[]);
            measure_all(&cluster.address("postgres")).await
        }
    }
}
