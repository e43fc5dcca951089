//! `scale [WORD]`: scale curves, one line of JSON a point. `scale.py` makes the table and the picture of them.

use std::{error::Error, io::Write};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let only = std::env::args().nth(1);
    // In a spawned task, as a server's work is.
    benches::goals::spawn_bare(benches::scale::run(only, |point| {
        let line = serde_json::to_string(point).expect("a point is plain data");
        writeln!(std::io::stdout(), "{line}").expect("the output is open");
    }))
    .await?
}
