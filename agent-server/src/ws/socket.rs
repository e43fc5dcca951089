//! One socket: events down, commands up, one loop, no queue. A slow client holds up nobody but itself.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Event, RunStatus, Session, SessionError,
    clock::{Clock, WallClock},
    event::{EventBody, Subscription, SubscriptionError},
    ids::Seq,
    session::CheckpointView,
};
use bytes::Bytes;
use futures::{FutureExt, SinkExt, future::BoxFuture};
use hyper_tungstenite::tungstenite::{self, Message, Utf8Bytes, protocol::frame::coding::CloseCode};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    error::{ApiError, Contract, Refusal},
    fanout::{Fanout, Form},
    http::call::Admission,
    limit::Key,
    owner::{Found, Owner, Watch, unknown},
    server::{Inner, ServerOptions},
    wire::task_agent::{Command, Extent, message, refused, result, show},
    ws::{Stream, fault, next_message, part},
};

/// Who answers, as the journal notes it, where callers have no names.
const BY: &str = "a WebSocket client";
/// So many refused frames end the socket.
const REFUSED: u32 = 1_000;
/// The wait before a journal that could not be read is read again.
const STORE_BREATHER: Duration = Duration::from_secs(1);

/// The code of the close frame when the session was deleted.
const DELETED: CloseCode = CloseCode::Library(4404);

/// Events that one write takes at most.
const BATCH: usize = 64;

/// What a subscription gives.
type Told = Result<Arc<Event>, SubscriptionError>;

/// What ends a socket.
enum End {
    /// The client is gone, or too slow to be told.
    Gone,
    /// The client said goodbye, and hears one.
    Left,
    /// The server closes it, and says why.
    Close(CloseCode, &'static str),
}

/// Serves one subscriber until it, or the server, leaves.
pub(super) async fn serve(
    inner: &Inner,
    session: &Session,
    socket: Stream,
    (watch, key): (Watch, Key),
    after: Seq,
    extent: Extent,
) {
    let events = session.subscribe(Some(after));
    let fanout = inner.fanouts.of(session.id());
    let mut subscriber = Subscriber { inner, session, socket, watch, key, extent, fanout, refused: 0 };
    match subscriber.run(events).await {
        End::Gone => {}
        End::Left => part(&mut subscriber.socket, None).await,
        End::Close(code, reason) => part(&mut subscriber.socket, Some((code, reason))).await,
    }
}

struct Subscriber<'a> {
    inner: &'a Inner,
    session: &'a Session,
    socket: Stream,
    watch: Watch,
    /// Who is counted for what goes on by its commands.
    key: Key,
    extent: Extent,
    fanout: Arc<Fanout>,
    /// Refused frames so far.
    refused: u32,
}

/// How fast a client is read: beyond that its frames wait, in the end on its own side.
struct Pace {
    /// Between two frames.
    apart: Duration,
    /// When the next frame would be due at a steady pace.
    due: Instant,
    /// When the next one is read.
    free: Instant,
}

impl Pace {
    /// What may come at once, in time.
    const BURST: Duration = Duration::from_secs(2);

    /// 0: no bound.
    fn new(frames_per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            apart: Duration::from_secs(1).checked_div(frames_per_second).unwrap_or_default(),
            due: now,
            free: now,
        }
    }

    fn is_free(&self) -> bool {
        self.free <= Instant::now()
    }

    fn count(&mut self) {
        let now = Instant::now();
        self.due = self.due.max(now) + self.apart;
        self.free = self.due.checked_sub(Self::BURST).unwrap_or(now).max(now);
    }
}

/// A command that is being carried out; nothing more is read meanwhile.
type Doing<'a> = BoxFuture<'a, Result<(), ApiError>>;

impl<'a> Subscriber<'a> {
    async fn run(&mut self, mut events: Subscription) -> End {
        let options: &ServerOptions = &self.inner.options;
        let mut ping = tokio::time::interval_at(Instant::now() + options.ping, options.ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut doing: Option<Doing<'a>> = None;
        let mut pace = Pace::new(options.frames_per_second);
        // Events are gathered until then.
        let mut gathers: Option<Instant> = None;
        loop {
            let done = tokio::select! {
                () = self.inner.leaving.cancelled() => return End::Close(CloseCode::Away, "the server is ending"),
                event = events.next(), if gathers.is_none() => {
                    let time = self.fanout.gather_time();
                    gathers = (!time.is_zero()).then(|| Instant::now() + time);
                    self.events(event, &mut events).await
                }
                () = tokio::time::sleep_until(gathers.unwrap_or(heard)), if gathers.is_some() => {
                    gathers = None;
                    Ok(())
                }
                result = async { doing.as_mut().expect("the guard says so").await }, if doing.is_some() => {
                    doing = None;
                    match result {
                        Ok(()) => Ok(()),
                        Err(error) => self.refuse(&error).await,
                    }
                }
                () = tokio::time::sleep_until(pace.free), if doing.is_none() && !pace.is_free() => Ok(()),
                frame = next_message(&mut self.socket), if doing.is_none() && pace.is_free() => {
                    pace.count();
                    heard = Instant::now();
                    match frame {
                        Some(Ok(frame)) => self.frame(frame, &mut doing).await,
                        Some(Err(error)) => self.broken(error).await,
                        None => Err(End::Gone),
                    }
                }
                _ = ping.tick() => {
                    if doing.is_none() && heard.elapsed() > options.ping * 3 {
                        Err(End::Gone)
                    } else {
                        self.send(Message::Ping(Bytes::new())).await
                    }
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Sends an event and those that are there already, in one write.
    async fn events(&mut self, first: Told, events: &mut Subscription) -> Result<(), End> {
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(event) = next else { break };
            match event {
                Ok(event) => self.event(&event).await?,
                Err(error) if error.is_final() => return self.deleted().await,
                Err(error) => {
                    tracing::warn!(%error, "the journal cannot be read for a subscriber");
                    self.flush().await?;
                    tokio::time::sleep(STORE_BREATHER).await;
                }
            }
            next = events.next().now_or_never();
        }
        // What was taken last in a full batch is sent as well.
        match next {
            Some(Ok(event)) => self.event(&event).await?,
            Some(Err(error)) if error.is_final() => return self.deleted().await,
            _ => {}
        }
        self.flush().await
    }

    /// The session was deleted: the client is told, and the socket ends.
    async fn deleted(&mut self) -> Result<(), End> {
        self.text(refused(&unknown(self.session), WallClock.now_ms())).await?;
        Err(End::Close(DELETED, "the session was deleted"))
    }

    async fn event(&mut self, event: &Arc<Event>) -> Result<(), End> {
        if !self.watch.shows(event).await {
            return Err(End::Close(CloseCode::Policy, "the session is not yours"));
        }
        let text = if let EventBody::RunCompleted(completed) = &event.body {
            let computed = complete(self.inner, self.session, event, completed.active_ms);
            Some(self.fanout.completion(event, computed).await.unwrap_or_else(|error| error))
        } else {
            let form = Form::Socket(self.extent);
            self.fanout.message(event, form, || show(event, self.extent).map(Utf8Bytes::from))
        };
        match text {
            Some(text) => self.feed(Message::Text(text)).await,
            None => Ok(()),
        }
    }

    async fn frame(&mut self, frame: Message, doing: &mut Option<Doing<'a>>) -> Result<(), End> {
        let limit = self.inner.options.frame_bytes;
        let text = match frame {
            Message::Text(text) => text,
            Message::Binary(_) => {
                let told = "binary frames are not understood; send JSON as text";
                return self.refuse(&ApiError::new(Refusal::InvalidRequest, told)).await;
            }
            Message::Close(_) => return Err(End::Left),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        if text.len() > limit {
            let told = format!("a message may have {limit} bytes");
            return self.refuse(&ApiError::new(Refusal::FrameTooLarge, told)).await;
        }
        match Command::parse(text.as_bytes()) {
            Ok(Command::Ping) => self.text(message("pong", &json!({}), WallClock.now_ms(), None)).await,
            Ok(command) => {
                let caller = (self.watch.owner.clone(), self.key.clone());
                *doing = Some(carry_out(self.inner, self.session.clone(), caller, command));
                Ok(())
            }
            Err(error) => self.refuse(&error).await,
        }
    }

    /// A stream that is not one any more: it is told why, and ends.
    async fn broken(&mut self, error: tungstenite::Error) -> Result<(), End> {
        let Some((code, reason)) = fault(&error) else { return Err(End::Gone) };
        let refusal = match code {
            CloseCode::Size => Refusal::FrameTooLarge,
            CloseCode::Again => Refusal::Overloaded,
            CloseCode::Invalid => Refusal::InvalidJson,
            _ => Refusal::InvalidRequest,
        };
        self.refuse(&ApiError::new(refusal, reason)).await?;
        Err(End::Close(code, reason))
    }

    async fn refuse(&mut self, error: &ApiError) -> Result<(), End> {
        self.refused += 1;
        if self.refused > REFUSED {
            let error = ApiError::new(Refusal::TooManyErrors, "too many messages were refused");
            self.text(refused(&error, WallClock.now_ms())).await?;
            return Err(End::Close(CloseCode::Policy, "too many messages were refused"));
        }
        self.text(refused(error, WallClock.now_ms())).await
    }

    async fn text(&mut self, text: String) -> Result<(), End> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, frame: Message) -> Result<(), End> {
        self.feed(frame).await?;
        self.flush().await
    }

    async fn feed(&mut self, frame: Message) -> Result<(), End> {
        in_time(self.inner, self.socket.feed(frame)).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        in_time(self.inner, self.socket.flush()).await
    }
}

/// A write that makes no progress for too long ends the socket.
async fn in_time(
    inner: &Inner,
    write: impl Future<Output = Result<(), tungstenite::Error>>,
) -> Result<(), End> {
    match tokio::time::timeout(inner.options.write_time, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}

/// The result of the run that the event ended: as of that place, so that it is the same whenever it is read. An error is
/// a message too.
async fn complete(
    inner: &Inner,
    session: &Session,
    event: &Event,
    active_ms: u64,
) -> Result<Utf8Bytes, Utf8Bytes> {
    let seq = event.seq.unwrap_or_default();
    let (state, status) = match session.checkpoint(seq).await {
        Ok(CheckpointView { state, status, .. }) => (state, status),
        // The journal does not reach back so far: what is there now is all there is.
        Err(_) => match (session.state_json().await, session.status().await) {
            (Ok(state), Ok(status)) => (state, status),
            (Err(error), _) | (_, Err(error)) => {
                let error = ApiError::of(Contract::TaskAgent, &error);
                let data = json!({"error": error.message, "details": {"code": error.code}});
                return Err(message("error", &data, event.at, event.seq).into());
            }
        },
    };
    let response = inner.response(&status.graph, &state);
    Ok(message("complete", &result(&response, &status.todos, active_ms), event.at, event.seq).into())
}

/// Does what the client said. What it leads to comes back as events.
fn carry_out<'a>(
    inner: &'a Inner,
    session: Session,
    (owner, key): (Owner, Key),
    command: Command,
) -> Doing<'a> {
    async move {
        if owner.check(&session).await? == Found::Nothing {
            return Err(unknown(&session));
        }
        let done = match command {
            Command::Ping => Ok(()),
            Command::Stop => session.stop().await.map(drop),
            Command::Input(answers) => {
                let admission = Admission::to_go_on(inner, key, &session, true).await?;
                let run = session.answer_as(answers, owner.name().unwrap_or(BY)).await;
                run.map(|run| admission.follow(inner, &run))
            }
            Command::Resume => {
                let admission = Admission::to_go_on(inner, key, &session, false).await?;
                session.resume().await.map(|run| admission.follow(inner, &run))
            }
        };
        done.map_err(|error| match error {
            SessionError::NothingToDo { status: RunStatus::Paused, .. } => {
                ApiError::new(Refusal::AnswerNeeded, "the run waits for an answer; send `input`")
            }
            error => ApiError::of(Contract::TaskAgent, &error),
        })
    }
    .boxed()
}
