//! Connection of one WebSocket: sends events, executes commands. One loop without a queue, so that a slow client delays
//! only itself.

use std::{mem, sync::Arc, time::Duration};

use agent_core::{
    Event, RunStatus, Session, SessionError,
    clock::{Clock, WallClock},
    event::{EventBody, Subscription, SubscriptionError},
    ids::{QuestionId, Seq},
    session::SessionStatus,
};
use bytes::Bytes;
use futures::{FutureExt, SinkExt, future::BoxFuture};
use hyper_tungstenite::tungstenite::{self, Message, Utf8Bytes, protocol::frame::coding::CloseCode};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    ServerOptions,
    api::socket::{
        Command, Complete, EventDetail, Nothing, Pong, RunResult, any_event, open_question, rejection,
        result_error, stopped, to_server_message, to_text,
    },
    app::AppState,
    auth::ownership::{AccessScope, SessionAccess, SubscriptionGuard},
    error::{ApiError, Contract, Rejection, session_not_found},
    fanout::{Fanout, Form},
    http::websocket::{self, WebSocket, next_message},
    limits::{Key, run_permit::RunPermit},
};

/// Author of answers in the journal, if callers are anonymous.
const ANSWERED_BY: &str = "a WebSocket client";
/// Number of rejected messages after which the WebSocket is closed.
const MAX_REJECTED: u32 = 1_000;
/// Wait before a journal is read again after an error.
const STORE_BACKOFF: Duration = Duration::from_secs(1);
/// Close code of a deleted session.
const SESSION_DELETED: CloseCode = CloseCode::Library(4404);
/// Maximum number of events per write.
const BATCH: usize = 64;

type EventResult = Result<Arc<Event>, SubscriptionError>;

/// Why a connection ends.
enum CloseReason {
    /// The client disconnected, or is too slow.
    Disconnected,
    /// The client sent a close frame.
    ClosedByClient,
    /// The server closes the connection.
    Close(CloseCode, &'static str),
}

/// Serves one WebSocket until it closes or the server shuts down.
pub(super) async fn serve(
    app: &AppState,
    session: &Session,
    socket: WebSocket,
    (guard, key): (SubscriptionGuard, Key),
    after: Seq,
    (detail, questions): (EventDetail, QuestionFilter),
) {
    let events = session.subscribe_to(Some(after), detail.filter());
    let fanout = app.fanouts.of(session.id());
    let mut connection =
        Connection { app, session, socket, guard, key, detail, questions, fanout, rejected: 0 };
    match connection.run(events).await {
        CloseReason::Disconnected => {}
        CloseReason::ClosedByClient => websocket::close(&mut connection.socket, None).await,
        CloseReason::Close(code, reason) => {
            websocket::close(&mut connection.socket, Some((code, reason))).await
        }
    }
}

/// Selection of the questions for a subscriber: of those asked before it connected, the open ones; after a resume, the
/// open ones again.
#[derive(Debug, Default)]
pub(super) struct QuestionFilter {
    /// The last event before the client connected.
    upto: Seq,
    /// The questions that were open then.
    open: Vec<QuestionId>,
    /// Whether the run was stopped or has failed. Its questions are open again when it is resumed.
    halted: bool,
}

impl QuestionFilter {
    /// Creates the filter for a client that connects at this status.
    pub(super) fn new(status: &SessionStatus) -> Self {
        let halted = matches!(status.status, RunStatus::Stopped | RunStatus::Failed);
        let open =
            if halted { Vec::new() } else { status.questions.iter().map(|open| open.id.clone()).collect() };
        Self { upto: status.last, open, halted }
    }

    fn allows(&self, event: &Event, question: &QuestionId) -> bool {
        event.seq.is_none_or(|seq| seq > self.upto) || self.open.contains(question)
    }
}

struct Connection<'a> {
    app: &'a AppState,
    session: &'a Session,
    socket: WebSocket,
    guard: SubscriptionGuard,
    /// The caller that is counted for runs resumed by commands.
    key: Key,
    detail: EventDetail,
    questions: QuestionFilter,
    fanout: Arc<Fanout>,
    /// Number of rejected messages.
    rejected: u32,
}

/// Rate limit for frames. Frames beyond it wait, finally in the client's send buffer.
struct FrameRateLimit {
    /// Interval between frames.
    interval: Duration,
    /// When the next frame is due at a steady rate.
    due: Instant,
    /// When the next frame is read.
    next_read: Instant,
}

impl FrameRateLimit {
    /// Frames that may arrive at once, as time at the steady rate.
    const BURST: Duration = Duration::from_secs(2);

    /// Creates the limit; 0: no limit.
    fn new(frames_per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            interval: Duration::from_secs(1).checked_div(frames_per_second).unwrap_or_default(),
            due: now,
            next_read: now,
        }
    }

    fn is_ready(&self) -> bool {
        self.next_read <= Instant::now()
    }

    fn count(&mut self) {
        let now = Instant::now();
        self.due = self.due.max(now) + self.interval;
        self.next_read = self.due.checked_sub(Self::BURST).unwrap_or(now).max(now);
    }
}

/// A command in progress. No frame is read until it is complete.
type PendingCommand<'a> = BoxFuture<'a, Result<(), ApiError>>;

impl<'a> Connection<'a> {
    async fn run(&mut self, mut events: Subscription) -> CloseReason {
        let options: &ServerOptions = &self.app.options;
        let mut ping = tokio::time::interval_at(Instant::now() + options.ping, options.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_seen = Instant::now();
        let mut command: Option<PendingCommand<'a>> = None;
        let mut rate = FrameRateLimit::new(options.frames_per_second);
        // Events are gathered until then.
        let mut gather_until: Option<Instant> = None;
        loop {
            let result = tokio::select! {
                () = self.app.close_sockets.cancelled() => {
                    return CloseReason::Close(CloseCode::Away, "the server is shutting down");
                }
                event = events.next(), if gather_until.is_none() => {
                    let time = self.fanout.gather_time();
                    gather_until = (!time.is_zero()).then(|| Instant::now() + time);
                    self.send_events(event, &mut events).await
                }
                () = tokio::time::sleep_until(gather_until.unwrap_or(last_seen)), if gather_until.is_some() => {
                    gather_until = None;
                    Ok(())
                }
                result = async { command.as_mut().expect("the guard checks it").await }, if command.is_some() => {
                    command = None;
                    match result {
                        Ok(()) => Ok(()),
                        Err(error) => self.reject(&error).await,
                    }
                }
                () = tokio::time::sleep_until(rate.next_read), if command.is_none() && !rate.is_ready() => Ok(()),
                frame = next_message(&mut self.socket), if command.is_none() && rate.is_ready() => {
                    rate.count();
                    last_seen = Instant::now();
                    match frame {
                        Some(Ok(frame)) => self.read(frame, &mut command).await,
                        Some(Err(error)) => self.fail(error).await,
                        None => Err(CloseReason::Disconnected),
                    }
                }
                _ = ping.tick() => {
                    if command.is_none() && last_seen.elapsed() > options.ping * 3 {
                        Err(CloseReason::Disconnected)
                    } else {
                        self.send(Message::Ping(Bytes::new())).await
                    }
                }
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    /// Sends an event and those that are ready, in one write.
    async fn send_events(
        &mut self,
        first: EventResult,
        events: &mut Subscription,
    ) -> Result<(), CloseReason> {
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(event) = next else { break };
            match event {
                Ok(event) => self.feed_event(&event).await?,
                Err(error) if error.is_final() => return self.session_deleted().await,
                Err(error) => {
                    tracing::warn!(%error, "the journal could not be read for a subscriber");
                    self.flush().await?;
                    tokio::time::sleep(STORE_BACKOFF).await;
                }
            }
            next = events.next().now_or_never();
        }
        // The event that was taken after a full batch.
        match next {
            Some(Ok(event)) => self.feed_event(&event).await?,
            Some(Err(error)) if error.is_final() => return self.session_deleted().await,
            _ => {}
        }
        self.flush().await
    }

    /// Reports that the session was deleted, and ends the connection.
    async fn session_deleted(&mut self) -> Result<(), CloseReason> {
        self.send_text(rejection(&session_not_found(self.session), WallClock.now_ms())).await?;
        Err(CloseReason::Close(SESSION_DELETED, "the session was deleted"))
    }

    async fn feed_event(&mut self, event: &Arc<Event>) -> Result<(), CloseReason> {
        if !self.guard.allows(event).await {
            return Err(CloseReason::Close(CloseCode::Policy, "access to the session is denied"));
        }
        match &event.body {
            EventBody::RunStopped(_) => {
                self.questions.halted = true;
                if self.detail != EventDetail::Contract {
                    self.feed(Message::Text(stopped(event, None).into())).await?;
                }
            }
            EventBody::RunFailed(_) => self.questions.halted = true,
            EventBody::RunResumed(_) if mem::take(&mut self.questions.halted) => {
                self.feed_open_questions(event).await?;
            }
            _ => {}
        }
        let text = match &event.body {
            EventBody::RunCompleted(completed) => {
                let computed = complete_message(self.app, self.session, event, completed.active_ms);
                Some(self.fanout.completion(event, computed).await.unwrap_or_else(|error| error))
            }
            // It was answered before the client connected, so it is not shown as open.
            EventBody::QuestionAsked(asked) if !self.questions.allows(event, &asked.open.id) => {
                (self.detail == EventDetail::All).then(|| any_event(event).into())
            }
            _ => {
                let form = Form::Socket(self.detail);
                self.fanout
                    .message(event, form, || to_server_message(event, self.detail).map(Utf8Bytes::from))
            }
        };
        match text {
            Some(text) => self.feed(Message::Text(text)).await,
            None => Ok(()),
        }
    }

    /// Sends the open questions again after the run was resumed. The last message of the event has its number.
    async fn feed_open_questions(&mut self, event: &Event) -> Result<(), CloseReason> {
        let open = match self.session.status().await {
            Ok(status) => status.questions,
            Err(error) => {
                tracing::warn!(%error, "the open questions could not be read for a subscriber");
                return Ok(());
            }
        };
        for (at, question) in open.iter().enumerate() {
            let is_last = at + 1 == open.len() && self.detail == EventDetail::Contract;
            let text = open_question(question, event, event.seq.filter(|_| is_last));
            self.feed(Message::Text(text.into())).await?;
        }
        Ok(())
    }

    async fn read(
        &mut self,
        frame: Message,
        command: &mut Option<PendingCommand<'a>>,
    ) -> Result<(), CloseReason> {
        let limit = self.app.options.frame_bytes;
        let text = match frame {
            Message::Text(text) => text,
            Message::Binary(_) => {
                let message = "binary frames are not supported; send JSON as text";
                return self.reject(&ApiError::new(Rejection::InvalidRequest, message)).await;
            }
            Message::Close(_) => return Err(CloseReason::ClosedByClient),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        if text.len() > limit {
            let message = format!("the message exceeds {limit} bytes (FRAME_BYTES); send a smaller one");
            return self.reject(&ApiError::new(Rejection::FrameTooLarge, message)).await;
        }
        match Command::parse(text.as_bytes()) {
            Ok(Command::Ping) => {
                self.send_text(to_text(&Pong::new(Nothing {}, WallClock.now_ms(), None))).await
            }
            Ok(parsed) => {
                let caller = (self.guard.scope.clone(), self.key.clone());
                *command = Some(execute(self.app, self.session.clone(), caller, parsed));
                Ok(())
            }
            Err(error) => self.reject(&error).await,
        }
    }

    /// Reports a protocol error, and ends the connection.
    async fn fail(&mut self, error: tungstenite::Error) -> Result<(), CloseReason> {
        let Some((code, reason)) = websocket::close_code(&error) else {
            return Err(CloseReason::Disconnected);
        };
        let rejection = match code {
            CloseCode::Size => Rejection::FrameTooLarge,
            CloseCode::Again => Rejection::Overloaded,
            CloseCode::Invalid => Rejection::InvalidJson,
            _ => Rejection::InvalidRequest,
        };
        self.reject(&ApiError::new(rejection, reason)).await?;
        Err(CloseReason::Close(code, reason))
    }

    async fn reject(&mut self, error: &ApiError) -> Result<(), CloseReason> {
        self.rejected += 1;
        if self.rejected > MAX_REJECTED {
            let error = ApiError::new(Rejection::TooManyErrors, "too many messages were rejected");
            self.send_text(rejection(&error, WallClock.now_ms())).await?;
            return Err(CloseReason::Close(CloseCode::Policy, "too many messages were rejected"));
        }
        self.send_text(rejection(error, WallClock.now_ms())).await
    }

    async fn send_text(&mut self, text: String) -> Result<(), CloseReason> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, frame: Message) -> Result<(), CloseReason> {
        self.feed(frame).await?;
        self.flush().await
    }

    async fn feed(&mut self, frame: Message) -> Result<(), CloseReason> {
        with_write_timeout(self.app, self.socket.feed(frame)).await
    }

    async fn flush(&mut self) -> Result<(), CloseReason> {
        with_write_timeout(self.app, self.socket.flush()).await
    }
}

/// Ends the connection if a write makes no progress within the write timeout.
async fn with_write_timeout(
    app: &AppState,
    write: impl Future<Output = Result<(), tungstenite::Error>>,
) -> Result<(), CloseReason> {
    match tokio::time::timeout(app.options.write_time, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(CloseReason::Disconnected),
    }
}

/// Returns the message with the result of a run. The result is read at the event, so that it is the same whenever it is
/// read. The error is a message too.
async fn complete_message(
    app: &AppState,
    session: &Session,
    event: &Event,
    active_ms: u64,
) -> Result<Utf8Bytes, Utf8Bytes> {
    let seq = event.seq.unwrap_or_default();
    let (state, status) = match session.checkpoint(seq).await {
        Ok(view) => (view.state, view.status),
        // The entry is no longer in the journal: the latest state is used.
        Err(_) => match (session.state_json().await, session.status().await) {
            (Ok(state), Ok(status)) => (state, status),
            (Err(error), _) | (_, Err(error)) => {
                return Err(result_error(&ApiError::of(Contract::TaskAgent, &error), event).into());
            }
        },
    };
    let response = app.response(&status.graph, &state);
    let result = RunResult::new(response, &status.todos, active_ms);
    Ok(to_text(&Complete::new(result, event.at, event.seq)).into())
}

/// Executes a command. Its effects are sent as events.
fn execute<'a>(
    app: &'a AppState,
    session: Session,
    (scope, key): (AccessScope, Key),
    command: Command,
) -> PendingCommand<'a> {
    async move {
        if scope.check(&session).await? == SessionAccess::Missing {
            return Err(session_not_found(&session));
        }
        let release = |permit: RunPermit, run| permit.release_when_idle(&run, &app.tasks, &app.close_sockets);
        let result = match command {
            Command::Ping => Ok(()),
            Command::Stop => session.stop().await.map(drop),
            Command::Input(answers) => {
                let permit = RunPermit::for_resume(&app.limits, key, &session, true).await?;
                let run = session.answer(answers).by(scope.name().unwrap_or(ANSWERED_BY)).await;
                run.map(|run| release(permit, run))
            }
            Command::Steer(message) => session.steer(message).await,
            Command::Resume => {
                let permit = RunPermit::for_resume(&app.limits, key, &session, false).await?;
                session.resume().await.map(|run| release(permit, run))
            }
        };
        result.map_err(|error| match error {
            SessionError::NothingToDo { status: RunStatus::Paused, verb, .. } if verb != "steer" => {
                ApiError::new(Rejection::AnswerNeeded, "the run waits for an answer; send `input`")
            }
            error => ApiError::of(Contract::TaskAgent, &error),
        })
    }
    .boxed()
}
