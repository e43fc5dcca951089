//! Task agents: the interface of an agent that `/run` starts.

use agent_core::model::{Message, Role};
use serde_json::{Map, Value, json};

use crate::Assistant;

/// An agent that `/run` starts: a graph that takes a message and ends with a text.
///
/// # Examples
///
/// ```
/// use agent_server::TaskAgent;
/// use serde_json::{Map, Value, json};
///
/// struct Summary;
///
/// impl TaskAgent for Summary {
///     fn graph(&self) -> &str {
///         "summary"
///     }
///
///     fn input(&self, message: String, _: Map<String, Value>) -> Value {
///         json!({"text": message})
///     }
///
///     fn response(&self, state: &Value) -> String {
///         state["summary"].as_str().unwrap_or_default().to_owned()
///     }
/// }
/// ```
pub trait TaskAgent: Send + Sync + 'static {
    /// Returns the name of the graph, which must be registered with the runtime.
    fn graph(&self) -> &str;

    /// Returns what the agent does, for programs and models that choose one. Default: empty.
    fn description(&self) -> &str {
        ""
    }

    /// Returns the update that starts a run, as JSON.
    fn input(&self, message: String, context: Map<String, Value>) -> Value;

    /// Returns the answer in a final state; empty if there is none.
    fn response(&self, state: &Value) -> String;

    /// Returns the update that starts a run at the end of a conversation that the client keeps (`/v1`). `message` is the
    /// text of the user's last message that is not an answer to a question, `messages` is the whole conversation.
    ///
    /// Default: [`input`](Self::input), with the texts of the conversation in `context.messages` as a list of
    /// `{role, content}`.
    fn conversation(&self, message: String, messages: &[Message], mut context: Map<String, Value>) -> Value {
        let texts = messages.iter().filter(|message| message.role != Role::Tool);
        let texts = texts.map(|message| json!({"role": message.role, "content": message.text()}));
        context.insert("messages".to_owned(), texts.collect());
        self.input(message, context)
    }

    /// Returns the agent as an assistant, if it is one: its text is then streamed, and it takes tools of the caller.
    /// Default: `None`.
    fn as_assistant(&self) -> Option<&Assistant> {
        None
    }
}
