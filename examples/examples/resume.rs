//! A process dies in the middle of a run, and the next process resumes it without repeating recorded steps.
//!
//! Run: `cargo run --example resume`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use std::{path::Path, process::Command, time::Duration};

use agent_core::{Context, END, Graph, Runtime, START, State, sqlite::Sqlite};
use serde::{Deserialize, Serialize};

#[derive(State, Default, Serialize, Deserialize)]
struct Order {
    receipt: Option<String>,
    sent: bool,
}

async fn charge(key: &str) -> std::io::Result<String> {
    println!("charging the card");
    Ok(format!("receipt {}", &key[..8]))
}

async fn buy(_: &Order, cx: &Context) -> agent_core::Result<OrderUpdate> {
    let key = cx.idempotency_key("charge");
    // Recorded, so that it runs once.
    let receipt: String = cx.step("charge", charge(&key)).await?;
    if std::env::var_os("CRASH").is_some() {
        println!("the process crashes");
        std::process::abort();
    }
    Ok(Order::update().receipt(receipt).sent(true))
}

fn runtime(path: &Path, graph: &Graph<Order>) -> Result<Runtime, Box<dyn std::error::Error>> {
    // After a crash, the session stays leased until the lease expires.
    let options = Runtime::builder().options(|options| options.lease_ttl = Duration::from_millis(200));
    Ok(options.journal(Sqlite::open(path)?).graph(graph).build())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let graph =
        Graph::<Order>::builder("order").node("buy", buy).edge(START, "buy").edge("buy", END).build()?;
    if let Some(path) = std::env::var_os("CRASH") {
        runtime(Path::new(&path), &graph)?.session("s1")?.run(&graph, Order::update()).await?;
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("agent-core-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("orders.db");
    let status = Command::new(std::env::current_exe()?).env("CRASH", &path).status()?;
    println!("exit status is success: {}", status.success());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let runtime = runtime(&path, &graph)?;
    let recovered = runtime.recover().await?;
    println!("recovered: {:?}", recovered.resumed);
    let session = runtime.session("s1")?;
    while session.status().await?.status.is_busy() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let order: Order = session.state().await?;
    println!("sent: {}, {}", order.sent, order.receipt.is_some());
    runtime.shutdown(Duration::from_secs(1)).await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
