//! `AgentState`: the conversation of an agent and its progress.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{close::is_closing, conversation::Summary};
use crate::{
    State,
    model::{Message, Messages, Role, ToolCall},
    state::Input,
    tool::StandingApprovals,
};

/// Reason for the end of an agent's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// The model answered.
    Answered,
    /// The limit of turns was reached; the last call was answered without tools.
    TurnLimit,
    /// The reviewer did not approve within the maximum number of reviews.
    NotApproved,
}

/// State of an agent. It lasts as long as its session: each run adds a message of the user and continues.
///
/// A text is an input: `session.run(&agent, "hello")`.
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, AgentState, Runtime, model::{Model, testing::{Scripted, Turn}}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = Model::new(Scripted::new([Turn::text("hello")]));
/// let session = Runtime::builder().model(model).build().session("s1")?;
/// let outcome = session.run(&Agent::builder("a").build()?, "hi").await?;
/// let state: &AgentState = outcome.state().ok_or("the run is paused")?;
/// assert_eq!((state.messages.len(), state.answer().as_str()), (2, "hello"));
/// # Ok(()) }
/// ```
#[derive(State, Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AgentState {
    /// The complete conversation. A message with a known id replaces the earlier one.
    #[state(reduce = join)]
    pub messages: Messages,
    /// Values for prompt templates.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// The typed answer as JSON; see [`AgentBuilder::output`](super::AgentBuilder::output).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured: Option<Value>,
    /// Reason for the end of the turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// Number of model calls since the last message of the user.
    pub turns: u32,
    /// Number of reviews since the last message of the user.
    pub reviews: u32,
    /// Standing approvals, including those given in sub-agents. Updates add to them.
    #[state(reduce = remember)]
    pub approvals: StandingApprovals,
    /// Summary of the beginning of the conversation, once it no longer fits into the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Set once the model has refused a conversation as too long: the maximum number of tokens (estimated) that are sent
    /// from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_limit: Option<u64>,
    /// Set if a stop interrupted the answer of the model: the id of the partial message (empty: there is none). A resume
    /// calls the model again, and the new answer replaces the partial one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// Name of the agent that has the conversation after a hand-off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// Set if a tool result was too long for the model: the agent can read the complete result with `read_result`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kept_results: bool,
    /// In a sub-agent: the tool call that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<ToolCall>,
    /// In a sub-agent: its todo, which is the parent of further todos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
    /// In a sub-agent: why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

fn remember(held: &mut StandingApprovals, new: StandingApprovals) {
    held.join(new);
}

/// Messages by id; results of tools in the order of their calls. A new message is nearly always new; a known one is nearly always near the end.
fn join(held: &mut Messages, new: Messages) {
    if held.is_empty() {
        *held = new;
        return;
    }
    for message in &new {
        match held.place_of(&message.id) {
            Some(at) => held.make_mut()[at] = message.clone(),
            None => match position_of(held, message) {
                MessagePosition::End => held.push(message.clone()),
                MessagePosition::Before(at) => held.make_mut().insert(at, message.clone()),
                MessagePosition::Instead(at) => held.make_mut()[at] = message.clone(),
            },
        }
    }
}

/// Position of a new message.
enum MessagePosition {
    End,
    Before(usize),
    /// In the place of a message that stood for a result that was missing.
    Instead(usize),
}

/// A result may come after those of later calls of its turn (a sub-agent's, say), or after its turn was closed by a
/// stop.
fn position_of(held: &Messages, message: &Message) -> MessagePosition {
    let Some(id) = message.tool_call_id.as_deref().filter(|_| message.role == Role::Tool) else {
        return MessagePosition::End;
    };
    let results = held.iter().rev().take_while(|known| known.role == Role::Tool).count();
    let first = held.len() - results;
    let Some(said) = first.checked_sub(1).and_then(|at| held.get(at)) else { return MessagePosition::End };
    if let Some(at) = held[first..].iter().position(|known| is_closing(known, said, id)) {
        return MessagePosition::Instead(first + at);
    }
    let order = |id: &str| said.tool_calls.iter().position(|call| call.id == id);
    let Some(own) = order(id) else { return MessagePosition::End };
    let comes_later =
        |known: &Arc<Message>| known.tool_call_id.as_deref().and_then(order).is_some_and(|other| other > own);
    held[first..]
        .iter()
        .position(comes_later)
        .map_or(MessagePosition::End, |at| MessagePosition::Before(first + at))
}

impl AgentState {
    /// Returns an update that adds a message of the user and resets the fields of the last answer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Agent, AgentState, Runtime, model::{Model, testing::{Scripted, Turn}}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let agent = Agent::builder("clock").build()?;
    /// # let model = Model::new(Scripted::new([Turn::text("It is noon.")]));
    /// # let session = Runtime::builder().model(model).build().session("s-1")?;
    /// let outcome = session.run(&agent, AgentState::user("What time is it?")).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.answer(), "It is noon.");
    /// # Ok(()) }
    /// ```
    pub fn user(content: impl Into<crate::model::Content>) -> AgentStateUpdate {
        Self::says([Message::user(content)])
    }

    /// As [`user`](AgentState::user), with several messages.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Agent, AgentState, Runtime, model::{Message, Model, testing::{Scripted, Turn}}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let agent = Agent::builder("clock").build()?;
    /// # let model = Model::new(Scripted::new([Turn::text("It is noon.")]));
    /// # let session = Runtime::builder().model(model).build().session("s-1")?;
    /// let messages = [Message::user("I am in Seoul."), Message::user("What time is it?")];
    /// let outcome = session.run(&agent, AgentState::says(messages)).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.messages.len(), 3);
    /// # Ok(()) }
    /// ```
    pub fn says(messages: impl IntoIterator<Item = Message>) -> AgentStateUpdate {
        let messages: Messages = messages.into_iter().collect();
        Self::update()
            .messages(messages)
            .turns(0_u32)
            .reviews(0_u32)
            .structured(None)
            .finish(None)
            .interrupted(None)
    }

    /// Returns the text of the last answer; empty if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Agent, AgentState, Runtime, model::{Model, testing::{Scripted, Turn}}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let agent = Agent::builder("clock").build()?;
    /// # let model = Model::new(Scripted::new([Turn::text("It is noon.")]));
    /// # let session = Runtime::builder().model(model).build().session("s-1")?;
    /// session.run(&agent, "What time is it?").await?;
    /// assert_eq!(session.state::<AgentState>().await?.answer(), "It is noon.");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn answer(&self) -> String {
        let last = self.messages.iter().rfind(|message| message.role == Role::Assistant);
        last.map(|message| message.text().into_owned()).unwrap_or_default()
    }

    /// Returns the typed answer of an agent that was built with [`output`](super::AgentBuilder::output). A missing answer
    /// is decoded from `null`.
    ///
    /// # Errors
    ///
    /// There is no answer, or it has another type.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Agent, AgentState, Runtime, model::{Model, testing::{Scripted, Turn}}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// #[derive(schemars::JsonSchema, serde::Serialize, serde::Deserialize)]
    /// struct Time { hour: u8 }
    ///
    /// let agent = Agent::builder("clock").output::<Time>().build()?;
    /// # let model = Model::new(Scripted::new([Turn::text(r#"{"hour":12}"#)]));
    /// # let session = Runtime::builder().model(model).build().session("s-1")?;
    /// session.run(&agent, "What time is it?").await?;
    /// let time: Time = session.state::<AgentState>().await?.output()?;
    /// assert_eq!(time.hour, 12);
    /// # Ok(()) }
    /// ```
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(self.structured.as_ref().unwrap_or(&Value::Null))
    }
}

impl From<&str> for Input<AgentState> {
    fn from(text: &str) -> Self {
        Self::Update(AgentState::user(text))
    }
}

impl From<String> for Input<AgentState> {
    fn from(text: String) -> Self {
        Self::Update(AgentState::user(text))
    }
}

impl From<Message> for Input<AgentState> {
    fn from(message: Message) -> Self {
        Self::Update(AgentState::says([message]))
    }
}
