//! Partial messages: the text of messages that are still being streamed, for subscribers that arrive in the middle.
//!
//! Plain data; the broadcast changes it under its lock, in the order in which subscribers see events.

use std::{collections::HashMap, sync::Arc};

use super::{Event, EventBody, payload};
use crate::{
    ids::{RunId, Seq, SessionId, TaskId},
    journal::entry::{Entry, Fact},
};

/// Maximum bytes of text kept per session. Above it, the longest partial message loses its text.
const KEPT_BYTES: usize = 256 * 1024;
/// Maximum number of partial messages per session. Above it, the oldest one of a task is dropped.
const KEPT_MESSAGES: usize = 1_024;

/// The partial messages of one session.
#[derive(Default)]
pub(super) struct PartialMessages {
    by_task: HashMap<Option<Arc<TaskId>>, Vec<Partial>>,
    count: usize,
    bytes: usize,
    /// Number of parts with dropped text, of messages that are still being streamed.
    dropped: u64,
}

/// A message, or a part of one, with the text so far.
struct Partial {
    at: i64,
    run: RunId,
    body: EventBody,
    /// Number of parts with their text in `body`.
    pieces: u64,
    /// Number of parts with dropped text.
    dropped: u64,
}

impl EventBody {
    /// Returns whether it changes the partial messages of its session.
    pub(crate) const fn is_partial(&self) -> bool {
        matches!(self, Self::Token(_) | Self::Reasoning(_) | Self::ToolArguments(_) | Self::TokensVoided(_))
    }

    /// The text of a piece.
    const fn piece(&mut self) -> Option<&mut String> {
        match self {
            Self::Token(piece) => Some(&mut piece.text),
            Self::Reasoning(piece) => Some(&mut piece.text),
            Self::ToolArguments(piece) => Some(&mut piece.text),
            _ => None,
        }
    }

    /// Appends the text of a further piece of the same text. `false`: it is none.
    pub(super) fn append(&mut self, next: &Self) -> bool {
        if !self.continues_with(next) {
            return false;
        }
        match (self, next) {
            (Self::Token(text), Self::Token(piece)) => text.text.push_str(&piece.text),
            (Self::Reasoning(text), Self::Reasoning(piece)) => text.text.push_str(&piece.text),
            (Self::ToolArguments(text), Self::ToolArguments(piece)) => text.text.push_str(&piece.text),
            _ => return false,
        }
        true
    }

    /// The length of a piece in bytes.
    const fn text_len(&self) -> usize {
        match self {
            Self::Token(piece) => piece.text.len(),
            Self::Reasoning(piece) => piece.text.len(),
            Self::ToolArguments(piece) => piece.text.len(),
            _ => 0,
        }
    }

    /// The message that a piece belongs to.
    fn message(&self) -> Option<&str> {
        match self {
            Self::Token(piece) => Some(&piece.message),
            Self::Reasoning(piece) => Some(&piece.message),
            Self::ToolArguments(piece) => Some(&piece.message),
            _ => None,
        }
    }

    /// Returns whether `next` is a further piece of the same text.
    pub(super) fn continues_with(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Token(a), Self::Token(b)) => a.message == b.message,
            (Self::Reasoning(a), Self::Reasoning(b)) => a.message == b.message,
            (Self::ToolArguments(a), Self::ToolArguments(b)) => {
                a.message == b.message && a.index == b.index && a.call_id == b.call_id
            }
            _ => false,
        }
    }
}

impl PartialMessages {
    /// Adds a published event.
    pub(super) fn apply(&mut self, event: &Event) {
        if let EventBody::TokensVoided(voided) = &event.body {
            self.end_message(event.task.as_ref(), &voided.message);
            return;
        }
        if event.body.message().is_none() {
            return;
        }
        let (body, bytes) = (&event.body, event.body.text_len());
        while self.bytes + bytes > KEPT_BYTES && self.drop_longest() {}
        let known = self.by_task.entry(event.task.clone()).or_default();
        let place =
            known.iter().rposition(|partial| partial.run == event.run && partial.body.continues_with(body));
        let place = match place {
            Some(place) => place,
            None => {
                if self.count >= KEPT_MESSAGES && !known.is_empty() {
                    let oldest = known.remove(0);
                    forget(&oldest, &mut self.count, &mut self.bytes, &mut self.dropped);
                }
                if self.count >= KEPT_MESSAGES {
                    if known.is_empty() {
                        self.by_task.remove(&event.task);
                    }
                    return;
                }
                let mut empty = body.clone();
                if let Some(text) = empty.piece() {
                    text.clear();
                }
                known.push(Partial { at: event.at, run: event.run, body: empty, pieces: 0, dropped: 0 });
                self.count += 1;
                known.len() - 1
            }
        };
        let partial = &mut known[place];
        if bytes > KEPT_BYTES {
            partial.dropped += 1;
            self.dropped += 1;
        } else if partial.body.append(body) {
            partial.pieces += 1;
            self.bytes += bytes;
        }
    }

    /// Applies a published entry: a message that it records completely is no longer partial.
    pub(super) fn take_entry(&mut self, entry: &Entry) {
        if self.count == 0 {
            return;
        }
        match &entry.fact {
            Fact::StepRecorded(step) if step.kind == "model" => {
                self.end_message(Some(&step.task), &step.key);
            }
            Fact::TaskFinished(finished) => self.end_task(&finished.task),
            Fact::TaskFailed(failure) => self.end_task(&failure.task),
            Fact::RunAccepted(_)
            | Fact::RunCompleted(_)
            | Fact::RunFailed(_)
            | Fact::RunStopped(_)
            | Fact::RunRolledBack(_) => self.clear(),
            _ => {}
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets a message of a task.
    pub(super) fn end_message(&mut self, task: Option<&Arc<TaskId>>, message: &str) {
        // No key of the map is borrowed from a reference to an option.
        let task = task.cloned();
        let Some(known) = self.by_task.get_mut(&task) else { return };
        known.retain(|partial| {
            let ends = partial.body.message() == Some(message);
            if ends {
                forget(partial, &mut self.count, &mut self.bytes, &mut self.dropped);
            }
            !ends
        });
        if known.is_empty() {
            self.by_task.remove(&task);
        }
    }

    /// Forgets the messages of a task and of the tasks inside it.
    pub(super) fn end_task(&mut self, task: &TaskId) {
        self.by_task.retain(|known, partials| {
            let ends = known.as_deref().is_some_and(|known| is_within(known, task));
            if ends {
                for partial in partials.iter() {
                    forget(partial, &mut self.count, &mut self.bytes, &mut self.dropped);
                }
            }
            !ends
        });
    }

    /// Returns the first events of a new subscriber: each message as one part, after a gap if text was dropped.
    pub(super) fn events(&self, session: &SessionId, last: Seq) -> Vec<Arc<Event>> {
        let mut events = Vec::with_capacity(self.count);
        if self.dropped > 0 {
            let gap = payload::Gap { after: last, upto: last, unnumbered: self.dropped, ahead: None };
            events.push(Arc::new(super::gap(session, gap)));
        }
        for (task, partials) in &self.by_task {
            // Dropped text is counted by the gap; the start of a tool call is delivered without text.
            let shown = partials
                .iter()
                .filter(|partial| partial.pieces > 0 || matches!(partial.body, EventBody::ToolArguments(_)));
            events.extend(shown.map(|partial| {
                Arc::new(Event {
                    seq: None,
                    at: partial.at,
                    session: session.clone(),
                    run: partial.run,
                    task: task.clone(),
                    body: partial.body.clone(),
                })
            }));
        }
        events
    }

    /// Drops the text of the longest message. Returns `false` if there is no text.
    fn drop_longest(&mut self) -> bool {
        let longest = self.by_task.values_mut().flatten().max_by_key(|partial| partial.body.text_len());
        let Some(longest) = longest else { return false };
        let Some(text) = longest.body.piece() else { return false };
        let freed = std::mem::take(text).len();
        longest.dropped += longest.pieces;
        self.dropped += longest.pieces;
        longest.pieces = 0;
        self.bytes -= freed;
        freed > 0
    }
}

fn forget(partial: &Partial, count: &mut usize, bytes: &mut usize, dropped: &mut u64) {
    *count -= 1;
    *bytes -= partial.body.text_len();
    *dropped -= partial.dropped;
}

fn is_within(task: &TaskId, outer: &TaskId) -> bool {
    let mut at = Some(task);
    while let Some(task) = at {
        if task == outer {
            return true;
        }
        at = task.parent().map(|parent| &**parent);
    }
    false
}
