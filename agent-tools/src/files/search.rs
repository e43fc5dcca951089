//! Tool that searches for text in files.

use std::{io::Read, time::Duration};

use agent_core::tool::{Tool, ToolContext, ToolError, ToolPolicy};
use regex::RegexBuilder;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Files, glob};
use crate::blocking::blocking;

/// Larger files are skipped.
const MAX_FILE: u64 = 2 * 1024 * 1024;
const MAX_MATCHES: usize = 100;
const LINE_CHARS: usize = 300;

/// Tool that searches for a regular expression in text files.
#[derive(Debug, Clone)]
pub struct SearchFiles(pub(super) Files);

/// Arguments of [`SearchFiles`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SearchFilesArgs {
    /// A regular expression, or just a word. No look-around, no back-references.
    pub pattern: String,
    /// The directory to look in, relative to the root; the root when left out.
    pub path: Option<String>,
    /// Only files that match, for example `*.md` or `src/**/*.rs`.
    pub files: Option<String>,
    /// Whether upper and lower case are the same; they are not when left out.
    #[serde(default)]
    pub ignore_case: bool,
}

impl Tool for SearchFiles {
    type Args = SearchFilesArgs;
    type Output = String;

    fn name(&self) -> &str {
        "search_files"
    }

    fn description(&self) -> &str {
        "Looks for a regular expression in text files and returns matching lines as `file:line: text`, at most 100."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only()
    }

    async fn call(&self, args: SearchFilesArgs, _: &ToolContext) -> Result<String, ToolError> {
        let files = self.0.clone();
        let wanted = glob(args.files.as_deref())?;
        if args.pattern.len() > 1_000 {
            return Err(ToolError::failed("the pattern is longer than 1000 bytes"));
        }
        let built =
            RegexBuilder::new(&args.pattern).case_insensitive(args.ignore_case).size_limit(1 << 20).build();
        let pattern =
            built.map_err(|error| ToolError::failed(format!("the pattern is not valid: {error}")))?;
        blocking(Duration::from_secs(20), move |stop| {
            let mut found = Vec::new();
            let all = files.walk(args.path.as_deref().unwrap_or(""), stop, |path, entry| {
                if wanted.as_ref().is_some_and(|wanted| !wanted.is_match(path)) {
                    return Ok(true);
                }
                // Files that were removed or are protected are skipped.
                let Ok(file) = entry.open() else { return Ok(true) };
                let mut bytes = Vec::new();
                if entry.metadata().is_ok_and(|known| known.len() > MAX_FILE)
                    || file.take(MAX_FILE).read_to_end(&mut bytes).is_err()
                {
                    return Ok(true);
                }
                let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(true) };
                for (at, line) in text.lines().enumerate().filter(|(_, line)| pattern.is_match(line)) {
                    if found.len() == MAX_MATCHES {
                        return Ok(false);
                    }
                    let shown: String = line.trim_end().chars().take(LINE_CHARS).collect();
                    found.push(format!("{path}:{}: {shown}", at + 1));
                }
                Ok(true)
            })?;
            if !all {
                found.push("[there may be more; narrow the search]".to_owned());
            }
            Ok(if found.is_empty() { "nothing found".to_owned() } else { found.join("\n") })
        })
        .await
    }
}
