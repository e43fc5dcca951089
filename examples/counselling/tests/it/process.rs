//! The binary: killed in the middle of an answer and started again.

use std::{net::SocketAddr, path::Path, process::Stdio, sync::Arc};

use hyper::Method;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use crate::support::{
    LONG,
    client::Client,
    send,
    upstream::{Do, Script, Upstream, says},
};

struct Process {
    child: Child,
    address: SocketAddr,
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    async fn start(home: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_counselling"))
            .current_dir(home)
            .env_clear()
            .envs([
                ("API_HOST", "127.0.0.1"),
                ("PORT", "0"),
                ("CHUNK_PACE_MS", "0"),
                ("SWEEP_SECONDS", "0.2"),
            ])
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut process = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let line = process.logged("listening on http://").await;
        let (_, address) = line.split_once("http://").unwrap();
        process.address = address.split(',').next().unwrap().parse().unwrap();
        process
    }

    async fn logged(&mut self, text: &str) -> String {
        let reading = async {
            let mut seen = Vec::new();
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
                seen.push(line);
            }
            panic!("the log ended without {text}: {seen:#?}");
        };
        timeout(LONG, reading).await.unwrap()
    }
}

/// Returns the second process, which may still save the last exchange.
async fn killed_and_continued(settings: &[(&str, &str)]) -> Process {
    let home = tempfile::TempDir::new().unwrap();
    let slow =
        [Do::Say("하나 ".into()), Do::Say("둘 ".into()), Do::Wait, Do::Say("셋".into()), Do::End("stop")];
    let upstream = Upstream::start([Script::Speak(slow.to_vec()), says(&["네."])]).await;
    let url = format!("http://{}/v1", upstream.address);
    let settings: Vec<(&str, &str)> = settings.iter().copied().chain([("OPENAI_BASE_URL", &*url)]).collect();
    let mut process = Process::start(home.path(), &settings).await;
    let mut client = Client::connect(process.address, "s").await;
    client.ask("안녕").await;
    client.begins().await;
    assert_eq!(client.chunk().await + &client.chunk().await, "하나 둘 ");
    // What was said is stored within half a second.
    let stored = async {
        let path = "/sessions/s/journal";
        while !send(process.address, Method::GET, path, &[], "").await.text.contains("said 0") {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, stored).await.unwrap();
    process.child.kill().await.unwrap();
    let again = Process::start(home.path(), &settings).await;
    let mut client = Client::connect(again.address, "s").await;
    client.ask("계속해 주세요").await;
    assert_eq!(client.answer().await.text(), "네.");
    let messages = upstream.messages(upstream.requests().len() - 1);
    let texts: Vec<&str> = messages.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["안녕", "하나 둘 ", "계속해 주세요"]);
    assert_eq!(upstream.requests().len(), 2, "the model is not asked again for a client that has gone");
    again
}

#[tokio::test]
async fn a_process_that_is_killed_in_the_middle_of_an_answer_saves_what_was_said() {
    drop(killed_and_continued(&[]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_with_postgresql() {
    let cluster = Arc::new(tokio::task::block_in_place(agent_postgres::testing::Cluster::start));
    let address = cluster.address("postgres");
    let _process = killed_and_continued(&[("DATABASE_URL", address.expose())]).await;
    // The last exchange may be saved after its client has the end of the answer.
    let saved = async {
        loop {
            let rows = cluster.sql("SELECT ai_response || '|' FROM conversations ORDER BY id");
            match rows.lines().collect::<Vec<_>>()[..] {
                ["하나 둘 |", "네.|"] => return,
                [] | ["하나 둘 |"] => tokio::task::yield_now().await,
                ref other => panic!("{other:?}"),
            }
        }
    };
    timeout(LONG, saved).await.unwrap();
}

#[tokio::test]
async fn log_lines_are_exact_and_hold_no_more_than_fifty_characters() {
    let home = tempfile::TempDir::new().unwrap();
    let scripts = [says(&["비밀스러운 대답이에요."]), Script::Refuse(401, "sk-key")];
    let upstream = Upstream::start(scripts).await;
    let url = format!("http://{}/v1", upstream.address);
    let settings = [("OPENAI_BASE_URL", &*url), ("MAX_AI_REQUESTS_PER_MINUTE", "2")];
    let mut process = Process::start(home.path(), &settings).await;
    let mut client = Client::connect(process.address, "s-1").await;
    let words = format!("{}\n{}", "가".repeat(30), "나".repeat(60));
    let data = json!({"message": words, "emotion": "sad\n[AI Error]"});
    client.send("request_ai_response", data).await;
    client.answer().await;
    client.ask("둘째").await;
    assert!(client.answer().await.error.is_some());
    client.send("request_ai_response", json!({"message": words})).await;
    client.refusal().await;
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.contains("[Rate Limit]")) {
        lines.push(timeout(LONG, process.log.next_line()).await.unwrap().unwrap().unwrap());
    }
    let of = |tag: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.find(tag).map(|at| &line[at..])).collect()
    };
    let head = format!("{} {}", "가".repeat(30), "나".repeat(19));
    let first = format!("[AI Request] session=s-1, emotion=sad [AI Error], message={head}");
    assert_eq!(of("[AI Request]"), [&*first, "[AI Request] session=s-1, emotion=sad, message=둘째"]);
    assert_eq!(of("[AI Response]"), ["[AI Response] session=s-1, length=12"]);
    assert_eq!(of("[Rate Limit]"), [format!("[Rate Limit] session=s-1, message={head}")]);
    let errors = of("[AI Error] session");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("[AI Error] session=s-1, error=the model endpoint rejected the API key"));
    let all = lines.concat();
    assert!(!all.contains("비밀스러운") && !all.contains("sk-key"), "{all}");
    assert!(!all.contains(&"나".repeat(20)), "{all}");
}

#[tokio::test]
async fn without_a_key_it_says_what_is_missing_and_answers_from_a_script() {
    let home = tempfile::TempDir::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_counselling"))
        .current_dir(home.path())
        .env_clear()
        .envs([("API_HOST", "127.0.0.1"), ("PORT", "0")])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut process = Process { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
    assert!(process.logged("no model is configured").await.contains("GEMINI_API_KEY"));
    let line = process.logged("listening on http://").await;
    let address = line.split_once("http://").unwrap().1.split(',').next().unwrap().parse().unwrap();
    let mut client = Client::connect(address, "s").await;
    client.ask("요즘 우울해요").await;
    assert!(client.answer().await.text().contains("슬픔"));
}

#[tokio::test]
async fn an_invalid_setting_is_named() {
    let home = tempfile::TempDir::new().unwrap();
    for (name, value) in
        [("CHUNK_PACE_MS", "fast"), ("REQUIRE_SESSION", "perhaps"), ("CRISIS_FILE", "missing.toml")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_counselling"))
            .current_dir(home.path())
            .env_clear()
            .env(name, value)
            .output();
        let output = timeout(LONG, output).await.unwrap().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(name), "{text}");
    }
}
