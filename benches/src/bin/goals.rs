//! `goals [WORD]`: measures each goal and its hand-written baseline alternately, takes the fastest of many short
//! samples, and prints a table.

use std::{io::Write, process::ExitCode, time::Duration};

use benches::goals::{self, Probe};

const SAMPLES: usize = 60;
const SAMPLE: Duration = Duration::from_millis(8);

/// Iterations that take about one sample.
fn iterations(probe: &mut Probe) -> u64 {
    let mut times = 1;
    loop {
        let took = probe(times);
        if took >= SAMPLE / 2 || times > 1 << 24 {
            return times;
        }
        times *= 2;
    }
}

fn nanoseconds(probe: &mut Probe, times: u64, units: u64) -> f64 {
    probe(times).as_secs_f64() * 1e9 / (times * units) as f64
}

fn main() -> ExitCode {
    match table(std::env::args().nth(1).unwrap_or_default().as_str()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn table(word: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "| what | ours | floor | ratio | goal | |\n| --- | --- | --- | --- | --- | --- |")?;
    for make in goals::all() {
        let mut subject = make();
        if !subject.name.contains(word) {
            continue;
        }
        let (ours_times, floor_times) = (iterations(&mut subject.ours), iterations(&mut subject.floor));
        let (mut ours, mut floor) = (f64::MAX, f64::MAX);
        let began = std::time::Instant::now();
        for sample in 0..SAMPLES {
            // Alternately, so that a change of the machine's speed affects both.
            ours = ours.min(nanoseconds(&mut subject.ours, ours_times, subject.units));
            floor = floor.min(nanoseconds(&mut subject.floor, floor_times, subject.units));
            if sample > 10 && began.elapsed() > Duration::from_secs(12) {
                break;
            }
        }
        let verdict = if (subject.met)(ours, floor) { "met" } else { "missed" };
        writeln!(
            out,
            "| {} | {} / {} | {} | {:.1} × | {} | {verdict} |",
            subject.name,
            reported(ours),
            subject.unit,
            reported(floor),
            ours / floor,
            subject.goal,
        )?;
    }
    Ok(())
}

fn reported(nanoseconds: f64) -> String {
    if nanoseconds < 1_000.0 {
        format!("{nanoseconds:.1} ns")
    } else {
        format!("{:.2} µs", nanoseconds / 1_000.0)
    }
}
