//! Bodies for the errors that the HTTP library answers: requests that it cannot parse get an empty response.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Responses up to this size are written from one buffer. The system call for several buffers takes longer than the copy.
const SMALL: usize = 1024;

/// A stream that adds a body to these responses. Every response of this server has a body, so that an empty one is the
/// library's.
pub(crate) struct ErrorBodies<T> {
    stream: T,
    /// A response that is being written instead of the library's.
    pending: Vec<u8>,
    written: usize,
}

impl<T> ErrorBodies<T> {
    pub(crate) const fn new(stream: T) -> Self {
        Self { stream, pending: Vec::new(), written: 0 }
    }
}

impl<T: AsyncWrite + Unpin> ErrorBodies<T> {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.pending.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> ErrorBodies<T> {
    fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if parts.len() < 2 || total > SMALL {
            return stream.poll_write_vectored(cx, parts);
        }
        let mut buffer = [0; SMALL];
        let mut at = 0;
        for part in parts {
            buffer[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        stream.poll_write(cx, &buffer[..total])
    }
}

/// Returns the response with a body, if it is an empty one of the library.
fn with_body(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"HTTP/1.1 4") || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?;
    let message = match head.get(9..12)? {
        "400" => "the request is not valid HTTP",
        "414" => "the URI is too long",
        "431" => "the request line and the headers are too long",
        _ => return None,
    };
    let length = "content-length: 0\r\n";
    let at = head.to_ascii_lowercase().find(length)?;
    let help = "/docs/errors/invalid_request";
    let body = json!({"code": "invalid_request", "message": message, "detail": message, "retryable": false, "help": help});
    let body = body.to_string();
    let (before, after) = (&head[..at], &head[at + length.len()..]);
    let fields = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    Some(format!("{before}{fields}{after}{body}").into_bytes())
}

impl<T: AsyncRead + Unpin> AsyncRead for ErrorBodies<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ErrorBodies<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        match with_body(bytes) {
            Some(response) => {
                self.pending = response;
                Poll::Ready(Ok(bytes.len()))
            }
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        match parts.first().and_then(|first| Some((first.len(), with_body(first)?))) {
            Some((count, response)) => {
                self.pending = response;
                Poll::Ready(Ok(count))
            }
            None => self.poll_write_parts(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes the size of each write, and takes at most 7 bytes of it.
    #[derive(Default)]
    struct Written(Vec<u8>, Vec<usize>);

    impl AsyncWrite for Written {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(7);
            self.0.extend_from_slice(&bytes[..count]);
            self.1.push(bytes.len());
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_small_response_is_one_write_and_a_large_one_is_not_copied() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for (body, first_write) in [(5, 5 + 9), (SMALL - 9, SMALL), (SMALL, 9)] {
            let (head, body) = (b"HTTP head".to_vec(), vec![b'x'; body]);
            let mut stream = ErrorBodies::new(Written::default());
            let (mut head_left, mut body_left) = (&head[..], &body[..]);
            while !(head_left.is_empty() && body_left.is_empty()) {
                let parts = [io::IoSlice::new(head_left), io::IoSlice::new(body_left)];
                let Poll::Ready(Ok(count)) = Pin::new(&mut stream).poll_write_vectored(&mut cx, &parts)
                else {
                    panic!("this stream is always ready");
                };
                let of_head = count.min(head_left.len());
                head_left = &head_left[of_head..];
                body_left = &body_left[count - of_head..];
            }
            assert_eq!(stream.stream.0, [head, body].concat());
            assert_eq!(stream.stream.1[0], first_write);
        }
    }

    #[test]
    fn only_empty_errors_get_a_body() {
        let bare = "HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let text = String::from_utf8(with_body(bare.as_bytes()).unwrap()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 414") && head.ends_with("date: x"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(body.contains("the URI is too long"), "{body}");
        for other in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
        ] {
            assert!(with_body(other.as_bytes()).is_none(), "{other}");
        }
    }
}
