//! Programs that this project did not write: MCP servers, a mocked model endpoint with faults, a real small model.
//! `.ci/real` installs and starts them, and runs these tests; without it they are ignored.
#![cfg(feature = "mcp")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "real/aimock.rs"]
mod aimock;
#[path = "real/servers.rs"]
mod servers;
#[path = "real/smollm.rs"]
mod smollm;

/// What `.ci/real` says.
fn reported(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run .ci/real"))
}
