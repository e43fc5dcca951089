//! PostgreSQL: the migration, the function, saving, failures of the database.

use std::sync::{Arc, OnceLock};

use agent_core::secret::Secret;
use agent_postgres::{Postgres, testing::Cluster};
use counselling::{Conversations, Exchange, Settings, Stores, history::SaveMode};
use serde_json::json;
use tokio::time::timeout;

use crate::support::{
    Here, LONG, quick,
    upstream::{says, says_slowly},
};

const MIGRATION: &str = include_str!("../../migrations/create_conversations_table.sql");

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

async fn open(address: &Secret) -> Stores {
    let builder = Postgres::builder().min_connections(5).max_connections(20);
    let database = builder.connect(address).await.unwrap();
    Stores {
        journal: Arc::new(database.clone()),
        memory: Arc::new(database.memory()),
        conversations: Conversations::postgres(database).await.unwrap(),
    }
}

fn sql(database: &str, sql: &str) -> String {
    cluster().try_sql_in(database, sql).unwrap()
}

#[tokio::test]
async fn a_conversation_is_saved_in_the_table_of_the_contract() {
    let database = cluster().database();
    let stores = open(&cluster().address(&database)).await;
    let here = Here::with(quick(), stores, [says_slowly(&["하나 👋"])], |server| server).await;
    let mut client = here.client("test_session_123").await;
    let data = json!({"message": " 안녕하세요, 요즘 우울해요 ", "emotion": "sad", "timestamp": 1_704_902_400_000_i64});
    client.send("request_ai_response", data).await;
    client.begins().await;
    client.chunk().await;
    assert_eq!(sql(&database, "SELECT count(*) FROM conversations").trim(), "0", "saved after the end");
    here.upstream.release();
    client.rest().await;
    here.settled("test_session_123").await;
    let row = sql(
        &database,
        r#"SELECT id, session_id, user_message, ai_response, emotion, "timestamp", created_at > now() - interval '1 minute' FROM conversations"#,
    );
    assert_eq!(row.trim(), "1|test_session_123|안녕하세요, 요즘 우울해요|하나 👋|sad|1704902400000|t");
    sql(&database, "DELETE FROM sessions");
    assert_eq!(sql(&database, "SELECT count(*) FROM conversations").trim(), "0", "deleted with the session");
}

#[tokio::test]
async fn the_migration_runs_twice_and_leaves_an_existing_table_alone() {
    let database = cluster().database();
    sql(
        &database,
        "CREATE TABLE sessions (session_id varchar(255) PRIMARY KEY, user_name text NOT NULL DEFAULT 'x', extra int);
         INSERT INTO sessions (session_id) VALUES ('old')",
    );
    for _ in 0..2 {
        sql(&database, MIGRATION);
    }
    let address = cluster().address(&database);
    let both = futures::future::join(open(&address), open(&address)).await;
    assert!(both.0.conversations.has_session("old").await.unwrap());
    assert_eq!(sql(&database, "SELECT user_name FROM sessions").trim(), "x");
    let columns = sql(
        &database,
        "SELECT string_agg(column_name || ' ' || data_type || coalesce('(' || character_maximum_length || ')', '') || ' ' || is_nullable, ', ' ORDER BY ordinal_position)
         FROM information_schema.columns WHERE table_name = 'conversations'",
    );
    assert_eq!(
        columns.trim(),
        "id integer NO, session_id character varying(255) NO, user_message text NO, ai_response text NO, \
         emotion character varying(50) YES, timestamp bigint NO, created_at timestamp with time zone YES"
    );
    let indexes = sql(
        &database,
        "SELECT string_agg(indexname || split_part(indexdef, 'btree', 2), ', ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'conversations' AND indexname LIKE 'idx%'",
    );
    assert_eq!(
        indexes.trim(),
        "idx_conversations_created_at (created_at DESC), idx_conversations_session (session_id), \
         idx_conversations_timestamp (\"timestamp\" DESC)"
    );
}

#[tokio::test]
async fn the_function_and_the_service_read_the_latest_ten_in_order() {
    let database = cluster().database();
    let stores = open(&cluster().address(&database)).await;
    stores.conversations.create_session("s").await.unwrap();
    for number in 0..15 {
        let timestamp = if number < 8 { number } else { 100 };
        let exchange = Exchange {
            user_message: format!("u{number}\0"),
            ai_response: format!("a{number}"),
            emotion: None,
            timestamp,
        };
        stores.conversations.save("s", &exchange, SaveMode::First).await.unwrap();
    }
    let expected: Vec<String> = (5..15).map(|number| format!("u{number}\u{fffd}")).collect();
    let recent = stores.conversations.recent("s").await.unwrap();
    assert_eq!(recent.iter().map(|exchange| exchange.user_message.clone()).collect::<Vec<_>>(), expected);
    let called = sql(&database, "SELECT user_message FROM get_recent_conversations('s')");
    assert_eq!(called.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_failed_save_is_not_shown_and_is_made_up_for() {
    let database = cluster().database();
    let stores = open(&cluster().address(&database)).await;
    let here =
        Here::with(quick(), stores, [says(&["하나."]), says(&["둘."]), says(&["셋."])], |server| server)
            .await;
    let mut client = here.client("s").await;
    sql(&database, "ALTER TABLE conversations RENAME TO away");
    client.ask("첫째").await;
    assert_eq!(client.answer().await.error, None, "the client does not see the failure");
    client.ask("둘째").await;
    assert_eq!(client.answer().await.text(), "둘.");
    let texts: Vec<String> = here.upstream.messages(1).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["첫째", "하나.", "둘째"], "an unsaved exchange is remembered");
    here.settled("s").await;
    sql(&database, "ALTER TABLE away RENAME TO conversations");
    // No further request is needed.
    let saved = async {
        loop {
            let found = here.stores.conversations.recent("s").await.unwrap();
            if found.len() == 2 {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    let saved = timeout(LONG, saved).await.unwrap();
    assert_eq!(saved.iter().map(|exchange| &*exchange.ai_response).collect::<Vec<_>>(), ["하나.", "둘."]);
    client.ask("셋째").await;
    assert_eq!(client.answer().await.text(), "셋.");
    here.settled("s").await;
    assert_eq!(sql(&database, "SELECT count(*) FROM conversations").trim(), "3");
}

#[tokio::test]
async fn unsaved_exchanges_are_saved_after_a_restart() {
    let database = cluster().database();
    let address = cluster().address(&database);
    let here = Here::with(quick(), open(&address).await, [says(&["하나."])], |server| server).await;
    let mut client = here.client("s").await;
    sql(&database, "ALTER TABLE conversations RENAME TO away");
    client.ask("첫째").await;
    client.answer().await;
    here.settled("s").await;
    drop(here.end().await);
    sql(&database, "ALTER TABLE away RENAME TO conversations");
    let here = Here::with(quick(), open(&address).await, [says(&["둘."])], |server| server).await;
    let mut client = here.client("s").await;
    client.ask("둘째").await;
    client.answer().await;
    here.settled("s").await;
    let saved = here.stores.conversations.recent("s").await.unwrap();
    assert_eq!(saved.iter().map(|exchange| &*exchange.ai_response).collect::<Vec<_>>(), ["하나.", "둘."]);
}

#[tokio::test]
async fn a_session_that_another_service_deletes_takes_its_conversation_along() {
    let database = cluster().database();
    let stores = open(&cluster().address(&database)).await;
    sql(&database, "INSERT INTO sessions (session_id) VALUES ('s')");
    let settings = Settings { require_session: true, ..quick() };
    let here = Here::with(settings, stores, [says(&["네."])], |server| server).await;
    assert_eq!(here.client("unknown").await.refusal().await, "존재하지 않는 세션입니다");
    let mut client = here.client("s").await;
    sql(&database, "DELETE FROM sessions");
    client.ask("안녕").await;
    assert_eq!(client.answer().await.text(), "네.");
    here.settled("s").await;
    assert_eq!(sql(&database, "SELECT count(*) FROM conversations").trim(), "0");
    let state = here.service.runtime().session("s").unwrap().state_json().await.unwrap();
    assert_eq!(state["unsaved"], json!([]));
}
