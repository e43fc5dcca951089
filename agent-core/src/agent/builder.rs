//! `AgentBuilder`: collects the parts of an agent; `build` validates them and creates a graph.

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
    middleware::{DynMiddleware, Middleware},
    nodes::{Core, OutputParser, Profile, Reviewer, Tools},
    profile::output_parser,
};
use crate::{
    engine::Context,
    graph::{BuildError, Graph, NodeError},
    model::{Model, ModelRequest},
    tool::{RegistryError, Tool, ToolFault, ToolRegistry, ToolRegistryBuilder},
};

/// Time at which the schema of a typed answer is sent to the model; see [`AgentBuilder::output`].
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

/// Entry point for agents; see [`Agent::builder`].
///
/// # Examples
///
/// ```
/// # use agent_core::{Agent, AgentState, Runtime, model::{Model, testing::{Scripted, Turn}}};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("clock").system("Answer in one sentence.").build()?;
/// # let model = Model::new(Scripted::new([Turn::text("It is noon.")]));
/// let session = Runtime::builder().model(model).build().session("s-1")?;
/// session.run(&agent, "What time is it?").await?;
/// assert_eq!(session.state::<AgentState>().await?.answer(), "It is noon.");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Agent;

impl Agent {
    /// Starts building an agent. The name (`[A-Za-z0-9_-]{1,40}`) is also the name of the graph, and of the tool by which
    /// another agent calls it.
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
            more_tools: ToolRegistry::builder(),
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
            middleware: Vec::new(),
        }
    }
}

/// Builder of an agent, which is a [`Graph`] over [`AgentState`].
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, model::{Model, testing::{Scripted, Turn}}};
///
/// let model = Model::new(Scripted::new([Turn::text("hello")]));
/// let agent = Agent::builder("greeter").system("Answer in one word.").model(model).build()?;
/// assert_eq!(agent.name(), "greeter");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct AgentBuilder {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) system: Option<System>,
    pub(super) tools: Tools,
    pub(super) more_tools: ToolRegistryBuilder,
    pub(super) base: ModelRequest,
    pub(super) model: Option<Model>,
    pub(super) plans: bool,
    max_turns: Option<u32>,
    pub(super) window: Option<Window>,
    pub(super) summary: Option<Window>,
    output: Option<OutputParser>,
    output_mode: OutputMode,
    reviewer: Option<Reviewer>,
    pub(super) fatal: Vec<ToolFault>,
    subs: Vec<AgentBuilder>,
    peers: Vec<AgentBuilder>,
    pub(super) middleware: Vec<Arc<dyn DynMiddleware>>,
}

/// A system prompt.
pub(super) enum System {
    Text(Arc<str>),
    #[cfg(feature = "prompt")]
    Template(Prompt),
}

impl System {
    /// Renders the prompt with the agent's context, and the run's as `context`.
    #[cfg_attr(not(feature = "prompt"), expect(unused_variables, reason = "only templates read the context"))]
    pub(super) fn text(&self, values: &Map<String, Value>, cx: &Context) -> Result<Arc<str>, NodeError> {
        match self {
            Self::Text(text) => Ok(Arc::clone(text)),
            #[cfg(feature = "prompt")]
            Self::Template(prompt) => {
                let rendered = match cx.context_json().filter(|_| !values.contains_key("context")) {
                    None => prompt.render(values),
                    Some(context) => {
                        let mut values = values.clone();
                        values.insert("context".to_owned(), context);
                        prompt.render(&values)
                    }
                };
                rendered.map(Arc::from).map_err(NodeError::permanent)
            }
        }
    }
}

/// Error of [`AgentBuilder::build`].
///
/// # Examples
///
/// ```
/// use agent_core::{Agent, agent::AgentError};
///
/// let twice = Agent::builder("a").sub_agent(Agent::builder("b")).sub_agent(Agent::builder("b"));
/// assert!(matches!(twice.build(), Err(AgentError::Twice { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The name is not valid for a tool.
    #[error("an agent's name is 1 to 40 of `A-Z a-z 0-9 _ -`; `{name}` is not")]
    IllegalName {
        /// The name, cut.
        name: String,
    },
    /// A tool and an agent, or two agents, have the same name.
    #[error("two tools or agents are named `{name}`; rename one")]
    Twice {
        /// The name.
        name: String,
    },
    /// A setting that the target of a hand-off cannot have.
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
    /// Sets the description that agents read that may call this agent or hand over to it. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let researcher = Agent::builder("researcher").description("Finds facts and their sources.");
    /// let agent = Agent::builder("assistant").sub_agent(researcher).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Sets the system prompt. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let agent = Agent::builder("assistant").system("Answer in one sentence.").build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn system(mut self, prompt: impl Into<Arc<str>>) -> Self {
        self.system = Some(System::Text(prompt.into()));
        self
    }

    /// Sets the system prompt as a template, rendered with [`AgentState::context`] for each call of the model. The context of
    /// the run ([`RunOptions::context`](crate::RunOptions::context)) is `context` in it. Needs the feature `prompt` (on by
    /// default).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, agent::Prompt};
    ///
    /// let prompt = Prompt::new("Answer {{ user }} in one sentence.")?;
    /// let agent = Agent::builder("assistant").system_template(prompt).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "prompt")]
    pub fn system_template(mut self, prompt: Prompt) -> Self {
        self.system = Some(System::Template(prompt));
        self
    }

    /// Adds a tool, also beside those of [`tools`](Self::tools) or [`runtime_tools`](Self::runtime_tools). Two tools of one
    /// name are an error of [`build`](Self::build).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, tool, tool::ToolError};
    ///
    /// /// The weather of a city.
    /// #[tool]
    /// async fn weather(city: String) -> Result<String, ToolError> {
    ///     Ok(format!("{city}: sunny"))
    /// }
    ///
    /// let agent = Agent::builder("assistant").tool(weather).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tool(mut self, tool: impl Tool) -> Self {
        self.more_tools = self.more_tools.tool(tool);
        self
    }

    /// Sets the tools. Default: none. Select a part of a registry with [`ToolRegistry::allow`].
    ///
    /// Once a result was too long for the model and is kept in the runtime's long-term memory, the agent also has the
    /// tool [`read_result`](crate::tool::ReadResult), unless another of its tools has that name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// use agent_core::{Agent};
    ///
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let agent = Agent::builder("assistant").tools(tools).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tools(mut self, tools: ToolRegistry) -> Self {
        self.tools = Tools::Own(tools);
        self
    }

    /// Adds tools to those of [`tools`](Self::tools). With [`runtime_tools`](Self::runtime_tools), it replaces these.
    ///
    /// # Errors
    ///
    /// [`RegistryError`](crate::tool::RegistryError): the agent has a tool of the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// use agent_core::Agent;
    ///
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let agent = Agent::builder("assistant").further_tools(&tools)?.build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn further_tools(mut self, tools: &ToolRegistry) -> Result<Self, RegistryError> {
        self.tools = Tools::Own(match &self.tools {
            Tools::Own(own) => own.join(tools)?,
            Tools::None | Tools::Runtime => tools.clone(),
        });
        Ok(self)
    }

    /// Uses all tools of the runtime. Default: no tools.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let agent = Agent::builder("assistant").runtime_tools().build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn runtime_tools(mut self) -> Self {
        self.tools = Tools::Runtime;
        self
    }

    /// Sets the model. Default: the model of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, model::{Model, testing::{Scripted, Turn}}};
    ///
    /// let model = Model::new(Scripted::new([Turn::text("hello")]));
    /// let agent = Agent::builder("assistant").model(model).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    /// Changes the settings of every request, such as the temperature. Messages, tools and system prompt are set by the agent.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let agent = Agent::builder("assistant").request(|request| request.temperature(0.2).max_output_tokens(500)).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request(mut self, set: impl FnOnce(ModelRequest) -> ModelRequest) -> Self {
        self.base = set(self.base);
        self
    }

    /// Adds the tool `update_plan`, with which the model updates the todo list. Default: not added.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let agent = Agent::builder("assistant").plans().build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn plans(mut self) -> Self {
        self.plans = true;
        self
    }

    /// Limits the number of model calls for each message of the user; the last call must be answered without tools.
    /// At least 1. Default: 25.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let agent = Agent::builder("assistant").max_turns(8).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_turns(mut self, turns: u32) -> Self {
        self.max_turns = Some(turns.max(1));
        self
    }

    /// Limits the part of the conversation that the model reads. Default: all of it.
    ///
    /// If the model refuses a conversation as too long, it is called again with half of it, at most three times. The
    /// omitted part is summarised if [`summarise_beyond`](Self::summarise_beyond) is set. The custom event
    /// `context_compacted` reports the new limit, and [`AgentState::context_limit`] stores it.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, agent::conversation::Window};
    ///
    /// let agent = Agent::builder("assistant").window(Window::tokens(8_000).and_messages(200)).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// Summarises the messages that do not fit into `window`, in a recorded model call. Default: no summary.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, agent::conversation::Window};
    ///
    /// let agent = Agent::builder("assistant").summarise_beyond(Window::tokens(8_000)).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn summarise_beyond(mut self, window: Window) -> Self {
        self.summary = Some(window);
        self
    }

    /// Also returns the answer as a `T`, validated against its JSON Schema and requested again if the answer does not match. Read it with [`AgentState::output`]. When the schema is sent is set by
    /// [`output_mode`](Self::output_mode). Default: text only.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::Agent;
    ///
    /// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    /// struct Review { score: u8, reason: String }
    ///
    /// let agent = Agent::builder("critic").output::<Review>().build()?;
    /// # assert_eq!(agent.name(), "critic");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn output<T: JsonSchema + DeserializeOwned + Serialize + 'static>(mut self) -> Self {
        self.output = Some(output_parser::<T>());
        self
    }

    /// Sets when the schema of a typed answer is sent. Default: [`OutputMode::LastTurn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, agent::OutputMode};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    /// struct Review { score: u8 }
    ///
    /// let agent = Agent::builder("critic").output::<Review>().output_mode(OutputMode::EveryTurn).build()?;
    /// # assert_eq!(agent.name(), "critic");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn output_mode(mut self, mode: OutputMode) -> Self {
        self.output_mode = mode;
        self
    }

    /// Reviews each answer with this prompt, at most `rounds` times. The agent receives the feedback and answers again.
    /// Default: no review.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let agent = Agent::builder("assistant").reviewer("Approve only answers that name a source.", 2).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reviewer(mut self, prompt: impl Into<Arc<str>>, rounds: u32) -> Self {
        self.reviewer = Some(Reviewer { prompt: prompt.into(), rounds: rounds.max(1) });
        self
    }

    /// Fails the run when a tool call has one of these faults. Default: none; the model reads the fault as the result.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, tool::ToolFault};
    ///
    /// let agent = Agent::builder("assistant").failing_on([ToolFault::Unavailable]).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn failing_on(mut self, faults: impl IntoIterator<Item = ToolFault>) -> Self {
        self.fatal.extend(faults);
        self
    }

    /// Adds code around the model calls and tool calls of this agent. The first one is the outermost. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, Context, Result, agent::Middleware, model::ModelRequest};
    ///
    /// struct Cold;
    ///
    /// impl Middleware for Cold {
    ///     async fn before_model(&self, request: ModelRequest, _: &Context) -> Result<ModelRequest> {
    ///         Ok(request.temperature(0.0))
    ///     }
    /// }
    ///
    /// let agent = Agent::builder("assistant").middleware(Cold).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Adds an agent that this one can call like a tool, with a task in words. Several run in parallel. A failure is the
    /// result of its call and does not affect the others. The work of a sub-agent is a todo, with the sub-agent's todos
    /// below it.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let researcher = Agent::builder("researcher").description("Finds facts.");
    /// let agent = Agent::builder("assistant").sub_agent(researcher).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sub_agent(mut self, agent: Self) -> Self {
        self.subs.push(agent);
        self
    }

    /// Adds an agent to which this one can hand over the conversation, and which can hand it back. The other brings its
    /// prompt, model, request settings, tools, todo tool, sub-agents, window, summary and fatal faults. The turn limit, the
    /// typed output, the reviewer and the hand-offs apply to the whole conversation; `build` returns
    /// [`AgentError::PeerSetting`] if the other agent sets one. The names of all sub-agents must differ.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent};
    ///
    /// let billing = Agent::builder("billing").description("Answers questions about invoices.");
    /// let agent = Agent::builder("assistant").hand_off(billing).build()?;
    /// # assert_eq!(agent.name(), "assistant");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hand_off(mut self, agent: Self) -> Self {
        self.peers.push(agent);
        self
    }

    /// Validates the parts and creates the graph.
    ///
    /// # Errors
    ///
    /// [`AgentError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, agent::AgentError};
    ///
    /// let error = Agent::builder("two words").build().unwrap_err();
    /// assert!(matches!(error, AgentError::IllegalName { .. }));
    /// ```
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

    /// Returns an error for the first setting that the target of a hand-off must not have.
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

/// The finish of an agent that answered.
pub(super) const fn finish(limited: bool) -> Finish {
    if limited { Finish::TurnLimit } else { Finish::Answered }
}
