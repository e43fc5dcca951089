//! One session of the in-memory store: entries, snapshots, lease, summary.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::super::store::{Epoch, Head, Lease, OwnerId, Record, StoreError, StoredSnapshot, Summary};
use crate::{
    clock::millis,
    ids::{Seq, SessionId},
    run::RunStatus,
};

#[derive(Default)]
pub(super) struct Session {
    /// The body of entry `first + i` is at index `i`.
    bodies: VecDeque<Box<[u8]>>,
    /// Number of trimmed entries.
    trimmed: u64,
    journal_bytes: u64,
    snapshots: BTreeMap<Seq, Box<[u8]>>,
    snapshot_bytes: u64,
    pub(super) epoch: Epoch,
    holder: Option<Holder>,
    pub(super) summary: Summary,
}

/// Index values of a session.
#[derive(Clone, Copy, Default)]
pub(super) struct Indexed {
    pub(super) running: bool,
    pub(super) due: Option<i64>,
}

struct Holder {
    owner: OwnerId,
    expires: i64,
}

impl Session {
    pub(super) fn indexed(&self) -> Indexed {
        Indexed { running: self.summary.status == RunStatus::Running.as_str(), due: self.summary.due }
    }

    fn first(&self) -> Seq {
        Seq(self.trimmed + 1)
    }

    pub(super) fn last(&self) -> Seq {
        Seq(self.trimmed + self.bodies.len() as u64)
    }

    pub(super) fn head(&self) -> Head {
        Head::new(
            self.last(),
            self.first(),
            self.epoch,
            self.summary.clone(),
            self.journal_bytes,
            self.snapshot_bytes,
        )
    }

    pub(super) fn append(
        &mut self,
        session: &SessionId,
        epoch: Epoch,
        expected: Seq,
        records: Vec<Record>,
        summary: Option<Summary>,
    ) -> Result<(), StoreError> {
        if epoch != self.epoch {
            return Err(StoreError::StaleWriter { session: session.clone(), epoch, current: self.epoch });
        }
        let last = self.last();
        if expected != last {
            return Err(StoreError::Conflict { session: session.clone(), expected, last });
        }
        for record in records {
            self.journal_bytes += record.body.len() as u64;
            self.bodies.push_back(record.body.into_boxed_slice());
        }
        if let Some(summary) = summary {
            self.summary = summary;
        }
        Ok(())
    }

    pub(super) fn acquire(
        &mut self,
        session: &SessionId,
        owner: &OwnerId,
        now: i64,
        ttl: Duration,
        floor: u64,
    ) -> Result<Lease, StoreError> {
        if let Some(holder) = &self.holder
            && holder.owner != *owner
            && holder.expires > now
        {
            return Err(StoreError::Leased { session: session.clone(), owner: holder.owner.0.clone() });
        }
        self.epoch = Epoch(self.epoch.0.max(floor) + 1);
        self.holder = Some(Holder { owner: owner.clone(), expires: now.saturating_add(millis(ttl)) });
        Ok(Lease::new(owner.clone(), self.epoch))
    }

    /// Extends the lease of `owner`, if it holds one.
    pub(super) fn renew(&mut self, owner: &OwnerId, expires: i64) {
        if let Some(holder) = &mut self.holder
            && holder.owner == *owner
        {
            holder.expires = expires;
        }
    }

    pub(super) fn release(&mut self, lease: &Lease) {
        if self.epoch == lease.epoch {
            self.holder.take_if(|holder| holder.owner == lease.owner);
        }
    }

    /// Returns the index of the first body with a number above `after`.
    fn index_after(&self, after: Seq) -> usize {
        usize::try_from(after.0.saturating_sub(self.trimmed)).unwrap_or(usize::MAX).min(self.bodies.len())
    }

    pub(super) fn read(&self, after: Seq, upto: Seq, limit: usize) -> Vec<Record> {
        let (start, end) = (self.index_after(after), self.index_after(upto));
        if start >= end {
            return Vec::new();
        }
        let numbered = (self.trimmed + 1 + start as u64..).map(Seq);
        let bodies = self.bodies.range(start..end).take(limit);
        numbered.zip(bodies).map(|(seq, body)| Record::new(seq, body.to_vec())).collect()
    }

    pub(super) fn put_snapshot(
        &mut self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> Result<(), StoreError> {
        let last = self.last();
        if snapshot.seq > last {
            return Err(StoreError::Conflict { session: session.clone(), expected: snapshot.seq, last });
        }
        self.snapshot_bytes += snapshot.body.len() as u64;
        if let Some(replaced) = self.snapshots.insert(snapshot.seq, snapshot.body.into_boxed_slice()) {
            self.snapshot_bytes -= replaced.len() as u64;
        }
        Ok(())
    }

    pub(super) fn snapshot(&self, upto: Seq) -> Option<StoredSnapshot> {
        let (seq, body) = self.snapshots.range(..=upto).next_back()?;
        Some(StoredSnapshot::new(*seq, body.to_vec()))
    }

    pub(super) fn trim(&mut self, before: Seq) {
        let Some((&kept, _)) = self.snapshots.range(..=before).next_back() else { return };
        let gone = self.index_after(kept);
        self.journal_bytes -= self.bodies.drain(..gone).map(|body| body.len() as u64).sum::<u64>();
        self.trimmed += gone as u64;
        self.bodies.shrink_to_fit();
        let newer = self.snapshots.split_off(&kept);
        self.snapshot_bytes -= self.snapshots.values().map(|body| body.len() as u64).sum::<u64>();
        self.snapshots = newer;
    }

    pub(super) fn copied(&self, source: &SessionId, upto: Seq) -> Result<Self, StoreError> {
        // The snapshot at `trimmed` is always there; anything between it and the start is not.
        if (1..self.trimmed).contains(&upto.0) {
            return Err(StoreError::Trimmed { session: source.clone(), upto, first: self.first() });
        }
        let bodies: VecDeque<_> = self.bodies.range(..self.index_after(upto)).cloned().collect();
        let snapshots: BTreeMap<_, _> =
            self.snapshots.range(..=upto).map(|(seq, body)| (*seq, body.clone())).collect();
        Ok(Self {
            journal_bytes: bodies.iter().map(|body| body.len() as u64).sum(),
            snapshot_bytes: snapshots.values().map(|body| body.len() as u64).sum(),
            trimmed: self.trimmed.min(upto.0),
            bodies,
            snapshots,
            ..Self::default()
        })
    }
}
