//! The server workload of `workloads.md`: on this project's server, and on bare hyper as the baseline.

pub mod floor;
#[cfg(feature = "server")]
pub mod ours;

use serde_json::{Value, json};

/// A message of the burst, about 500 bytes. `ts` is the machine's monotonic clock in nanoseconds, as clients read it.
pub fn burst_message(session: &str, seq: u64) -> Value {
    let todos: Vec<Value> = (0..5)
        .map(|todo| {
            let content = format!("step {todo} of {seq}: read the reviews and write down what is in them");
            json!({"id": format!("t{todo}"), "content": content, "status": "in_progress"})
        })
        .collect();
    json!({"type": "todo_update", "session_id": session, "seq": seq, "ts": monotonic_ns(), "todos": todos})
}

/// The machine's monotonic clock in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    u64::try_from(now.tv_sec()).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec()).unwrap_or_default()
}

/// A part of the streamed answer.
pub fn chunk(index: u64) -> String {
    format!("data: {}\n\n", json!({"type": "chunk", "index": index, "content": format!("word{index} ")}))
}

/// The answer of `/health`.
pub const HEALTHY: &str = r#"{"status":"ok"}"#;

/// End of the streamed answer.
pub const DONE: &str = "data: [DONE]\n\n";
