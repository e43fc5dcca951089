//! `POST /api/v1/chat` and `/api/v1/chat/stream`: the agent with tools. The conversation is a session, so it outlives
//! the process; two messages at once wait for each other. A caller that goes away does not stop its run: the answer
//! belongs to the conversation.

use agent_core::{
    AgentState, BusyPolicy, RunStatus, Session, SessionError, ids::SessionId, interrupt::OpenQuestion,
    model::ToolCall,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::{
    auth::OWNER,
    error::{ApiError, Contract, Refusal},
    http::{
        call::{Admission, Call},
        reply::{Reply, alive, ok, sse},
    },
    limit::Held,
    owner::unknown,
    talk::{Piece, Reading},
    wire::tool_chat::{self as wire, TalkRequest},
};

/// Who answers, as the journal notes it, where callers have no names.
const BY: &str = "a chat client";

pub(crate) async fn whole(mut call: Call) -> Reply {
    let mut reading = begin(&mut call).await?;
    while let Some(piece) = reading.next().await {
        match piece {
            Piece::Asked(questions) => {
                let words: Vec<String> = questions.iter().map(wire::in_words).collect();
                return Ok(ok(&wire::answer(&reading, &words.join("\n\n"))));
            }
            Piece::Failed(error) => return Err(error.about(reading.session().id())),
            _ => {}
        }
    }
    Ok(ok(&wire::answer(&reading, reading.answer())))
}

pub(crate) async fn streamed(mut call: Call) -> Reply {
    let held = call.listen()?;
    let mut reading = begin(&mut call).await?;
    let beat = call.inner.options.ping;
    // The head waits for the first piece, so that a model that is down is a 502; but not longer than a silence may be.
    let first = tokio::time::timeout(beat, reading.next()).await;
    let mut events = vec![wire::conversation(reading.session().id())];
    match first {
        Ok(Some(Piece::Failed(error))) => return Err(error.about(reading.session().id())),
        Ok(Some(piece)) => events.extend(shown(&reading, piece)),
        Ok(None) => events.push(wire::done(&reading, reading.answer())),
        Err(_) => {}
    }
    Ok(sse(alive(stream::iter(events).chain(told(reading, held)), beat)))
}

/// The events of the rest of a run.
fn told(reading: Reading, held: Held) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold((reading, held), |(mut reading, held)| async move {
        let piece = reading.next().await?;
        let events = shown(&reading, piece);
        Some((stream::iter(events), (reading, held)))
    })
    .flatten()
}

fn shown(reading: &Reading, piece: Piece) -> Vec<Bytes> {
    let calls = reading.calls();
    match piece {
        Piece::Text(text) => vec![wire::content(&text)],
        Piece::Voided => vec![wire::reset()],
        Piece::Called(index) => vec![wire::called(&calls[index])],
        Piece::Returned(index) => vec![wire::returned(&calls[index])],
        Piece::Asked(questions) => {
            let words: Vec<String> = questions.iter().map(wire::in_words).collect();
            let done = wire::done(reading, &words.join("\n\n"));
            questions.iter().map(wire::question).chain([done]).collect()
        }
        Piece::Failed(error) => vec![wire::failed(&error), wire::done(reading, reading.answer())],
        Piece::Ended => vec![wire::done(reading, reading.answer())],
    }
}

async fn begin(call: &mut Call) -> Result<Reading, ApiError> {
    let request = TalkRequest::parse(&call.json().await?)?;
    let inner = &call.inner;
    let Some(assistant) = &inner.assistant else {
        return Err(ApiError::new(Refusal::NoModel, "no model is configured"));
    };
    let session = call.session_of(request.conversation.unwrap_or_else(SessionId::random)).await?;
    let refused = |error: SessionError| match error {
        SessionError::LabelDiffers { label, .. } if label == OWNER => unknown(&session),
        error => ApiError::of(Contract::ToolChat, &error).about(session.id()),
    };
    // Where the session stands comes first: a pause that was told of before must not be heard again.
    let mut earlier = Vec::new();
    let (admission, events, run) = match waiting(&session).await.map_err(refused)? {
        Some(open) => {
            let admission = Admission::to_go_on(inner, call.key(), &session, true).await?;
            // Without a store nobody can say; the answer then has only the calls that are made from here on.
            if let Ok(state) = session.state::<AgentState>().await {
                earlier = open_calls(&state);
            }
            let (events, owner) = (session.subscribe(None), call.owner());
            let answers = wire::as_answer(&open, &request.content);
            let run = session.answer_as(answers, owner.name().unwrap_or(BY)).await.map_err(refused)?;
            (admission, events, run)
        }
        None => {
            let admission = call.admit(&session).await?;
            let events = session.subscribe(None);
            let options = call.run_options_of(&request.content).on_busy(BusyPolicy::Enqueue);
            let input = AgentState::user(request.content);
            let run = session.start(assistant.agent(), input, options).await.map_err(refused)?;
            (admission, events, run)
        }
    };
    admission.follow(inner, &run);
    call.memory.clear();
    Ok(Reading::new(run, events, Contract::ToolChat, true).after(earlier))
}

/// Calls that have no result yet.
fn open_calls(state: &AgentState) -> Vec<ToolCall> {
    let messages = &state.messages;
    let Some(at) = messages.iter().rposition(|message| !message.tool_calls.is_empty()) else {
        return Vec::new();
    };
    let returned =
        |id: &str| messages[at..].iter().any(|message| message.tool_call_id.as_deref() == Some(id));
    messages[at].tool_calls.iter().filter(|call| !returned(&call.id)).cloned().collect()
}

/// What the conversation waits for, if its run waits for a person.
async fn waiting(session: &Session) -> Result<Option<OpenQuestion>, SessionError> {
    match session.status().await {
        Ok(status) if status.status == RunStatus::Paused => Ok(status.questions.into_iter().next()),
        Ok(_) | Err(SessionError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
