//! Routes of the server: REST, WebSocket, page; and metrics.

mod page;
mod rest;
mod socket;

use std::sync::Arc;

use agent_server::ServerBuilder;
use hyper::Method;

use crate::{limits, service::Meetings};

/// Adds the routes of meetings to a server.
pub fn routes(server: ServerBuilder, meetings: &Meetings) -> ServerBuilder {
    let of = || meetings.clone();
    macro_rules! route {
        ($server:expr, $method:ident, $path:literal, $handle:path) => {{
            let meetings = of();
            $server.route(Method::$method, $path, move |request| $handle(meetings.clone(), request))
        }};
    }
    let server = server.public_route(Method::GET, "/api/v1/health", async |_| rest::health());
    let server = page::routes(server);
    let server = route!(server, POST, "/api/v1/meetings", rest::create);
    let server = route!(server, GET, "/api/v1/meetings", rest::list);
    let server = route!(server, GET, "/api/v1/meetings/{id}", rest::get);
    let server = route!(server, GET, "/api/v1/meetings/{id}/markdown", rest::markdown);
    let server = route!(server, GET, "/api/v1/principles", rest::principles);
    let server = route!(server, GET, "/api/v1/principles/{name}", rest::principle);
    let server = route!(server, PUT, "/api/v1/principles/{name}", rest::put_principle);
    let server = route!(server, DELETE, "/api/v1/principles/{name}", rest::delete_principle);
    let server = metrics(server, meetings);
    let meetings = of();
    server
        .socket("/ws/meetings/{meeting_id}", move |request, socket| {
            socket::serve(meetings.clone(), request, socket)
        })
        .options(|options| options.frame_bytes = options.frame_bytes.max(limits::FRAME_BYTES))
}

/// Adds the metrics of meetings to `/metrics`.
fn metrics(server: ServerBuilder, meetings: &Meetings) -> ServerBuilder {
    let (open, clients) = (meetings.clone(), meetings.clone());
    let server = server.gauge("meeting_open", "Meetings in memory.", move || open.open() as f64).gauge(
        "meeting_clients",
        "Connected clients of meetings.",
        move || clients.counts().clients() as f64,
    );
    meetings.counts().all().into_iter().enumerate().fold(server, |server, (at, (name, help, _))| {
        let counts = Arc::clone(meetings.counts());
        server.counter(name, help, move || counts.all()[at].2)
    })
}
