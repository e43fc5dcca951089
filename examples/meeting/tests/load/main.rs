//! Figures of the server as a separate process: delay of audio with 100 meetings at once, first chunk, and memory of a
//! meeting of one hour. Clients and the transcription endpoint are in this process.
//!
//! Ignored by default: `cargo test --release -p meeting --test load -- --ignored --nocapture --test-threads=1`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that speaks to a person")]

#[path = "../../../../agent-core/tests/realtime/endpoint.rs"]
mod endpoint;
#[path = "../it/support.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "a part is used")]
mod support;

use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use endpoint::Endpoint;
use parking_lot::Mutex;
use support::{Client, audio};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

const MEETINGS: usize = 100;
const SECONDS: u64 = 30;

/// A server in a separate process. Dropping it kills the process.
struct Server {
    process: Child,
    base: String,
    _folder: TempDir,
    _log: JoinSet<()>,
}

impl Server {
    async fn start(upstream: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_meeting"))
            .current_dir(&folder)
            .env_clear()
            .envs([("API_HOST", "127.0.0.1"), ("PORT", "0"), ("REALTIME_API_URL", upstream)])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let base = loop {
            let line = lines.next_line().await.unwrap().expect("the server has ended");
            if let Some((_, rest)) = line.split_once("listening on http://") {
                break rest.split(',').next().unwrap().to_owned();
            }
        };
        // A full pipe would stop the server.
        let mut log = JoinSet::new();
        log.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { process, base, _folder: folder, _log: log }
    }

    /// Resident memory, in MiB.
    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id().unwrap());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

/// Each client sends 100 ms of audio every 100 ms, with the time of sending in its first samples.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn audio_of_100_meetings_is_relayed_without_delay() {
    let begun = Instant::now();
    let endpoint = Endpoint::bind().await;
    let server = Arc::new(Server::start(&endpoint.url).await);
    let delays: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let mut tasks = JoinSet::new();
    for number in 0..MEETINGS {
        let server = Arc::clone(&server);
        tasks.spawn(async move {
            let mut client = Client::join(&server.base, &format!("load-{number}")).await;
            // Meetings do not speak in step.
            tokio::time::sleep(Duration::from_millis(number as u64)).await;
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            let mut chunk = audio(100);
            for _ in 0..SECONDS * 10 {
                ticks.tick().await;
                let now = u64::try_from(begun.elapsed().as_nanos()).unwrap();
                chunk[..8].copy_from_slice(&now.to_le_bytes());
                client.audio(&chunk).await;
            }
            // The messages are read, as a page does.
            client.settled().await;
        });
    }
    for _ in 0..MEETINGS {
        let mut connection = endpoint.session().await;
        let delays = Arc::clone(&delays);
        tasks.spawn(async move {
            for _ in 0..SECONDS * 10 {
                let message = connection.next().await;
                let pcm = STANDARD.decode(message["audio"].as_str().unwrap()).unwrap();
                let sent = u64::from_le_bytes(pcm[..8].try_into().unwrap());
                let delay = begun.elapsed().saturating_sub(Duration::from_nanos(sent));
                delays.lock().push(delay);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let delays = std::mem::take(&mut *delays.lock());
    assert_eq!(delays.len(), MEETINGS * SECONDS as usize * 10, "nothing is lost");
    println!(
        "{} chunks of {MEETINGS} meetings: {}; server {} MiB",
        delays.len(),
        spread(delays.clone()),
        server.resident()
    );
    let mut sorted = delays;
    sorted.sort();
    let p99 = sorted[(sorted.len() - 1) * 99 / 100];
    assert!(p99 <= Duration::from_millis(50), "{p99:?}");
}

/// The first audio of a meeting has the longest way: the meeting is created, and the endpoint connected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn the_first_chunk_reaches_the_endpoint_soon() {
    let endpoint = Endpoint::bind().await;
    let server = Server::start(&endpoint.url).await;
    let (mut audio_times, mut text_times) = (Vec::new(), Vec::new());
    // Kept to the end: a connection that ends is opened again by its meeting, and would be taken for that of the next one.
    let mut open = Vec::new();
    for number in 0..50 {
        let mut client = Client::join(&server.base, &format!("first-{number}")).await;
        client.next("ready").await;
        let begun = Instant::now();
        client.audio(&audio(100)).await;
        let mut connection = endpoint.session().await;
        connection.audio(4_800).await;
        audio_times.push(begun.elapsed());
        client.next("status").await;
        connection.speech("a", 0, 100).await;
        let begun = Instant::now();
        connection.transcript("a", &["안녕하세요"]).await;
        client.next("transcript").await;
        text_times.push(begun.elapsed());
        open.push((client, connection));
    }
    println!("first audio of a meeting to the endpoint: {}", spread(audio_times));
    println!("transcript from the endpoint to the client, stored and synced: {}", spread(text_times));
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    format!("p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(0.5), at(0.99), at(1.0))
}

/// An utterance every six seconds, for an hour of audio, as fast as the relay takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn memory_of_a_meeting_of_one_hour_is_flat() {
    let endpoint = Endpoint::bind().await;
    let server = Server::start(&endpoint.url).await;
    let mut client = Client::join(&server.base, "hour").await;
    client.audio(&audio(20)).await;
    let mut connection = endpoint.session().await;
    connection.audio(960).await;
    let mut figures = Vec::new();
    let second = audio(1_000);
    for utterance in 0..600_u64 {
        for _ in 0..6 {
            client.audio(&second).await;
        }
        connection.audio(6 * 48_000).await;
        let (item, start) = (format!("item-{utterance}"), utterance * 6_000 + 20);
        connection.speech(&item, start, start + 5_000).await;
        let text = format!("{utterance}번째 발언입니다. 다음 안건을 보겠습니다. 제가 확인하겠습니다.");
        connection.transcript(&item, &[&text]).await;
        assert_eq!(client.next("transcript").await["item_id"], item);
        client.forget();
        if utterance % 60 == 59 {
            figures.push(server.resident());
        }
    }
    println!("resident MiB every six minutes of audio: {figures:?}");
    let (first, last) = (figures[1], figures[figures.len() - 1]);
    assert!(last <= first + 16, "{figures:?}");
}
