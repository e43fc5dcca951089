//! `wsload ADDRESS SUBSCRIBERS EVENTS INTERVAL_MS`: that many sockets on one session, one burst; prints JSON with
//! messages a second and latencies (receive time minus `ts`). With `EVENTS` 0 the sockets stay idle for ten seconds.

use std::{
    error::Error,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use benches::server::monotonic_ns;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Barrier,
    task::JoinSet,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, subscribers, events, interval] = &args[..] else {
        return Err("wsload ADDRESS SUBSCRIBERS EVENTS INTERVAL_MS".into());
    };
    let (subscribers, events): (usize, u64) = (subscribers.parse()?, events.parse()?);
    let session = format!("burst-{:08x}", fastrand::u32(..));
    let ready = Arc::new(Barrier::new(subscribers + 1));
    let mut sockets = JoinSet::new();
    for _ in 0..subscribers {
        let (url, ready) = (format!("ws://{address}/ws/{session}"), Arc::clone(&ready));
        sockets.spawn(async move {
            let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
            ready.wait().await;
            let mut latencies = Vec::new();
            if events == 0 {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            while (latencies.len() as u64) < events {
                let Some(message) = socket.next().await else { break };
                let text = message?.into_text()?;
                let Some((_, rest)) = text.split_once("\"ts\":") else { continue };
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                latencies.push(monotonic_ns().saturating_sub(digits.parse().unwrap_or_default()));
            }
            Ok::<_, tokio_tungstenite::tungstenite::Error>(latencies)
        });
    }
    ready.wait().await;
    let start = Instant::now();
    if events > 0 {
        let body = json!({"session_id": session, "events": events, "interval_ms": interval.parse::<f64>()?})
            .to_string();
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "POST /api/agent/run-async HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(answer.into());
        }
    }
    let mut all = Vec::new();
    while let Some(latencies) = sockets.join_next().await {
        all.extend(latencies??);
    }
    let wall = start.elapsed().as_secs_f64();
    all.sort_unstable();
    let at =
        |share: f64| all.get(((all.len() as f64 - 1.0) * share) as usize).map_or(0.0, |ns| *ns as f64 / 1e6);
    let reported: Value = json!({
        "subscribers": subscribers, "messages": all.len(), "wall_ms": wall * 1e3,
        "messages_per_s": all.len() as f64 / wall, "p50_ms": at(0.5), "p99_ms": at(0.99),
    });
    writeln!(std::io::stdout(), "{reported}")?;
    Ok(())
}
