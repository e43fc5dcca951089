//! The server workload on `agent-server`: the endpoints are custom routes, the work is done by graphs, and the
//! sockets read the session's events.

use std::{io, sync::Arc, time::Duration};

use agent_core::{
    Context, END, Graph, Result, Runtime, START, State,
    event::EventBody,
    graph::{BuildError, NodeError},
    ids::{Seq, SessionId},
    sqlite::Sqlite,
};
use agent_server::{
    Server,
    custom_routes::{Body, PathParams, Socket, Text},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use hyper::{Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{DONE, HEALTHY, burst_message, chunk};

/// State of the three nodes.
#[derive(State, Clone, Default, Serialize, Deserialize)]
struct Steps {
    input: String,
    #[state(append)]
    steps: Vec<String>,
}

/// Input of the publisher.
#[derive(State, Clone, Default, Serialize, Deserialize)]
struct Burst {
    events: u64,
    interval_ms: f64,
}

fn three() -> Result<Graph<Steps>, BuildError> {
    let node = |name: &'static str| {
        async move |_: &Steps, _: &Context| -> Result<_> { Ok(Steps::update().steps([name.to_owned()])) }
    };
    Graph::builder("three")
        .node("one", node("one"))
        .node("two", node("two"))
        .node("three", node("three"))
        .edge(START, "one")
        .edge("one", "two")
        .edge("two", "three")
        .edge("three", END)
        .build()
}

fn publisher() -> Result<Graph<Burst>, BuildError> {
    Graph::builder("publisher")
        .node("publish", async |burst: &Burst, cx: &Context| {
            let session = cx.session().to_string();
            let pause = Duration::try_from_secs_f64(burst.interval_ms / 1e3).map_err(NodeError::permanent)?;
            for seq in 0..burst.events {
                if pause.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(pause).await;
                }
                cx.emit("todo_update", burst_message(&session, seq))?;
            }
            Ok(Burst::update())
        })
        .edge(START, "publish")
        .edge("publish", END)
        .build()
}

/// The server, ready to serve at `port`.
///
/// # Errors
///
/// I/O errors, and errors of the store.
pub async fn bind(port: u16) -> std::result::Result<Server, Box<dyn std::error::Error>> {
    let plain = Runtime::builder().graph(&three()?).graph(&publisher()?).build();
    let folder = tempfile::tempdir()?.keep();
    let durable = Runtime::builder()
        .graph(&three()?)
        .durability(agent_core::Durability::Sync)
        .journal(Sqlite::open(folder.join("shape.db"))?)
        .build();
    let (three, publisher) = (Arc::new(three()?), Arc::new(publisher()?));
    let run = |runtime: &Runtime| {
        let (runtime, three) = (runtime.clone(), Arc::clone(&three));
        move |request: Request<Bytes>| {
            let (runtime, three) = (runtime.clone(), Arc::clone(&three));
            async move { run(&runtime, &three, request.body()).await }
        }
    };
    let (start, watched) = (plain.clone(), plain.clone());
    Ok(Server::builder(plain.clone())
        .options(|options| options.connections = 20_000)
        .without_builtin_routes()
        .route(Method::GET, "/health", async |_| respond(StatusCode::OK, HEALTHY))
        .route(Method::POST, "/api/agent/run", run(&plain))
        .route(Method::POST, "/api/agent/run-durable", run(&durable))
        .route(Method::POST, "/api/agent/run-async", move |request: Request<Bytes>| {
            let (runtime, publisher) = (start.clone(), Arc::clone(&publisher));
            async move { run_async(&runtime, &publisher, request.body()).await }
        })
        .socket("/ws/{session_id}", move |request, socket| watch(watched.clone(), request, socket))
        .route(Method::POST, "/api/chat/stream", async |request: Request<Bytes>| chat(request.body()))
        .bind(("127.0.0.1", port))
        .await?)
}

async fn run(runtime: &Runtime, three: &Graph<Steps>, body: &Bytes) -> Response<Body> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return bad("no JSON") };
    let id = match body["session_id"].as_str() {
        Some(id) => match id.parse() {
            Ok(id) => id,
            Err(_) => return bad("no session id"),
        },
        None => SessionId::random(),
    };
    let input = Steps::update().input(body["input"].as_str().unwrap_or_default().to_owned());
    match runtime.session_of(id.clone()).run(three, input).await {
        Ok(outcome) => {
            let result = outcome.state();
            json(StatusCode::OK, &json!({"session_id": id, "status": "completed", "result": result}))
        }
        Err(error) => json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": error.to_string()})),
    }
}

async fn run_async(runtime: &Runtime, publisher: &Graph<Burst>, body: &Bytes) -> Response<Body> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return bad("no JSON") };
    let Some(Ok(id)) = body["session_id"].as_str().map(str::parse::<SessionId>) else {
        return bad("no session id");
    };
    let events = body["events"].as_u64().unwrap_or(100);
    let input = Burst::update().events(events).interval_ms(body["interval_ms"].as_f64().unwrap_or_default());
    match runtime.session_of(id.clone()).run(publisher, input).start().await {
        Ok(_) => json(StatusCode::OK, &json!({"session_id": id, "status": "started"})),
        Err(error) => json(StatusCode::CONFLICT, &json!({"error": error.to_string()})),
    }
}

/// Forwards the events of the publisher. Events that are already available are sent in one write.
async fn watch(runtime: Runtime, request: Request<()>, mut socket: Socket) {
    let Ok(session) = runtime.session(PathParams::of(&request).get("session_id")) else {
        return socket.close(1008, "no session id").await;
    };
    let mut events = session.subscribe(Some(Seq::ZERO));
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            said = socket.next() => match said {
                Some(_) => continue,
                None => return,
            },
        };
        let Ok(mut event) = event else { return };
        loop {
            if let EventBody::Custom(custom) = &event.body
                && socket.feed(Text::from(custom.value.to_string())).await.is_err()
            {
                return;
            }
            match futures::FutureExt::now_or_never(events.next()) {
                Some(Ok(next)) => event = next,
                Some(Err(_)) => return,
                None => break,
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

fn chat(body: &Bytes) -> Response<Body> {
    let chunks =
        serde_json::from_slice::<Value>(body).ok().and_then(|body| body["chunks"].as_u64()).unwrap_or(100);
    let pieces = stream::iter((0..chunks).map(chunk).chain([DONE.to_owned()])).then(async |piece| {
        tokio::task::yield_now().await;
        Bytes::from(piece)
    });
    let mut response = Response::new(Body::stream(pieces));
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn bad(reported: &str) -> Response<Body> {
    json(StatusCode::BAD_REQUEST, &json!({"error": reported}))
}

fn json(status: StatusCode, body: &Value) -> Response<Body> {
    respond(status, body.to_string())
}

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Serves until shutdown.
///
/// # Errors
///
/// I/O errors.
pub async fn serve(server: Server) -> io::Result<()> {
    let end = tokio::signal::ctrl_c();
    server
        .serve(async {
            if let Err(error) = end.await {
                say_unheard(&error);
            }
        })
        .await;
    Ok(())
}

fn say_unheard(error: &io::Error) {
    use std::io::Write;
    writeln!(io::stderr(), "no signal can be waited for: {error}").unwrap_or_default();
}
