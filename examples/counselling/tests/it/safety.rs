//! Help lines, and sentences that the counsellor must not say.

use counselling::{Language, crisis::HelpLines};
use serde_json::Value;

use crate::support::{
    Here, in_memory, quick,
    upstream::{Do, Script, says},
};

async fn state(here: &Here, session: &str) -> Value {
    here.settled(session).await;
    here.service.runtime().session(session).unwrap().state_json().await.unwrap()
}

#[tokio::test]
async fn talk_of_self_harm_gets_the_help_lines_whatever_the_model_says() {
    let lines = HelpLines::shipped().text(Language::Korean);
    for (script, error) in [
        (says(&["날씨가 좋네요."]), false),
        (says(&["[[위기]] 말해 주셔서 고마워요. "]), false),
        (Script::Refuse(503, "down"), true),
        (Script::Speak(vec![Do::Say("그랬".into()), Do::Break]), true),
        (Script::Speak(vec![Do::End("content_filter")]), true),
    ] {
        let here = Here::start([script.clone()]).await;
        let mut client = here.client("s").await;
        client.ask("이제 그만 죽고 싶어요").await;
        let answer = client.answer().await;
        assert!(answer.text().ends_with(&lines), "{script:?}: {answer:?}");
        assert_eq!(answer.text().matches("1577-0199").count(), 1);
        assert!(!answer.text().contains("위기]]"));
        assert_eq!(answer.error.is_some(), error, "{script:?}");
        let saved = here.stores.conversations.recent("s").await;
        here.settled("s").await;
        drop(saved);
        assert_eq!(here.stores.conversations.recent("s").await.unwrap()[0].ai_response, answer.text());
        assert_eq!(state(&here, "s").await["crisis"], true);
    }
}

#[tokio::test]
async fn talk_of_self_harm_that_only_the_model_recognises_gets_the_help_lines() {
    let here = Here::start([says(&["[[위", "기]]", " 말해 주셔서 고마워요."]), says(&["네."])]).await;
    let mut client = here.client("s").await;
    client.ask("약을 모아 두었어요").await;
    let answer = client.answer().await;
    let expected = format!("말해 주셔서 고마워요. {}", HelpLines::shipped().text(Language::Korean));
    assert_eq!(answer.text(), expected);
    client.ask("고마워요").await;
    assert_eq!(client.answer().await.text(), "네.", "the next answer has none");
}

#[tokio::test]
async fn an_answer_that_has_the_numbers_gets_them_once() {
    let here = Here::start([says(&["109나 1577-0199로 전화해 주세요."])]).await;
    let mut client = here.client("s").await;
    client.ask("자살을 생각해요").await;
    assert_eq!(client.answer().await.text(), "109나 1577-0199로 전화해 주세요.");
}

#[tokio::test]
async fn a_violating_sentence_is_replaced_and_that_is_visible() {
    let pieces = ["힘드셨겠어요. ", "당신은 우울", "증입니다. ", "오늘은 ", "어떠세요?"];
    let here = Here::start([says(&pieces)]).await;
    let mut client = here.client("s").await;
    client.ask("우울해요").await;
    let answer = client.answer().await;
    let careful = "어떤 상태인지는 제가 판단할 수 있는 일이 아니에요. 정확히 알고 싶으시면 정신건강 전문가와 함께 확인해 보시기를 권해요.";
    assert_eq!(answer.text(), format!("힘드셨겠어요. 당신은 … {careful} 오늘은 어떠세요?"));
    assert_eq!(state(&here, "s").await["replaced"], serde_json::json!(["diagnosis"]));
    // What the dashboard shows: the nodes of the graph, and the event.
    let graph = here.get("/sessions/s/graph").await.text;
    assert!(
        ["recall", "crisis", "generate", "check", "save"].iter().all(|node| graph.contains(node)),
        "{graph}"
    );
    let journal = here.get("/sessions/s/journal").await.text;
    assert!(journal.contains("answer_changed") && journal.contains("diagnosis"), "{journal}");
    assert_eq!(here.stores.conversations.recent("s").await.unwrap()[0].ai_response, answer.text());
}

#[tokio::test]
async fn ordinary_text_is_not_held_back_while_a_violation_would_be() {
    let script = [Do::Say("오늘은 ".into()), Do::Wait, Do::Say("어떠세요? 우울증".into()), Do::Wait];
    let script = script.into_iter().chain([Do::Say("이라는 말은 무겁게 들리죠.".into()), Do::End("stop")]);
    let here = Here::start([Script::Speak(script.collect())]).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    client.begins().await;
    assert_eq!(client.chunk().await, "오늘은 ");
    here.upstream.release();
    assert_eq!(client.chunk().await, "어떠세요? ");
    here.upstream.release();
    assert_eq!(client.rest().await.text(), "우울증이라는 말은 무겁게 들리죠.");
}

#[tokio::test]
async fn the_english_variant_answers_with_english_texts() {
    let settings = counselling::Settings { language: Language::English, ..quick() };
    let script = says(&["[[CRISIS]] Thank you for telling me. You have depression."]);
    let here = Here::with(settings, in_memory(), [script], |server| server).await;
    let mut client = here.client("s").await;
    client.ask("nothing matters").await;
    let text = client.answer().await.text();
    assert!(text.starts_with("Thank you for telling me. "), "{text}");
    assert!(
        text.contains("I cannot judge") && text.ends_with(&HelpLines::shipped().text(Language::English)),
        "{text}"
    );
    assert!(here.upstream.system(0).contains("Answer in English"));
    let mut korean = here.client("s2?lang=ko").await;
    korean.ask("안녕").await;
    korean.answer().await;
    assert!(
        here.upstream.system(1).contains("한국어로 답합니다"),
        "a connection may ask for the other language"
    );
}
