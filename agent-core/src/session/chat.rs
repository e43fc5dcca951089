//! Chat: a message to an agent, its answer as it is generated, and the reply.

use std::{
    fmt,
    future::IntoFuture,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use parking_lot::Mutex;

use super::{EventStream, Run, Session, SessionError};
use crate::{
    agent::AgentState,
    event::{EventBody, SubscriptionError},
    graph::Graph,
    ids::TaskId,
    interrupt::OpenQuestion,
    run::RunOutcome,
};

/// A message to an agent. Created by [`Session::chat`].
///
/// Await it for the [`Reply`], or read it as a stream of text first: it yields the text of the agent's turns as it is
/// generated, without the text of sub-agents. Nothing is sent before it is polled.
///
/// Messages follow one another: while the agent still works on an earlier message, this one waits, and a run that another
/// process left unfinished is resumed first.
///
/// # Errors
///
/// Those of a run, see [`RunRequest`](super::RunRequest); as a stream, they are its last item. If an earlier message is
/// unfinished and fails, its error is returned and this message is not sent.
///
/// # Cancel safety
///
/// Dropping it does not stop the run; see [`RunRequest`](super::RunRequest).
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}};
/// use futures::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = Model::new(Scripted::new([Turn::text("hello"), Turn::text("It is noon.")]));
/// let agent = Agent::builder("clock").model(model).build()?;
/// let session = Runtime::builder().build().session("s1")?;
/// assert_eq!(session.chat(&agent, "hi").await?.text(), "hello");
///
/// let mut chat = session.chat(&agent, "What time is it?");
/// let mut shown = String::new();
/// while let Some(text) = chat.next().await {
///     shown += &text?;
/// }
/// assert_eq!(chat.await?.text(), shown);
/// # Ok(()) }
/// ```
#[must_use = "a message is sent when the chat is awaited or read"]
pub struct Chat<'a> {
    session: &'a Session,
    agent: &'a Graph<AgentState>,
    message: String,
    /// The run, once it has started.
    run: Arc<Mutex<Option<Run>>>,
    texts: Option<BoxStream<'a, Result<String, SessionError>>>,
}

/// Answer of an agent to a message.
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("clock").model(Model::new(Scripted::new([Turn::text("It is noon.")]))).build()?;
/// let session = Runtime::builder().build().session("s1")?;
/// let reply = session.chat(&agent, "What time is it?").await?;
/// println!("{reply}"); // the text, or the open questions
/// # assert_eq!(reply.to_string(), "It is noon.");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Reply {
    text: String,
    questions: Vec<OpenQuestion>,
}

impl Reply {
    /// Returns the text of the answer; empty if the agent waits for a person or was stopped before it answered.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let agent = Agent::builder("clock").model(Model::new(Scripted::new([Turn::text("It is noon.")]))).build()?;
    /// let session = Runtime::builder().build().session("s1")?;
    /// assert_eq!(session.chat(&agent, "What time is it?").await?.text(), "It is noon.");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the questions that are open: the agent continues when they are [answered](Session::answer).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, Answers, Runtime, tool, tool::{ToolContext, ToolError}};
    /// use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// use serde_json::{Value, json};
    ///
    /// /// Asks the user.
    /// #[tool]
    /// async fn ask_user(question: String, cx: &ToolContext) -> Result<Value, ToolError> {
    ///     cx.ask(question).await
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let script = [Turn::call("ask_user", json!({ "question": "Which city?" })), Turn::text("Noted.")];
    /// let agent = Agent::builder("guide").tool(ask_user).model(Model::new(Scripted::new(script))).build()?;
    /// let session = Runtime::builder().build().session("s1")?;
    /// let reply = session.chat(&agent, "Plan a trip.").await?;
    /// assert_eq!(reply.questions()[0].question.prompt, "Which city?");
    /// session.answer(Answers::only("Seoul")).await?;
    /// # session.wait_status().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn questions(&self) -> &[OpenQuestion] {
        &self.questions
    }

    fn new(outcome: RunOutcome<AgentState>) -> Self {
        let text = outcome.state().map(AgentState::answer).unwrap_or_default();
        let asked = outcome.questions().iter().filter(|open| !open.question.timer);
        Self { text, questions: asked.cloned().collect() }
    }
}

/// The text, or the open questions, a line each.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.questions.iter().map(|open| open.question.prompt.as_str());
        match lines.next() {
            None => f.write_str(&self.text),
            Some(first) => lines.try_fold(f.write_str(first)?, |(), line| write!(f, "\n{line}")),
        }
    }
}

impl Session {
    /// Sends a message to an agent: await the reply, or read it as a stream of text.
    ///
    /// # Errors
    ///
    /// See [`Chat`].
    ///
    /// # Cancel safety
    ///
    /// See [`Chat`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = Model::new(Scripted::new([Turn::text("hello")]));
    /// let agent = Agent::builder("greeter").model(model).build()?;
    /// let session = Runtime::builder().build().session("s1")?;
    /// println!("{}", session.chat(&agent, "hi").await?);
    /// # Ok(()) }
    /// ```
    pub fn chat<'a>(&'a self, agent: &'a Graph<AgentState>, message: impl Into<String>) -> Chat<'a> {
        Chat { session: self, agent, message: message.into(), run: Arc::default(), texts: None }
    }
}

/// Waits for the run of an earlier message.
async fn finish_earlier(session: &Session, agent: &Graph<AgentState>) -> Result<(), SessionError> {
    while let Some(earlier) = session.continue_unfinished(agent).await? {
        if earlier.outcome::<AgentState>().await?.is_paused() {
            // The next run is refused as busy.
            return Ok(());
        }
    }
    Ok(())
}

impl<'a> Chat<'a> {
    fn texts(&mut self) -> &mut BoxStream<'a, Result<String, SessionError>> {
        let (session, agent, run) = (self.session, self.agent, Arc::clone(&self.run));
        let message = &self.message;
        self.texts.get_or_insert_with(|| {
            let message = message.clone();
            let events = async move {
                finish_earlier(session, agent).await?;
                let events = session.run(agent, message).stream().await?;
                *run.lock() = Some(events.run().clone());
                Ok::<_, SessionError>(texts_of(events))
            };
            futures::stream::once(events)
                .flat_map(|started| match started {
                    Ok(texts) => texts,
                    Err(error) => futures::stream::once(async { Err(error) }).boxed(),
                })
                .boxed()
        })
    }
}

/// Returns the text of the agent's own turns, and the error that ends the run.
fn texts_of(events: EventStream) -> BoxStream<'static, Result<String, SessionError>> {
    let run = events.run().clone();
    futures::stream::unfold((events, run), |(mut events, run)| async move {
        loop {
            let item = match events.next().await? {
                Err(error) => Err(unreadable(run.session(), error)),
                Ok(event) => match &event.body {
                    EventBody::Token(token) if is_own(event.task.as_deref()) => Ok(token.text.clone()),
                    EventBody::RunFailed(_) => match run.clone().outcome::<AgentState>().await {
                        Err(error) => Err(error),
                        Ok(_) => continue,
                    },
                    _ => continue,
                },
            };
            return Some((item, (events, run)));
        }
    })
    .boxed()
}

/// Returns whether a task belongs to the agent itself, not to a sub-agent.
fn is_own(task: Option<&TaskId>) -> bool {
    task.is_none_or(|task| !task.to_string().contains('/'))
}

fn unreadable(session: &Session, error: SubscriptionError) -> SessionError {
    match error {
        SubscriptionError::Unreadable { source, .. } => source.into(),
        SubscriptionError::Deleted { .. } => SessionError::NotFound { session: session.id().clone() },
    }
}

impl Stream for Chat<'_> {
    type Item = Result<String, SessionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.texts().poll_next_unpin(cx)
    }
}

impl<'a> IntoFuture for Chat<'a> {
    type Output = Result<Reply, SessionError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let outcome = match self.texts.take() {
                None => {
                    finish_earlier(self.session, self.agent).await?;
                    self.session.run(self.agent, self.message).await?
                }
                Some(mut texts) => {
                    // The run has started once the stream has yielded or ended.
                    while self.run.lock().is_none() {
                        match texts.next().await {
                            Some(item) => drop(item?),
                            None => break,
                        }
                    }
                    let run = self.run.lock().clone();
                    match run {
                        Some(run) => run.outcome().await?,
                        None => self.session.run(self.agent, self.message).await?,
                    }
                }
            };
            Ok(Reply::new(outcome))
        })
    }
}

impl fmt::Debug for Chat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat")
            .field("session", self.session.id())
            .field("agent", &self.agent.name())
            .finish_non_exhaustive()
    }
}
