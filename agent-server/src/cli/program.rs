//! Serving a program's own agents with the settings and the command line of this crate.

use std::sync::OnceLock;

use agent_core::{Graph, State};

use crate::agents::{Agents, NoInputField};

/// The agents of this process, instead of the sample agents. The command line runs once in a process.
static OWN: OnceLock<Agents> = OnceLock::new();

/// Error of [`serve`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// No field of a state takes the message.
    #[error(transparent)]
    Input(#[from] NoInputField),
    /// `serve` was called before in this process.
    #[error("the command line runs once in a process; serve several agents with `Agents`")]
    Again,
    /// The command failed, the arguments or the settings are invalid. The reason was printed to standard error.
    #[error("the command failed with exit code {code}")]
    Command {
        /// Exit code: 1 failed or incomplete, 2 invalid arguments or settings.
        code: u8,
    },
}

/// Argument of [`serve`]: a graph, an agent, or several as [`Agents`].
pub trait IntoAgents {
    /// Returns the agents.
    ///
    /// # Errors
    ///
    /// [`NoInputField`].
    fn into_agents(self) -> Result<Agents, NoInputField>;
}

impl IntoAgents for Agents {
    fn into_agents(self) -> Result<Agents, NoInputField> {
        Ok(self)
    }
}

impl<S: State> IntoAgents for Graph<S> {
    fn into_agents(self) -> Result<Agents, NoInputField> {
        Agents::new().with(self)
    }
}

/// Runs the command line of `agent-server` for a program's own agents: without a command it serves them, as the binary
/// does (REST, WebSocket, SSE, `/v1`, dashboard), with the same settings; `run`, `sessions`, `history`, `graph` and the other
/// commands work on them. Runs that an earlier process left unfinished are resumed at the start.
///
/// The model comes from the environment (`OPENAI_API_KEY`, `OPENAI_BASE_URL`, `DEFAULT_LLM_MODEL`), unless an agent brings
/// its own; journals are in the file that `DATABASE_PATH` names. It blocks the calling thread until a signal; call it from
/// `main`, outside an async runtime.
///
/// # Errors
///
/// [`ServeError`].
///
/// # Panics
///
/// Inside an async runtime, as `tokio::runtime::Runtime::block_on`.
///
/// # Examples
///
/// ```no_run
/// use agent_core::Agent;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     Ok(agent_server::serve(Agent::builder("helper").system("Answer briefly.").build()?)?)
/// }
/// ```
pub fn serve(agents: impl IntoAgents) -> Result<(), ServeError> {
    OWN.set(agents.into_agents()?).map_err(|_| ServeError::Again)?;
    match super::start(std::env::args_os()) {
        Ok(()) => Ok(()),
        Err(failure) => match failure.print() {
            0 => Ok(()),
            code => Err(ServeError::Command { code }),
        },
    }
}

/// Returns the agents that the program brought, if it did.
pub(super) fn own() -> Option<&'static Agents> {
    OWN.get().filter(|agents| !agents.is_empty())
}
