//! `GET /` and `GET /static/{file}`: the dashboard.

use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};

use crate::{
    dashboard::{POLICY, asset},
    error::{ApiError, Refusal},
    http::{
        call::Call,
        reply::{Reply, empty, of},
    },
};

pub(crate) async fn handle(call: Call) -> Reply {
    let Some(asset) = asset(call.request.uri().path()) else {
        return Err(ApiError::new(Refusal::NotFound, "there is nothing at this path"));
    };
    let known = call.headers().get(header::IF_NONE_MATCH).is_some_and(|tags| {
        tags.to_str()
            .is_ok_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag))
    });
    let mut response =
        if known { empty(StatusCode::NOT_MODIFIED) } else { of(asset.content_type, asset.bytes) };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_static(asset.etag));
    // Asked for each time and not sent again: a new server is a new page at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
