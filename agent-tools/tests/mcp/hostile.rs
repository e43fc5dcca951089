//! Servers that misbehave: endless lists, huge texts, garbage, silence, names that clash.

use std::{io, time::Duration};

use agent_core::tool::{Effect, ToolError, ToolFault};
use agent_tools::mcp::{Client, ClientBuilder, ClientLimits, McpError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::support::{Line, Pipes, call, text};

/// A server that answers each request with what `answer` makes of it; `None` is silence. Lines before the answer come
/// from `noise`.
fn server(
    line: &Line,
    noise: &'static str,
    answer: impl Fn(&str, &Value) -> Option<Value> + Clone + Send + Sync + 'static,
) -> ClientBuilder {
    let line = line.clone();
    Client::stream("h", move || {
        let answer = answer.clone();
        let pipes = line.open(|pipes| async move {
            serve(pipes, noise, answer).await.ok();
        });
        async move { Ok::<_, io::Error>(pipes) }
    })
}

async fn serve(
    (read, mut write): Pipes,
    noise: &str,
    answer: impl Fn(&str, &Value) -> Option<Value>,
) -> io::Result<()> {
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let asked: Value = serde_json::from_str(&line)?;
        let (Some(id), Some(method)) = (asked.get("id"), asked["method"].as_str()) else { continue };
        let result = match method {
            "initialize" => Some(json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                "serverInfo": { "name": "hostile", "version": "0" } })),
            method => answer(method, &asked["params"]),
        };
        write.write_all(noise.as_bytes()).await?;
        if let Some(result) = result {
            let reported = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            write.write_all(format!("{reported}\n").as_bytes()).await?;
        }
    }
    Ok(())
}

fn one(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

fn listed(method: &str) -> Option<Value> {
    (method == "tools/list").then(|| json!({ "tools": [one("t")] }))
}

#[tokio::test]
async fn a_list_without_end_is_cut() {
    let line = Line::default();
    let endless = server(&line, "", |_, asked| {
        let page: u64 = asked["cursor"].as_str().unwrap_or("0").parse().unwrap();
        let tools: Vec<Value> = (0..100).map(|n| one(&format!("t{page}-{n}"))).collect();
        Some(json!({ "tools": tools, "nextCursor": (page + 1).to_string() }))
    });
    assert_eq!(endless.connect().await.unwrap().tools().await.unwrap().len(), 256);
    let empty = server(&line, "", |_, _| Some(json!({ "tools": [], "nextCursor": "again" })));
    assert_eq!(empty.connect().await.unwrap().tools().await.unwrap().len(), 0);
}

#[tokio::test]
async fn names_schemas_and_descriptions_are_made_fit_or_left_out() {
    let line = Line::default();
    let odd = server(&line, "", |_, _| {
        let long = "x".repeat(100);
        let mut deep = json!({ "type": "string" });
        for _ in 0..80 {
            deep = json!({ "type": "array", "items": deep });
        }
        Some(json!({ "tools": [
            { "name": "안녕 하세요", "description": "가".repeat(5_000), "inputSchema": { "type": "object" } },
            { "name": long, "inputSchema": {} },
            one("same"), one("same"),
            { "name": "bad", "inputSchema": { "type": 7 } },
            { "name": "deep", "inputSchema": { "type": "object", "properties": { "d": deep } } },
            { "name": "huge", "inputSchema": { "type": "object", "description": "x".repeat(100_000) } },
            { "name": "both", "inputSchema": { "type": "object" },
              "annotations": { "idempotentHint": true, "destructiveHint": true } },
        ] }))
    });
    let tools = odd.connect().await.unwrap().registry().await.unwrap();
    let names: Vec<&str> = tools.names().collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(
        (names[0], names[1].len(), names[2], names[3], names[4]),
        ("h_______", 64, "h_same", "h_deep", "h_both")
    );
    assert_eq!(tools.tool("h_______").unwrap().description().chars().count(), 4_000);
    assert_eq!(tools.policy("h_both").unwrap().effect, Effect::Destructive);
    assert_eq!(tools.policy("h_same").unwrap().effect, Effect::Writes);
}

#[tokio::test]
async fn garbage_between_the_lines_is_borne() {
    let line = Line::default();
    let noise = "Starting server…\n{\n[]\n{\"jsonrpc\":\"2.0\"}\n\u{0}\n\
        {\"jsonrpc\":\"2.0\",\"method\":\"notifications/none\"}\n";
    let noisy = server(&line, noise, |method, _| {
        Some(listed(method).unwrap_or_else(|| json!({ "content": [{ "type": "text", "text": "ok" }] })))
    });
    let tools = noisy.connect().await.unwrap().registry().await.unwrap();
    assert_eq!(text(call(&tools, "h_t", json!({})).await), "ok");
}

async fn reported(result: Value) -> Result<String, ToolError> {
    let line = Line::default();
    let made = server(&line, "", move |method, _| Some(listed(method).unwrap_or_else(|| result.clone())));
    let tools = made.connect().await.unwrap().registry().await.unwrap();
    call(&tools, "h_t", json!({})).await.map(|output| output.to_text())
}

#[tokio::test]
async fn every_kind_of_content_is_something_a_model_can_read() {
    let all = reported(json!({ "content": [
        { "type": "text", "text": "하나" },
        { "type": "image", "data": "AAAA", "mimeType": "image/png" },
        { "type": "audio", "data": "AAAAAAAA", "mimeType": "audio/wav" },
        { "type": "resource_link", "uri": "file:///a", "name": "a" },
        { "type": "resource", "resource": { "uri": "file:///b", "text": "둘" } },
        { "type": "resource", "resource": { "uri": "file:///c", "blob": "AAAA" } },
    ] }));
    let wanted = "하나\n[image, image/png, about 3 bytes]\n[audio, audio/wav, about 6 bytes, not shown]\n\
        [resource `a`, unknown type: file:///a]\n[resource file:///b]\n둘\n\
        [resource file:///c] [data, unknown type, about 3 bytes, not shown]";
    assert_eq!(all.await.unwrap(), wanted);
    let structured =
        json!({ "content": [{ "type": "text", "text": "{\"a\": 1}" }], "structuredContent": { "a": 1 } });
    assert_eq!(reported(structured).await.unwrap(), r#"{"a":1}"#);
    let more = json!({ "content": [{ "type": "text", "text": "see" }], "structuredContent": { "a": 1 } });
    assert_eq!(reported(more).await.unwrap(), "see\n\n{\"a\":1}");
    let failed = json!({ "content": [{ "type": "text", "text": "안 돼요" }], "isError": true });
    assert_eq!(reported(failed).await.unwrap_err().for_model(), "안 돼요");
    assert_eq!(reported(json!({ "content": [] })).await.unwrap(), "");
    assert_eq!(reported(json!({ "nonsense": 1 })).await.unwrap_err().fault(), ToolFault::Failed);
}

#[tokio::test]
async fn a_huge_result_is_cut_between_characters_and_a_huge_line_is_dropped() {
    let long = "가".repeat(1_000_000);
    let cut = reported(json!({ "content": [{ "type": "text", "text": long }] })).await.unwrap();
    assert!(cut.len() < 1_100_000 && cut.starts_with("가가") && cut.ends_with("bytes left out]"));
    let line = Line::default();
    let made = server(&line, "", |method, _| {
        let huge = json!({ "content": [{ "type": "text", "text": "x".repeat(100_000) }] });
        Some(listed(method).unwrap_or(huge))
    });
    let mut limits = ClientLimits::default();
    limits.message = 50_000;
    let client = made.limits(limits).timeout(Duration::from_millis(300)).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    assert_eq!(call(&tools, "h_t", json!({})).await.unwrap_err().fault(), ToolFault::TimedOut);
    assert!(client.is_connected().await);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_too_slow() {
    let line = Line::default();
    let silent = server(&line, "", |_, _| None);
    let error = silent.connect().await.unwrap_err();
    assert!(
        matches!(error, McpError::TooSlow { limit, .. } if limit == Duration::from_secs(30)),
        "{error:?}"
    );
    let open = line.clone();
    let deaf = Client::stream("h", move || {
        let pipes = open.open(|pipes| async move {
            let _pipes = pipes;
            std::future::pending().await
        });
        async move { Ok::<_, io::Error>(pipes) }
    });
    assert!(matches!(deaf.connect().await.unwrap_err(), McpError::TooSlow { .. }));
    let slow = server(&line, "", |method, _| listed(method));
    let tools = slow.connect().await.unwrap().registry().await.unwrap();
    assert_eq!(call(&tools, "h_t", json!({})).await.unwrap_err().fault(), ToolFault::TimedOut);
}

#[tokio::test]
async fn a_server_that_changes_its_tools_is_listed_again() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static CHANGED: AtomicBool = AtomicBool::new(false);
    let line = Line::default();
    let noise = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n";
    let made = server(&line, noise, |method, _| match method {
        "tools/list" if CHANGED.load(Ordering::SeqCst) => Some(json!({ "tools": [one("old"), one("new")] })),
        "tools/list" => Some(json!({ "tools": [one("old")] })),
        _ => Some(json!({ "content": [] })),
    });
    let client = made.connect().await.unwrap();
    let mut changes = client.changes();
    let tools = client.registry().await.unwrap();
    assert_eq!(tools.names().collect::<Vec<_>>(), ["h_old"]);
    changes.mark_unchanged();
    CHANGED.store(true, Ordering::SeqCst);
    call(&tools, "h_old", json!({})).await.unwrap();
    changes.changed().await.unwrap();
    assert_eq!(client.registry().await.unwrap().names().collect::<Vec<_>>(), ["h_old", "h_new"]);
    assert_eq!(tools.names().count(), 1, "what was taken before stays");
}
