//! Span exporter: one request to a collector per batch. Failures of the collector are logged once and do not delay
//! requests.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use agent_core::model::http::{HttpOptions, client_builder};
use hyper::{HeaderMap, header};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use prost::Message;
use tokio::runtime::Handle;

/// Timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of attempts per batch, and the wait before the second one, which doubles.
const ATTEMPTS: u32 = 3;
const WAIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Exporter {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
    /// Runtime that sends the requests, because the exporter's thread has no timers and sockets.
    threads: Handle,
    resource: ResourceAttributesWithSchema,
    failing: AtomicBool,
}

/// Result of a request.
enum ExportResult {
    Accepted,
    /// The request can be retried.
    Retry(String),
    Refused(String),
}

impl Exporter {
    pub(super) fn new(endpoint: &str, mut headers: HeaderMap, threads: Handle) -> Result<Self, String> {
        let client = client_builder(&HttpOptions::default())
            .map_err(|error| error.to_string())?
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|_| "the client for traces cannot be set up".to_owned())?;
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-protobuf"));
        Ok(Self {
            client,
            url: format!("{endpoint}/v1/traces"),
            headers,
            threads,
            resource: ResourceAttributesWithSchema::default(),
            failing: AtomicBool::new(false),
        })
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), String> {
        let request = self.client.post(&self.url).headers(self.headers.clone()).body(body);
        // While the collector fails, each batch is sent only once, so that later batches are not delayed further.
        let attempts = if self.failing.load(Ordering::Relaxed) { 1 } else { ATTEMPTS };
        let sending = self.threads.spawn(async move {
            let mut wait = WAIT;
            for tried in 1.. {
                let Some(again) = request.try_clone() else { break };
                match once(again).await {
                    ExportResult::Accepted => return Ok(()),
                    ExportResult::Retry(_) if tried < attempts => tokio::time::sleep(wait).await,
                    ExportResult::Retry(why) | ExportResult::Refused(why) => return Err(why),
                }
                wait *= 2;
            }
            Err("the request cannot be retried".to_owned())
        });
        sending.await.unwrap_or_else(|_| Err("the process is shutting down".to_owned()))
    }

    /// Logs the first failure, and the first success after it.
    fn log_result(&self, result: &Result<(), String>) {
        let failing = result.is_err();
        if self.failing.swap(failing, Ordering::Relaxed) == failing {
            return;
        }
        match result {
            Ok(()) => tracing::info!("the export of traces has recovered"),
            Err(why) => tracing::warn!(
                why,
                "traces cannot be exported; they are dropped until the collector recovers"
            ),
        }
    }
}

async fn once(request: reqwest::RequestBuilder) -> ExportResult {
    match request.send().await {
        Ok(answer) => match answer.status().as_u16() {
            200..300 => ExportResult::Accepted,
            status @ (429 | 502..=504) => {
                ExportResult::Retry(format!("the collector responded with {status}"))
            }
            status => ExportResult::Refused(format!("the collector responded with {status}")),
        },
        // Without the URL, which may contain a key.
        Err(error) if error.is_timeout() => {
            ExportResult::Refused("the collector did not respond in time".to_owned())
        }
        Err(error) if error.is_connect() => ExportResult::Retry("the collector cannot be reached".to_owned()),
        Err(_) => ExportResult::Retry("the connection to the collector broke".to_owned()),
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for attribute in batch.iter_mut().flat_map(|span| &mut span.attributes) {
            as_agreed(attribute);
        }
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let sent = self.send(ExportTraceServiceRequest { resource_spans }.encode_to_vec()).await;
        self.log_result(&sent);
        sent.map_err(OTelSdkError::InternalFailure)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

/// `tracing` has no arrays, but the conventions require one here.
fn as_agreed(attribute: &mut KeyValue) {
    if attribute.key.as_str() != "gen_ai.response.finish_reasons" {
        return;
    }
    if let Value::String(word) = &attribute.value {
        let words: Vec<StringValue> = vec![word.clone()];
        attribute.value = Value::Array(Array::String(words));
    }
}
