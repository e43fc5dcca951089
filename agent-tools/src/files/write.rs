//! Tool that writes a file, atomically and after an approval.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agent_core::tool::{Approval, Effect, Tool, ToolContext, ToolError, ToolPolicy};
use cap_std::fs::OpenOptions;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Files, fault, legal};
use crate::blocking::blocking;

const MAX_BYTES: usize = 1024 * 1024;

/// Tool that writes a file and creates missing directories.
#[derive(Debug, Clone)]
pub struct WriteFile(pub(super) Files);

/// Arguments of [`WriteFile`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct WriteFileArgs {
    /// The file, relative to the root.
    pub path: String,
    /// The whole new content.
    pub content: String,
}

impl Tool for WriteFile {
    type Args = WriteFileArgs;
    type Output = String;

    fn name(&self) -> &str {
        "write_file"
    }

    fn description(&self) -> &str {
        "Writes a text file, replacing what was there."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::default().effect(Effect::Idempotent).approval(Approval::Always)
    }

    async fn call(&self, args: WriteFileArgs, _: &ToolContext) -> Result<String, ToolError> {
        if args.content.len() > MAX_BYTES {
            return Err(ToolError::failed(format!("the content is larger than {MAX_BYTES} bytes")));
        }
        let files = self.0.clone();
        blocking(Duration::from_secs(20), move |_| {
            let path = Path::new(legal(&args.path)?);
            let to_tool_error = |error| fault(&args.path, error);
            let name = path.file_name().ok_or_else(|| ToolError::failed("the path does not name a file"))?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                files.0.create_dir_all(parent).map_err(to_tool_error)?;
            }
            // After a crash, the file has either the old or the new content.
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let unique = NEXT.fetch_add(1, Ordering::Relaxed);
            let temporary = path.with_file_name(format!(".agent-{}-{unique}.tmp", std::process::id()));
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            let mut file = files.0.open_with(&temporary, &options).map_err(to_tool_error)?;
            let written = std::io::Write::write_all(&mut file, args.content.as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| files.0.rename(&temporary, &files.0, path));
            if let Err(error) = written {
                // The first error is reported, even if this fails too.
                files.0.remove_file(&temporary).ok();
                return Err(to_tool_error(error));
            }
            Ok(format!("wrote {} bytes to `{}`", args.content.len(), name.to_string_lossy()))
        })
        .await
    }
}
