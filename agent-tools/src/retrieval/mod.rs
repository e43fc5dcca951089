//! Retrieval: documents are loaded, split, embedded into the long-term memory, and searched by a tool.
//!
//! [`Documents`] is the collection, [`load`] reads files as text, [`split`](splitter::split) cuts them into passages.
//!
#![doc = include_str!("guide.md")]

mod documents;
pub mod load;
mod search_tool;
pub mod splitter;

pub use self::{
    documents::{Documents, IndexReport, Passage, RetrievalError, UnreadableFile},
    search_tool::SearchDocuments,
};
