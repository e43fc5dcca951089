//! `recall`: reads the latest exchanges.

use agent_core::{Context, Result};

use crate::{
    desk::Desk,
    history::RECENT,
    turn::{Turn, TurnUpdate},
};

/// If the store does not respond, the answer is generated without the history: a client who speaks is not refused.
pub(crate) async fn recall(turn: &Turn, cx: &Context) -> Result<TurnUpdate> {
    let desk = cx.get::<Desk>()?;
    let session = cx.session();
    let mut history = match desk.conversations.recent(session.as_str()).await {
        Ok(history) => history,
        Err(error) => {
            tracing::error!("[AI Error] session={session}, error=the history cannot be read: {error}");
            Vec::new()
        }
    };
    history.extend(turn.unsaved.iter().cloned());
    history.sort_by_key(|exchange| exchange.timestamp);
    let history = history.split_off(history.len().saturating_sub(RECENT));
    Ok(Turn::update().history(history))
}
