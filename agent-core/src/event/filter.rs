//! [`EventFilter`]: selects the events of a subscription. A run produces only events that a subscriber or the journal needs.

use super::{Event, EventBody};
use crate::journal::entry::Fact;

macro_rules! kinds {
    ($($kind:ident)*) => {
        /// Kind of an event: the name of its variant in [`EventBody`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "the names of the variants of `EventBody`")]
        pub enum EventKind {
            $($kind,)*
        }

        impl EventBody {
            /// Returns the kind of the event.
            #[must_use]
            pub const fn kind(&self) -> EventKind {
                match self {
                    $(Self::$kind(_) => EventKind::$kind,)*
                }
            }
        }
    };
}

kinds! {
    RunQueued RunDequeued RunStarted RunPaused RunResumed RunStopped RunFailed RunCompleted RunRolledBack
    SuperstepCommitted NodeStarted NodeFinished NodeFailed StepRecorded ToolCalled ToolArguments Token Reasoning
    TokensVoided QuestionAsked QuestionAnswered QuestionWithdrawn TodoUpdated Custom Progress SubgraphStarted
    StateEdited SessionForked Gap
}

impl EventKind {
    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

impl Fact {
    /// Returns the kind of the fact's event.
    pub(crate) const fn kind(&self) -> EventKind {
        match self {
            Self::RunQueued(_) => EventKind::RunQueued,
            Self::RunDequeued(_) => EventKind::RunDequeued,
            Self::RunAccepted(_) => EventKind::RunStarted,
            Self::RunResumed(_) => EventKind::RunResumed,
            Self::RunPaused(_) => EventKind::RunPaused,
            Self::RunStopped(_) => EventKind::RunStopped,
            Self::RunFailed(_) => EventKind::RunFailed,
            Self::RunCompleted(_) => EventKind::RunCompleted,
            Self::RunRolledBack(_) => EventKind::RunRolledBack,
            Self::SuperstepCommitted(_) | Self::TaskCommitted(_) => EventKind::SuperstepCommitted,
            Self::TaskFinished(_) => EventKind::NodeFinished,
            Self::TaskFailed(_) => EventKind::NodeFailed,
            Self::StepRecorded(_) => EventKind::StepRecorded,
            Self::ToolBegun(_) => EventKind::ToolCalled,
            Self::QuestionAsked(_) => EventKind::QuestionAsked,
            Self::QuestionAnswered(_) => EventKind::QuestionAnswered,
            Self::QuestionWithdrawn(_) => EventKind::QuestionWithdrawn,
            Self::TodoChanged(_) => EventKind::TodoUpdated,
            Self::Custom(_) => EventKind::Custom,
            Self::FrameOpened(_) => EventKind::SubgraphStarted,
            Self::StateEdited(_) => EventKind::StateEdited,
            Self::Steered(_) => EventKind::Custom,
            Self::SessionForked(_) => EventKind::SessionForked,
        }
    }
}

/// Form of the updates in [`NodeFinished`](super::payload::NodeFinished) events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateForm {
    /// Not needed: the update may be `null`.
    Omit,
    /// JSON text. The journal has it anyway; without a journal each update is serialized once.
    Json,
    /// The typed update, a copy by [`State::copy_update`](crate::State::copy_update), read by
    /// [`EventValue::downcast_ref`](super::EventValue::downcast_ref). JSON, if the state cannot copy it.
    Typed,
}

/// Selection of the events that a subscriber receives. A run produces only the events that a subscriber or the journal needs.
///
/// A [gap](super::payload::Gap) is always delivered. Cost per superstep without a journal, beside the superstep itself
/// (`benches/README.md`):
///
/// | filter | cost |
/// |---|---|
/// | no subscriber, or none of these kinds | nothing |
/// | [`NodeFinished`](EventKind::NodeFinished), updates omitted or typed | one event, about 0.4 µs |
/// | … with JSON updates | and one serialization of the update |
/// | [`SuperstepCommitted`](EventKind::SuperstepCommitted) | one event with the names of the due nodes |
///
/// # Examples
///
/// ```
/// use agent_core::event::{EventFilter, EventKind, UpdateForm};
///
/// let todos = EventFilter::none().with(EventKind::TodoUpdated).with(EventKind::QuestionAsked).with_ends();
/// let updates = EventFilter::none().with(EventKind::NodeFinished).updates(UpdateForm::Typed);
/// assert!(todos.wants(EventKind::RunCompleted) && !updates.wants(EventKind::Token));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a filter does nothing until a subscription has it"]
pub struct EventFilter(u64);

/// Bits beside those of the kinds.
const JSON: u64 = 1 << 40;
const TYPED: u64 = 1 << 41;
const NESTED: u64 = 1 << 42;
const WATCHED: u64 = 1 << 43;
const KINDS: u64 = (1 << (EventKind::Gap as u32 + 1)) - 1;
const ENDS: u64 = EventKind::RunPaused.bit()
    | EventKind::RunStopped.bit()
    | EventKind::RunFailed.bit()
    | EventKind::RunCompleted.bit();
/// Kinds that an [`Observer`](super::Observer) gets with their details.
const OBSERVED: u64 = ENDS
    | EventKind::RunStarted.bit()
    | EventKind::RunResumed.bit()
    | EventKind::StepRecorded.bit()
    | EventKind::QuestionAsked.bit()
    | EventKind::QuestionAnswered.bit();

impl Default for EventFilter {
    fn default() -> Self {
        Self::all()
    }
}

impl EventFilter {
    /// All events, updates as JSON.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::{EventFilter, EventKind};
    ///
    /// assert!(EventFilter::all().wants(EventKind::Token));
    /// ```
    pub const fn all() -> Self {
        Self(WATCHED | KINDS | JSON | NESTED)
    }

    /// No events but gaps.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::{EventFilter, EventKind};
    ///
    /// let filter = EventFilter::none();
    /// assert!(filter.wants(EventKind::Gap) && !filter.wants(EventKind::Token));
    /// ```
    pub const fn none() -> Self {
        Self(WATCHED | NESTED | JSON | EventKind::Gap.bit())
    }

    /// Adds a kind.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::{EventFilter, EventKind};
    ///
    /// let filter = EventFilter::none().with(EventKind::TodoUpdated);
    /// assert!(filter.wants(EventKind::TodoUpdated));
    /// ```
    pub const fn with(self, kind: EventKind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// Removes a kind.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::{EventFilter, EventKind};
    ///
    /// let filter = EventFilter::all().without(EventKind::Token);
    /// assert!(filter.wants(EventKind::RunCompleted) && !filter.wants(EventKind::Token));
    /// ```
    pub const fn without(self, kind: EventKind) -> Self {
        Self((self.0 & !kind.bit()) | EventKind::Gap.bit())
    }

    /// Adds the kinds that end or pause a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::{EventFilter, EventKind};
    ///
    /// let filter = EventFilter::none().with_ends();
    /// assert!(filter.wants(EventKind::RunFailed) && filter.wants(EventKind::RunPaused));
    /// ```
    pub const fn with_ends(self) -> Self {
        Self(self.0 | ENDS)
    }

    /// Sets the form of updates. Default: [`UpdateForm::Json`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::{EventFilter, EventKind, UpdateForm};
    ///
    /// // The names of finished nodes, without the work for their updates.
    /// let filter = EventFilter::none().with(EventKind::NodeFinished).updates(UpdateForm::Omit);
    /// assert_ne!(filter, filter.updates(UpdateForm::Json));
    /// ```
    pub const fn updates(self, form: UpdateForm) -> Self {
        let rest = self.0 & !(JSON | TYPED);
        Self(match form {
            UpdateForm::Omit => rest,
            UpdateForm::Json => rest | JSON,
            UpdateForm::Typed => rest | TYPED,
        })
    }

    /// Leaves out events of tasks inside subgraphs.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::EventFilter;
    ///
    /// assert_ne!(EventFilter::all().outermost(), EventFilter::all());
    /// ```
    pub const fn outermost(self) -> Self {
        Self(self.0 & !NESTED)
    }

    /// Returns `true` if the filter selects events of this kind.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::{EventFilter, EventKind};
    ///
    /// assert!(EventFilter::default().wants(EventKind::Reasoning));
    /// ```
    #[must_use]
    pub const fn wants(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Returns `true` if the filter selects this event.
    pub(crate) fn matches(self, event: &Event) -> bool {
        // The task of a commit is the one that contains the subgraph.
        let nested = event.task.as_ref().is_some_and(|task| {
            task.parent().is_some() || matches!(event.body, EventBody::SuperstepCommitted(_))
        });
        self.wants(event.body.kind()) && (self.0 & NESTED != 0 || !nested)
    }
}

/// Union of the filters of all subscribers of a session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Interest(u64);

impl Interest {
    pub(super) const fn of(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns this with the interest of a subscriber to all events.
    pub(super) fn and_all(self) -> Self {
        Self(self.0 | EventFilter::all().0)
    }

    /// Returns whether there is a subscriber.
    pub(crate) const fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }

    pub(crate) const fn wants(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Returns the interest in tasks of the outermost graph, or in tasks inside subgraphs.
    pub(crate) const fn of_tasks(self, nested: bool) -> Self {
        if nested && self.0 & NESTED == 0 { Self(self.0 & WATCHED) } else { self }
    }

    /// Returns whether the observers of a runtime learn of this kind while the session has subscribers.
    pub(crate) const fn wants_observed(self, kind: EventKind) -> bool {
        self.is_watched() && OBSERVED & kind.bit() != 0
    }

    /// Returns the form of updates that satisfies all subscribers.
    pub(crate) const fn update_form(self) -> UpdateForm {
        match self.0 {
            bits if bits & EventKind::NodeFinished.bit() == 0 => UpdateForm::Omit,
            bits if bits & JSON != 0 => UpdateForm::Json,
            bits if bits & TYPED != 0 => UpdateForm::Typed,
            _ => UpdateForm::Omit,
        }
    }

    /// Returns whether a subscriber wants typed updates.
    pub(crate) const fn wants_typed(self) -> bool {
        self.wants(EventKind::NodeFinished) && self.0 & TYPED != 0
    }
}

/// The filters of the present subscribers, each once with a count.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<(u64, usize)>);

impl Filters {
    /// Adds a filter and returns the union. What it does not want of `NodeFinished` is not in it.
    pub(super) fn add(&mut self, filter: EventFilter) -> u64 {
        match self.0.iter_mut().find(|(bits, _)| *bits == filter.0) {
            Some((_, count)) => *count += 1,
            None => self.0.push((filter.0, 1)),
        }
        self.union()
    }

    pub(super) fn remove(&mut self, filter: EventFilter) -> u64 {
        if let Some(at) = self.0.iter().position(|(bits, _)| *bits == filter.0) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.swap_remove(at);
            }
        }
        self.union()
    }

    fn union(&self) -> u64 {
        let wanted = |bits: u64| {
            // The form of updates matters only with the updates.
            if bits & EventKind::NodeFinished.bit() == 0 { bits & !(JSON | TYPED) } else { bits }
        };
        self.0.iter().fold(0, |all, (bits, _)| all | wanted(*bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_union_is_what_the_present_subscribers_want() {
        let mut filters = Filters::default();
        let todos = EventFilter::none().with(EventKind::TodoUpdated);
        let updates = EventFilter::none().with(EventKind::NodeFinished).updates(UpdateForm::Typed);
        filters.add(todos);
        let interest = Interest::of(filters.add(todos));
        assert!(interest.is_watched() && interest.wants(EventKind::TodoUpdated));
        assert_eq!(interest.update_form(), UpdateForm::Omit);
        let interest = Interest::of(filters.add(updates));
        assert_eq!(interest.update_form(), UpdateForm::Typed);
        assert_eq!(Interest::of(filters.add(EventFilter::all())).update_form(), UpdateForm::Json);
        filters.remove(EventFilter::all());
        filters.remove(todos);
        let interest = Interest::of(filters.remove(updates));
        assert!(interest.wants(EventKind::TodoUpdated) && !interest.wants(EventKind::NodeFinished));
        assert!(!Interest::of(filters.remove(todos)).is_watched());
    }
}
