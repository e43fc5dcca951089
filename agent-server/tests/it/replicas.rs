//! Processes over one PostgreSQL database: killed, suspended and restarted, with clients at any of them.

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
    time::{Duration, Instant},
};

use agent_postgres::testing::Cluster;
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::{
    process::{ASK, Process, key},
    support::{LONG, Reply, send, socket::Client},
};

/// One server for all tests. Ends with the process.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// Processes on a separate database.
struct Replicas {
    home: TempDir,
    address: String,
    all: Vec<Option<Process>>,
    pace: u32,
}

impl Replicas {
    async fn start(count: usize, pace: u32) -> Self {
        let database = cluster().database();
        let address = cluster().address(&database).expose().to_owned();
        let mut replicas = Self { home: TempDir::new().unwrap(), address, all: Vec::new(), pace };
        for _ in 0..count {
            let process = replicas.process().await;
            replicas.all.push(Some(process));
        }
        replicas
    }

    async fn process(&self) -> Process {
        let settings = [("CHECKPOINT_DB_URI", &*self.address)];
        Process::start_with(self.home.path(), self.pace, &settings).await
    }

    fn at(&self, index: usize) -> &Process {
        self.all[index].as_ref().unwrap()
    }

    async fn kill(&mut self, index: usize) {
        self.all[index].take().unwrap().kill().await;
    }

    async fn restart(&mut self, index: usize) {
        self.all[index] = Some(self.process().await);
    }

    async fn socket(&self, index: usize, session: &str, query: &str) -> Client {
        Client::connect(self.at(index).address, session, query).await.unwrap()
    }

    async fn run(&self, index: usize, session: &str) -> Reply {
        self.at(index).post("/run-async", json!({"message": ASK, "session_id": session})).await
    }

    async fn status(&self, index: usize, session: &str) -> Value {
        let path = format!("/status/{session}");
        send(self.at(index).address, Method::GET, &path, &[], "").await.body["status"].clone()
    }

    /// Everything in the journal up to a number, as a subscriber of another process sees it.
    async fn whole(&self, index: usize, session: &str, upto: u64) -> Vec<(u64, Value)> {
        let mut socket = self.socket(index, session, "?events=all").await;
        while socket.last < upto {
            socket.next().await;
        }
        entries(socket.numbered())
    }
}

fn is_resumed(message: &Value) -> bool {
    message["type"] == "status" && message["data"]["status"] == "running"
}

/// The numbers of journal entries and what they are about, without questions: one that was answered is sent in another form.
fn entries(events: Vec<Value>) -> Vec<(u64, Value)> {
    let about = |event: &Value| match event["data"]["type"].as_str() {
        Some("question_asked") => Value::Null,
        _ if event["type"] == "hitl_request" => Value::Null,
        _ => event["data"].clone(),
    };
    events.iter().map(|event| (event["seq"].as_u64().unwrap(), about(event))).collect()
}

fn signal(process: &Process, name: &str) {
    let id = process.id().to_string();
    assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
}

fn assert_steps_ran_once(events: &[Value]) {
    let steps: Vec<_> = events.iter().filter_map(key).collect();
    assert_eq!(steps.iter().collect::<HashSet<_>>().len(), steps.len(), "{steps:?}");
}

#[tokio::test]
async fn a_question_in_postgres_survives_a_kill() {
    let mut replicas = Replicas::start(1, 0).await;
    let started = replicas.run(0, "s").await;
    assert_eq!(started.status, 200, "{started:?}");
    let question = replicas.socket(0, "s", "").await.until("hitl_request").await;
    replicas.kill(0).await;
    replicas.restart(0).await;
    let ready = send(replicas.at(0).address, Method::GET, "/ready", &[], "").await;
    assert_eq!((ready.status.as_u16(), &ready.body["status"]), (200, &json!("ready")));
    // If the process died between the question and the pause, the next one asks again first.
    let paused = async { while replicas.status(0, "s").await != "paused" {} };
    timeout(LONG, paused).await.expect("the run is paused again");
    let mut socket = replicas.socket(0, "s", "?events=all").await;
    socket.answer(&question).await;
    let done = socket.until("complete").await;
    assert!(done["data"]["response"].as_str().unwrap().contains("아누아"));
    assert_steps_ran_once(&socket.got);
}

#[tokio::test]
async fn a_database_that_is_down_stops_the_start_and_is_named() {
    let home = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_agent-server"))
        .current_dir(home.path())
        .env_clear()
        .envs([("DATABASE_URL", "postgresql+asyncpg://me:hunter2@127.0.0.1:1/agents"), ("API_PORT", "0")])
        .output()
        .await
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(log.contains("database `agents` at 127.0.0.1:1") && !log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn any_replica_takes_any_request_and_shows_everything_live() {
    let replicas = Replicas::start(3, 40).await;
    // A subscriber before the run, at a replica that does not execute it.
    let mut early = replicas.socket(1, "s", "?events=all").await;
    assert_eq!(replicas.run(0, "s").await.status, 200);
    while key(&early.next().await).is_none() {}
    assert_eq!(replicas.status(2, "s").await, "running");
    let busy = replicas.run(2, "s").await;
    assert_eq!(busy.refusal(), (409, "session_busy"), "one run at a time, wherever it is");
    let question = early.until("hitl_request").await;
    let mut late = replicas.socket(2, "s", "?events=all").await;
    late.answer(&question).await;
    let done = early.until("complete").await;
    late.until("complete").await;
    assert!(done["data"]["response"].as_str().unwrap().contains("아누아"));
    let upto = done["seq"].as_u64().unwrap();
    let whole = replicas.whole(0, "s", upto).await;
    assert_eq!(entries(early.numbered()), whole, "nothing missed, nothing twice");
    assert_eq!(entries(late.numbered()), whole, "nothing missed, nothing twice");
    assert_steps_ran_once(&late.got);
    // The next run begins at another replica.
    assert_eq!(replicas.run(1, "s").await.status, 200);
    early.until("hitl_request").await;
}

#[tokio::test]
async fn a_run_is_stopped_from_another_replica() {
    let replicas = Replicas::start(2, 300).await;
    assert_eq!(replicas.run(0, "s").await.status, 200);
    let mut socket = replicas.socket(1, "s", "?events=all").await;
    while key(&socket.next().await).is_none() {}
    let stopped = replicas.at(1).post("/stop/s", json!({})).await;
    assert_eq!((stopped.status.as_u16(), &stopped.body["status"]), (200, &json!("stopped")), "{stopped:?}");
    loop {
        let message = socket.next().await;
        if message["type"] == "error" {
            assert_eq!(message["data"]["details"]["code"], "run_stopped");
            break;
        }
    }
    assert_eq!(replicas.status(0, "s").await, "stopped");
    // Resumed where it was not executed.
    assert_eq!(replicas.at(1).post("/resume/s", json!({})).await.status, 200);
    replicas.socket(0, "s", &format!("?after={}", socket.last)).await.until("hitl_request").await;
}

#[tokio::test]
async fn the_sessions_of_a_killed_replica_continue_elsewhere_within_five_seconds() {
    let mut replicas = Replicas::start(2, 150).await;
    assert_eq!(replicas.run(0, "s").await.status, 200);
    let mut socket = replicas.socket(1, "s", "?events=all").await;
    while key(&socket.next().await).is_none() {}
    replicas.kill(0).await;
    let killed = Instant::now();
    let before = socket.last;
    while socket.last <= before {
        socket.next().await;
    }
    // Text that was not complete is discarded: a resumed run publishes its start.
    while !is_resumed(socket.got.last().unwrap()) {
        socket.next().await;
    }
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let question = socket.until("hitl_request").await;
    socket.answer(&question).await;
    socket.until("complete").await;
    assert_steps_ran_once(&socket.got);
}

#[tokio::test]
async fn a_replica_that_was_suspended_notices_and_its_late_writes_are_refused() {
    let replicas = Replicas::start(2, 400).await;
    assert_eq!(replicas.run(0, "s").await.status, 200);
    let mut there = replicas.socket(0, "s", "?events=all").await;
    while key(&there.next().await).is_none() {}
    let mut here = replicas.socket(1, "s", "?events=all").await;
    signal(replicas.at(0), "-STOP");
    while !is_resumed(&here.next().await) {}
    signal(replicas.at(0), "-CONT");
    let question = here.until("hitl_request").await;
    here.answer(&question).await;
    let done = here.until("complete").await;
    // The subscriber of the suspended replica sees the rest, once and in order.
    there.until("complete").await;
    let whole = replicas.whole(1, "s", done["seq"].as_u64().unwrap()).await;
    let last = there.last.min(here.last);
    let upto = |events: Vec<(u64, Value)>| -> Vec<(u64, Value)> {
        events.into_iter().filter(|(seq, _)| *seq <= last).collect()
    };
    assert_eq!(upto(entries(there.numbered())), upto(whole.clone()));
    assert_eq!(upto(entries(here.numbered())), upto(whole.clone()));
    assert_steps_ran_once(&here.got);
    assert_eq!(replicas.status(0, "s").await, "completed");
}

#[tokio::test]
async fn a_rolling_restart_loses_no_run() {
    let mut replicas = Replicas::start(2, 60).await;
    let sessions: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    for (number, session) in sessions.iter().enumerate() {
        assert_eq!(replicas.run(number % 2, session).await.status, 200);
    }
    for index in 0..2 {
        let mut old = replicas.all[index].take().unwrap();
        signal(&old, "-TERM");
        assert!(old.ended().await.success());
        replicas.restart(index).await;
    }
    for (number, session) in sessions.iter().enumerate() {
        let mut socket = replicas.socket(number % 2, session, "?events=all").await;
        let question = socket.until("hitl_request").await;
        socket.answer(&question).await;
        socket.until("complete").await;
        assert_steps_ran_once(&socket.got);
    }
}

/// Kills at random moments. Set `KILLS` for more than the few of the gate, and `SEED` to repeat one.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures of a long run")]
async fn nothing_acknowledged_is_lost_when_replicas_are_killed_at_random() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (kills, seed) = (number("KILLS", 6), number("SEED", fastrand::u64(..)));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut replicas = Replicas::start(3, 30).await;
    let (mut accepted, mut answered) = (Vec::new(), HashMap::new());
    let begun = Instant::now();
    let (mut requests, mut refused) = (0, 0);
    for round in 0..kills {
        for n in 0..4 {
            let session = format!("r{round}-{n}");
            let index = random.usize(..3);
            requests += 1;
            let reply = replicas
                .at(index)
                .try_post("/run-async", json!({"message": ASK, "session_id": session}))
                .await;
            match reply {
                Some(reply) if reply.status == 200 => accepted.push(session),
                _ => refused += 1,
            }
        }
        // Some earlier ones are answered, at any replica.
        for session in &accepted {
            if random.u8(..4) > 0 {
                continue;
            }
            let index = random.usize(..3);
            let path = format!("/status/{session}");
            let status = send(replicas.at(index).address, Method::GET, &path, &[], "").await;
            assert_eq!(status.status, 200, "seed {seed}: what was accepted is found: {status:?}");
            let open = &status.body["data"]["questions"][0];
            let Some(id) = open["id"].as_str().filter(|_| status.body["status"] == "paused") else {
                continue;
            };
            let body = json!({"value": open["options"][0], "id": id});
            let reply = replicas.at(index).try_post(&format!("/resume/{session}"), body).await;
            if reply.is_some_and(|reply| reply.status == 200) {
                let earlier = answered.insert(session.clone(), id.to_owned());
                assert!(
                    earlier.is_none_or(|earlier| earlier != id),
                    "seed {seed}: {session} took an answer twice"
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(random.u64(..400))).await;
        let victim = random.usize(..3);
        replicas.kill(victim).await;
        replicas.restart(victim).await;
    }
    for session in &accepted {
        let index = random.usize(..3);
        let mut socket = replicas.socket(index, session, "?events=all").await;
        let done = loop {
            let message = socket.next().await;
            match message["type"].as_str() {
                Some("hitl_request") => socket.answer(&message).await,
                Some("complete") => break message,
                Some("error") => assert_eq!(
                    message["data"]["details"]["code"], "already_answered",
                    "seed {seed}: {session}: {message}"
                ),
                _ => {}
            }
        };
        assert_steps_ran_once(&socket.got);
        let answers: Vec<&Value> =
            socket.got.iter().filter(|message| message["data"]["type"] == "question_answered").collect();
        let ids: HashSet<&str> = answers.iter().filter_map(|it| it["data"]["data"]["id"].as_str()).collect();
        assert_eq!(ids.len(), answers.len(), "seed {seed}: {session}: each answer counts once");
        if let Some(id) = answered.get(session) {
            assert!(ids.contains(&**id), "seed {seed}: {session}: the acknowledged answer is in the journal");
        }
        let whole = replicas.whole(random.usize(..3), session, done["seq"].as_u64().unwrap()).await;
        assert_eq!(entries(socket.numbered()), whole, "seed {seed}: {session}");
    }
    println!(
        "{kills} kills, {requests} requests, {} accepted, {refused} refused, {} answered in between, {:.1?}, seed {seed}",
        accepted.len(),
        answered.len(),
        begun.elapsed()
    );
}
