//! The documents: what they say is what is sent, they need no network, and every code has its page.

use std::collections::BTreeSet;

use agent_core::{
    Agent, Runtime,
    model::Model,
    tool,
    tool::{ToolError, ToolRegistry},
};
use agent_server::{Assistant, Chat, demo::TrendAgent};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use trend_agent::Desk;

use crate::support::{
    Here,
    agent::{Puppeteer, puppet},
    upstream::{Do, Fake, Script, calls, says},
};

/// A document with every named object closed: what it does not name must not be there.
fn strict(mut document: Value) -> Value {
    for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
        if schema.get("properties").is_some() || schema.get("oneOf").is_some() {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
    document
}

/// What is wrong with a value, by a schema of a document.
fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut schema = schema.clone();
    schema["components"] = json!({"schemas": document["components"]["schemas"]});
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    schema.iter_errors(value).map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
}

/// Sends requests and holds what comes back against the document.
struct Held {
    here: Here,
    document: Value,
}

impl Held {
    async fn of(here: Here) -> Self {
        let document = strict(here.get("/openapi.json").await.body);
        Self { here, document }
    }

    /// `path` with `{session_id}` where the pattern has it.
    async fn send(
        &self,
        method: Method,
        pattern: &str,
        session: &str,
        query: &str,
        body: Option<Value>,
    ) -> Value {
        let path = pattern.replace("{session_id}", session).replace("{agent}", session) + query;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let reply = self.here.send(method.clone(), &path, &[], body).await;
        let reported = format!("{method} {path}: {} {}", reply.status, reply.text);
        let operation = &self.document["paths"][pattern][method.as_str().to_ascii_lowercase()];
        let response = &operation["responses"][reply.status.as_str()];
        assert!(response.is_object(), "no such status in the document: {reported}");
        let kind = reply.headers.get("content-type").map(|kind| kind.to_str().unwrap());
        match kind.map(|kind| kind.split(';').next().unwrap()) {
            Some("application/json") => {
                let schema = &response["content"]["application/json"]["schema"];
                let faults = faults(&self.document, schema, &reply.body);
                assert!(faults.is_empty(), "{faults:#?}\n{reported}");
            }
            Some("text/event-stream") => {
                let schema = &response["content"]["text/event-stream"]["x-item-schema"];
                assert!(schema.is_object(), "its events are not in the document: {reported}");
                let events = reply.text.lines().filter_map(|line| line.strip_prefix("data: "));
                for event in events.filter(|event| *event != "[DONE]") {
                    let event = serde_json::from_str(event).unwrap();
                    let faults = faults(&self.document, schema, &event);
                    assert!(faults.is_empty(), "{faults:#?}\n{event}\n{reported}");
                }
                return Value::String(reply.text);
            }
            Some(kind) => {
                assert!(response["content"].get(kind).is_some(), "{kind} is not in the document: {reported}")
            }
            None => assert!(response.get("content").is_none(), "{reported}"),
        }
        reply.body
    }

    async fn get(&self, pattern: &str, session: &str, query: &str) -> Value {
        self.send(Method::GET, pattern, session, query, None).await
    }

    async fn post(&self, pattern: &str, session: &str, body: Value) -> Value {
        self.send(Method::POST, pattern, session, "", Some(body)).await
    }
}

#[tokio::test]
async fn whatever_is_answered_is_what_the_document_says_and_nothing_besides() {
    let held = Held::of(Here::trend().await).await;
    for at in ["", "/api/agent"] {
        held.get(&format!("{at}/health"), "", "").await;
        let ask = json!({"message": "라네즈 리뷰를 분석해 주세요", "session_id": format!("s{}", at.len())});
        let paused = held.post(&format!("{at}/run"), "", ask.clone()).await;
        assert_eq!(paused["status"], "paused");
        held.post(&format!("{at}/run"), "", ask).await;
        held.get(&format!("{at}/ws/{{session_id}}"), "s", "").await;
    }
    let id = "s0";
    held.post("/resume/{session_id}", id, json!({})).await;
    held.post("/resume/{session_id}", id, json!({"value": "고양이"})).await;
    held.post("/resume/{session_id}", id, json!({"value": "마케터"})).await;
    held.here.reaches(id, "completed").await;
    held.get("/status/{session_id}", id, "").await;
    held.get("/sessions/{session_id}", id, "").await;
    held.post("/stop/{session_id}", id, json!({})).await;
    let journal = held.get("/sessions/{session_id}/journal", id, "?limit=1000").await;
    assert!(journal["entries"].as_array().unwrap().len() > 10);
    held.get("/sessions/{session_id}/journal", id, "?limit=2").await;
    for query in ["", "?at=3", "?at=99999", "?at=x"] {
        held.get("/sessions/{session_id}/state", id, query).await;
    }
    for query in ["?from=1&to=20", "", "?from=1&to=99999"] {
        held.get("/sessions/{session_id}/diff", id, query).await;
    }
    held.get("/sessions/{session_id}/graph", id, "").await;
    held.get("/agents", "", "").await;
    held.get("/agents/{agent}/graph", "trend", "").await;
    held.get("/sessions", "", "?limit=1").await;
    held.get("/sessions", "", "?status=sleeping").await;
    for body in
        [json!({}), json!({"at": 5, "session_id": "f"}), json!({"session_id": "f"}), json!({"at": "x"})]
    {
        held.post("/sessions/{session_id}/fork", id, body).await;
    }
    for body in [json!({}), json!([]), json!({"message": " "}), json!({"message": "x", "session_id": "a b"})]
    {
        held.post("/run-async", "", body).await;
    }
    held.post("/run-async", "", json!({"message": "Analyse Anua for buyers"})).await;
    held.send(Method::DELETE, "/sessions/{session_id}", "f", "", None).await;
    for (pattern, method) in [
        ("/status/{session_id}", Method::GET),
        ("/stop/{session_id}", Method::POST),
        ("/resume/{session_id}", Method::POST),
        ("/sessions/{session_id}", Method::DELETE),
        ("/sessions/{session_id}/journal", Method::GET),
    ] {
        held.send(method.clone(), pattern, "nobody", "", None).await;
        held.send(method, pattern, "no%20id", "", None).await;
    }
    for page in ["/", "/docs/websocket", "/docs/errors", "/openapi.json", "/asyncapi.json"] {
        held.get(page, "", "").await;
    }
}

#[tokio::test]
async fn a_failed_run_is_told_as_the_document_says() {
    let (runtime, _) = puppet();
    let held = Held::of(Here::of(runtime, Puppeteer, |_| {}).await).await;
    for message in ["fail", "panic"] {
        let failed = held.post("/run", "", json!({"message": message, "session_id": message})).await;
        assert_eq!(failed["status"], "failed");
        held.get("/status/{session_id}", message, "").await;
    }
    let unknown = held.post("/run", "", json!({"message": "x", "agent": "nobody"})).await;
    assert_eq!(unknown["code"], "unknown_agent");
}

#[tokio::test]
async fn every_message_of_the_socket_is_what_the_document_says() {
    let here = Here::trend().await;
    let document = strict(here.get("/asyncapi.json").await.body);
    let mut kinds = BTreeSet::new();
    for extent in ["contract", "status", "all"] {
        let mut socket = here.socket(extent, &format!("?events={extent}")).await;
        socket.say("ping", json!({})).await;
        socket.say("what", json!({})).await;
        here.start(extent, "라네즈 리뷰를 분석해 주세요").await;
        loop {
            let message = socket.next().await;
            let kind = message["type"].as_str().unwrap().to_owned();
            let payload = &document["components"]["messages"][&kind]["payload"];
            assert!(payload.is_object(), "{kind} is not in the document");
            let faults = faults(&document, payload, &message);
            assert!(faults.is_empty(), "{faults:#?}\n{message}");
            if kind == "hitl_request" {
                socket.say("input", json!({"value": "마케터"})).await;
            }
            let end = kind == "complete";
            kinds.insert(kind);
            if end {
                break;
            }
        }
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds, ["complete", "error", "event", "hitl_request", "pong", "status", "todo_update"]);
}

#[tokio::test]
async fn every_reference_of_the_documents_leads_somewhere() {
    let here = Here::trend().await;
    for document in [here.get("/openapi.json").await.body, here.get("/asyncapi.json").await.body] {
        let text = document.to_string();
        let references: BTreeSet<&str> =
            text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(references.len() > 10);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
        }
    }
}

#[tokio::test]
async fn a_path_of_the_program_is_in_the_document_too() {
    use agent_server::{Server, custom_routes::Body, demo::TrendAgent};
    // Kept: a server that ends ends its runtime.
    let here = Here::trend().await;
    let server = Server::builder(here.runtime.clone())
        .agent(TrendAgent)
        .route(Method::GET, "/reports/{id}", async |_| hyper::Response::new(Body::from("report")))
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let address = server.address();
    let document = tokio::select! {
        () = server.serve(std::future::pending()) => unreachable!("nobody ends it"),
        reply = crate::support::send(address, Method::GET, "/openapi.json", &[], "") => reply.body,
    };
    assert_eq!(document["paths"]["/reports/{id}"]["get"]["parameters"][0]["name"], "id");
}

#[tokio::test]
async fn a_document_that_the_client_has_is_not_sent_again() {
    let here = Here::trend().await;
    for path in [
        "/openapi.json",
        "/asyncapi.json",
        "/docs/websocket",
        "/docs/errors",
        "/docs/errors/internal",
        "/docs/assets/page.css",
    ] {
        let first = here.get(path).await;
        assert_eq!(first.status, StatusCode::OK, "{path}");
        let tag = first.headers["etag"].to_str().unwrap();
        for (tags, status) in [(tag, 304), (&*format!("\"x\", W/{tag}"), 304), ("\"x\"", 200)] {
            let again = here.send(Method::GET, path, &[("if-none-match", tags)], "").await;
            assert_eq!(again.status.as_u16(), status, "{path} {tags}");
            assert_eq!(again.text.is_empty(), status == 304);
        }
        let policy = first.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{policy}");
    }
}

#[cfg(feature = "docs-ui")]
#[tokio::test]
async fn a_packed_file_is_unpacked_for_those_who_cannot() {
    let here = Here::trend().await;
    let path = "/docs/assets/swagger-ui.css";
    let plain = here.get(path).await;
    assert!(plain.text.contains(".swagger-ui"));
    assert!(plain.headers.get("content-encoding").is_none());
    let tag = plain.headers["etag"].to_str().unwrap().to_owned();
    let vary: Vec<&str> = plain.headers.get_all("vary").iter().map(|name| name.to_str().unwrap()).collect();
    assert!(vary.contains(&"accept-encoding") && vary.contains(&"origin"), "{vary:?}");
    let packed = here.send(Method::HEAD, path, &[("accept-encoding", "gzip, br")], "").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_ne!(packed.headers["etag"], tag.as_str());
    let length = |reply: &crate::support::Reply| {
        reply.headers["content-length"].to_str().unwrap().parse::<usize>().unwrap()
    };
    assert!(length(&packed) * 4 < length(&plain));
}

#[cfg(feature = "docs-ui")]
#[tokio::test]
async fn the_pages_ask_nobody_else_for_anything() {
    let here = Here::trend().await;
    for page in ["/docs", "/redoc", "/docs/websocket", "/docs/errors"] {
        let text = here.get(page).await.text;
        for asked in text
            .split("src=\"")
            .skip(1)
            .chain(text.split("<link").skip(1).filter_map(|link| link.split("href=\"").nth(1)))
        {
            let path = asked.split('"').next().unwrap();
            assert!(path.starts_with("/docs/assets/"), "{page} asks for {path}");
            assert_eq!(here.get(path).await.status, StatusCode::OK, "{path}");
        }
    }
}

#[tokio::test]
async fn every_code_of_the_document_has_a_page_for_people_and_one_for_programs() {
    let here = Here::trend().await;
    let document = here.get("/openapi.json").await.body;
    let codes = document["components"]["schemas"]["Error"]["properties"]["code"]["enum"].as_array().unwrap();
    assert!(codes.len() > 40);
    for code in codes {
        let path = format!("/docs/errors/{}", code.as_str().unwrap());
        let html = here.get(&path).await;
        assert!(html.text.contains("<h2>What to do</h2>"), "{path}");
        let text = here.send(Method::GET, &path, &[("accept", "text/markdown")], "").await;
        assert!(text.text.starts_with("# "), "{path}");
    }
    assert_eq!(here.get("/docs/errors/%3Cscript%3E").await.refusal(), (404, "not_found"));
}

/// The cupboard is locked.
#[tool]
async fn open_cupboard() -> Result<String, ToolError> {
    Err(ToolError::failed("the cupboard is locked"))
}

/// A server with a plain model, the agent with tools and the trend agent; what is answered is held against the document.
async fn chats(scripts: Vec<Script>) -> Held {
    let fake = Fake::start(scripts).await;
    let model: Model = fake.model();
    let tools = ToolRegistry::builder().tool(open_cupboard).build().unwrap();
    let (agents, asked) = (model.clone(), tools.clone());
    let assistant =
        Assistant::new(move || Agent::builder("assistant").model(agents.clone()).tools(asked.clone()));
    let (chat, assistant) = (Chat::new(model), assistant.unwrap());
    let runtime = || TrendAgent::register(Runtime::builder(), Desk::default()).unwrap();
    let passing = runtime().build();
    let here = Here::made(runtime(), |server| {
        server.agent(TrendAgent).chat(chat).assistant(assistant).ephemeral_runtime(passing)
    });
    Held::of(here.await).await
}

fn down() -> Script {
    Script::Refuse(503, "overloaded")
}

#[tokio::test]
async fn the_streaming_chat_says_what_the_document_says() {
    let cut = Script::Speak(vec![Do::Say("하나"), Do::Break]);
    let held = chats(vec![says("안녕 🌸"), cut, down(), says("둘")]).await;
    let path = "/api/chat/stream";
    let ask = json!({"message": "안녕?", "history": [{"role": "user", "content": "저는 지민이에요"}]});
    let reported = held.post(path, "", ask.clone()).await;
    assert!(reported.as_str().unwrap().contains("안녕 🌸"), "{reported}");
    for _ in 0..2 {
        let reported = held.post(path, "", ask.clone()).await;
        assert!(reported.as_str().unwrap().contains("\"error\""), "{reported}");
    }
    let reported = held.get(path, "", "?message=hi").await;
    assert!(reported.as_str().unwrap().contains("둘"), "{reported}");
    for body in [json!({}), json!([]), json!({"message": " "}), json!({"message": "x", "history": 5})] {
        held.post(path, "", body).await;
    }
    held.get(path, "", "").await;
    held.get(path, "", "?message=x&history=%5B").await;
}

#[tokio::test]
async fn the_agent_with_tools_says_what_the_document_says() {
    let script = || {
        let first = vec![
            Do::Say("볼게요"),
            Do::Call("c", "open_cupboard", "{}"),
            Do::Used(1, 1),
            Do::End("tool_calls"),
        ];
        vec![says("안녕"), Script::Speak(first), says("잠겨 있어요"), down()]
    };
    for path in ["/api/v1/chat", "/api/v1/chat/stream"] {
        let held = chats(script()).await;
        let ask = json!({"content": "안녕?", "conversation_id": "c1"});
        for wanted in ["안녕", "open_cupboard", "code"] {
            let reported = held.post(path, "", ask.clone()).await.to_string();
            assert!(reported.contains(wanted), "{wanted}: {reported}");
        }
        for body in
            [json!({}), json!([]), json!({"content": " "}), json!({"content": "x", "conversation_id": "a b"})]
        {
            held.post(path, "", body).await;
        }
    }
}

#[tokio::test]
async fn completions_say_what_the_document_says() {
    let call = || calls("look", r#"{"at":"시계"}"#);
    let cut = Script::Speak(vec![Do::Say("하나"), Do::Break]);
    let held =
        chats(vec![says("안녕"), says("안녕"), call(), call(), says("예"), says("예"), down(), cut]).await;
    let path = "/v1/chat/completions";
    let ask = |model: &str, more: Value| {
        let mut body =
            json!({"model": model, "messages": [{"role": "user", "content": "Analyse Anua for buyers"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    let streams = json!({"stream": true, "stream_options": {"include_usage": true}});
    for (model, more) in [
        ("chat", json!({})),
        ("chat", streams.clone()),
        ("chat", json!({"tools": tools})),
        ("chat", json!({"tools": tools, "stream": true})),
        ("assistant", json!({})),
        ("assistant", streams.clone()),
        ("trend", json!({})),
        ("trend", streams.clone()),
        // The endpoint is down, then hangs up.
        ("chat", json!({})),
        ("chat", streams),
        ("nobody", json!({})),
        ("chat", json!({"n": 2})),
        ("chat", json!({"messages": []})),
    ] {
        held.post(path, "", ask(model, more)).await;
    }
    held.get("/v1/models", "", "").await;
    for model in ["trend", "nobody"] {
        let pattern = "/v1/models/{model}";
        let reply = held.here.get(&pattern.replace("{model}", model)).await;
        let response = &held.document["paths"][pattern]["get"]["responses"][reply.status.as_str()];
        let schema = &response["content"]["application/json"]["schema"];
        assert_eq!(faults(&held.document, schema, &reply.body), Vec::<String>::new());
    }
}
