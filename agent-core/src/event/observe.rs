//! Told of every entry that is stored: for those who count, or who act when a run ends, whatever session it is on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    engine::Used,
    ids::{RunId, Seq, SessionId},
    journal::entry::{Entry, Fact},
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
    fn stored(&self, note: &Note<'_>);
}

/// The observer of a runtime, if there is one.
#[derive(Default)]
pub(crate) struct Observed {
    observer: OnceLock<Arc<dyn Observer>>,
    /// The observer panicked, which was logged.
    panicked: AtomicBool,
}

impl Observed {
    /// Sets the observer. `false`: there is one already.
    pub(crate) fn set(&self, observer: Arc<dyn Observer>) -> bool {
        self.observer.set(observer).is_ok()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.observer.get().is_some()
    }

    /// Calls the observer and contains its panics: the caller is the session's writer.
    pub(crate) fn notify(&self, note: &Note<'_>) {
        let Some(observer) = self.observer.get() else { return };
        let notified = catch_unwind(AssertUnwindSafe(|| observer.stored(note)));
        if let Err(panic) = notified
            && !self.panicked.swap(true, Ordering::Relaxed)
        {
            let message = crate::util::panic_message(&*panic);
            tracing::error!(
                session = %note.session, seq = %note.seq, message,
                "an observer panicked; it is still called, and further panics are not logged"
            );
        }
    }
}

/// An entry, as an [`Observer`] is told of it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Note<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// The run.
    pub run: RunId,
    /// The graph of the run that is in memory, or was last; `None`: none was since the session came into memory.
    pub graph: Option<&'a str>,
    /// The entry's number.
    pub seq: Seq,
    /// What happened.
    pub what: Stored<'a>,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Stored<'a> {
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
        used: Used,
    },
    /// A person is asked.
    QuestionAsked,
    /// A person answered.
    QuestionAnswered,
    /// Something else.
    Other,
}

impl<'a> Note<'a> {
    pub(crate) fn of(session: &'a SessionId, graph: Option<&'a str>, entry: &'a Entry) -> Self {
        let what = match &entry.fact {
            Fact::RunAccepted(accepted) => Stored::RunStarted { graph: &accepted.graph },
            Fact::RunResumed(_) => Stored::RunResumed,
            Fact::RunPaused(_) => Stored::RunPaused,
            Fact::RunCompleted(completed) => Stored::RunCompleted { active_ms: completed.active_ms },
            Fact::RunFailed(failure) => Stored::RunFailed { code: &failure.code },
            Fact::RunStopped(_) => Stored::RunStopped,
            Fact::StepRecorded(step) => Stored::Step {
                kind: &step.kind,
                ms: step.ms,
                failed: step.error.is_some(),
                used: step.usage.unwrap_or_default(),
            },
            Fact::QuestionAsked(_) => Stored::QuestionAsked,
            Fact::QuestionAnswered(_) => Stored::QuestionAnswered,
            _ => Stored::Other,
        };
        Self { session, run: entry.run, graph, seq: entry.seq, what }
    }
}
