//! Tables of the embedding program, on a private server.

use std::sync::OnceLock;

use agent_postgres::{Postgres, Type, testing::Cluster};
use futures::future::{join_all, try_join_all};

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

const SCRIPT: &str = "
    CREATE TABLE IF NOT EXISTS customers (id bigint PRIMARY KEY, name text NOT NULL);
    CREATE TABLE IF NOT EXISTS orders (customer bigint NOT NULL REFERENCES customers (id));
    CREATE OR REPLACE FUNCTION customers_count() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM customers $$;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_runs_twice_and_by_many_processes_at_once() {
    let address = cluster().address(&cluster().database());
    let all = try_join_all((0..8).map(|_| Postgres::connect(&address))).await.unwrap();
    for result in join_all(all.iter().map(|database| database.migrate(SCRIPT))).await {
        result.unwrap();
    }
    all[0].migrate(SCRIPT).await.unwrap();
    let insert = "INSERT INTO customers VALUES ($1, $2) RETURNING name";
    let rows = all[0].query(insert, &[(&7_i64, Type::INT8), (&"한글 👋", Type::TEXT)]).await.unwrap();
    assert_eq!(rows[0].get::<_, String>(0), "한글 👋");
    let rows = all[1].query("SELECT customers_count()", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_script_that_fails_leaves_nothing_behind() {
    let database = cluster().database();
    let store = Postgres::connect(&cluster().address(&database)).await.unwrap();
    let error = store.migrate("CREATE TABLE half (id int); SELECT 1/0").await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), (Some("22012"), false), "{error}");
    let rows = store.query("SELECT to_regclass('half') IS NULL", &[]).await.unwrap();
    assert!(rows[0].get::<_, bool>(0));
    // The connection is usable, and the lock is released.
    store.migrate("CREATE TABLE whole (id int)").await.unwrap();
}

#[tokio::test]
async fn an_error_has_the_code_of_the_database_and_no_parameters() {
    let store = Postgres::connect(&cluster().address(&cluster().database())).await.unwrap();
    store.migrate(SCRIPT).await.unwrap();
    let missing =
        store.query("INSERT INTO orders VALUES ($1)", &[(&4_711_i64, Type::INT8)]).await.unwrap_err();
    assert_eq!((missing.code(), missing.is_transient()), (Some("23503"), false));
    assert!(!format!("{missing} {missing:?}").contains("4711"), "{missing:?}");
    let syntax = store.query("SELEC 1", &[]).await.unwrap_err();
    assert_eq!(syntax.code(), Some("42601"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_a_transient_error() {
    let own = tokio::task::block_in_place(Cluster::start);
    let store = Postgres::connect(&own.address("postgres")).await.unwrap();
    tokio::task::block_in_place(|| own.kill());
    let error = store.query("SELECT 1", &[]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn the_pool_opens_its_minimum_and_keeps_to_its_maximum() {
    let database = cluster().database();
    let builder = Postgres::builder().min_connections(5).max_connections(7);
    let store = builder.connect(&cluster().address(&database)).await.unwrap();
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()"
    );
    assert_eq!(cluster().sql(&count).trim(), "5");
    let busy = join_all((0..40).map(|_| store.query("SELECT pg_sleep(0.02)", &[]))).await;
    assert!(busy.iter().all(Result::is_ok));
    assert_eq!(cluster().sql(&count).trim(), "7");
}
