//! The binary `agent-server`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_server::cli::main()
}
