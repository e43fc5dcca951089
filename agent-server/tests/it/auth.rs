//! Who may come in, and that what is somebody else's does not exist for a caller.

use std::sync::Arc;

use agent_core::journal::{InMemoryJournal, JournalStore};
use agent_server::{
    Auth,
    auth::{Jwt, Subject, SubjectKind},
    custom_routes::Body,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::{Method, Request, Response};
use ring::{
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair},
};
use serde_json::{Value, json};

use crate::support::{
    Here, Reply,
    agent::{Puppeteer, puppet},
    socket::Client,
    stream::Stream,
};

const ALICE: &str = "Bearer alice-has-a-key-of-her-own";
const BOB: &str = "Bearer bob-has-a-key-of-his-own";
const SECRET: &str = "a secret of at least thirty-two bytes";
/// Far behind any test, in seconds since 1970.
const LATE: u64 = 32_503_680_000;

fn keys() -> Auth {
    let key = |header: &str| header.trim_start_matches("Bearer ").into();
    Auth::required().key("alice", key(ALICE)).unwrap().key("밥", key(BOB)).unwrap()
}

async fn guarded(auth: Auth) -> Here {
    let whoami = |request: Request<Bytes>| async move {
        let subject = request.extensions().get::<Subject>().map_or("-", Subject::name).to_owned();
        assert!(!request.headers().contains_key("authorization"), "a handler has no use for it");
        Response::new(Body::from(json!({"subject": subject}).to_string()))
    };
    Here::with(puppet().0, Puppeteer, |server| server.auth(auth).route(Method::GET, "/whoami", whoami)).await
}

async fn by(here: &Here, who: &str, method: Method, path: &str, body: Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    here.send(method, path, &[("authorization", who)], body).await
}

async fn whoami(here: &Here, token: &str) -> Result<String, u16> {
    let reply = by(here, &format!("Bearer {token}"), Method::GET, "/whoami", Value::Null).await;
    match reply.body["subject"].as_str() {
        Some(subject) => Ok(subject.to_owned()),
        None => Err(reply.status.as_u16()),
    }
}

#[tokio::test]
async fn without_a_key_only_what_is_nobodys_is_shown() {
    let here = guarded(keys()).await;
    for path in ["/", "/health", "/api/agent/health"] {
        assert_eq!(here.get(path).await.status, 200, "{path}");
    }
    let closed = [
        (Method::POST, "/run"),
        (Method::POST, "/api/agent/run-async"),
        (Method::GET, "/status/s"),
        (Method::POST, "/stop/s"),
        (Method::POST, "/resume/s"),
        (Method::GET, "/ws/s"),
        (Method::GET, "/agents"),
        (Method::GET, "/sessions"),
        (Method::DELETE, "/sessions/s"),
        (Method::GET, "/sessions/s/events"),
        (Method::GET, "/whoami"),
    ];
    for (method, path) in closed {
        let reply = here.send(method.clone(), path, &[], "").await;
        assert_eq!(reply.refusal(), (401, "unauthorized"), "{path}");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        let reply = by(&here, "Bearer bob-has-a-key-of-his-owm", method, path, Value::Null).await;
        assert_eq!(reply.refusal(), (401, "invalid_token"), "{path}");
        assert_eq!(reply.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
        assert!(!reply.text.contains("bob"), "{}", reply.text);
    }
    let token = ALICE.trim_start_matches("Bearer ");
    for query in ["token", "access_token", "authorization", "key"] {
        let reply = here.get(&format!("/sessions?{query}={token}")).await;
        assert_eq!(reply.status, 401, "a URL ends up in logs");
    }
    assert_eq!(here.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn a_session_is_its_owners_and_nobody_elses_anywhere() {
    let here = guarded(keys()).await;
    let run = |who, session: &str| {
        let body = json!({"message": "ask two", "session_id": session});
        let here = &here;
        async move { by(here, who, Method::POST, "/run", body).await }
    };
    assert_eq!(run(ALICE, "hers").await.body["status"], "paused");
    assert_eq!(run(BOB, "his").await.body["status"], "paused");
    assert_eq!(run(BOB, "hers").await.refusal(), (404, "session_not_found"));
    let ways = [
        (Method::GET, "/status/hers", Value::Null),
        (Method::GET, "/api/agent/status/hers", Value::Null),
        (Method::POST, "/resume/hers", json!({"value": 1})),
        (Method::POST, "/stop/hers", Value::Null),
        (Method::POST, "/run-async", json!({"message": "x", "session_id": "hers", "on_busy": "interrupt"})),
        (Method::POST, "/run", json!({"message": "x", "session_id": "hers", "on_busy": "enqueue"})),
        (Method::GET, "/sessions/hers", Value::Null),
        (Method::GET, "/sessions/hers/journal", Value::Null),
        (Method::GET, "/sessions/hers/state", Value::Null),
        (Method::GET, "/sessions/hers/diff?from=1&to=2", Value::Null),
        (Method::GET, "/sessions/hers/graph", Value::Null),
        (Method::GET, "/sessions/hers/events", Value::Null),
        (Method::POST, "/sessions/hers/fork", Value::Null),
        (Method::DELETE, "/sessions/hers", Value::Null),
    ];
    for (method, path, body) in ways {
        let reply = by(&here, BOB, method.clone(), path, body).await;
        assert_eq!(reply.refusal(), (404, "session_not_found"), "{method} {path}");
        // Whoever waits for a session that does not exist yet may wait.
        if path.contains("/hers") && !path.ends_with("events") {
            let nobody = by(&here, BOB, method, &path.replace("hers", "nobodys"), Value::Null).await;
            assert_eq!(nobody.text.replace("nobodys", "hers"), reply.text, "{path} tells nothing more");
        }
    }
    let socket = Client::connect_with(here.address, "hers", "", &[("authorization", BOB)]).await;
    assert_eq!(socket.err().unwrap(), 404);
    for (who, sees) in [(ALICE, "hers"), (BOB, "his")] {
        let list = by(&here, who, Method::GET, "/sessions", Value::Null).await.body;
        let seen: Vec<&str> = list["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|one| one["session_id"].as_str())
            .collect();
        assert_eq!(seen, [sees]);
    }
    let fork = by(&here, ALICE, Method::POST, "/sessions/hers/fork", json!({"session_id": "branch"})).await;
    assert_eq!(fork.status, 200, "{fork:?}");
    assert_eq!(by(&here, BOB, Method::GET, "/status/branch", Value::Null).await.status, 404);
    assert_eq!(by(&here, ALICE, Method::GET, "/status/branch", Value::Null).await.status, 200);
    let status = by(&here, ALICE, Method::GET, "/status/hers", Value::Null).await;
    assert_eq!(status.body["status"], "paused", "nothing has changed: {status:?}");
}

#[tokio::test]
async fn the_same_idempotency_key_of_two_callers_is_two_requests() {
    let here = guarded(keys()).await;
    let run = async |who| {
        let headers = [("authorization", who), ("idempotency-key", "1")];
        here.send(Method::POST, "/run", &headers, r#"{"message":"x"}"#).await.body["session_id"].clone()
    };
    let (hers, again, his) = (run(ALICE).await, run(ALICE).await, run(BOB).await);
    assert!(hers.is_string() && hers == again && hers != his, "{hers} {again} {his}");
}

#[tokio::test]
async fn who_listens_before_a_session_exists_does_not_hear_somebody_elses() {
    let here = guarded(keys()).await;
    let connect = async |who| Client::connect_with(here.address, "s", "", &[("authorization", who)]).await;
    let (mut hers, mut his) = (connect(ALICE).await.unwrap(), connect(BOB).await.unwrap());
    let mut stream = Stream::open(&here, "/sessions/s/events", &[("authorization", BOB)]).await;
    let run = by(&here, ALICE, Method::POST, "/run", json!({"message": "secret", "session_id": "s"})).await;
    assert_eq!(run.status, 200);
    assert_eq!(hers.until("complete").await["data"]["response"], "secret");
    let goodbye = his.try_next().await.unwrap_err().unwrap();
    assert_eq!(u16::from(goodbye.code), 1008);
    assert!(his.got.is_empty(), "{:?}", his.got);
    assert!(stream.ends().await);
}

#[tokio::test]
async fn a_browser_shows_its_token_as_a_subprotocol_and_is_not_told_it_again() {
    let here = guarded(keys()).await;
    let offer = format!("agent.v1, bearer.{}", ALICE.trim_start_matches("Bearer "));
    let mut socket =
        Client::connect_with(here.address, "s", "", &[("sec-websocket-protocol", &offer)]).await.unwrap();
    socket.ping().await;
    let refused =
        Client::connect_with(here.address, "s", "", &[("sec-websocket-protocol", "agent.v1")]).await;
    assert_eq!(refused.err().unwrap(), 401);
}

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// A token signed by `sign`.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn hs256(secret: &str) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    move |text| hmac::sign(&key, text).as_ref().to_vec()
}

fn rsa_key() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(include_bytes!("../fixtures/rs256.der")).unwrap()
}

fn rs256(text: &[u8]) -> Vec<u8> {
    let key = rsa_key();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
    signature
}

#[tokio::test]
async fn a_token_is_taken_only_signed_as_agreed_in_time_and_for_this_server() {
    let jwt = Jwt::hs256(&SECRET.into()).issuer("https://id.example").audience("agents");
    let here = guarded(Auth::required().tokens(jwt)).await;
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let good =
        json!({"sub": "앨리스", "exp": LATE, "nbf": 1, "iss": "https://id.example", "aud": ["x", "agents"]});
    let sign = hs256(SECRET);
    let good_token = token(&header, &good, &sign);
    assert_eq!(whoami(&here, &good_token).await, Ok("앨리스".to_owned()));

    let wrong = [
        ("exp", json!(1)),
        ("exp", Value::Null),
        ("exp", json!("32503680000")),
        ("nbf", json!(LATE - 1)),
        ("iss", json!("https://id.example.evil")),
        ("iss", Value::Null),
        ("aud", json!("agent")),
        ("aud", Value::Null),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(5)),
        ("sub", json!("x".repeat(513))),
    ];
    for (name, value) in wrong {
        let mut claims = good.clone();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name).map(drop).unwrap(),
            ref value => claims[name] = value.clone(),
        }
        assert_eq!(whoami(&here, &token(&header, &claims, &sign)).await, Err(401), "{name}: {value}");
    }
    let unsigned = format!("{}.{}.", encoded(&json!({"alg": "none"})), encoded(&good));
    let cut = &good_token[..good_token.len() - 2];
    let foreign = token(&header, &good, hs256("another secret of thirty-two bytes.."));
    let larger = token(&json!({"alg": "HS512"}), &good, &sign);
    let demanding = token(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &good, &sign);
    for wrong in [&*unsigned, cut, &foreign, &larger, &demanding, "..", "a.b.c", &"x.".repeat(5_000)] {
        assert_eq!(whoami(&here, wrong).await, Err(401), "{wrong}");
    }
}

#[tokio::test]
async fn an_rsa_key_checks_tokens_and_is_no_shared_secret() {
    let pem = include_str!("../fixtures/rs256.pub.pem");
    let here = guarded(Auth::required().tokens(Jwt::rs256(pem.as_bytes()).unwrap())).await;
    let claims = json!({"sub": "alice", "exp": LATE});
    let header = json!({"alg": "RS256"});
    assert_eq!(whoami(&here, &token(&header, &claims, rs256)).await, Ok("alice".to_owned()));
    // The public key is public: whoever signs with it as if it were a secret must not get in.
    let confused = token(&json!({"alg": "HS256"}), &claims, hs256(pem));
    assert_eq!(whoami(&here, &confused).await, Err(401));
    assert_eq!(whoami(&here, &token(&header, &claims, |_| vec![0; 256])).await, Err(401));
    for wrong in
        ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &pem.replace("MIIB", "MIIC")]
    {
        assert!(Jwt::rs256(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_key_set_has_many_keys_each_with_its_own_algorithm() {
    let random = SystemRandom::new();
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let curve = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let point = curve.public_key().as_ref();
    let rsa: rsa::PublicKeyComponents<Vec<u8>> = rsa_key().public().into();
    let set = json!({"keys": [
        {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "r",
         "n": URL_SAFE_NO_PAD.encode(&rsa.n), "e": URL_SAFE_NO_PAD.encode(&rsa.e)},
        {"kty": "EC", "crv": "P-256", "kid": "e",
         "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])},
        {"kty": "RSA", "use": "enc", "kid": "not-for-this", "n": "AQAB", "e": "AQAB"},
        {"kty": "made-up", "kid": "?"},
    ]});
    let here = guarded(Auth::required().tokens(Jwt::jwks(set.to_string().as_bytes()).unwrap())).await;
    let claims = json!({"sub": "alice", "exp": LATE});
    let es256 = |text: &[u8]| curve.sign(&random, text).unwrap().as_ref().to_vec();
    let by_rsa = |header: Value| token(&header, &claims, rs256);
    let by_curve = |header: Value| token(&header, &claims, es256);
    let known = Ok("alice".to_owned());
    assert_eq!(whoami(&here, &by_rsa(json!({"alg": "RS256", "kid": "r"}))).await, known);
    assert_eq!(whoami(&here, &by_curve(json!({"alg": "ES256", "kid": "e"}))).await, known);
    for wrong in [
        by_rsa(json!({"alg": "RS256"})),
        by_rsa(json!({"alg": "RS256", "kid": "e"})),
        by_rsa(json!({"alg": "RS256", "kid": "not-for-this"})),
        by_curve(json!({"alg": "RS256", "kid": "r"})),
        by_curve(json!({"alg": "ES256", "kid": "nobody"})),
    ] {
        assert_eq!(whoami(&here, &wrong).await, Err(401), "{wrong}");
    }
    for none in ["", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"made-up"}]}"#] {
        assert!(Jwt::jwks(none.as_bytes()).is_err(), "{none}");
    }
}

/// A token of `alice`, as a header.
fn token_of(sub: &str) -> String {
    format!("Bearer {}", token(&json!({"alg": "HS256"}), &json!({"sub": sub, "exp": LATE}), hs256(SECRET)))
}

#[tokio::test]
async fn a_token_is_never_taken_for_the_key_of_its_name_whatever_either_is_called() {
    let tokens = Jwt::hs256(&SECRET.into());
    let auth = keys().key("token:alice", "a-key-with-a-crafted-name".into()).unwrap().tokens(tokens);
    let here = Here::with(puppet().0, Puppeteer, |server| {
        server.auth(auth).options(|options| options.requests_per_minute = 10)
    })
    .await;
    let crafted = "Bearer a-key-with-a-crafted-name";
    let callers = [ALICE.to_owned(), token_of("alice"), token_of("key:alice"), crafted.to_owned()];
    for (at, who) in callers.iter().enumerate() {
        let body = json!({"message": "x", "session_id": format!("s-{at}")});
        assert_eq!(by(&here, who, Method::POST, "/run", body).await.status, 200, "{who}");
    }
    for (at, who) in callers.iter().enumerate() {
        let list = by(&here, who, Method::GET, "/sessions", Value::Null).await.body;
        let ids: Vec<&Value> =
            list["sessions"].as_array().unwrap().iter().map(|one| &one["session_id"]).collect();
        assert_eq!(ids, [&json!(format!("s-{at}"))], "{who}");
        for other in (0..callers.len()).filter(|other| *other != at) {
            let reply = by(&here, who, Method::GET, &format!("/status/s-{other}"), Value::Null).await;
            assert_eq!(reply.refusal(), (404, "session_not_found"), "{who}");
        }
    }
    // Five of ten are used up by each; what one uses up is nobody else's.
    for _ in 0..5 {
        assert_eq!(by(&here, ALICE, Method::GET, "/agents", Value::Null).await.status, 200);
    }
    assert_eq!(by(&here, ALICE, Method::GET, "/agents", Value::Null).await.status, 429);
    assert_eq!(by(&here, &callers[1], Method::GET, "/agents", Value::Null).await.status, 200);
}

#[test]
fn a_subject_is_written_with_how_it_shows_who_it_is() {
    let (key, token): (Subject, Subject) = ("key:민수".parse().unwrap(), "token:a|b:c".parse().unwrap());
    assert_eq!((key.kind(), key.name(), key.as_str()), (SubjectKind::Key, "민수", "key:민수"));
    assert_eq!(
        (token.kind(), token.name(), &*token.to_string()),
        (SubjectKind::Token, "a|b:c", "token:a|b:c")
    );
    for wrong in
        ["", "alice", "key:", "token:", "Key:alice", " key:alice", &format!("key:{}", "x".repeat(501))]
    {
        assert!(wrong.parse::<Subject>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn an_admin_uses_the_sessions_of_all_and_of_nobody_and_takes_none_away() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let before = Here::kept(puppet().0.journal(Arc::clone(&store)), |server| server.agent(Puppeteer)).await;
    before.post("/run", json!({"message": "ask two", "session_id": "old"})).await;
    before.post("/run", json!({"message": "x", "session_id": "older"})).await;
    before.end().await;
    let auth = keys().key("admin", "the-key-of-the-operator".into()).unwrap();
    let auth = auth.admin("key:admin".parse().unwrap());
    let here = Here::kept(puppet().0.journal(store), |server| server.agent(Puppeteer).auth(auth)).await;
    let admin = "Bearer the-key-of-the-operator";
    let run = |who, session: &str, message: &str| {
        let body = json!({"message": message, "session_id": session});
        let here = &here;
        async move { by(here, who, Method::POST, "/run", body).await }
    };
    assert_eq!(run(ALICE, "hers", "x").await.status, 200);
    let seen = async |who| {
        let list = by(&here, who, Method::GET, "/sessions", Value::Null).await.body;
        let list = list["sessions"].as_array().unwrap().clone();
        let mut ids: Vec<String> =
            list.iter().map(|one| one["session_id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(seen(ALICE).await, ["hers"]);
    assert_eq!(
        run(ALICE, "old", "x").await.refusal(),
        (404, "session_not_found"),
        "nobody's is not anybody's"
    );
    assert_eq!(seen(admin).await, ["hers", "old", "older"]);

    let status = by(&here, admin, Method::GET, "/status/old", Value::Null).await.body;
    let question = &status["data"]["questions"][0]["id"];
    let answered = by(&here, admin, Method::POST, "/resume/old", json!({"id": question, "value": 1})).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    assert_eq!(by(&here, admin, Method::POST, "/stop/old", Value::Null).await.status, 200);
    assert_eq!(by(&here, admin, Method::DELETE, "/sessions/old", Value::Null).await.status, 204);
    let mut socket =
        Client::connect_with(here.address, "older", "?after=0", &[("authorization", admin)]).await.unwrap();
    socket.until("complete").await;

    // Hers stays hers, nobody's becomes the admin's, and what the admin begins is the admin's.
    for session in ["hers", "older", "new"] {
        assert_eq!(run(admin, session, "y").await.body["data"]["response"], "y", "{session}");
    }
    assert_eq!(seen(ALICE).await, ["hers"]);
    assert_eq!(run(ALICE, "hers", "z").await.status, 200);
    for session in ["older", "new"] {
        assert_eq!(run(ALICE, session, "z").await.status, 404, "{session}");
    }
    assert_eq!(by(&here, admin, Method::GET, "/sessions/nothing", Value::Null).await.status, 404);
}
