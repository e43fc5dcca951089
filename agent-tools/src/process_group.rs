//! Process groups: a program and all that it started, which are killed together.

use tokio::process::{Child, Command};

/// The group of a started program. Where there are no groups (Windows), only the program itself is killed, with its handle.
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl ProcessGroup {
    /// Makes a program the leader of a group, and kills it when its handle is dropped.
    pub(crate) fn prepare(command: &mut Command) {
        #[cfg(unix)]
        command.process_group(0);
        command.kill_on_drop(true);
    }

    /// Returns the group of a program that was started after [`prepare`](Self::prepare).
    #[cfg_attr(not(unix), expect(unused_variables, reason = "there are no groups"))]
    pub(crate) fn of(child: &Child) -> Self {
        Self {
            #[cfg(unix)]
            leader: child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw),
        }
    }

    /// Kills all processes of the group.
    #[cfg_attr(not(unix), expect(clippy::unused_self, reason = "there are no groups"))]
    pub(crate) fn kill(&self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader {
            // Fails if all processes have exited, which is fine.
            rustix::process::kill_process_group(leader, rustix::process::Signal::KILL).ok();
        }
    }
}
