//! HTTP cassettes: record calls against a real endpoint once, then replay them offline.
//!
//! Not recorded: request headers, response headers except five harmless ones, values of query parameters, the host,
//! and any secret that was sent in a header or named by the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::http::{SendRequest, Transport};
use crate::model::{ModelError, ModelErrorKind};
use crate::secret::Secret;

const KEPT_HEADERS: [&str; 5] = ["content-type", "date", "retry-after", "retry-after-ms", "location"];
/// Headers with values that are treated as secrets.
const SECRET_HEADERS: [&str; 5] = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"];

/// A cassette of HTTP calls, stored as a JSON file.
///
/// # Examples
///
/// ```no_run
/// use agent_core::model::{openai::OpenAi, testing::Cassette, http::{HttpOptions, Transport}};
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let network = Transport::network(&HttpOptions::default())?;
/// let recording = OpenAi::builder_from_env()?.transport(Cassette::record("tests/tapes/hello.json", network)).build()?;
/// let replaying = OpenAi::builder().transport(Cassette::replay("tests/tapes/hello.json")?).build()?;
/// # let _ = (recording, replaying); Ok(()) }
/// ```
#[derive(Debug)]
pub struct Cassette;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Tape {
    exchanges: Vec<Exchange>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Exchange {
    request: RecordedRequest,
    response: Answered,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RecordedRequest {
    method: String,
    path: String,
    body: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    /// Offsets at which the body was split when it arrived, in bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cuts: Vec<usize>,
    /// Whether the connection broke after the body.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    broken: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Body {
    Text(String),
    Bytes(Vec<u8>),
}

impl Cassette {
    /// Sends calls through `inner` and records them in the file. The first call creates the file anew.
    ///
    /// A call is recorded when its response was read to the end or dropped.
    pub fn record(path: impl Into<PathBuf>, inner: Transport) -> Transport {
        Self::record_without(path, inner, [])
    }

    /// Records calls and masks additional secrets.
    pub fn record_without(
        path: impl Into<PathBuf>,
        inner: Transport,
        secrets: impl IntoIterator<Item = Secret>,
    ) -> Transport {
        let shared =
            Shared { path: path.into(), tape: Mutex::default(), secrets: secrets.into_iter().collect() };
        Transport::new(Recorder { inner, shared: Arc::new(shared) })
    }

    /// Answers calls from the file. Each recorded call answers once, the oldest first, if method, path and body are
    /// equal. A call that is not recorded fails with [`ModelErrorKind::BadRequest`].
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not a cassette.
    pub fn replay(path: impl AsRef<Path>) -> Result<Transport, std::io::Error> {
        let tape: Tape = serde_json::from_slice(&std::fs::read(path)?)?;
        Ok(Transport::new(Player { tape: Arc::new(Mutex::new(tape)) }))
    }
}

struct Player {
    tape: Arc<Mutex<Tape>>,
}

impl SendRequest for Player {
    fn send(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, ModelError>> {
        let asked = RecordedRequest::read(&request, &[]);
        let mut tape = self.tape.lock();
        let found = tape.exchanges.iter().position(|exchange| exchange.request == asked);
        let answer = found.map(|at| tape.exchanges.remove(at).response);
        drop(tape);
        Box::pin(async move {
            answer.map(Answered::play).ok_or_else(|| {
                let detail =
                    format!("the cassette has no further response to {} {}", asked.method, asked.path);
                ModelError::new(ModelErrorKind::BadRequest).with_detail(detail)
            })
        })
    }
}

impl Answered {
    fn play(self) -> reqwest::Response {
        let body = Bytes::from(match self.body {
            Body::Text(text) => text.into_bytes(),
            Body::Bytes(bytes) => bytes,
        });
        let ends = self.cuts.iter().copied().chain([body.len()]);
        let mut chunks: Vec<Result<Bytes, std::io::Error>> = Vec::new();
        let mut from = 0;
        for end in ends.filter(|end| *end <= body.len()) {
            if end > from {
                chunks.push(Ok(body.slice(from..end)));
                from = end;
            }
        }
        if self.broken {
            chunks.push(Err(std::io::Error::other("the recorded connection broke")));
        }
        let mut response = http::Response::new(reqwest::Body::wrap_stream(futures::stream::iter(chunks)));
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (http::HeaderName::try_from(name), http::HeaderValue::try_from(value))
            {
                response.headers_mut().append(name, value);
            }
        }
        response.into()
    }
}

impl RecordedRequest {
    fn read(request: &reqwest::Request, secrets: &[Secret]) -> Self {
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let body = scrub(&String::from_utf8_lossy(body), secrets);
        let names: Vec<_> = request.url().query_pairs().map(|(name, _)| name.into_owned()).collect();
        let query = if names.is_empty() { String::new() } else { format!("?{}", names.join("&")) };
        Self {
            method: request.method().to_string(),
            path: format!("{}{query}", scrub(request.url().path(), secrets)),
            body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
        }
    }
}

fn scrub(text: &str, secrets: &[Secret]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| secret.scrub(&text))
}

struct Shared {
    path: PathBuf,
    tape: Mutex<Tape>,
    secrets: Vec<Secret>,
}

impl Shared {
    fn keep(&self, exchange: Exchange) {
        let mut tape = self.tape.lock();
        tape.exchanges.push(exchange);
        if let Err(error) = write(&self.path, &tape) {
            tracing::error!(path = %self.path.display(), %error, "the cassette cannot be written");
        }
    }
}

/// Writes the file atomically: if a test is killed, the old file remains.
fn write(path: &Path, tape: &Tape) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, serde_json::to_vec_pretty(tape)?)?;
    std::fs::rename(&part, path)
}

struct Recorder {
    inner: Transport,
    shared: Arc<Shared>,
}

impl SendRequest for Recorder {
    fn send(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, ModelError>> {
        let mut secrets = self.shared.secrets.clone();
        for value in SECRET_HEADERS.iter().filter_map(|name| request.headers().get(*name)?.to_str().ok()) {
            secrets.push(Secret::new(value.strip_prefix("Bearer ").unwrap_or(value)));
        }
        let asked = RecordedRequest::read(&request, &secrets);
        let shared = Arc::clone(&self.shared);
        let answer = self.inner.send(request);
        Box::pin(async move {
            let response = answer.await?;
            let headers = KEPT_HEADERS
                .iter()
                .filter_map(|name| {
                    Some(((*name).to_owned(), response.headers().get(*name)?.to_str().ok()?.to_owned()))
                })
                .collect();
            let status = response.status();
            let kept = response.headers().clone();
            let take = Take {
                asked,
                status: status.as_u16(),
                headers,
                body: Vec::new(),
                cuts: Vec::new(),
                broken: false,
                secrets,
                shared,
            };
            let mut played =
                http::Response::new(reqwest::Body::wrap_stream(tee(response.bytes_stream(), take)));
            *played.status_mut() = status;
            *played.headers_mut() = kept;
            Ok(played.into())
        })
    }
}

/// A call that is being recorded. Stored when dropped, which is also when a reader stops early.
struct Take {
    asked: RecordedRequest,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cuts: Vec<usize>,
    broken: bool,
    secrets: Vec<Secret>,
    shared: Arc<Shared>,
}

impl Drop for Take {
    fn drop(&mut self) {
        let len = self.body.len();
        let mut cuts = std::mem::take(&mut self.cuts);
        // The end of the body is not a split.
        cuts.pop_if(|cut| *cut == len);
        let body = match String::from_utf8(std::mem::take(&mut self.body)) {
            Ok(text) => {
                let clean = scrub(&text, &self.secrets);
                if clean.len() != text.len() {
                    cuts.clear();
                }
                Body::Text(clean)
            }
            Err(error) => Body::Bytes(error.into_bytes()),
        };
        self.shared.keep(Exchange {
            request: self.asked.clone(),
            response: Answered {
                status: self.status,
                headers: std::mem::take(&mut self.headers),
                body,
                cuts,
                broken: self.broken,
            },
        });
    }
}

fn tee(
    chunks: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    take: Take,
) -> impl Stream<Item = reqwest::Result<Bytes>> + Send {
    let chunks = Box::pin(chunks);
    futures::stream::unfold((chunks, take), |(mut chunks, mut take)| async move {
        let chunk = chunks.next().await?;
        match &chunk {
            Ok(bytes) => {
                take.body.extend_from_slice(bytes);
                take.cuts.push(take.body.len());
            }
            Err(_) => take.broken = true,
        }
        Some((chunk, (chunks, take)))
    })
}
