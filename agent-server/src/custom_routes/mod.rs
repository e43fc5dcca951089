//! Custom routes: HTTP handlers and WebSockets of the embedding program, in addition to or instead of those of the
//! server.

mod latest;
mod socket;

use std::{fmt, future::Future, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Request, Response, body::Frame, body::Incoming};

pub use self::{
    latest::{LatestClaim, LatestConnections},
    socket::{Disconnected, Socket, SocketMessage, Text},
};
pub use crate::http::request::PathParams;
use crate::{
    app::{Handler, RequestContext},
    http::{
        response::{self, HandlerResult, full},
        router::handler,
        websocket,
    },
};

/// Body of a response: bytes, or a stream of them.
///
/// # Examples
///
/// ```
/// use agent_server::custom_routes::Body;
/// use futures::stream;
///
/// let whole = Body::from("report");
/// let streamed = Body::stream(stream::iter(["part 1", "part 2"]).map(Into::into));
/// # use futures::StreamExt;
/// ```
pub struct Body(pub(crate) response::Body);

impl Body {
    /// Streams a body. Each item is written at once. The stream is dropped when the client disconnects.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::Body;
    /// use bytes::Bytes;
    /// use futures::{StreamExt, stream};
    ///
    /// let lines = stream::iter(1..=3).map(|number| Bytes::from(format!("{number}\n")));
    /// let body = Body::stream(lines);
    /// # drop(body);
    /// ```
    pub fn stream(items: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(StreamBody::new(items.map(|item| Ok(Frame::data(item)))).boxed_unsync())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self(full(bytes))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

/// Makes a handler that passes requests with their whole body to a function.
pub(crate) fn http_handler<F, R>(handle: F) -> Handler
where
    F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let handle = Arc::new(handle);
    handler(move |mut context: RequestContext| {
        let handle = Arc::clone(&handle);
        async move {
            let body = context.body().await?;
            let (mut parts, _) = context.request.into_parts();
            // Without them, a path without variable parts needs no map of extensions.
            if !context.path_params.0.is_empty() {
                parts.extensions.insert(context.path_params);
            }
            Ok(handle(Request::from_parts(parts, body)).await.map(|body| body.0))
        }
    })
}

/// Returns the response that refuses a request before the handshake of a WebSocket.
type HandshakeFilter = Arc<dyn Fn(&Request<()>) -> Option<Response<Body>> + Send + Sync>;

/// A custom WebSocket with settings; see [`ServerBuilder::socket_route`](crate::ServerBuilder::socket_route).
///
/// # Examples
///
/// ```no_run
/// use agent_server::custom_routes::{Body, PathParams, SocketRoute};
/// use hyper::Response;
///
/// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
/// let route = SocketRoute::new("/rooms/{id}", async |_, mut socket| {
///     socket.send("welcome").await.ok();
/// })
/// .query_token()
/// .refuse(|request| {
///     let is_long = PathParams::of(request).get("id").len() > 64;
///     is_long.then(|| {
///         let mut response = Response::new(Body::from("the id of a room has 1 to 64 bytes"));
///         *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
///         response
///     })
/// });
/// builder.socket_route(route)
/// # }
/// ```
#[must_use = "add it with `ServerBuilder::socket_route`"]
pub struct SocketRoute {
    pub(crate) path: String,
    pub(crate) query_token: bool,
    refuse: Option<HandshakeFilter>,
    serve: Serve,
}

/// Serves a WebSocket to its end.
type Serve = Arc<dyn Fn(Request<()>, Socket) -> BoxFuture<'static, ()> + Send + Sync>;

impl SocketRoute {
    /// Creates a route. The WebSocket is closed when the future of `serve` resolves, and on shutdown.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::SocketRoute;
    ///
    /// let route = SocketRoute::new("/clock", async |_, mut socket| {
    ///     socket.send("12:00").await.ok();
    /// });
    /// # drop(route);
    /// ```
    pub fn new<F, R>(path: impl Into<String>, serve: F) -> Self
    where
        F: Fn(Request<()>, Socket) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let serve: Serve = Arc::new(move |request, socket| Box::pin(serve(request, socket)));
        Self { path: path.into(), query_token: false, refuse: None, serve }
    }

    /// Accepts the caller's key or token also as the query parameter `token`, for clients that can set neither headers nor
    /// subprotocols. URLs appear in the logs of proxies; the server itself logs only the pattern of the path. Default: not
    /// accepted.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::SocketRoute;
    ///
    /// // `new WebSocket("wss://agents.example/clock?token=…")` in a browser.
    /// let route = SocketRoute::new("/clock", async |_, _| {}).query_token();
    /// # drop(route);
    /// ```
    pub const fn query_token(mut self) -> Self {
        self.query_token = true;
        self
    }

    /// Sets a check before the handshake. If it returns a response, that is sent and no WebSocket is opened. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::{Body, SocketRoute};
    /// use hyper::{Response, StatusCode};
    ///
    /// let route = SocketRoute::new("/audio", async |_, _| {}).refuse(|request| {
    ///     let is_wanted = request.headers().contains_key("x-sample-rate");
    ///     (!is_wanted).then(|| {
    ///         let mut response = Response::new(Body::from("set x-sample-rate"));
    ///         *response.status_mut() = StatusCode::BAD_REQUEST;
    ///         response
    ///     })
    /// });
    /// # drop(route);
    /// ```
    pub fn refuse(
        mut self,
        refuse: impl Fn(&Request<()>) -> Option<Response<Body>> + Send + Sync + 'static,
    ) -> Self {
        self.refuse = Some(Arc::new(refuse));
        self
    }

    /// Makes the handler.
    pub(crate) fn into_handler(self) -> Handler {
        let Self { refuse, serve, .. } = self;
        handler(move |context: RequestContext| {
            let (refuse, serve) = (refuse.clone(), Arc::clone(&serve));
            async move { open(context, refuse.as_ref(), serve) }
        })
    }
}

impl fmt::Debug for SocketRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketRoute").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Answers the handshake, and serves the WebSocket in a separate task.
fn open(mut context: RequestContext, refuse: Option<&HandshakeFilter>, serve: Serve) -> HandlerResult {
    websocket::check_upgrade(&context.request)?;
    context.request.extensions_mut().insert(std::mem::take(&mut context.path_params));
    if let Some(refuse) = refuse {
        let (head, body) = split(context.request);
        if let Some(response) = refuse(&head) {
            return Ok(response.map(|body| body.0));
        }
        context.request = head.map(|()| body);
    }
    let permit = context.stream_permit()?;
    let app = context.app;
    let config = websocket::config(app.options.frame_bytes);
    let (response, opening) = websocket::accept(&mut context.request, &app.input, config)?;
    let (request, _) = split(context.request);
    let (shutdown, write_timeout, ping) =
        (app.close_sockets.clone(), app.options.write_time, app.options.ping);
    app.tasks.spawn(async move {
        match opening.await {
            Ok(socket) => {
                serve(request, Socket::new(socket, shutdown, write_timeout, ping)).await;
            }
            Err(error) => tracing::debug!(%error, "a WebSocket could not be opened"),
        }
        drop(permit);
    });
    Ok(response)
}

fn split(request: Request<Incoming>) -> (Request<()>, Incoming) {
    let (parts, body) = request.into_parts();
    (Request::from_parts(parts, ()), body)
}
