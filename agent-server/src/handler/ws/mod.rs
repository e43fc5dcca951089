//! `WS /ws/{session_id}`: the WebSocket of a session.

mod connection;

use agent_core::{SessionError, ids::Seq};
use hyper::Method;
use serde_json::json;

use self::connection::QuestionFilter;
use super::default_cursor_at;
use crate::{
    api::socket::EventDetail,
    app::RequestContext,
    auth::ownership::SubscriptionGuard,
    docs::openapi::RouteDoc,
    error::{ApiError, Rejection, map_session_error},
    http::{query::Query, response::HandlerResult, websocket},
};

/// Factor by which a message may exceed the limit and still be read, to be rejected with an `error` message. Larger
/// messages close the WebSocket.
const READ_FACTOR: usize = 2;

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(Method::GET, "/ws/{session_id}", "socket", "runs", "Open the WebSocket of a session")
        .aliased()
        .text(
            "Progress, questions and answers: see [the messages](/docs/websocket). The session need not exist yet, and may \
             have any number of WebSockets.",
        )
        .names_session()
        .of_store()
        .number("after", false, "Send the events after this number. Default: from the start of the latest run.")
        .parameter(
            "query",
            "events",
            false,
            &json!({"type": "string", "enum": ["", "contract", "status", "all"]}),
            "Events to send: `contract` (the default); `status` adds the status of the run and details of todos; `all` \
             adds all other events.",
        )
        .rejections(&[Rejection::UpgradeRequired, Rejection::InvalidRequest, Rejection::QuotaExceeded])
        .responds(101, json!({"description": "The connection is a WebSocket."}))
}

/// Upgrades a request to the WebSocket of a session, which need not exist yet.
pub(super) async fn upgrade(mut context: RequestContext) -> HandlerResult {
    let id = context.session_id()?;
    websocket::check_upgrade(&context.request)?;
    let permit = context.stream_permit()?;
    let query = SubscribeQuery::parse(&context.query())?;
    let session = context.session_or_new(id).await?;
    let status = match session.status().await {
        Ok(status) => Some(status),
        Err(SessionError::NotFound { .. }) => None,
        Err(error) => return Err(map_session_error(session.id())(error)),
    };
    let after = query.after.unwrap_or_else(|| status.as_ref().map_or(Seq::ZERO, default_cursor_at));
    let questions = status.as_ref().map(QuestionFilter::new).unwrap_or_default();
    let app = context.app.clone();
    let config = websocket::config(app.options.frame_bytes.saturating_mul(READ_FACTOR));
    let (response, opening) = websocket::accept(&mut context.request, &app.input, config)?;
    let (guard, key) = (SubscriptionGuard::new(context.scope(), session.clone()), context.key());
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        match opening.await {
            Ok(socket) => {
                let detail = (query.detail, questions);
                connection::serve(&app, &session, socket, (guard, key), after, detail).await;
            }
            Err(error) => tracing::debug!(%error, "a WebSocket could not be opened"),
        }
        drop(permit);
    });
    Ok(response)
}

/// `?after=SEQ&events=contract|status|all`.
struct SubscribeQuery {
    after: Option<Seq>,
    detail: EventDetail,
}

impl SubscribeQuery {
    fn parse(query: &Query) -> Result<Self, ApiError> {
        let detail = query.get("events").unwrap_or_default();
        let detail = EventDetail::parse(detail).ok_or_else(|| {
            let message = "`events` must be `contract`, `status` or `all`";
            ApiError::new(Rejection::InvalidRequest, message)
        })?;
        Ok(Self { after: query.number("after")?.map(Seq), detail })
    }
}
