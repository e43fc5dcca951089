//! Conversion of the content blocks of a tool result to text for a model, and back for another client.

use agent_core::tool::{ToolError, ToolOutput};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

/// Formats of images that models read; see [`ToolOutput::images`].
const SHOWN: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Converts a result: structured content as JSON, text as text, other content as one line that describes it, with the
/// content beside it. At most `limit` bytes are kept.
pub(super) fn read(result: CallToolResult, limit: usize) -> Result<ToolOutput, ToolError> {
    let failed = result.is_error == Some(true);
    let only_text = result.content.iter().all(|block| matches!(block, ContentBlock::Text(_)));
    let blocks = if only_text { None } else { blocks_within(&result.content, limit) };
    let text = text_of(&result.content, limit, blocks.is_some());
    if failed {
        let text = if text.trim().is_empty() { "the tool failed without an error message" } else { &text };
        return Err(ToolError::failed(text));
    }
    let Some(structured) = result.structured_content else {
        return Ok(with_blocks(text, blocks));
    };
    let json = structured.to_string();
    if json.len() > limit {
        return Ok(ToolOutput::text(cut(&json, limit)));
    }
    // The text often repeats the JSON for clients without support for structured content. Otherwise it has
    // additional content.
    let same = serde_json::from_str::<Value>(&text).is_ok_and(|said| said == structured);
    if only_text && (same || text.trim().is_empty()) {
        return Ok(ToolOutput::Json(structured));
    }
    let text = cut(&format!("{text}\n\n{json}"), limit);
    Ok(with_blocks(text, blocks))
}

fn with_blocks(text: String, blocks: Option<Vec<Value>>) -> ToolOutput {
    match blocks {
        Some(blocks) => ToolOutput::Blocks { text, blocks },
        None => ToolOutput::text(text),
    }
}

/// Returns the content itself, if it is within the limit.
fn blocks_within(content: &[ContentBlock], limit: usize) -> Option<Vec<Value>> {
    let blocks = content.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>().ok()?;
    let bytes: usize = blocks.iter().map(|block| block.to_string().len()).sum();
    (bytes <= limit).then_some(blocks)
}

/// Returns content blocks for another client. Invalid ones are left out.
pub(super) fn blocks(values: Vec<Value>) -> Vec<ContentBlock> {
    values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect()
}

/// Describes content as text. `kept` is whether the content itself is kept, so that images can be shown.
fn text_of(blocks: &[ContentBlock], limit: usize, kept: bool) -> String {
    let mut text = String::new();
    for block in blocks {
        if text.len() > limit {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        match block {
            ContentBlock::Text(block) => text.push_str(&block.text),
            ContentBlock::Image(image) => {
                text.push_str(&binary("image", &image.mime_type, image.data.len(), kept))
            }
            ContentBlock::Audio(audio) => {
                text.push_str(&binary("audio", &audio.mime_type, audio.data.len(), kept))
            }
            ContentBlock::ResourceLink(link) => {
                let kind = link.mime_type.as_deref().unwrap_or("unknown type");
                text.push_str(&format!("[resource `{}`, {kind}: {}]", link.name, link.uri));
                if let Some(description) = &link.description {
                    text.push(' ');
                    text.push_str(description);
                }
            }
            ContentBlock::Resource(resource) => match &resource.resource {
                ResourceContents::TextResourceContents { uri, text: inner, .. } => {
                    text.push_str(&format!("[resource {uri}]\n{inner}"));
                }
                ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                    let kind = mime_type.as_deref().unwrap_or("unknown type");
                    text.push_str(&format!("[resource {uri}] {}", binary("data", kind, blob.len(), kept)));
                }
                _ => text.push_str("[a resource of an unknown kind]"),
            },
            _ => text.push_str("[content of an unknown kind]"),
        }
    }
    cut(&text, limit)
}

/// Describes binary content. `base64` is the encoded length. A model is shown images only, and only if they are kept.
fn binary(what: &str, kind: &str, base64: usize, kept: bool) -> String {
    let bytes = base64 / 4 * 3;
    match kept && SHOWN.contains(&kind) {
        true => format!("[{what}, {kind}, about {bytes} bytes]"),
        false => format!("[{what}, {kind}, about {bytes} bytes, not shown]"),
    }
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let at = text.floor_char_boundary(limit);
    format!("{}\n[… {} bytes left out]", &text[..at], text.len() - at)
}
