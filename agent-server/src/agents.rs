//! Agents: the graphs that a program serves, and how a message becomes their input and their state an answer.

use std::{any::Any, fmt, sync::Arc};

use agent_core::{AgentState, Graph, State, session::RuntimeBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::TaskAgent;

/// Fields that take the message, the first that the state has.
const INPUTS: [&str; 10] =
    ["message", "messages", "input", "question", "request", "prompt", "query", "task", "topic", "text"];
/// Fields that hold the answer, the first that has a text.
const OUTPUTS: [&str; 8] = ["response", "answer", "output", "result", "report", "reply", "summary", "text"];

/// Graphs and agents of a program, for [`serve`](crate::serve). The first one is the default of requests that name none.
///
/// An [agent](agent_core::Agent) takes a message and answers with its text. For another graph, the message goes into the
/// first of these fields that its state has: `message`, `messages`, `input`, `question`, `request`, `prompt`, `query`,
/// `task`, `topic`, `text`; a list gets it as an element. Members of the request's `context` set the fields of their
/// names. The answer is the first text in `response`, `answer`, `output`, `result`, `report`, `reply`, `summary`, `text`,
/// else the whole state as JSON. For another mapping, implement [`TaskAgent`] and use [`Server`](crate::Server).
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, Context, END, Graph, Result, START, State};
/// use agent_server::Agents;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Shout {
///     text: String,
///     answer: String,
/// }
///
/// async fn shout(state: &Shout, _: &Context) -> Result<ShoutUpdate> {
///     Ok(Shout::update().answer(state.text.to_uppercase()))
/// }
///
/// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// let graph = Graph::<Shout>::builder("shout").node("shout", shout).path([START, "shout", END]).build()?;
/// let agents = Agents::new().with(graph)?.with(Agent::builder("helper").build()?)?;
/// # drop(agents); Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Agents(Vec<Arc<dyn HostedAgent>>);

/// No field of a graph's state takes a message.
#[derive(Debug, thiserror::Error)]
#[error(
    "no field of the state of graph `{graph}` takes the message: it has {}, and one of {} is needed; \
     add one, or implement `TaskAgent`", fields.join(", "), INPUTS.join(", ")
)]
#[non_exhaustive]
pub struct NoInputField {
    /// Name of the graph.
    pub graph: String,
    /// Fields of its state.
    pub fields: Vec<String>,
}

impl Agents {
    /// Creates an empty set.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::Agents;
    ///
    /// let agents = Agents::new();
    /// # drop(agents);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a graph.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Agent;
    /// use agent_server::Agents;
    ///
    /// let agents = Agents::new().with(Agent::builder("helper").build()?)?;
    /// # drop(agents); Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NoInputField`].
    pub fn with<S: State>(mut self, graph: Graph<S>) -> Result<Self, NoInputField> {
        let input = match (&graph as &dyn Any).is::<Graph<AgentState>>() {
            true => InputField::Agent,
            false => InputField::of::<S>(graph.name())?,
        };
        self.0.push(Arc::new(GraphAgent { graph, input }));
        Ok(self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the agents in the form in which the server has them.
    pub(crate) fn task_agents(&self) -> impl Iterator<Item = Arc<dyn TaskAgent>> {
        self.0.iter().map(|agent| Arc::clone(agent).task_agent())
    }

    /// Registers all graphs.
    pub(crate) fn register(&self, runtime: RuntimeBuilder) -> RuntimeBuilder {
        self.0.iter().fold(runtime, |runtime, agent| agent.register(runtime))
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.task_agents().map(|agent| agent.graph().to_owned()).collect();
        f.debug_tuple("Agents").field(&names).finish()
    }
}

/// A graph of any state.
trait HostedAgent: Send + Sync {
    fn register(&self, runtime: RuntimeBuilder) -> RuntimeBuilder;
    fn task_agent(self: Arc<Self>) -> Arc<dyn TaskAgent>;
}

struct GraphAgent<S: State> {
    graph: Graph<S>,
    input: InputField,
}

impl<S: State> HostedAgent for GraphAgent<S> {
    fn register(&self, runtime: RuntimeBuilder) -> RuntimeBuilder {
        runtime.graph(&self.graph)
    }

    fn task_agent(self: Arc<Self>) -> Arc<dyn TaskAgent> {
        self
    }
}

/// Destination of the message in the state.
enum InputField {
    /// The state is that of an agent.
    Agent,
    Text(&'static str),
    List(&'static str),
}

impl InputField {
    fn of<S: State>(graph: &str) -> Result<Self, NoInputField> {
        let fields = match serde_json::to_value(S::default()) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let found = INPUTS.iter().find_map(|name| match fields.get(*name)? {
            Value::String(_) | Value::Null => Some(Self::Text(name)),
            Value::Array(_) => Some(Self::List(name)),
            _ => None,
        });
        found.ok_or_else(|| NoInputField {
            graph: graph.to_owned(),
            fields: fields.into_iter().map(|(name, _)| name).collect(),
        })
    }
}

impl<S: State> TaskAgent for GraphAgent<S> {
    fn graph(&self) -> &str {
        self.graph.name()
    }

    fn input(&self, message: String, context: Map<String, Value>) -> Value {
        let (name, value) = match self.input {
            InputField::Agent => {
                let update = AgentState::user(message).context(context);
                return serde_json::to_value(update).expect("an update of messages and JSON is JSON");
            }
            InputField::Text(name) => (name, Value::String(message)),
            InputField::List(name) => (name, json!([message])),
        };
        let mut update = context;
        update.insert(name.to_owned(), value);
        Value::Object(update)
    }

    fn response(&self, state: &Value) -> String {
        if matches!(self.input, InputField::Agent) {
            return AgentState::deserialize(state).map(|state| state.answer()).unwrap_or_default();
        }
        let texts = OUTPUTS.iter().filter_map(|name| state[*name].as_str());
        match texts.into_iter().find(|text| !text.is_empty()) {
            Some(text) => text.to_owned(),
            None => format!("{state:#}"),
        }
    }
}
