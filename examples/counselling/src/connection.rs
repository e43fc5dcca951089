//! One client on its WebSocket: frames in order, one request at a time.

use std::{collections::VecDeque, sync::Arc};

use agent_core::{BusyPolicy, RunOptions, ids::SessionId};
use agent_server::{
    Admission,
    auth::Subject,
    custom_routes::{LatestClaim, PathParams, Socket, SocketMessage},
};

use crate::{
    Emotion, Language,
    desk::Connected,
    link::Out,
    model::Failure,
    protocol::{self, Incoming, NO_SESSION, REPLACED, REPLACED_REASON, Refusal, Request, head},
    service::Shared,
    turn::Turn,
};

/// Characters of a client's words in the log.
const LOGGED: usize = 50;
/// Bytes of frames that wait while a request is served. Further frames are not read.
const WAITING_BYTES: usize = 256 * 1024;

/// How a connection ends.
enum End {
    /// The client has gone, or the server shuts down.
    Gone,
    /// A newer connection took the session over.
    Replaced,
}

/// Serves a client until it leaves.
pub(crate) async fn serve(shared: Arc<Shared>, request: hyper::Request<()>, mut socket: Socket) {
    let Ok(session) = PathParams::of(&request).get("session_id").parse::<SessionId>() else { return };
    let subject = request.extensions().get::<Subject>().cloned();
    if let Err(refusal) = shared.open_session(session.as_str(), subject.as_ref()).await {
        socket.send(protocol::error(refusal)).await.ok();
        return socket.close(NO_SESSION, &refusal.to_string()).await;
    }
    let claim = shared.connections.claim(session.as_str());
    let key = match &subject {
        Some(subject) => format!("subject {subject}"),
        None => format!("session {session}"),
    };
    shared.resave_later(&session).await;
    let connection = Connection {
        shared: &shared,
        session,
        subject,
        language: language_of(&request),
        key,
        claim,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        latest_emotion: None,
    };
    connection.run(socket).await;
}

struct Connection<'a> {
    shared: &'a Shared,
    session: SessionId,
    subject: Option<Subject>,
    /// Language that the client asks for.
    language: Option<Language>,
    /// Key of the limit.
    key: String,
    claim: LatestClaim,
    /// Frames that arrived while a request was served.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// The emotion of the latest `emotion_update`.
    latest_emotion: Option<String>,
}

impl Connection<'_> {
    async fn run(mut self, mut socket: Socket) {
        let end = loop {
            let frame = match self.next(&mut socket).await {
                Ok(frame) => frame,
                Err(end) => break end,
            };
            if let Err(end) = self.handle(&frame, &mut socket).await {
                break end;
            }
        };
        tracing::info!("[WebSocket] Session {} disconnected", self.session);
        if matches!(end, End::Replaced) {
            socket.close(REPLACED, REPLACED_REASON).await;
        }
    }

    async fn next(&mut self, socket: &mut Socket) -> Result<Vec<u8>, End> {
        if self.claim.is_replaced() {
            return Err(End::Replaced);
        }
        if let Some(frame) = self.waiting.pop_front() {
            self.waiting_bytes -= frame.len();
            return Ok(frame);
        }
        tokio::select! {
            biased;
            () = self.claim.replaced() => Err(End::Replaced),
            message = socket.next() => message.map(bytes_of).ok_or(End::Gone),
        }
    }

    async fn handle(&mut self, frame: &[u8], socket: &mut Socket) -> Result<(), End> {
        match Incoming::read(frame) {
            Incoming::Ignored => Ok(()),
            Incoming::Emotion(emotion) => {
                self.latest_emotion = emotion;
                Ok(())
            }
            Incoming::NotJson => send(socket, protocol::error(Refusal::NotJson)).await,
            Incoming::Request(request) => match self.admit(&request).await {
                Ok(()) => self.answer(&request, socket).await,
                Err(refusal) => send(socket, protocol::error(refusal)).await,
            },
        }
    }

    /// Checks a request and counts it.
    async fn admit(&self, request: &Request) -> Result<(), Refusal> {
        request.check()?;
        match self.shared.limit.admit(&self.key).await {
            Ok(Admission::Admitted) => Ok(()),
            Ok(Admission::Refused { .. }) => {
                let words = head(&request.message, LOGGED);
                tracing::warn!("[Rate Limit] session={}, message={words}", self.session);
                Err(Refusal::TooMany)
            }
            Err(error) => {
                // A client who speaks is not refused because the store of the limit fails.
                tracing::error!(
                    "[AI Error] session={}, error=the limit is not checked: {error}",
                    self.session
                );
                Ok(())
            }
        }
    }

    async fn answer(&mut self, request: &Request, socket: &mut Socket) -> Result<(), End> {
        let sent = request.emotion.as_deref();
        let shown = head(sent.unwrap_or("null"), LOGGED);
        let words = head(&request.message, LOGGED);
        tracing::info!("[AI Request] session={}, emotion={shown}, message={words}", self.session);
        send(socket, protocol::begin()).await?;
        let guidance = Emotion::of(sent.or(self.latest_emotion.as_deref()).unwrap_or_default());
        let mut connected = self.shared.desk.connect();
        match self.deliver(request, guidance, &mut connected, socket).await? {
            Ok(length) => {
                send(socket, protocol::complete()).await?;
                tracing::info!("[AI Response] session={}, length={length}", self.session);
                Ok(())
            }
            Err(failure) => send(socket, protocol::error(failure)).await,
        }
        // Dropping the link here lets the run save the exchange.
    }

    /// Runs a turn and sends its chunks. Returns the length of the answer in characters.
    async fn deliver(
        &mut self,
        request: &Request,
        guidance: Emotion,
        connected: &mut Connected,
        socket: &mut Socket,
    ) -> Result<Result<usize, Failure>, End> {
        let mut run = match self.start(request, guidance, &connected.id).await {
            Ok(run) => run,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut length = 0;
        loop {
            let reads = self.waiting_bytes < WAITING_BYTES;
            let item = tokio::select! {
                biased;
                () = self.claim.replaced() => return Err(End::Replaced),
                item = connected.out.recv() => item,
                message = socket.next(), if reads => {
                    let frame = message.map(bytes_of).ok_or(End::Gone)?;
                    self.waiting_bytes += frame.len();
                    self.waiting.push_back(frame);
                    continue;
                }
                // A run that completes has sent its end before.
                status = run.wait_status() => match connected.out.try_recv() {
                    Ok(item) => Some(item),
                    Err(_) => {
                        tracing::error!("[AI Error] session={}, error=the run is {status}", self.session);
                        None
                    }
                },
            };
            match item {
                Some(Out::Chunk(text)) => {
                    send(socket, protocol::chunk(&text)).await?;
                    length += text.chars().count();
                    connected.link.add_said(&text);
                }
                Some(Out::End(end)) => return Ok(end.map(|()| length)),
                None => return Ok(Err(Failure::Internal)),
            }
        }
    }

    async fn start(
        &self,
        request: &Request,
        guidance: Emotion,
        link: &str,
    ) -> Result<agent_core::Run, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!("[AI Error] session={}, error={error}", self.session);
            Failure::Internal
        };
        let session = self.shared.runtime.session(self.session.as_str()).map_err(|error| failed(&error))?;
        // A run of an earlier connection may still save its exchange.
        let mut options = RunOptions::default().on_busy(BusyPolicy::Enqueue);
        if let Some(subject) = &self.subject {
            options = options.label(agent_server::auth::OWNER, subject.as_str());
        }
        let run = session
            .run(&self.shared.graph, Turn::begin(request, guidance, self.language, link))
            .options(options);
        let run = run.start().await.map_err(|error| failed(&error))?;
        Ok(run)
    }
}

/// Returns the language in the query: `lang=ko` or `lang=en`.
fn language_of(request: &hyper::Request<()>) -> Option<Language> {
    request.uri().query()?.split('&').find_map(|pair| match pair {
        "lang=ko" => Some(Language::Korean),
        "lang=en" => Some(Language::English),
        _ => None,
    })
}

async fn send(socket: &mut Socket, text: String) -> Result<(), End> {
    socket.send(text).await.map_err(|_| End::Gone)
}

fn bytes_of(message: SocketMessage) -> Vec<u8> {
    match message {
        SocketMessage::Text(text) => text.into_bytes(),
        SocketMessage::Bytes(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    }
}
