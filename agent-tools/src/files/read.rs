//! Tool that reads a text file, whole or in part.

use std::{io::Read, time::Duration};

use agent_core::tool::{Tool, ToolContext, ToolError, ToolPolicy};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Files, fault, legal};
use crate::blocking::blocking;

const MAX_FILE: u64 = 16 * 1024 * 1024;
const MAX_TEXT: usize = 256 * 1024;

/// Tool that reads a text file.
#[derive(Debug, Clone)]
pub struct ReadFile(pub(super) Files);

/// Arguments of [`ReadFile`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ReadFileArgs {
    /// The file, relative to the root.
    pub path: String,
    /// The first line to read, from 1.
    #[schemars(range(min = 1))]
    pub from_line: Option<usize>,
    /// How many lines to read; all when left out.
    #[schemars(range(min = 1))]
    pub lines: Option<usize>,
}

impl Tool for ReadFile {
    type Args = ReadFileArgs;
    type Output = String;

    fn name(&self) -> &str {
        "read_file"
    }

    fn description(&self) -> &str {
        "Reads a text file, whole or some of its lines."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only()
    }

    async fn call(&self, args: ReadFileArgs, _: &ToolContext) -> Result<String, ToolError> {
        let files = self.0.clone();
        blocking(Duration::from_secs(20), move |_| {
            let path = legal(&args.path)?;
            let to_tool_error = |error| fault(path, error);
            let known = files.0.metadata(path).map_err(to_tool_error)?;
            // Opening a pipe would wait for a writer.
            if !known.is_file() {
                return Err(ToolError::failed("this is not a regular file"));
            }
            if known.len() > MAX_FILE {
                return Err(ToolError::failed(format!("the file is larger than {MAX_FILE} bytes")));
            }
            let mut bytes = Vec::new();
            files
                .0
                .open(path)
                .map_err(to_tool_error)?
                .take(MAX_FILE)
                .read_to_end(&mut bytes)
                .map_err(to_tool_error)?;
            let text =
                String::from_utf8(bytes).map_err(|_| ToolError::failed("the file is not UTF-8 text"))?;
            Ok(part(&text, args.from_line.unwrap_or(1).max(1), args.lines.unwrap_or(usize::MAX)))
        })
        .await
    }
}

fn part(text: &str, from: usize, count: usize) -> String {
    let total = text.lines().count();
    if from > total.max(1) {
        return format!("[the file has {total} lines]");
    }
    let chosen: String = text.split_inclusive('\n').skip(from - 1).take(count).collect();
    if chosen.len() <= MAX_TEXT {
        return chosen;
    }
    let end = chosen.floor_char_boundary(MAX_TEXT);
    let shown = &chosen[..end];
    let last = from + shown.matches('\n').count();
    format!("{shown}\n[cut at line {last} of {total}; continue with `from_line`: {last}]")
}
