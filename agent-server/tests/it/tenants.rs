//! Tenants that share a server: a reused id, an id that is already taken, a fork into another tenant's id.

use agent_server::{Auth, Webhooks};
use agent_tools::http::AddressPolicy;
use futures::StreamExt;
use hyper::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    support::{
        Here, Reply,
        agent::{Puppeteer, puppet},
        socket::Client,
        stream::Stream,
    },
    webhook::{self, Receiver},
};

const ALICE: &str = "Bearer alice-has-a-key-of-her-own";
const BOB: &str = "Bearer bob-has-a-key-of-his-own";

async fn guarded() -> Here {
    let key = |header: &str| header.trim_start_matches("Bearer ").into();
    let auth = Auth::required().key("alice", key(ALICE)).unwrap().key("bob", key(BOB)).unwrap();
    let reach = AddressPolicy::default().and_host("127.0.0.1");
    let webhooks = Webhooks::signed(&webhook::SECRET.into(), &reach).unwrap();
    Here::with(puppet().0, Puppeteer, |server| server.auth(auth).webhooks(webhooks)).await
}

async fn by(here: &Here, who: &str, method: Method, path: &str, body: Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    here.send(method, path, &[("authorization", who)], body).await
}

async fn run(here: &Here, who: &str, session: &str, message: &str) -> Reply {
    by(here, who, Method::POST, "/run", json!({"message": message, "session_id": session})).await
}

fn hex(text: &str, bytes: usize) -> String {
    hex::encode(&Sha256::digest(text)[..bytes])
}

#[tokio::test]
async fn deleting_a_session_ends_its_sockets_and_streams_before_the_id_is_used_again() {
    let here = guarded().await;
    assert_eq!(run(&here, BOB, "s", "bob's").await.status, 200);
    let authorization = [("authorization", BOB)];
    let mut socket = Client::connect_with(here.address, "s", "?events=all", &authorization).await.unwrap();
    let mut stream = Stream::open(&here, "/sessions/s/events", &authorization).await;
    socket.until("complete").await;
    while stream.next().await["type"] != "run_completed" {}

    assert_eq!(by(&here, BOB, Method::DELETE, "/sessions/s", Value::Null).await.status, 204);
    assert_eq!(run(&here, ALICE, "s", "alice's secret").await.body["data"]["response"], "alice's secret");

    let mut seen = Vec::new();
    let goodbye = loop {
        match socket.try_next().await {
            Ok(message) => seen.push(message),
            Err(goodbye) => break goodbye.map(|frame| u16::from(frame.code)),
        }
    };
    assert!(!json!(seen).to_string().contains("secret"), "{seen:?}");
    assert_eq!(goodbye, Some(4404), "the close frame says that the session was deleted");
    assert_eq!(seen.last().unwrap()["data"]["details"]["code"], "session_not_found", "{seen:?}");
    let rest = stream.rest().await;
    assert!(!json!(rest).to_string().contains("secret"), "{rest:?}");
    assert_eq!(rest.last().unwrap()["code"], "session_not_found", "the last event says why: {rest:?}");
}

#[tokio::test]
async fn a_subscriber_of_a_session_that_another_tenant_begins_sees_nothing_of_it() {
    let here = guarded().await;
    let authorization = [("authorization", BOB)];
    let mut early = Client::connect_with(here.address, "s", "?events=all", &authorization).await.unwrap();
    assert_eq!(run(&here, ALICE, "s", "alice's secret").await.status, 200);
    let mut seen = Vec::new();
    while let Ok(message) = early.try_next().await {
        seen.push(message);
    }
    assert!(!json!(seen).to_string().contains("secret"), "{seen:?}");
}

#[tokio::test]
async fn a_fork_into_a_foreign_id_is_refused_as_a_run_on_it_is_and_tells_nothing_else() {
    let here = guarded().await;
    assert_eq!(run(&here, ALICE, "hers", "alice's").await.status, 200);
    assert_eq!(run(&here, BOB, "his", "bob's").await.status, 200);
    let fork = |at: Value| by(&here, BOB, Method::POST, "/sessions/his/fork", at);
    let reported =
        |reply: &Reply| (reply.status.as_u16(), reply.body["code"].clone(), reply.body["message"].clone());
    let refused = reported(&run(&here, BOB, "hers", "x").await);
    assert_eq!(reported(&fork(json!({"session_id": "hers"})).await), refused);
    assert_eq!(reported(&fork(json!({"session_id": "hers", "at": 1})).await), refused);
    assert_eq!(
        reported(&fork(json!({"session_id": "hers", "at": 9_999})).await),
        refused,
        "no order of checks to read"
    );
    // A caller's own session is named in the error.
    assert_eq!(fork(json!({"session_id": "his"})).await.refusal(), (409, "session_exists"));
    let source = by(&here, BOB, Method::POST, "/sessions/hers/fork", json!({"session_id": "his"})).await;
    assert_eq!(source.refusal(), (404, "session_not_found"));
}

#[tokio::test]
async fn the_session_of_a_keyed_request_cannot_be_occupied_beforehand() {
    let here = guarded().await;
    let guess = format!("key-{}", hex("key:alice\norder-1", 16));
    assert_eq!(run(&here, BOB, &guess, "bob was here").await.status, 200);
    let body = json!({"message": "alice's"}).to_string();
    let keyed = [("authorization", ALICE), ("idempotency-key", "order-1")];
    let first = here.send(Method::POST, "/run", &keyed, body.clone()).await;
    assert_eq!(first.status, 200, "{first:?}");
    let again = here.send(Method::POST, "/run", &keyed, body.clone()).await;
    assert_eq!(again.body["session_id"], first.body["session_id"], "the same key finds the same session");
    let bobs = [("authorization", BOB), ("idempotency-key", "order-1")];
    let other = here.send(Method::POST, "/run", &bobs, body).await;
    assert_ne!(other.body["session_id"], first.body["session_id"], "keys are of their callers");
}

#[tokio::test]
async fn the_session_of_a_webhook_cannot_be_occupied_beforehand() {
    let here = guarded().await;
    let mut receiver = Receiver::start().await;
    let guess = format!("webhook-{}-1", hex("hers", 12));
    assert_eq!(run(&here, BOB, &guess, "bob was here").await.status, 200);
    let body = json!({"message": "alice's", "session_id": "hers", "webhook": {"url": receiver.url()}});
    let reply = by(&here, ALICE, Method::POST, "/run", body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let (_, reported) = receiver.reported().await;
    assert_eq!(
        (&reported["type"], &reported["data"]["session_id"]),
        (&json!("run.completed"), &json!("hers"))
    );
}

#[tokio::test]
async fn a_read_that_overlaps_a_deletion_and_a_new_session_shows_the_old_one_or_nothing() {
    let here = guarded().await;
    for round in 0..20 {
        assert_eq!(run(&here, BOB, "s", "bob's").await.status, 200);
        let paths = ["/status/s", "/sessions/s/state", "/sessions/s/journal"];
        let reads = futures::stream::iter(paths.iter().cycle().take(30))
            .map(|path| by(&here, BOB, Method::GET, path, Value::Null))
            .buffer_unordered(10)
            .collect::<Vec<_>>();
        let change = async {
            assert_eq!(by(&here, BOB, Method::DELETE, "/sessions/s", Value::Null).await.status, 204);
            assert_eq!(run(&here, ALICE, "s", "alice's secret").await.status, 200);
        };
        let (replies, ()) = tokio::join!(reads, change);
        for reply in replies {
            assert!(!reply.text.contains("secret"), "{round}: {reply:?}");
        }
        assert_eq!(by(&here, ALICE, Method::DELETE, "/sessions/s", Value::Null).await.status, 204);
    }
}
