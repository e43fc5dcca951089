//! Replay of a recorded run against the present graph: the results of its steps, model calls and tool calls and its answers
//! come from the journal, and nothing else is executed.
//!
//! The records of the run are copied into a journal in memory, without what the graph computed from them. The present graph
//! then resumes that run, and what it computes is compared.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, value::to_raw_value};

use super::{Runtime, Session, SessionError, takeover::Takeover};
use crate::{
    engine::ReplayedRun,
    event::{Event, EventBody},
    ids::{RunId, Seq, SessionId, TaskId},
    journal::{
        Append, Epoch, InMemoryJournal, JournalStore, Summary,
        dedup::read_entries,
        entry::{Base, Entry, Fact},
    },
    run::RunStatus,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Result of [`Session::replay`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ReplayReport {
    /// The session.
    pub session: SessionId,
    /// The run that was replayed: the latest one of the session.
    pub run: RunId,
    /// Its graph.
    pub graph: String,
    /// Number of finished tasks that were compared.
    pub tasks: usize,
    /// Where the present graph behaves differently; empty if nowhere.
    pub differences: Vec<ReplayDifference>,
}

/// A difference between a recorded run and its replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplayDifference {
    /// A step, model call or tool call that is not in the recording. It was not executed.
    Unrecorded {
        /// The task that requested it.
        task: String,
        /// Key of the step.
        key: String,
    },
    /// A task has another update, or only one of both runs has the task.
    Task {
        /// The task.
        task: String,
        /// Its recorded update; `None` if it is not in the recording.
        recorded: Option<Value>,
        /// Its update in the replay; `None` if it was not executed.
        replayed: Option<Value>,
    },
    /// The run ended in another way.
    Outcome {
        /// Recorded status.
        recorded: String,
        /// Status of the replay, or the error with its place.
        replayed: String,
    },
}

impl fmt::Display for ReplayDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| match value {
            Some(value) => crate::util::shorten(&value.to_string(), 200),
            None => "not executed".to_owned(),
        };
        match self {
            Self::Unrecorded { task, key } => write!(f, "{task}: `{key}` is not in the recording"),
            Self::Task { task, recorded, replayed } => {
                write!(f, "{task}: recorded {}, replayed {}", text(recorded), text(replayed))
            }
            Self::Outcome { recorded, replayed } => {
                write!(f, "the run: recorded {recorded}, replayed {replayed}")
            }
        }
    }
}

/// What a replay requests that is not in the recording, and what it needs of the recording besides the records of tasks.
#[derive(Debug, Default)]
pub(crate) struct ReplayLog {
    unrecorded: Mutex<Vec<(Arc<TaskId>, String)>>,
    /// In dataflow mode, the tasks in the order of their commits.
    commits: Vec<Arc<TaskId>>,
}

impl ReplayLog {
    fn of(recording: &Recording) -> Self {
        let committed = |entry: &Entry| match &entry.fact {
            Fact::TaskCommitted(committed) => Some(Arc::clone(&committed.task)),
            _ => None,
        };
        Self { commits: recording.entries.iter().filter_map(committed).collect(), ..Self::default() }
    }
}

impl ReplayedRun for ReplayLog {
    fn unrecorded(&self, task: &Arc<TaskId>, key: &str) {
        self.unrecorded.lock().push((Arc::clone(task), key.to_owned()));
    }

    fn commits(&self, parent: Option<&TaskId>) -> VecDeque<u64> {
        let of_frame = |task: &&Arc<TaskId>| task.parent().map(|parent| &**parent) == parent;
        self.commits.iter().filter(of_frame).map(|task| task.number()).collect()
    }
}

/// A recorded run.
struct Recording {
    run: RunId,
    graph: Arc<str>,
    /// The entry that accepted it.
    accepted: Seq,
    status: RunStatus,
    entries: Vec<Entry>,
}

impl Session {
    /// Replays the latest run of the session with the graph that the runtime has under its name, and reports where that graph
    /// behaves differently from the recording. The session is not changed.
    ///
    /// Results of steps, model calls and tool calls, answers and steering messages are those of the journal. A step, model
    /// call or tool call that is not recorded is not executed and is a difference. Code of nodes outside of steps is executed.
    /// Compared are the updates of all tasks and the outcome; a changed prompt alone is no difference, because the recorded
    /// answer is used. Of a run that was stopped or failed, only the tasks that finished are compared.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`], [`SessionError::GraphNotFound`], and [`SessionError::Store`], also if retention removed
    /// entries of the run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the replay.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::sync::Arc;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// fn graph(factor: u64) -> Graph<Count> {
    ///     Graph::<Count>::builder("count")
    ///         .node("add", async move |_: &Count, cx: &Context| {
    ///             let price: u64 = cx.step("price", async { Ok::<_, std::io::Error>(21) }).await?;
    ///             Ok(Count::update().n(price * factor))
    ///         })
    ///         .path([START, "add", END])
    ///         .build()
    ///         .unwrap()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let journal = Arc::new(InMemoryJournal::new());
    /// let before = Runtime::builder().journal(Arc::clone(&journal)).graph(&graph(1)).build();
    /// before.session("s-1")?.run(&graph(1), Count::update()).await?;
    ///
    /// // The next version of the program.
    /// let after = Runtime::builder().journal(journal).graph(&graph(2)).build();
    /// let report = after.session("s-1")?.replay().await?;
    /// assert_eq!(report.differences.len(), 1);
    /// println!("{}", report.differences[0]); // add#1: recorded {"n":21}, replayed {"n":42}
    /// # Ok(()) }
    /// ```
    pub async fn replay(&self) -> Result<ReplayReport, SessionError> {
        let recording = self.recording().await?;
        self.shared.graph(&recording.graph)?;
        let log = Arc::new(ReplayLog::of(&recording));
        let store = Arc::new(InMemoryJournal::new());
        self.copy_records(&recording, &store).await?;
        let runtime = Runtime::replaying(&self.shared, store, Arc::clone(&log));
        let session = runtime.session_of(self.id().clone());
        let (outcome, replayed) = run(&session).await?;
        let recorded: Vec<Event> =
            recording.entries.iter().map(|entry| Event::of(self.id(), entry)).collect();
        Ok(compare(self.id(), &recording, &recorded, &outcome, &replayed, &log))
    }

    /// Reads the latest run.
    async fn recording(&self) -> Result<Recording, SessionError> {
        let store = self.store()?;
        let status = self.status().await?;
        let (run, accepted) = (status.run, status.accepted);
        let mut entries = Vec::new();
        let mut after = Seq(accepted.0.saturating_sub(1));
        loop {
            let page = read_entries(&**store, self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            entries.extend(page.into_iter().filter(|entry| entry.run == run));
        }
        if entries.first().is_none_or(|entry| entry.seq != accepted) {
            let first = self.head().await?.first;
            let error =
                crate::journal::StoreError::Trimmed { session: self.id().clone(), upto: accepted, first };
            return Err(error.into());
        }
        Ok(Recording { run, graph: status.graph.into(), accepted, status: status.status, entries })
    }

    /// Writes the records of a run, and the state before it, to a store in memory.
    async fn copy_records(&self, recording: &Recording, store: &InMemoryJournal) -> Result<(), SessionError> {
        let Some(first) = recording.entries.first() else { return Ok(()) };
        let (at, run) = (first.at, recording.run);
        let mut facts = Vec::new();
        if recording.accepted > Seq(1) {
            let before = self.lock().await.rollback_to(&recording.graph, recording.accepted).await?;
            let schedule =
                to_raw_value(&before.schedule).expect("a schedule is numbers, names and JSON").into();
            let (version, state, form) = (before.version, before.state.json, before.state.form);
            facts.push(Fact::RunRolledBack(Base { version, state, form, schedule }));
        }
        let kept = recording.entries.iter().filter(|entry| is_record(&entry.fact));
        facts.extend(kept.map(|entry| entry.fact.clone()));
        // At one time: what passed between the entries is no active time of the replay.
        let entry = |(seq, fact)| Entry { seq: Seq(seq), at, run, fact };
        let records = (1..).zip(facts).map(entry);
        let records = records.map(|entry| crate::journal::Record::new(entry.seq, entry.encode())).collect();
        let summary = Summary::new(&*recording.graph, RunStatus::Running.as_str(), run, at);
        let append = Append::new(self.id().clone(), Epoch(0), Seq::ZERO, records);
        store.append(append.with_summary(Some(summary))).await?;
        Ok(())
    }
}

/// Whether an entry is a record that a replay uses, not a result that it computes.
const fn is_record(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::RunAccepted(_)
            | Fact::StepRecorded(_)
            | Fact::QuestionAsked(_)
            | Fact::QuestionAnswered(_)
            | Fact::QuestionWithdrawn(_)
            | Fact::FrameOpened(_)
            | Fact::Steered(_)
    )
}

/// Resumes the copied run. Returns how it ended and its events.
async fn run(session: &Session) -> Result<(String, Vec<Event>), SessionError> {
    let outcome = match session.take_over().await {
        Ok(Takeover::Waiting) => RunStatus::Paused.as_str().to_owned(),
        Ok(_) => match session.wait_status().await {
            Ok(status) => status.as_str().to_owned(),
            Err(error) => error.to_string(),
        },
        // The graph has changed, say.
        Err(error) => error.to_string(),
    };
    let mut events = Vec::new();
    let mut after = Seq::ZERO;
    loop {
        let page = session.events(after, PAGE).await?;
        let Some(last) = page.last().and_then(|event| event.seq) else { break };
        after = last;
        events.extend(page);
    }
    session.shared.group.stop();
    Ok((outcome, events))
}

/// The updates of finished tasks, in order of their numbers.
fn updates(events: &[Event]) -> BTreeMap<(u64, String), Value> {
    let finished = events.iter().filter_map(|event| match (&event.task, &event.body) {
        (Some(task), EventBody::NodeFinished(finished)) => {
            Some(((task.outermost().number(), task.to_string()), Value::clone(&finished.update)))
        }
        _ => None,
    });
    finished.collect()
}

/// The failure of a run, with its place.
fn failure(events: &[Event]) -> Option<String> {
    events.iter().rev().find_map(|event| match &event.body {
        EventBody::RunFailed(failed) => Some(format!("failed ({})", failed.message)),
        _ => None,
    })
}

fn compare(
    session: &SessionId,
    recording: &Recording,
    recorded_events: &[Event],
    outcome: &str,
    replayed_events: &[Event],
    log: &ReplayLog,
) -> ReplayReport {
    let (recorded, replayed) = (updates(recorded_events), updates(replayed_events));
    // A run that was stopped or failed may have ended in the middle of a task.
    let whole = matches!(recording.status, RunStatus::Completed | RunStatus::Paused);
    let mut differences = Vec::new();
    for (task, key) in log.unrecorded.lock().drain(..) {
        if whole || recorded.keys().any(|(_, known)| *known == task.to_string()) {
            differences.push(ReplayDifference::Unrecorded { task: task.to_string(), key });
        }
    }
    let tasks: std::collections::BTreeSet<&(u64, String)> = match whole {
        true => recorded.keys().chain(replayed.keys()).collect(),
        false => recorded.keys().collect(),
    };
    for place in &tasks {
        let (before, now) = (recorded.get(place), replayed.get(place));
        if before != now {
            differences.push(ReplayDifference::Task {
                task: place.1.clone(),
                recorded: before.cloned(),
                replayed: now.cloned(),
            });
        }
    }
    if whole && recording.status.as_str() != outcome {
        let replayed = failure(replayed_events).unwrap_or_else(|| outcome.to_owned());
        differences
            .push(ReplayDifference::Outcome { recorded: recording.status.as_str().to_owned(), replayed });
    }
    ReplayReport {
        session: session.clone(),
        run: recording.run,
        graph: recording.graph.to_string(),
        tasks: tasks.len(),
        differences,
    }
}
