//! Answers: order of messages, emotions, failures, pace, time limit, clients that leave.

use std::time::Duration;

use counselling::{Emotion, Exchange, Language, Settings, prompt::guidance};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    Here, in_memory, quick,
    upstream::{Do, Script, says, says_slowly},
};

const INTERNAL: &str = "AI 응답 생성 중 오류가 발생했습니다: ";

#[tokio::test]
async fn an_answer_is_begin_then_the_models_chunks_then_complete() {
    let pieces = ["스트레스를 ", "받고 ", "계시는군요. ", "한글 👩‍👩‍👧 עברית"];
    let here = Here::start([says(&pieces)]).await;
    let mut client = here.client("s").await;
    client.ask("  요즘 회사에서 스트레스를 많이 받아요\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.text(), answer.error), (pieces.concat(), None));
    let request = &here.upstream.requests()[0];
    assert_eq!(request["top_p"], json!(0.8));
    assert_eq!(request["top_k"], json!(40));
    assert!((request["temperature"].as_f64().unwrap() - 0.7).abs() < 1e-6, "{request}");
    let limit = request.get("max_completion_tokens").or(request.get("max_tokens"));
    assert_eq!(limit, Some(&json!(1024)), "{request}");
    assert_eq!(
        here.upstream.messages(0),
        [("user".to_owned(), "요즘 회사에서 스트레스를 많이 받아요".to_owned())]
    );
}

#[tokio::test]
async fn chunks_arrive_while_the_model_still_answers() {
    let here = Here::start([says_slowly(&["하나 ", "둘 ", "셋"])]).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    client.begins().await;
    for expected in ["하나 ", "둘 ", "셋"] {
        assert_eq!(client.chunk().await, expected);
        here.upstream.release();
    }
    assert_eq!(client.rest().await.error, None);
}

#[tokio::test]
async fn the_guidance_is_that_of_the_sent_emotion_or_of_the_latest_update() {
    let here = Here::start([says(&["네."])]).await;
    let mut client = here.client("s").await;
    let ask = |emotion| json!({"message": "안녕", "emotion": emotion, "timestamp": 1});
    let cases = [
        (None, json!("anxious"), Emotion::Anxious),
        (None, json!(null), Emotion::Neutral),
        (Some(json!({"emotion": "angry", "confidence": 0.9})), json!(null), Emotion::Angry),
        (None, json!("happy"), Emotion::Happy),
        (None, json!(null), Emotion::Angry),
        (None, json!("bored"), Emotion::Neutral),
        (Some(json!({"emotion": "disgusted"})), json!(null), Emotion::Disgusted),
        (Some(json!({"x": 1})), json!(null), Emotion::Disgusted),
    ];
    for (at, (update, sent, expected)) in cases.into_iter().enumerate() {
        if let Some(update) = update {
            client.send("emotion_update", update).await;
        }
        client.send("request_ai_response", ask(sent.clone())).await;
        assert_eq!(client.answer().await.error, None);
        let system = here.upstream.system(at);
        assert!(system.contains(guidance(expected, Language::Korean)), "{at}: {sent}: {system}");
    }
    here.settled("s").await;
    let stored = here.stores.conversations.recent("s").await.unwrap();
    let stored: Vec<_> = stored.iter().map(|exchange| exchange.emotion.as_deref()).collect();
    let sent = [Some("anxious"), None, None, Some("happy"), None, Some("bored"), None, None];
    assert_eq!(stored, sent, "the row has what the client sent");
}

#[tokio::test]
async fn a_missing_emotion_is_a_null_one() {
    let here = Here::start([says(&["네."])]).await;
    let mut client = here.client("s").await;
    client.send("emotion_update", json!({"emotion": "fearful"})).await;
    client.send("request_ai_response", json!({"message": "안녕"})).await;
    client.answer().await;
    assert!(here.upstream.system(0).contains(guidance(Emotion::Fearful, Language::Korean)));
}

#[tokio::test]
async fn requests_of_a_connection_are_served_one_after_the_other() {
    let scripts = [says_slowly(&["가", "나"]), says(&["다", "라"])];
    let here = Here::start(scripts).await;
    let mut client = here.client("s").await;
    client.ask("첫째").await;
    client.ask("둘째").await;
    client.ask("").await;
    client.begins().await;
    assert_eq!(client.chunk().await, "가");
    here.upstream.release();
    assert_eq!(client.chunk().await, "나");
    assert_eq!(here.upstream.requests().len(), 1, "the second request waits");
    here.upstream.release();
    assert_eq!(client.rest().await.chunks, Vec::<String>::new());
    assert_eq!(client.answer().await.text(), "다라");
    assert_eq!(client.refusal().await, "메시지가 비어있습니다");
    let second = here.upstream.messages(1);
    assert_eq!(second[1], ("assistant".to_owned(), "가나".to_owned()), "the first exchange is saved before");
}

#[tokio::test]
async fn failures_of_the_model_come_after_begin_and_say_nothing_of_the_endpoint() {
    let secret = "sk-secret at http://internal.example";
    for (script, expected) in [
        (Script::Refuse(503, secret), "AI 서비스가 일시적으로 사용할 수 없습니다".to_owned()),
        (Script::Refuse(401, secret), format!("{INTERNAL}AI 서비스 인증에 실패했습니다")),
        (Script::Refuse(403, secret), format!("{INTERNAL}AI 서비스 인증에 실패했습니다")),
        (Script::Refuse(404, secret), format!("{INTERNAL}내부 오류")),
        (Script::Refuse(400, secret), format!("{INTERNAL}내부 오류")),
        (Script::Speak(vec![Do::End("stop")]), format!("{INTERNAL}응답이 비어 있습니다")),
        (
            Script::Speak(vec![Do::Say("  ".into()), Do::End("stop")]),
            format!("{INTERNAL}응답이 비어 있습니다"),
        ),
        (
            Script::Speak(vec![Do::End("content_filter")]),
            format!("{INTERNAL}안전 정책에 따라 답변이 중단되었습니다"),
        ),
    ] {
        let here = Here::start([script.clone()]).await;
        let mut client = here.client("s").await;
        for _ in 0..2 {
            client.ask("안녕").await;
            let answer = client.answer().await;
            assert_eq!((answer.chunks.len(), answer.error), (0, Some(expected.clone())), "{script:?}");
        }
        here.settled("s").await;
        assert_eq!(here.stores.conversations.recent("s").await.unwrap(), [], "nothing was said");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_called_unavailable() {
    let here = Here::start([says(&["네."])]).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let model = agent_core::model::openai::OpenAi::builder().base_url(format!("http://{free}/v1")).model("m");
    let model = agent_core::model::Model::new(model.build().unwrap());
    let service = counselling::Counselling::new(quick(), in_memory(), model).unwrap();
    let server = service.server().bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move { service.serve(server, async { drop(ended.await) }).await });
    let mut client = crate::support::client::Client::connect(address, "s").await;
    client.ask("안녕").await;
    assert_eq!(client.answer().await.error.as_deref(), Some("AI 서비스가 일시적으로 사용할 수 없습니다"));
    drop((end, here));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_is_saved_with_what_was_said() {
    let broken = Script::Speak(vec![Do::Say("많이 힘드셨".into()), Do::Wait, Do::Break]);
    let here = Here::start([broken, says(&["네."])]).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    client.begins().await;
    assert_eq!(client.chunk().await, "많이 힘드셨");
    here.upstream.release();
    let error = client.rest().await.error.unwrap();
    assert_eq!(error, format!("{INTERNAL}응답이 중간에 끊겼습니다"));
    client.ask("계속").await;
    assert_eq!(client.answer().await.text(), "네.");
    assert_eq!(here.upstream.messages(1)[1], ("assistant".to_owned(), "많이 힘드셨".to_owned()));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_model_and_what_was_said_is_saved() {
    let here = Here::start([says_slowly(&["하나 ", "둘 "])]).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    client.begins().await;
    assert_eq!(client.chunk().await, "하나 ");
    here.upstream.waits().await;
    client.leave();
    here.upstream.hung_up().await;
    here.settled("s").await;
    let exchange = Exchange {
        user_message: "안녕".into(),
        ai_response: "하나 ".into(),
        emotion: Some("sad".into()),
        timestamp: 1,
    };
    assert_eq!(here.stores.conversations.recent("s").await.unwrap(), [exchange]);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_ended_and_saved_with_what_was_said() {
    let settings = Settings { answer_limit: Duration::from_millis(300), ..quick() };
    let here = Here::with(settings, in_memory(), [says_slowly(&["하나 "])], |server| server).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "하나 ");
    assert_eq!(answer.error, Some(format!("{INTERNAL}응답 시간이 초과되었습니다")));
    here.upstream.hung_up().await;
    here.settled("s").await;
    assert_eq!(here.stores.conversations.recent("s").await.unwrap()[0].ai_response, "하나 ");
}

#[tokio::test]
async fn chunks_keep_the_pace_and_a_backlog_does_not_add_up() {
    let pace = Duration::from_millis(20);
    let pieces: Vec<String> = (0..200).map(|number| format!("{number} ")).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let settings = Settings { pace, ..Settings::default() };
    let here = Here::with(settings, in_memory(), [says(&pieces)], |server| server).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    client.begins().await;
    let began = Instant::now();
    let answer = client.rest().await;
    assert_eq!(answer.text(), pieces.concat());
    let (took, chunks) = (began.elapsed(), u32::try_from(answer.chunks.len()).unwrap());
    assert!(took >= pace * (chunks - 1), "{chunks} chunks in {took:?}");
    assert!(chunks < 150, "{chunks} chunks: 200 pieces at once are joined");
}

#[tokio::test]
async fn the_temperature_is_the_one_of_the_settings() {
    let settings = Settings { temperature: 0.25, ..quick() };
    let here = Here::with(settings, in_memory(), [says(&["네."])], |server| server).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    client.answer().await;
    assert_eq!(here.upstream.requests()[0]["temperature"], json!(0.25));
}

#[tokio::test]
async fn an_endpoint_that_does_not_take_top_k_is_asked_without_it() {
    let here = Here::start([Script::Refuse(400, "unknown field top_k"), says(&["네."])]).await;
    let mut client = here.client("s").await;
    for _ in 0..2 {
        client.ask("안녕").await;
        assert_eq!(client.answer().await.text(), "네.");
    }
    let requests = here.upstream.requests();
    let has_top_k: Vec<bool> = requests.iter().map(|request| request.get("top_k").is_some()).collect();
    assert_eq!(has_top_k, [true, false, false]);
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one_and_its_answer_is_saved_as_far_as_it_came() {
    let here = Here::start([says_slowly(&["하나 "]), says(&["네."])]).await;
    let mut older = here.client("s").await;
    let mut other = here.client("other").await;
    older.ask("안녕").await;
    older.begins().await;
    assert_eq!(older.chunk().await, "하나 ");
    here.upstream.waits().await;
    let mut newer = here.client("s").await;
    let (code, reason) = older.closed().await.unwrap();
    assert_eq!((code, reason.as_str()), (4001, "다른 연결이 열려 이 연결을 닫습니다"));
    here.upstream.hung_up().await;
    newer.ask("다시").await;
    assert_eq!(newer.answer().await.text(), "네.");
    assert_eq!(here.upstream.messages(1)[1], ("assistant".to_owned(), "하나 ".to_owned()));
    other.ask("저는요?").await;
    assert_eq!(other.answer().await.text(), "네.", "another session is not affected");
}
