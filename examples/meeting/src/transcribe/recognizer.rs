//! Recognizers of whole utterances: an HTTP endpoint, and a recording.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use agent_core::{
    model::{
        ModelError,
        http::{HttpOptions, client_builder},
        realtime::RefusedReason,
    },
    secret::Secret,
};
use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;

use super::audio::{RATE, millis, wav};

/// Timeout for one utterance.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A recogniser did not return a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecognizeError {
    /// Waiting does not help.
    #[error("{}", .0.message())]
    Refused(RefusedReason),
    /// The endpoint cannot be reached or is overloaded.
    #[error("the recogniser cannot be reached")]
    Unreachable,
    /// It failed at this utterance.
    #[error("the recogniser failed ({code})")]
    Failed {
        /// A short reason.
        code: String,
    },
}

/// Recognizes the words of an utterance.
pub trait Recognize: fmt::Debug + Send + Sync + 'static {
    /// Returns the text in one or several parts. `audio` has 24 kHz, `span` is its place in the session in samples.
    fn recognize<'a>(
        &'a self,
        audio: &'a [i16],
        span: Range<u64>,
        language: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, RecognizeError>>;
}

/// An endpoint that is compatible with `POST /v1/audio/transcriptions`.
#[derive(Debug, Clone)]
pub struct HttpRecognizer {
    client: reqwest::Client,
    url: String,
    key: Option<Secret>,
    model: String,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

impl HttpRecognizer {
    /// Creates a recogniser for the address of an endpoint, for example `http://127.0.0.1:9000/v1/audio/transcriptions`.
    ///
    /// # Errors
    ///
    /// The HTTP client cannot be set up.
    pub fn new(url: &str, key: Option<Secret>, model: &str) -> Result<Self, ModelError> {
        let unusable = |_| ModelError::new(agent_core::model::ModelErrorKind::Unsupported);
        let client = client_builder(&HttpOptions::default())?.timeout(TIMEOUT).build().map_err(unusable)?;
        Ok(Self { client, url: url.to_owned(), key, model: model.to_owned() })
    }

    async fn ask(&self, audio: &[i16], language: &str) -> Result<Vec<String>, RecognizeError> {
        let boundary = format!("meeting-{:016x}", fastrand::u64(..));
        let fields = [("model", &*self.model), ("language", language), ("response_format", "json")];
        let body = multipart(&boundary, &fields, &wav(audio, RATE as u32));
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let mut request = self.client.post(&self.url).header(CONTENT_TYPE, content_type).body(body);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        let response = request.send().await.map_err(|_| RecognizeError::Unreachable)?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            401 | 403 => return Err(RecognizeError::Refused(RefusedReason::Auth)),
            404 | 405 => return Err(RecognizeError::Refused(RefusedReason::NotFound)),
            408 | 429 | 500..=599 => return Err(RecognizeError::Unreachable),
            _ => return Err(RecognizeError::Failed { code: format!("status_{status}") }),
        }
        let malformed = |_| RecognizeError::Failed { code: "malformed".to_owned() };
        let answer = response.bytes().await.map_err(|_| RecognizeError::Unreachable)?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(malformed)?;
        Ok(vec![answer.text.trim().to_owned()])
    }
}

impl Recognize for HttpRecognizer {
    fn recognize<'a>(
        &'a self,
        audio: &'a [i16],
        _: Range<u64>,
        language: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, RecognizeError>> {
        Box::pin(self.ask(audio, language))
    }
}

/// Returns a body of `multipart/form-data` with fields and one WAV file.
fn multipart(boundary: &str, fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(file.len() + 1_024);
    for (name, value) in fields {
        let part =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"turn.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    body
}

/// An utterance of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Recorded {
    /// Begin.
    pub start_ms: u64,
    /// End.
    pub end_ms: u64,
    /// What was said.
    pub text: String,
}

/// A recogniser that knows one recording: the transcript of an utterance is what was said at its place.
#[derive(Debug, Clone)]
pub struct Recording(Arc<[Recorded]>);

impl Recording {
    /// Creates a recogniser.
    pub fn new(utterances: impl Into<Arc<[Recorded]>>) -> Self {
        Self(utterances.into())
    }
}

impl Recognize for Recording {
    fn recognize<'a>(
        &'a self,
        _: &'a [i16],
        span: Range<u64>,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, RecognizeError>> {
        let (start, end) = (millis(span.start), millis(span.end));
        // An utterance of the recording belongs to the one that was found which covers its middle.
        let said =
            self.0.iter().filter(|known| (start..end).contains(&((known.start_ms + known.end_ms) / 2)));
        let text: Vec<&str> = said.map(|known| &*known.text).collect();
        let parts = text.join(" ").split_inclusive(' ').map(str::to_owned).collect();
        Box::pin(async move { Ok(parts) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_fields_and_the_file() {
        let body = multipart("b", &[("model", "whisper-1")], b"RIFF");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b\r\nContent-Disposition: form-data; \
             name=\"file\"; filename=\"turn.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b--\r\n"
        );
    }
}
