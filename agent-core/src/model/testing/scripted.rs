//! Scripted model: defines its answers, how they are split and delayed, and their errors.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use crate::model::{
    ChatModel, Delta, FinishReason, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest, ModelStream,
    ToolCall, Usage,
};

/// Splitting of text and arguments into parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunking {
    /// Not split.
    #[default]
    Whole,
    /// This many characters per delta; 0 counts as 1.
    Chars(usize),
}

/// One answer of a script.
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
    /// Answers with a text.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::testing::{Scripted, Turn};
    ///
    /// let model = Scripted::new([Turn::text("first answer"), Turn::text("second answer")]);
    /// assert_eq!(model.remaining(), 2);
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Answers with a tool call.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::testing::Turn;
    ///
    /// let turn = Turn::call("weather", serde_json::json!({ "city": "Seoul" }));
    /// # drop(turn);
    /// ```
    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Self::default().and_call(name, arguments)
    }

    /// Fails before any output.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{ModelError, ModelErrorKind, testing::Turn};
    ///
    /// let turn = Turn::error(ModelError::new(ModelErrorKind::Transport));
    /// # drop(turn);
    /// ```
    pub fn error(error: ModelError) -> Self {
        Self { refused: Some(error), ..Self::default() }
    }

    /// Adds a tool call to the same answer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::testing::Turn;
    /// # use serde_json::json;
    /// let turn = Turn::text("I look it up.").and_call("weather", json!({ "city": "Seoul" }));
    /// # drop(turn);
    /// ```
    pub fn and_call(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.calls.push(ToolCall::new(name, &arguments));
        self
    }

    /// Adds a tool call with the given id and arguments, which may be malformed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{model::testing::Turn, tool::ToolCall};
    /// # use serde_json::json;
    /// let mut call = ToolCall::new("weather", &json!({}));
    /// call.arguments = "{not json".to_owned();
    /// let turn = Turn::text("I look it up.").and_raw_call(call);
    /// # drop(turn);
    /// ```
    pub fn and_raw_call(mut self, call: ToolCall) -> Self {
        self.calls.push(call);
        self
    }

    /// Adds reasoning before the answer.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::testing::Turn;
    ///
    /// let turn = Turn::text("4").thinking("2 + 2 is 4");
    /// # drop(turn);
    /// ```
    pub fn thinking(mut self, text: impl Into<String>) -> Self {
        self.reasoning = text.into();
        self
    }

    /// Sets the reported usage. Default: an estimate from the request and the answer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::model::Usage;
    ///
    /// let usage = Usage { input_tokens: 100, output_tokens: 20, ..Usage::default() };
    /// let model = Model::new(Scripted::new([Turn::text("hello").usage(usage)]));
    /// assert_eq!(model.complete("hi").await?.usage, Some(usage));
    /// # Ok(()) }
    /// ```
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Sets the finish reason. Default: `ToolCalls` for an answer with calls, otherwise `Stop`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::model::FinishReason;
    ///
    /// let model = Model::new(Scripted::new([Turn::text("hel").finish(FinishReason::Length)]));
    /// assert_eq!(model.complete("hi").await?.finish, FinishReason::Length);
    /// # Ok(()) }
    /// ```
    pub fn finish(mut self, reason: FinishReason) -> Self {
        self.finish = Some(reason);
        self
    }

    /// Sets how the answer is split. Default: not split.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::testing::{Chunking, Turn};
    ///
    /// let turn = Turn::text("hello").chunked(Chunking::Chars(2));
    /// # drop(turn);
    /// ```
    pub fn chunked(mut self, chunking: Chunking) -> Self {
        self.chunking = chunking;
        self
    }

    /// Delays the beginning of the answer. Default: no delay.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::testing::Turn;
    /// use std::time::Duration;
    ///
    /// let turn = Turn::text("hello").after(Duration::from_millis(50));
    /// # drop(turn);
    /// ```
    pub fn after(mut self, delay: Duration) -> Self {
        self.before = Some(delay);
        self
    }

    /// Delays each further delta. Default: no delay.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::testing::Turn;
    /// # use std::time::Duration;
    /// use agent_core::model::testing::Chunking;
    ///
    /// let turn = Turn::text("hello").chunked(Chunking::Chars(1)).every(Duration::from_millis(20));
    /// # drop(turn);
    /// ```
    pub fn every(mut self, delay: Duration) -> Self {
        self.between = Some(delay);
        self
    }

    /// Fails after `pieces` deltas.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{ModelError, ModelErrorKind, testing::{Chunking, Turn}};
    ///
    /// let broken = ModelError::new(ModelErrorKind::Transport);
    /// let turn = Turn::text("hello").chunked(Chunking::Chars(1)).then_error(2, broken);
    /// # drop(turn);
    /// ```
    pub fn then_error(mut self, pieces: usize, error: ModelError) -> Self {
        self.broken = Some((pieces, error));
        self
    }

    /// Stalls after `pieces` deltas.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::testing::Turn;
    /// use agent_core::model::testing::Chunking;
    ///
    /// let turn = Turn::text("hello").chunked(Chunking::Chars(1)).then_hang(2);
    /// # drop(turn);
    /// ```
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

    /// A quarter of the bytes: cheap, deterministic, and never zero for an answer with output.
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

/// A scripted model. Clones share the script and the recorded requests, so a test can keep one and pass on another.
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
    capabilities: ModelCapabilities,
}

#[derive(Default)]
struct Seen {
    calls: usize,
    requests: Vec<ModelRequest>,
}

impl Scripted {
    /// Creates a model with one turn per call, in order. A call beyond the last turn fails with
    /// [`ModelErrorKind::BadRequest`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = Model::new(Scripted::new([Turn::text("hello"), Turn::text("bye")]));
    /// assert_eq!(model.complete("1").await?.message.text(), "hello");
    /// assert_eq!(model.complete("2").await?.message.text(), "bye");
    /// assert!(model.complete("3").await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self::with(Script::Turns(Mutex::new(turns.into_iter().collect())))
    }

    /// Creates a model that computes the turn from the number of the call, counted from 0, and the request.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Model, testing::{Scripted, Turn}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = Model::new(Scripted::rule(|call, request| {
    ///     Turn::text(format!("answer {call} to {} message(s)", request.messages.len()))
    /// }));
    /// assert!(model.complete("hi").await?.message.text().contains("1 message"));
    /// # Ok(()) }
    /// ```
    pub fn rule(rule: impl Fn(usize, &ModelRequest) -> Turn + Send + Sync + 'static) -> Self {
        Self::with(Script::Rule(Box::new(rule)))
    }

    fn with(script: Script) -> Self {
        Self(Arc::new(Inner { script, seen: Mutex::default(), capabilities: ModelCapabilities::default() }))
    }

    /// Returns the requests so far, oldest first. Empty for a model created with [`rule`](Self::rule): keeping them
    /// would share the conversation, and every later append would copy its list.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Model, testing::{Scripted, Turn}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let script = Scripted::new([Turn::text("hello")]);
    /// Model::new(script.clone()).complete("hi").await?;
    /// assert_eq!(script.requests()[0].messages[0].text(), "hi");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn requests(&self) -> Vec<ModelRequest> {
        self.0.seen.lock().requests.clone()
    }

    /// Returns the number of calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let script = Scripted::new([Turn::text("hello")]);
    /// Model::new(script.clone()).complete("hi").await?;
    /// assert_eq!(script.calls(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.seen.lock().calls
    }

    /// Returns the number of unused turns; 0 for a model created with [`rule`](Self::rule).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::testing::{Scripted, Turn};
    /// assert_eq!(Scripted::new([Turn::text("hello")]).remaining(), 1);
    /// ```
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

    fn capabilities(&self) -> ModelCapabilities {
        self.0.capabilities
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
            return Err(ModelError::new(ModelErrorKind::BadRequest)
                .with_model("scripted")
                .with_detail(detail));
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
