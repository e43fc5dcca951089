//! Phase of an unfinished run: running, pausing, suspended or evicted. Pure: no clock, no lock, no I/O.

use crate::run::RunStatus;

/// Phase of an unfinished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Tasks execute.
    Running,
    /// No task can proceed, and the pause is not published: its entry is being stored, or an answer is.
    Pausing,
    /// The pause is stored. The futures of the tasks wait in memory.
    Suspended,
    /// The run is paused, and not in memory. The journal has everything.
    Evicted,
}

/// Event that may change the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PhaseEvent {
    /// The entry that pauses the run is stored.
    PauseStored,
    /// Answers were delivered to the tasks.
    Answered,
    /// A task can proceed without an answer, for example after a deadline.
    TaskResumed,
    /// The run is to be evicted: the time is over, or too many runs are suspended.
    EvictionDue {
        /// The journal is durable and no open question has a deadline soon.
        evictable: bool,
    },
}

/// Effect that a transition requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Stop the clock of active time and publish the pause.
    Suspend,
    /// Publish the questions that are still open.
    UpdateQuestions,
    /// Start the clock of active time and publish that the run continues.
    Resume,
    /// Drop the futures of the tasks.
    Evict,
}

impl Phase {
    /// Returns the phase of a run in memory by its published status. `runnable`: a task can proceed without an answer.
    pub(super) const fn of(published: RunStatus, runnable: bool) -> Self {
        match (published, runnable) {
            (RunStatus::Paused, _) => Self::Suspended,
            (_, false) => Self::Pausing,
            (_, true) => Self::Running,
        }
    }

    /// Returns the status of the run when answers are stored. `completes_a_task`: a task has all of its answers then.
    pub(super) const fn status_after_answers(self, completes_a_task: bool) -> RunStatus {
        match (self, completes_a_task) {
            (Self::Running, _) | (_, true) => RunStatus::Running,
            (Self::Pausing | Self::Suspended | Self::Evicted, false) => RunStatus::Paused,
        }
    }

    /// Returns the next phase and its effect. `runnable`: a task can proceed without an answer.
    pub(super) const fn next(self, event: PhaseEvent, runnable: bool) -> (Self, Effect) {
        match (self, event, runnable) {
            (Self::Running | Self::Pausing, PhaseEvent::PauseStored, false) => {
                (Self::Suspended, Effect::Suspend)
            }
            (Self::Suspended, PhaseEvent::PauseStored | PhaseEvent::Answered, false) => {
                (Self::Suspended, Effect::UpdateQuestions)
            }
            (Self::Suspended, PhaseEvent::Answered | PhaseEvent::TaskResumed, true) => {
                (Self::Running, Effect::Resume)
            }
            (Self::Suspended, PhaseEvent::EvictionDue { evictable: true }, false) => {
                (Self::Evicted, Effect::Evict)
            }
            (phase, _, _) => (phase, Effect::None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [PhaseEvent; 5] = [
        PhaseEvent::PauseStored,
        PhaseEvent::Answered,
        PhaseEvent::TaskResumed,
        PhaseEvent::EvictionDue { evictable: true },
        PhaseEvent::EvictionDue { evictable: false },
    ];

    #[test]
    fn a_run_with_a_runnable_task_is_never_suspended_or_evicted() {
        for phase in [Phase::Running, Phase::Pausing, Phase::Suspended] {
            for event in EVENTS {
                let (next, effect) = phase.next(event, true);
                assert!(!matches!(effect, Effect::Suspend | Effect::Evict), "{phase:?} {event:?}");
                assert_ne!(next, Phase::Evicted, "{phase:?} {event:?}");
            }
        }
    }

    #[test]
    fn the_phase_follows_from_what_is_published_and_what_can_proceed() {
        assert_eq!(Phase::of(RunStatus::Running, true), Phase::Running);
        assert_eq!(Phase::of(RunStatus::Running, false), Phase::Pausing);
        assert_eq!(Phase::of(RunStatus::Paused, false), Phase::Suspended);
        assert_eq!(
            Phase::of(RunStatus::Paused, true),
            Phase::Suspended,
            "it was answered; nothing is published"
        );
        assert_eq!(
            Phase::Pausing.next(PhaseEvent::PauseStored, false),
            Phase::Running.next(PhaseEvent::PauseStored, false),
            "a pause ends alike whether it was seen to begin"
        );
    }

    #[test]
    fn answers_leave_a_run_paused_only_if_no_task_has_all_of_its_own() {
        for phase in [Phase::Pausing, Phase::Suspended, Phase::Evicted] {
            assert_eq!(phase.status_after_answers(false), RunStatus::Paused, "{phase:?}");
            assert_eq!(phase.status_after_answers(true), RunStatus::Running, "{phase:?}");
        }
        assert_eq!(Phase::Running.status_after_answers(false), RunStatus::Running, "other tasks execute");
    }

    #[test]
    fn a_pause_is_published_once_and_ends_with_the_answer_that_frees_a_task() {
        let (phase, effect) = Phase::Running.next(PhaseEvent::PauseStored, false);
        assert_eq!((phase, effect), (Phase::Suspended, Effect::Suspend));
        let (phase, effect) = phase.next(PhaseEvent::Answered, false);
        assert_eq!((phase, effect), (Phase::Suspended, Effect::UpdateQuestions), "other questions are open");
        let (phase, effect) = phase.next(PhaseEvent::Answered, true);
        assert_eq!((phase, effect), (Phase::Running, Effect::Resume));
        let (phase, effect) = phase.next(PhaseEvent::TaskResumed, true);
        assert_eq!((phase, effect), (Phase::Running, Effect::None), "the supervisor is notified late");
    }

    #[test]
    fn an_answer_while_the_pause_is_being_stored_keeps_the_run_running() {
        let (phase, effect) = Phase::Running.next(PhaseEvent::Answered, true);
        assert_eq!((phase, effect), (Phase::Running, Effect::None));
        assert_eq!(phase.next(PhaseEvent::PauseStored, true), (Phase::Running, Effect::None));
    }

    #[test]
    fn only_a_suspended_run_that_the_journal_has_is_evicted() {
        let due = |evictable| PhaseEvent::EvictionDue { evictable };
        assert_eq!(Phase::Suspended.next(due(true), false), (Phase::Evicted, Effect::Evict));
        assert_eq!(Phase::Suspended.next(due(false), false), (Phase::Suspended, Effect::None));
        assert_eq!(
            Phase::Suspended.next(due(true), true),
            (Phase::Suspended, Effect::None),
            "it was answered"
        );
        assert_eq!(Phase::Running.next(due(true), false), (Phase::Running, Effect::None));
        for event in EVENTS {
            assert_eq!(Phase::Evicted.next(event, true), (Phase::Evicted, Effect::None), "{event:?}");
        }
    }
}
