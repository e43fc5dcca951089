//! The five short programs: their length, their place in the guide, and `kill -9` in the middle of each.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::ChildStdout,
    time::{Duration, Instant},
};

use serde_json::json;

use self::support::{Endpoint, Reply, example, finish, kill, text};

/// Program, most lines, and the chapter that has it.
const PROGRAMS: [(&str, usize, &str); 5] = [
    ("chat", 18, "agent-core/src/guide/first_agent.md"),
    ("sub_agents", 16, "agent-core/src/guide/sub_agents.md"),
    ("approval", 25, "agent-core/src/guide/interrupts.md"),
    ("retrieval", 20, "agent-tools/src/retrieval/guide.md"),
    ("serve", 6, "agent-server/src/guide.md"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The program without the comment at its head, the lint attribute of this workspace, and blank lines.
fn lines(name: &str) -> Vec<String> {
    let source = std::fs::read_to_string(root().join(format!("examples/examples/{name}.rs"))).unwrap();
    let counted = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("//!") && !line.starts_with("#![expect(clippy::print_stdout")
    };
    source.lines().filter(counted).map(str::to_owned).collect()
}

#[test]
fn the_short_programs_are_short() {
    for (name, most, _) in PROGRAMS {
        let count = lines(name).len();
        assert!(count <= most, "{name} has {count} lines, {most} are allowed");
    }
}

#[test]
fn the_guide_shows_the_programs_that_are_tested_here() {
    for (name, _, chapter) in PROGRAMS {
        let page = std::fs::read_to_string(root().join(chapter)).unwrap();
        let page: Vec<&str> = page.lines().filter(|line| !line.trim().is_empty()).collect();
        let program = lines(name);
        let shown = page.windows(program.len()).any(|shown| shown == program);
        assert!(shown, "{chapter} does not show examples/examples/{name}.rs; copy it");
    }
}

#[test]
fn without_a_model_the_programs_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = finish(example("chat", folder.path()).spawn().unwrap(), "Seoul\n");
    assert_eq!(out, "[offline: no model is configured] weather: Seoul: sunny, 21 °C\n");
    let out = finish(example("sub_agents", folder.path()).spawn().unwrap(), "");
    assert_eq!(out.matches("[offline: no model is configured]").count(), 3, "{out}");
    let handbook = handbook();
    let mut retrieval = example("retrieval", folder.path());
    let out = finish(retrieval.arg(handbook.path()).spawn().unwrap(), "refund days\n");
    assert!(out.starts_with("[offline: no model is configured] search_documents: ["), "{out}");
    assert!(out.contains("refunds.md"), "{out}");
    let out = finish(example("serve", folder.path()).args(["run", "hello"]).spawn().unwrap(), "");
    assert!(out.contains("[offline: no model is configured] hello"), "{out}");
}

#[test]
fn a_killed_chat_finishes_the_message_and_keeps_the_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(|call, messages| match (call, text(messages.last().unwrap()).as_str()) {
        (0, "How is Seoul?") => Reply::Calls(vec![("weather", json!({ "city": "Seoul" }))]),
        (1, "Seoul: sunny, 21 °C") => Reply::Hang,
        (2, "Seoul: sunny, 21 °C") => Reply::Text("It is sunny."),
        (3, "Thanks!") if text(&messages[messages.len() - 2]) == "It is sunny." => Reply::Text("Any time."),
        other => panic!("unexpected call: {other:?}"),
    });
    let start = || example("chat", folder.path()).env("OPENAI_BASE_URL", &endpoint.url).spawn().unwrap();
    let mut first = start();
    first.stdin.as_mut().unwrap().write_all("How is Seoul?\n".as_bytes()).unwrap();
    endpoint.wait_hanging();
    kill(first);
    assert_eq!(finish(start(), "Thanks!\n"), "Any time.\n");
    assert_eq!(endpoint.calls().len(), 4, "{:?}", endpoint.calls());
}

#[test]
fn a_killed_supervisor_does_not_ask_its_sub_agents_again() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(|call, messages| {
        let task = |task: &str| json!({ "task": task, "todo": null });
        match (call, text(&messages[0]).as_str()) {
            (0, _) => Reply::Calls(vec![("facts", task("Facts?")), ("doubts", task("Doubts?"))]),
            (1 | 2, "List three facts.") => Reply::Text("People ski."),
            (1 | 2, "Name one risk.") => Reply::Text("Few buy it."),
            (3, "Ask both, then decide.") => Reply::Hang,
            (4, "Ask both, then decide.") => Reply::Text("Sell it in the mountains."),
            other => panic!("unexpected call: {other:?}"),
        }
    });
    let start =
        || example("sub_agents", folder.path()).env("OPENAI_BASE_URL", &endpoint.url).spawn().unwrap();
    let first = start();
    endpoint.wait_hanging();
    kill(first);
    assert_eq!(finish(start(), ""), "Sell it in the mountains.\n");
    assert_eq!(endpoint.calls().len(), 5, "{:?}", endpoint.calls());
}

/// The next line that a process prints.
fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line
}

#[test]
fn a_killed_approval_asks_again_and_takes_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = example("approval", folder.path()).spawn().unwrap();
    let mut out = BufReader::new(first.stdout.take().unwrap());
    assert_eq!(line(&mut out), "Pay 50000 won?\n");
    kill(first);
    let second = example("approval", folder.path()).spawn().unwrap();
    assert_eq!(finish(second, "yes\n"), "Pay 50000 won?\npaid: true\n");
}

fn handbook() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("refunds.md", "# Refunds\n\nA refund is possible within 14 days.\n");
    write("shipping.html", "<h1>Shipping</h1><p>Shipping takes two days.</p>");
    write("photo.jpg", "not a text");
    folder
}

#[test]
fn a_killed_librarian_neither_embeds_nor_asks_again() {
    let (folder, handbook) = (tempfile::tempdir().unwrap(), handbook());
    let endpoint = Endpoint::start(|call, messages| {
        let last = text(messages.last().unwrap());
        match call {
            0 => Reply::Calls(vec![("search_documents", json!({ "query": "refund period" }))]),
            1 if last.contains("refunds.md") && last.contains("14 days") => Reply::Hang,
            2 if last.contains("14 days") => Reply::Text("Within 14 days."),
            3 if last == "Thanks!" => Reply::Text("Any time."),
            _ => panic!("unexpected call {call}: {last}"),
        }
    });
    let start = || {
        let mut command = example("retrieval", folder.path());
        command.arg(handbook.path()).env("OPENAI_BASE_URL", &endpoint.url);
        command.env("EMBEDDING_MODEL", "played").env("EMBEDDING_LENGTH", "3").spawn().unwrap()
    };
    let mut first = start();
    first.stdin.as_mut().unwrap().write_all("How long can I return it?\n".as_bytes()).unwrap();
    endpoint.wait_hanging();
    // Two passages and the query.
    assert_eq!(endpoint.embedded(), 3);
    kill(first);
    assert_eq!(finish(start(), "Thanks!\n"), "Any time.\n");
    assert_eq!((endpoint.embedded(), endpoint.calls().len()), (3, 4), "{:?}", endpoint.calls());
}

/// A request to the served agent. `None` while nothing listens.
fn request(port: u16, head: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let length = body.len();
    let head = format!(
        "{head} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Asks until the answer contains a text.
fn request_until(port: u16, head: &str, body: &str, wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let answer = request(port, head, body).unwrap_or_default();
        if answer.contains(wanted) {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{head}: {answer}");
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_server_resumes_its_runs_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(|call, messages| match (call, text(messages.last().unwrap()).as_str()) {
        (0, "hello") => Reply::Hang,
        (1, "hello") => Reply::Text("Good morning."),
        other => panic!("unexpected call: {other:?}"),
    });
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = || {
        let mut command = example("serve", folder.path());
        command.env("OPENAI_BASE_URL", &endpoint.url).env("API_HOST", "127.0.0.1");
        command.env("API_PORT", port.to_string()).spawn().unwrap()
    };
    let first = start();
    let body = json!({ "message": "hello", "session_id": "s1" }).to_string();
    request_until(port, "POST /run-async", &body, "started");
    endpoint.wait_hanging();
    kill(first);
    let second = start();
    let answer = request_until(port, "GET /status/s1", "", "\"completed\"");
    assert!(answer.contains("Good morning."), "{answer}");
    kill(second);
    assert_eq!(endpoint.calls().len(), 2);
}
