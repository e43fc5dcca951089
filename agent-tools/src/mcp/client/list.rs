//! What a server offers, made fit to be offered to a model: legal names, bounded texts, schemas that can be checked.

use std::{collections::BTreeSet, sync::Arc};

use agent_core::tool::{AnyTool, DynamicTool, Effect, ToolError, ToolRegistry};
use rmcp::{
    Peer, RoleClient,
    model::{PaginatedRequestParams, Tool, ToolAnnotations},
};
use serde_json::{Value, json};

use super::{ClientBuilder, McpError, call, session::Shared};

/// Pages of a listing; a server that has more repeats itself.
const MAX_PAGES: usize = 64;
const MAX_DESCRIPTION: usize = 4_000;
/// Bytes of a tool's name that endpoints take.
const MAX_NAME: usize = 64;

/// A tool as its server describes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemoteTool {
    /// Its name here.
    pub name: String,
    /// Its name there.
    pub remote: String,
    /// What it is for, in the server's words, cut.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: Value,
    /// What a call does, as the server says.
    pub effect: Effect,
}

/// All tools, up to the limits; what cannot be used is left out and logged.
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
                tracing::warn!(server, limit = tools.len(), "an MCP server has more tools than are taken");
                return Ok(tools);
            }
            let remote: String = tool.name.chars().take(128).collect();
            match usable(tool, settings, &mut names) {
                Ok(tool) => tools.push(tool),
                Err(reason) => {
                    tracing::warn!(server, tool = remote, reason, "a tool of an MCP server is left out")
                }
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(tools);
        }
    }
    tracing::warn!(server, pages = MAX_PAGES, "an MCP server lists its tools on more pages than are read");
    Ok(tools)
}

fn usable(
    tool: Tool,
    settings: &ClientBuilder,
    names: &mut BTreeSet<String>,
) -> Result<RemoteTool, &'static str> {
    let mut parameters = Value::Object(tool.input_schema.as_ref().clone());
    if parameters.to_string().len() > settings.limits.schema {
        return Err("its schema is too long");
    }
    if let Some(root) = parameters.as_object_mut() {
        root.entry("type").or_insert_with(|| json!("object"));
    }
    let name = legal(&settings.prefix_of(), &tool.name);
    if names.contains(&name) {
        return Err("another has its name");
    }
    let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
    let made = RemoteTool {
        name: name.clone(),
        remote: tool.name.clone().into_owned(),
        description: description.chars().take(MAX_DESCRIPTION).collect(),
        parameters,
        effect: effect(tool.annotations.as_ref()),
    };
    // One schema that cannot be checked would refuse the registry as a whole.
    let probe = DynamicTool::new(made.name.clone(), "", made.parameters.clone(), |_, _| async {
        Err(ToolError::failed("only a probe"))
    });
    ToolRegistry::builder().tool(probe).build().map_err(|_| "its name or its schema cannot be used")?;
    names.insert(name);
    Ok(made)
}

/// The name with what endpoints refuse replaced; one that is too long keeps its beginning and a digest of the whole.
fn legal(prefix: &str, name: &str) -> String {
    let whole = format!("{prefix}{name}");
    let mut made: String = whole
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
        .collect();
    if made.len() > MAX_NAME {
        // FNV-1a: the same in every process and release, which a stored call relies on.
        let digest = whole.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        made.truncate(MAX_NAME - 9);
        made.push_str(&format!("_{:08x}", digest >> 32));
    }
    made
}

/// A server that says nothing of a tool is taken to write; one that says that it destroys is not repeated.
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
    AnyTool::new(made.with_policy(policy))
}
