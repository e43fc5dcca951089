//! Nodes of a turn.

mod check;
mod crisis;
mod generate;
mod recall;
mod save;

pub(crate) use self::{check::check, crisis::crisis, generate::generate, recall::recall, save::save};
