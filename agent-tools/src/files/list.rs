//! Tool that lists files.

use std::time::Duration;

use agent_core::tool::{Tool, ToolContext, ToolError, ToolPolicy};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Files, glob};
use crate::blocking::blocking;

const MAX_FILES: usize = 1_000;

/// Tool that lists the files below a directory.
#[derive(Debug, Clone)]
pub struct ListFiles(pub(super) Files);

/// Arguments of [`ListFiles`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListFilesArgs {
    /// The directory, relative to the root; the root when left out.
    pub path: Option<String>,
    /// Only files that match, for example `*.md` or `src/**/*.rs`.
    pub files: Option<String>,
}

impl Tool for ListFiles {
    type Args = ListFilesArgs;
    type Output = String;

    fn name(&self) -> &str {
        "list_files"
    }

    fn description(&self) -> &str {
        "Lists the files below a directory with their sizes in bytes, at most 1000."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only()
    }

    async fn call(&self, args: ListFilesArgs, _: &ToolContext) -> Result<String, ToolError> {
        let files = self.0.clone();
        let wanted = glob(args.files.as_deref())?;
        blocking(Duration::from_secs(20), move |stop| {
            let mut lines = Vec::new();
            let all = files.walk(args.path.as_deref().unwrap_or(""), stop, |path, entry| {
                if wanted.as_ref().is_none_or(|wanted| wanted.is_match(path)) {
                    if lines.len() == MAX_FILES {
                        return Ok(false);
                    }
                    let size =
                        entry.metadata().map_or_else(|_| "?".to_owned(), |known| known.len().to_string());
                    lines.push(format!("{path} ({size})"));
                }
                Ok(true)
            })?;
            if !all {
                lines.push("[more files not shown]".to_owned());
            }
            Ok(if lines.is_empty() { "no files".to_owned() } else { lines.join("\n") })
        })
        .await
    }
}
