//! History in the embedded store.

use counselling::{Exchange, history::SaveMode};
use serde_json::json;

use crate::support::{Here, in_memory, quick, upstream::says};

fn exchange(number: u32, timestamp: i64) -> Exchange {
    Exchange {
        user_message: format!("u{number}"),
        ai_response: format!("a{number}"),
        emotion: None,
        timestamp,
    }
}

#[tokio::test]
async fn the_model_sees_the_latest_ten_exchanges_in_order_and_then_the_message() {
    let stores = in_memory();
    // The second half has one timestamp: ties are in the order of saving.
    for number in 0..14 {
        let timestamp = if number < 8 { i64::from(number) } else { 100 };
        stores.conversations.save("s", &exchange(number, timestamp), SaveMode::First).await.unwrap();
    }
    // An earlier one that is saved last belongs to the past.
    stores.conversations.save("s", &exchange(99, -5), SaveMode::First).await.unwrap();
    let here = Here::with(quick(), stores, [says(&["네."])], |server| server).await;
    let mut client = here.client("s").await;
    client.send("request_ai_response", json!({"message": "지금", "timestamp": 200})).await;
    client.answer().await;
    let expected: Vec<(String, String)> = (4..14)
        .flat_map(|number| {
            [("user".into(), format!("u{number}")), ("assistant".into(), format!("a{number}"))]
        })
        .chain([("user".into(), "지금".into())])
        .collect();
    assert_eq!(here.upstream.messages(0), expected);
}

#[tokio::test]
async fn sessions_have_their_own_history_and_it_survives_a_restart() {
    let here = Here::start([says(&["하나."]), says(&["둘."])]).await;
    for session in ["a", "b"] {
        let mut client = here.client(session).await;
        client.ask(session).await;
        client.answer().await;
        client.leave();
        here.settled(session).await;
    }
    let stores = here.end().await;
    let here = Here::with(quick(), stores, [says(&["네."])], |server| server).await;
    let mut client = here.client("a").await;
    client.ask("다시").await;
    client.answer().await;
    let texts: Vec<String> = here.upstream.messages(0).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a", "하나.", "다시"]);
}

#[tokio::test]
async fn an_exchange_that_may_be_saved_already_is_saved_once() {
    let conversations = in_memory().conversations;
    for mode in [SaveMode::First, SaveMode::Again, SaveMode::Again] {
        conversations.save("s", &exchange(1, 5), mode).await.unwrap();
    }
    conversations.save("s", &exchange(1, 5), SaveMode::First).await.unwrap();
    assert_eq!(conversations.recent("s").await.unwrap(), [exchange(1, 5), exchange(1, 5)]);
}
