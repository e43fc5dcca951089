//! Many subscribers of one session: how much they slow down the other sessions of the server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agent_core::{
    journal::{InMemoryJournal, JournalStore, StoreError},
    testing::{HookedStore, StoreCall, StoreHook},
};
use agent_server::TaskAgent;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

use crate::support::{
    Here,
    agent::{Puppeteer, puppet},
};

const ASK: &str = "라네즈 리뷰를 분석해 주세요";
const SUBSCRIBERS: usize = 200;

/// Starts subscribers that read and discard: they share the processors with the server.
async fn subscribers(here: &Here, session: &str, count: usize) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    let ready = Arc::new(Semaphore::new(0));
    for _ in 0..count {
        let mut stream = TcpStream::connect(here.address).await.unwrap();
        let request = format!(
            "GET /ws/{session} HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            here.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let ready = Arc::clone(&ready);
        readers.spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            let mut head = true;
            while let Ok(read) = stream.read(&mut buffer).await
                && read > 0
            {
                if std::mem::take(&mut head) {
                    ready.add_permits(1);
                }
            }
        });
    }
    ready.acquire_many(u32::try_from(count).unwrap()).await.unwrap().forget();
    readers
}

/// One analysis from its request to its report.
async fn analysis(here: &Here, session: &str) -> Duration {
    let begun = Instant::now();
    let paused = here.post("/run", json!({"message": ASK, "session_id": session})).await.body;
    let question: &Value = &paused["data"]["questions"][0];
    let answer = json!({"value": question["options"][0], "id": question["id"]});
    let done = here.post(&format!("/resume/{session}"), answer).await.body;
    assert!(matches!(done["status"].as_str(), Some("completed" | "running")), "{done}");
    begun.elapsed()
}

/// The median time of an analysis on other sessions while a watched session runs at the same time.
async fn beside(here: &Here, watched: &str, watchers: usize) -> (Duration, Duration) {
    let readers = subscribers(here, watched, watchers).await;
    let mut last = here.socket(watched, "").await;
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let other = async {
            let mut times = Vec::new();
            for n in 0..4 {
                times.push(analysis(here, &format!("other-{watched}-{round}-{n}")).await);
            }
            times
        };
        let begun = Instant::now();
        let whole = async {
            analysis(here, watched).await;
            last.until("complete").await;
            begun.elapsed()
        };
        let (whole, times) = tokio::join!(whole, other);
        own.push(whole);
        others.extend(times);
    }
    drop(readers);
    own.sort();
    others.sort();
    (own[own.len() / 2], others[others.len() / 2])
}

/// Counts how often a result is made of a state.
struct Counting(Arc<AtomicUsize>);

impl TaskAgent for Counting {
    fn graph(&self) -> &str {
        Puppeteer.graph()
    }

    fn input(&self, message: String, context: Map<String, Value>) -> Value {
        Puppeteer.input(message, context)
    }

    fn response(&self, state: &Value) -> String {
        self.0.fetch_add(1, Ordering::SeqCst);
        Puppeteer.response(state)
    }
}

#[tokio::test]
async fn the_result_of_a_run_is_computed_once_for_all_its_subscribers() {
    let results = Arc::new(AtomicUsize::new(0));
    let here = Here::of(puppet().0, Counting(Arc::clone(&results)), |_| {}).await;
    let mut sockets = Vec::new();
    for query in ["", "?events=status", "?events=all", "?after=0"].into_iter().cycle().take(24) {
        sockets.push(here.socket("s", query).await);
    }
    let session = here.runtime.session("s").unwrap();
    for run in 1..=2 {
        let input = json!({"message": "hi", "response": null});
        session.run_json("puppet", input).start().await.unwrap();
        let mut completed = Vec::new();
        for socket in &mut sockets {
            completed.push(socket.until("complete").await);
        }
        assert!(completed.iter().all(|message| *message == completed[0]), "{completed:?}");
        assert_eq!(completed[0]["data"]["response"], "hi");
        assert_eq!(results.load(Ordering::SeqCst), run, "once a run");
    }
    let all: Vec<Vec<Value>> = sockets.iter().map(super::support::socket::Client::numbered).collect();
    for (one, other) in all.iter().zip(&all[4..]) {
        assert_eq!(one, other, "subscribers of one kind see the same");
    }
}

/// Counts the reads of a journal.
#[derive(Debug, Default)]
struct Reads(AtomicUsize);

impl StoreHook for Reads {
    async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        if matches!(call, StoreCall::Read | StoreCall::Snapshot | StoreCall::Head) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Returns how often the journal is read, and a result computed, while a run completes before its subscribers.
async fn reads_at_completion(subscribers: usize) -> (usize, usize) {
    let results = Arc::new(AtomicUsize::new(0));
    let store = Arc::new(HookedStore::new(Arc::new(InMemoryJournal::new()), Reads::default()));
    let runtime = puppet().0.journal(Arc::clone(&store) as Arc<dyn JournalStore>);
    let agent = Counting(Arc::clone(&results));
    let here = Here::kept(runtime, |server| server.agent(agent)).await;
    let mut sockets = Vec::new();
    for _ in 0..subscribers {
        sockets.push(here.socket("s", "").await);
    }
    let session = here.runtime.session("s").unwrap();
    // In the first run, every subscriber reads the journal up to the live events.
    for _ in 0..2 {
        store.0.store(0, Ordering::SeqCst);
        results.store(0, Ordering::SeqCst);
        let input = json!({"message": "hi", "response": null});
        session.run_json("puppet", input).start().await.unwrap();
        for socket in &mut sockets {
            socket.until("complete").await;
        }
    }
    (store.0.load(Ordering::SeqCst), results.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_completion_costs_the_same_reads_and_one_result_for_one_or_400_subscribers() {
    let (reads, results) = reads_at_completion(1).await;
    assert_eq!(results, 1);
    // With both ends of their connections, more would exceed the usual limit of 1,024 open files.
    assert_eq!(reads_at_completion(400).await, (reads, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "the figures are its result")]
async fn what_two_hundred_subscribers_of_one_session_cost_the_others() {
    let here = Here::trend().await;
    beside(&here, "warm", 0).await;
    let (own_alone, alone) = beside(&here, "alone", 0).await;
    let (own, crowded) = beside(&here, "crowded", SUBSCRIBERS).await;
    let ratio = crowded.as_secs_f64() / alone.as_secs_f64();
    println!("other runs: {alone:?} alone, {crowded:?} beside {SUBSCRIBERS} subscribers: {ratio:.2} times");
    println!("watched run: {own_alone:?} alone, {own:?} with {SUBSCRIBERS} subscribers");
}
