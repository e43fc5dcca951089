//! `idle`: bytes that an idle session occupies, measured with a counting allocator (which would distort timings).

use std::{alloc::System, io::Write};

use benches::goals::idle;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn in_use() -> i64 {
    let stats = ALLOCATOR.stats();
    // What a reallocation adds is counted as allocated, what it frees as deallocated.
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for (name, bytes, goal) in idle::sessions(in_use) {
        let verdict = if bytes <= goal { "met" } else { "missed" };
        writeln!(out, "| {name} | {bytes:.0} B | | | ≤ {} KiB | {verdict} |", goal / 1_024.0)?;
    }
    Ok(())
}
