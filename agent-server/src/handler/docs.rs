//! `/openapi.json`, `/asyncapi.json`, `/docs` and its pages, `/redoc`. Documents are generated once and cached.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{self, HeaderValue},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::route_docs;
use crate::{
    app::{AppState, Handler, RequestContext},
    docs::{
        assets::{self, tag},
        asyncapi, errors,
        openapi::{self, RouteDoc},
        page::page,
    },
    error::{ApiError, Rejection, pages},
    http::{
        response::{Body, HandlerResult, bytes as file, empty},
        router::handler,
    },
};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const MARKDOWN: &str = "text/markdown; charset=utf-8";

/// Content security policy: only files of this server. Redoc needs inline styles, and a worker from a blob.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds the routes of the documents.
pub(super) fn routes(mut add: impl FnMut(&str, Handler) -> Result<(), String>) -> Result<(), String> {
    add("/openapi.json", cached(JSON, |app| openapi::document(app, &route_docs()).to_string()))?;
    add("/asyncapi.json", cached(JSON, |_| asyncapi::document(openapi::schemas(&route_docs())).to_string()))?;
    add("/docs/websocket", cached(HTML, |_| page("WebSocket messages", &asyncapi::markdown())))?;
    add("/docs/errors", cached(HTML, |_| page("Error codes", &errors::list())))?;
    add("/docs/errors/{code}", handler(error))?;
    add("/docs/assets/{file}", handler(asset))?;
    #[cfg(feature = "docs-ui")]
    {
        add("/docs", cached(HTML, |_| assets::SWAGGER.to_owned()))?;
        add("/redoc", cached(HTML, |_| assets::REDOC.to_owned()))?;
    }
    Ok(())
}

/// Returns the documentation of the routes.
pub(super) fn docs() -> Vec<RouteDoc> {
    let page = |path: &str, id, summary| {
        RouteDoc::new(Method::GET, path, id, "pages", summary).responds(304, not_modified())
    };
    let json_page = |path: &str, id, summary| {
        let content = json!({"application/json": {"schema": {"type": "object"}}});
        page(path, id, summary).responds(200, json!({"description": "The document.", "content": content}))
    };
    let html_page =
        |path: &str, id, summary| page(path, id, summary).responds(200, page_response("text/html"));
    let name = json!({"type": "string"});
    let code_content = json!({
        "text/html": {"schema": {"type": "string"}},
        "text/markdown": {"schema": {"type": "string"}},
    });
    let mut docs = vec![
        json_page("/openapi.json", "openapi", "This document"),
        json_page("/asyncapi.json", "asyncapi", "Get the AsyncAPI 3 document of the WebSocket"),
        html_page("/docs/websocket", "docs_websocket", "Read the reference of the WebSocket messages"),
        html_page("/docs/errors", "docs_errors", "Read the list of error codes"),
        page("/docs/errors/{code}", "docs_error", "Read about an error code: its cause and what to do")
            .text("As Markdown for clients that accept `text/markdown` but not HTML.")
            .parameter("path", "code", true, &name, "The code.")
            .rejections(&[Rejection::NotFound])
            .responds(200, json!({"description": "The page.", "content": code_content})),
        page("/docs/assets/{file}", "docs_file", "Get a file of these documents")
            .parameter("path", "file", true, &name, "Name of the file.")
            .rejections(&[Rejection::NotFound])
            .responds(200, file_response()),
    ];
    if cfg!(feature = "docs-ui") {
        docs.extend([html_page("/docs", "docs", "Swagger UI"), html_page("/redoc", "redoc", "Redoc")]);
    }
    docs
}

/// Returns the documentation of a page.
pub(super) fn page_response(media_type: &str) -> Value {
    json!({"description": "The page.", "content": {media_type: {"schema": {"type": "string"}}}})
}

/// Returns the documentation of a file.
pub(super) fn file_response() -> Value {
    let text = json!({"schema": {"type": "string"}});
    let content = json!({"text/javascript": text, "text/css": text, "image/svg+xml": text});
    json!({"description": "The file.", "content": content})
}

/// Returns the documentation of a response without changes.
pub(super) fn not_modified() -> Value {
    json!({"description": "Not modified since the version in `If-None-Match`."})
}

/// Returns a handler of a document that is generated on first use.
fn cached(media_type: &'static str, generate: fn(&AppState) -> String) -> Handler {
    let document = Arc::new(OnceLock::new());
    handler(move |context: RequestContext| {
        let document = Arc::clone(&document);
        async move {
            let (bytes, tag) = document.get_or_init(|| {
                let bytes = Bytes::from(generate(&context.app));
                let tag = tag(&bytes);
                (bytes, tag)
            });
            Ok(respond(context.headers(), media_type, tag, || bytes.clone()))
        }
    })
}

async fn error(context: RequestContext) -> HandlerResult {
    let code = context.path_param("code");
    let Some(text) = pages::markdown(code) else {
        return Err(ApiError::new(Rejection::NotFound, "unknown error code; see /docs/errors"));
    };
    let accept =
        context.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut response = if accept.contains("markdown") && !accept.contains("html") {
        respond(context.headers(), MARKDOWN, &tag(text.as_bytes()), || text.into())
    } else {
        let (html, tag) = error_page(text);
        respond(context.headers(), HTML, &tag, || html)
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Returns the page of a code, which is generated on first use.
fn error_page(text: &'static str) -> (Bytes, String) {
    static PAGES: Mutex<BTreeMap<&'static str, (Bytes, String)>> = Mutex::new(BTreeMap::new());
    let mut pages = PAGES.lock();
    let page = pages.entry(text).or_insert_with(|| {
        let html = Bytes::from(page("Error codes", text));
        let tag = tag(&html);
        (html, tag)
    });
    page.clone()
}

async fn asset(context: RequestContext) -> HandlerResult {
    let Some(file) = assets::file(context.path_param("file")) else {
        return Err(ApiError::new(Rejection::NotFound, "the file does not exist"));
    };
    let packed = file.packed && accepts_gzip(context.headers());
    let form = file.form(packed).map_err(|error| {
        tracing::error!(%error, "an embedded file could not be decompressed");
        ApiError::internal()
    })?;
    let mut response = respond(context.headers(), file.content_type, &form.tag, || form.bytes.clone());
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

/// Returns whether a client accepts gzip: `gzip` or `*`, unless with `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
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

/// Returns the document, or 304 if the client has it.
fn respond(
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
    // Revalidated on each use, so that a new server version takes effect at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_clients_that_accept_it() {
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
            assert_eq!(accepts_gzip(&headers), takes, "{offer}");
        }
    }
}
