//! The SQL tool: it reads one database and does nothing else.
#![cfg(feature = "sql")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use agent_core::{
    model::ToolCall,
    tool::{ToolContext, ToolError, ToolOutput, ToolRegistry},
};
use agent_tools::SqlQuery;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

fn database() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, table) in [("shop.db", "reviews"), ("secret.db", "keys")] {
        let made = Connection::open(dir.path().join(file)).unwrap();
        made.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE {table} (id INTEGER PRIMARY KEY, brand TEXT, stars REAL, photo BLOB);
             INSERT INTO {table} (brand, stars, photo) VALUES ('라네즈', 4.5, x'0102'), ('설화수', NULL, NULL);"
        ))
        .unwrap();
    }
    dir
}

async fn ask(dir: &TempDir, query: &str) -> Result<Value, ToolError> {
    let tool = SqlQuery::new(dir.path().join("shop.db"), "Reviews of products.");
    let tools = ToolRegistry::builder().tool(tool).build().unwrap();
    let prepared = tools.prepare(ToolCall::new("sql_query", &json!({ "query": query })))?;
    match prepared.run(&ToolContext::detached()).await? {
        ToolOutput::Json(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_query_is_answered() {
    let dir = database();
    assert_eq!(
        ask(&dir, "SELECT brand, stars, photo, upper('a') AS u FROM reviews ORDER BY id;").await.unwrap(),
        json!({
            "columns": ["brand", "stars", "photo", "u"],
            "rows": [["라네즈", 4.5, "<2 bytes>", "A"], ["설화수", null, null, "A"]],
            "more": false,
        })
    );
    let schema = ask(&dir, "SELECT sql FROM sqlite_schema").await.unwrap();
    assert!(schema["rows"][0][0].as_str().unwrap().starts_with("CREATE TABLE reviews"));
    assert_eq!(
        ask(&dir, "WITH big AS (SELECT max(stars) s FROM reviews) SELECT s FROM big").await.unwrap()["rows"],
        json!([[4.5]])
    );
}

#[tokio::test]
async fn nothing_but_reading_this_database_is_allowed() {
    let dir = database();
    let secret = dir.path().join("secret.db").display().to_string();
    for query in [
        "DELETE FROM reviews",
        "INSERT INTO reviews (brand) VALUES ('x') RETURNING id",
        "DROP TABLE reviews",
        "CREATE TEMP TABLE t (a)",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = 1",
        "VACUUM INTO '/tmp/agent-tools-stolen.db'",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT 1; DELETE FROM reviews",
        "BEGIN",
        "",
        &format!("ATTACH '{secret}' AS other"),
        &format!("SELECT * FROM reviews; ATTACH '{secret}' AS other"),
    ] {
        assert!(ask(&dir, query).await.is_err(), "{query}");
    }
    assert_eq!(ask(&dir, "SELECT count(*) FROM reviews").await.unwrap()["rows"], json!([[2]]));
    assert!(!std::path::Path::new("/tmp/agent-tools-stolen.db").exists());
}

#[tokio::test]
async fn a_fault_is_told_in_words() {
    let dir = database();
    let error = ask(&dir, "SELECT brnad FROM reviews").await.unwrap_err();
    assert!(error.for_model().contains("no such column: brnad"), "{error}");
    assert_eq!(
        ask(&dir, "DELETE FROM reviews").await.unwrap_err().for_model(),
        "only reading queries are allowed"
    );
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(ask(&nowhere, "SELECT 1").await.unwrap_err().for_model(), "the database cannot be opened");
    assert!(!nowhere.path().join("shop.db").exists());
}

#[tokio::test]
async fn rows_cells_and_time_are_bounded() {
    let dir = database();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n";
    let many = ask(&dir, many).await.unwrap();
    assert_eq!((many["rows"].as_array().unwrap().len(), &many["more"]), (200, &json!(true)));
    let long = ask(&dir, "SELECT replace(hex(zeroblob(5000)), '0', '한')").await.unwrap();
    assert_eq!(long["rows"][0][0].as_str().unwrap().chars().count(), 2001);
    assert!(ask(&dir, "SELECT hex(zeroblob(500000000))").await.unwrap_err().for_model().contains("too big"));
    let began = Instant::now();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let tool = SqlQuery::new(dir.path().join("shop.db"), "");
    let tools = ToolRegistry::builder().tool(tool).build().unwrap();
    let cx = ToolContext::detached();
    let prepared = tools.prepare(ToolCall::new("sql_query", &json!({ "query": endless }))).unwrap();
    let (result, ()) = tokio::join!(prepared.run(&cx), async { cx.cancelled.cancel() });
    assert!(result.is_err());
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// The largest size in memory that this process has had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn one_row_of_large_values_takes_little_memory_and_time() {
    let dir = database();
    let row = |value: &str, count: usize| {
        let values: Vec<String> = (0..count).map(|at| value.replace('N', &at.to_string())).collect();
        format!("SELECT {}", values.join(", "))
    };
    let (before, began) = (peak(), Instant::now());
    // 300 values of 16 MiB, as columns; in functions; of one large value; each below every bound.
    let attacks = [
        row("hex(zeroblob(8388608-N))", 300),
        format!("SELECT max({})", &row("hex(zeroblob(8388608-N))", 100)["SELECT ".len()..]),
        format!(
            "WITH one AS MATERIALIZED (SELECT hex(zeroblob(8388608)) AS a) {} FROM one",
            row("a||N", 300)
        ),
        format!(
            "SELECT count(*) FROM reviews WHERE {}",
            row("hex(zeroblob(120000-N)) = brand", 300)["SELECT ".len()..].replace(", ", " OR ")
        ),
        row("hex(zeroblob(130000-N))", 50),
    ];
    for attack in &attacks {
        let answer = ask(&dir, attack).await;
        assert!(answer.is_err() || attack.ends_with("hex(zeroblob(130000-49))"), "{}", &attack[..60]);
    }
    let grown = peak() - before;
    assert!(grown < 150, "{grown} MiB");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_query_ends_at_its_time_limit_however_slow_its_steps_are() {
    let dir = database();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let big = "hex(zeroblob(120000))";
    let queries = [
        format!("{endless} SELECT sum(instr({big}, hex(zeroblob(i % 2000)) || '1')) FROM n"),
        format!("{endless} SELECT sum({big} LIKE '%0%0%0%0%0%0%' || i) FROM n"),
        format!("{endless} SELECT sum(length(replace({big}, '0', '00' || i))) FROM n"),
    ];
    for query in queries {
        let tool = SqlQuery::new(dir.path().join("shop.db"), "").time_limit(Duration::from_millis(300));
        let tools = ToolRegistry::builder().tool(tool).build().unwrap();
        let prepared = tools.prepare(ToolCall::new("sql_query", &json!({ "query": query }))).unwrap();
        let began = Instant::now();
        let error = prepared.run(&ToolContext::detached()).await.unwrap_err();
        assert!(
            error.for_model().contains("takes too long") || error.for_model().contains("too big"),
            "{error}"
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}: {query}", began.elapsed());
    }
}

#[tokio::test]
async fn a_query_that_unfolds_into_very_many_is_refused_in_time() {
    let dir = database();
    let doubling: String =
        (1..40).map(|at| format!(", c{at} AS (SELECT a.x FROM c{0} a, c{0} b)", at - 1)).collect();
    let query = format!("WITH c0 AS (SELECT 1 x){doubling} SELECT count(*) FROM c39");
    let (before, began) = (peak(), Instant::now());
    let error = ask(&dir, &query).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(14), "{:?}: {error}", began.elapsed());
    assert!(peak() - before < 300, "{} MiB", peak() - before);
}
