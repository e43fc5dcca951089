//! What the shell promises: asked first, bounded, and nothing left running.
#![cfg(feature = "shell")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{path::Path, time::Duration};

use agent_core::{
    model::ToolCall,
    tool::{Remembered, Tool, ToolContext, ToolError, ToolFault, ToolRegistry},
};
use agent_tools::Shell;
use serde_json::json;

async fn sh(dir: &Path, command: &str, cx: &ToolContext, limit: Duration) -> Result<String, ToolError> {
    let shell = Shell::in_dir(dir);
    let policy = shell.policy().timeout(limit);
    let tools = ToolRegistry::builder().tool_with(shell, policy).build().unwrap();
    let prepared = tools.prepare(ToolCall::new("shell", &json!({ "command": command })))?;
    assert!(prepared.approval_for(&Remembered::default()).is_some());
    Ok(prepared.run(cx).await?.to_text())
}

async fn plain(command: &str) -> Result<String, ToolError> {
    sh(&std::env::temp_dir(), command, &ToolContext::detached(), Duration::from_secs(20)).await
}

/// Ends when `path` holds the number of a process that is gone. Time out of the test: the one of the runner.
async fn ended(path: &Path) {
    let pid = std::fs::read_to_string(path).unwrap();
    while Path::new("/proc").join(pid.trim()).join("cmdline").exists()
        && std::fs::read(Path::new("/proc").join(pid.trim()).join("cmdline"))
            .is_ok_and(|line| !line.is_empty())
    {
        tokio::task::yield_now().await;
    }
}

async fn written(path: &Path) {
    while std::fs::read_to_string(path).map_or(true, |text| !text.ends_with('\n')) {
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

#[tokio::test]
async fn what_the_command_left_running_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let cx = ToolContext::detached();
    let said = sh(dir.path(), "sleep 600 & echo $! > pid; echo started", &cx, Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(said, "exit code 0\n--- stdout\nstarted");
    ended(&dir.path().join("pid")).await;
}

#[tokio::test]
async fn a_stop_ends_the_whole_process_group() {
    let dir = tempfile::tempdir().unwrap();
    let cx = ToolContext::detached();
    let running = sh(dir.path(), "sleep 600 & echo $! > pid; wait", &cx, Duration::from_secs(60));
    let (result, ()) = tokio::join!(running, async {
        written(&dir.path().join("pid")).await;
        cx.cancelled.cancel();
    });
    assert_eq!(result.unwrap_err().fault(), ToolFault::Cancelled);
    ended(&dir.path().join("pid")).await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        sh(dir.path(), "echo $$ > pid; exec sleep 600", &ToolContext::detached(), Duration::from_millis(300))
            .await;
    assert_eq!(error.unwrap_err().fault(), ToolFault::TimedOut);
    ended(&dir.path().join("pid")).await;
}
