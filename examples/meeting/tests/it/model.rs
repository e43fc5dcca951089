//! Agents with a model: what it names must exist, and rules replace it when it fails or invents.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use agent_core::{
    clock::ManualClock,
    model::{
        Model, ModelError, ModelErrorKind, ModelRequest,
        testing::{Scripted, Turn},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    endpoint::{Connection, Endpoint},
    support::{Client, Extra, Running, audio, realtime, setup},
};

/// Starts a meeting with a model that answers by the first words of the prompt.
async fn started(answer: fn(&str) -> Turn) -> (Running, Endpoint, Client, Connection) {
    let rule = move |_: usize, request: &ModelRequest| answer(request.system.as_deref().unwrap_or_default());
    let extra = Extra { model: Some(Model::new(Scripted::rule(rule))), ..Extra::default() };
    let endpoint = Endpoint::bind().await;
    let (folder, clock) = (Arc::new(TempDir::new().unwrap()), Arc::new(ManualClock::new(1_790_000_000_000)));
    let running = Running::start_with(folder, realtime(&endpoint.url), clock, extra).await;
    let mut client = running.join("m1").await;
    client.send("start", setup()).await;
    client.send("speaker", json!({"speaker": "minsu"})).await;
    client.settled().await;
    client.audio(&audio(100)).await;
    let mut connection = endpoint.session().await;
    connection.audio(4_800).await;
    (running, endpoint, client, connection)
}

async fn end(client: &mut Client, connection: &mut Connection) -> Value {
    client.send("end", json!({})).await;
    connection.next_is("input_audio_buffer.commit").await;
    connection.send(json!({"type": "error", "error": {"code": "input_audio_buffer_commit_empty"}})).await;
    client.next("minutes").await
}

fn value(value: Value) -> Turn {
    Turn::text(value.to_string())
}

#[tokio::test]
async fn what_a_model_finds_counts_if_it_exists() {
    let (_running, _endpoint, mut client, mut connection) = started(|prompt| match prompt {
        prompt if prompt.starts_with("You triage") => {
            value(json!({"decisions": ["a", "ghost"], "action_items": ["a"], "questions": []}))
        }
        prompt if prompt.starts_with("You find decisions") => value(json!({"value": [
            {"item_id": "a", "text": "배송사를 바꾼다", "owner": "김지민"},
            {"item_id": "ghost", "text": "없는 결정", "owner": null},
        ]})),
        prompt if prompt.starts_with("You find action items") => value(json!({"value": [
            {"item_id": "a", "text": "견적을 받는다", "owner": "외계인", "due": "목요일"},
        ]})),
        prompt if prompt.starts_with("You moderate a meeting. You get its agenda") => {
            value(json!({"item_ids": ["ghost"], "remark": "안건으로 돌아가죠.", "principle": null}))
        }
        prompt if prompt.starts_with("You moderate a meeting. You get its principles") => {
            value(json!({"item_ids": ["a"], "remark": "서로 존중해요.", "principle": "respect"}))
        }
        prompt if prompt.starts_with("You write the summary") => {
            Turn::text("- 배송사를 논의했다\n# 제목 <b>")
        }
        prompt => panic!("an unknown prompt: {prompt}"),
    })
    .await;
    connection.speech("a", 0, 100).await;
    connection.transcript("a", &["배송사는 다른 곳이 낫겠네요."]).await;
    client.next("transcript").await;
    let todo = client.next("todo_update").await;
    assert_eq!(todo["message"], "견적을 받는다 (목요일)", "no owner who is not a participant");
    let remark = client.next("intervention").await;
    assert_eq!((&remark["kind"], &remark["text"]), (&json!("principle"), &json!("서로 존중해요.")));
    let minutes = end(&mut client, &mut connection).await;
    assert_eq!(
        minutes["decisions"],
        json!([{"text": "배송사를 바꾼다", "owner": "jimin", "item_ids": ["a"]}]),
        "nothing of a turn that does not exist"
    );
    let markdown = minutes["markdown"].as_str().unwrap();
    assert!(markdown.contains("- 배송사를 논의했다\n 제목 &lt;b>"), "{markdown}");
}

#[tokio::test]
async fn rules_replace_a_model_that_fails_or_invents_a_number() {
    let (_running, _endpoint, mut client, mut connection) = started(|prompt| match prompt {
        prompt if prompt.starts_with("You write the summary") => Turn::text("- 예산은 9,000만 원이다"),
        prompt if prompt.starts_with("You find decisions") => Turn::text("no JSON"),
        _ => Turn::error(ModelError::new(ModelErrorKind::Auth)),
    })
    .await;
    connection.speech("a", 0, 100).await;
    connection.transcript("a", &["출시일은 12월 3일로 하기로 했습니다."]).await;
    client.next("transcript").await;
    let minutes = end(&mut client, &mut connection).await;
    assert_eq!(minutes["decisions"][0]["text"], "출시일은 12월 3일로 하기로 했습니다.");
    let markdown = minutes["markdown"].as_str().unwrap();
    assert!(!markdown.contains("9,000") && markdown.contains("발언 1건, 결정 1건"), "{markdown}");
}

#[tokio::test]
async fn a_failed_triage_leaves_its_turns_to_the_next_one() {
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    let (running, _endpoint, mut client, mut connection) = started(|prompt| match prompt {
        // A panic fails the run; an error of the model would not.
        prompt if prompt.starts_with("You triage") && TRIED.fetch_add(1, Relaxed) < 2 => panic!("no triage"),
        _ => Turn::error(ModelError::new(ModelErrorKind::Auth)),
    })
    .await;
    connection.speech("a", 0, 100).await;
    connection.transcript("a", &["제가 금요일까지 견적서를 보내겠습니다."]).await;
    client.next("transcript").await;
    let todo = client.next("todo_update").await;
    assert_eq!(todo["message"], "민수: 제가 금요일까지 견적서를 보내겠습니다. (금요일까지)");
    assert_eq!(TRIED.load(Relaxed), 3);
    let meeting = running.get("/api/v1/meetings/m1").await;
    assert_eq!(meeting["action_items"].as_array().unwrap().len(), 1, "{meeting}");
}

#[tokio::test]
async fn the_minutes_do_not_wait_for_a_triage_that_always_fails() {
    let (_running, _endpoint, mut client, mut connection) = started(|prompt| match prompt {
        prompt if prompt.starts_with("You triage") => panic!("no triage"),
        _ => Turn::error(ModelError::new(ModelErrorKind::Auth)),
    })
    .await;
    connection.speech("a", 0, 100).await;
    connection.transcript("a", &["제가 금요일까지 견적서를 보내겠습니다."]).await;
    client.next("transcript").await;
    let minutes = end(&mut client, &mut connection).await;
    assert_eq!(minutes["action_items"], json!([]));
    assert!(minutes["markdown"].as_str().unwrap().contains("발언 1건"), "{minutes}");
}
