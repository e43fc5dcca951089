//! `save`: saves the exchange after the answer was sent. What cannot be saved is kept in the state and saved later.

use std::time::Duration;

use agent_core::{Context, Result};

use crate::{
    Exchange,
    desk::Desk,
    history::{HistoryError, SaveMode},
    turn::{Turn, TurnUpdate},
};

/// Waits before the second and third attempt.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];
/// Unsaved exchanges that are kept; of more, the oldest are lost.
const KEPT: usize = 100;

pub(crate) async fn save(turn: &Turn, cx: &Context) -> Result<TurnUpdate> {
    let desk = cx.get::<Desk>()?;
    let session = cx.session().as_str();
    let mut pending: Vec<(Exchange, SaveMode)> =
        turn.unsaved.iter().map(|exchange| (exchange.clone(), SaveMode::Again)).collect();
    if !turn.message.is_empty() && !turn.answer.is_empty() {
        // An earlier process, which died in this node, may have saved it.
        let first = turn.link.is_empty() || turn.link.starts_with(&desk.process);
        let mode = if first { SaveMode::First } else { SaveMode::Again };
        pending.push((exchange(turn), mode));
    }
    let mut unsaved: Vec<Exchange> = Vec::new();
    for (exchange, mode) in pending {
        // One after the other: the order of `id` is the order of the conversation.
        if !unsaved.is_empty() {
            unsaved.push(exchange);
        } else if let Err(error) = attempt(&desk, session, &exchange, mode).await {
            tracing::error!(
                "[AI Error] session={session}, error=the exchange cannot be saved and is saved later: {error}"
            );
            unsaved.push(exchange);
        }
    }
    let lost = unsaved.len().saturating_sub(KEPT);
    if lost > 0 {
        tracing::error!("[AI Error] session={session}, error={lost} unsaved exchange(s) are lost");
        unsaved.drain(..lost);
    }
    if !unsaved.is_empty() {
        // When the queue is full, the next turn or connection of the session saves it.
        desk.unsaved.try_send(session.to_owned()).ok();
    }
    Ok(Turn::update().unsaved(unsaved))
}

fn exchange(turn: &Turn) -> Exchange {
    Exchange {
        user_message: turn.message.clone(),
        ai_response: turn.answer.clone(),
        emotion: turn.emotion.clone(),
        timestamp: turn.timestamp,
    }
}

async fn attempt(
    desk: &Desk,
    session: &str,
    exchange: &Exchange,
    mode: SaveMode,
) -> std::result::Result<(), HistoryError> {
    let mut result = desk.conversations.save(session, exchange, mode).await;
    for wait in WAITS {
        match &result {
            Ok(()) => break,
            // Its row could not be created when the client connected.
            Err(HistoryError::NoSession) if !desk.require_session => {
                desk.conversations.create_session(session).await?;
            }
            Err(HistoryError::NoSession) => {
                tracing::warn!(
                    "session={session} was deleted, and with it its conversation; an exchange is dropped"
                );
                return Ok(());
            }
            Err(_) => tokio::time::sleep(wait).await,
        }
        result = desk.conversations.save(session, exchange, SaveMode::Again).await;
    }
    result
}
