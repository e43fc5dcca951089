//! Calls of a server's tool: progress, questions, cancellation and lost connections.

use std::{error::Error, sync::Arc, time::Duration};

use agent_core::tool::{ToolContext, ToolError, ToolOutput};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rmcp::{
    ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotificationParam, ClientRequest,
        ElicitRequestParams, ElicitResult, ElicitationAction, InputRequest, InputRequiredResult,
        InputResponses, ProgressNotificationParam, RequestId, RequestMetaObject, ServerResult,
    },
    service::PeerRequestOptions,
    transport::streamable_http_client::StreamableHttpError,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{
    McpError, RemoteTool, question,
    session::{Note, Session, Shared},
};
use crate::mcp::content;

/// Metadata key with the idempotency key, which is the same for each attempt.
pub(in crate::mcp) const IDEMPOTENCY_KEY: &str = "agent-core/idempotency-key";
/// Maximum number of times that a server may respond with questions before the result.
const MAX_ROUNDS: usize = 10;
/// Timeout for a response that was received before the session ended.
const FINAL_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

struct Call<'a> {
    shared: &'a Shared,
    session: &'a Session,
    tool: &'a RemoteTool,
    cx: &'a ToolContext,
}

pub(super) async fn call(
    shared: Arc<Shared>,
    tool: Arc<RemoteTool>,
    args: Value,
    cx: ToolContext,
) -> Result<ToolOutput, ToolError> {
    let (session, _turn) = shared.session_for_call().await.map_err(no_session)?;
    let call = Call { shared: &shared, session: &session, tool: &tool, cx: &cx };
    let mut params = CallToolRequestParams::new(tool.remote.clone());
    if let Value::Object(args) = args {
        params = params.with_arguments(args);
    }
    for _ in 0..MAX_ROUNDS {
        match call.once(params.clone()).await? {
            ServerResult::CallToolResult(result) => {
                return content::read(result, shared.settings().limits.result);
            }
            ServerResult::InputRequiredResult(wanted) => {
                let InputRequiredResult { input_requests, request_state, .. } = wanted;
                let mut given = InputResponses::new();
                for (key, request) in input_requests.unwrap_or_default() {
                    let InputRequest::Elicitation(asked) = request else {
                        return Err(ToolError::failed("the MCP server requested an unsupported capability"));
                    };
                    let answer = call.ask(asked.params).await;
                    given.insert(key, serde_json::to_value(answer)?);
                }
                params.input_responses = (!given.is_empty()).then_some(given);
                params.request_state = request_state;
            }
            _ => return Err(ToolError::failed("the server's response is not a tool result")),
        }
    }
    Err(ToolError::failed("the server asked too many questions in one call"))
}

impl Call<'_> {
    async fn once(&self, params: CallToolRequestParams) -> Result<ServerResult, ToolError> {
        let Session { peer, routes, gone, .. } = self.session;
        let mut meta = RequestMetaObject::new();
        meta.insert(IDEMPOTENCY_KEY.to_owned(), Value::from(self.cx.idempotency_key.as_str()));
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let sending = routes.sending.lock().await;
        let mut handle =
            peer.send_request_with_option(request, options).await.map_err(|error| self.stated(error))?;
        let mut notes = routes.open(handle.id.clone(), handle.progress_token.clone());
        let mut cancel_guard = CancelGuard { session: self.session, id: handle.id.clone(), ended: false };
        drop(sending);

        let mut asking = FuturesUnordered::new();
        let mut shown = f64::NEG_INFINITY;
        let answer = loop {
            tokio::select! {
                answer = &mut handle.rx => break answer.ok(),
                Some(note) = notes.recv() => match note {
                    Note::Progress(progress) => self.progress(&progress, &mut shown),
                    Note::Question { asked, reply } => asking.push(self.asked(asked, reply)),
                },
                Some(()) = asking.next() => {}
                () = gone.cancelled() => {
                    break tokio::time::timeout(FINAL_RESPONSE_TIMEOUT, &mut handle.rx).await.ok().and_then(Result::ok);
                }
            }
        };
        cancel_guard.ended = true;
        self.rest(&mut notes, &mut shown);
        match answer {
            Some(Ok(result)) => Ok(result),
            Some(Err(error)) => Err(self.stated(error)),
            None => Err(self.stated(ServiceError::TransportClosed)),
        }
    }

    /// Shows progress that arrived together with the result.
    fn rest(&self, notes: &mut mpsc::Receiver<Note>, shown: &mut f64) {
        while let Ok(note) = notes.try_recv() {
            if let Note::Progress(progress) = note {
                self.progress(&progress, shown);
            }
        }
    }

    /// Shows progress unless it is lower than before, because notifications may be reordered.
    fn progress(&self, progress: &ProgressNotificationParam, shown: &mut f64) {
        if progress.progress < *shown {
            return;
        }
        *shown = progress.progress;
        let message: Option<String> =
            progress.message.as_ref().map(|message| message.chars().take(500).collect());
        self.cx.progress(json!({
            "tool": self.tool.name, "progress": progress.progress, "total": progress.total, "message": message,
        }));
    }

    fn asked(&self, asked: ElicitRequestParams, reply: oneshot::Sender<ElicitResult>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let answer = self.ask(asked).await;
            // The receiver is gone if the server cancelled the question.
            reply.send(answer).ok();
        })
    }

    async fn ask(&self, asked: ElicitRequestParams) -> ElicitResult {
        let settings = self.shared.settings();
        let question = question::question(&asked, &settings.name, &self.tool.name, settings.limits.schema);
        let Some(question) = question else { return ElicitResult::new(ElicitationAction::Cancel) };
        match self.cx.ask(question).await {
            Ok(answer) => question::answer(answer),
            Err(error) => {
                tracing::debug!(server = settings.name, %error, "a question of an MCP server was not answered");
                ElicitResult::new(ElicitationAction::Cancel)
            }
        }
    }

    fn stated(&self, error: ServiceError) -> ToolError {
        let server = self.shared.name();
        match error {
            ServiceError::McpError(error) if error.message.trim().is_empty() => {
                ToolError::failed("the server rejected the call without an error message")
            }
            ServiceError::McpError(error) => {
                ToolError::failed(error.message.clone().into_owned()).with_cause(error)
            }
            ServiceError::Cancelled { .. } => ToolError::failed("the server cancelled the call"),
            ServiceError::UnexpectedResponse => {
                ToolError::failed("the server's response is not a tool result")
            }
            ServiceError::TransportSend(error) => sent(server, error.error),
            error => lost(server).with_cause(error),
        }
    }
}

fn lost(server: &str) -> ToolError {
    ToolError::lost(format!(
        "the connection to `{server}` was lost during the call; it may have taken effect or not, so look before you \
         repeat it"
    ))
}

/// Error of a request that could not be sent, or had no response over HTTP. Only errors that prove that the call
/// was not made are reported as such.
fn sent(server: &str, error: Box<dyn Error + Send + Sync>) -> ToolError {
    let not_now = || ToolError::unavailable(format!("`{server}` cannot be reached now"));
    match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(cause)) if cause.is_connect() => not_now(),
        Some(StreamableHttpError::HttpStatus(status)) if matches!(status.status, 429 | 503) => {
            let wait = status.retry_after.as_deref().and_then(|after| after.trim().parse().ok());
            let stated = ToolError::unavailable(format!("`{server}` is too busy now"));
            match wait {
                Some(seconds) => stated.retry_after(Duration::from_secs(seconds)),
                None => stated,
            }
        }
        Some(StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_)) => {
            ToolError::failed(format!("`{server}` rejected the credentials"))
        }
        Some(StreamableHttpError::SessionExpired) => not_now(),
        Some(StreamableHttpError::ResponseBodyTooLarge { .. }) => {
            ToolError::failed(format!("the response of `{server}` is too long"))
        }
        _ => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(std::io::ErrorKind::NotConnected) => not_now(),
            _ => lost(server),
        },
    }
    .with_cause(error)
}

fn no_session(error: McpError) -> ToolError {
    match &error {
        McpError::Waiting { server, wait } => {
            let stated =
                format!("`{server}` is not connected; the next attempt is in {} s", wait.as_secs() + 1);
            ToolError::unavailable(stated).retry_after(*wait)
        }
        McpError::Closed { server } => ToolError::failed(format!("the connection to `{server}` was closed")),
        _ => ToolError::unavailable("the server of this tool is not available now"),
    }
    .with_cause(error)
}

/// A call in progress. If it is dropped before its end, the server is sent a cancellation.
struct CancelGuard<'a> {
    session: &'a Session,
    id: RequestId,
    ended: bool,
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        self.session.routes.close(&self.id);
        if !self.ended {
            let reason = Some("the caller no longer waits for the result".to_owned());
            let stated = CancelledNotificationParam::new(Some(self.id.clone()), reason);
            // One poll puts the message into the queue. If the queue is full, no message can be sent anyway.
            let sent = self.session.peer.notify_cancelled(stated).now_or_never();
            drop(sent);
        }
    }
}
