//! What an agent is made of; `build` checks it and turns it into a graph.

use std::{collections::BTreeSet, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

#[cfg(feature = "prompt")]
use super::Prompt;
use super::{
    AgentState, Finish,
    assembly::assemble,
    conversation::Window,
    nodes::{Core, Judge, Profile, Reviewer, Tools},
    profile::judge,
};
use crate::{
    graph::{BuildError, Graph, NodeError},
    model::{Model, ModelRequest},
    tool::{RegistryError, ToolFault, ToolRegistry},
};

/// When the schema of a typed answer is sent to the model; see [`AgentBuilder::output`].
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, agent::OutputMode};
///
/// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Tone { sentiment: String }
///
/// let agent = Agent::builder("reader").output::<Tone>().output_mode(OutputMode::EveryTurn).build()?;
/// # assert_eq!(agent.name(), "reader");
/// # Ok::<(), agent_core::agent::AgentError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputMode {
    /// Only when no tools are offered: in the turns of an agent without tools, in the last turn that
    /// [`max_turns`](AgentBuilder::max_turns) allows, and in one further call when the answer in words is not of the
    /// type. Some servers stop calling tools when they are sent a schema.
    #[default]
    LastTurn,
    /// With every turn. Saves the further call, on endpoints that call tools although they are sent a schema.
    EveryTurn,
}

/// Makes agents; see [`Agent::builder`].
#[derive(Debug)]
pub struct Agent;

impl Agent {
    /// Begins an agent. The name becomes the graph's, and the tool's where it works for another agent:
    /// `[A-Za-z0-9_-]{1,40}`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}, tool, tool::{ToolError, ToolRegistry}};
    ///
    /// /// The weather of a city.
    /// #[tool]
    /// async fn weather(city: String) -> Result<String, ToolError> {
    ///     Ok(format!("{city}: 맑음"))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let agent = Agent::builder("assistant").system("Answer in one sentence.").tools(tools).build()?;
    /// let model = Scripted::new([
    ///     Turn::call("weather", serde_json::json!({ "city": "서울" })),
    ///     Turn::text("서울은 맑습니다."),
    /// ]);
    /// let runtime = Runtime::builder().model(Model::new(model)).build();
    /// let outcome = runtime.session("s1")?.run(&agent, "서울 날씨는?").await?;
    /// assert_eq!(outcome.state().map(|state| state.answer()).as_deref(), Some("서울은 맑습니다."));
    /// # Ok(()) }
    /// ```
    pub fn builder(name: impl Into<String>) -> AgentBuilder {
        AgentBuilder {
            name: name.into(),
            description: String::new(),
            system: None,
            tools: Tools::None,
            base: ModelRequest::default(),
            model: None,
            plans: false,
            max_turns: None,
            window: None,
            summary: None,
            output: None,
            output_mode: OutputMode::default(),
            reviewer: None,
            fatal: Vec::new(),
            subs: Vec::new(),
            peers: Vec::new(),
        }
    }
}

/// What an agent is made of. Each setter says its default.
#[must_use = "a builder does nothing until `build`"]
pub struct AgentBuilder {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) system: Option<System>,
    pub(super) tools: Tools,
    pub(super) base: ModelRequest,
    pub(super) model: Option<Model>,
    pub(super) plans: bool,
    max_turns: Option<u32>,
    pub(super) window: Option<Window>,
    pub(super) summary: Option<Window>,
    output: Option<Judge>,
    output_mode: OutputMode,
    reviewer: Option<Reviewer>,
    pub(super) fatal: Vec<ToolFault>,
    subs: Vec<AgentBuilder>,
    peers: Vec<AgentBuilder>,
}

/// A system prompt.
pub(super) enum System {
    Text(Arc<str>),
    #[cfg(feature = "prompt")]
    Template(Prompt),
}

impl System {
    /// Renders the prompt with the agent's context.
    #[cfg_attr(not(feature = "prompt"), expect(unused_variables, reason = "only templates read the context"))]
    pub(super) fn text(&self, context: &Map<String, Value>) -> Result<Arc<str>, NodeError> {
        match self {
            Self::Text(text) => Ok(Arc::clone(text)),
            #[cfg(feature = "prompt")]
            Self::Template(prompt) => prompt.render(context).map(Arc::from).map_err(NodeError::permanent),
        }
    }
}

/// An agent that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A name that a tool could not have.
    #[error("an agent's name is 1 to 40 of `A-Z a-z 0-9 _ -`; `{name}` is not")]
    IllegalName {
        /// The name, cut.
        name: String,
    },
    /// A tool and an agent, or two agents, have the same name.
    #[error("`{name}` is the name of two tools or agents; rename one")]
    Twice {
        /// The name.
        name: String,
    },
    /// A setting of an agent that a conversation is handed over to, which only the agent that is built can have.
    #[error(
        "the setting `{setting}` of `{name}` has no effect after a hand-off; set it on the agent that hands over"
    )]
    PeerSetting {
        /// The agent that was given to `hand_off`.
        name: String,
        /// The setting.
        setting: &'static str,
    },
    /// The tools do not fit together.
    #[error(transparent)]
    Tools(#[from] RegistryError),
    /// The graph has faults.
    #[error(transparent)]
    Graph(#[from] BuildError),
}

impl AgentBuilder {
    /// What the agent is for, told to agents that may call it or hand over to it. Default: nothing.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// The system prompt. Default: none.
    pub fn system(mut self, prompt: impl Into<Arc<str>>) -> Self {
        self.system = Some(System::Text(prompt.into()));
        self
    }

    /// The system prompt as a template, filled in from [`AgentState::context`] for each call of the model. Needs the
    /// feature `prompt` (on by default).
    #[cfg(feature = "prompt")]
    pub fn system_template(mut self, prompt: Prompt) -> Self {
        self.system = Some(System::Template(prompt));
        self
    }

    /// The tools that it may use. Default: none. Cut a set with [`ToolRegistry::allow`].
    ///
    /// Once a result was too long for the model and is kept in the runtime's long-term memory, the agent also has the
    /// tool [`read_result`](crate::tool::ReadResult), unless one of its own has that name.
    pub fn tools(mut self, tools: ToolRegistry) -> Self {
        self.tools = Tools::Own(tools);
        self
    }

    /// It may use all tools of the runtime it runs in. Default: none.
    pub fn runtime_tools(mut self) -> Self {
        self.tools = Tools::Runtime;
        self
    }

    /// Its model. Default: the runtime's.
    pub fn model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    /// Settings of every request (temperature and such). Messages, tools and system prompt are the agent's own.
    pub fn request(mut self, set: impl FnOnce(ModelRequest) -> ModelRequest) -> Self {
        self.base = set(self.base);
        self
    }

    /// It gets the tool `update_plan`, with which the model keeps the todo list that people see. Default: not.
    pub const fn plans(mut self) -> Self {
        self.plans = true;
        self
    }

    /// How often the model is asked for each message of the user; the last time it must answer without tools.
    /// At least 1. Default: 25.
    pub fn max_turns(mut self, turns: u32) -> Self {
        self.max_turns = Some(turns.max(1));
        self
    }

    /// How much of the conversation the model reads. Default: all.
    ///
    /// A model that refuses a conversation as too long is asked again with half of it, three times at most (what is
    /// left out is summarised where [`summarise_beyond`](Self::summarise_beyond) is set); the custom event
    /// `context_compacted` tells of it, and [`AgentState::context_limit`] keeps it.
    pub fn window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// What does not fit into `window` is put into few words by the model, in a recorded call. Default: not.
    pub fn summarise_beyond(mut self, window: Window) -> Self {
        self.summary = Some(window);
        self
    }

    /// The answer is also given as a `T`: held to its JSON Schema, and asked for again where the model's own words
    /// are none. Read it with [`AgentState::output`]. When the schema is sent is set by
    /// [`output_mode`](Self::output_mode). Default: text only.
    pub fn output<T: JsonSchema + DeserializeOwned + Serialize + 'static>(mut self) -> Self {
        self.output = Some(judge::<T>());
        self
    }

    /// Sets when the schema of a typed answer is sent. Default: [`OutputMode::LastTurn`].
    pub const fn output_mode(mut self, mode: OutputMode) -> Self {
        self.output_mode = mode;
        self
    }

    /// Each answer is reviewed under this prompt, at most `rounds` times; what the reviewer finds wrong is told to
    /// the agent, which tries again. Default: no review.
    pub fn reviewer(mut self, prompt: impl Into<Arc<str>>, rounds: u32) -> Self {
        self.reviewer = Some(Reviewer { prompt: prompt.into(), rounds: rounds.max(1) });
        self
    }

    /// With these faults a tool call ends the run rather than being told to the model. Default: none.
    pub fn failing_on(mut self, faults: impl IntoIterator<Item = ToolFault>) -> Self {
        self.fatal.extend(faults);
        self
    }

    /// Another agent that it can call like a tool, with a task in words. Several run side by side; one that fails is
    /// told to the model and does not disturb the others. Its work is a todo, its own todos hang under that.
    pub fn sub_agent(mut self, agent: Self) -> Self {
        self.subs.push(agent);
        self
    }

    /// Another agent that it can hand the conversation over to, and that can hand it back. The other brings its
    /// prompt, model, request settings, tools, plan, sub-agents, window, summary and fatal faults. The turn limit, the
    /// typed output, the reviewer and the hand-offs belong to the whole conversation: set on the other, they are
    /// [`AgentError::PeerSetting`] at `build`. The names of all sub-agents must differ.
    pub fn hand_off(mut self, agent: Self) -> Self {
        self.peers.push(agent);
        self
    }

    /// Checks everything and makes the graph.
    ///
    /// # Errors
    ///
    /// [`AgentError`].
    pub fn build(self) -> Result<Graph<AgentState>, AgentError> {
        self.graph(false)
    }

    /// `contained`: a failure is the agent's result rather than the run's end.
    fn graph(self, contained: bool) -> Result<Graph<AgentState>, AgentError> {
        let name = self.name.clone();
        let mut names = BTreeSet::new();
        check_name(&name)?;
        for peer in &self.peers {
            peer.check_peer()?;
        }
        let peers_subs = self.peers.iter().flat_map(|peer| &peer.subs);
        for other in self.subs.iter().chain(&self.peers).chain(peers_subs) {
            check_name(&other.name)?;
            if !names.insert(other.name.clone()) || other.name == name {
                return Err(AgentError::Twice { name: other.name.clone() });
            }
        }
        let team: Vec<(String, String)> = std::iter::once((name.clone(), self.description.clone()))
            .chain(self.peers.iter().map(|peer| (peer.name.clone(), peer.description.clone())))
            .collect();
        let (max_turns, output_mode) = (self.max_turns.unwrap_or(25), self.output_mode);
        let mut root = self;
        let (output, reviewer) = (root.output.take(), root.reviewer.take());
        let peers = std::mem::take(&mut root.peers);
        let mut profiles = Vec::with_capacity(team.len());
        let mut graphs = Vec::new();
        for mut member in std::iter::once(root).chain(peers) {
            let subs = std::mem::take(&mut member.subs);
            profiles.push(Profile::new(member, &subs, &team)?);
            for sub in subs {
                graphs.push((format!("agent.{}", sub.name), sub.graph(true)?));
            }
        }
        let has_subs = !graphs.is_empty();
        let core = Arc::new(Core { profiles, max_turns, output, output_mode, reviewer, has_subs });
        assemble(&name, core, graphs, contained)
    }

    /// What an agent that is handed a conversation over to cannot bring.
    fn check_peer(&self) -> Result<(), AgentError> {
        let refused = [
            ("output", self.output.is_some()),
            ("reviewer", self.reviewer.is_some()),
            ("max_turns", self.max_turns.is_some()),
            ("hand_off", !self.peers.is_empty()),
        ];
        match refused.into_iter().find(|(_, set)| *set) {
            Some((setting, _)) => Err(AgentError::PeerSetting { name: self.name.clone(), setting }),
            None => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), AgentError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=40).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    Err(AgentError::IllegalName { name: crate::util::shorten(name, 64) })
}

impl fmt::Debug for AgentBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// So that the end of an agent is one place.
pub(super) const fn finish(limited: bool) -> Finish {
    if limited { Finish::TurnLimit } else { Finish::Answered }
}
