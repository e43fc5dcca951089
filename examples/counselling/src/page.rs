//! The browser page at `/counselling`: embedded files, nothing from other hosts.

use agent_server::{ServerBuilder, custom_routes::Body};
use hyper::{
    Method, Response,
    header::{self, HeaderValue},
};

/// Only files and sockets of this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, media type, content.
const FILES: [(&str, &str, &str); 4] = [
    ("/counselling", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/counselling/app.css", "text/css; charset=utf-8", include_str!("../page/app.css")),
    ("/counselling/app.js", "text/javascript; charset=utf-8", include_str!("../page/app.js")),
    ("/counselling/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
];

/// Adds the page to a server.
pub(crate) fn routes(server: ServerBuilder) -> ServerBuilder {
    FILES.into_iter().fold(server, |server, (path, media_type, content)| {
        server.public_route(Method::GET, path, move |_| std::future::ready(file(media_type, content)))
    })
}

fn file(media_type: &'static str, content: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
