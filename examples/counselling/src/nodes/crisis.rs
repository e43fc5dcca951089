//! `crisis`: recognises talk of self-harm in what the client said.

use agent_core::{Context, Result};
use serde_json::json;

use crate::{
    desk::Desk,
    turn::{Turn, TurnUpdate},
};

pub(crate) async fn crisis(turn: &Turn, cx: &Context) -> Result<TurnUpdate> {
    let desk = cx.get::<Desk>()?;
    let crisis = desk.help_lines.is_crisis(&turn.message);
    if crisis {
        cx.emit("crisis", json!({"recognised_by": "rules"}))?;
    }
    Ok(Turn::update().crisis(crisis))
}
