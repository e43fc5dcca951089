//! The fetch and search tools: public addresses only, bounded sizes, readable text.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use agent_core::{
    model::ToolCall,
    secret::Secret,
    tool::{Tool, ToolContext, ToolError, ToolFault, ToolOutput, ToolRegistry},
};
use agent_tools::http::{AddressPolicy, Engine, Fetch, WebSearch};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

/// A server of canned answers: the part of the request line between the first and the second blank chooses.
struct Server {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Server {
    async fn new(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut chunk).await {
                        Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
                        _ => break,
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).unwrap_or("").to_owned();
                log.lock().unwrap().push(request);
                // The client may have read enough and be gone.
                stream.write_all(&answer(&path)).await.ok();
            }
        });
        Self { at, asked, _serving: serving }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }
}

fn page(status: &str, kind: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .into_bytes()
}

async fn run(tool: impl Tool, args: Value) -> Result<ToolOutput, ToolError> {
    let name = tool.name().to_owned();
    let tools = ToolRegistry::builder().tool(tool).build().unwrap();
    tools.prepare(ToolCall::new(name, &args))?.run(&ToolContext::detached()).await
}

async fn fetch(reach: AddressPolicy, url: &str) -> Result<String, ToolError> {
    run(Fetch::new(reach).unwrap().limit(1000), json!({ "url": url })).await.map(|output| output.to_text())
}

fn local() -> AddressPolicy {
    AddressPolicy::default().and_host("127.0.0.1")
}

#[tokio::test]
async fn a_page_comes_as_markdown_without_its_scripts() {
    let server = Server::new(|_| {
        page(
            "200 OK",
            "text/html; charset=utf-8",
            "<html><head><title>t</title></head><body><script>alert(1)</script><h1>제목</h1><p>글 <b>굵게</b> \
             <a href='/x'>여기</a></p><style>p{}</style></body></html>",
        )
    })
    .await;
    let url = server.url("/page");
    assert_eq!(fetch(local(), &url).await.unwrap(), format!("{url}\n\n# 제목\n\n글 **굵게** [여기](/x)"));
}

#[tokio::test]
async fn private_addresses_are_refused_without_being_asked() {
    let server = Server::new(|_| page("200 OK", "text/plain", "secret")).await;
    let port = server.at.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://LOCALHOST.:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        assert_eq!(
            fetch(AddressPolicy::default(), &url).await.unwrap_err().fault(),
            ToolFault::Refused,
            "{url}"
        );
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_redirect_is_checked() {
    let server = Server::new(|path| match path {
        "/relative" => redirect("/end"),
        "/end" => page("200 OK", "text/plain", "끝"),
        "/name" => redirect("http://localhost:1/"),
        "/metadata" => redirect("http://169.254.169.254/latest"),
        "/file" => redirect("file:///etc/passwd"),
        "/broken" => redirect("http://["),
        _ => redirect("/loop"),
    })
    .await;
    assert!(fetch(local(), &server.url("/relative")).await.unwrap().ends_with("/end\n\n끝"));
    for path in ["/name", "/metadata", "/file"] {
        assert_eq!(
            fetch(local(), &server.url(path)).await.unwrap_err().fault(),
            ToolFault::Refused,
            "{path}"
        );
    }
    assert!(fetch(local(), &server.url("/broken")).await.unwrap_err().for_model().contains("invalid URL"));
    assert!(
        fetch(local(), &server.url("/loop")).await.unwrap_err().for_model().contains("more than 5 times")
    );
}

#[tokio::test]
async fn a_long_page_is_cut_between_characters() {
    // The length is not announced, and the stream would continue.
    let server = Server::new(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\na";
        [head.as_bytes(), "한".repeat(1_000_000).as_bytes()].concat()
    })
    .await;
    let text = fetch(local(), &server.url("/")).await.unwrap();
    assert!(text.ends_with("한\n\n[the page is longer; the rest was not read]"), "{text}");
    assert_eq!(text.matches('한').count(), 333);
}

#[tokio::test]
async fn korean_encodings_are_read_and_what_is_no_text_is_not() {
    let server = Server::new(|path| match path {
        "/header" => page("200 OK", "text/plain; charset=\"EUC-KR\"", [0xc7, 0xd1, 0xb1, 0xdb]),
        "/document" => page(
            "200 OK",
            "text/html",
            [b"<meta charset=euc-kr>".as_slice(), &[0xc7, 0xd1, 0xb1, 0xdb]].concat(),
        ),
        "/unknown" => page("200 OK", "text/plain", [0xff, 0xfe, 0xfd]),
        _ => page("200 OK", "image/png", [0x89, b'P']),
    })
    .await;
    for path in ["/header", "/document"] {
        assert!(fetch(local(), &server.url(path)).await.unwrap().ends_with("\n\n한글"), "{path}");
    }
    assert!(fetch(local(), &server.url("/unknown")).await.unwrap_err().for_model().contains("encoding"));
    assert_eq!(
        fetch(local(), &server.url("/png")).await.unwrap_err().for_model(),
        "the content is not text but `image/png`"
    );
}

#[tokio::test]
async fn a_refusal_is_told_with_its_status() {
    let server = Server::new(|path| match path {
        "/gone" => page("404 Not Found", "text/plain", ""),
        _ => page("503 Service Unavailable", "text/plain", ""),
    })
    .await;
    let gone = fetch(local(), &server.url("/gone")).await.unwrap_err();
    assert_eq!((gone.fault(), gone.for_model()), (ToolFault::Failed, "the server answered 404 Not Found"));
    assert_eq!(fetch(local(), &server.url("/busy")).await.unwrap_err().fault(), ToolFault::Unavailable);
    assert_eq!(
        fetch(local(), "http://127.0.0.1:1/").await.unwrap_err().for_model(),
        "the server cannot be reached"
    );
    assert!(fetch(local(), "not an address").await.is_err());
}

#[tokio::test]
async fn every_search_engine_is_asked_in_its_way() {
    let result = |name: &str| json!({ "title": "라네즈", "url": "https://example.org/a", name: "좋다" });
    let (plain, nested) = (
        json!({ "results": [result("content"), { "title": "no address" }] }),
        json!({ "web": { "results": [result("description")] } }),
    );
    let server = Server::new(move |path| {
        let answer = if path.contains("/res/v1/") { &nested } else { &plain };
        page("200 OK", "application/json", answer.to_string())
    })
    .await;
    let base: reqwest::Url = server.url("/base/").parse().unwrap();
    let key = Secret::new("key-1234");
    for (engine, line, header) in [
        (
            Engine::SearXng { base: base.clone() },
            "GET /base/search?q=%ED%81%AC%EB%A6%BC+%26+x&format=json ",
            "host:",
        ),
        (
            Engine::Tavily { base: base.clone(), key: key.clone() },
            "POST /base/search ",
            "authorization: Bearer key-1234",
        ),
        (
            Engine::Brave { base, key },
            "GET /base/res/v1/web/search?q=%ED%81%AC%EB%A6%BC+%26+x&count=3 ",
            "x-subscription-token: key-1234",
        ),
    ] {
        let tool = WebSearch::new(engine).unwrap();
        assert!(!format!("{tool:?}").contains("1234"));
        let found = run(tool, json!({ "query": "크림 & x", "count": 3 })).await.unwrap();
        let expected = json!([{ "title": "라네즈", "url": "https://example.org/a", "snippet": "좋다" }]);
        assert_eq!(found, ToolOutput::Json(expected), "{line}");
        let asked = server.asked.lock().unwrap().pop().unwrap();
        assert!(asked.starts_with(line) && asked.contains(header), "{asked}");
    }
}

#[tokio::test]
async fn a_refusing_search_engine_does_not_give_the_key_away() {
    let server = Server::new(|_| page("401 Unauthorized", "text/plain", "bad key key-1234")).await;
    let engine = Engine::Tavily { base: server.url("/").parse().unwrap(), key: Secret::new("key-1234") };
    let error = run(WebSearch::new(engine).unwrap(), json!({ "query": "x" })).await.unwrap_err();
    assert_eq!(error.for_model(), "the search engine answered 401 Unauthorized");
    assert!(!format!("{error:?}").contains("1234"));
    assert!(
        run(
            WebSearch::new(Engine::SearXng { base: server.url("/").parse().unwrap() }).unwrap(),
            json!({ "query": " " })
        )
        .await
        .is_err()
    );
}
