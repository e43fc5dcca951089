//! HTTP by itself: connections, the table of paths, what a handler gets and gives. Knows no contract.

pub(crate) mod accept;
pub(crate) mod budget;
pub(crate) mod call;
pub(crate) mod cors;
pub(crate) mod host;
pub(crate) mod inbound;
pub(crate) mod line;
pub(crate) mod patience;
pub(crate) mod proxy;
pub(crate) mod reply;
pub(crate) mod routes;
pub(crate) mod service;
pub(crate) mod trace;
