//! WebSocket of a meeting.

use std::sync::Arc;

use agent_server::custom_routes::{PathParams, Socket, SocketMessage};
use hyper::Request;
use tokio::sync::mpsc;

use crate::{
    service::{Handle, Joined, Meetings},
    store::MeetingId,
    wire::{ClientFault, ClientMessage, ServerMessage, check_audio},
};

/// Commands of one client that wait. A client that sends more waits until they are done.
const COMMANDS: usize = 64;

pub(super) async fn serve(meetings: Meetings, request: Request<()>, mut socket: Socket) {
    let Ok(id) = PathParams::of(&request).get("meeting_id").parse::<MeetingId>() else {
        socket.close(1008, "a meeting id has 1 to 128 letters, digits and . _ : -").await;
        return;
    };
    tracing::info!("WebSocket accepted");
    let Joined { handle, so_far, messages } = match meetings.join(&id).await {
        Ok(joined) => joined,
        Err(error) => {
            tracing::warn!(meeting = %id, error = &error as &dyn std::error::Error, "a client could not join");
            let fault = if matches!(error, crate::service::MeetingError::Busy) {
                ClientFault::Busy
            } else {
                ClientFault::Storage
            };
            let _gone = socket.send(ServerMessage::from(&fault).to_json()).await;
            socket.close(1013, "try again later").await;
            return;
        }
    };
    for message in so_far {
        if socket.feed(message.to_string()).await.is_err() {
            return;
        }
    }
    if socket.flush().await.is_ok() {
        let _connected = meetings.counts().connected();
        talk(handle, socket, messages).await;
    }
}

/// Passes messages in both directions until either side ends.
async fn talk(handle: Handle, mut socket: Socket, mut messages: mpsc::Receiver<Arc<str>>) {
    let (answers, mut answered) = mpsc::channel::<String>(COMMANDS);
    let (commands, mut queue) = mpsc::channel::<(ClientMessage, u64)>(COMMANDS);
    let source = handle.audio.source();
    // Commands wait for files; the socket does not wait for commands.
    let worker = async {
        while let Some((command, at)) = queue.recv().await {
            if let Err(fault) = obey(&handle, command, at).await
                && answers.send(ServerMessage::from(&fault).to_json()).await.is_err()
            {
                break;
            }
        }
    };
    let mut first_audio = true;
    let mut refused = false;
    let client = async {
        loop {
            let message = tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(message) => {
                        socket.feed(message.to_string()).await.ok()?;
                        // Several messages of one moment need one write.
                        while let Ok(message) = messages.try_recv() {
                            socket.feed(message.to_string()).await.ok()?;
                        }
                        socket.flush().await.ok()?;
                        continue;
                    }
                    None => return Some(socket),
                },
                answer = answered.recv() => {
                    socket.send(answer?).await.ok()?;
                    continue;
                }
                message = socket.next() => message?,
            };
            let parsed = match message {
                SocketMessage::Text(text) => ClientMessage::parse(&text),
                SocketMessage::Bytes(bytes) => check_audio(&bytes).map(|()| ClientMessage::Audio(bytes)),
                _ => continue,
            };
            let fault = match parsed {
                Ok(ClientMessage::Audio(audio)) => {
                    if std::mem::take(&mut first_audio) {
                        tracing::info!("Audio chunk received");
                    } else {
                        tracing::debug!("Audio chunk received");
                    }
                    let fault = source.push(audio).err();
                    // Once, and not for each chunk.
                    let known = std::mem::replace(&mut refused, fault == Some(ClientFault::AudioBusy));
                    fault.filter(|_| !(known && refused))
                }
                Ok(ClientMessage::Ping) => {
                    socket.send(ServerMessage::Pong {}.to_json()).await.ok()?;
                    None
                }
                // In order with the audio: the place at which it was sent is taken now.
                Ok(command) => {
                    let at = if let ClientMessage::Speaker(who) = &command { source.take(who) } else { 0 };
                    commands.try_send((command, at)).err().map(|_| ClientFault::Busy)
                }
                Err(fault) => Some(fault),
            };
            if let Some(fault) = fault {
                socket.send(ServerMessage::from(&fault).to_json()).await.ok()?;
            }
        }
    };
    let behind = tokio::select! {
        () = worker => None,
        behind = client => behind,
    };
    if let Some(socket) = behind {
        socket.close(1013, "too far behind, or the server shuts down; connect again").await;
    }
}

/// Executes a command that was sent at a place of the audio.
async fn obey(handle: &Handle, command: ClientMessage, at: u64) -> Result<(), ClientFault> {
    match command {
        ClientMessage::Start(setup) => handle.start(setup).await,
        ClientMessage::Speaker(speaker) => handle.speaker(speaker, at).await,
        ClientMessage::Correct { item_id, speaker, text } => handle.correct(item_id, speaker, text).await,
        ClientMessage::End => handle.end().await,
        ClientMessage::Audio(_) | ClientMessage::Ping => Ok(()),
    }
}
