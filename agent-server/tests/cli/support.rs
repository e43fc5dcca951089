//! Starts the binary in a separate folder with a separate environment.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::timeout,
};

/// Timeout of every wait. It is only reached if a test fails.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A request that asks who the report is for.
pub(crate) const ASK: &str = "라네즈 리뷰를 분석해 주세요";

/// A folder with journals.
pub(crate) struct Home {
    dir: TempDir,
}

/// Output and exit code of a command.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    /// One with a session `s` that was answered and is completed.
    pub(crate) async fn with_session() -> Self {
        let home = Self::new();
        let said = home.say(&["run", ASK, "--session", "s"], "1\n").await;
        assert_eq!(said.code, 0, "{said:?}");
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-server"));
        command.current_dir(self.path()).env_clear().args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn do_(&self, args: &[&str]) -> Said {
        self.say(args, "").await
    }

    /// Runs a command to its end, with lines for its prompt.
    pub(crate) async fn say(&self, args: &[&str], lines: impl AsRef<[u8]>) -> Said {
        end(self.command(args).spawn().unwrap(), lines.as_ref()).await
    }

    /// As `do_`, with an environment.
    pub(crate) async fn with(&self, variables: &[(&str, &str)], args: &[&str]) -> Said {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        end(command.spawn().unwrap(), b"").await
    }
}

/// Writes lines to the process and waits for its end.
pub(crate) async fn end(mut child: Child, lines: &[u8]) -> Said {
    if let Some(mut input) = child.stdin.take() {
        // A process that asks nothing may be gone by now.
        input.write_all(lines).await.ok();
    }
    let output = timeout(LONG, child.wait_with_output()).await.unwrap().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
