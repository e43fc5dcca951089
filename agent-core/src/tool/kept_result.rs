//! Tool results that are too long for a model: stored completely in the long-term memory, and read in parts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Tool, ToolContext, ToolError, ToolPolicy};
use crate::{
    ids::SessionId,
    memory::{MemoryError, MemoryStore, Namespace, Put},
};

/// The namespace of kept results; below it, the session.
const KEPT: &str = "tool-results";
/// Time to live of a stored result.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Size of one stored part in bytes. As JSON, it stays below the limit of a store for any content.
const PART: usize = 160 * 1024;
/// Longest id of a kept result in bytes.
const ID: usize = 64;
/// Bytes that one call reads unless the model asks for less, and at most: it stays below the usual result limit.
const READ: u32 = 16_000;
const MOST: u32 = 24_000;

/// Stores `whole` under `id` in the namespace of the session.
pub(crate) async fn keep_result(
    memory: &dyn MemoryStore,
    session: &SessionId,
    id: &str,
    tool: &str,
    whole: &str,
) -> Result<(), MemoryError> {
    let namespace = Namespace::new([KEPT, session.as_str()])?;
    let mut puts = Vec::new();
    let mut at = 0;
    while at < whole.len() {
        let end = whole.floor_char_boundary(at + PART);
        let value = json!({ "tool": tool, "text": &whole[at..end], "at": at, "whole": whole.len() });
        let put = Put::new(namespace.clone(), format!("{id}.{}", puts.len() + 1), value);
        puts.push(put.ttl(KEPT_FOR).text(format!("result of {tool}")));
        at = end;
    }
    memory.put_many(puts).await
}

/// The tool `read_result`: reads a part of a tool result that the model was shown in a shortened form.
///
/// A result that is longer than its tool's [`result_limit`](ToolPolicy::result_limit) is stored completely in the runtime's
/// long-term memory for 30 days, and the model gets its beginning and end with the id. Agents add this tool
/// automatically once there is such a result; without an agent, add it to the registry. It reads only results of the
/// same session, at most 24,000 bytes a call.
///
/// # Examples
///
/// ```
/// use agent_core::tool::{ReadResult, ToolRegistry};
/// let tools = ToolRegistry::builder().tool(ReadResult).build()?;
/// assert_eq!(tools.names().collect::<Vec<_>>(), [ReadResult::NAME]);
/// # Ok::<_, agent_core::tool::RegistryError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadResult;

impl ReadResult {
    /// The name of the tool.
    pub const NAME: &str = "read_result";
}

/// The part to read; see [`ReadResult`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ReadResultArgs {
    /// The id of the result, from the note at its end.
    #[schemars(length(min = 1, max = ID))]
    id: String,
    /// The byte at which to begin. Default: 0.
    #[serde(default)]
    offset: u64,
    /// How many bytes to read. Default: 16000.
    #[serde(default = "read")]
    #[schemars(range(min = 1, max = MOST))]
    limit: u32,
}

const fn read() -> u32 {
    READ
}

impl Tool for ReadResult {
    type Args = ReadResultArgs;
    type Output = String;

    fn name(&self) -> &str {
        Self::NAME
    }

    fn description(&self) -> &str {
        "Reads a part of a tool result that was too long to be shown whole. The note at the end of the shortened \
         result has the id. Returns at most 24000 bytes, and the offset of what follows."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only().result_limit(MOST as usize + 1_000)
    }

    async fn call(&self, args: ReadResultArgs, cx: &ToolContext) -> Result<String, ToolError> {
        let memory = cx.memory().ok_or_else(|| ToolError::failed("there is no long-term memory here"))?;
        let session = cx.session().ok_or_else(|| ToolError::failed("there is no session here"))?;
        let namespace = Namespace::new([KEPT, session.as_str()])?;
        let unknown = || ToolError::failed("no result is kept under this id; it may have expired");
        if args.id.is_empty() || args.id.len() > ID || !args.id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(unknown());
        }
        let offset = usize::try_from(args.offset).unwrap_or(usize::MAX);
        let limit = args.limit.clamp(1, MOST) as usize;
        // A part ends at a whole character, so that it may begin a little earlier than at a multiple of its size.
        let mut number = offset / PART + 1;
        loop {
            let item = memory.get(&namespace, &format!("{}.{number}", args.id)).await?;
            let Some(item) = item else {
                let first = memory.get(&namespace, &format!("{}.1", args.id)).await?.ok_or_else(unknown)?;
                let whole = number_of(&first.value, "whole").unwrap_or(0);
                return Err(ToolError::failed(format!(
                    "the result has {whole} bytes; read at a lower offset"
                )));
            };
            let text = item.value.get("text").and_then(Value::as_str).unwrap_or_default();
            let at = number_of(&item.value, "at").unwrap_or((number - 1) * PART);
            let whole = number_of(&item.value, "whole").unwrap_or(at + text.len());
            if offset >= at + text.len() {
                number += 1;
                continue;
            }
            let begin = text.floor_char_boundary(offset.saturating_sub(at));
            let end = text.floor_char_boundary(begin + limit);
            // A character may be longer than the limit.
            let end = if end > begin { end } else { text.ceil_char_boundary(begin + 1) };
            let next = at + end;
            let more = if next < whole { format!("the next offset is {next}") } else { "the end".to_owned() };
            return Ok(format!("[bytes {} to {next} of {whole}; {more}]\n{}", at + begin, &text[begin..end]));
        }
    }
}

fn number_of(value: &Value, field: &str) -> Option<usize> {
    value.get(field)?.as_u64().and_then(|number| usize::try_from(number).ok())
}
