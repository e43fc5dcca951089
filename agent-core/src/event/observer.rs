//! Told of every entry that is stored: for those who count, or who act when a run ends, whatever session it is on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    ids::{RunId, Seq, SessionId},
    journal::entry::{Entry, Fact},
    run::BudgetUsage,
};

/// Somebody who is told of every entry; see [`Runtime::observe`](crate::Runtime::observe).
pub trait Observer: Send + Sync + 'static {
    /// An entry was stored. Called in the order of a session's entries, between the store and the subscribers: be quick,
    /// and do not block. An entry is told once by the process that wrote it; after a crash it may be that nobody told of
    /// the last ones.
    ///
    /// Without a store, entries are told only while somebody watches the session.
    ///
    /// # Panics
    ///
    /// A panic ends this notification and nothing else: the run goes on, and later entries are notified as well. The
    /// first panic of an observer is logged with its message.
    fn on_entry(&self, notice: &JournalNotice<'_>);
}

/// The observer of a runtime, if there is one.
#[derive(Default)]
pub(crate) struct ObserverCell {
    observer: OnceLock<Arc<dyn Observer>>,
    /// The observer panicked, which was logged.
    panicked: AtomicBool,
}

impl ObserverCell {
    /// Sets the observer. `false`: there is one already.
    pub(crate) fn set(&self, observer: Arc<dyn Observer>) -> bool {
        self.observer.set(observer).is_ok()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.observer.get().is_some()
    }

    /// Calls the observer and contains its panics: the caller is the session's writer.
    pub(crate) fn notify(&self, notice: &JournalNotice<'_>) {
        let Some(observer) = self.observer.get() else { return };
        let notified = catch_unwind(AssertUnwindSafe(|| observer.on_entry(notice)));
        if let Err(panic) = notified
            && !self.panicked.swap(true, Ordering::Relaxed)
        {
            let message = crate::util::panic_message(&*panic);
            tracing::error!(
                session = %notice.session, seq = %notice.seq, message,
                "an observer panicked; it is still called, and further panics are not logged"
            );
        }
    }
}

/// An entry, as an [`Observer`] is told of it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct JournalNotice<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// The run.
    pub run: RunId,
    /// The graph of the run that is in memory, or was last; `None`: none was since the session came into memory.
    pub graph: Option<&'a str>,
    /// The entry's number.
    pub seq: Seq,
    /// What happened.
    pub kind: JournalNoticeKind<'a>,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum JournalNoticeKind<'a> {
    /// A run began.
    RunStarted {
        /// The graph it runs.
        graph: &'a str,
    },
    /// It goes on.
    RunResumed,
    /// It waits for a person.
    RunPaused,
    /// It reached its end.
    RunCompleted {
        /// Time spent running, pauses left out, in milliseconds.
        active_ms: u64,
    },
    /// It failed.
    RunFailed {
        /// What went wrong, to branch on.
        code: &'a str,
    },
    /// It was stopped.
    RunStopped,
    /// A step inside a node has its result.
    Step {
        /// `step`, `model` or `tool`.
        kind: &'a str,
        /// How long it took, in milliseconds.
        ms: u64,
        /// Whether it failed.
        failed: bool,
        /// What it used up.
        used: BudgetUsage,
    },
    /// A person is asked.
    QuestionAsked,
    /// A person answered.
    QuestionAnswered,
    /// Something else.
    Other,
}

impl<'a> JournalNotice<'a> {
    pub(crate) fn of(session: &'a SessionId, graph: Option<&'a str>, entry: &'a Entry) -> Self {
        let kind = match &entry.fact {
            Fact::RunAccepted(accepted) => JournalNoticeKind::RunStarted { graph: &accepted.graph },
            Fact::RunResumed(_) => JournalNoticeKind::RunResumed,
            Fact::RunPaused(_) => JournalNoticeKind::RunPaused,
            Fact::RunCompleted(completed) => {
                JournalNoticeKind::RunCompleted { active_ms: completed.active_ms }
            }
            Fact::RunFailed(failure) => JournalNoticeKind::RunFailed { code: &failure.code },
            Fact::RunStopped(_) => JournalNoticeKind::RunStopped,
            Fact::StepRecorded(step) => JournalNoticeKind::Step {
                kind: &step.kind,
                ms: step.ms,
                failed: step.error.is_some(),
                used: step.usage.unwrap_or_default(),
            },
            Fact::QuestionAsked(_) => JournalNoticeKind::QuestionAsked,
            Fact::QuestionAnswered(_) => JournalNoticeKind::QuestionAnswered,
            _ => JournalNoticeKind::Other,
        };
        Self { session, run: entry.run, graph, seq: entry.seq, kind }
    }
}
