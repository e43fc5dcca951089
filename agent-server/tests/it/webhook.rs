//! Webhooks: the end of a run is reported with a signature and retries, and never to a forbidden address.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use agent_core::{
    RunOptions, Runtime, SessionId,
    journal::{InMemoryJournal, JournalStore, Recent},
};
use agent_server::{Auth, Server, TaskAgent, Webhooks};
use agent_tools::http::AddressPolicy;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde_json::{Value, json};
use tests::Dying;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::support::{
    Here, LONG,
    agent::{Puppeteer, puppet},
    send,
};

pub(crate) const SECRET: &str = "a secret that both sides know";

/// A webhook receiver.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    /// The status of its responses; 0: it never responds.
    pub(crate) status: Arc<AtomicU16>,
    posts: mpsc::Receiver<(HeaderMap, Bytes)>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reported, posts) = mpsc::channel(100);
        let status = Arc::new(AtomicU16::new(204));
        let (answer, tasks) = (Arc::clone(&status), TaskTracker::new());
        let inner = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reported, answer) = (reported.clone(), Arc::clone(&answer));
                inner.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (reported, status) = (reported.clone(), answer.load(Ordering::SeqCst));
                        async move {
                            let (parts, body) = request.into_parts();
                            let body = body.collect().await.unwrap().to_bytes();
                            reported.send((parts.headers, body)).await.unwrap();
                            if status == 0 {
                                std::future::pending::<()>().await;
                            }
                            let reply = Response::builder().status(status).header("location", "/elsewhere");
                            Ok::<_, Infallible>(reply.body(Full::<Bytes>::default()).unwrap())
                        }
                    });
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { address, status, posts }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/told?by=agents", self.address)
    }

    /// The next post, with its signature checked.
    pub(crate) async fn reported(&mut self) -> (String, Value) {
        let (headers, body) = timeout(LONG, self.posts.recv()).await.expect("somebody posts").unwrap();
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (id, seconds) = (header("webhook-id"), header("webhook-timestamp"));
        let text = String::from_utf8(body.to_vec()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let wanted = STANDARD.encode(hmac::sign(&key, format!("{id}.{seconds}.{text}").as_bytes()));
        assert_eq!(header("webhook-signature"), format!("v1,{wanted}"));
        assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000);
        (id, serde_json::from_str(&text).unwrap())
    }

    /// A post that has arrived: its id and body.
    pub(crate) fn next_report(&mut self) -> Option<(String, Value)> {
        let (headers, body) = self.posts.try_recv().ok()?;
        Some((headers["webhook-id"].to_str().unwrap().to_owned(), serde_json::from_slice(&body).unwrap()))
    }

    pub(crate) fn nothing_more(&mut self) -> bool {
        self.posts.try_recv().is_err()
    }
}

pub(crate) fn webhooks() -> Webhooks {
    Webhooks::signed(&SECRET.into(), &AddressPolicy::default().and_host("127.0.0.1")).unwrap()
}

async fn here() -> Here {
    Here::with(puppet().0, Puppeteer, |server| server.webhooks(webhooks())).await
}

async fn run(here: &Here, path: &str, session: &str, message: &str, url: &str) -> (u16, Value) {
    let body = json!({"message": message, "session_id": session, "webhook": {"url": url}});
    let reply = here.post(path, body).await;
    (reply.status.as_u16(), reply.body)
}

/// Deliveries in the store: session and status.
async fn deliveries(runtime: &Runtime) -> Vec<(SessionId, String)> {
    let all = runtime.recent(Recent { limit: 100, ..Recent::default() }).await.unwrap();
    let deliveries = all.into_iter().filter(|info| info.head.summary.graph == "webhook");
    deliveries.map(|info| (info.id, info.head.summary.status)).collect()
}

/// Waits until the deliveries in the store are as wanted.
async fn until(runtime: &Runtime, wanted: impl Fn(&[(SessionId, String)]) -> bool) {
    let look = async {
        while !wanted(&deliveries(runtime).await) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, look).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_run_is_told_whether_it_was_waited_for_or_not() {
    let (here, mut receiver) = (here().await, Receiver::start().await);
    for (path, session) in [("/run", "a"), ("/run-async", "b"), ("/run", "a")] {
        assert_eq!(run(&here, path, session, "보고", &receiver.url()).await.0, 200);
        let (id, reported) = receiver.reported().await;
        assert!(id.starts_with("webhook-"), "{id}");
        assert_eq!(reported["type"], "run.completed");
        assert_eq!(
            (&reported["data"]["session_id"], &reported["data"]["response"]),
            (&json!(session), &json!("보고"))
        );
    }
    let (status, _) = run(&here, "/run", "c", "fail", &receiver.url()).await;
    assert_eq!(status, 500);
    let (_, reported) = receiver.reported().await;
    assert_eq!(
        (&reported["type"], &reported["data"]["error"]["code"]),
        (&json!("run.failed"), &json!("node_failed"))
    );
    // A question is not the end of a run.
    assert_eq!(run(&here, "/run", "d", "ask two", &receiver.url()).await.1["status"], "paused");
    assert!(receiver.nothing_more());
    here.post("/stop/d", Value::Null).await;
    assert_eq!(receiver.reported().await.1["type"], "run.stopped");
    // A delivered event leaves nothing in the store.
    until(&here.runtime, <[_]>::is_empty).await;
    assert!(receiver.nothing_more());
    assert!(here.get("/metrics").await.text.contains("agent_webhooks_total 5\n"));
}

#[tokio::test]
async fn requests_at_once_on_one_session_report_each_to_its_own_address() {
    const RECEIVERS: usize = 4;
    let here = here().await;
    let mut receivers = Vec::new();
    for _ in 0..RECEIVERS {
        receivers.push(Receiver::start().await);
    }
    let requests = (0..40).map(|at| {
        let url = receivers[at % RECEIVERS].url();
        let body = json!({"message": format!("m{at}"), "session_id": "s", "on_busy": "enqueue", "webhook": {"url": url}});
        here.post("/run", body)
    });
    for reply in futures::future::join_all(requests).await {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let mut ids = std::collections::BTreeSet::new();
    for (at, receiver) in receivers.iter_mut().enumerate() {
        let mut reported = std::collections::BTreeSet::new();
        for _ in 0..40 / RECEIVERS {
            let (id, body) = receiver.reported().await;
            assert!(ids.insert(id), "each run has its own id");
            reported.insert(body["data"]["response"].as_str().unwrap().to_owned());
        }
        let wanted = (0..40).filter(|request| request % RECEIVERS == at).map(|request| format!("m{request}"));
        assert_eq!(reported, wanted.collect());
    }
    until(&here.runtime, <[_]>::is_empty).await;
    assert!(receivers.iter_mut().all(Receiver::nothing_more));
}

#[tokio::test]
async fn a_run_that_is_refused_or_began_before_is_not_told_again() {
    let (here, mut receiver) = (here().await, Receiver::start().await);
    assert_eq!(run(&here, "/run", "s", "ask two", &receiver.url()).await.0, 200);
    assert_eq!(run(&here, "/run", "s", "x", &receiver.url()).await.0, 409);
    until(&here.runtime, |all| all.len() == 1).await;
    let body = json!({"message": "x", "session_id": "k", "webhook": {"url": receiver.url()}}).to_string();
    for _ in 0..2 {
        let reply = here.send(Method::POST, "/run", &[("idempotency-key", "1")], body.clone()).await;
        assert_eq!(reply.status, 200);
    }
    assert_eq!(receiver.reported().await.1["data"]["session_id"], "k");
    until(&here.runtime, |all| all.len() == 1).await;
    assert!(receiver.nothing_more());
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_again_and_one_that_refuses_is_given_up_for_all_to_see() {
    let (here, mut receiver) = (here().await, Receiver::start().await);
    receiver.status.store(503, Ordering::SeqCst);
    assert_eq!(run(&here, "/run", "a", "x", &receiver.url()).await.0, 200);
    let (first, report) = receiver.reported().await;
    // A later run of the session does not change what is reported of this one.
    assert_eq!(here.post("/run", json!({"message": "y", "session_id": "a"})).await.status, 200);
    receiver.status.store(200, Ordering::SeqCst);
    let (again, second) = receiver.reported().await;
    assert_eq!(again, first, "the same id, to know it by");
    assert_eq!((&second["type"], &second["data"]), (&report["type"], &report["data"]));
    assert_eq!(second["data"]["response"], "x");
    until(&here.runtime, <[_]>::is_empty).await;
    for status in [410, 302] {
        receiver.status.store(status, Ordering::SeqCst);
        assert_eq!(run(&here, "/run", "b", "x", &receiver.url()).await.0, 200);
        let (id, _) = receiver.reported().await;
        until(&here.runtime, |all| {
            all.iter().any(|(known, status)| known.as_str() == id && status == "failed")
        })
        .await;
        let shown = here.get(&format!("/status/{id}")).await.body;
        assert_eq!(shown["status"], "failed", "{shown}");
    }
    assert!(receiver.nothing_more());
}

#[tokio::test]
async fn private_addresses_and_what_is_no_address_are_refused_before_anything_runs() {
    let here = here().await;
    let wrong = [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://2130706434/",
        "file:///etc/passwd",
        "http://user:pass@example.org/",
        "not an address",
        "",
        &format!("http://example.org/{}", "x".repeat(2_100)),
    ];
    for url in wrong {
        let (status, body) = run(&here, "/run", "s", "x", url).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid_request")), "{url}");
    }
    for field in [json!("http://example.org/"), json!({}), json!({"url": 5}), json!([])] {
        let reply = here.post("/run", json!({"message": "x", "webhook": field})).await;
        assert_eq!(reply.refusal(), (400, "invalid_request"), "{field}");
    }
    assert!(here.runtime.sessions(None, &[], 10).await.unwrap().is_empty(), "nothing ran");
    // A name that is only known to be private after its lookup.
    let (status, _) = run(&here, "/run", "s", "x", "http://localhost:1/").await;
    assert_eq!(status, 200);
    until(&here.runtime, |all| all.iter().any(|(_, status)| status == "failed")).await;
    let without = Here::of(puppet().0, Puppeteer, |_| {}).await;
    assert_eq!(run(&without, "/run", "s", "x", "http://example.org/").await.0, 400);
}

/// A server on a store: its runtime, its address, a sender that ends it, and its tasks.
async fn process(store: &Arc<dyn JournalStore>) -> (Runtime, SocketAddr, oneshot::Sender<()>, TaskTracker) {
    let runtime = puppet().0.journal(Arc::clone(store)).build();
    let server = Server::builder(runtime.clone()).agent(Puppeteer).auth(Auth::off()).webhooks(webhooks());
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (server.address(), TaskTracker::new());
    let (end, ended) = oneshot::channel::<()>();
    tasks.spawn(server.serve(async {
        ended.await.ok();
    }));
    tasks.close();
    (runtime, address, end, tasks)
}

#[tokio::test]
async fn a_webhook_outlives_the_process_that_accepted_it() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let mut receiver = Receiver::start().await;
    assert_eq!(Puppeteer.graph(), "puppet");
    let (_, address, end, tasks) = process(&store).await;
    let body = json!({"message": "ask two", "session_id": "s", "webhook": {"url": receiver.url()}});
    let reply = send(address, Method::POST, "/run", &[], body.to_string()).await;
    assert_eq!(reply.body["status"], "paused", "{reply:?}");
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();

    // In between, the run ends in a process without webhooks.
    let between = puppet().0.journal(Arc::clone(&store)).build();
    between.session("s").unwrap().stop().await.unwrap();
    between.shutdown(LONG).await;
    assert!(receiver.nothing_more());

    let (runtime, _, end, tasks) = process(&store).await;
    let (_, reported) = receiver.reported().await;
    assert_eq!((&reported["type"], &reported["data"]["session_id"]), (&json!("run.stopped"), &json!("s")));
    until(&runtime, <[_]>::is_empty).await;
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn a_webhook_is_not_given_up_however_often_its_process_dies() {
    let store = Arc::new(InMemoryJournal::new());
    let mut receiver = Receiver::start().await;
    receiver.status.store(0, Ordering::SeqCst);
    let mut first = None;
    for number in 0..6 {
        let dying = Dying::never(&store);
        let (_, address, end, tasks) = process(&(dying.clone() as Arc<dyn JournalStore>)).await;
        if number == 0 {
            let body = json!({"message": "x", "session_id": "s", "webhook": {"url": receiver.url()}});
            assert_eq!(send(address, Method::POST, "/run", &[], body.to_string()).await.status, 200);
        }
        let (id, _) = receiver.reported().await;
        assert_eq!(first.get_or_insert(id.clone()), &id);
        // While the request is sent.
        dying.kill();
        drop(end);
        timeout(LONG, tasks.wait()).await.unwrap();
    }
    receiver.status.store(200, Ordering::SeqCst);
    let (runtime, _, end, tasks) = process(&(store as Arc<dyn JournalStore>)).await;
    assert_eq!(receiver.reported().await.1["type"], "run.completed");
    until(&runtime, <[_]>::is_empty).await;
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn a_queued_run_that_begins_after_a_later_one_and_the_later_one_are_both_reported() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let mut receiver = Receiver::start().await;
    let (runtime, address, end, tasks) = process(&store).await;
    for (message, on_busy) in [("ask two", "reject"), ("second", "enqueue"), ("ask two", "interrupt")] {
        let webhook = json!({"url": receiver.url()});
        let body = json!({"message": message, "session_id": "s", "on_busy": on_busy, "webhook": webhook});
        let headers = [("idempotency-key", on_busy)];
        assert_eq!(send(address, Method::POST, "/run-async", &headers, body.to_string()).await.status, 200);
    }
    let (_, first) = receiver.reported().await;
    assert_eq!((&first["type"], &first["data"]["run"]), (&json!("run.stopped"), &json!(1)));
    until(&runtime, |all| all.len() == 2).await;
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();
    assert!(receiver.nothing_more());

    // In between, both end in a process without webhooks: the third run, and then the second one.
    let between = puppet().0.journal(Arc::clone(&store)).build();
    let session = between.session("s").unwrap();
    session.stop().await.unwrap();
    let ends = async {
        while session.status().await.unwrap().run.0 != 2 || session.wait_status().await.unwrap().is_busy() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, ends).await.unwrap();
    between.shutdown(LONG).await;

    let (runtime, address, end, tasks) = process(&store).await;
    let mut reported = std::collections::BTreeMap::new();
    for _ in 0..2 {
        let (_, body) = receiver.reported().await;
        reported.insert(body["data"]["run"].as_u64().unwrap(), body);
    }
    assert_eq!(reported[&3]["type"], "run.stopped");
    assert_eq!(
        (&reported[&2]["type"], &reported[&2]["data"]["response"]),
        (&json!("run.completed"), &json!("second"))
    );
    until(&runtime, <[_]>::is_empty).await;
    // A repeated request of the later run is answered, although an earlier number is the present run.
    let body = json!({"message": "ask two", "session_id": "s", "on_busy": "interrupt", "webhook": {"url": receiver.url()}});
    let again = send(address, Method::POST, "/run", &[("idempotency-key", "interrupt")], body.to_string());
    let again = timeout(LONG, again).await.unwrap();
    assert_eq!((again.status.as_u16(), &again.body["status"]), (200, &json!("stopped")), "{again:?}");
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn a_delivery_of_an_earlier_version_is_sent_by_this_one() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let mut receiver = Receiver::start().await;
    let (runtime, address, end, tasks) = process(&store).await;
    let body = json!({"message": "ask two", "session_id": "s"});
    assert_eq!(send(address, Method::POST, "/run", &[], body.to_string()).await.body["status"], "paused");
    // Earlier versions named the run and not the request.
    let input = json!({"url": receiver.url(), "session": "s", "run": 1, "taken": null});
    let options = RunOptions::default().request("deliver").label("kind", "webhook");
    let delivery = runtime.session("webhook-0123456789abcdef0123456789abcdef-1").unwrap();
    delivery.run_json("webhook", input).options(options).start().await.unwrap().wait_status().await;
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();

    let (runtime, address, end, tasks) = process(&store).await;
    assert_eq!(send(address, Method::POST, "/stop/s", &[], "").await.status, 200);
    let (id, reported) = receiver.reported().await;
    assert_eq!(id, delivery.id().as_str());
    assert_eq!((&reported["type"], &reported["data"]["run"]), (&json!("run.stopped"), &json!(1)));
    until(&runtime, <[_]>::is_empty).await;
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn a_delivery_is_in_no_list_but_that_of_deliveries() {
    let key = ("authorization", "Bearer alice-has-a-key-of-her-own");
    let auth = Auth::required().key("alice", key.1[7..].into()).unwrap();
    let here = Here::with(puppet().0, Puppeteer, |server| server.webhooks(webhooks()).auth(auth)).await;
    let receiver = Receiver::start().await;
    for session in ["a", "b", "c"] {
        let body = json!({"message": "ask two", "session_id": session, "webhook": {"url": receiver.url()}});
        let reply = here.send(Method::POST, "/run", &[key], body.to_string()).await;
        assert_eq!(reply.body["status"], "paused", "{reply:?}");
    }
    let list = async |query: &str| {
        let body = here.send(Method::GET, &format!("/sessions{query}"), &[key], "").await.body;
        let ids = body["sessions"].as_array().unwrap().iter();
        let ids: Vec<String> = ids.map(|one| one["session_id"].as_str().unwrap().to_owned()).collect();
        (ids, body["next"].clone())
    };
    assert_eq!(list("").await, (vec!["c".into(), "b".into(), "a".into()], Value::Null));
    // Pages are as long as they say, with deliveries between the sessions.
    let (first, next) = list("?limit=2").await;
    assert_eq!(first, ["c", "b"]);
    let before = next.as_str().unwrap();
    assert_eq!(list(&format!("?limit=2&before={before}")).await, (vec!["a".into()], Value::Null));
    assert_eq!(list("?agent=puppet&status=paused").await.0.len(), 3);
    assert_eq!(list("?agent=nobody").await.0, Vec::<String>::new());
    let deliveries = list("?agent=webhook").await.0;
    assert_eq!(deliveries.len(), 3);
    assert!(deliveries.iter().all(|id| id.starts_with("webhook-")), "{deliveries:?}");
}

#[tokio::test]
async fn a_repeated_request_restores_a_webhook_that_was_lost_while_its_run_executes() {
    let (runtime, strings) = puppet();
    let here = Here::with(runtime, Puppeteer, |server| server.webhooks(webhooks())).await;
    let mut receiver = Receiver::start().await;
    let body = json!({"message": "wait", "session_id": "k", "webhook": {"url": receiver.url()}}).to_string();
    let ask = async || here.send(Method::POST, "/run-async", &[("idempotency-key", "1")], body.clone()).await;
    assert_eq!(ask().await.status, 200);
    strings.waiting.notified().await;
    // As if the process had died between the run and its webhook.
    let (delivery, _) = deliveries(&here.runtime).await.remove(0);
    let delivery = here.runtime.session_of(delivery);
    delivery.stop().await.unwrap();
    delivery.delete().await.unwrap();
    assert_eq!(ask().await.status, 200);
    strings.gate.add_permits(1);
    let (_, reported) = receiver.reported().await;
    assert_eq!((&reported["data"]["session_id"], &reported["data"]["run"]), (&json!("k"), &json!(1)));
    until(&here.runtime, <[_]>::is_empty).await;
    assert!(receiver.nothing_more());
}

#[tokio::test]
async fn a_repeated_request_restores_a_lost_webhook_although_its_run_has_ended_in_another_process() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let mut receiver = Receiver::start().await;
    let body =
        json!({"message": "ask two", "session_id": "k", "webhook": {"url": receiver.url()}}).to_string();
    let ask = async |address| {
        send(address, Method::POST, "/run-async", &[("idempotency-key", "1")], body.clone()).await.status
    };
    let (runtime, address, end, tasks) = process(&store).await;
    assert_eq!(ask(address).await, 200);
    // As if the process had died between the run and its webhook.
    let (delivery, _) = deliveries(&runtime).await.remove(0);
    let delivery = runtime.session_of(delivery);
    delivery.stop().await.unwrap();
    delivery.delete().await.unwrap();
    runtime.session("k").unwrap().stop().await.unwrap();
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();
    assert!(receiver.nothing_more());

    let (runtime, address, end, tasks) = process(&store).await;
    for _ in 0..2 {
        assert_eq!(ask(address).await, 200);
    }
    let (_, reported) = receiver.reported().await;
    assert_eq!((&reported["type"], &reported["data"]["session_id"]), (&json!("run.stopped"), &json!("k")));
    until(&runtime, <[_]>::is_empty).await;
    assert!(receiver.nothing_more(), "it is sent once");
    drop(end);
    timeout(LONG, tasks.wait()).await.unwrap();
}
