//! Checks before a run is accepted.

use super::{RunOptions, Session, SessionError, options::name_of};
use crate::{
    ids::{RunId, Seq},
    journal::{projection::Projection, store::is_label},
};
use std::collections::BTreeMap;

/// Limits of labels: their number, and the bytes of a value.
const LABELS: usize = 16;
const LABEL_VALUE: usize = 512;

impl Session {
    /// Returns the error for a graph that cannot read the state of another graph.
    pub(super) fn check_graph_name(&self, projection: &Projection, wanted: &str) -> Option<SessionError> {
        (!projection.graph.is_empty() && *projection.graph != *wanted).then(|| SessionError::OtherGraph {
            session: self.id().clone(),
            graph: projection.graph.to_string(),
            wanted: wanted.to_owned(),
        })
    }

    /// Fails if a request of this name was accepted before.
    pub(super) fn check_request(
        &self,
        options: &RunOptions,
        known: &[(String, RunId)],
    ) -> Result<(), SessionError> {
        let Some(request) = &options.request else { return Ok(()) };
        let inner = self.cell.inner.lock();
        let queued = inner.queue.requests_until(Seq(u64::MAX));
        let known = known.iter().map(|(known, run)| (known.as_str(), *run));
        match known.chain(queued).find(|(known, _)| name_of(known) == name_of(request)) {
            Some((known, run)) if known == request => {
                Err(SessionError::SameRequest { session: self.id().clone(), run })
            }
            Some((_, run)) => Err(SessionError::RequestDiffers { session: self.id().clone(), run }),
            None => Ok(()),
        }
    }

    /// Fails if labels would change or exceed the limits.
    pub(super) fn check_labels(
        &self,
        options: &RunOptions,
        known: &BTreeMap<String, String>,
    ) -> Result<(), SessionError> {
        let session = self.id();
        for (name, value) in &options.labels {
            match known.get(name) {
                Some(known) if known == value => {}
                Some(_) => {
                    return Err(SessionError::LabelDiffers { session: session.clone(), label: name.clone() });
                }
                None if !is_label(name) || value.len() > LABEL_VALUE => {
                    return Err(SessionError::TooManyLabels { session: session.clone() });
                }
                None => {}
            }
        }
        let fresh = options.labels.keys().filter(|name| !known.contains_key(*name)).count();
        if fresh > 0 && known.len() + fresh > LABELS {
            return Err(SessionError::TooManyLabels { session: session.clone() });
        }
        Ok(())
    }

    pub(super) fn check_open(&self) -> Result<(), SessionError> {
        if self.shared.closing.load(std::sync::atomic::Ordering::Acquire) {
            return Err(SessionError::ShuttingDown);
        }
        let limit = self.shared.options.max_runs;
        if self.shared.runs.len() >= limit {
            return Err(SessionError::TooManyRuns { limit });
        }
        Ok(())
    }
}
