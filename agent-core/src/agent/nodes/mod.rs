//! Nodes of an agent's graph, and their shared state.

mod model;
mod output;
mod review;
mod sub_agent;
mod tools;

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use self::{
    model::ModelNode,
    output::OutputNode,
    review::ReviewNode,
    sub_agent::{Failed, FinishNode},
    tools::ToolsNode,
};
use super::{AgentState, OutputMode, builder::System, conversation::Window, middleware::DynMiddleware};
use crate::{
    engine::{Context, RecordedModel, RecordedTools},
    graph::Result,
    model::{Model, ModelCapabilities, ModelRequest, ResponseFormat, ToolCall, ToolSpec},
    tool::{ReadResult, ToolFault, ToolRegistry},
};

/// State shared by all nodes of one agent. Created once.
pub(super) struct Core {
    /// The agent itself, then the targets of its hand-offs.
    pub(super) profiles: Vec<Profile>,
    pub(super) max_turns: u32,
    pub(super) output: Option<OutputParser>,
    pub(super) output_mode: OutputMode,
    pub(super) reviewer: Option<Reviewer>,
    /// Whether any of them has sub-agents, so that the tools node must select its target.
    pub(super) has_subs: bool,
}

/// Profile of an agent: prompt, model and tools.
pub(super) struct Profile {
    pub(super) name: String,
    /// A request without its messages and without `system`.
    pub(super) base: ModelRequest,
    pub(super) system: Option<System>,
    pub(super) tools: Tools,
    /// The agent's own tools (`update_plan`), if the others are those of the runtime.
    pub(super) own: ToolRegistry,
    pub(super) model: Option<Model>,
    /// Sub-agents and hand-offs.
    pub(super) extra: Vec<ToolSpec>,
    /// Names of its sub-agents.
    pub(super) subs: Vec<String>,
    pub(super) window: Option<Window>,
    pub(super) summary: Option<Window>,
    pub(super) fatal: Vec<ToolFault>,
    pub(super) middleware: Vec<Arc<dyn DynMiddleware>>,
}

pub(super) enum Tools {
    None,
    Own(ToolRegistry),
    Runtime,
}

pub(super) struct Reviewer {
    pub(super) prompt: Arc<str>,
    pub(super) rounds: u32,
}

/// Parses an answer into the output type, which is erased.
pub(super) struct OutputParser {
    pub(super) format: Arc<dyn Fn(ModelCapabilities) -> Option<ResponseFormat> + Send + Sync>,
    pub(super) value:
        Arc<dyn Fn(RecordedModel, ModelRequest) -> BoxFuture<'static, Result<Value>> + Send + Sync>,
}

/// Input of a sub-agent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SubInput {
    pub(super) call: ToolCall,
    pub(super) task: String,
    pub(super) todo: String,
}

impl Core {
    pub(super) fn profile(&self, state: &AgentState) -> &Profile {
        let named = state.active.as_ref().and_then(|name| self.profiles.iter().find(|p| p.name == *name));
        // The program no longer has this agent: fall back to the first one.
        named.unwrap_or(&self.profiles[0])
    }

    /// Returns `true` if a call is a tool call, rather than a call of a sub-agent or a hand-off.
    pub(super) fn is_plain(&self, profile: &Profile, call: &ToolCall) -> bool {
        !profile.subs.contains(&call.name) && self.peer(&call.name).is_none()
    }

    fn peer(&self, tool: &str) -> Option<&str> {
        let name = tool.strip_prefix("transfer_to_")?;
        self.profiles.iter().map(|profile| profile.name.as_str()).find(|known| *known == name)
    }
}

impl Profile {
    fn model(&self, cx: &Context) -> Result<RecordedModel> {
        self.model.as_ref().map_or_else(|| cx.model(), |model| Ok(cx.model_of(model)))
    }

    fn tools(&self, state: &AgentState, cx: &Context) -> Result<RecordedTools> {
        let tools = match &self.tools {
            Tools::Own(registry) => cx.tools_of(registry),
            Tools::None => cx.tools_of(&self.own),
            Tools::Runtime if self.own.names().next().is_none() => cx.tools()?,
            Tools::Runtime => cx.tools_of(&cx.tools()?.registry().join(&self.own)?),
        };
        // A tool of the author with this name replaces it.
        if !state.kept_results || tools.registry().names().any(|name| name == ReadResult::NAME) {
            return Ok(tools);
        }
        let reader = ToolRegistry::builder().tool(ReadResult).build()?;
        Ok(cx.tools_of(&tools.registry().join(&reader)?))
    }

    fn request(&self, state: &AgentState, cx: &Context) -> Result<ModelRequest> {
        let mut request = self.base.clone();
        if let Some(system) = &self.system {
            request.system = Some(system.text(&state.context, cx)?);
        }
        if matches!(self.tools, Tools::Runtime) || state.kept_results {
            let specs = self.tools(state, cx)?.specs();
            request.tools = if self.extra.is_empty() {
                specs
            } else {
                specs.iter().cloned().chain(self.extra.iter().cloned()).collect()
            };
        }
        Ok(request)
    }
}
