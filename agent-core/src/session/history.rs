//! Places one can go back to: what they are, the state there, a fork from them, an edit in the name of a node.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, value::to_raw_value};

use super::{Session, SessionError, SessionStatus, launch::check_graph};
use crate::{
    engine::{
        RunError,
        plan::{Plan, PlanImage},
        raw_plan, read_state, reroute,
    },
    graph::Graph,
    ids::{RunId, Seq, SessionId},
    journal::{
        Head, JournalStore, Summary,
        entry::{Edited, Entry, Fact, Forked, Stopped},
        fold,
        holes::read_entries,
        image::Image,
    },
    run::RunStatus,
    state::State,
};

/// Entries read at once.
const PAGE: usize = 1_024;

/// A place in a session that one can go back to: behind a committed superstep, an acceptance, an edit or an end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The session.
    pub session: SessionId,
    /// Its number.
    pub seq: Seq,
    /// When it was written, in milliseconds since 1970.
    pub at: i64,
    /// The run.
    pub run: RunId,
    /// Supersteps begun in the run by then.
    pub superstep: u64,
    /// The nodes that are due next.
    pub next: Vec<String>,
}

impl Session {
    pub(super) fn store(&self) -> Result<&Arc<dyn JournalStore>, SessionError> {
        self.shared.store.as_ref().ok_or_else(|| SessionError::CannotResume { session: self.id().clone() })
    }

    /// The end of its journal, its summary and its sizes.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`]; [`SessionError::CannotResume`] without a store.
    pub async fn head(&self) -> Result<Head, SessionError> {
        let head = self.store()?.head(self.id()).await?;
        head.ok_or_else(|| SessionError::NotFound { session: self.id().clone() })
    }

    /// Places behind the number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`]; [`SessionError::CannotResume`] without a store.
    pub async fn history(&self, after: Seq, limit: usize) -> Result<Vec<Checkpoint>, SessionError> {
        let store = self.store()?;
        if store.head(self.id()).await?.is_none() {
            return Err(SessionError::NotFound { session: self.id().clone() });
        }
        let mut after = after;
        let mut found = Vec::new();
        loop {
            let records = store.read(self.id(), after, Seq(u64::MAX >> 1), PAGE).await?;
            for record in &records {
                let entry = Entry::decode(self.id(), record)?;
                let plan = match &entry.fact {
                    Fact::RunAccepted(accepted) => &accepted.plan,
                    Fact::SuperstepCommitted(committed) if committed.of.is_none() => &committed.plan,
                    Fact::StateEdited(edited) => &edited.plan,
                    Fact::RunRolledBack(base) => &base.plan,
                    _ => continue,
                };
                let plan: PlanImage = serde_json::from_str(plan.get()).unwrap_or_default();
                found.push(Checkpoint {
                    session: self.id().clone(),
                    seq: record.seq,
                    at: entry.at,
                    run: entry.run,
                    superstep: plan.superstep,
                    next: plan.due.into_iter().map(|task| task.1).collect(),
                });
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            match records.last() {
                Some(last) if records.len() == PAGE => after = last.seq,
                _ => return Ok(found),
            }
        }
    }

    /// Events between two numbers, oldest first, at most `limit`: the journal as people see it.
    ///
    /// # Errors
    ///
    /// As [`history`](Session::history).
    pub async fn events(&self, after: Seq, limit: usize) -> Result<Vec<crate::Event>, SessionError> {
        let entries = read_entries(&**self.store()?, self.id(), after, limit.min(10_000)).await?;
        Ok(entries.iter().map(|entry| crate::Event::of(self.id(), entry)).collect())
    }

    async fn image_at(&self, seq: Seq) -> Result<Image, SessionError> {
        let store = self.store()?;
        let head = store.head(self.id()).await?;
        let head = head.ok_or_else(|| SessionError::NotFound { session: self.id().clone() })?;
        let nowhere = || SessionError::NoSuchPlace {
            session: self.id().clone(),
            seq,
            first: head.first,
            last: head.last,
        };
        if seq > head.last || seq == Seq::ZERO {
            return Err(nowhere());
        }
        match fold(&**store, self.id(), seq).await {
            Ok(Some(image)) if image.last == seq => Ok(image),
            // Retention removed what the fold would need.
            Ok(_) | Err(crate::journal::StoreError::Corrupt { .. }) => Err(nowhere()),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the session stood at a place: the run of then, its todos, its questions.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchPlace`] and as [`history`](Session::history).
    pub async fn status_at(&self, seq: Seq) -> Result<SessionStatus, SessionError> {
        Ok(self.status_of(self.image_at(seq).await?))
    }

    /// The state as of a place: the last commit at or before `seq`.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchPlace`] and as [`history`](Session::history).
    pub async fn state_at<S: State>(&self, seq: Seq) -> Result<S, SessionError> {
        Ok(read_state::<S>(&self.image_at(seq).await?.root)?)
    }

    /// As [`state_at`](Session::state_at), as JSON.
    ///
    /// # Errors
    ///
    /// See [`state_at`](Session::state_at), and [`SessionError::GraphNotFound`].
    pub async fn state_json_at(&self, seq: Seq) -> Result<Value, SessionError> {
        let image = self.image_at(seq).await?;
        self.shared.graph(&image.graph)?.state_json(&image, None)
    }

    /// A new session that is this one up to and with the entry `seq`. It waits where this one was: resume it, answer
    /// it, edit it, or run it anew. What finished by then is not run again.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchPlace`], [`SessionError::Exists`].
    pub async fn fork(&self, seq: Seq, target: SessionId) -> Result<Session, SessionError> {
        if let Some(live) = self.slot.live() {
            live.env.writer.all_stored().await?;
        }
        let image = self.image_at(seq).await?;
        let store = self.store()?;
        let now = self.shared.clock.now_ms();
        // A run in the middle does not go on by itself in two places.
        let status = if image.status == RunStatus::Running { RunStatus::Stopped } else { image.status };
        let open = if status == RunStatus::Paused { image.open.len() } else { 0 };
        let mut summary = Summary::new(&*image.graph, status.as_str(), image.run, now).questions(open);
        summary.labels = BTreeMap::clone(&image.labels);
        store.copy(self.id(), &target, seq, summary.clone()).await?;
        let fork = crate::session::Runtime(Arc::clone(&self.shared)).session_of(target);
        let _door = fork.slot.door.lock().await;
        fork.slot.forget();
        let (writer, mut resting) = fork.slot.open(&self.shared).await?;
        let mut facts = vec![Fact::SessionForked(Forked { from: self.id().clone(), seq })];
        if image.status == RunStatus::Running {
            let closing = self.closing(&image);
            resting.image.root.close(closing.clone());
            facts.push(Fact::RunStopped(Stopped { drained: false, closing }));
        }
        let last = writer.push_with(image.run, facts, Some(summary))?;
        writer.stored(last).await?;
        resting.image.status = status;
        resting.image.last = last;
        fork.slot.inner.lock().rest = Some(resting);
        drop(_door);
        Ok(fork)
    }

    /// Applies `update` as if `node` had just returned it: a pending activation of the node is replaced by it, and
    /// what follows the node is due. The session then waits for a resume (or its answers).
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] while the run is running; [`SessionError::InvalidInput`] when the node is unknown or
    /// the update is refused. Nothing has changed then.
    pub async fn edit<S: State>(
        &self,
        graph: &Graph<S>,
        node: &str,
        update: S::Update,
    ) -> Result<Seq, SessionError> {
        self.shared.register(graph);
        self.store()?;
        let _door = self.slot.door.lock().await;
        if let Some(live) = self.slot.live() {
            if live.status() != RunStatus::Paused {
                return Err(self.busy(live.run(), live.status()));
            }
            // The futures that wait hold the old state: the journal has all they know.
            live.env.control.drain_for_restart();
            self.wait_gone(&live).await;
        }
        let invalid = |reason: String| SessionError::InvalidInput { graph: graph.name().to_owned(), reason };
        let (writer, resting) = self.slot.open(&self.shared).await?;
        let image = resting.image;
        // Whatever happens now, the next use reads the journal.
        if image.last == Seq::ZERO {
            self.slot.forget();
            return Err(SessionError::NotFound { session: self.id().clone() });
        }
        let prepared = (|| {
            check_graph(graph, &image)?;
            let mut state = match resting.state.and_then(|state| state.downcast::<S>().ok()) {
                Some(state) => super::launch::copy_state(&*state)?,
                None => read_state::<S>(&image.root)?,
            };
            let stored = image.root.plan.clone().unwrap_or_default();
            let plan = Plan::restore(Arc::clone(&graph.0.topology), &stored)
                .map_err(|missing| RunError::GraphChanged { graph: graph.name().to_owned(), missing })?;
            let raw = to_raw_value(&update).map_err(|error| invalid(error.to_string()))?;
            state.apply(update).map_err(|error| invalid(error.to_string()))?;
            let ix = graph.0.index.get(node).copied();
            let ix =
                ix.ok_or_else(|| invalid(format!("it has no node `{}`", crate::text::shorten(node, 128))))?;
            let plan = reroute(graph, &state, plan, ix)?;
            Ok::<_, SessionError>((raw, plan))
        })();
        let (raw, plan) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.slot.forget();
                return Err(error);
            }
        };
        let fact = Fact::StateEdited(Edited {
            node: node.to_owned(),
            version: S::VERSION,
            update: raw,
            plan: raw_plan(&plan),
            graph: graph.name().into(),
            hash: graph.hash().into(),
        });
        let (run, now) = (image.run, self.shared.clock.now_ms());
        let mut after = image;
        after.take(Entry { seq: after.last.next(), at: now, run, fact: fact.clone() });
        let open = if after.status == RunStatus::Paused { after.open.len() } else { 0 };
        let summary = Summary::new(graph.name(), after.status.as_str(), run, now).questions(open);
        let seq = writer.push_with(run, [fact], Some(summary))?;
        self.slot.forget();
        writer.stored(seq).await?;
        Ok(seq)
    }
}
