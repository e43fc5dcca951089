//! Queues of calls that share statements: what waits while one statement executes is the next one.

use std::{collections::VecDeque, future::Future};

use agent_core::task_group::TaskGroup;
use parking_lot::Mutex;

/// Calls and bytes of one statement at most.
const CALLS: usize = 256;
const BYTES: usize = 8 * 1024 * 1024;

/// Calls that wait, and the number of statements that may execute at once.
pub(crate) struct BatchQueue<T> {
    state: Mutex<State<T>>,
    writers: usize,
    group: TaskGroup,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Statements on their way.
    active: usize,
}

impl<T> BatchQueue<T> {
    pub(crate) fn new(writers: usize) -> Self {
        let state = State { waiting: VecDeque::new(), active: 0 };
        Self { state: Mutex::new(state), writers, group: TaskGroup::default() }
    }

    /// Adds a call, and starts `writer` if fewer than the maximum are at work. In a task: a caller that is dropped must not
    /// take the calls of others with it.
    pub(crate) fn push<F>(&self, call: T, writer: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let starts = {
            let mut state = self.state.lock();
            state.waiting.push_back(call);
            let starts = state.active < self.writers;
            state.active += usize::from(starts);
            starts
        };
        if starts {
            self.group.spawn_uncancelled(writer());
        }
    }

    /// Removes the calls of the next statement, at least one. If none waits, the writer has ended.
    pub(crate) fn take(&self, bytes: impl Fn(&T) -> usize) -> Vec<T> {
        let mut state = self.state.lock();
        let mut sum = 0;
        let fitting = state.waiting.iter().take(CALLS).take_while(|call| {
            sum += bytes(call);
            sum <= BYTES
        });
        // The first one is taken in any case.
        let count = fitting.count().max(1).min(state.waiting.len());
        if count == 0 {
            state.active -= 1;
        }
        state.waiting.drain(..count).collect()
    }
}
