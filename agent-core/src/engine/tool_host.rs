//! [`ToolHost`] of a node: what a running tool can access.

use super::{Ask, Context};
use crate::{
    event::{EventBody, payload},
    graph::{NodeError, Result},
    ids::SessionId,
    interrupt::Question,
    journal::entry::{Fact, ToolBegun},
    json::sorted,
    memory::MemoryStore,
    run::ContextValue,
    todo::Todos,
    tool::{ReleasedPermit, ToolError, ToolHost},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Implements [`ToolHost`] for the tools of a node.
pub(super) struct ContextToolHost {
    cx: Context,
    under: Option<String>,
    /// The call's name within its activation.
    call: String,
    /// The entry written before the call, if the call must not be repeated.
    noted: Option<ToolBegun>,
    asked: Mutex<AskedQuestions>,
    values: Arc<Map<String, Value>>,
    changed: Mutex<Map<String, Value>>,
}

/// Questions of one tool call.
#[derive(Default)]
struct AskedQuestions {
    /// Number of times that each question was asked, by its digest.
    times: BTreeMap<String, u32>,
    /// Number of open questions, and the time since which there is one.
    open: u32,
    since: Option<Instant>,
    /// Total time with an open question before `since`.
    waited: Duration,
}

impl ContextToolHost {
    pub(super) fn new(
        cx: Context,
        under: Option<String>,
        call: &str,
        noted: Option<ToolBegun>,
        values: Arc<Map<String, Value>>,
    ) -> Self {
        let (asked, changed) = (Mutex::default(), Mutex::default());
        Self { cx, under, call: call.to_owned(), noted, asked, values, changed }
    }

    /// Takes the values that the call has set.
    pub(super) fn take_values(&self) -> Map<String, Value> {
        std::mem::take(&mut *self.changed.lock())
    }

    /// Returns a key derived from the content of the question, because a repeated call may ask in another order.
    fn key(&self, question: &Question) -> String {
        let what = match &question.key {
            Some(key) => crate::util::fingerprint(key),
            None => {
                let options: Vec<_> = question.options.iter().map(sorted).collect();
                let schema = question.schema.as_ref().map(sorted);
                let text = format!("{}\n{options:?}\n{schema:?}", question.prompt);
                crate::util::fingerprint(&text)
            }
        };
        let mut asked = self.asked.lock();
        let times = asked.times.entry(what.clone()).or_default();
        *times += 1;
        match *times {
            1 => format!("ask:{}/{what}", self.call),
            again => format!("ask:{}/{what}~{again}", self.call),
        }
    }
}

/// An open question of a tool. The timeout of the call is suspended while there is one.
struct OpenQuestion(Arc<ContextToolHost>);

impl OpenQuestion {
    fn new(host: Arc<ContextToolHost>) -> Self {
        let mut asked = host.asked.lock();
        asked.open += 1;
        asked.since.get_or_insert_with(Instant::now);
        drop(asked);
        Self(host)
    }
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        let mut asked = self.0.asked.lock();
        asked.open -= 1;
        if asked.open == 0
            && let Some(since) = asked.since.take()
        {
            asked.waited += since.elapsed();
        }
    }
}

impl ToolHost for ContextToolHost {
    fn typed(&self, of: TypeId) -> Option<Arc<dyn Any + Send + Sync>> {
        self.cx.scope.env.deps.typed.get(&of).cloned()
    }

    fn context(&self) -> Option<Arc<ContextValue>> {
        self.cx.scope.env.context.clone()
    }

    fn value(&self, name: &str) -> Option<Value> {
        self.changed.lock().get(name).or_else(|| self.values.get(name)).cloned()
    }

    fn set_value(&self, name: String, value: Value) {
        self.changed.lock().insert(name, value);
    }

    fn progress(&self, name: String, value: Value) {
        self.cx.emit_ephemeral(EventBody::Progress(payload::Progress { name, value }));
    }

    fn todos(&self) -> Todos {
        match &self.under {
            Some(parent) => self.cx.todos().under(parent),
            None => self.cx.todos(),
        }
    }

    fn memory(&self) -> Option<Arc<dyn MemoryStore>> {
        self.cx.scope.env.deps.memory.clone()
    }

    fn ask(
        self: Arc<Self>,
        question: Question,
        released: Option<ReleasedPermit>,
    ) -> BoxFuture<'static, Result<Value, ToolError>> {
        let key = self.key(&question);
        let asking = Ask::<Value>::tool(self.cx.attempt_handle(), key, question);
        let host = Arc::clone(&self);
        let open = OpenQuestion::new(self);
        let failed = |error: NodeError| {
            ToolError::failed("the question to a person got no answer").with_cause(error.to_string())
        };
        Box::pin(async move {
            if let Some(begun) = &host.noted {
                host.cx
                    .attempt_handle()
                    .mark_call_suspended(&begun.key)
                    .map_err(|ended| failed(ended.into()))?;
            }
            let answer = asking.await;
            if let Some(released) = released {
                released.end().await;
            }
            drop(open);
            if let Some(begun) = &host.noted {
                host.cx
                    .attempt_handle()
                    .mark_call_started(&begun.key)
                    .map_err(|ended| failed(ended.into()))?;
                if host.cx.scope.env.writer.is_durable() {
                    let fact = Fact::ToolBegun(begun.clone());
                    host.cx.attempt_handle().record(fact).await.map_err(failed)?;
                }
            }
            answer.map_err(failed)
        })
    }

    fn waited(&self) -> (bool, Duration) {
        let asked = self.asked.lock();
        let now = asked.since.map_or(Duration::ZERO, |since| since.elapsed());
        (asked.open > 0, asked.waited + now)
    }

    fn session(&self) -> &SessionId {
        &self.cx.scope.env.session
    }
}
