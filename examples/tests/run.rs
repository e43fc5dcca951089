//! Every example does what it says. `cargo test -p examples` builds them first.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Runs an example and gives what it printed.
fn run(name: &str, input: &str) -> String {
    run_with(name, &[], input)
}

/// As `run`, with arguments.
fn run_with(name: &str, arguments: &[&str], input: &str) -> String {
    let tests = std::env::current_exe().unwrap();
    let path: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(
        path.with_extension(std::env::consts::EXE_EXTENSION).exists(),
        "build it: cargo build --examples"
    );
    let mut child = Command::new(path)
        .args(arguments)
        .env_remove("OPENAI_API_KEY")
        .env_remove("OPENAI_BASE_URL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {out}\n{err}");
    out.into_owned()
}

#[test]
fn hello_greets_and_parts() {
    assert_eq!(run("hello", ""), "안녕하세요, 세라!\nSee you, 세라.\n");
}

#[test]
fn the_map_reduce_keeps_the_order_of_the_sends() {
    assert_eq!(run("map_reduce", ""), "scores [2, -1, 2], mean 1.00\n");
}

#[test]
fn the_resume_charges_once() {
    let out = run("resume", "");
    assert_eq!(out.matches("charging the card").count(), 1, "{out}");
    assert!(out.contains("exit status is success: false") && out.ends_with("sent: true, true\n"), "{out}");
}

#[test]
fn the_fork_goes_another_way_and_the_first_session_stays() {
    let out = run("time_travel", "");
    assert!(out.contains("the fork: Some([\"a warm text\"])\nthe first: [\"a dry text\"]\n"), "{out}");
}

#[test]
fn the_structured_answer_is_asked_again_until_it_fits() {
    let out = run("structured", "");
    assert!(out.contains("sentiment: 0.9") && out.ends_with("after 2 answers\n"), "{out}");
}

#[test]
fn the_mcp_tools_are_those_of_another_process() {
    let out = run("mcp_tools", "");
    assert!(out.starts_with("the server offers [\"shop_price\", \"shop_order\"]\n"), "{out}");
    assert!(out.contains("a person is asked: `shop` asks: 수분 크림, how many?\n"), "{out}");
    assert!(out.ends_with("Tool: ordered 2 of 수분 크림\nAssistant: 두 개 주문했어요.\n"), "{out}");
}

#[test]
fn the_served_agent_has_the_command_line_of_the_server() {
    let drawn = run_with("serve", &["graph"], "");
    assert!(drawn.contains("model") && drawn.contains("tools"), "{drawn}");
    let help = run_with("serve", &["run", "--help"], "");
    assert!(help.contains("default: helper"), "{help}");
}
