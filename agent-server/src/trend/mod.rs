//! The sample domain of the task agent: trends in K-beauty reviews. Pure but for [`graph`], which runs it.
//!
//! Read in this order: [`request`] what is asked, [`plan`] what to do about it, [`mod@collect`] which reviews,
//! [`topics`], [`sentiment`] and [`change`] what they say, [`findings`] all of it for a brand, [`report`] what the
//! reader gets; [`prompt`] asks a model to plan and to write instead; [`graph`] does it all. The data is in [`review`] and [`catalogue`].

pub mod agent;
pub mod audience;
pub mod catalogue;
pub mod change;
pub mod collect;
pub mod findings;
pub mod graph;
mod layout;
pub mod period;
pub mod plan;
pub mod prompt;
pub mod report;
pub mod request;
pub mod review;
pub mod sentiment;
pub mod text;
pub mod topics;
mod words;

#[doc(inline)]
pub use self::{
    audience::Audience,
    catalogue::Brand,
    collect::{Collected, collect},
    findings::{BrandFinding, Findings},
    plan::{PlannedTodo, offline_plan},
    report::write_report,
    request::Request,
    review::{Language, Review},
    sentiment::analyse_sentiment,
    topics::analyse_topics,
};
