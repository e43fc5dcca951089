//! Triage, moderator and minutes of a meeting, by rules.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    endpoint::{Connection, Endpoint},
    support::{Client, Running, realtime, setup},
};

struct Meeting {
    running: Running,
    client: Client,
    connection: Connection,
    /// Milliseconds said so far.
    now: u64,
    _endpoint: Endpoint,
}

impl Meeting {
    async fn start(setup: Value) -> Self {
        let endpoint = Endpoint::bind().await;
        let running = Running::start(realtime(&endpoint.url)).await;
        let mut client = running.join("m1").await;
        client.send("start", setup).await;
        client.next("ready").await;
        client.next("ready").await;
        client.send("speaker", json!({"speaker": "minsu"})).await;
        client.settled().await;
        client.audio(&[0; 48]).await;
        let connection = endpoint.session().await;
        Self { running, client, connection, now: 0, _endpoint: endpoint }
    }

    /// One participant says something for some seconds.
    async fn say(&mut self, speaker: &str, seconds: u64, text: &str) -> String {
        self.client.send("speaker", json!({"speaker": speaker})).await;
        self.client.settled().await;
        for _ in 0..seconds {
            self.client.audio(&vec![0; 48_000]).await;
        }
        let item = format!("t{}", self.now);
        let (start, end) = (self.now + 20, self.now + seconds * 1_000);
        // The upstream knows times of audio that it has.
        let mut bytes = 0;
        while bytes < seconds as usize * 48_000 {
            let message = self.connection.next().await;
            bytes += message["audio"].as_str().map_or(0, |audio| audio.len() / 4 * 3);
        }
        self.connection.speech(&item, start, end).await;
        self.connection.transcript(&item, &[text]).await;
        self.now = end;
        loop {
            if self.client.next("transcript").await["item_id"] == item {
                return item;
            }
        }
    }
}

#[tokio::test]
async fn decisions_and_action_items_are_in_the_minutes_and_the_file() {
    let mut meeting = Meeting::start(setup()).await;
    meeting.say("jimin", 2, "출시일은 12월 3일로 하기로 했습니다.").await;
    meeting.say("minsu", 2, "제가 금요일까지 견적서를 보내겠습니다. 예산은 얼마인가요?").await;
    let todo = meeting.client.next("todo_update").await;
    assert_eq!(todo["todo_id"], "action:1");
    assert_eq!(todo["message"], "민수: 제가 금요일까지 견적서를 보내겠습니다. (금요일까지)");
    // A corrected sentence is looked at again: what was found in it is gone, and a new finding is there.
    let third = meeting.say("jimin", 2, "제가 내일까지 포장을 확인하겠습니다.").await;
    assert_eq!(meeting.client.next("todo_update").await["todo_id"], "action:2");
    meeting.client.send("correct", json!({"item_id": third, "text": "민수님이 포장을 확인해 주세요."})).await;
    while meeting.client.next("todo_update").await["status"] != "cancelled" {}
    let again = meeting.client.next("todo_update").await;
    assert_eq!(again["message"], "민수: 민수님이 포장을 확인해 주세요.");
    meeting.client.send("end", json!({})).await;
    let commit = meeting.connection.next().await;
    assert_eq!(commit["type"], "input_audio_buffer.commit");
    meeting
        .connection
        .send(json!({"type": "error", "error": {"code": "input_audio_buffer_commit_empty"}}))
        .await;
    let mut steps = Vec::new();
    let minutes = loop {
        let mut message = meeting.client.any().await;
        match message["type"].as_str().unwrap() {
            "todo_update" => {
                steps.push(format!("{} {}", message["data"]["todo_id"], message["data"]["status"]))
            }
            "minutes" => break message["data"].take(),
            _ => {}
        }
    };
    assert!(steps.contains(&"\"minutes:check\" \"completed\"".to_owned()), "{steps:?}");
    assert_eq!(minutes["decisions"][0]["text"], "출시일은 12월 3일로 하기로 했습니다.");
    let action = &minutes["action_items"][0];
    assert_eq!((&action["owner"], &action["due"]), (&json!("minsu"), &json!("금요일까지")));
    let markdown = minutes["markdown"].as_str().unwrap();
    assert!(
        markdown.starts_with("# 제품 출시\n\n## 요약\n\n") && markdown.contains("## 결정 사항"),
        "{markdown}"
    );
    assert_eq!(meeting.client.next("ready").await["status"], "ended");
    let file = meeting.running.file("m1.md");
    for part in [
        "status: ended",
        "## 요약",
        "- [ ] 제가 금요일까지 견적서를 보내겠습니다. (담당: 민수, 기한: 금요일까지)",
        "## 남은 질문",
        "**김지민**: 출시일은",
    ] {
        assert!(file.contains(part), "{part}: {file}");
    }
    // After the end nothing is taken, and a late client gets the minutes.
    meeting.client.audio(&[0; 2]).await;
    assert_eq!(meeting.client.next("error").await["details"]["code"], "meeting_ended");
    assert_eq!(meeting.client.refused(r#"{"type":"end"}"#).await, "meeting_ended");
    let mut late = meeting.running.join("m1").await;
    assert_eq!(late.next("minutes").await["decisions"], minutes["decisions"]);
    // The sessions of the agents are those of the library.
    for agent in ["triage", "moderator", "minutes"] {
        let session = meeting.running.get(&format!("/sessions/m1:{agent}")).await;
        assert_eq!(session["status"], "completed", "{session}");
    }
}

#[tokio::test]
async fn the_moderator_intervenes_for_each_of_its_reasons() {
    let mut setup = setup();
    setup["planned_minutes"] = json!(2);
    let mut meeting = Meeting::start(setup).await;
    // A decision without an owner, after which no one takes it.
    meeting.say("jimin", 3, "포장재를 바꾸기로 했습니다.").await;
    // A principle.
    meeting.say("minsu", 3, "그것도 몰라요?").await;
    let remark = meeting.client.next("intervention").await;
    assert_eq!((&remark["kind"], &remark["principle"]), (&json!("principle"), &json!("respect")));
    meeting.say("jimin", 3, "네.").await;
    let remark = meeting.client.next("intervention").await;
    assert_eq!((&remark["kind"], &remark["item_ids"]), (&json!("decision_without_owner"), &json!(["t0"])));
    assert!(remark["text"].as_str().unwrap().contains("포장재를 바꾸기로 했습니다."), "{remark}");
    // Small talk in two turns.
    meeting.say("minsu", 3, "어제 축구 보셨어요?").await;
    let second = meeting.say("jimin", 3, "아니요, 주말에 뭐 하셨어요?").await;
    let remark = meeting.client.next("intervention").await;
    assert_eq!(remark["kind"], "off_topic");
    assert!(remark["item_ids"].as_array().unwrap().contains(&json!(second)), "{remark}");
    // The same reason again within the minute: no remark.
    meeting.say("minsu", 3, "날씨가 좋네요. 점심 뭐 먹죠?").await;
    // One person speaks most of the time.
    meeting.say("minsu", 5, "제 생각을 길게 말하겠습니다.").await;
    for _ in 0..9 {
        meeting.say("minsu", 10, "계속 말합니다.").await;
    }
    let remark = meeting.client.next("intervention").await;
    assert_eq!(remark["kind"], "dominance", "no second remark on the subject: {remark}");
    assert!(remark["text"].as_str().unwrap().contains("민수"), "{remark}");
    // The planned time is over.
    let remark = loop {
        meeting.running.clock.advance(Duration::from_secs(30));
        meeting.say("jimin", 2, "계속합시다.").await;
        let all = meeting.running.get("/api/v1/meetings/m1").await;
        let over = all["interventions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|remark| remark["kind"] == "time_over")
            .cloned();
        if let Some(over) = over {
            break over;
        }
    };
    assert!(remark["text"].as_str().unwrap().contains("2분"), "{remark}");
    assert!(meeting.running.file("m1.md").contains("## 진행자 개입"));
}
