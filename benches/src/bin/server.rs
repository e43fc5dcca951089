//! `server [--floor] [PORT]`: the server workload of `workloads.md`, on this project's server or on bare hyper.
//! Prints its address.

use std::{error::Error, io::Write};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let floor = args.first().is_some_and(|first| first == "--floor");
    if floor {
        args.remove(0);
    }
    let port = args.first().map_or(Ok(8000), |port| port.parse())?;
    let mut out = std::io::stdout();
    if floor {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        writeln!(out, "{}", listener.local_addr()?)?;
        benches::server::floor::serve(listener).await?;
    } else {
        let server = benches::server::ours::bind(port).await?;
        writeln!(out, "{}", server.address())?;
        benches::server::ours::serve(server).await?;
    }
    Ok(())
}
