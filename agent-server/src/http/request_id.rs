//! Request ids: taken from the caller's `X-Request-Id`, or generated.

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

/// Header of the request id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of an id that is accepted from a caller.
const MAX_LENGTH: usize = 128;

/// Returns the id that the caller sent, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let legal = |id: &&HeaderValue| {
        (1..=MAX_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(legal).cloned().unwrap_or_else(|| {
        let mut id = [0; 16];
        let mut bits = fastrand::u64(..);
        for digit in &mut id {
            *digit = b"0123456789abcdef"[(bits & 15) as usize];
            bits >>= 4;
        }
        HeaderValue::from_bytes(&id).expect("hexadecimal digits are valid header characters")
    })
}
