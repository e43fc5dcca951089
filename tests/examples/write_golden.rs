//! Writes the golden SQLite files of the present format: `cargo run -p tests --example write_golden -- v2`.
//!
//! Each file is one scenario of `tests::golden`; beside it is what the public API reads of it, as JSON. Golden files
//! never change: only the files of scenarios that the folder does not have are written.
#![expect(clippy::print_stdout, reason = "a program that a person runs")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use agent_core::{clock::ManualClock, sqlite::Sqlite};
use tests::golden::{Outside, SCENARIOS, WRITTEN_AT, first_turns, play, reading, runtime};

type Any<T> = Result<T, Box<dyn std::error::Error>>;

/// Copies a database that may be open elsewhere into one small file without a write-ahead log.
fn copy(from: &Path, to: &Path) -> Any<()> {
    let source = rusqlite::Connection::open(from)?;
    source.execute("VACUUM INTO ?1", [to.to_str().ok_or("the path is not UTF-8")?])?;
    let target = rusqlite::Connection::open(to)?;
    target.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

fn store(path: &Path) -> Any<Arc<Sqlite>> {
    // Small pages: a file has a dozen tables and indexes, and each needs a page.
    let clock = Arc::new(ManualClock::new(WRITTEN_AT));
    Ok(Arc::new(Sqlite::builder().page_size(512).clock(clock).open(path)?))
}

async fn write(name: &str, folder: &Path) -> Any<()> {
    let scratch = tempfile::tempdir()?;
    let live = scratch.path().join("live.db");
    let outside = Arc::new(Outside { broken: true, holds: true, ..Outside::default() });
    let runtime_of_writer = play(name, runtime(store(&live)?, &outside, first_turns()), &outside).await;
    let path = folder.join(format!("{name}.db"));
    if name == "running" || name == "shipping" {
        // As a process leaves it that is killed: while the run is in memory.
        copy(&live, &path)?;
        runtime_of_writer.shutdown(Duration::ZERO).await;
    } else {
        runtime_of_writer.shutdown(Duration::ZERO).await;
        drop(runtime_of_writer);
        copy(&live, &path)?;
    }
    let again = scratch.path().join("again.db");
    fs::copy(&path, &again)?;
    let reader = runtime(store(&again)?, &Arc::default(), first_turns()).build();
    let read = serde_json::to_string_pretty(&reading(&reader).await)?;
    fs::write(folder.join(format!("{name}.json")), read + "\n")?;
    println!("{name}: {} bytes", fs::metadata(&path)?.len());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Any<()> {
    let format = std::env::args().nth(1).ok_or("which folder? For example `v2`")?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format);
    fs::create_dir_all(&folder)?;
    let missing = SCENARIOS.into_iter().filter(|name| !folder.join(format!("{name}.db")).exists());
    for name in missing {
        write(name, &folder).await?;
    }
    Ok(())
}
