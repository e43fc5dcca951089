//! Transcription: what the upstream reports becomes turns.

use agent_core::model::realtime::{ConnectionState, RealtimeEvent, RefusedReason};

use super::{Actor, LOGGED, PARTIALS, Partial};
use crate::{
    limits::{self, cut},
    markdown,
    record::{Record, Setup, SpeakerSource, Turn},
    service::{Counts, analysis::json, blocking},
    speaker::{Identified, IdentifySpeaker, Utterance},
    state::Phase,
    transcribe::Transcriber,
    wire::{ClientFault, ServerMessage, UpstreamState},
};

impl Actor {
    pub(super) async fn opened(&mut self, transcriber: Transcriber) {
        self.transcriber = Some(transcriber);
        if self.state.phase == Phase::New {
            let record = Record::Started { at: self.now(), setup: Setup::default() };
            if let Err(fault) = self.store(vec![record]).await {
                self.send(&json(&ServerMessage::from(&fault)));
                return;
            }
            if let Err(fault) = self.write_markdown(None).await {
                self.send(&json(&ServerMessage::from(&fault)));
            }
            self.send(&json(&self.ready()));
        }
    }

    pub(super) async fn heard(&mut self, event: RealtimeEvent) {
        match event {
            RealtimeEvent::Connection { state, .. } => {
                if state != ConnectionState::Connected {
                    // What was not transcribed is sent again and gets other ids.
                    self.remove_partials();
                }
                self.upstream = Some(match state {
                    ConnectionState::Connected => UpstreamState::Connected,
                    ConnectionState::Reconnecting => {
                        Counts::add(&self.meetings.0.counts.reconnections, 1);
                        UpstreamState::Reconnecting
                    }
                    ConnectionState::Lost(reason) => {
                        self.lost(reason);
                        UpstreamState::Lost
                    }
                });
                self.show_status();
            }
            RealtimeEvent::Delta { item, text } => {
                if self.partials.len() >= PARTIALS && !self.partials.contains_key(&item) {
                    self.remove_partials();
                }
                if !self.partials.contains_key(&item) {
                    let item_id = self.unused_id(&item);
                    self.partials.insert(item.clone(), Partial { item_id, text: String::new() });
                }
                let Some(partial) = self.partials.get_mut(&item) else { return };
                if partial.text.len() < limits::TEXT_CHARS {
                    partial.text.push_str(&text);
                }
                let message = partial.message();
                self.send(&json(&message));
            }
            RealtimeEvent::Completed { item, text, span } => {
                let (start, start_ms) = self.audio.place(span.start);
                let (end, end_ms) = self.audio.place(span.end);
                self.said(item, &text, (start, end), (start_ms, end_ms)).await;
            }
            RealtimeEvent::Failed { item, code, .. } => {
                self.remove_partial(&item);
                tracing::warn!(meeting = %self.id, code, "an utterance could not be transcribed");
                let fault = ClientFault::Transcription("an utterance could not be transcribed".to_owned());
                self.send(&json(&ServerMessage::from(&fault)));
            }
            RealtimeEvent::Error { code } => {
                tracing::warn!(meeting = %self.id, code, "the transcription endpoint reported an error");
            }
            _ => {}
        }
    }

    pub(super) fn lost(&mut self, reason: RefusedReason) {
        tracing::error!(meeting = %self.id, "{}", reason.message());
        let fault = ClientFault::Transcription(reason.message().to_owned());
        self.send(&json(&ServerMessage::from(&fault)));
    }

    /// An utterance was transcribed.
    pub(super) async fn said(&mut self, item: String, text: &str, samples: (u64, u64), ms: (u64, u64)) {
        let text = cut(text.trim(), limits::TEXT_CHARS).to_owned();
        if text.is_empty() {
            self.remove_partial(&item);
            return;
        }
        tracing::info!("=== TRANSCRIPT RECEIVED: '{}' ===", cut(&text, LOGGED));
        if self.state.turns.len() >= limits::TURNS {
            self.remove_partial(&item);
            self.send(&json(&ServerMessage::from(&ClientFault::TooLarge("it has too many turns"))));
            return;
        }
        let found = self.identify(samples).await;
        let (voice, print) = found.as_ref().map_or((None, None), |found| (found.voice, found.print.clone()));
        let (speaker, confidence, source) = match found {
            Some(found) => (Some(found.speaker), found.confidence, found.source),
            None => (None, 0.0, SpeakerSource::Unknown),
        };
        let item_id = match self.partials.remove(&item) {
            Some(partial) => partial.item_id,
            None => self.unused_id(&item),
        };
        let (start_ms, end_ms) = ms;
        let turn = Turn { item_id, speaker, confidence, text, start_ms, end_ms, source, voice, print };
        let line = markdown::turn_line(&self.state, &turn);
        let message = json(&ServerMessage::from(&turn));
        let mut stored = self.store(vec![Record::Said(turn)]).await;
        if stored.is_ok() {
            stored = self.write_markdown(Some(line)).await;
        }
        match stored {
            Ok(()) => {
                Counts::add(&self.meetings.0.counts.transcripts, 1);
                tracing::info!("Sending transcript to frontend for meeting: {}", self.id);
                self.send(&message);
                tracing::info!("Transcript sent successfully");
            }
            Err(fault) => self.send(&json(&ServerMessage::from(&fault))),
        }
        self.analyse();
    }

    /// Returns an id that no turn has: ids of another session with the endpoint may be the same.
    fn unused_id(&self, item: &str) -> String {
        let free = |id: &String| self.state.turn(id).is_none();
        let plain = item.to_owned();
        if free(&plain) {
            return plain;
        }
        (2_u64..).map(|number| format!("{item}-{number}")).find(free).unwrap_or(plain)
    }

    /// Removes the partial transcript of an utterance that gets no final one.
    fn remove_partial(&mut self, item: &str) {
        if let Some(mut partial) = self.partials.remove(item) {
            partial.text.clear();
            self.send(&json(&partial.message()));
        }
    }

    fn remove_partials(&mut self) {
        for item in self.partials.keys().cloned().collect::<Vec<_>>() {
            self.remove_partial(&item);
        }
    }

    async fn identify(&mut self, samples: (u64, u64)) -> Option<Identified> {
        self.read_marks();
        let mut speakers = self.speakers.take()?;
        let audio = self.audio.audio(samples.0, samples.1);
        let identify = blocking(move || {
            let found = speakers.identify(Utterance { start: samples.0, end: samples.1, audio: &audio });
            Ok((speakers, found))
        });
        let (speakers, found) = identify.await.unwrap_or_default();
        self.speakers = Some(speakers);
        found
    }

    pub(super) fn transcription_ended(&mut self) {
        self.transcriber = None;
        if self.audio.closed() {
            (self.upstream, self.shown) = (None, None);
        }
        self.remove_partials();
        if self.ending {
            self.analyse();
        }
    }
}
