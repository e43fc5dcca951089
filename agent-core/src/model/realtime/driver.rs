//! Driver of a transcription session: connects, sends audio, reads messages, pings, and connects again.

use std::{sync::Arc, time::Duration};

use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::{
    Shared,
    buffer::Entry,
    connection::{ConnectFailure, Endpoint, Socket},
    event::{ConnectionState, RealtimeEvent, RefusedReason},
    options::RealtimeOptions,
    protocol::{COMMIT, ServerMessage, append, parse, session_update},
    timeline::Timeline,
};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionEnd {
    /// All audio was sent and all transcripts arrived, or nothing reads the events any more.
    Finished,
    /// The endpoint disconnected, stalled or violated the protocol.
    Broken,
    /// The endpoint refused the session.
    Refused(RefusedReason),
}

/// State shared by the two halves of a connection.
struct ConnectionShared {
    timeline: Mutex<Timeline>,
    /// Wakes the writer when a transcript arrived.
    heard: Notify,
    state: Mutex<LinkState>,
}

struct LinkState {
    /// The endpoint has accepted the settings, or sent a transcript.
    configured: bool,
    /// When the last message arrived.
    last_message: Instant,
    /// The caller does not read events, so that nothing is read from the endpoint either.
    is_full: bool,
    /// A transcript arrived on this connection.
    useful: bool,
}

/// Runs a session to its end.
pub(super) async fn run(
    endpoint: Endpoint,
    options: RealtimeOptions,
    shared: Arc<Shared>,
    events: mpsc::Sender<RealtimeEvent>,
) {
    let mut failures: u32 = 0;
    let mut down_since: Option<Instant> = None;
    loop {
        let begun = Instant::now();
        let connected = timeout(options.timeout, endpoint.connect(settings(&options, &shared))).await;
        let end = match connected {
            Ok(Ok(socket)) => {
                if report(&events, &shared, ConnectionState::Connected).await.is_err() {
                    return;
                }
                let (end, useful) = serve(socket, &options, &shared, &events).await;
                // A connection that lived or was of use is no failed attempt.
                if useful || begun.elapsed() > options.backoff.longest_wait {
                    (failures, down_since) = (0, None);
                }
                end
            }
            Ok(Err(ConnectFailure::Refused(reason))) => ConnectionEnd::Refused(reason),
            Ok(Err(ConnectFailure::Temporary)) | Err(_) => ConnectionEnd::Broken,
        };
        match end {
            ConnectionEnd::Finished => return,
            ConnectionEnd::Refused(reason) => {
                let _lost = report(&events, &shared, ConnectionState::Lost(reason)).await;
                return;
            }
            ConnectionEnd::Broken => {}
        }
        shared.buffer.lock().rewind();
        let down = down_since.get_or_insert(begun).elapsed();
        if down >= options.give_up_after {
            let lost = ConnectionState::Lost(RefusedReason::Unreachable);
            let _lost = report(&events, &shared, lost).await;
            return;
        }
        failures = failures.saturating_add(1);
        if report(&events, &shared, ConnectionState::Reconnecting).await.is_err() {
            return;
        }
        sleep(options.backoff.backoff(failures, fastrand::f64())).await;
        if shared.buffer.lock().is_empty_and_finished() {
            return;
        }
    }
}

/// Returns the message with the present settings.
fn settings(options: &RealtimeOptions, shared: &Shared) -> String {
    session_update(options, shared.language.lock().as_deref()).to_string()
}

/// Reports the state of the connection.
async fn report(
    events: &mpsc::Sender<RealtimeEvent>,
    shared: &Shared,
    state: ConnectionState,
) -> Result<(), mpsc::error::SendError<RealtimeEvent>> {
    let backlog = shared.buffer.lock().backlog();
    events.send(RealtimeEvent::Connection { state, backlog }).await
}

/// Serves one connection. Returns why it ended, and whether a transcript arrived on it.
async fn serve(
    socket: Socket,
    options: &RealtimeOptions,
    shared: &Shared,
    events: &mpsc::Sender<RealtimeEvent>,
) -> (ConnectionEnd, bool) {
    let link = ConnectionShared {
        timeline: Mutex::default(),
        heard: Notify::new(),
        state: Mutex::new(LinkState {
            configured: false,
            last_message: Instant::now(),
            is_full: false,
            useful: false,
        }),
    };
    let (mut sink, stream) = socket.split();
    let end = tokio::select! {
        end = read(stream, shared, &link, events) => end,
        end = write(&mut sink, options, shared, &link) => end,
        // The receiver was dropped.
        () = events.closed() => ConnectionEnd::Finished,
    };
    if end == ConnectionEnd::Finished {
        // The endpoint need not answer it.
        let _closed = timeout(Duration::from_secs(1), sink.close()).await;
    }
    (end, link.state.into_inner().useful)
}

/// Sends audio and pings.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    options: &RealtimeOptions,
    shared: &Shared,
    link: &ConnectionShared,
) -> ConnectionEnd {
    let mut next_ping = Instant::now() + options.ping;
    // Deadline of the answer to the last ping.
    let mut pong_due: Option<(Instant, Instant)> = None;
    // When the last audio of the session was sent.
    let mut drained: Option<Instant> = None;
    loop {
        let entry = shared.buffer.lock().next_unsent();
        let message = match &entry {
            Some(Entry::Audio { pcm, .. }) => Some(Message::text(append(pcm))),
            Some(Entry::Commit { .. }) => Some(Message::text(COMMIT)),
            Some(Entry::Configure { .. }) => Some(Message::text(settings(options, shared))),
            None => None,
        };
        if let Some(message) = message {
            {
                // Before it is sent, because the answer may arrive first.
                let mut timeline = link.timeline.lock();
                match &entry {
                    Some(Entry::Audio { start, pcm }) => timeline.sent(*start, pcm.len() as u64 / 2),
                    Some(Entry::Commit { at }) => timeline.commit_sent(*at),
                    Some(Entry::Configure { .. }) | None => {}
                }
            }
            match timeout(options.timeout, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return ConnectionEnd::Broken,
            }
        }
        let now = Instant::now();
        if let Some((sent, due)) = pong_due {
            let state = link.state.lock();
            if state.last_message >= sent || state.is_full {
                pong_due = None;
            } else if now >= due {
                return ConnectionEnd::Broken;
            }
        }
        if now >= next_ping {
            match timeout(options.timeout, sink.send(Message::Ping(Bytes::new()))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return ConnectionEnd::Broken,
            }
            next_ping = now + options.ping;
            pong_due = pong_due.or(Some((now, now + options.timeout)));
        }
        if entry.is_some() {
            continue;
        }
        let mut wake = pong_due.map_or(next_ping, |(_, due)| due.min(next_ping));
        if shared.buffer.lock().is_drained() {
            let since = *drained.get_or_insert(now);
            if !link.timeline.lock().is_waiting() || now >= since + options.timeout {
                return ConnectionEnd::Finished;
            }
            wake = wake.min(since + options.timeout);
        }
        tokio::select! {
            () = shared.changed.notified() => {}
            () = link.heard.notified() => {}
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

/// Reads messages.
async fn read(
    mut stream: SplitStream<Socket>,
    shared: &Shared,
    link: &ConnectionShared,
    events: &mpsc::Sender<RealtimeEvent>,
) -> ConnectionEnd {
    while let Some(message) = stream.next().await {
        link.state.lock().last_message = Instant::now();
        let text = match message {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(_)) | Err(_) => return ConnectionEnd::Broken,
            Ok(_) => {
                link.heard.notify_one();
                continue;
            }
        };
        let event = match handle(parse(&text), shared, link) {
            Ok(event) => event,
            Err(end) => return end,
        };
        if let Some(event) = event
            && let Err(full) = events.try_send(event)
        {
            let mpsc::error::TrySendError::Full(event) = full else { return ConnectionEnd::Finished };
            link.state.lock().is_full = true;
            if events.send(event).await.is_err() {
                return ConnectionEnd::Finished;
            }
            let mut state = link.state.lock();
            (state.is_full, state.last_message) = (false, Instant::now());
        }
        link.heard.notify_one();
    }
    ConnectionEnd::Broken
}

/// Applies a message. Returns what to report.
fn handle(
    message: ServerMessage,
    shared: &Shared,
    link: &ConnectionShared,
) -> Result<Option<RealtimeEvent>, ConnectionEnd> {
    let mut timeline = link.timeline.lock();
    let mut state = link.state.lock();
    let event = match message {
        ServerMessage::Configured => {
            state.configured = true;
            return Ok(None);
        }
        ServerMessage::SpeechStarted { item, at_ms } => {
            let at = timeline.speech_started(item.clone(), at_ms);
            RealtimeEvent::SpeechStarted { item, at }
        }
        ServerMessage::SpeechStopped { item, at_ms } => {
            timeline.speech_stopped(item, at_ms);
            return Ok(None);
        }
        ServerMessage::Committed { item } => {
            timeline.committed(item);
            return Ok(None);
        }
        ServerMessage::ItemAdded { item } => {
            timeline.added(item);
            return Ok(None);
        }
        ServerMessage::Delta { item, text } => RealtimeEvent::Delta { item, text },
        ServerMessage::Completed { item, text } => {
            (state.configured, state.useful) = (true, true);
            let (span, transcribed) = timeline.ended(&item);
            shared.buffer.lock().transcribed(transcribed);
            RealtimeEvent::Completed { item, text, span }
        }
        ServerMessage::Failed { item, code } => {
            (state.configured, state.useful) = (true, true);
            let (span, transcribed) = timeline.ended(&item);
            shared.buffer.lock().transcribed(transcribed);
            RealtimeEvent::Failed { item, code, span }
        }
        ServerMessage::Error { code } => match &*code {
            // A turn of less than 100 ms, or one that the endpoint ended itself a moment before.
            "input_audio_buffer_commit_empty" => {
                timeline.commit_refused();
                return Ok(None);
            }
            "invalid_api_key" => return Err(ConnectionEnd::Refused(RefusedReason::Auth)),
            "beta_api_shape_disabled" => return Err(ConnectionEnd::Refused(RefusedReason::Settings)),
            "session_expired" => return Err(ConnectionEnd::Broken),
            _ if !state.configured && is_of_settings(&code) => {
                return Err(ConnectionEnd::Refused(RefusedReason::Settings));
            }
            _ => RealtimeEvent::Error { code },
        },
        ServerMessage::Other => return Ok(None),
    };
    Ok(Some(event))
}

/// Returns whether an error before the session was accepted is one of its settings, rather than of the endpoint.
fn is_of_settings(code: &str) -> bool {
    !matches!(code, "server_error" | "rate_limit_exceeded" | "internal_error" | "overloaded")
}
