//! The limit of requests survives a reconnect and a restart.

use std::sync::Arc;

use agent_core::sqlite::Sqlite;
use counselling::{Conversations, Settings, Stores};

use crate::support::{Here, in_memory, quick, upstream::says};

const TOO_MANY: &str = "요청이 너무 많습니다. 잠시 후 다시 시도해주세요";

fn three_a_minute() -> Settings {
    Settings { requests_per_minute: 3, ..quick() }
}

#[tokio::test]
async fn ten_requests_a_minute_are_answered_by_default() {
    let here = Here::with(quick(), in_memory(), [says(&["네."])], |server| server).await;
    let mut client = here.client("s").await;
    for _ in 0..10 {
        client.ask("안녕").await;
        assert_eq!(client.answer().await.error, None);
    }
    client.ask("안녕").await;
    assert_eq!(client.refusal().await, TOO_MANY);
}

#[tokio::test]
async fn a_reconnect_does_not_reset_the_limit_and_other_sessions_have_their_own() {
    let here = Here::with(three_a_minute(), in_memory(), [says(&["네."])], |server| server).await;
    for _ in 0..3 {
        let mut client = here.client("s").await;
        client.ask("안녕").await;
        assert_eq!(client.answer().await.error, None);
    }
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    assert_eq!(client.refusal().await, TOO_MANY);
    let mut other = here.client("s2").await;
    other.ask("안녕").await;
    assert_eq!(other.answer().await.error, None);
}

#[tokio::test]
async fn a_restart_does_not_reset_the_limit() {
    let home = tempfile::TempDir::new().unwrap();
    let stores = || {
        let store = Sqlite::open(home.path().join("counselling.db")).unwrap();
        let memory: Arc<dyn agent_core::memory::MemoryStore> = Arc::new(store.memory());
        let conversations = Conversations::embedded(Arc::clone(&memory));
        Stores { journal: Arc::new(store), memory, conversations }
    };
    let here = Here::with(three_a_minute(), stores(), [says(&["네."])], |server| server).await;
    let mut client = here.client("s").await;
    for _ in 0..3 {
        client.ask("안녕").await;
        assert_eq!(client.answer().await.error, None);
    }
    client.leave();
    drop(here.end().await);
    let here = Here::with(three_a_minute(), stores(), [says(&["네."])], |server| server).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    assert_eq!(client.refusal().await, TOO_MANY);
}
