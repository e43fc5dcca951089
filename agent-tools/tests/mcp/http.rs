//! Over HTTP: the same calls, sessions, headers that are checked, and a server that dies under a call.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use agent_core::{
    secret::Secret,
    task_group::TaskGroup,
    tool::{ToolFault, ToolPolicy},
};
use agent_tools::mcp::{Client, HttpOptions, McpError, Server};
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

use super::support::{call, call_and_hear, registry, text, tool};

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskGroup,
}

impl Running {
    async fn new(server: Server, options: HttpOptions) -> Self {
        Self::at(server, options, "127.0.0.1:0".parse().unwrap()).await
    }

    async fn at(server: Server, options: HttpOptions, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let tasks = TaskGroup::default();
        let serving = server.http(options).listen(listener, stop.clone());
        tasks.spawn(async move { serving.await.unwrap() });
        Self { address, stop, tasks }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    async fn end(&self) {
        self.stop.cancel();
        self.tasks.wait_idle().await;
    }
}

fn one() -> Server {
    let one = tool("one", ToolPolicy::read_only(), async |args, _| Ok(json!({ "got": args["n"] }).into()));
    Server::new("demo", "1", registry([one]))
}

#[tokio::test]
async fn calls_and_their_progress_go_over_http() {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let slow = tool("slow", ToolPolicy::default(), move |_, cx| {
        let wait = Arc::clone(&wait);
        async move {
            cx.progress("첫 번째");
            wait.notified().await;
            Ok("끝 🧴".into())
        }
    });
    let running = Running::new(Server::new("demo", "1", registry([slow])), HttpOptions::default()).await;
    let client = Client::http("web", running.url()).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    let (result, note) = call_and_hear(&tools, "web_slow", &go).await;
    assert_eq!((result.as_str(), &note["message"]), ("끝 🧴", &json!("첫 번째")));
    client.close().await;
    running.end().await;
}

#[tokio::test]
async fn a_server_that_dies_loses_the_call_and_one_that_comes_back_is_used_again() {
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let hangs = tool("hangs", ToolPolicy::default(), move |args, _| {
        let begins = Arc::clone(&begins);
        async move {
            if args["n"] == 1 {
                return Ok("fine".into());
            }
            begins.notify_one();
            std::future::pending().await
        }
    });
    let server = Server::new("demo", "1", registry([hangs]));
    let running = Running::new(server.clone(), HttpOptions::default()).await;
    let client = Client::http("web", running.url()).timeout(Duration::from_secs(20)).connect().await.unwrap();
    let tools = client.registry().await.unwrap();
    let dies = async {
        begun.notified().await;
        running.tasks.stop();
        running.tasks.wait_idle().await;
    };
    let (result, ()) = tokio::join!(call(&tools, "web_hangs", json!({})), dies);
    let fault = result.unwrap_err().fault();
    assert!(matches!(fault, ToolFault::OutcomeUnknown | ToolFault::TimedOut), "{fault:?}");
    let again = Running::at(server, HttpOptions::default(), running.address).await;
    assert_eq!(text(call(&tools, "web_hangs", json!({ "n": 1 })).await), "fine");
    again.end().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_without_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp?key=hunter2", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::http("web", url).bearer(Secret::new("hunter2")).connect().await.unwrap_err();
    assert!(matches!(error, McpError::Unusable { .. }), "{error:?}");
    assert_eq!(error.to_string(), "the connection to MCP server `web` failed");
}

#[tokio::test]
async fn no_setting_shows_a_secret() {
    let client = Client::http("web", "http://localhost/?key=hunter2")
        .bearer(Secret::new("hunter2"))
        .header("x-key", Secret::new("hunter2"));
    assert!(!format!("{client:?}").contains("hunter2"));
    let error = client.header("x-key", Secret::new("hunter2\n")).connect().await.unwrap_err();
    assert!(matches!(error, McpError::Illegal { .. }));
    assert!(!format!("{error:?}").contains("hunter2"));
    let error =
        Client::http("web", "http://localhost/").bearer("hunter2\n".into()).connect().await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    assert!(Client::http("web", "file:///etc/passwd").connect().await.is_err());
}

fn hello() -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } } })
    .to_string()
}

fn post(url: &str) -> reqwest::RequestBuilder {
    let client =
        agent_core::model::http::client_builder(&Default::default()).unwrap().no_proxy().build().unwrap();
    client
        .post(url)
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .body(hello())
}

#[tokio::test]
async fn a_page_of_another_origin_and_a_rebound_name_are_refused() {
    let mut options = HttpOptions::default();
    options.origins.push("https://app.example:443".to_owned());
    let running = Running::new(one(), options).await;
    let url = running.url();
    assert_eq!(post(&url).send().await.unwrap().status(), 200);
    assert_eq!(post(&url).header("origin", "https://app.example").send().await.unwrap().status(), 200);
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("host", "evil.example")] {
        let refused = post(&url).header(name, value).send().await.unwrap().status();
        assert_eq!(refused, 403, "{name}: {value}");
    }
    running.end().await;
}

#[tokio::test]
async fn sessions_and_bodies_are_bounded() {
    let mut options = HttpOptions::default();
    (options.sessions, options.body) = (2, 4_000);
    let running = Running::new(one(), options).await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(post(&running.url()).send().await.unwrap().status().as_u16());
    }
    assert_eq!(codes, [200, 200, 503]);
    running.end().await;
    let mut options = HttpOptions::default();
    options.body = 4_000;
    let running = Running::new(one(), options).await;
    let long = post(&running.url()).body(format!("{}{}", hello(), " ".repeat(5_000))).send().await.unwrap();
    assert_eq!(long.status(), 413);
    running.end().await;
}
