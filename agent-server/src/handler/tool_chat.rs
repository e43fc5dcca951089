//! `POST /api/v1/chat` and `/api/v1/chat/stream`: the agent with tools.
//!
//! A conversation is a session, so it survives a restart. Concurrent messages are queued. A disconnect does not stop the
//! run, because its answer is part of the conversation.

use agent_core::{
    AgentState, BusyPolicy, Code, RunStatus, Session, SessionError, ids::SessionId, interrupt::OpenQuestion,
    model::ToolCall,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use hyper::Method;
use serde_json::json;

use super::{chat::NO_MODEL, run_failure_codes};
use crate::{
    api::tool_chat::{
        self as events, TalkAnswer, TalkEvent, TalkRequest, TalkResponse, is_korean, parse_answer,
        render_question,
    },
    app::RequestContext,
    auth::OWNER,
    conversation::{self, ConversationEvent, ConversationStream, ModelText},
    docs::openapi::RouteDoc,
    error::{ApiError, Contract, Rejection, session_not_found},
    http::response::{HandlerResult, ok, sse, with_keep_alive},
    limits::{Permit, run_permit::RunPermit},
};

/// Author of answers in the journal, if callers are anonymous.
const ANSWERED_BY: &str = "a chat client";

const EVENTS: &str = "Events, each a `data:` with one object: `{conversation_id}` first; `{content}` a piece of the answer; \
     `{tool_call: {id, name, arguments}}`; `{tool_result: {id, name, arguments, result, error?, duration_ms}}`; `{reset: true}` \
     what was said since the last tool call is void; `{question: {id, prompt, options}}`; `{error, code, help, retryable}`; and \
     last `{done: true, conversation_id, content, tool_calls, finish_reason?}`, where `finish_reason` says why the answer is \
     incomplete.";

const EXAMPLE: &str = "data: {\"conversation_id\":\"c1\"}\n\ndata: {\"content\":\"안녕\"}\n\n\
     data: {\"done\":true,\"conversation_id\":\"c1\",\"content\":\"안녕하세요\"}\n\n";

pub(super) fn docs() -> [RouteDoc; 2] {
    [
        base_doc("/api/v1/chat", "talk", "Send a message to the agent with tools")
            .text(
                "If the agent asks a question, it is the `content` of the response; the next message of the conversation \
                 is the answer.",
            )
            .response::<TalkResponse>(200, "The answer, and the tools that the agent called."),
        base_doc(
            "/api/v1/chat/stream",
            "talk_stream",
            "Send a message to the agent with tools, streamed as server-sent events",
        )
        .text(EVENTS)
        .streams::<TalkEvent>(EXAMPLE),
    ]
}

fn base_doc(path: &str, id: &'static str, summary: &'static str) -> RouteDoc {
    RouteDoc::new(Method::POST, path, id, "chats", summary)
        .request_body::<TalkRequest>(
            true,
            &[
                ("korean", "한국어로", json!({"content": "서울은 지금 몇 시인가요?"})),
                (
                    "english",
                    "In English, in the same conversation",
                    json!({"content": "And in Berlin?", "conversation_id": "c1"}),
                ),
            ],
        )
        .codes(&run_failure_codes())
        .codes(&[Code::ShuttingDown, Code::GraphNotFound])
        .codes(&[
            Code::InvalidSessionId,
            Code::SessionNotFound,
            Code::SessionBusy,
            Code::StaleWriter,
            Code::AlreadyAnswered,
        ])
        .codes(&[Code::GraphChanged, Code::InvalidAnswer, Code::CannotResume])
        .of_store()
        .rejections(&[
            Rejection::EmptyMessage,
            Rejection::MessageTooLong,
            Rejection::NoModel,
            Rejection::OwnEndpoint,
            Rejection::QuotaExceeded,
            Rejection::Stopped,
        ])
}

pub(super) async fn respond(mut context: RequestContext) -> HandlerResult {
    let (mut conversation, korean) = start(&mut context).await?;
    while let Some(event) = conversation.next().await {
        match event {
            ConversationEvent::Question(questions) => {
                let texts: Vec<String> = questions.iter().map(render_question).collect();
                let answer = TalkAnswer::text(texts.join("\n\n"));
                return Ok(ok(&TalkResponse::new(&conversation, answer)));
            }
            ConversationEvent::Failed(error) => return Err(error.about(conversation.session().id())),
            _ => {}
        }
    }
    Ok(ok(&TalkResponse::new(&conversation, TalkAnswer::of(&conversation, korean))))
}

pub(super) async fn streamed(mut context: RequestContext) -> HandlerResult {
    let permit = context.stream_permit()?;
    let (mut conversation, korean) = start(&mut context).await?;
    let interval = context.app.options.ping;
    // The response headers wait for the first event, so that an early failure has a status, but at most one keep-alive
    // interval.
    let first = tokio::time::timeout(interval, conversation.next()).await;
    let mut head = vec![events::conversation(conversation.session().id())];
    match first {
        Ok(Some(ConversationEvent::Failed(error))) => {
            return Err(error.about(conversation.session().id()));
        }
        Ok(Some(event)) => head.extend(sse_events(&conversation, event, korean)),
        Ok(None) => head.extend(sse_events(&conversation, ConversationEvent::Done, korean)),
        Err(_) => {}
    }
    Ok(sse(with_keep_alive(
        stream::iter(head).chain(remaining_events(conversation, korean, permit)),
        interval,
    )))
}

/// Returns the remaining events of a run.
fn remaining_events(
    conversation: ConversationStream,
    korean: bool,
    permit: Permit,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold((conversation, permit), move |(mut conversation, permit)| async move {
        let event = conversation.next().await?;
        let events = sse_events(&conversation, event, korean);
        Some((stream::iter(events), (conversation, permit)))
    })
    .flatten()
}

fn sse_events(conversation: &ConversationStream, event: ConversationEvent, korean: bool) -> Vec<Bytes> {
    let calls = conversation.calls();
    match event {
        ConversationEvent::Text(text) => vec![events::content(text)],
        ConversationEvent::Retracted => vec![events::reset()],
        // Not part of this contract.
        ConversationEvent::Reasoning(_) | ConversationEvent::Todo(_) => Vec::new(),
        ConversationEvent::ToolCall(index) => vec![events::tool_call(&calls[index])],
        ConversationEvent::ToolResult(index) => vec![events::tool_result(&calls[index])],
        ConversationEvent::Question(questions) => {
            let texts: Vec<String> = questions.iter().map(render_question).collect();
            let done = events::done(conversation, TalkAnswer::text(texts.join("\n\n")));
            questions.iter().map(events::question).chain([done]).collect()
        }
        ConversationEvent::Failed(error) => {
            vec![events::error(&error), events::done(conversation, TalkAnswer::text(conversation.answer()))]
        }
        ConversationEvent::Done => {
            let answer = TalkAnswer::of(conversation, korean);
            let unsent = answer.unsent().map(events::content);
            unsent.into_iter().chain([events::done(conversation, answer)]).collect()
        }
    }
}

/// Starts a run, or answers the question on which the conversation is paused. Also returns whether the message is Korean.
async fn start(context: &mut RequestContext) -> Result<(ConversationStream, bool), ApiError> {
    let request = TalkRequest::parse(&context.json().await?)?;
    let app = &context.app;
    let Some(assistant) = &app.assistant else {
        return Err(ApiError::new(Rejection::NoModel, NO_MODEL));
    };
    if let Some(reason) = assistant.refusal() {
        return Err(ApiError::new(Rejection::OwnEndpoint, reason));
    }
    let korean = is_korean(&request.content);
    let id = request.conversation()?.unwrap_or_else(SessionId::random);
    let session = context.session_or_new(id).await?;
    let map_error = |error: SessionError| match error {
        SessionError::LabelDiffers { label, .. } if label == OWNER => session_not_found(&session),
        error => ApiError::of(Contract::ToolChat, &error).about(session.id()),
    };
    // The status is read before the subscription, so that an earlier pause is not read as an event.
    let mut earlier_calls = Vec::new();
    let (permit, events, run) = match open_question(&session).await.map_err(map_error)? {
        Some(open) => {
            let permit = RunPermit::for_resume(&app.limits, context.key(), &session, true).await?;
            // If the state cannot be read, the response contains only the calls from here on.
            if let Ok(state) = session.state::<AgentState>().await {
                earlier_calls = open_calls(&state);
            }
            let (events, scope) = (session.subscribe_to(None, conversation::EVENTS), context.scope());
            let answers = parse_answer(&open, &request.content);
            let by = scope.name().unwrap_or(ANSWERED_BY);
            let run = session.answer(answers).by(by).await.map_err(map_error)?;
            (permit, events, run)
        }
        None => {
            let permit = context.run_permit(&session).await?;
            let events = session.subscribe_to(None, conversation::EVENTS);
            let options = context.conversation_options(&request.content).on_busy(BusyPolicy::Enqueue);
            let input = AgentState::user(request.content);
            let run =
                session.run(assistant.agent(), input).options(options).start().await.map_err(map_error)?;
            (permit, events, run)
        }
    };
    context.release_when_idle(permit, &run);
    context.memory = None;
    let conversation = ConversationStream::new(run, events, Contract::ToolChat, ModelText::Forward);
    Ok((conversation.with_earlier_calls(earlier_calls), korean))
}

/// Returns the tool calls without a result.
pub(super) fn open_calls(state: &AgentState) -> Vec<ToolCall> {
    let messages = &state.messages;
    let Some(at) = messages.iter().rposition(|message| !message.tool_calls.is_empty()) else {
        return Vec::new();
    };
    let has_result =
        |id: &str| messages[at..].iter().any(|message| message.tool_call_id.as_deref() == Some(id));
    messages[at].tool_calls.iter().filter(|call| !has_result(&call.id)).cloned().collect()
}

/// Returns the question on which the conversation is paused.
async fn open_question(session: &Session) -> Result<Option<OpenQuestion>, SessionError> {
    match session.status().await {
        Ok(status) if status.status == RunStatus::Paused => Ok(status.questions.into_iter().next()),
        Ok(_) | Err(SessionError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
