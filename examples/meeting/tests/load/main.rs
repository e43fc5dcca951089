//! Figures of the relay: delay of audio with 100 meetings at once, and memory of a meeting of one hour.
//!
//! Ignored by default: `cargo test --release -p meeting --test load -- --ignored --nocapture --test-threads=1`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that speaks to a person")]

#[path = "../../../../agent-core/tests/realtime/endpoint.rs"]
mod endpoint;
#[path = "../it/support.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "a part is used")]
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use endpoint::Endpoint;
use parking_lot::Mutex;
use support::{Running, audio, realtime};
use tokio::task::JoinSet;

const MEETINGS: usize = 100;
const SECONDS: u64 = 30;

/// Each client sends 100 ms of audio every 100 ms, with the time of sending in its first samples.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn audio_of_100_meetings_is_relayed_without_delay() {
    let begun = Instant::now();
    let endpoint = Endpoint::bind().await;
    let running = Arc::new(Running::start(realtime(&endpoint.url)).await);
    let delays: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let mut tasks = JoinSet::new();
    for number in 0..MEETINGS {
        let running = Arc::clone(&running);
        tasks.spawn(async move {
            let mut client = running.join(&format!("load-{number}")).await;
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
    let mut delays = std::mem::take(&mut *delays.lock());
    delays.sort();
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!(
        "{} chunks: p50 {:?}, p99 {:?}, max {:?}; client, server and upstream in one process with two threads",
        delays.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert_eq!(delays.len(), MEETINGS * SECONDS as usize * 10, "nothing is lost");
    assert!(at(0.99) <= Duration::from_millis(50), "{:?}", at(0.99));
}

/// Resident memory of the process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// An utterance every six seconds, for an hour of audio, as fast as the relay takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn memory_of_a_meeting_of_one_hour_is_flat() {
    let endpoint = Endpoint::bind().await;
    let running = Running::start(realtime(&endpoint.url)).await;
    let mut client = running.join("hour").await;
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
            figures.push(resident());
        }
    }
    println!("resident MiB every six minutes of audio: {figures:?}");
    let (first, last) = (figures[1], figures[figures.len() - 1]);
    assert!(last <= first + 16, "{figures:?}");
}
