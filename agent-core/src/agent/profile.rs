//! Profile of an agent (prompt, model, tools), made from its builder.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    AgentError,
    builder::AgentBuilder,
    nodes::{OutputParser, Profile, Tools},
    todo_tool,
};
use crate::{
    engine::RecordedModel,
    graph::NodeError,
    model::{Extraction, Extractor, FinishReason, Message, ModelReply, ModelRequest, Role, ToolSpec},
};

/// Tools in addition to those of the registry: sub-agents, and the other members of the team.
fn extra(subs: &[ToolSpec], team: &[(String, String)], own: &str) -> Vec<ToolSpec> {
    let peers = team.iter().filter(|(name, _)| name != own).map(|(name, description)| ToolSpec {
        name: format!("transfer_to_{name}"),
        description: format!("Hands the conversation over to `{name}`. {description}").trim_end().to_owned(),
        parameters: json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false }),
        strict: true,
    });
    subs.iter().cloned().chain(peers).collect()
}

fn sub_spec(agent: &AgentBuilder) -> ToolSpec {
    ToolSpec {
        name: agent.name.clone(),
        description: format!("An agent that works on a task independently. {}", agent.description)
            .trim_end()
            .to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {
                "task": {
                    "type": "string",
                    "description": "The whole task in words; the agent sees nothing else of this conversation.",
                },
                "todo": {
                    "type": ["string", "null"],
                    "description": "Id of the item of the plan that this works on, if there is one.",
                },
            },
            "required": ["task", "todo"],
            "additionalProperties": false,
        }),
        strict: true,
    }
}

impl Profile {
    pub(super) fn new(
        agent: AgentBuilder,
        subs: &[AgentBuilder],
        team: &[(String, String)],
    ) -> Result<Self, AgentError> {
        let AgentBuilder {
            name,
            system,
            tools,
            more_tools,
            mut base,
            model,
            plans,
            window,
            summary,
            fatal,
            middleware,
            ..
        } = agent;
        let sub_specs: Vec<ToolSpec> = subs.iter().map(sub_spec).collect();
        let extra = extra(&sub_specs, team, &name);
        let own = if plans { more_tools.tool(todo_tool::UpdateTodos) } else { more_tools }.build()?;
        let tools = match tools {
            Tools::None => Tools::Own(own.clone()),
            Tools::Own(registry) => Tools::Own(registry.join(&own)?),
            Tools::Runtime => Tools::Runtime,
        };
        if let Tools::Own(registry) = &tools {
            if let Some(spec) = extra.iter().find(|spec| registry.names().any(|name| name == spec.name)) {
                return Err(AgentError::Twice { name: spec.name.clone() });
            }
            base.tools = if extra.is_empty() {
                registry.specs()
            } else {
                registry.specs().iter().cloned().chain(extra.iter().cloned()).collect()
            };
        }
        let subs = subs.iter().map(|sub| sub.name.clone()).collect();
        Ok(Self { name, base, system, tools, own, model, extra, subs, window, summary, fatal, middleware })
    }
}

/// Returns the parser of answers into `T`: it deserializes the text, and calls the model again if that fails.
pub(super) fn output_parser<T: JsonSchema + DeserializeOwned + Serialize + 'static>() -> OutputParser {
    OutputParser {
        format: Arc::new(|capabilities| {
            let extractor = Extractor::<T>::new(ModelRequest::default(), capabilities).ok()?;
            extractor.request().response_format
        }),
        value: Arc::new(|model: RecordedModel, request: ModelRequest| {
            Box::pin(async move {
                let said = request.messages.last().filter(|message| message.role == Role::Assistant);
                if let Some(message) = said
                    && let Ok(mut extractor) =
                        Extractor::<T>::new(ModelRequest::default(), model.capabilities())
                {
                    let reply = ModelReply {
                        message: Message::clone(message),
                        usage: None,
                        finish: FinishReason::Stop,
                        model: String::new(),
                        attempts: 1,
                    };
                    if let Ok(Extraction::Done(value)) = extractor.judge(&reply) {
                        return serde_json::to_value(value).map_err(NodeError::permanent);
                    }
                }
                let mut request = request;
                request.messages.push(Message::user("Give the answer in the form that is asked for."));
                let value: T = model.extract(request).await?;
                serde_json::to_value(value).map_err(NodeError::permanent)
            })
        }),
    }
}
