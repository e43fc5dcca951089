//! The page of meetings, and the recording of the demonstration.

use agent_server::{ServerBuilder, custom_routes::Body};
use hyper::{
    Method, Response,
    header::{self, HeaderValue},
};

/// Files: path, type, content.
const FILES: [(&str, &str, &[u8]); 5] = [
    ("/meeting", "text/html; charset=utf-8", include_bytes!("../../page/index.html")),
    ("/meeting/app.js", "text/javascript; charset=utf-8", include_bytes!("../../page/app.js")),
    ("/meeting/capture.js", "text/javascript; charset=utf-8", include_bytes!("../../page/capture.js")),
    ("/meeting/style.css", "text/css; charset=utf-8", include_bytes!("../../page/style.css")),
    ("/meeting/demo.wav", "audio/wav", crate::demo::WAV),
];

/// What the page may load and do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes(server: ServerBuilder) -> ServerBuilder {
    FILES.iter().fold(server, |server, (path, content_type, bytes)| {
        server.public_route(Method::GET, *path, async move |_| {
            let mut response = Response::new(Body::from(*bytes));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            response
        })
    })
}
