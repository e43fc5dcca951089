//! Messages in a state: the add-messages reducer on a shared conversation, and generated text.

use std::sync::Arc;

use agent_core::model::{Message, Messages};

/// A message with a known id replaces that message; others are appended.
pub(crate) fn add_messages(list: &mut Messages, new: Messages) {
    let list = list.make_mut();
    for message in &new {
        match list.iter().rposition(|known| known.id == message.id) {
            Some(at) => list[at] = Arc::clone(message),
            None => list.push(Arc::clone(message)),
        }
    }
}

/// One message as an update of a conversation.
pub(crate) fn just(message: Message) -> Messages {
    Messages::from(message)
}

/// About `characters` characters of generated words.
pub(crate) fn words(characters: usize) -> String {
    let mut text = String::with_capacity(characters + 10);
    while text.len() < characters {
        for _ in 0..fastrand::usize(2..9) {
            text.push(fastrand::lowercase());
        }
        text.push(' ');
    }
    text.truncate(characters);
    text
}
