//! Tool list of a server, adapted for models: valid names, bounded texts, valid schemas.

use std::{collections::BTreeSet, hash::Hasher, sync::Arc};

use agent_core::tool::{AnyTool, DynamicTool, Effect, ToolError, ToolRegistry};
use fnv::FnvHasher;
use rmcp::{
    Peer, RoleClient,
    model::{PaginatedRequestParams, Tool, ToolAnnotations},
};
use serde_json::{Value, json};

use super::{ClientBuilder, McpError, call, session::Shared};

/// Maximum number of pages of a list.
const MAX_PAGES: usize = 64;
const MAX_DESCRIPTION: usize = 4_000;
/// Maximum length of a tool's name that model endpoints accept.
const MAX_NAME: usize = 64;

/// A tool as described by its server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemoteTool {
    /// Name in this process.
    pub name: String,
    /// Name on the server.
    pub remote: String,
    /// Description from the server, shortened.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: Value,
    /// JSON Schema of the result, if the server declares one.
    pub output: Option<Value>,
    /// Effect of a call, as declared by the server.
    pub effect: Effect,
}

/// Lists all tools, up to the limits. Unusable tools are left out and logged.
pub(super) async fn list(
    peer: &Peer<RoleClient>,
    settings: &ClientBuilder,
) -> Result<Vec<RemoteTool>, McpError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| McpError::Unusable {
        server: settings.name.clone(),
        source,
    };
    let server = &settings.name;
    let mut tools = Vec::new();
    let mut names = BTreeSet::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let asked = PaginatedRequestParams::default().with_cursor(cursor.take());
        let page = peer.list_tools(Some(asked)).await.map_err(|error| unusable(error.into()))?;
        for tool in page.tools {
            if tools.len() == settings.limits.tools {
                tracing::warn!(server, limit = tools.len(), "an MCP server has more tools than the limit");
                return Ok(tools);
            }
            let remote: String = tool.name.chars().take(128).collect();
            match usable(tool, settings, &mut names) {
                Ok(tool) => tools.push(tool),
                Err(reason) => {
                    tracing::warn!(server, tool = remote, reason, "a tool of an MCP server is not usable")
                }
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(tools);
        }
    }
    tracing::warn!(server, pages = MAX_PAGES, "an MCP server has more pages of tools than the limit");
    Ok(tools)
}

fn usable(
    tool: Tool,
    settings: &ClientBuilder,
    names: &mut BTreeSet<String>,
) -> Result<RemoteTool, &'static str> {
    let mut parameters = Value::Object(tool.input_schema.as_ref().clone());
    if parameters.to_string().len() > settings.limits.schema {
        return Err("the schema is too long");
    }
    if let Some(root) = parameters.as_object_mut() {
        root.entry("type").or_insert_with(|| json!("object"));
    }
    let output = tool.output_schema.as_ref().map(|schema| Value::Object(schema.as_ref().clone()));
    let output = output.filter(|schema| schema.to_string().len() <= settings.limits.schema);
    let name = legal(&settings.prefix_of(), &tool.name);
    if names.contains(&name) {
        return Err("the name is not unique");
    }
    let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
    let made = RemoteTool {
        name: name.clone(),
        remote: tool.name.clone().into_owned(),
        description: description.chars().take(MAX_DESCRIPTION).collect(),
        parameters,
        output,
        effect: effect(tool.annotations.as_ref()),
    };
    // One invalid schema would make the whole registry invalid.
    let probe = DynamicTool::new(made.name.clone(), "", made.parameters.clone(), |_, _| async {
        Err(ToolError::failed("only a probe"))
    });
    ToolRegistry::builder().tool(probe).build().map_err(|_| "the name or the schema is invalid")?;
    names.insert(name);
    Ok(made)
}

/// Replaces characters that endpoints reject. A name that is too long keeps its beginning and a digest of the
/// whole.
fn legal(prefix: &str, name: &str) -> String {
    let whole = format!("{prefix}{name}");
    let mut made: String = whole
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
        .collect();
    if made.len() > MAX_NAME {
        // The same in every process and release, as stored calls require.
        let mut hasher = FnvHasher::default();
        hasher.write(whole.as_bytes());
        made.truncate(MAX_NAME - 9);
        made.push_str(&format!("_{:08x}", hasher.finish() >> 32));
    }
    made
}

/// A tool without annotations counts as one that writes; a destructive tool is not repeated.
fn effect(hints: Option<&ToolAnnotations>) -> Effect {
    let Some(hints) = hints else { return Effect::Writes };
    if hints.read_only_hint == Some(true) {
        Effect::ReadOnly
    } else if hints.destructive_hint == Some(true) {
        Effect::Destructive
    } else if hints.idempotent_hint == Some(true) {
        Effect::Idempotent
    } else {
        Effect::Writes
    }
}

pub(super) fn tool(shared: &Arc<Shared>, tool: &Arc<RemoteTool>) -> AnyTool {
    let policy = shared.settings().policy_of(tool);
    let (server, called) = (Arc::clone(shared), Arc::clone(tool));
    let made = DynamicTool::new(
        tool.name.clone(),
        tool.description.clone(),
        tool.parameters.clone(),
        move |args, cx| call::call(Arc::clone(&server), Arc::clone(&called), args, cx),
    );
    let made = match &tool.output {
        Some(schema) => made.with_output_schema(schema.clone()),
        None => made,
    };
    AnyTool::new(made.with_policy(policy))
}
