//! `GET /` and `GET /static/{file}`: the dashboard.

use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};

use crate::{
    app::RequestContext,
    dashboard::{POLICY, asset},
    error::{ApiError, Rejection},
    http::response::{HandlerResult, bytes, empty},
};

pub(crate) async fn handle(context: RequestContext) -> HandlerResult {
    let Some(asset) = asset(context.request.uri().path()) else {
        return Err(ApiError::new(Rejection::NotFound, "the file does not exist"));
    };
    let known = context.headers().get(header::IF_NONE_MATCH).is_some_and(|tags| {
        tags.to_str()
            .is_ok_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag))
    });
    let mut response =
        if known { empty(StatusCode::NOT_MODIFIED) } else { bytes(asset.content_type, asset.bytes) };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_static(asset.etag));
    // Revalidated on each use, so that a new server version takes effect at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
