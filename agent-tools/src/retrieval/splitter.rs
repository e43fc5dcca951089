//! Splits documents into passages, by `text-splitter`: at headings, paragraphs, sentences, and only then within words.

use text_splitter::{ChunkConfig, MarkdownSplitter, TextSplitter};

use super::load::Format;

/// Splits a text into passages of at most `chars` characters (at least 1). Markdown and HTML are split at their structure.
///
/// # Examples
///
/// ```
/// use agent_tools::retrieval::{load::Format, splitter::split};
///
/// let passages = split("# Refunds\n\nWithin 14 days.\n\n# Shipping\n\nTwo days.", Format::Markdown, 30);
/// assert_eq!(passages, ["# Refunds\n\nWithin 14 days.", "# Shipping\n\nTwo days."]);
/// ```
#[must_use]
pub fn split(text: &str, format: Format, chars: usize) -> Vec<String> {
    let config = ChunkConfig::new(chars.max(1));
    match format {
        Format::Markdown | Format::Html => {
            MarkdownSplitter::new(config).chunks(text).map(str::to_owned).collect()
        }
        _ => TextSplitter::new(config).chunks(text).map(str::to_owned).collect(),
    }
}
