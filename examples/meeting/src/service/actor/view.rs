//! Messages: what clients see.

use std::{sync::Arc, time::Duration};

use agent_core::model::realtime::Backlog;

use super::Actor;
use crate::{
    service::analysis::{action_todo, cancelled_action, json},
    wire::{ServerMessage, UpstreamState},
};

impl Actor {
    /// Sends the state of the transcription, if it changed.
    pub(super) fn show_status(&mut self) {
        let Some(upstream) = self.upstream else { return };
        let backlog = self.audio.backlog();
        // What waits for less than a second is no news.
        let rounded = |backlog: Backlog| (backlog.buffered.as_secs(), backlog.dropped.as_millis());
        let is_news =
            self.shown.is_none_or(|(state, before)| state != upstream || rounded(before) != rounded(backlog));
        if is_news {
            self.shown = Some((upstream, backlog));
            self.send(&json(&status(upstream, backlog)));
        }
    }

    pub(super) fn ready(&self) -> ServerMessage {
        let setup = &self.state.setup;
        ServerMessage::Ready {
            meeting_id: self.id.to_string(),
            participants: setup.participants.clone(),
            principles: setup.principles.clone(),
            title: setup.title.clone(),
            language: setup.language.clone(),
            status: self.state.phase.name(),
            planned_minutes: setup.planned_minutes,
        }
    }

    pub(super) fn minutes(&self) -> Option<ServerMessage> {
        Some(ServerMessage::Minutes {
            markdown: self.state.minutes.clone()?,
            decisions: self.state.decisions.clone(),
            action_items: self.state.action_items.clone(),
        })
    }

    /// Returns what happened so far.
    pub(super) fn so_far(&self) -> Vec<Arc<str>> {
        let mut messages = vec![json(&self.ready())];
        messages.extend(self.state.turns.iter().map(|turn| json(&ServerMessage::from(turn))));
        let actions =
            (0..self.state.action_items.len()).filter_map(|number| action_todo(&self.state, number));
        messages.extend(actions.map(|message| json(&message)));
        let remarks = self.state.interventions.iter();
        messages.extend(remarks.map(|(_, remark)| json(&ServerMessage::Intervention(remark.clone()))));
        messages.extend(self.partials.values().map(|partial| json(&partial.message())));
        if let Some(upstream) = self.upstream {
            messages.push(json(&status(upstream, self.audio.backlog())));
        }
        messages.extend(self.minutes().map(|message| json(&message)));
        messages
    }

    /// Sends all action items, of which there were `known` before.
    pub(super) fn send_actions(&mut self, known: usize) {
        for number in 0..self.state.action_items.len().max(known) {
            let message = action_todo(&self.state, number).unwrap_or_else(|| cancelled_action(number));
            self.send(&json(&message));
        }
    }

    /// Sends a message to all clients. One that is too far behind is disconnected; it can join again and misses nothing.
    pub(super) fn send(&mut self, message: &Arc<str>) {
        self.clients.retain(|client| client.try_send(Arc::clone(message)).is_ok());
    }
}

fn status(upstream: UpstreamState, backlog: Backlog) -> ServerMessage {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    ServerMessage::Status { upstream, buffered_ms: ms(backlog.buffered), dropped_ms: ms(backlog.dropped) }
}
