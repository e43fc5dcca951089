//! Time of a search by meaning, in the database by pgvector and in the process, in one namespace of each size.
//!
//! `cargo run --release -p agent-postgres --features test-util --example vectors` needs a server with pgvector: `POSTGRES_BIN` names
//! the folder with its programs.

#![expect(clippy::print_stdout, reason = "it prints figures")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{
    memory::{MemoryStore, Namespace, Put, Search},
    model::{EmbedError, Embedder},
};
use agent_postgres::{Postgres, PostgresMemory, testing::Cluster};
use futures::future::{BoxFuture, ready};
use serde_json::json;

type Error = Box<dyn std::error::Error + Send + Sync>;

const NUMBERS: usize = 384;
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

/// Random vectors; the text is the seed.
#[derive(Debug)]
struct Random;

impl Embedder for Random {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        let vectors = texts.iter().map(|text| {
            let seed = text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let mut random = fastrand::Rng::with_seed(seed);
            (0..NUMBERS).map(|_| random.f32() - 0.5).collect()
        });
        Box::pin(ready(Ok(vectors.collect())))
    }

    fn dimensions(&self) -> usize {
        NUMBERS
    }
}

fn namespace(size: usize) -> Result<Namespace, Error> {
    Ok(Namespace::new(["size", &size.to_string()])?)
}

async fn median(memory: &PostgresMemory, size: usize, times: usize) -> Result<Duration, Error> {
    let mut took = Vec::new();
    for number in 0..=times {
        let search = Search::new(namespace(size)?).near(format!("query {number}")).limit(10);
        let start = Instant::now();
        memory.search(search).await?;
        took.push(start.elapsed());
    }
    // The first one opens files and connections.
    took.remove(0);
    took.sort();
    Ok(took[took.len() / 2])
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let cluster = Cluster::start();
    let store = Postgres::connect(&cluster.address("postgres")).await?;
    let memory = store.memory().with_embedder(Arc::new(Random));
    if !memory.searches_in_database() {
        return Err("this PostgreSQL has no pgvector: POSTGRES_BIN names one".into());
    }
    for size in SIZES {
        let start = Instant::now();
        for part in 0..size / 500 {
            let item = |number: usize| {
                Ok::<_, Error>(Put::new(
                    namespace(size)?,
                    format!("{number:06}"),
                    json!(format!("{size} {number}")),
                ))
            };
            let puts: Result<Vec<Put>, Error> = (part * 500..(part + 1) * 500).map(item).collect();
            memory.put_many(puts?).await?;
        }
        println!("{size} items put: {:.2} ms each", start.elapsed().as_secs_f64() * 1_000.0 / size as f64);
    }
    store.query("ANALYZE agent.memory", &[]).await?;
    let mut inside = Vec::new();
    for size in SIZES {
        inside.push(median(&memory, size, 20).await?);
    }
    store.query("DROP EXTENSION vector CASCADE", &[]).await?;
    for (size, inside) in SIZES.into_iter().zip(inside) {
        let process = median(&memory, size, 5).await?;
        println!("nearest 10 of {size}: pgvector {inside:.2?}, in process {process:.2?}");
    }
    Ok(())
}
