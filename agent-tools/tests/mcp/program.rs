//! A server as a process: what it sees, what it leaves behind, and what happens when it is killed.

use std::{path::Path, time::Duration};

use agent_core::tool::{Effect, ToolFault, ToolOutput, ToolPolicy, ToolRegistry};
use agent_tools::mcp::{Client, ClientBuilder, McpError, Program, Server};
use serde_json::{Value, json};

use super::support::{call, registry, tool};

/// Not a test: this binary, started again, is the server. The test harness greets on stdout first, which a client of
/// a sloppy server must bear.
#[tokio::test]
#[ignore = "is started by the other tests"]
async fn as_a_server() {
    if std::env::var("MCP_TEST_SERVER").is_err() {
        return;
    }
    let env = tool("env", ToolPolicy::read_only(), async |_, _| {
        let seen: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
        Ok(ToolOutput::from(json!({ "seen": seen, "pid": std::process::id() })))
    });
    let starts = tool("starts", ToolPolicy::default(), async |_, _| {
        let child = std::process::Command::new("sleep").arg("1000").spawn()?;
        Ok(ToolOutput::from(json!({ "pid": child.id() })))
    });
    let dies = tool("dies", ToolPolicy::default().effect(Effect::Writes), async |_, _| {
        eprintln!("마지막 말");
        std::process::exit(3)
    });
    Server::new("demo", "1", registry([env, starts, dies])).serve_stdio().await.unwrap();
}

fn client() -> ClientBuilder {
    let program = Program::new(std::env::current_exe().unwrap())
        .arg("--ignored")
        .arg("--exact")
        .arg("program::as_a_server")
        .arg("--nocapture")
        .env("MCP_TEST_SERVER", "1");
    Client::program("p", program)
}

async fn json(tools: &ToolRegistry, name: &str) -> Value {
    match call(tools, name, json!({})).await.unwrap() {
        ToolOutput::Json(value) => value,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_sees_no_secrets_of_this_process() {
    let client = client().connect().await.unwrap();
    let seen = json(&client.registry().await.unwrap(), "p_env").await;
    let seen: Vec<&str> = seen["seen"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(seen.contains(&"PATH") && seen.contains(&"MCP_TEST_SERVER"), "{seen:?}");
    assert!(!seen.iter().any(|name| name.starts_with("CARGO")), "{seen:?}");
    client.close().await;
}

/// Whether the process is there and not a zombie.
fn lives(pid: &Value) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

async fn gone(pid: &Value) {
    let waiting = async {
        while lives(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
}

#[tokio::test]
async fn a_server_ends_with_all_that_it_started() {
    for close in [true, false] {
        let client = client().connect().await.unwrap();
        let tools = client.registry().await.unwrap();
        let (server, child) =
            (json(&tools, "p_env").await["pid"].clone(), json(&tools, "p_starts").await["pid"].clone());
        assert!(lives(&server) && lives(&child));
        if close {
            client.close().await;
        }
        drop((client, tools));
        gone(&server).await;
        gone(&child).await;
    }
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_is_started_again_for_the_next() {
    let client = client().connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    let before = json(&tools, "p_env").await["pid"].clone();
    let error = call(&tools, "p_dies", json!({})).await.unwrap_err();
    assert_eq!(error.fault(), ToolFault::OutcomeUnknown, "{error}");
    // It lived for a moment only, so the next is started after a short wait, which the retries sit out.
    let after = json(&tools, "p_env").await["pid"].clone();
    assert_ne!(before, after);
    client.close().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_or_is_no_server_is_an_error() {
    let missing = Client::program("p", Program::new("/nonexistent/server")).connect().await.unwrap_err();
    assert!(matches!(missing, McpError::Start { .. }), "{missing:?}");
    let ends = Client::program("p", Program::new("true")).connect().await.unwrap_err();
    assert!(matches!(ends, McpError::Unusable { .. }), "{ends:?}");
}
