//! A shell command: only after a person said yes, without the process's secrets, and with all that it started ended.

use std::{
    fmt::Write,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use agent_core::tool::{Approval, Effect, Tool, ToolContext, ToolError, ToolPolicy};
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

const MAX_COMMAND: usize = 16 * 1024;
/// Bytes kept of each of the two outputs; what comes after is read and dropped, so that the command does not wait.
const MAX_OUTPUT: usize = 256 * 1024;
/// How long background processes may hold the output open once the command itself has ended.
const LINGER: Duration = Duration::from_millis(500);
/// What a command sees of the environment. Everything else may be a key.
const ENVIRONMENT: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER"];

/// Runs `sh -c` in a directory. It is no sandbox: a command can do what this process can.
#[derive(Debug, Clone)]
pub struct Shell {
    dir: PathBuf,
}

/// Arguments of [`Shell`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ShellArgs {
    /// The command, as for `sh -c`.
    pub command: String,
}

impl Shell {
    /// Runs commands in `dir`.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
}

impl Tool for Shell {
    type Args = ShellArgs;
    type Output = String;

    fn name(&self) -> &str {
        "shell"
    }

    fn description(&self) -> &str {
        "Runs a shell command without input and returns its exit code and output. Everything it started ends with it."
    }

    /// Two minutes, a person asked each time.
    fn policy(&self) -> ToolPolicy {
        ToolPolicy::default()
            .effect(Effect::Destructive)
            .approval(Approval::Always)
            .timeout(Duration::from_secs(120))
    }

    /// # Cancel safety
    ///
    /// Dropping the future kills the process group.
    async fn call(&self, args: ShellArgs, _: &ToolContext) -> Result<String, ToolError> {
        if args.command.len() > MAX_COMMAND || args.command.contains('\0') {
            return Err(ToolError::failed(format!("a command has at most {MAX_COMMAND} bytes")));
        }
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&args.command).current_dir(&self.dir).env_clear();
        command.envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let (mut out, mut err) = (Kept::default(), Kept::default());
        let status = {
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let reading = async { tokio::try_join!(out.drain(stdout), err.drain(stderr)) };
            tokio::pin!(reading);
            let mut read_all = false;
            let status = tokio::select! {
                status = child.wait() => status?,
                read = &mut reading => {
                    read?;
                    read_all = true;
                    child.wait().await?
                }
            };
            // Whatever the command left running ends now, and lets go of the output with it.
            drop(group);
            // A process that left the group may hold on to a pipe.
            if !read_all && let Ok(read) = tokio::time::timeout(LINGER, reading).await {
                read?;
            }
            status
        };
        Ok(told(status, &out, &err))
    }
}

/// Kills the process group when dropped. The group is ours as long as one of its processes is there; right after the
/// last one is gone its number is not given out again at once.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails when all of it has ended already, which is what we want.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    dropped: u64,
    ended: bool,
}

impl Kept {
    async fn drain(&mut self, pipe: Option<impl AsyncRead + Unpin>) -> io::Result<()> {
        let Some(mut pipe) = pipe else { return Ok(()) };
        let mut chunk = [0; 8192];
        while !self.ended {
            let count = pipe.read(&mut chunk).await?;
            self.ended = count == 0;
            let keep = count.min(MAX_OUTPUT - self.bytes.len());
            self.bytes.extend_from_slice(&chunk[..keep]);
            self.dropped += (count - keep) as u64;
        }
        Ok(())
    }
}

fn told(status: ExitStatus, out: &Kept, err: &Kept) -> String {
    use std::os::unix::process::ExitStatusExt;
    let mut text = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    for (name, kept) in [("stdout", out), ("stderr", err)] {
        if kept.bytes.is_empty() {
            continue;
        }
        let said = String::from_utf8_lossy(&kept.bytes);
        text.push_str(&format!("\n--- {name}\n{}", said.trim_end()));
        if kept.dropped > 0 {
            // Writing to a string cannot fail.
            write!(text, "\n[{} more bytes]", kept.dropped).ok();
        }
    }
    text
}
