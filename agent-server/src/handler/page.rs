//! `GET /`: the page to try the server with.

use hyper::header::{self, HeaderValue};

use crate::http::{
    call::Call,
    reply::{Reply, of},
};

const PAGE: &str = include_str!("../dashboard/index.html");
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn handle(_: Call) -> Reply {
    let mut response = of("text/html; charset=utf-8", PAGE);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}
