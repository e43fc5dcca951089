//! Searches by meaning among many items in memory: recall, time of a search with and without the index, time of a build.
//!
//! `cargo run --release -p benches --bin vectors -- [items] [dimensions]`

use std::{
    collections::BTreeSet,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{
    memory::{InMemoryStore, MemoryStore, Namespace, Put, Search},
    model::{EmbedError, Embedder},
};
use futures::future::BoxFuture;
use serde_json::json;

/// Vectors around random centers; the text is the seed.
#[derive(Debug)]
struct Points {
    dimensions: usize,
    /// 0: without centers, which is the hardest case for an index.
    centers: u64,
}

impl Points {
    fn vector(&self, seed: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut normal = move || (0..12).map(|_| random.f32()).sum::<f32>() - 6.0;
        let mut vector: Vec<f32> = (0..self.dimensions).map(|_| normal()).collect();
        if self.centers > 0 {
            let mut center = fastrand::Rng::with_seed(u64::MAX - seed % self.centers);
            for value in &mut vector {
                *value = *value * 0.5 + (center.f32() * 2.0 - 1.0) * 1.7;
            }
        }
        vector
    }
}

impl Embedder for Points {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move { Ok(texts.iter().map(|text| self.vector(text.parse().unwrap_or(0))).collect()) })
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }
}

type Failure = Box<dyn std::error::Error>;

async fn fill(store: &InMemoryStore, items: u64) -> Result<(), Failure> {
    let notes = Namespace::new(["notes"])?;
    let numbers: Vec<u64> = (0..items).collect();
    for chunk in numbers.chunks(500) {
        let put = |n: &u64| Put::new(notes.clone(), n.to_string(), json!({ "n": n })).text(n.to_string());
        store.put_many(chunk.iter().map(put).collect()).await?;
    }
    Ok(())
}

async fn timed(store: &InMemoryStore, seed: u64) -> Result<(BTreeSet<String>, Duration), Failure> {
    let search = Search::new(Namespace::new(["notes"])?).near(seed.to_string()).limit(10);
    let started = Instant::now();
    let hits = store.search(search).await?;
    Ok((hits.into_iter().map(|hit| hit.item.key).collect(), started.elapsed()))
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let (items, dimensions) = (args.next().unwrap_or(50_000), args.next().unwrap_or(384));
    let dimensions = usize::try_from(dimensions)?;
    for (name, centers) in [("1,000 centers", 1_000), ("no centers", 0)] {
        let embedder = Arc::new(Points { dimensions, centers });
        let exact = InMemoryStore::new().with_embedder(embedder.clone()).index_above(usize::MAX);
        fill(&exact, items).await?;
        let before = resident();
        let indexed = InMemoryStore::new().with_embedder(embedder).index_above(usize::try_from(items)? - 1);
        fill(&indexed, items).await?;
        let filled = resident();
        let started = Instant::now();
        indexed.wait_index().await;
        let built = started.elapsed();
        let (mut found, mut all) = (0, 0);
        let (mut slow, mut fast) = (Vec::new(), Vec::new());
        for seed in 1_000_000_000..1_000_000_200 {
            let (wanted, time) = timed(&exact, seed).await?;
            slow.push(time);
            let (given, time) = timed(&indexed, seed).await?;
            fast.push(time);
            all += wanted.len();
            found += wanted.intersection(&given).count();
        }
        slow.sort();
        fast.sort();
        writeln!(
            std::io::stdout(),
            "{items} x {dimensions}, {name}: recall at 10 {found} of {all}; median of a search {:?} with the index, {:?} \
             without; 99 % {:?} and {:?}; built in {built:?}; resident kB {before:?}, {filled:?}, {:?}",
            fast[100],
            slow[100],
            fast[197],
            slow[197],
            resident()
        )?;
    }
    Ok(())
}
