//! Shell tool. Requires approval, passes no secrets, and kills all child processes when the command ends.

use std::{
    fmt::Write,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::OnceLock,
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
/// Maximum number of bytes kept of each output. Further bytes are read and dropped, so that the command does not block.
const MAX_OUTPUT: usize = 256 * 1024;
/// Time for which background processes may keep the output open after the command has ended.
const LINGER: Duration = Duration::from_millis(500);
/// Environment variables that a command inherits. All others may contain keys.
const ENVIRONMENT: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER"];
/// Paths of `unshare` of util-linux. Not resolved by `PATH`, which others may set.
const UNSHARE: [&str; 2] = ["/usr/bin/unshare", "/bin/unshare"];
/// A user, PID and mount namespace with a separate `/proc`. Its first process is killed with `unshare`, and when the
/// first process ends, the kernel kills every other one.
const NAMESPACE: [&str; 6] =
    ["--user", "--map-current-user", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"];
/// First process of the namespace: waits for the command and returns its exit code. Without the `exit`, some shells
/// `exec` the command, which would ignore signals as the first process. Messages of the shell about a command that was
/// killed by a signal are not part of the output.
const FIRST: &str = r#"exec 3>&2 2>/dev/null; (exec /bin/sh -c "$1" 2>&3 3>&-); exit $?"#;

/// Isolation of a command from this process and from its own children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// A namespace if the machine permits one ([`Shell::can_isolate`]), otherwise a process group.
    #[default]
    BestAvailable,
    /// A namespace; without one, the call is refused.
    ///
    /// The command sees only its own child processes, so it cannot read the environment of others. All child processes
    /// are killed when it ends and when the call is dropped, including those in a new session.
    Namespace,
    /// A process group. It has two gaps:
    ///
    /// - A process that leaves the group (`setsid`) outlives the command and the call.
    /// - A command that runs as root can read the environment of this process in `/proc`. For other users this process
    ///   is marked as not dumpable at the first call, which closes its `/proc` entries to them (and turns off its core
    ///   dumps); the environments of other processes of the same user stay readable.
    ProcessGroup,
}

/// Runs `sh -c` in a directory.
///
/// The command gets `PATH`, `HOME`, `LANG`, `LC_ALL`, `TZ`, `TMPDIR` and `USER` of this process's environment. Its access
/// to other processes, and which processes end with it, depend on the [`Isolation`]. This is not a sandbox: a command can
/// read and write files and use the network with the permissions of this process.
///
/// # Examples
///
/// ```
/// use agent_core::tool::ToolRegistry;
/// use agent_tools::{Isolation, Shell};
///
/// let shell = Shell::in_dir("/srv/work").isolation(Isolation::Namespace);
/// let tools = ToolRegistry::builder().tool(shell).build()?;
/// # assert_eq!(tools.names().count(), 1);
/// # Ok::<_, agent_core::tool::RegistryError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Shell {
    dir: PathBuf,
    isolation: Isolation,
}

/// Arguments of [`Shell`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ShellArgs {
    /// The command, as for `sh -c`.
    pub command: String,
}

impl Shell {
    /// Runs commands in `dir`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::ToolRegistry;
    /// use agent_tools::Shell;
    ///
    /// let tools = ToolRegistry::builder().tool(Shell::in_dir("/srv/work")).build()?;
    /// assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), isolation: Isolation::default() }
    }

    /// Sets the isolation of commands. Default: [`Isolation::BestAvailable`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::{Isolation, Shell};
    ///
    /// let shell = Shell::in_dir("/srv/work").isolation(Isolation::default());
    /// # drop(shell);
    /// ```
    #[must_use]
    pub const fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Returns whether this machine permits namespaces: `unshare` of util-linux 2.38 or later is installed, and the
    /// kernel and the container let this user create a user namespace and mount `/proc` in it. Checked once per process.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// if !agent_tools::Shell::can_isolate().await {
    ///     eprintln!("commands run in a process group alone");
    /// }
    /// # });
    /// ```
    pub async fn can_isolate() -> bool {
        unshare().await.is_some()
    }

    async fn command(&self, text: &str) -> Result<(Command, bool), ToolError> {
        let unshare = match self.isolation {
            Isolation::ProcessGroup => None,
            Isolation::BestAvailable => unshare().await,
            Isolation::Namespace => Some(unshare().await.ok_or_else(|| {
                ToolError::failed("commands are off: this machine cannot isolate them")
                    .with_cause("user and PID namespaces are not permitted here; see `Shell::can_isolate`")
            })?),
        };
        Ok(match unshare {
            Some(path) => {
                let mut command = Command::new(path);
                command.args(NAMESPACE).args(["--", "/bin/sh", "-c", FIRST, "sh"]).arg(text);
                (command, true)
            }
            None => {
                protect_environment()?;
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(text);
                (command, false)
            }
        })
    }
}

/// Returns the path of `unshare`, if it can create a namespace.
async fn unshare() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<&'static Path>> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return *found;
    }
    let path = UNSHARE.iter().map(Path::new).find(|path| path.exists());
    let found = match path {
        Some(path) => {
            let mut probe = Command::new(path);
            probe.args(NAMESPACE).args(["--", "/bin/sh", "-c", ":"]).env_clear().kill_on_drop(true);
            probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            probe.status().await.is_ok_and(|status| status.success()).then_some(path)
        }
        None => None,
    };
    *FOUND.get_or_init(|| found)
}

/// Closes this process's `/proc` entries to other processes of its user.
fn protect_environment() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if !rustix::process::geteuid().is_root() {
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    }
    Ok(())
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

    /// Timeout of two minutes, and an approval of every call.
    fn policy(&self) -> ToolPolicy {
        ToolPolicy::default()
            .effect(Effect::Destructive)
            .approval(Approval::Always)
            .timeout(Duration::from_secs(120))
    }

    /// # Cancel safety
    ///
    /// Dropping the future kills the command and its child processes, within the limits of its [`Isolation`].
    async fn call(&self, args: ShellArgs, _: &ToolContext) -> Result<String, ToolError> {
        if args.command.len() > MAX_COMMAND || args.command.contains('\0') {
            return Err(ToolError::failed(format!("a command has at most {MAX_COMMAND} bytes")));
        }
        let (mut command, isolated) = self.command(&args.command).await?;
        command.current_dir(&self.dir).env_clear();
        command.envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let (mut out, mut err) = (CapturedOutput::default(), CapturedOutput::default());
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
            // Processes that the command left running are killed here, which closes the output.
            drop(group);
            // A process that left the group may keep a pipe open.
            if !read_all && let Ok(read) = tokio::time::timeout(LINGER, reading).await {
                read?;
            }
            status
        };
        Ok(report(status, isolated, &out, &err))
    }
}

/// Kills the process group when dropped. The number of the group is reserved while one of its processes exists, and the
/// kernel does not reuse it immediately afterwards.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails if all processes have ended already.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

#[derive(Default)]
struct CapturedOutput {
    bytes: Vec<u8>,
    dropped: u64,
    ended: bool,
}

impl CapturedOutput {
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

/// The exit code and the output as one text. A shell reports a signal as an exit code above 128, which is what the
/// first process of a namespace passes on.
fn report(status: ExitStatus, isolated: bool, out: &CapturedOutput, err: &CapturedOutput) -> String {
    use std::os::unix::process::ExitStatusExt;
    let mut text = match (status.code(), status.signal()) {
        (Some(code @ 129..=192), _) if isolated => format!("ended by signal {}", code - 128),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    for (name, kept) in [("stdout", out), ("stderr", err)] {
        if kept.bytes.is_empty() {
            continue;
        }
        let output = String::from_utf8_lossy(&kept.bytes);
        text.push_str(&format!("\n--- {name}\n{}", output.trim_end()));
        if kept.dropped > 0 {
            // Writing to a string cannot fail.
            write!(text, "\n[{} more bytes]", kept.dropped).ok();
        }
    }
    text
}
