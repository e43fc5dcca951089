//! `GET /` and `GET /static/{file}`: the dashboard.

use hyper::{
    Method, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::json;

use super::docs::{file_response, not_modified, page_response};
use crate::{
    app::RequestContext,
    dashboard::{POLICY, asset},
    docs::openapi::RouteDoc,
    error::{ApiError, Rejection},
    http::response::{HandlerResult, bytes, empty, ok},
};

pub(super) fn docs() -> [RouteDoc; 2] {
    let page = |path: &str, id, summary| RouteDoc::new(Method::GET, path, id, "pages", summary);
    [
        page("/", "dashboard", "The dashboard")
            .text("A client that accepts JSON and not HTML gets `{\"message\": \"AI Chat Service API\"}`.")
            .responds(200, page_response("text/html"))
            .responds(304, not_modified()),
        page("/static/{file}", "dashboard_file", "Get a file of the dashboard")
            .parameter("path", "file", true, &json!({"type": "string"}), "Name of the file.")
            .rejections(&[Rejection::NotFound])
            .responds(200, file_response())
            .responds(304, not_modified()),
    ]
}

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let file = context.path_param("file");
    let accept =
        context.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if file.is_empty() && accept.contains("json") && !accept.contains("html") {
        let mut response = ok(&json!({"message": "AI Chat Service API"}));
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
        return Ok(response);
    }
    let Some(asset) = asset(file) else {
        return Err(ApiError::new(Rejection::NotFound, "the file does not exist"));
    };
    let known = context.headers().get(header::IF_NONE_MATCH).is_some_and(|tags| {
        tags.to_str()
            .is_ok_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag))
    });
    let mut response =
        if known { empty(StatusCode::NOT_MODIFIED) } else { bytes(asset.content_type, asset.bytes) };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::ETAG, HeaderValue::from_static(asset.etag));
    // Revalidated on each use, so that a new server version takes effect at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
