//! Custom routes with settings: checks before the handshake, tokens in the query, pings, routes for everyone.

use std::time::Duration;

use agent_server::{
    Auth,
    auth::Subject,
    custom_routes::{Body, LatestConnections, PathParams, SocketMessage, SocketRoute},
};
use futures::{SinkExt, StreamExt};
use hyper::{Method, Response, StatusCode};
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message},
};

use crate::support::{
    Here, LONG,
    agent::{Puppeteer, puppet},
};

/// A room that greets its caller, and what it refuses.
fn room() -> SocketRoute {
    let route = SocketRoute::new("/rooms/{id}", async |request, mut socket| {
        let subject = request.extensions().get::<Subject>().map(ToString::to_string).unwrap_or_default();
        let greeting = format!("{} {subject}", PathParams::of(&request).get("id"));
        socket.send(greeting).await.ok();
        while socket.next().await.is_some() {}
    });
    route.refuse(|request| {
        (PathParams::of(request).get("id") == "closed").then(|| {
            let mut response = Response::new(Body::from("this room is closed"));
            *response.status_mut() = StatusCode::GONE;
            response
        })
    })
}

/// The first message, or the status of a refusal.
async fn greeting(here: &Here, path: &str) -> Result<String, u16> {
    match timeout(LONG, connect_async(format!("ws://{}{path}", here.address))).await.unwrap() {
        Ok((mut socket, _)) => {
            let message = timeout(LONG, socket.next()).await.unwrap().unwrap().unwrap();
            Ok(message.into_text().unwrap().to_string())
        }
        Err(Error::Http(refused)) => Err(refused.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_check_refuses_before_the_handshake() {
    let here = Here::with(puppet().0, Puppeteer, |server| server.socket_route(room())).await;
    assert_eq!(greeting(&here, "/rooms/blue").await.unwrap(), "blue ");
    assert_eq!(greeting(&here, "/rooms/closed").await, Err(410));
    assert_eq!(here.get("/rooms/blue").await.status, 426, "without an upgrade");
}

#[tokio::test]
async fn a_token_in_the_query_counts_only_where_the_route_accepts_it() {
    let auth = || Auth::required().key("alice", "a-key-of-sixteen".into()).unwrap();
    let strict = Here::with(puppet().0, Puppeteer, |server| server.auth(auth()).socket_route(room())).await;
    assert_eq!(greeting(&strict, "/rooms/blue?token=a-key-of-sixteen").await, Err(401));
    let here =
        Here::with(puppet().0, Puppeteer, |server| server.auth(auth()).socket_route(room().query_token()))
            .await;
    assert_eq!(greeting(&here, "/rooms/blue?token=a-key-of-sixteen").await.unwrap(), "blue key:alice");
    assert_eq!(
        greeting(&here, "/rooms/blue?token=a%2Dkey%2Dof%2Dsixteen&x=1").await.unwrap(),
        "blue key:alice"
    );
    for wrong in ["", "?token=", "?token=a-key-of-sixteem", "?token=%00", "?Token=a-key-of-sixteen"] {
        assert_eq!(greeting(&here, &format!("/rooms/blue{wrong}")).await, Err(401), "{wrong}");
    }
    assert_eq!(here.get("/sessions?token=a-key-of-sixteen").await.status, 401);
}

#[tokio::test]
async fn an_idle_socket_gets_pings_and_stays_open_although_its_client_sends_nothing() {
    let here = Here::with(puppet().0, Puppeteer, |server| {
        let server = server.options(|options| options.ping = Duration::from_millis(20));
        server.socket("/echo", async |_, mut socket| {
            while let Some(agent_server::custom_routes::SocketMessage::Text(text)) = socket.next().await {
                socket.send(text).await.ok();
            }
        })
    })
    .await;
    let (mut socket, _) = connect_async(format!("ws://{}/echo", here.address)).await.unwrap();
    // More than the three intervals after which the server's own sockets are closed. Pongs are sent by the next write.
    for _ in 0..10 {
        let ping = timeout(LONG, socket.next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(ping, Message::Ping(_)), "{ping:?}");
    }
    socket.send(Message::text("here")).await.unwrap();
    loop {
        match timeout(LONG, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Ping(_) => {}
            message => break assert_eq!(message, Message::text("here")),
        }
    }
}

#[tokio::test]
async fn a_socket_is_a_stream_of_its_messages_that_ends_with_the_connection() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let here = Here::with(puppet().0, Puppeteer, move |server| {
        let server = server.options(|options| options.ping = Duration::from_millis(20));
        server.socket("/sum", move |_, mut socket| {
            let sender = sender.clone();
            async move {
                let texts = socket.by_ref().filter_map(async |message| match message {
                    SocketMessage::Text(text) => Some(text),
                    _ => None,
                });
                let first: Vec<String> = texts.take(2).collect().await;
                socket.send(first.join("+")).await.ok();
                sender.send(socket.count().await).await.ok();
            }
        })
    })
    .await;
    let (mut socket, _) = connect_async(format!("ws://{}/sum", here.address)).await.unwrap();
    for text in ["1", "2", "3"] {
        socket.send(Message::text(text)).await.unwrap();
    }
    let answer = socket.by_ref().filter_map(async |message| message.ok().filter(Message::is_text));
    let answer = timeout(LONG, Box::pin(answer).next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::text("1+2"));
    socket.close(None).await.unwrap();
    assert_eq!(timeout(LONG, receiver.recv()).await.unwrap(), Some(1), "the message after the first two");
}

#[tokio::test]
async fn a_public_route_needs_no_credentials() {
    let auth = Auth::required().key("alice", "a-key-of-sixteen".into()).unwrap();
    let here = Here::with(puppet().0, Puppeteer, |server| {
        let page = async |_| Response::new(Body::from("about"));
        server.auth(auth).public_route(Method::GET, "/about", page).route(Method::GET, "/private", page)
    })
    .await;
    assert_eq!(here.get("/about").await.text, "about");
    assert_eq!(here.get("/private").await.status, 401);
}

#[tokio::test]
async fn the_newest_connection_of_a_key_closes_the_older_one() {
    let connections = LatestConnections::default();
    let shared = connections.clone();
    let here = Here::with(puppet().0, Puppeteer, |server| {
        server.socket("/one/{id}", move |request, mut socket| {
            let claim = shared.claim(PathParams::of(&request).get("id"));
            async move {
                socket.send("open").await.ok();
                tokio::select! {
                    () = claim.replaced() => socket.close(4001, "replaced").await,
                    _ = socket.next() => {}
                }
            }
        })
    })
    .await;
    let open = |id: &'static str| {
        let url = format!("ws://{}/one/{id}", here.address);
        async move {
            let (mut socket, _) = connect_async(url).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("open"));
            socket
        }
    };
    let (mut older, other) = (open("a").await, open("b").await);
    let newer = open("a").await;
    let Message::Close(Some(close)) = timeout(LONG, older.next()).await.unwrap().unwrap().unwrap() else {
        panic!("the older connection is closed");
    };
    assert_eq!((u16::from(close.code), &*close.reason), (4001, "replaced"));
    assert_eq!(connections.len(), 2);
    drop((newer, other));
}
