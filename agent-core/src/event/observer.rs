//! Observers of all journal entries of a runtime, for metrics and for actions at the end of runs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::RwLock;
use serde::Deserialize;

use crate::{
    ids::{RunId, Seq, SessionId},
    journal::entry::{Entry, Fact, Recorded},
    run::BudgetUsage,
};

/// Observer of all journal entries of a runtime; see [`Runtime::observe`](crate::Runtime::observe).
///
/// # Examples
///
/// ```
/// use agent_core::{Runtime, event::{JournalNotice, Observer}};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// #[derive(Default)]
/// struct CountEntries(AtomicU64);
///
/// impl Observer for CountEntries {
///     fn on_entry(&self, _: &JournalNotice<'_>) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let (runtime, entries) = (Runtime::builder().build(), Arc::new(CountEntries::default()));
/// runtime.observe(entries.clone());
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Called for each stored entry, in the order of a session's entries, before subscribers see it. Must not block. The
    /// process that wrote an entry notifies once; after a crash, the last entries may not have been notified.
    ///
    /// Without a store, entries are notified only while the session has subscribers, and those of kind
    /// [`Other`](JournalNoticeKind::Other) only if a subscriber wants them.
    ///
    /// # Panics
    ///
    /// A panic ends this notification only: the run continues and later entries are notified. The first panic of an observer
    /// is logged with its message.
    fn on_entry(&self, notice: &JournalNotice<'_>);
}

/// Holds the observers of a runtime.
#[derive(Default)]
pub(crate) struct ObserverCells {
    observers: RwLock<Vec<Arc<Registered>>>,
    is_set: AtomicBool,
}

struct Registered {
    observer: Box<dyn Observer>,
    /// The observer panicked, which was logged.
    panicked: AtomicBool,
}

/// So that a program can keep an observer.
impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn on_entry(&self, notice: &JournalNotice<'_>) {
        (**self).on_entry(notice);
    }
}

impl ObserverCells {
    pub(crate) fn add(&self, observer: impl Observer) {
        let registered = Registered { observer: Box::new(observer), panicked: AtomicBool::new(false) };
        self.observers.write().push(Arc::new(registered));
        self.is_set.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Calls the observers, in the order of their registration.
    pub(crate) fn notify(&self, notice: &JournalNotice<'_>) {
        // Not called under the lock: an observer may register another one.
        let mut at = 0;
        while let Some(registered) = { self.observers.read().get(at).cloned() } {
            registered.notify(notice);
            at += 1;
        }
    }
}

impl Registered {
    /// Calls the observer and contains its panics: the caller is the session's writer.
    fn notify(&self, notice: &JournalNotice<'_>) {
        let observer = &self.observer;
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

/// A stored entry, as passed to an [`Observer`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct JournalNotice<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// The run.
    pub run: RunId,
    /// The graph of the present or latest run in memory; `None` if there was none since the session was loaded.
    pub graph: Option<&'a str>,
    /// The entry's number.
    pub seq: Seq,
    /// The kind of the entry.
    pub kind: JournalNoticeKind<'a>,
}

/// The kind of the entry.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum JournalNoticeKind<'a> {
    /// A run began.
    RunStarted {
        /// The graph it runs.
        graph: &'a str,
    },
    /// The run continues.
    RunResumed,
    /// The run waits for answers.
    RunPaused,
    /// The run completed.
    RunCompleted {
        /// Time spent running, pauses left out, in milliseconds.
        active_ms: u64,
    },
    /// The run failed.
    RunFailed {
        /// Error code, to branch on.
        code: &'a str,
        /// The same for people; never holds a secret.
        message: &'a str,
    },
    /// The run was stopped.
    RunStopped,
    /// A step inside a node has its result.
    Step {
        /// `step`, `model` or `tool`.
        kind: &'a str,
        /// The name of the tool, or of the model as its endpoint reported it; empty if it is not known or the tool does not
        /// exist.
        name: &'a str,
        /// Duration in milliseconds.
        ms: u64,
        /// Whether it failed. A tool call that failed has a result for the model.
        failed: bool,
        /// Budget usage of the step.
        used: BudgetUsage,
    },
    /// A person is asked.
    QuestionAsked,
    /// A person answered.
    QuestionAnswered,
    /// Something else.
    Other,
}

/// Returns the name in the recorded result of a model or tool call, and whether the call failed. The rest of the result is
/// skipped. A tool that does not exist has no name: the model invented it.
fn name_of(step: &Recorded) -> Option<(&str, bool)> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow, default)]
        model: &'a str,
    }
    #[derive(Deserialize)]
    struct ToolResult<'a> {
        #[serde(borrow)]
        message: Message<'a>,
        /// A `ToolFault`.
        #[serde(borrow, default)]
        fault: Option<&'a str>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow, default)]
        name: &'a str,
    }
    let text = step.value.as_ref()?.get();
    match step.kind.as_str() {
        "model" => serde_json::from_str::<Reply<'_>>(text).ok().map(|reply| (reply.model, false)),
        "tool" => serde_json::from_str::<ToolResult<'_>>(text).ok().map(|result| {
            let name = if result.fault == Some("unknown") { "" } else { result.message.name };
            (name, result.fault.is_some())
        }),
        _ => None,
    }
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
            Fact::RunFailed(failure) => {
                JournalNoticeKind::RunFailed { code: &failure.code, message: &failure.message }
            }
            Fact::RunStopped(_) => JournalNoticeKind::RunStopped,
            Fact::StepRecorded(step) => {
                let (name, failed) = name_of(step).unwrap_or_default();
                JournalNoticeKind::Step {
                    kind: &step.kind,
                    name,
                    ms: step.ms,
                    failed: failed || step.error.is_some(),
                    used: step.usage.unwrap_or_default(),
                }
            }
            Fact::QuestionAsked(_) => JournalNoticeKind::QuestionAsked,
            Fact::QuestionAnswered(_) => JournalNoticeKind::QuestionAnswered,
            _ => JournalNoticeKind::Other,
        };
        Self { session, run: entry.run, graph, seq: entry.seq, kind }
    }
}
