//! A voice-counselling back end: the browser turns speech into text and text into speech, this side answers.
//!
//! Read in this order: [`protocol`] the messages of the WebSocket, `connection` one client, [`turn`] the graph of an answer
//! (recall, crisis check, generate and check in parallel, save), `nodes` its nodes, `link` the channels between a connection
//! and the nodes of its run, [`safety`] what the counsellor must not say, [`crisis`] help lines, [`prompt`] the prompts,
//! [`history`] conversations in PostgreSQL or the embedded store, [`model`] the model and its failures, [`offline`] the
//! counsellor without a model, [`service`] the routes of the server, [`settings`] the settings of the binary.

mod connection;
pub mod crisis;
mod desk;
pub mod emotion;
pub mod history;
mod link;
pub mod model;
mod nodes;
pub mod offline;
mod page;
pub mod prompt;
pub mod protocol;
pub mod safety;
mod saver;
pub mod service;
pub mod settings;
pub mod turn;

pub use self::{
    emotion::Emotion,
    history::{Conversations, Exchange},
    prompt::Language,
    service::{Counselling, Stores},
    settings::Settings,
};
