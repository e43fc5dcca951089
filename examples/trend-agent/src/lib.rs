//! A sample task agent: trends in K-beauty reviews, with its data, prompts and word lists.
//!
//! Read in this order: [`request`] parses a message (with [`period`], [`audience`] and [`product_type`]), [`plan`] makes
//! todos of it, [`mod@collect`] selects reviews, [`topics`], [`sentiment`] and [`change`] analyse them, [`findings`] joins
//! the results for a brand, [`report`] writes the text. With a model, [`prompt`] asks it to read the message and to write,
//! [`extraction`] validates what it read, and [`check`] compares its report with the data. [`graph`] connects these steps.
//! The data is in [`review`] and [`catalogue`]; [`review_search`] offers it as a tool. Only [`graph`] (with its parts `understand`,
//! `writer` and `layout`) and [`review_search`] use `agent-core`; the rest are pure functions.
//!
//! # Examples
//!
//! ```
//! use trend_agent::{Audience, Findings, Request, write_report};
//!
//! let request = Request::parse("Analyse the Laneige reviews");
//! let report = write_report(&Findings::of(&request), Audience::Buyers);
//! assert!(report.contains("Laneige"));
//! ```

pub mod aspect;
pub mod audience;
pub mod catalogue;
pub mod change;
pub mod check;
mod claimed_figures;
pub mod clause;
pub mod collect;
pub mod extraction;
pub mod findings;
pub mod graph;
mod layout;
mod message;
mod negation;
mod opinion;
pub mod period;
pub mod plan;
pub mod product_type;
pub mod prompt;
pub mod report;
pub mod request;
pub mod review;
pub mod review_search;
pub mod sentiment;
pub mod text;
pub mod topics;
mod understand;
mod words;
mod writer;

#[doc(inline)]
pub use self::{
    audience::Audience,
    catalogue::Brand,
    collect::{Collected, collect},
    findings::{BrandFinding, Findings},
    graph::{Desk, trend_graph},
    plan::{PlannedTodo, offline_plan},
    report::write_report,
    request::Request,
    review::{Language, Review},
    review_search::ReviewSearch,
    sentiment::analyse_sentiment,
    topics::analyse_topics,
};

/// The system prompt, as a template, of an assistant with a calculator, a clock and [`ReviewSearch`].
pub const REVIEW_ASSISTANT_PROMPT: &str = include_str!("../prompts/assistant.system.md");
