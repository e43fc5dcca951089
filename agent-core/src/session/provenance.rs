//! Provenance: the journal entries that set a state field, a todo, a step or a question.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{Session, SessionError};
use crate::{
    ids::{RunId, Seq},
    journal::{
        dedup::read_entries,
        entry::{Entry, Fact, Failure, Raw, Stopped},
    },
};

/// Entries read at once.
const PAGE: usize = 1_024;

/// Kind of an entry that set a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProvenanceKind {
    /// The input of a run set the field.
    Input,
    /// A node's update set the field.
    Node,
    /// The state was edited in the name of a node.
    Edit,
    /// The graph set the field when the run was stopped or failed.
    Stop,
    /// A todo of this id changed.
    Todo,
    /// A step of this key was recorded.
    Step,
    /// A question of this id was asked.
    Question,
    /// It was answered.
    Answer,
}

/// A journal entry that set a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Provenance {
    /// Its number.
    pub seq: Seq,
    /// When it was written, in milliseconds since 1970.
    pub at: i64,
    /// The run.
    pub run: RunId,
    /// Kind of the entry.
    pub kind: ProvenanceKind,
    /// The origin: the task (`study#2/collect#1`), for an edit the node, for an answer the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The value: the field of the update, the todo, the result of the step, the question or the answer.
    pub value: Value,
    /// Steps, model calls, tool calls and answers that the task had recorded before, with their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<ProvenanceSource>,
}

/// A record that a task had before it set a value. Serialized as a pair of number and description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "(Seq, String)")]
#[non_exhaustive]
pub struct ProvenanceSource {
    /// Number of the entry.
    pub seq: Seq,
    /// Kind and key of the record, such as "step `pay`".
    pub description: String,
}

impl From<ProvenanceSource> for (Seq, String) {
    fn from(source: ProvenanceSource) -> Self {
        (source.seq, source.description)
    }
}

impl Session {
    /// Returns the entries that set the state field, todo, step or question `key`, oldest first. Includes fields of the
    /// states of subgraphs. Entries removed by retention are missing.
    ///
    /// # Errors
    ///
    /// As [`history`](Session::history).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::{journal::InMemoryJournal, session::ProvenanceKind};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).await?;
    /// let entries = session.provenance("n").await?;
    /// assert_eq!(entries.len(), 1);
    /// assert_eq!((entries[0].kind, entries[0].by.as_deref()), (ProvenanceKind::Node, Some("add#1")));
    /// # Ok(()) }
    /// ```
    pub async fn provenance(&self, key: &str) -> Result<Vec<Provenance>, SessionError> {
        let store = self.store()?;
        if store.head(self.id()).await?.is_none() {
            return Err(SessionError::NotFound { session: self.id().clone() });
        }
        let mut found = Vec::new();
        let mut recorded: HashMap<(RunId, String), Vec<ProvenanceSource>> = HashMap::new();
        let mut after = Seq::ZERO;
        loop {
            let entries = read_entries(&**store, self.id(), after, PAGE).await?;
            for entry in &entries {
                if let Some((task, description)) = record(&entry.fact) {
                    let source = ProvenanceSource { seq: entry.seq, description };
                    recorded.entry((entry.run, task)).or_default().push(source);
                }
                found.extend(causes(entry, key).map(|(kind, by, value)| {
                    let from = match (kind, &by) {
                        (ProvenanceKind::Node | ProvenanceKind::Todo, Some(task)) => {
                            recorded.get(&(entry.run, task.clone())).cloned().unwrap_or_default()
                        }
                        _ => Vec::new(),
                    };
                    Provenance { seq: entry.seq, at: entry.at, run: entry.run, kind, by, value, from }
                }));
            }
            match entries.last() {
                Some(last) if entries.len() == PAGE => after = last.seq,
                _ => return Ok(found),
            }
        }
    }
}

/// Returns what a task received from outside.
fn record(fact: &Fact) -> Option<(String, String)> {
    match fact {
        Fact::StepRecorded(step) => Some((step.task.to_string(), format!("{} `{}`", step.kind, step.key))),
        Fact::QuestionAnswered(answer) => {
            Some((answer.task.to_string(), format!("answer to `{}` by {}", answer.id, answer.by)))
        }
        _ => None,
    }
}

fn causes(entry: &Entry, key: &str) -> impl Iterator<Item = (ProvenanceKind, Option<String>, Value)> + use<> {
    let mut found = Vec::new();
    match &entry.fact {
        Fact::RunAccepted(accepted) => {
            let value = accepted.update.as_deref().and_then(|update| field(update, key));
            let value = value.or_else(|| accepted.state.as_deref().and_then(|state| field(state, key)));
            found.extend(value.map(|value| (ProvenanceKind::Input, None, value)));
        }
        Fact::TaskFinished(finished) => {
            let value = finished.update().and_then(|update| field(update, key));
            found.extend(value.map(|value| (ProvenanceKind::Node, Some(finished.task.to_string()), value)));
        }
        Fact::StateEdited(edited) => {
            let value = field(&edited.update, key);
            found.extend(value.map(|value| (ProvenanceKind::Edit, Some(edited.node.clone()), value)));
        }
        Fact::RunStopped(Stopped { closing: Some(closing), .. })
        | Fact::RunFailed(Failure { closing: Some(closing), .. }) => {
            found.extend(field(&closing.update, key).map(|value| (ProvenanceKind::Stop, None, value)));
        }
        Fact::TodoChanged(change) if change.todo.id == key => {
            let by = change.by.as_ref().map(|(task, _)| task.to_string());
            let value = serde_json::to_value(&change.todo).unwrap_or_default();
            found.push((ProvenanceKind::Todo, by, value));
        }
        Fact::StepRecorded(step) if step.key == key => {
            let value = match &step.error {
                Some(error) => serde_json::json!({"error": error}),
                None => step.value.as_deref().map(parsed).unwrap_or_default(),
            };
            found.push((ProvenanceKind::Step, Some(step.task.to_string()), value));
        }
        Fact::QuestionAsked(open)
            if open.id.0.as_ref() == key || open.question.key.as_deref() == Some(key) =>
        {
            let value = serde_json::to_value(&open.question).unwrap_or_default();
            found.push((ProvenanceKind::Question, Some(open.task.to_string()), value));
        }
        Fact::QuestionAnswered(answer)
            if answer.id.0.as_ref() == key || answer.id.0.rsplit(':').next() == Some(key) =>
        {
            found.push((ProvenanceKind::Answer, Some(answer.by.clone()), answer.value.clone()));
        }
        _ => {}
    }
    found.into_iter()
}

/// The field of an object that is not parsed as a whole.
fn field(object: &RawValue, key: &str) -> Option<Value> {
    let fields: HashMap<String, Raw> = serde_json::from_str(object.get()).ok()?;
    fields.get(key).map(|raw| parsed(raw))
}

fn parsed(raw: &RawValue) -> Value {
    crate::json::read(raw.get()).unwrap_or_default()
}
