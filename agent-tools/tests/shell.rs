//! The shell tool: approval first, bounded output, and no process left running.
#![cfg(feature = "shell")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agent_core::{
    model::ToolCall,
    tool::{StandingApprovals, Tool, ToolContext, ToolError, ToolFault, ToolRegistry},
};
use agent_tools::{Isolation, Shell};
use serde_json::json;

async fn sh(dir: &Path, command: &str, cx: &ToolContext, limit: Duration) -> Result<String, ToolError> {
    run(Shell::in_dir(dir), command, cx, limit).await
}

async fn run(shell: Shell, command: &str, cx: &ToolContext, limit: Duration) -> Result<String, ToolError> {
    let policy = shell.policy().timeout(limit);
    let tools = ToolRegistry::builder().tool_with(shell, policy).build().unwrap();
    let prepared = tools.prepare(ToolCall::new("shell", &json!({ "command": command })))?;
    assert!(prepared.approval_for(&StandingApprovals::default()).is_some());
    Ok(prepared.run(cx).await?.to_text())
}

async fn plain(command: &str) -> Result<String, ToolError> {
    sh(&std::env::temp_dir(), command, &ToolContext::detached(), Duration::from_secs(20)).await
}

/// Seconds to sleep that no other process on this machine sleeps: a command is found by them, whatever its number is.
fn nap() -> String {
    static NAPS: AtomicU64 = AtomicU64::new(0);
    format!("61.{:06}{:04}", std::process::id(), NAPS.fetch_add(1, Ordering::Relaxed))
}

/// Whether a process sleeps for `nap`.
fn naps(nap: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| line.split(|byte| *byte == 0).any(|word| word == nap.as_bytes()))
}

/// Ends when no process sleeps for `nap` any more. Time out of the test: the one of the runner.
async fn ended(nap: &str) {
    while naps(nap) {
        tokio::task::yield_now().await;
    }
}

/// Ends when a process sleeps for `nap`.
async fn begun(nap: &str) {
    while !naps(nap) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn output_and_exit_code_are_told() {
    assert_eq!(
        plain("echo 안녕; echo bad >&2; exit 3").await.unwrap(),
        "exit code 3\n--- stdout\n안녕\n--- stderr\nbad"
    );
    assert_eq!(plain("true").await.unwrap(), "exit code 0");
    assert_eq!(plain("kill -TERM $$").await.unwrap(), "ended by signal 15");
    assert_eq!(plain("cat").await.unwrap(), "exit code 0");
}

#[tokio::test]
async fn a_command_sees_no_environment_but_the_harmless_part() {
    let seen = plain("env").await.unwrap();
    assert!(seen.contains("PATH=") && !seen.contains("CARGO"), "{seen}");
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
}

#[tokio::test]
async fn endless_output_is_cut_and_the_command_not_held_up() {
    let said = plain("head -c 3000000 /dev/zero | tr '\\0' a; echo end >&2").await.unwrap();
    assert!(
        said.len() < 263_000 && said.ends_with("[2737856 more bytes]\n--- stderr\nend"),
        "{}",
        &said[said.len() - 60..]
    );
}

/// Reads the environment of the parent, and of every other process that can be seen.
const READ_BACK: &str = "for process in /proc/$PPID /proc/[0-9]*; do tr '\\0' '\\n' < $process/environ; done \
    2>/dev/null; env; echo end";

#[tokio::test]
async fn the_environment_of_this_process_cannot_be_read_back() {
    if !Shell::can_isolate().await {
        return;
    }
    let seen = plain(READ_BACK).await.unwrap();
    assert!(seen.ends_with("end") && seen.contains("PATH="), "{seen}");
    let leaked: Vec<&str> = seen.lines().filter(|line| line.starts_with("CARGO")).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
}

/// Starts two processes in a session of their own, and ends when they sleep.
fn leaves_the_group(nap: &str) -> String {
    format!(
        "setsid -f sh -c 'sleep {nap} & sleep {nap}' >/dev/null 2>&1 </dev/null
         until grep -qsz '^{nap}$' /proc/[0-9]*/cmdline; do :; done
         echo started"
    )
}

/// The limits that the documentation of the process group states; the same two attacks get through there.
#[tokio::test]
async fn a_process_group_alone_has_the_limits_that_are_documented() {
    let alone = || Shell::in_dir(std::env::temp_dir()).isolation(Isolation::ProcessGroup);
    let (cx, limit, nap) = (ToolContext::detached(), Duration::from_secs(60), nap());
    assert!(run(alone(), &leaves_the_group(&nap), &cx, limit).await.unwrap().ends_with("started"));
    assert!(naps(&nap));
    run(alone(), &format!("pkill -f '^sleep {nap}'"), &cx, limit).await.unwrap();
    ended(&nap).await;
    // As root nothing closes `/proc`.
    let root = run(alone(), "id -u", &cx, limit).await.unwrap().ends_with("\n0");
    let seen = run(alone(), "cat /proc/$PPID/environ", &cx, limit).await.unwrap();
    assert_eq!(seen.contains("CARGO"), root, "{seen}");
}

#[tokio::test]
async fn a_process_that_leaves_the_group_ends_with_the_command() {
    if !Shell::can_isolate().await {
        return;
    }
    let nap = nap();
    let command = leaves_the_group(&nap);
    assert_eq!(plain(&command).await.unwrap(), "exit code 0\n--- stdout\nstarted");
    assert!(!naps(&nap), "nothing outlives the call");
}

#[tokio::test]
async fn what_the_command_left_running_is_ended() {
    let nap = nap();
    let said = plain(&format!("sleep {nap} & echo started")).await.unwrap();
    assert_eq!(said, "exit code 0\n--- stdout\nstarted");
    ended(&nap).await;
}

#[tokio::test]
async fn a_stop_ends_everything_that_the_command_started() {
    for (inside, outside) in [("", "wait"), ("setsid -f", "sleep 60")] {
        if !inside.is_empty() && !Shell::can_isolate().await {
            continue;
        }
        let nap = nap();
        let cx = ToolContext::detached();
        let command = format!("{inside} sleep {nap} >/dev/null 2>&1 & {outside}");
        let dir = std::env::temp_dir();
        let running = sh(&dir, &command, &cx, Duration::from_secs(60));
        let (result, ()) = tokio::join!(running, async {
            begun(&nap).await;
            cx.cancelled.cancel();
        });
        assert_eq!(result.unwrap_err().fault(), ToolFault::Cancelled);
        ended(&nap).await;
    }
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended() {
    let nap = nap();
    let cx = ToolContext::detached();
    let error =
        sh(&std::env::temp_dir(), &format!("exec sleep {nap}"), &cx, Duration::from_millis(300)).await;
    assert_eq!(error.unwrap_err().fault(), ToolFault::TimedOut);
    ended(&nap).await;
}
