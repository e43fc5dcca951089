//! Requests on their way to a handler. Reads bodies within their limits.

use std::{fmt, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::poll_immediate;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request,
    body::{Body as _, Incoming},
};

use super::{
    budget::{InputBudget, Share},
    query::Query,
};
use crate::{
    auth::Subject,
    error::{ApiError, Rejection},
};

/// Bytes of an oversized body that are read and discarded, so that its sender can read the response.
const DRAIN_LIMIT: usize = 4 * 1024 * 1024;
/// Timeout for discarding the rest of an oversized body.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of the body of a refused request that are read and discarded, and the time for that.
const REFUSED_BYTES: usize = 64 * 1024;
const REFUSED_TIME: Duration = Duration::from_millis(250);

/// Limits of request bodies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Maximum size in bytes.
    pub(crate) bytes: usize,
    /// Timeout for reading.
    pub(crate) timeout: Duration,
}

/// Decoded values of the `{name}` parts of a path. The extensions of a request to a custom route contain them.
///
/// # Examples
///
/// ```no_run
/// use agent_server::custom_routes::{Body, PathParams};
/// use hyper::{Method, Response};
///
/// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
/// builder.route(Method::GET, "/rooms/{id}", async |request| {
///     let params = PathParams::of(&request);
///     Response::new(Body::from(format!("room {}", params.get("id"))))
/// })
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct PathParams(pub(crate) Vec<(Box<str>, String)>);

impl PathParams {
    /// Returns a value; empty if the pattern has no part with this name.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::PathParams;
    ///
    /// assert_eq!(PathParams::default().get("id"), "");
    /// ```
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| **known == *name).map_or("", |(_, text)| text)
    }

    /// Returns the values of a request's path.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::PathParams;
    ///
    /// // A request that has not come through a route has no parts.
    /// let request = hyper::Request::new(());
    /// assert_eq!(PathParams::of(&request).get("id"), "");
    /// ```
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }
}

/// A request on its way to a handler, with the application state `A`.
pub(crate) struct RequestContext<A> {
    pub(crate) app: Arc<A>,
    pub(crate) request: Request<Incoming>,
    pub(crate) path_params: PathParams,
    /// Address of the client, as far as it is known.
    pub(crate) peer: IpAddr,
    /// The authenticated caller, if callers are authenticated.
    pub(crate) subject: Option<Subject>,
    pub(crate) body_limits: BodyLimits,
    /// Memory reserved for the body. `None` until it is read: a request without a body does not change the counter of the
    /// budget, which all threads share.
    pub(crate) memory: Option<Share>,
}

impl<A: InputBudget> RequestContext<A> {
    /// Returns a part of the path; empty if the pattern has no part with this name.
    pub(crate) fn path_param(&self, name: &str) -> &str {
        self.path_params.get(name)
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Returns the decoded query.
    pub(crate) fn query(&self) -> Query {
        Query::parse(self.request.uri().query().unwrap_or_default())
    }

    /// Reads the whole body, within the limits of size and time. Its memory stays reserved until `memory` is dropped.
    ///
    /// # Errors
    ///
    /// 413, 408, 503, and 400 for a body that ends early.
    pub(crate) async fn body(&mut self) -> Result<Bytes, ApiError> {
        let BodyLimits { bytes: limit, timeout } = self.body_limits;
        let body = self.request.body_mut();
        let too_large = || {
            ApiError::new(
                Rejection::BodyTooLarge,
                format!("the body exceeds {limit} bytes (BODY_BYTES); send a smaller one"),
            )
        };
        if body.size_hint().lower() > limit as u64 {
            drain(body).await;
            return Err(too_large());
        }
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let memory = self.memory.get_or_insert_with(|| self.app.input_budget().share());
        let read = {
            let mut reading = pin!(read(body, limit, memory));
            // Small bodies arrive together with the headers and need no timer.
            match poll_immediate(reading.as_mut()).await {
                Some(read) => Ok(read),
                None => tokio::time::timeout(timeout, reading).await,
            }
        };
        match read {
            Ok(Ok(Some(read))) => Ok(read),
            Ok(Ok(None)) => {
                drain(body).await;
                Err(too_large())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ApiError::new(
                Rejection::BodyTimedOut,
                format!(
                    "the body did not arrive within {} s (BODY_SECONDS); try again",
                    timeout.as_secs_f64()
                ),
            )),
        }
    }

    /// Reserves memory for the parsed body, in addition to its bytes.
    ///
    /// # Errors
    ///
    /// 503 if the memory for callers' input is used up.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), ApiError> {
        let memory = self.memory.get_or_insert_with(|| self.app.input_budget().share());
        if memory.grow(bytes) { Ok(()) } else { Err(overloaded()) }
    }
}

impl<A> fmt::Debug for RequestContext<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext").field("peer", &self.peer).finish_non_exhaustive()
    }
}

fn overloaded() -> ApiError {
    let mut error = ApiError::new(Rejection::Overloaded, "no memory is available for this body; try again");
    error.retry_after = Some(1);
    error
}

/// Reads a body of at most `limit` bytes and reserves memory for them; `None` if it is larger. A body of one frame is not
/// copied.
async fn read(body: &mut Incoming, limit: usize, memory: &mut Share) -> Result<Option<Bytes>, ApiError> {
    let (mut first, mut read) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::new(Rejection::InvalidRequest, "the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(read.len()) + data.len() > limit {
            return Ok(None);
        }
        if !memory.grow(data.len()) {
            return Err(overloaded());
        }
        match (first.is_empty(), read.is_empty()) {
            (true, true) => first = data,
            (_, is_second) => {
                if is_second {
                    read.extend_from_slice(&first);
                }
                read.extend_from_slice(&data);
            }
        }
    }
    Ok(Some(if read.is_empty() { first } else { Bytes::from(read) }))
}

/// Reads and discards a small body. Returns whether it was read to its end.
pub(crate) async fn discard(mut body: Incoming) -> bool {
    if body.is_end_stream() {
        return true;
    }
    // The sender waits for `100 Continue`, or sends more than is worth reading.
    if body.size_hint().lower() > REFUSED_BYTES as u64 {
        return false;
    }
    let read = async {
        let mut left = REFUSED_BYTES;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let size = frame.data_ref().map_or(0, Bytes::len);
            if size > left {
                return false;
            }
            left -= size;
        }
        true
    };
    tokio::time::timeout(REFUSED_TIME, read).await.unwrap_or(false)
}

/// Reads and discards more of a body. Closing the connection at once would prevent its sender from reading the response.
async fn drain(body: &mut Incoming) {
    let read = async {
        let mut left = DRAIN_LIMIT;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(size);
            if left == 0 {
                return;
            }
        }
    };
    if tokio::time::timeout(DRAIN_TIMEOUT, read).await.is_err() {
        tracing::debug!("the rest of an oversized body did not arrive");
    }
}
