//! `workloads CASE --reps N --warmup N`: one benchmark case, one line of JSON; exit 3 for an unknown case.

fn main() -> std::process::ExitCode {
    benches::workloads::main(std::env::args().skip(1))
}
