//! The binary: settings and words of the command line in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_server::cli::main()
}
