//! Measures the latency that the server adds: from a chunk of the model to the client's socket, with many sessions at once.
//!
//! `cargo run --release -p counselling --example latency [SESSIONS] [CHUNKS]`. The model server, the service (SQLite file, pace
//! off) and the clients share this process and its processors. A chunk contains the time at which the model server wrote it.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::{sync::Arc, time::Duration};

use agent_core::{
    model::{Model, openai::OpenAi},
    sqlite::Sqlite,
};
use counselling::{Conversations, Counselling, Settings, Stores};
use futures::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};
use tokio_util::task::TaskTracker;

/// Pause of the model between two chunks.
const PAUSE: Duration = Duration::from_millis(50);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let sessions = arguments.next().transpose()?.unwrap_or(200);
    let chunks = arguments.next().transpose()?.unwrap_or(100);
    let start = Instant::now();
    let tasks = TaskTracker::new();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move { drop(speak(stream, chunks, start).await) });
        }
    });

    let home = tempfile::TempDir::new()?;
    let store = Sqlite::open(home.path().join("latency.db"))?;
    let memory: Arc<dyn agent_core::memory::MemoryStore> = Arc::new(store.memory());
    let conversations = Conversations::embedded(Arc::clone(&memory));
    let stores = Stores { journal: Arc::new(store), memory, conversations };
    let answer_limit = Duration::from_secs(120);
    let settings = Settings { pace: Duration::ZERO, answer_limit, ..Settings::default() };
    let model = Model::new(OpenAi::builder().base_url(url).model("latency").build()?);
    let service = Counselling::new(settings, stores, model)?;
    let server = service.server().bind("127.0.0.1:0").await?;
    let address = server.address();
    tasks.spawn(async move { service.serve(server, std::future::pending()).await });

    // Spread over the pause, as independent sessions are.
    let gap = PAUSE / u32::try_from(sessions.max(1))?;
    let clients = (0_u32..).take(sessions).map(|number| async move {
        sleep(gap * number).await;
        client(format!("ws://{address}/ws/session/s-{number}"), start).await
    });
    let mut first = Vec::new();
    let mut later = Vec::new();
    for result in join_all(clients).await {
        let (begun, times) = result?;
        first.push(begun);
        later.extend(times);
    }
    let answers = first.len();
    println!("{answers} sessions, {} chunks", later.len());
    print("chunk, model to socket", later);
    print("request to the model's first chunk at the socket, pause of the model excluded", first);
    Ok(())
}

/// Returns the time from the request to the first chunk, and the latencies of all chunks, in microseconds.
async fn client(url: String, start: Instant) -> Result<(u64, Vec<u64>), Failure> {
    let (mut socket, _) = connect_async(url).await?;
    let asked = Instant::now();
    let request = json!({"type": "request_ai_response", "data": {"message": "안녕하세요", "emotion": "sad"}});
    socket.send(Message::text(request.to_string())).await?;
    let (mut first, mut times) = (None, Vec::new());
    loop {
        let message = socket.next().await.ok_or("the server hung up")??;
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text)?;
        match message["type"].as_str() {
            Some("ai_stream_chunk") => {
                let now = micros(start);
                first.get_or_insert_with(|| micros(asked));
                let chunk = message["data"]["chunk"].as_str().unwrap_or_default();
                let written = chunk.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
                times.extend(written.map(|written| now.saturating_sub(written)));
            }
            Some("ai_stream_complete") => return Ok((first.unwrap_or_default(), times)),
            Some("ai_stream_error") => return Err(message.to_string().into()),
            _ => {}
        }
    }
}

/// The model: a chunk with the time, a pause, and so on.
async fn speak(mut stream: TcpStream, chunks: usize, start: Instant) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 16 * 1024];
    let _length = stream.read(&mut request).await?;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        .await?;
    for _ in 0..chunks {
        let text = format!("{} ", micros(start));
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
        stream.write_all(format!("data: {chunk}\n\n").as_bytes()).await?;
        sleep(PAUSE).await;
    }
    let end = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    stream.write_all(format!("data: {end}\n\ndata: [DONE]\n\n").as_bytes()).await
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn print(name: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 1_000).copied().unwrap_or_default();
    let [half, most, nearly] = [500, 990, 999].map(|part| std::time::Duration::from_micros(at(part)));
    println!("{name}: p50 {half:?}, p99 {most:?}, p99.9 {nearly:?}");
}
