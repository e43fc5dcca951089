//! What the SQL tool promises: it reads one database and does nothing else.
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
