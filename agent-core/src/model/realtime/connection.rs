//! WebSocket connection to a transcription endpoint.

use std::sync::Arc;

use futures::SinkExt;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderValue, header::AUTHORIZATION},
        protocol::WebSocketConfig,
    },
};

use super::{
    event::RefusedReason,
    options::{RealtimeError, RealtimeOptions, RealtimeShape},
};
use crate::model::http;

/// Maximum size of a message of the endpoint, in bytes.
const MESSAGE: usize = 1024 * 1024;

/// Bytes over TCP, or over TLS.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Wire>>;

/// An attempt to connect failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectFailure {
    /// Waiting does not help.
    Refused(RefusedReason),
    /// Another attempt may succeed.
    Temporary,
}

/// Address and headers of an endpoint.
pub(super) struct Endpoint {
    request: Request,
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Endpoint {
    pub(super) fn new(options: &RealtimeOptions) -> Result<Self, RealtimeError> {
        let mut request = options.url.trim().into_client_request().map_err(|_| RealtimeError::Url)?;
        let uri = request.uri();
        let is_tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(RealtimeError::Url),
        };
        let host =
            uri.host().map(|host| host.trim_matches(['[', ']']).to_owned()).filter(|host| !host.is_empty());
        let host = host.ok_or(RealtimeError::Url)?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = match is_tls {
            true => {
                let config = http::tls().map_err(|_| RealtimeError::Tls)?;
                let name = ServerName::try_from(host.clone()).map_err(|_| RealtimeError::Url)?;
                Some((Arc::new(config), name))
            }
            false => None,
        };
        if let Some(key) = &options.key {
            let value = format!("Bearer {}", key.expose());
            let mut value = HeaderValue::try_from(value).map_err(|_| RealtimeError::Key)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        if options.shape == RealtimeShape::Beta {
            request.headers_mut().insert("openai-beta", HeaderValue::from_static("realtime=v1"));
        }
        Ok(Self { request, host, port, tls })
    }

    /// Connects and sends the first message. The caller has the timeout.
    pub(super) async fn connect(&self, first: String) -> Result<Socket, ConnectFailure> {
        let temporary = |_| ConnectFailure::Temporary;
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(temporary)?;
        // Audio is sent in small messages that must not wait for each other.
        tcp.set_nodelay(true).map_err(temporary)?;
        let wire: Box<dyn Wire> = match &self.tls {
            None => Box::new(tcp),
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name.clone(), tcp).await.map_err(temporary)?)
            }
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE));
        let opened = client_async_with_config(self.request.clone(), wire, Some(config)).await;
        let (mut socket, _) = opened.map_err(|error| failure(&error))?;
        socket.send(Message::text(first)).await.map_err(|error| failure(&error))?;
        Ok(socket)
    }
}

fn failure(error: &Error) -> ConnectFailure {
    let Error::Http(response) = error else { return ConnectFailure::Temporary };
    match response.status().as_u16() {
        401 | 403 => ConnectFailure::Refused(RefusedReason::Auth),
        // 408, 425, 429: later.
        408 | 425 | 429 => ConnectFailure::Temporary,
        200..=499 => ConnectFailure::Refused(RefusedReason::NotFound),
        _ => ConnectFailure::Temporary,
    }
}
