//! Step scopes: which step of a task is being polled on this thread, so that nested questions and steps belong to it.

use std::{
    cell::Cell,
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::task::AttemptHandle;

thread_local! {
    /// The task, attempt and scope that are polled on this thread. The address is only compared.
    static CURRENT: Cell<(usize, u32, usize)> = const { Cell::new((0, 0, 0)) };
}

/// A running step, and the questions and budget requests inside it. Scope 0 is the task itself.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) parent: usize,
    /// The step; `None` for the task itself.
    pub(super) step: Option<Arc<str>>,
    /// Questions inside that wait for an answer.
    pub(super) waiting: u32,
    /// Calls inside that wait for a budget extension.
    pub(super) gated: u32,
    numbers: Option<Box<Numbers>>,
}

/// The last numbers given to questions and calls without a key.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) questions: u32,
    pub(super) models: u32,
    pub(super) timers: u32,
    /// Number of uses of each tool call id, because some servers repeat them.
    pub(super) calls: HashMap<String, u32>,
}

impl Scope {
    pub(super) fn of(parent: usize, step: Arc<str>) -> Self {
        Self { parent, step: Some(step), ..Self::default() }
    }

    /// Returns `true` if nothing inside waits for an answer.
    pub(super) const fn works(&self) -> bool {
        self.waiting == 0 && self.gated == 0
    }

    pub(super) fn numbers(&mut self) -> &mut Numbers {
        self.numbers.get_or_insert_default()
    }
}

/// Returns the scope of this attempt that is polled on this thread; 0 if no step is.
pub(super) fn current(cell: usize, number: u32) -> usize {
    match CURRENT.get() {
        (known, of, scope) if (known, of) == (cell, number) => scope,
        _ => 0,
    }
}

/// Polls a step inside its scope.
pub(super) struct InScope<F> {
    pub(super) future: Pin<Box<F>>,
    pub(super) of: AttemptHandle,
    pub(super) scope: usize,
}

impl<F> InScope<F> {
    /// Binds a future that will be polled elsewhere to the current scope.
    pub(super) fn inherit(of: AttemptHandle, future: F) -> Self {
        let scope = of.current_scope();
        Self { future: Box::pin(future), of, scope }
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _restore = Restore(CURRENT.replace((self.of.address(), self.of.number(), self.scope)));
        self.future.as_mut().poll(cx)
    }
}

/// SubgraphSlot a scope when dropped, in a panic too.
struct Restore((usize, u32, usize));

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}
