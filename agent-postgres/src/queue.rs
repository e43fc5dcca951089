//! Queues of calls that share statements: what waits while one statement executes is the next one.

use std::{collections::VecDeque, future::Future};

use agent_core::{ids::SessionId, journal::StoreError, task_group::TaskGroup};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Calls and bytes of one statement at most.
const CALLS: usize = 256;
const BYTES: usize = 8 * 1024 * 1024;

/// Where the result of a call is sent.
pub(crate) type Reply<R> = oneshot::Sender<Result<R, StoreError>>;

/// A call that waits for its statement.
pub(crate) trait Call {
    fn session(&self) -> &SessionId;

    fn bytes(&self) -> usize;

    /// Whether both can be in one statement.
    fn fits(&self, other: &Self) -> bool;
}

/// Calls that wait, and the number of statements that may execute at once.
pub(crate) struct BatchQueue<C> {
    state: Mutex<State<C>>,
    writers: usize,
    group: TaskGroup,
}

struct State<C> {
    waiting: VecDeque<C>,
    /// Statements on their way.
    active: usize,
    /// Whether the last statement had more than one call.
    shared: bool,
}

impl<C: Call> BatchQueue<C> {
    pub(crate) fn new(writers: usize) -> Self {
        let state = State { waiting: VecDeque::new(), active: 0, shared: false };
        Self { state: Mutex::new(state), writers, group: TaskGroup::default() }
    }

    /// Adds a call and waits for its result. Starts `writer` if fewer than the maximum are at work. In a task: a caller that is
    /// dropped must not take the calls of others with it.
    pub(crate) async fn call<R, F>(
        &self,
        call: impl FnOnce(Reply<R>) -> C,
        writer: impl FnOnce() -> F,
    ) -> Result<R, StoreError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let starts = {
            let mut state = self.state.lock();
            state.waiting.push_back(call(reply));
            let starts = state.active < self.writers;
            state.active += usize::from(starts);
            starts
        };
        if starts {
            self.group.spawn_uncancelled(writer());
        }
        result
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable { reason: "the executor has ended".to_owned() }))
    }

    /// Returns the calls of the next statement, at least one. If none waits, the writer has ended. They are in the order of
    /// session names: transactions that lock the same rows lock them in one order.
    ///
    /// After a statement with several calls, the tasks that can execute do so first: what they call is in the same statement.
    pub(crate) async fn next(&self) -> Vec<C> {
        let shared = self.state.lock().shared;
        if shared {
            tokio::task::yield_now().await;
        }
        self.take()
    }

    fn take(&self) -> Vec<C> {
        let mut state = self.state.lock();
        let Some(first) = state.waiting.pop_front() else {
            state.active -= 1;
            return Vec::new();
        };
        let mut bytes = first.bytes();
        let fitting = state.waiting.iter().take(CALLS - 1).take_while(|call| {
            bytes += call.bytes();
            bytes <= BYTES && first.fits(call)
        });
        let count = fitting.count();
        let mut batch = vec![first];
        batch.extend(state.waiting.drain(..count));
        state.shared = batch.len() > 1;
        drop(state);
        batch.sort_by(|left, right| left.session().cmp(right.session()));
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(SessionId);

    impl Call for Named {
        fn session(&self) -> &SessionId {
            &self.0
        }

        fn bytes(&self) -> usize {
            0
        }

        fn fits(&self, _: &Self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn ready_tasks_add_their_calls_to_a_statement_after_a_shared_one_and_delay_no_other() {
        let queue = BatchQueue::new(1);
        let add = |name: &str| queue.state.lock().waiting.push_back(Named(name.parse().unwrap()));
        let next_beside = async |later: Option<&str>| {
            let (batch, ()) = futures::join!(queue.next(), async { later.into_iter().for_each(add) });
            batch.iter().map(|call| call.0.to_string()).collect::<Vec<_>>()
        };
        add("a");
        assert_eq!(next_beside(Some("b")).await, ["a"], "a lone call does not wait");
        add("c");
        assert_eq!(next_beside(None).await, ["b", "c"]);
        add("d");
        assert_eq!(next_beside(Some("e")).await, ["d", "e"]);
        add("f");
        assert_eq!(next_beside(None).await, ["f"]);
        add("g");
        assert_eq!(next_beside(Some("h")).await, ["g"]);
    }
}
