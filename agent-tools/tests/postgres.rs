//! The PostgreSQL tool, against a server that the test starts. Needs PostgreSQL's programs
//! (`apt-get install postgresql`), as the feature does: without them the tests fail rather than pass unseen.
#![cfg(feature = "sql-postgres")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use agent_core::{
    model::ToolCall,
    secret::Secret,
    tool::{ToolContext, ToolError, ToolOutput, ToolRegistry},
};
use agent_postgres::testing::Cluster;
use agent_tools::{PostgresAddressError, PostgresQuery};
use serde_json::{Value, json};

/// One server for all tests, with a table of reviews. Ends with the process.
fn cluster() -> &'static Reviews {
    static CLUSTER: OnceLock<Reviews> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let server = Cluster::start();
        server.sql(
            "CREATE TABLE reviews (id int PRIMARY KEY, brand text, stars float8, price numeric, good bool, photo bytea);
             INSERT INTO reviews VALUES (1, '라네즈', 4.5, 12000.50, true, '\\x0102'), (2, '설화수', NULL, NULL, false, NULL);
             CREATE ROLE reader LOGIN; GRANT SELECT ON reviews TO reader;
             GRANT INSERT ON reviews TO reader;",
        );
        Reviews(server)
    })
}

struct Reviews(Cluster);

impl Reviews {
    async fn ask_as(&self, user: &str, query: &str) -> Result<Value, ToolError> {
        let (folder, port) = (self.0.folder().display(), self.0.port());
        let address = format!("host={folder} port={port} user={user} dbname=postgres");
        let tool = PostgresQuery::new(&Secret::new(address), "Reviews of products.").unwrap();
        let tools = ToolRegistry::builder().tool(tool).build().unwrap();
        let prepared = tools.prepare(ToolCall::new("sql_query", &json!({ "query": query })))?;
        match prepared.run(&ToolContext::detached()).await? {
            ToolOutput::Json(value) => Ok(value),
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&self, query: &str) -> Result<Value, ToolError> {
        self.ask_as("reader", query).await
    }
}

#[tokio::test]
async fn a_query_is_answered() {
    let answer =
        cluster().ask("SELECT brand, stars, price, good, photo FROM reviews ORDER BY id; -- all").await;
    assert_eq!(
        answer.unwrap_err().for_model().split(':').next(),
        Some("the query failed"),
        "a comment behind the end is a second, empty statement at most"
    );
    let answer =
        cluster().ask("SELECT brand, stars, price, good, photo FROM reviews ORDER BY id -- all").await;
    assert_eq!(
        answer.unwrap(),
        json!({
            "columns": ["brand", "stars", "price", "good", "photo"],
            "rows": [["라네즈", 4.5, "12000.50", true, "<2 bytes>"], ["설화수", null, null, false, null]],
            "more": false,
        })
    );
    let twice = cluster().ask("SELECT 1 AS a, 2 AS a;").await.unwrap();
    assert_eq!((&twice["columns"], &twice["rows"]), (&json!(["a", "a"]), &json!([[1, 2]])));
}

#[tokio::test]
async fn nothing_but_reading_is_allowed() {
    for query in [
        "INSERT INTO reviews (id) VALUES (3)",
        "INSERT INTO reviews (id) VALUES (3) RETURNING id",
        "WITH made AS (INSERT INTO reviews (id) VALUES (3) RETURNING id) SELECT * FROM made",
        "SELECT 1; INSERT INTO reviews (id) VALUES (3)",
        "COMMIT; INSERT INTO reviews (id) VALUES (3)",
        "SELECT 1) AS q(c0); INSERT INTO reviews (id) VALUES (3); SELECT (1",
        "DROP TABLE reviews",
        "COPY reviews TO PROGRAM 'touch /tmp/agent-tools-was-here'",
        "DO $$ BEGIN INSERT INTO reviews (id) VALUES (3); END $$",
        "SET default_transaction_read_only = off",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT $1::int",
        "SELECT",
        "",
        "/*",
    ] {
        let error = cluster().ask(query).await.unwrap_err();
        assert!(!error.for_model().is_empty(), "{query}");
    }
    let count = cluster().ask("SELECT count(*) FROM reviews").await.unwrap();
    assert_eq!(count["rows"], json!([[2]]));
    let set = "WITH off AS (SELECT set_config('transaction_read_only', 'off', true) AS v) SELECT v FROM off";
    let error = cluster().ask(set).await.unwrap_err();
    assert!(error.for_model().contains("read-write"), "{error}");
}

#[tokio::test]
async fn a_superuser_is_refused_whatever_it_asks() {
    let error = cluster().ask_as("admin", "SELECT 1").await.unwrap_err();
    assert_eq!(error.for_model(), "the tool failed");
    assert!(error.cause().unwrap().to_string().contains("superuser"));
}

#[tokio::test]
async fn rows_bytes_and_cells_are_bounded() {
    let rows = cluster().ask("SELECT n FROM generate_series(1, 1000000) n").await.unwrap();
    assert_eq!((rows["rows"].as_array().unwrap().len(), &rows["more"]), (200, &json!(true)));
    assert_eq!(rows["rows"][199], json!([200]));
    let cell = cluster().ask("SELECT repeat('글', 1000000) AS t").await.unwrap();
    assert_eq!(cell["rows"][0][0].as_str().unwrap().chars().count(), 2_001);
    let wide = |columns: usize| vec!["repeat('글', 5000)"; columns].join(", ");
    let rows = cluster().ask(&format!("SELECT {} FROM generate_series(1, 100)", wide(100))).await.unwrap();
    assert!(rows["more"] == json!(true) && rows["rows"].as_array().unwrap().len() < 10);
    let error = cluster().ask(&format!("SELECT {}", wide(101))).await.unwrap_err();
    assert!(error.for_model().contains("101 columns"), "{error}");
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_ended_by_the_server() {
    let began = Instant::now();
    let error = cluster().ask("SELECT pg_sleep(60)::text").await.unwrap_err();
    assert!(error.for_model().contains("too long"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(17));
}

#[test]
fn an_address_that_cannot_be_used_is_refused_without_repeating_it() {
    let new = |address: &str| PostgresQuery::new(&Secret::new(address), "").unwrap_err();
    assert_eq!(new("http://secret-word@host"), PostgresAddressError::Malformed);
    assert_eq!(new("postgres://u:secret-word@host/db?sslmode=require"), PostgresAddressError::NeedsTls);
    let tool = PostgresQuery::new(&Secret::new("postgres://u:secret-word@host/db"), "").unwrap();
    assert!(!format!("{tool:?}").contains("secret-word"));
}
