//! `/openapi.json`, `/asyncapi.json`, `/docs` and what is under it, `/redoc`: the documents, written once and kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderValue},
};
use parking_lot::Mutex;

use crate::{
    app::{AppState, Handler, RequestContext},
    docs::{assets, assets::tag, asyncapi, errors, openapi, page::page},
    error::{ApiError, Rejection},
    http::{
        response::{Body, HandlerResult, bytes as file, empty},
        router::handler,
    },
};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const MARKDOWN: &str = "text/markdown; charset=utf-8";

/// Nothing but files of this server; Redoc writes its styles into the page and searches in a worker of its own making.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds the paths of the documents.
pub(super) fn routes(mut add: impl FnMut(&str, Handler) -> Result<(), String>) -> Result<(), String> {
    add("/openapi.json", kept(JSON, |app| openapi::document(app).to_string()))?;
    add("/asyncapi.json", kept(JSON, |_| asyncapi::document().to_string()))?;
    add("/docs/websocket", kept(HTML, |_| page("WebSocket messages", &asyncapi::markdown())))?;
    add("/docs/errors", kept(HTML, |_| page("Error codes", &errors::list())))?;
    add("/docs/errors/{code}", handler(error))?;
    add("/docs/assets/{file}", handler(asset))?;
    #[cfg(feature = "docs-ui")]
    {
        add("/docs", kept(HTML, |_| assets::SWAGGER.to_owned()))?;
        add("/redoc", kept(HTML, |_| assets::REDOC.to_owned()))?;
    }
    Ok(())
}

/// A document that is written when it is asked for first.
fn kept(kind: &'static str, write: fn(&AppState) -> String) -> Handler {
    let written = Arc::new(OnceLock::new());
    handler(move |context: RequestContext| {
        let written = Arc::clone(&written);
        async move {
            let (bytes, tag) = written.get_or_init(|| {
                let bytes = Bytes::from(write(&context.app));
                let tag = tag(&bytes);
                (bytes, tag)
            });
            Ok(answer(context.headers(), kind, tag, || bytes.clone()))
        }
    })
}

async fn error(context: RequestContext) -> HandlerResult {
    let code = context.path_param("code");
    let Some(text) = errors::markdown(code) else {
        return Err(ApiError::new(Rejection::NotFound, "there is no code of this name; see /docs/errors"));
    };
    // Its text is the code's, not the caller's.
    let accept =
        context.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut response = if accept.contains("markdown") && !accept.contains("html") {
        answer(context.headers(), MARKDOWN, &tag(text.as_bytes()), || text.into())
    } else {
        let (html, tag) = error_page(text);
        answer(context.headers(), HTML, &tag, || html)
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// The page of a code, which is written when it is asked for first.
fn error_page(text: &'static str) -> (Bytes, String) {
    static WRITTEN: Mutex<BTreeMap<&'static str, (Bytes, String)>> = Mutex::new(BTreeMap::new());
    let mut written = WRITTEN.lock();
    let page = written.entry(text).or_insert_with(|| {
        let html = Bytes::from(page("Error codes", text));
        let tag = tag(&html);
        (html, tag)
    });
    page.clone()
}

async fn asset(context: RequestContext) -> HandlerResult {
    let Some(file) = assets::file(context.path_param("file")) else {
        return Err(ApiError::new(Rejection::NotFound, "there is nothing at this path"));
    };
    let packed = file.packed && takes_gzip(context.headers());
    let form = file.form(packed).map_err(|error| {
        tracing::error!(%error, "an embedded file cannot be unpacked");
        ApiError::new(Rejection::Internal, "the server made a mistake")
    })?;
    let mut response = answer(context.headers(), file.content_type, &form.tag, || form.bytes.clone());
    if !file.packed {
        return Ok(response);
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if packed && response.status() == StatusCode::OK {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// Whether a client unpacks gzip by itself: `gzip` or `*`, unless with `q=0`.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|offer| offer.to_str().ok());
    let mut any = None;
    for offer in offers.flat_map(|offers| offers.split(',')) {
        let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        let wanted = weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" => return wanted,
            "*" => any = Some(wanted),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

/// The document, or that the client has it.
fn answer(
    headers: &HeaderMap,
    kind: &'static str,
    tag: &str,
    bytes: impl FnOnce() -> Bytes,
) -> Response<Body> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|tags| {
        tags.split(',')
            .map(|known| known.trim().trim_start_matches("W/"))
            .any(|known| known == tag || known == "*")
    });
    let mut response = if known { empty(StatusCode::NOT_MODIFIED) } else { file(kind, bytes()) };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    // Asked for each time and not sent again: a new server has new documents at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (offer, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(offer))]);
            assert_eq!(takes_gzip(&headers), takes, "{offer}");
        }
    }
}
