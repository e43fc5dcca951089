//! Tools as a node sees them: each call is checked, approved where it must be, and a recorded step.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::Instrument;

use super::{Ask, Context, Todos, Used};
use crate::{
    event::{EventBody, payload},
    graph::{NodeError, Result},
    ids::SessionId,
    interrupt::Question,
    journal::entry::{Fact, ToolBegun},
    memory::{MemoryStore, Namespace, Put},
    model::Message,
    telemetry,
    tool::{
        ApprovalRequest, Away, Cut, Decided, Decision, Interrupted, Prepared, RegistryError, Remembered,
        ToolCall, ToolContext, ToolError, ToolFault, ToolHost, ToolOutput, ToolRegistry, ToolReply, ToolSpec,
    },
};

/// The namespace of results that were too long for the model; below it, the session.
const KEPT: &str = "tool-results";
/// How long a whole result is kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Bytes of one kept part: written as JSON it stays below what a store takes, whatever it holds.
const PART: usize = 160 * 1024;

/// A set of tools with recorded calls; see [`Context::tools`].
///
/// What goes wrong in a call (an unknown tool, bad arguments, a failure, a time limit, a person's no) is told to the
/// model as the call's result, unless [`failing_on`](RecordedTools::failing_on) says that it ends the run.
#[derive(Debug)]
pub struct RecordedTools {
    cx: Context,
    registry: ToolRegistry,
    remembered: Mutex<Remembered>,
    fatal: Vec<ToolFault>,
    /// The todo under which the tools' own todos hang.
    under: Option<String>,
}

/// A tool call whose fault ends the run, as the policy demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool `{tool}` ({}): {reason}", .fault.code())]
#[non_exhaustive]
pub struct ToolFailed {
    /// The tool, as the model wrote it, cut.
    pub tool: String,
    /// The call.
    pub call_id: String,
    /// What kind of fault it was.
    pub fault: ToolFault,
    /// What the model would have read.
    pub reason: String,
}

/// The result of a call as it is recorded. The message stands as it will in the state.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    message: Message,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<ToolFault>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<Cut>,
}

impl From<ToolReply> for Recorded {
    fn from(reply: ToolReply) -> Self {
        let (fault, cut) = (reply.fault, reply.cut);
        Self { message: reply.into_message(), fault, cut }
    }
}

impl RecordedTools {
    pub(super) fn new(cx: Context, registry: ToolRegistry) -> Self {
        Self { cx, registry, remembered: Mutex::default(), fatal: Vec::new(), under: None }
    }

    /// Only the tools that `allowed` names, by their own name or by a group's.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] with every name that is none.
    pub fn allow<I>(mut self, allowed: I) -> Result<Self, RegistryError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.registry = self.registry.allow(allowed)?;
        Ok(self)
    }

    /// With these faults a call ends the run rather than being told to the model. Default: none.
    #[must_use]
    pub fn failing_on(mut self, faults: impl IntoIterator<Item = ToolFault>) -> Self {
        self.fatal.extend(faults);
        self
    }

    /// What the tools add to the plan hangs under this item. Default: under none.
    #[must_use]
    pub fn under(mut self, todo: impl Into<String>) -> Self {
        self.under = Some(todo.into());
        self
    }

    /// With the approvals that people gave before. Keep them in the state, so that they last as long as the session.
    #[must_use]
    pub fn remembering(self, remembered: Remembered) -> Self {
        *self.remembered.lock() = remembered;
        self
    }

    /// The approvals that count for later calls, those given just now among them.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        self.remembered.lock().clone()
    }

    /// The tools themselves.
    #[must_use]
    pub const fn registry(&self) -> &ToolRegistry {
        &self.registry
    }

    /// The tools as the model sees them, in the order they were added.
    #[must_use]
    pub fn specs(&self) -> Arc<[ToolSpec]> {
        self.registry.specs()
    }

    /// Carries out one call and gives the message that answers it.
    ///
    /// A call that needs approval is a question with the key `approve:<call id>`; its details are the
    /// [`ApprovalRequest`], an answer is a [`Decision`] (or just `"approve"`, `"reject"`, `true`, `false`).
    /// The call itself is a step with the key `tool:<call id>`, so it is made once ever in this activation. After
    /// a crash or a stop in the middle of a call it is made again, with the same idempotency key, where its
    /// [`Effect`](crate::tool::Effect) allows; else the model is told that the outcome is not known, or a person is
    /// asked: see [`Interrupted`].
    ///
    /// # Errors
    ///
    /// [`LimitError`](super::LimitError) when the budget does not allow the call, [`ToolFailed`] as the policy says,
    /// or the journal cannot be written.
    ///
    /// # Cancel safety
    ///
    /// As [`Context::step`] and [`Context::ask`].
    pub async fn call(&self, call: ToolCall) -> Result<Message> {
        let name = self.cx.task_try().next_call_name(&call.id);
        self.carry_out(name, call).await
    }

    /// Carries out the calls of one turn, side by side, and gives their messages in the order of the calls.
    ///
    /// # Errors
    ///
    /// As [`call`](RecordedTools::call): the first in the order of calls, once all have ended, so that what the
    /// others did is recorded.
    pub async fn call_all(&self, calls: impl IntoIterator<Item = ToolCall>) -> Result<Vec<Message>> {
        let named: Vec<(String, ToolCall)> =
            calls.into_iter().map(|call| (self.cx.task_try().next_call_name(&call.id), call)).collect();
        if named.len() == 1 {
            let mut messages = Vec::with_capacity(1);
            for (name, call) in named {
                messages.push(self.carry_out(name, call).await?);
            }
            return Ok(messages);
        }
        join_all(named.into_iter().map(|(name, call)| self.carry_out(name, call))).await.into_iter().collect()
    }

    async fn carry_out(&self, name: String, call: ToolCall) -> Result<Message> {
        let settled = match self.registry.prepare(call.clone()) {
            Ok(prepared) => self.approved(&name, prepared).await?,
            Err(error) => Settled::Answer(Err(error), usize::MAX),
        };
        let key = format!("tool:{name}");
        let one = Used { tool_calls: 1, ..Used::default() };
        let settled = match settled {
            Settled::Run(prepared) => self.known_outcome(&name, &key, prepared).await?,
            settled => settled,
        };
        let recorded: Recorded = match settled {
            Settled::Run(prepared) => {
                let run = self.run(&name, key.clone(), prepared);
                self.cx.step_as("tool", key, Some(one), run).await?
            }
            Settled::CutShort(prepared) => {
                // It may have happened, so it counts.
                let reply = Recorded::from(prepared.reply(&Err(ToolError::outcome_unknown(prepared.name()))));
                self.cx.step_as("tool", key, Some(one), async { (Ok(reply), Some(one)) }).await?
            }
            Settled::Answer(result, limit) => {
                let reply = Recorded::from(ToolReply::new(&call, &result, limit));
                self.cx.step_as("tool", key, None, async { (Ok(reply), None) }).await?
            }
        };
        match recorded.fault {
            Some(fault) if self.fatal.contains(&fault) => Err(ToolFailed {
                tool: crate::text::shorten(&call.name, 64),
                call_id: call.id,
                fault,
                reason: crate::text::shorten(&recorded.message.text(), 1_000),
            }
            .into()),
            _ => Ok(recorded.message),
        }
    }

    /// A call that was begun before and has no result is not made again behind everybody's back.
    async fn known_outcome(&self, name: &str, key: &str, prepared: Prepared) -> Result<Settled> {
        let times = if prepared.policy().notes_begin() { self.cx.cell().begun(key) } else { 0 };
        if times == 0 {
            return Ok(Settled::Run(prepared));
        }
        if prepared.policy().interrupted != Interrupted::Ask {
            return Ok(Settled::CutShort(prepared));
        }
        for time in 1..=times {
            let prompt = format!(
                "`{}` was cut short before its result was known; it may have happened or not. Call it again?",
                prepared.name()
            );
            let details = json!({
                "call_id": prepared.id(), "tool": prepared.name(), "arguments": prepared.args(), "times": time,
            });
            let question = Question::choose(prompt, ["repeat", "leave"]).details(details);
            let key = format!("repeat:{name}/{time}");
            if Ask::<String>::engine(self.cx.task_try(), key, question).await? != "repeat" {
                return Ok(Settled::CutShort(prepared));
            }
        }
        Ok(Settled::Run(prepared))
    }

    /// What a person says about the call, if one must be asked. Asked before the step of the call begins.
    async fn approved(&self, name: &str, prepared: Prepared) -> Result<Settled> {
        let limit = prepared.policy().result_limit;
        let Some(shown) = prepared.approval_for(&self.remembered.lock()) else {
            return Ok(Settled::Run(prepared));
        };
        let mut refused = None;
        for round in 1_u32.. {
            let key = if round == 1 { format!("approve:{name}") } else { format!("approve:{name}/{round}") };
            let question = question(&shown, refused.as_deref())?;
            let answer: Value = Ask::engine(self.cx.task_try(), key, question).await?;
            let decision = read(answer)?;
            let given = matches!(decision, Decision::Approve {});
            match prepared.clone().decide(&shown, decision) {
                Ok(Decided::Run(prepared)) => {
                    if given {
                        self.remembered.lock().remember(&prepared);
                    }
                    return Ok(Settled::Run(prepared));
                }
                Ok(Decided::Answer(result)) => return Ok(Settled::Answer(result, limit)),
                // Edited arguments that do not fit: the person is asked again and told why.
                Err(error) => refused = Some(error.for_model().to_owned()),
            }
        }
        unreachable!("a person is asked until the answer can be used")
    }

    async fn run(&self, name: &str, key: String, prepared: Prepared) -> (Result<Recorded>, Option<Used>) {
        let cx = &self.cx;
        let used = Some(Used { tool_calls: 1, ..Used::default() });
        let noted = (prepared.policy().notes_begin() && cx.env.writer.keeps()).then(|| ToolBegun {
            task: cx.task(),
            key: key.clone(),
            call_id: prepared.id().to_owned(),
            name: prepared.name().to_owned(),
            arguments: prepared.args().clone(),
        });
        if let Some(begun) = &noted {
            cx.cell().begins(&key);
            if let Err(error) = cx.task_try().record(Fact::ToolBegun(begun.clone())).await {
                return (Err(error), None);
            }
        } else if cx.env.writer.matters() {
            cx.show(EventBody::ToolCalled(payload::ToolCalled {
                call_id: prepared.id().to_owned(),
                name: prepared.name().to_owned(),
                arguments: prepared.args().clone(),
                key: key.clone(),
            }));
        }
        let idempotency_key = cx.idempotency_key(&key);
        let context = ToolContext::new(prepared.id(), idempotency_key.clone(), cx.env.control.stop.token())
            .hosted(Arc::new(Host::new(cx.clone(), self.under.clone(), name, noted)));
        let span = telemetry::tool(prepared.name(), prepared.id(), cx.session());
        let result = prepared.run(&context).instrument(span.clone()).await;
        if let Err(error) = &result {
            if error.fault() == ToolFault::Cancelled && cx.env.control.stop.is_cancelled() {
                // Nothing is recorded of a call that a stop cut short: a resume makes it again, with the same key.
                return std::future::pending().await;
            }
            telemetry::failed(&span, error.fault().code());
            tracing::debug!(tool = prepared.name(), fault = error.fault().code(), cause = ?error.cause(), "tool call failed");
        }
        let mut reply = prepared.reply(&result);
        if let (Some(_), Ok(output)) = (reply.cut, &result)
            && let Some(note) = self.keep(&idempotency_key, prepared.name(), &output.to_text()).await
        {
            reply.text.push_str(&note);
        }
        (Ok(reply.into()), used)
    }

    /// Keeps a result that is too long for the model in the long-term memory; tells where.
    async fn keep(&self, key: &str, tool: &str, whole: &str) -> Option<String> {
        let memory = self.cx.env.deps.memory.as_ref()?;
        let namespace = Namespace::new([KEPT, self.cx.session().as_str()]).ok()?;
        let mut rest = whole;
        let mut parts = 0_u32;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.floor_char_boundary(PART));
            parts += 1;
            let put =
                Put::new(namespace.clone(), format!("{key}.{parts}"), json!({ "tool": tool, "text": part }));
            if let Err(error) = memory.put(put.ttl(KEPT_FOR).text(format!("result of {tool}"))).await {
                tracing::warn!(tool, %error, "a long result was not kept");
                return None;
            }
            rest = after;
        }
        Some(format!("\n[the whole result is kept as `{key}.1` to `.{parts}` in `{namespace}`]"))
    }
}

enum Settled {
    Run(Prepared),
    /// It was begun before, and its outcome is not known.
    CutShort(Prepared),
    /// This is the result, of which so many bytes are shown.
    Answer(Result<ToolOutput, ToolError>, usize),
}

fn question(shown: &ApprovalRequest, refused: Option<&str>) -> Result<Question> {
    let mut prompt = format!("May `{}` run?", shown.tool);
    if let Some(reason) = refused {
        prompt = format!("{prompt} The edited arguments cannot be used: {reason}");
    }
    let decision = schemars::schema_for!(Decision).to_value();
    let schema = json!({ "anyOf": [{ "enum": ["approve", "reject", true, false] }, decision] });
    let details = serde_json::to_value(shown).map_err(NodeError::permanent)?;
    Ok(Question::choose(prompt, ["approve", "reject"]).or_anything().schema(hoisted(schema)).details(details))
}

/// Definitions stand outermost, where references look for them.
fn hoisted(mut schema: Value) -> Value {
    let definitions = schema["anyOf"][1].as_object_mut().and_then(|inner| inner.remove("$defs"));
    if let (Some(definitions), Some(outer)) = (definitions, schema.as_object_mut()) {
        outer.insert("$defs".to_owned(), definitions);
    }
    schema
}

fn read(answer: Value) -> Result<Decision> {
    match &answer {
        Value::Bool(true) => return Ok(Decision::Approve {}),
        Value::Bool(false) => return Ok(Decision::Reject { reason: String::new() }),
        Value::String(word) if word == "approve" => return Ok(Decision::Approve {}),
        Value::String(word) if word == "reject" => return Ok(Decision::Reject { reason: String::new() }),
        _ => {}
    }
    serde_json::from_value(answer).map_err(NodeError::permanent)
}

/// What the run lends to its tools.
struct Host {
    cx: Context,
    under: Option<String>,
    /// The call's name within its activation.
    call: String,
    /// What the journal was told when it began, if it must not be made twice.
    noted: Option<ToolBegun>,
    asked: Mutex<Asked>,
}

/// What a call has asked people so far.
#[derive(Default)]
struct Asked {
    /// How often each question, by its digest.
    times: BTreeMap<String, u32>,
    /// How many are open, and since when one is.
    open: u32,
    since: Option<Instant>,
    /// For how long at least one was, up to `since`.
    waited: Duration,
}

impl Host {
    fn new(cx: Context, under: Option<String>, call: &str, noted: Option<ToolBegun>) -> Self {
        Self { cx, under, call: call.to_owned(), noted, asked: Mutex::default() }
    }

    /// By what is asked, not when: a call that is made again may ask in another order.
    fn key(&self, question: &Question) -> String {
        let what = match &question.key {
            Some(key) => crate::text::fingerprint(key),
            None => {
                let text = format!("{}\n{:?}\n{:?}", question.prompt, question.options, question.schema);
                crate::text::fingerprint(&text)
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

/// One open question; the clock of the call's time limit stands still while there is one.
struct Open(Arc<Host>);

impl Open {
    fn new(host: Arc<Host>) -> Self {
        let mut asked = host.asked.lock();
        asked.open += 1;
        asked.since.get_or_insert_with(Instant::now);
        drop(asked);
        Self(host)
    }
}

impl Drop for Open {
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

impl ToolHost for Host {
    fn typed(&self, of: TypeId) -> Option<Arc<dyn Any + Send + Sync>> {
        self.cx.env.deps.typed.get(&of).cloned()
    }

    fn progress(&self, name: String, value: Value) {
        self.cx.show(EventBody::Progress(payload::Progress { name, value }));
    }

    fn todos(&self) -> Todos {
        match &self.under {
            Some(parent) => self.cx.todos().under(parent),
            None => self.cx.todos(),
        }
    }

    fn memory(&self) -> Option<Arc<dyn MemoryStore>> {
        self.cx.env.deps.memory.clone()
    }

    fn ask(
        self: Arc<Self>,
        question: Question,
        away: Option<Away>,
    ) -> BoxFuture<'static, Result<Value, ToolError>> {
        let key = self.key(&question);
        let asking = Ask::<Value>::tool(self.cx.task_try(), key, question);
        let host = Arc::clone(&self);
        let open = Open::new(self);
        let failed = |error: NodeError| {
            ToolError::failed("the question to a person got no answer").with_cause(error.to_string())
        };
        Box::pin(async move {
            if let Some(begun) = &host.noted {
                host.cx.cell().call_waits(&begun.key);
            }
            let answer = asking.await;
            if let Some(away) = away {
                away.end().await;
            }
            drop(open);
            if let Some(begun) = &host.noted {
                host.cx.cell().begins(&begun.key);
                let fact = Fact::ToolBegun(begun.clone());
                host.cx.task_try().record(fact).await.map_err(failed)?;
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
        &self.cx.env.session
    }
}
