//! One MCP session: names, schemas, results, progress, cancellation, dropped calls and reconnection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    model::{Part, ToolCall},
    tool::{Approval, Effect, ToolContext, ToolError, ToolFault, ToolOutput, ToolPolicy, ToolRegistry},
};
use agent_tools::mcp::{McpError, Server};
use serde_json::json;
use tokio::sync::Notify;

use super::support::{Line, call, call_and_hear, registry, text, tool};

#[tokio::test]
async fn a_tool_keeps_its_schema_its_words_and_its_effect_and_gets_a_prefix() {
    let read = tool("read", ToolPolicy::read_only(), async |args, _| Ok(json!({ "got": args }).into()));
    let kill = tool("kill", ToolPolicy::default().effect(Effect::Destructive), async |_, _| Ok("".into()));
    let (line, server) = (Line::default(), Server::new("demo", "1", registry([read, kill])));
    let client = line.client(server).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    assert_eq!(tools.names().collect::<Vec<_>>(), ["s_read", "s_kill"]);
    let (described, policy) = (tools.tool("s_read").unwrap(), tools.policy("s_read").unwrap());
    assert_eq!(described.description(), "Does something.");
    assert_eq!(described.parameters()["properties"]["n"], json!({ "type": "integer" }));
    assert_eq!(policy.effect, Effect::ReadOnly);
    assert_eq!(tools.policy("s_kill").unwrap().effect, Effect::Destructive);
    assert_eq!(call(&tools, "s_read", json!({ "n": 1 })).await.unwrap(), json!({ "got": { "n": 1 } }).into());
    assert_eq!(line.made(), 1);
}

#[tokio::test]
async fn text_survives_byte_for_byte_and_faults_reach_the_model() {
    let said = "수분 크림 🧴 ‏שלום";
    let echo = tool("echo", ToolPolicy::default(), async move |_, _| Ok(said.into()));
    let fails = tool("fails", ToolPolicy::default(), async |_, _| Err(ToolError::failed("재고가 없어요")));
    let library = tool("library", ToolPolicy::default(), async |_, _| {
        Err(std::io::Error::other("/home/secret/key").into())
    });
    let line = Line::default();
    let server = Server::new("demo", "1", registry([echo, fails, library]));
    let tools = line.client(server).prefix("").connect().await.unwrap().registry().await.unwrap();
    assert_eq!(text(call(&tools, "echo", json!({})).await), said);
    let error = call(&tools, "fails", json!({})).await.unwrap_err();
    assert_eq!((error.fault(), error.for_model()), (ToolFault::Failed, "재고가 없어요"));
    let error = call(&tools, "library", json!({})).await.unwrap_err();
    assert_eq!(error.for_model(), "the tool failed");
}

#[tokio::test]
async fn arguments_are_checked_on_both_sides() {
    let one = tool("one", ToolPolicy::default(), async |_, _| Ok("ran".into()));
    let (line, server) = (Line::default(), Server::new("demo", "1", registry([one])));
    let client = line.client(server).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    let here = tools.prepare(ToolCall::new("s_one", &json!({ "n": "x" }))).unwrap_err();
    assert_eq!(here.fault(), ToolFault::BadArguments);
    // A client without our checks: the same schema again at the server.
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(far);
    let one = tool("one", ToolPolicy::default(), async |_, _| Ok("ran".into()));
    let served = Server::new("demo", "1", registry([one])).serve(read, write);
    line.tasks.spawn(async move {
        served.await.ok();
    });
    let reported = raw(&mut near, &json!({ "name": "one", "arguments": { "n": "x" } })).await;
    assert_eq!(reported["result"]["isError"], true);
    let words = reported["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.contains("`/n`"), "{words}");
    let unknown = again(&mut near, &json!({ "name": "two" })).await;
    assert_eq!(unknown["error"]["code"], -32602);
}

/// Speaks the protocol by hand: makes the handshake and one call.
async fn raw(pipe: &mut tokio::io::DuplexStream, params: &serde_json::Value) -> serde_json::Value {
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } } });
    send(pipe, &hello).await;
    assert_eq!(receive(pipe).await["result"]["serverInfo"]["name"], "demo");
    send(pipe, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    again(pipe, params).await
}

async fn again(pipe: &mut tokio::io::DuplexStream, params: &serde_json::Value) -> serde_json::Value {
    send(pipe, &json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params })).await;
    receive(pipe).await
}

async fn send(pipe: &mut tokio::io::DuplexStream, message: &serde_json::Value) {
    use tokio::io::AsyncWriteExt;
    pipe.write_all(format!("{message}\n").as_bytes()).await.unwrap();
}

async fn receive(pipe: &mut tokio::io::DuplexStream) -> serde_json::Value {
    use tokio::io::AsyncReadExt;
    let mut line = Vec::new();
    loop {
        match pipe.read_u8().await.unwrap() {
            b'\n' => return serde_json::from_slice(&line).unwrap(),
            byte => line.push(byte),
        }
    }
}

#[tokio::test]
async fn progress_is_heard_while_the_call_runs_and_before_its_result() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let slow = tool("slow", ToolPolicy::default(), move |_, cx| {
        let wait = Arc::clone(&wait);
        async move {
            cx.progress(json!({ "progress": 1, "total": 2, "message": "반" }));
            wait.notified().await;
            Ok("done".into())
        }
    });
    let (line, server) = (Line::default(), Server::new("demo", "1", registry([slow])));
    let tools = line.client(server).connect().await.unwrap().registry().await.unwrap();
    let (result, note) = call_and_hear(&tools, "s_slow", &go).await;
    assert_eq!(result, "done");
    assert_eq!(note, json!({ "tool": "s_slow", "progress": 1.0, "total": 2.0, "message": "반" }));
}

#[tokio::test]
async fn a_call_that_is_dropped_or_too_slow_is_cancelled_at_the_server() {
    let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, ends) = (Arc::clone(&begun), Arc::clone(&ended));
    let hangs = tool("hangs", ToolPolicy::default(), move |_, cx: ToolContext| {
        let (begins, ends) = (Arc::clone(&begins), Arc::clone(&ends));
        async move {
            begins.notify_one();
            let ends = scopeguard(move || ends.notify_one());
            cx.cancelled.cancelled().await;
            drop(ends);
            std::future::pending().await
        }
    });
    let line = Line::default();
    let server = Server::new("demo", "1", registry([hangs]));
    let client = line.client(server).timeout(Duration::from_millis(200)).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    let error = call(&tools, "s_hangs", json!({})).await.unwrap_err();
    assert_eq!(error.fault(), ToolFault::TimedOut);
    ended.notified().await;
    begun.notified().await;
    {
        let dropped = call(&tools, "s_hangs", json!({}));
        tokio::select! {
            _ = dropped => panic!("it hangs"),
            () = begun.notified() => {}
        }
    }
    ended.notified().await;
    assert!(client.is_connected().await);
}

fn scopeguard(run: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(run)
}

/// A server with tools that hang at their first call and answer at the next.
fn hanging(count: &Arc<AtomicU32>, begun: &Arc<Notify>) -> Server {
    let hang = |name, effect| {
        let (count, begun) = (Arc::clone(count), Arc::clone(begun));
        tool(name, ToolPolicy::default().effect(effect), move |_, _| {
            let (count, begun) = (Arc::clone(&count), Arc::clone(&begun));
            async move {
                if count.fetch_add(1, Ordering::SeqCst) == 0 {
                    begun.notify_one();
                    std::future::pending::<()>().await;
                }
                Ok(ToolOutput::text("second"))
            }
        })
    };
    Server::new("demo", "1", registry([hang("writes", Effect::Writes), hang("reads", Effect::ReadOnly)]))
}

#[tokio::test]
async fn a_call_under_way_when_the_session_drops_is_lost_and_only_a_harmless_one_is_repeated() {
    for (name, wanted) in [("s_writes", 1), ("s_reads", 2)] {
        let (count, begun, line) = (Arc::default(), Arc::new(Notify::new()), Line::default());
        let retry = agent_core::retry::RetryPolicy::attempts(3);
        let client = line.client(hanging(&count, &begun)).retry(retry).connect().await.unwrap();
        let tools = client.registry().await.unwrap();
        let cut = async {
            begun.notified().await;
            line.cut();
        };
        let (result, ()) = tokio::join!(call(&tools, name, json!({})), cut);
        if wanted == 1 {
            let error = result.unwrap_err();
            assert_eq!(error.fault(), ToolFault::OutcomeUnknown);
            assert!(error.for_model().contains("may have taken effect"), "{error}");
        } else {
            assert_eq!(text(result), "second");
        }
        assert_eq!(count.load(Ordering::SeqCst), wanted);
        // The next call makes a new session; the one after shares it.
        assert_eq!(text(call(&tools, name, json!({})).await), "second");
        assert_eq!(text(call(&tools, name, json!({})).await), "second");
        assert_eq!(line.made(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_is_tried_again_with_growing_waits() {
    let tries = Arc::new(AtomicU32::new(0));
    let line = Line::default();
    let server =
        Server::new("demo", "1", registry([tool("one", ToolPolicy::default(), async |_, _| Ok("1".into()))]));
    let (open, count) = (line.clone(), Arc::clone(&tries));
    let client = agent_tools::mcp::Client::stream("s", move || {
        let attempt = count.fetch_add(1, Ordering::SeqCst);
        // The first session works, the next five cannot be made.
        let pipes = (attempt == 0 || attempt > 5).then(|| {
            let server = server.clone();
            open.open(|(read, write)| async move {
                server.serve(read, write).await.ok();
            })
        });
        async move { pipes.ok_or_else(|| std::io::Error::other("refused")) }
    });
    let client = client.retry(agent_core::retry::RetryPolicy::attempts(1)).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    line.cut();
    line.tasks.wait_idle().await;
    assert!(!client.is_connected().await);
    let mut waits = Vec::new();
    loop {
        let before = tokio::time::Instant::now();
        match call(&tools, "s_one", json!({})).await {
            Ok(output) => {
                assert_eq!(output.to_text(), "1");
                break;
            }
            Err(error) => assert_eq!(error.fault(), ToolFault::Unavailable, "{error}"),
        }
        assert_eq!(before, tokio::time::Instant::now(), "nobody waits for a server that is not due");
        tokio::time::advance(Duration::from_millis(100)).await;
        waits.push(tries.load(Ordering::SeqCst));
    }
    let spent = Duration::from_millis(100) * u32::try_from(waits.len()).unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 7);
    // 0.5 + 1 + 2 + 4 + 8 + 16 s
    assert!((Duration::from_secs(31)..Duration::from_secs(33)).contains(&spent), "{spent:?}");
}

#[tokio::test]
async fn a_closed_client_refuses_calls() {
    let one = tool("one", ToolPolicy::default(), async |_, _| Ok("1".into()));
    let (line, server) = (Line::default(), Server::new("demo", "1", registry([one])));
    let client = line.client(server).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    client.close().await;
    line.tasks.wait_idle().await;
    assert_eq!(call(&tools, "s_one", json!({})).await.unwrap_err().fault(), ToolFault::Failed);
    assert!(matches!(client.tools().await, Err(McpError::Closed { .. })));
}

#[tokio::test]
async fn what_a_person_must_approve_is_refused_unless_it_is_allowed_by_name() {
    let pay =
        |name| tool(name, ToolPolicy::default().approval(Approval::Always), async |_, _| Ok("paid".into()));
    let rule = ToolPolicy::default().approval_when(|args| args["n"] != json!(1));
    let some = tool("some", rule, async |_, _| Ok("ran".into()));
    let line = Line::default();
    let server =
        Server::new("demo", "1", registry([pay("pay"), pay("gift"), some])).allow_unapproved(["gift"]);
    let tools: ToolRegistry = line.client(server).connect().await.unwrap().registry().await.unwrap();
    let error = call(&tools, "s_pay", json!({})).await.unwrap_err();
    assert!(error.for_model().contains("needs an approval"), "{error}");
    assert_eq!(text(call(&tools, "s_gift", json!({})).await), "paid");
    assert_eq!(text(call(&tools, "s_some", json!({ "n": 1 })).await), "ran");
    assert!(call(&tools, "s_some", json!({ "n": 2 })).await.is_err());
}

#[tokio::test]
async fn the_key_of_a_call_is_the_same_at_the_server() {
    let key = tool("key", ToolPolicy::default(), async |_, cx: ToolContext| Ok(cx.idempotency_key.into()));
    let (line, server) = (Line::default(), Server::new("demo", "1", registry([key])));
    let tools = line.client(server).connect().await.unwrap().registry().await.unwrap();
    assert_eq!(text(call(&tools, "s_key", json!({})).await), ToolContext::detached().idempotency_key);
}

#[tokio::test]
async fn schemas_of_results_and_content_that_is_no_text_pass_through_a_client_and_a_server() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let count = tool("count", ToolPolicy::read_only(), async |_, _| Ok(json!({ "n": 3 }).into()));
    let blocks = vec![
        json!({ "type": "text", "text": "a dot" }),
        json!({ "type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png" }),
        json!({ "type": "resource", "resource": { "uri": "file:///a", "text": "inner", "mimeType": "text/plain" } }),
    ];
    let sent = blocks.clone();
    let draw = tool("draw", ToolPolicy::read_only(), move |_, _| {
        let blocks = sent.clone();
        async move { Ok(ToolOutput::Blocks { text: "a dot".into(), blocks }) }
    });
    let first = Server::new("demo", "1", registry([count.with_output_schema(schema.clone()), draw]));
    let line = Line::default();
    let tools = line.client(first).connect().await.unwrap().registry().await.unwrap();
    // The same tools, passed on by a second server.
    let passed = Server::new("gateway", "1", tools);
    let tools = line.client(passed).connect().await.unwrap().registry().await.unwrap();
    assert_eq!(tools.tool("s_s_count").unwrap().output_schema(), Some(schema));
    assert_eq!(call(&tools, "s_s_count", json!({})).await.unwrap(), json!({ "n": 3 }).into());
    let ToolOutput::Blocks { text, blocks: got } = call(&tools, "s_s_draw", json!({})).await.unwrap() else {
        panic!("blocks")
    };
    assert_eq!(
        text, "a dot\n[image, image/png, about 9 bytes]\n[resource file:///a]\ninner",
        "what the model reads"
    );
    assert_eq!(got, blocks);
    let image = Part::image_url("data:image/png;base64,iVBORw0KGgo=");
    assert_eq!(ToolOutput::Blocks { text, blocks: got }.images(), [image], "what it is shown");
}

#[tokio::test]
async fn structured_content_stays_beside_images() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let draw = tool("draw", ToolPolicy::read_only(), async |_, _| {
        let image = json!({ "type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png" });
        let text = json!({ "type": "text", "text": r#"{"n":3}"# });
        Ok(ToolOutput::Blocks { text: r#"{"n":3}"#.into(), blocks: vec![text, image] })
    });
    let server = Server::new("demo", "1", registry([draw.with_output_schema(schema)]));
    let line = Line::default();
    let tools = line.client(server).connect().await.unwrap().registry().await.unwrap();
    let drawn = call(&tools, "s_draw", json!({})).await.unwrap();
    // The client adds the JSON of the structured content.
    assert!(drawn.to_text().ends_with("\n\n{\"n\":3}"), "{drawn:?}");
    assert_eq!(drawn.images().len(), 1);
}
