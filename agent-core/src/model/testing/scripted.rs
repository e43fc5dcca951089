//! A model that follows a script: what it says, in which pieces, how late, and how it fails.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use crate::model::{
    Abilities, ChatModel, Delta, FinishReason, ModelError, ModelFault, ModelRequest, ModelStream, ToolCall,
    Usage,
};

/// In which pieces text and arguments arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunking {
    /// In one piece.
    #[default]
    Whole,
    /// This many characters a piece; zero counts as one.
    Chars(usize),
}

/// One answer of the script.
///
/// # Examples
///
/// ```
/// use agent_core::model::testing::Turn;
/// let turn = Turn::call("weather", serde_json::json!({"city": "서울"})).and_call("time", serde_json::json!({}));
/// # let _ = turn;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a turn does nothing until it is in a script"]
pub struct Turn {
    reasoning: String,
    text: String,
    calls: Vec<ToolCall>,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
    chunking: Chunking,
    before: Option<Duration>,
    between: Option<Duration>,
    refused: Option<ModelError>,
    broken: Option<(usize, ModelError)>,
    hang: Option<usize>,
}

impl Turn {
    /// Says a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Calls a tool.
    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Self::default().and_call(name, arguments)
    }

    /// Refuses before anything arrives.
    pub fn error(error: ModelError) -> Self {
        Self { refused: Some(error), ..Self::default() }
    }

    /// Calls a further tool in the same answer.
    pub fn and_call(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.calls.push(ToolCall::new(name, &arguments));
        self
    }

    /// Calls a tool with an id and arguments of your own, malformed ones too.
    pub fn and_raw_call(mut self, call: ToolCall) -> Self {
        self.calls.push(call);
        self
    }

    /// Thinks first.
    pub fn thinking(mut self, text: impl Into<String>) -> Self {
        self.reasoning = text.into();
        self
    }

    /// Reports this usage. Default: an estimate of what was read and said.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Ends for this reason. Default: `ToolCalls` with calls, else `Stop`.
    pub fn finish(mut self, reason: FinishReason) -> Self {
        self.finish = Some(reason);
        self
    }

    /// Arrives in these pieces. Default: whole.
    pub fn chunked(mut self, chunking: Chunking) -> Self {
        self.chunking = chunking;
        self
    }

    /// Waits before the answer begins. Default: not at all.
    pub fn after(mut self, delay: Duration) -> Self {
        self.before = Some(delay);
        self
    }

    /// Waits before each further piece. Default: not at all.
    pub fn every(mut self, delay: Duration) -> Self {
        self.between = Some(delay);
        self
    }

    /// Fails after `pieces` pieces.
    pub fn then_error(mut self, pieces: usize, error: ModelError) -> Self {
        self.broken = Some((pieces, error));
        self
    }

    /// Falls silent for ever after `pieces` pieces.
    pub fn then_hang(mut self, pieces: usize) -> Self {
        self.hang = Some(pieces);
        self
    }

    fn deltas(&self, request: &ModelRequest) -> Vec<Result<Delta, ModelError>> {
        let mut deltas = Vec::new();
        for text in pieces(&self.reasoning, self.chunking) {
            deltas.push(Delta::Reasoning { text });
        }
        for text in pieces(&self.text, self.chunking) {
            deltas.push(Delta::Text { text });
        }
        for (index, call) in (0u32..).zip(&self.calls) {
            deltas.push(Delta::ToolCallStarted { index, id: call.id.clone(), name: call.name.clone() });
            for text in pieces(&call.arguments, self.chunking) {
                deltas.push(Delta::ToolCallArguments { index, text });
            }
        }
        let usage = self.usage.unwrap_or_else(|| self.estimate(request));
        deltas.push(Delta::Usage { usage });
        let natural = if self.calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        deltas.push(Delta::Finished { reason: self.finish.clone().unwrap_or(natural) });

        let mut deltas: Vec<_> = deltas.into_iter().map(Ok).collect();
        if let Some((pieces, error)) = &self.broken {
            deltas.truncate(*pieces);
            deltas.push(Err(error.clone()));
        }
        deltas
    }

    /// A quarter of the bytes: cheap, deterministic, and never zero for an answer that says something.
    fn estimate(&self, request: &ModelRequest) -> Usage {
        let read: usize = request.messages.last().map_or(0, |message| message.text().len());
        let said = self.text.len() + self.calls.iter().map(|call| call.arguments.len()).sum::<usize>();
        Usage {
            input_tokens: read.div_ceil(4) as u64,
            output_tokens: said.div_ceil(4) as u64,
            ..Usage::default()
        }
    }
}

fn pieces(text: &str, chunking: Chunking) -> Vec<String> {
    match chunking {
        _ if text.is_empty() => Vec::new(),
        Chunking::Whole => vec![text.to_owned()],
        Chunking::Chars(count) => {
            let chars: Vec<char> = text.chars().collect();
            chars.chunks(count.max(1)).map(|piece| piece.iter().collect()).collect()
        }
    }
}

type Rule = dyn Fn(usize, &ModelRequest) -> Turn + Send + Sync;

enum Script {
    Turns(Mutex<VecDeque<Turn>>),
    Rule(Box<Rule>),
}

/// A model that follows a script. A clone shares script and memory, so a test can keep one and hand in the other.
///
/// # Examples
///
/// ```
/// use agent_core::model::{Model, testing::{Scripted, Turn}};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let script = Scripted::new([Turn::text("안녕하세요")]);
/// let reply = Model::new(script.clone()).complete("hello").await.unwrap();
/// assert_eq!(reply.message.text(), "안녕하세요");
/// assert_eq!(script.requests()[0].messages[0].text(), "hello");
/// # });
/// ```
#[derive(Clone)]
pub struct Scripted(Arc<Inner>);

struct Inner {
    script: Script,
    seen: Mutex<Seen>,
    abilities: Abilities,
}

#[derive(Default)]
struct Seen {
    calls: usize,
    requests: Vec<ModelRequest>,
}

impl Scripted {
    /// One turn for each call, in order; a call beyond the last is refused as
    /// [`ModelFault::BadRequest`], with a detail that says so.
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self::with(Script::Turns(Mutex::new(turns.into_iter().collect())))
    }

    /// The turn is decided from the number of the call, counted from 0, and the request.
    pub fn rule(rule: impl Fn(usize, &ModelRequest) -> Turn + Send + Sync + 'static) -> Self {
        Self::with(Script::Rule(Box::new(rule)))
    }

    fn with(script: Script) -> Self {
        Self(Arc::new(Inner { script, seen: Mutex::default(), abilities: Abilities::default() }))
    }

    /// The requests seen so far, the oldest first. Empty for a rule, which sees them itself: keeping them
    /// would share the conversation and make every later append copy its list.
    #[must_use]
    pub fn requests(&self) -> Vec<ModelRequest> {
        self.0.seen.lock().requests.clone()
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.seen.lock().calls
    }

    /// Turns not used yet; zero for a rule.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match &self.0.script {
            Script::Turns(turns) => turns.lock().len(),
            Script::Rule(_) => 0,
        }
    }
}

impl ChatModel for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn provider(&self) -> &str {
        "scripted"
    }

    fn abilities(&self) -> Abilities {
        self.0.abilities
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let call = {
            let mut seen = self.0.seen.lock();
            let call = seen.calls;
            seen.calls += 1;
            call
        };
        let turn = match &self.0.script {
            Script::Turns(turns) => {
                self.0.seen.lock().requests.push(request.clone());
                turns.lock().pop_front()
            }
            Script::Rule(rule) => Some(rule(call, &request)),
        };
        let Some(turn) = turn else {
            let detail = format!("the script has no turn for call {}", call + 1);
            return Err(ModelError::new(ModelFault::BadRequest).with_model("scripted").with_detail(detail));
        };
        if let Some(delay) = turn.before {
            tokio::time::sleep(delay).await;
        }
        if let Some(error) = turn.refused {
            return Err(error.with_model("scripted"));
        }
        let deltas = turn.deltas(&request).into_iter();
        if turn.between.is_none() && turn.hang.is_none() {
            return Ok(ModelStream::new(futures::stream::iter(deltas)));
        }
        Ok(ModelStream::new(futures::stream::unfold(deltas.enumerate(), move |mut deltas| async move {
            let (at, delta) = deltas.next()?;
            if turn.hang.is_some_and(|pieces| at >= pieces) {
                std::future::pending::<()>().await;
            }
            if let Some(delay) = turn.between.filter(|_| at > 0) {
                tokio::time::sleep(delay).await;
            }
            Some((delta, deltas))
        })))
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("calls", &self.calls()).finish_non_exhaustive()
    }
}
