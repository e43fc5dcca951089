//! A live meeting assistant: live transcript, speakers, moderator, minutes.
//!
//! Audio of clients is relayed to a transcription endpoint; transcripts are stored and sent to all clients of the meeting;
//! a triage agent finds decisions, action items and questions, a moderator intervenes, and minutes are written at the end.
//!
//! Read in this order: [`record`] the facts of a meeting, [`state`] their fold, [`store`] the files, [`mod@markdown`] the
//! document, [`wire`] the messages; [`transcribe`] where transcripts come from, [`speaker`] who said them, [`agents`] what is
//! made of them, [`principles`] the rules; [`service`] connects these, one actor for each meeting; [`http`] has the routes;
//! [`demo`] the demonstration; [`hosted`] the agents without a meeting; [`settings`] and [`limits`].

pub mod limits;
pub mod record;
pub mod state;
pub mod markdown;
pub mod store;
pub mod wire;
pub mod principles;
pub mod transcribe;
pub mod speaker;
pub mod agents;
pub mod service;
pub mod http;
pub mod demo;
pub mod hosted;
pub mod settings;
