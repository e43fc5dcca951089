//! Transcription: what the upstream reports becomes turns.

use agent_core::model::realtime::{ConnectionState, RealtimeEvent, RefusedReason};

use super::{Actor, LOGGED, PARTIALS};
use crate::{
    limits::{self, cut},
    markdown,
    record::{Record, Setup, SpeakerSource, Turn},
    service::{analysis::json, blocking},
    speaker::{IdentifySpeaker, Speakers, Utterance},
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
                self.upstream = Some(match state {
                    ConnectionState::Connected => UpstreamState::Connected,
                    ConnectionState::Reconnecting => UpstreamState::Reconnecting,
                    ConnectionState::Lost(reason) => {
                        self.lost(reason);
                        UpstreamState::Lost
                    }
                });
                self.show_status();
            }
            RealtimeEvent::Delta { item, text } => {
                if self.partials.len() >= PARTIALS && !self.partials.contains_key(&item) {
                    self.partials.clear();
                }
                let partial = self.partials.entry(item.clone()).or_default();
                if partial.len() < limits::TEXT_CHARS {
                    partial.push_str(&text);
                }
                let text = partial.clone();
                self.send(&json(&ServerMessage::TranscriptPartial { item_id: item, text }));
            }
            RealtimeEvent::Completed { item, text, span } => {
                self.partials.remove(&item);
                let (start, start_ms) = self.audio.place(span.start);
                let (end, end_ms) = self.audio.place(span.end);
                self.said(item, &text, (start, end), (start_ms, end_ms)).await;
            }
            RealtimeEvent::Failed { item, code, .. } => {
                self.partials.remove(&item);
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
            return;
        }
        tracing::info!("=== TRANSCRIPT RECEIVED: '{}' ===", cut(&text, LOGGED));
        if self.state.turns.len() >= limits::TURNS {
            self.send(&json(&ServerMessage::from(&ClientFault::TooLarge("it has too many turns"))));
            return;
        }
        let (speaker, confidence, source, voice) = self.identify(samples).await;
        // Ids of another session may be the same.
        let mut item_id = item.clone();
        for number in 2.. {
            if self.state.turn(&item_id).is_none() {
                break;
            }
            item_id = format!("{item}-{number}");
        }
        let (start_ms, end_ms) = ms;
        let turn = Turn { item_id, speaker, confidence, text, start_ms, end_ms, source, voice };
        let line = markdown::turn_line(&self.state, &turn);
        let message = json(&ServerMessage::from(&turn));
        let mut stored = self.store(vec![Record::Said(turn)]).await;
        if stored.is_ok() {
            stored = self.write_markdown(Some(line)).await;
        }
        match stored {
            Ok(()) => {
                tracing::info!("Sending transcript to frontend for meeting: {}", self.id);
                self.send(&message);
                tracing::info!("Transcript sent successfully");
            }
            Err(fault) => self.send(&json(&ServerMessage::from(&fault))),
        }
        self.analyse();
    }

    pub(super) async fn identify(
        &mut self,
        samples: (u64, u64),
    ) -> (Option<String>, f32, SpeakerSource, Option<usize>) {
        let Some(mut speakers) = self.speakers.take() else {
            return (None, 0.0, SpeakerSource::Unknown, None);
        };
        let audio = self.audio.audio(samples.0, samples.1);
        let identify = blocking(move || {
            let found = speakers.identify(Utterance { start: samples.0, end: samples.1, audio: &audio });
            Ok((speakers, found))
        });
        match identify.await {
            Ok((speakers, found)) => {
                self.speakers = Some(speakers);
                match found {
                    Some(found) => (Some(found.speaker), found.confidence, found.source, found.voice),
                    None => (None, 0.0, SpeakerSource::Unknown, None),
                }
            }
            Err(_) => {
                self.speakers = Some(Speakers::default());
                (None, 0.0, SpeakerSource::Unknown, None)
            }
        }
    }

    pub(super) fn transcription_ended(&mut self) {
        self.transcriber = None;
        self.audio.closed();
        self.partials.clear();
        if self.ending {
            self.analyse();
        }
    }
}
