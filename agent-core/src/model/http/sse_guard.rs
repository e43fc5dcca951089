//! Cleans a stream of server-sent events before a client library parses it: bounded, UTF-8, JSON.
//!
//! async-openai logs the whole payload of an event that it cannot parse, and buffers a line without end. Therefore
//! only valid events reach it, and errors are kept here as types. A parser of events alone (`eventsource-stream`) would not
//! replace this: it bounds neither an event nor an answer, and async-openai would still parse the events a second time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::de::IgnoredAny;

use super::transport_error;
use crate::model::error::{ModelError, ModelErrorKind};

/// Maximum size of one event.
const EVENT_BYTES: usize = 4 * 1024 * 1024;
/// Maximum size of an answer.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Timeout for the end of the connection after the end of the answer.
const AFTER_DONE: Duration = Duration::from_millis(100);

/// State of the answer, shared by the cleaner and the reader on both sides of the library.
#[derive(Debug, Default)]
pub(crate) struct StreamStatus {
    /// Error that ended the answer.
    pub(crate) fault: Option<ModelError>,
    /// The endpoint has sent its end marker.
    pub(crate) done: bool,
    /// The reader has consumed everything and waits for more.
    hungry: bool,
    /// Waker of the cleaner while it waits for the reader.
    cleaner: Option<Waker>,
}

pub(crate) type SharedStreamStatus = Arc<Mutex<StreamStatus>>;

/// Polls the library's stream, and lets the cleaner continue when it is empty.
///
/// The library puts a task and an unbounded queue between the two. Without this, an answer that is not read would
/// accumulate there, without backpressure to the endpoint.
pub(crate) fn poll_asked<S: Stream + Unpin>(
    events: &mut S,
    stream_status: &SharedStreamStatus,
    cx: &mut Context<'_>,
) -> Poll<Option<S::Item>> {
    let item = Pin::new(events).poll_next(cx);
    let mut stream_status = stream_status.lock();
    stream_status.hungry = item.is_pending();
    if stream_status.hungry
        && let Some(cleaner) = stream_status.cleaner.take()
    {
        drop(stream_status);
        cleaner.wake();
    }
    item
}

/// Resolves when the reader waits.
async fn asked(stream_status: &SharedStreamStatus) {
    poll_fn(|cx| {
        let mut stream_status = stream_status.lock();
        if stream_status.hungry {
            return Poll::Ready(());
        }
        stream_status.cleaner = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

/// Returns the response with a cleaned body. An answer that is one JSON document (from a server that cannot stream)
/// becomes a single event.
pub(crate) fn clean(response: reqwest::Response, stream_status: SharedStreamStatus) -> reqwest::Response {
    let is_json = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("application/json"));
    let status = response.status();
    let body = reqwest::Body::wrap_stream(events(response.bytes_stream(), is_json, stream_status));
    let mut cleaned = http::Response::new(body);
    *cleaned.status_mut() = status;
    cleaned.into()
}

struct Reader<S> {
    chunks: S,
    lines: Lines,
    total: usize,
    stream_status: SharedStreamStatus,
    over: bool,
}

fn events<S>(
    chunks: S,
    is_json: bool,
    stream_status: SharedStreamStatus,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send
where
    S: Stream<Item = reqwest::Result<Bytes>> + Send + Unpin + 'static,
{
    let lines = Lines { document: is_json, ..Lines::default() };
    let reader = Reader { chunks, lines, total: 0, stream_status, over: false };
    futures::stream::unfold(reader, |mut reader| async move {
        if reader.over {
            return None;
        }
        loop {
            // After `[DONE]` only the end of the connection is awaited, for a short time, so that the connection
            // can be reused.
            let chunk = if reader.lines.done {
                tokio::time::timeout(AFTER_DONE, reader.chunks.next()).await.unwrap_or(None)
            } else {
                asked(&reader.stream_status).await;
                reader.chunks.next().await
            };
            let step = match chunk {
                Some(Ok(chunk)) => {
                    reader.total += chunk.len();
                    if reader.total > ANSWER_BYTES {
                        Err(malformed("the answer is too long"))
                    } else {
                        reader.lines.push(&chunk)
                    }
                }
                Some(Err(error)) => Err(transport_error(&error)),
                None => {
                    reader.over = true;
                    reader.lines.end()
                }
            };
            let out = std::mem::take(&mut reader.lines.out);
            reader.stream_status.lock().done |= reader.lines.done;
            if let Err(fault) = step {
                reader.stream_status.lock().fault = Some(fault);
                reader.over = true;
            }
            // Events before an error are still delivered; the reader checks for the error at the end.
            if !out.is_empty() {
                return Some((Ok(Bytes::from(out)), reader));
            }
            if reader.over {
                return None;
            }
        }
    })
}

/// Splits bytes into lines and lines into events, at any boundary.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    after_cr: bool,
    begun: bool,
    data: Vec<u8>,
    has_data: bool,
    out: Vec<u8>,
    done: bool,
    /// The whole body is one JSON document.
    document: bool,
}

impl Lines {
    fn push(&mut self, mut chunk: &[u8]) -> Result<(), ModelError> {
        if self.document {
            self.data.extend_from_slice(chunk);
            return bounded(self.data.len());
        }
        while let Some(first) = chunk.first() {
            if self.after_cr {
                self.after_cr = false;
                if *first == b'\n' {
                    chunk = &chunk[1..];
                    continue;
                }
            }
            let Some(end) = chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.line.extend_from_slice(chunk);
                return bounded(self.line.len());
            };
            self.line.extend_from_slice(&chunk[..end]);
            self.after_cr = chunk[end] == b'\r';
            chunk = &chunk[end + 1..];
            bounded(self.line.len() + self.data.len())?;
            self.line()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ModelError> {
        if self.document {
            let document: serde_json::Value = serde_json::from_slice(&std::mem::take(&mut self.data))
                .map_err(|_| malformed("the answer is not JSON"))?;
            self.emit(document.to_string().as_bytes());
            self.done = true;
            return Ok(());
        }
        // Several servers omit the blank line after their last event.
        if !self.line.is_empty() {
            self.line()?;
        }
        self.dispatch(true)
    }

    fn line(&mut self) -> Result<(), ModelError> {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if !self.begun {
            self.begun = true;
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(false)?;
        } else if let Some(data) = text.strip_prefix(b"data:") {
            if self.has_data {
                // A server that omits blank lines writes one JSON document per line.
                if is_json(&self.data) || self.data == b"[DONE]" {
                    self.dispatch(false)?;
                } else {
                    self.data.push(b'\n');
                }
            }
            self.has_data = true;
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        } else if text.first() == Some(&b'{') && !self.has_data {
            // Not an event: an error document sent in place of the stream.
            self.has_data = true;
            self.data.extend_from_slice(text);
        }
        // `event:`, `id:`, `retry:` and comments contain nothing that the data does not.
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn dispatch(&mut self, at_end: bool) -> Result<(), ModelError> {
        if !std::mem::take(&mut self.has_data) {
            return Ok(());
        }
        let data = std::mem::take(&mut self.data);
        let trimmed = data.trim_ascii();
        if trimmed == b"[DONE]" {
            self.done = true;
        } else if is_json(trimmed) {
            self.emit(trimmed);
        } else if !trimmed.is_empty() {
            // An event that is incomplete at the end of the connection was cut off, not malformed.
            return Err(if at_end {
                ModelError::new(ModelErrorKind::Cut)
            } else {
                malformed("an event of the answer is not JSON")
            });
        }
        self.data = data;
        self.data.clear();
        Ok(())
    }

    fn emit(&mut self, json: &[u8]) {
        self.out.extend_from_slice(b"data: ");
        // In JSON, line ends are only white space.
        self.out.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        self.out.extend_from_slice(b"\n\n");
    }
}

fn is_json(data: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(data).is_ok() && std::str::from_utf8(data).is_ok()
}

fn bounded(len: usize) -> Result<(), ModelError> {
    if len > EVENT_BYTES { Err(malformed("an event of the answer is too long")) } else { Ok(()) }
}

fn malformed(detail: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Malformed).with_detail(detail)
}
