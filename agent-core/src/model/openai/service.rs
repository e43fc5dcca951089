//! HTTP service below async-openai: one attempt, own headers, own error handling, cleaned body.
//!
//! Replacing the service also removes the library's retry, which would repeat paid calls silently and with its own
//! waits. async-openai still builds the requests and reads the events, so this file has 100 lines in place of a client.

use std::fmt;
use std::task::{Context, Poll};

use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap};

use crate::model::http::Transport;
use crate::model::http::error_response::refused;
use crate::model::http::sse_guard::{SharedStreamStatus, clean};
use crate::model::{ModelError, ModelErrorKind};

/// A call in progress.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) transport: Transport,
    pub(super) headers: HeaderMap,
    pub(super) status: SharedStreamStatus,
}

impl tower_service::Service<HttpRequestFactory> for Call {
    type Response = reqwest::Response;
    type Error = Refused;
    type Future = BoxFuture<'static, Result<reqwest::Response, Refused>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, factory: HttpRequestFactory) -> Self::Future {
        let call = self.clone();
        Box::pin(async move {
            let mut request = factory.build().await.map_err(|error| Refused(fault(error)))?;
            let headers = request.headers_mut();
            // Without a key, the library sends an empty bearer token.
            headers.remove(AUTHORIZATION);
            headers.insert(
                ACCEPT,
                reqwest::header::HeaderValue::from_static("text/event-stream, application/json"),
            );
            headers.extend(call.headers);
            let response = call.transport.send(request).await.map_err(Refused)?;
            if response.status().is_success() {
                return Ok(clean(response, call.status));
            }
            if response.status().is_redirection() {
                let error =
                    ModelError::new(ModelErrorKind::UnknownModel).with_status(response.status().as_u16());
                return Err(Refused(
                    error.with_detail(
                        "the base URL redirects to another address; configure the final address",
                    ),
                ));
            }
            Err(Refused(refused(response).await))
        })
    }
}

/// Carries a [`ModelError`] through the library.
#[derive(Debug)]
pub(super) struct Refused(ModelError);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for OpenAIError {
    fn from(refused: Refused) -> Self {
        Self::Boxed(Box::new(refused))
    }
}

/// Returns the original error, or one for the library's own error (its text may contain bodies and is not passed
/// on).
pub(super) fn fault(error: OpenAIError) -> ModelError {
    match error {
        OpenAIError::Boxed(error) => match error.downcast::<Refused>() {
            Ok(refused) => refused.0,
            Err(_) => ModelError::new(ModelErrorKind::Transport),
        },
        OpenAIError::Reqwest(error) => crate::model::http::transport_error(&error),
        OpenAIError::JSONDeserialize(..) => ModelError::new(ModelErrorKind::Malformed),
        OpenAIError::StreamError(_) => ModelError::new(ModelErrorKind::Transport),
        OpenAIError::InvalidArgument(_) => {
            ModelError::new(ModelErrorKind::BadRequest).with_detail("the request cannot be written as JSON")
        }
        OpenAIError::ApiError(error) => ModelError::new(ModelErrorKind::Overloaded { retry_after: None })
            .with_status(error.status_code.as_u16()),
        _ => ModelError::new(ModelErrorKind::Transport),
    }
}
