//! Server as a child process: without the secrets of this process, its stderr in the log, its process group killed
//! at the end.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use agent_core::{secret::Secret, task_group::TaskGroup};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use crate::process_group::ProcessGroup;

/// Environment variables that a server inherits. All others may contain keys.
const ENVIRONMENT: [&str; 8] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "SHELL"];
/// Maximum number of logged bytes of a line of stderr.
const MAX_LINE: u64 = 2_000;

/// A program to start as a server.
///
/// # Examples
///
/// ```
/// use agent_core::secret::Secret;
/// use agent_tools::mcp::Program;
///
/// let program = Program::new("mcp-mail").arg("--read-only").env("MAIL_TOKEN", Secret::new("…"));
/// # drop(program);
/// ```
#[derive(Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, Secret)>,
    dir: Option<PathBuf>,
}

impl Program {
    /// Creates a program from its path, or from its name in `PATH`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::mcp::Program;
    ///
    /// let program = Program::new("mcp-files");
    /// # drop(program);
    /// ```
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: Vec::new(), env: Vec::new(), dir: None }
    }

    /// Adds an argument.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::mcp::Program;
    ///
    /// let program = Program::new("mcp-files").arg("/srv/docs");
    /// # drop(program);
    /// ```
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Sets an environment variable. Default: `PATH`, `HOME` and the variables for language, time zone and similar.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    /// use agent_tools::mcp::Program;
    ///
    /// let program = Program::new("mcp-shop").env("SHOP_TOKEN", Secret::new("…"));
    /// # drop(program);
    /// ```
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl Into<Secret>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.into()));
        self
    }

    /// Sets the working directory. Default: that of this process.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::mcp::Program;
    ///
    /// let program = Program::new("mcp-files").dir("/srv");
    /// # drop(program);
    /// ```
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn start(&self, server: &str) -> io::Result<(Process, ChildStdout, ChildStdin)> {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear();
        command.envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.env.iter().map(|(name, value)| (name, value.expose())));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ProcessGroup::prepare(&mut command);
        let mut child = command.spawn()?;
        let group = ProcessGroup::of(&child);
        let pipes = (child.stdout.take(), child.stdin.take(), child.stderr.take());
        let tasks = TaskGroup::default();
        let (Some(stdout), Some(stdin), Some(stderr)) = pipes else {
            return Err(io::Error::other("the program has no stdin or stdout pipe"));
        };
        tasks.spawn(log(server.to_owned(), stderr));
        Ok((Process { child: Mutex::new(Some(child)), group, tasks }, stdout, stdin))
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments and environment may contain keys.
        f.debug_struct("Program").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A running server. Dropping it kills its process group.
pub(super) struct Process {
    child: Mutex<Option<Child>>,
    group: ProcessGroup,
    tasks: TaskGroup,
}

impl Process {
    /// Waits at most `grace` for the process to exit.
    pub(super) async fn ended(&self, grace: Duration) {
        let child = self.child.lock().take();
        if let Some(mut child) = child {
            // The group is killed on drop in any case.
            tokio::time::timeout(grace, child.wait()).await.ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill();
        self.tasks.stop();
    }
}

/// Logs stderr line by line; very long lines are logged in parts.
async fn log(server: String, stderr: ChildStderr) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                tracing::debug!(server, line = %String::from_utf8_lossy(&line).trim_end(), "stderr of an MCP server")
            }
        }
    }
}
