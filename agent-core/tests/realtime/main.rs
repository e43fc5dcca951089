//! Transcription sessions against a local endpoint: both shapes, drops, slow and wrong endpoints.

mod endpoint;

use std::time::Duration;

use agent_core::{
    model::realtime::{
        ConnectionState, RealtimeEvent, RealtimeOptions, RealtimeSession, RealtimeShape, RefusedReason, Span,
    },
    retry::RetryPolicy,
};
use endpoint::Endpoint;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Audio of this length; the samples count up, so that its place can be recognized.
fn audio(from_ms: u64, length_ms: u64) -> Vec<u8> {
    let samples = from_ms * 24..(from_ms + length_ms) * 24;
    samples.flat_map(|sample| (sample as u16).to_le_bytes()).collect()
}

fn options(endpoint: &Endpoint) -> RealtimeOptions {
    let backoff = RetryPolicy::default().first_wait(ms(5)).longest_wait(ms(20));
    RealtimeOptions::new(&*endpoint.url).key("sk-test").language("ko").backoff(backoff)
}

async fn next(session: &mut RealtimeSession) -> RealtimeEvent {
    let event = tokio::time::timeout(Duration::from_secs(20), session.next()).await;
    event.expect("no event").expect("the session has ended")
}

/// The next event that is not about the connection.
async fn next_said(session: &mut RealtimeSession) -> RealtimeEvent {
    loop {
        match next(session).await {
            RealtimeEvent::Connection { .. } => {}
            event => return event,
        }
    }
}

async fn state(session: &mut RealtimeSession) -> ConnectionState {
    loop {
        if let RealtimeEvent::Connection { state, .. } = next(session).await {
            return state;
        }
    }
}

fn completed(item: &str, text: &str, start: u64, end: u64) -> RealtimeEvent {
    let span = Span { start: ms(start), end: ms(end) };
    RealtimeEvent::Completed { item: item.into(), text: text.into(), span }
}

#[tokio::test]
async fn the_settings_are_the_first_message_and_transcripts_arrive_in_parts_and_whole() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint)).unwrap();
    let mut connection = endpoint.accept().await;
    assert_eq!(connection.headers["authorization"], "Bearer sk-test");
    assert!(!connection.headers.contains_key("openai-beta"));
    assert_eq!(connection.path, "/v1/realtime?intent=transcription");
    let update = connection.next().await;
    assert_eq!(update["type"], "session.update");
    assert_eq!(update["session"]["type"], "transcription");
    let input = &update["session"]["audio"]["input"];
    assert_eq!(input["format"], json!({"type": "audio/pcm", "rate": 24000}));
    assert_eq!(input["transcription"], json!({"model": "whisper-1", "language": "ko"}));
    assert_eq!(
        input["turn_detection"],
        json!({"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 1500})
    );
    session.input().push(audio(0, 1_000));
    assert_eq!(connection.audio(48_000).await, audio(0, 1_000));
    connection.speech("a", 100, 900).await;
    connection.transcript("a", &["회의를 ", "시작합니다 🙂"]).await;
    assert!(
        matches!(next_said(&mut session).await, RealtimeEvent::SpeechStarted { at, .. } if at == ms(100))
    );
    let delta = |text: &str| RealtimeEvent::Delta { item: "a".into(), text: text.into() };
    assert_eq!(next_said(&mut session).await, delta("회의를 "));
    assert_eq!(next_said(&mut session).await, delta("시작합니다 🙂"));
    assert_eq!(next_said(&mut session).await, completed("a", "회의를 시작합니다 🙂", 100, 900));
}

#[tokio::test]
async fn the_beta_shape_has_its_own_settings_and_header_and_no_response() {
    let endpoint = Endpoint::bind().await;
    let options = options(&endpoint).shape(RealtimeShape::Beta).transcription_model("whisper-large");
    let _session = RealtimeSession::open(options).unwrap();
    let mut connection = endpoint.accept().await;
    assert_eq!(connection.headers["openai-beta"], "realtime=v1");
    assert_eq!(
        connection.next().await,
        json!({"type": "session.update", "session": {
            "modalities": ["text", "audio"],
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-large", "language": "ko"},
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 1500, "create_response": false},
        }})
    );
}

#[tokio::test]
async fn an_utterance_that_was_not_transcribed_is_sent_again_after_a_drop() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint)).unwrap();
    let input = session.input();
    let mut connection = endpoint.session().await;
    for at in 0..10 {
        input.push(audio(at * 100, 100));
    }
    connection.audio(48_000).await;
    connection.speech("a", 0, 400).await;
    connection.transcript("a", &["first"]).await;
    assert!(matches!(next_said(&mut session).await, RealtimeEvent::SpeechStarted { .. }));
    assert!(matches!(next_said(&mut session).await, RealtimeEvent::Delta { .. }));
    assert_eq!(next_said(&mut session).await, completed("a", "first", 0, 400));
    drop(connection);
    assert_eq!(state(&mut session).await, ConnectionState::Reconnecting);
    let mut connection = endpoint.session().await;
    assert_eq!(state(&mut session).await, ConnectionState::Connected);
    assert_eq!(connection.audio(28_800).await, audio(400, 600), "what was not transcribed, and only that");
    input.push(audio(1_000, 100));
    assert_eq!(connection.audio(4_800).await, audio(1_000, 100));
    connection.speech("b", 100, 700).await;
    connection.transcript("b", &["second"]).await;
    assert_eq!(next_said(&mut session).await, RealtimeEvent::SpeechStarted { item: "b".into(), at: ms(500) });
    assert!(matches!(next_said(&mut session).await, RealtimeEvent::Delta { .. }));
    assert_eq!(next_said(&mut session).await, completed("b", "second", 500, 1_100));
    assert_eq!(input.backlog(), Default::default());
}

#[tokio::test]
async fn audio_beyond_the_buffer_is_dropped_oldest_first_and_counted() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint).buffer(ms(500))).unwrap();
    let input = session.input();
    endpoint.refuse(503).await;
    assert_eq!(state(&mut session).await, ConnectionState::Reconnecting);
    for at in 0..8 {
        input.push(audio(at * 100, 100));
    }
    let backlog = input.backlog();
    assert_eq!((backlog.buffered, backlog.dropped), (ms(500), ms(300)));
    let mut connection = endpoint.session().await;
    assert_eq!(connection.audio(24_000).await, audio(300, 500));
    connection.speech("a", 0, 500).await;
    connection.transcript("a", &["late"]).await;
    assert!(matches!(next_said(&mut session).await, RealtimeEvent::SpeechStarted { .. }));
    assert!(matches!(next_said(&mut session).await, RealtimeEvent::Delta { .. }));
    assert_eq!(
        next_said(&mut session).await,
        completed("a", "late", 300, 800),
        "dropped audio took time too"
    );
    assert_eq!(input.backlog().dropped, ms(300));
}

#[tokio::test]
async fn a_finished_session_ends_when_its_last_transcript_has_arrived() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint)).unwrap();
    let mut connection = endpoint.session().await;
    session.input().push(audio(0, 200));
    session.input().finish();
    connection.audio(9_600).await;
    connection.next_is("input_audio_buffer.commit").await;
    // As endpoints do that name the utterance only afterwards.
    connection.send(json!({"type": "input_audio_buffer.committed"})).await;
    connection.added("a").await;
    connection.transcript("a", &["bye"]).await;
    assert!(matches!(next_said(&mut session).await, RealtimeEvent::Delta { .. }));
    assert_eq!(next_said(&mut session).await, completed("a", "bye", 0, 200));
    assert_eq!(session.next().await, None);
}

#[tokio::test]
async fn a_commit_of_nothing_that_the_endpoint_refuses_is_no_error() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint)).unwrap();
    let mut connection = endpoint.session().await;
    session.input().push(audio(0, 20));
    session.input().finish();
    connection.audio(960).await;
    connection.next().await;
    connection.send(json!({"type": "error", "error": {"code": "input_audio_buffer_commit_empty"}})).await;
    assert_eq!(state(&mut session).await, ConnectionState::Connected);
    assert_eq!(session.next().await, None);
}

#[tokio::test]
async fn the_language_changes_at_its_place_in_the_audio_and_on_the_next_connection() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint)).unwrap();
    let input = session.input();
    let mut connection = endpoint.session().await;
    input.push(audio(0, 200));
    input.set_language("ko");
    input.set_language("en");
    input.push(audio(200, 100));
    connection.audio(9_600).await;
    connection.next_is("input_audio_buffer.commit").await;
    let update = connection.next().await;
    assert_eq!(update["type"], "session.update", "not for the same language");
    assert_eq!(update["session"]["audio"]["input"]["transcription"]["language"], "en");
    assert_eq!(connection.audio(4_800).await, audio(200, 100));
    drop(connection);
    assert_eq!(state(&mut session).await, ConnectionState::Connected);
    assert_eq!(state(&mut session).await, ConnectionState::Reconnecting);
    let mut connection = endpoint.accept().await;
    let update = connection.next().await;
    assert_eq!(update["session"]["audio"]["input"]["transcription"]["language"], "en");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_pings_is_left() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint).ping(ms(30)).timeout(ms(60))).unwrap();
    // It opens the session, and then reads and answers nothing.
    let silent = endpoint.session().await;
    assert_eq!(state(&mut session).await, ConnectionState::Connected);
    assert_eq!(state(&mut session).await, ConnectionState::Reconnecting);
    drop(silent);
}

#[tokio::test]
async fn an_endpoint_that_answers_pings_is_kept_without_audio() {
    use futures::StreamExt;
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint).ping(ms(20)).timeout(ms(2_000))).unwrap();
    let mut connection = endpoint.session().await;
    let mut pings = 0;
    while pings < 10 {
        match connection.socket.next().await.unwrap().unwrap() {
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(state(&mut session).await, ConnectionState::Connected);
    connection.transcript("a", &["x"]).await;
    assert!(matches!(next(&mut session).await, RealtimeEvent::Delta { .. }), "the same connection");
}

#[tokio::test]
async fn a_handshake_that_stalls_is_tried_again_after_the_timeout() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint).timeout(ms(100))).unwrap();
    let stalled = endpoint.tcp().await;
    assert_eq!(state(&mut session).await, ConnectionState::Reconnecting);
    let _connection = endpoint.session().await;
    assert_eq!(state(&mut session).await, ConnectionState::Connected);
    drop(stalled);
}

#[tokio::test]
async fn a_refusal_that_waiting_does_not_change_ends_the_session() {
    for (status, reason) in
        [(401, RefusedReason::Auth), (403, RefusedReason::Auth), (404, RefusedReason::NotFound)]
    {
        let endpoint = Endpoint::bind().await;
        let mut session = RealtimeSession::open(options(&endpoint)).unwrap();
        endpoint.refuse(status).await;
        assert_eq!(state(&mut session).await, ConnectionState::Lost(reason), "{status}");
        assert_eq!(session.next().await, None);
    }
    // As OpenAI has answered the beta shape since 2026-09.
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint).shape(RealtimeShape::Beta)).unwrap();
    let mut connection = endpoint.accept().await;
    let error =
        json!({"type": "invalid_request_error", "code": "beta_api_shape_disabled", "message": "removed"});
    connection.send(json!({"type": "error", "error": error})).await;
    connection.close(4_000, "invalid_request_error.beta_api_shape_disabled").await;
    assert_eq!(state(&mut session).await, ConnectionState::Connected);
    assert_eq!(state(&mut session).await, ConnectionState::Lost(RefusedReason::Settings));
}

#[tokio::test]
async fn an_endpoint_that_stays_away_too_long_ends_the_session() {
    let mut session = {
        let endpoint = Endpoint::bind().await;
        RealtimeSession::open(options(&endpoint).give_up_after(ms(100))).unwrap()
    };
    loop {
        match state(&mut session).await {
            ConnectionState::Reconnecting => {}
            ended => break assert_eq!(ended, ConnectionState::Lost(RefusedReason::Unreachable)),
        }
    }
}

#[tokio::test]
async fn wrong_messages_and_failed_utterances_leave_the_session_open() {
    let endpoint = Endpoint::bind().await;
    let mut session = RealtimeSession::open(options(&endpoint)).unwrap();
    let mut connection = endpoint.session().await;
    session.input().push(audio(0, 500));
    connection.audio(24_000).await;
    for text in [
        "",
        "no JSON",
        "[1]",
        "{\"type\":3}",
        "{\"type\":\"conversation.item.input_audio_transcription.delta\"}",
    ] {
        connection.raw(Message::text(text)).await;
    }
    connection.raw(Message::binary(vec![0, 159, 146, 150])).await;
    connection
        .send(json!({"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow"}}))
        .await;
    connection.speech("a", 0, 400).await;
    let error = json!({"code": "audio_unintelligible", "message": "no"});
    connection
        .send(json!({"type": "conversation.item.input_audio_transcription.failed", "item_id": "a", "error": error}))
        .await;
    assert_eq!(next_said(&mut session).await, RealtimeEvent::Error { code: "rate_limit_exceeded".into() });
    assert!(matches!(next_said(&mut session).await, RealtimeEvent::SpeechStarted { .. }));
    let span = Span { start: ms(0), end: ms(400) };
    let failed = RealtimeEvent::Failed { item: "a".into(), code: "audio_unintelligible".into(), span };
    assert_eq!(next_said(&mut session).await, failed);
}

#[tokio::test]
async fn an_endpoint_that_reads_nothing_costs_old_audio_and_not_memory() {
    let endpoint = Endpoint::bind().await;
    let options = options(&endpoint).buffer(ms(2_000)).timeout(ms(60_000));
    let session = RealtimeSession::open(options).unwrap();
    let input = session.input();
    let connection = endpoint.session().await;
    // 50 MB: more than both sockets take.
    for at in 0..1_000 {
        input.push(vec![0; 48_000]);
        if at % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let backlog = input.backlog();
    assert!(backlog.buffered <= ms(2_000), "{backlog:?}");
    assert!(backlog.dropped > ms(500_000), "{backlog:?}");
    drop(connection);
}

#[tokio::test]
async fn a_dropped_session_disconnects() {
    use futures::StreamExt;
    let endpoint = Endpoint::bind().await;
    let session = RealtimeSession::open(options(&endpoint)).unwrap();
    let mut connection = endpoint.session().await;
    drop(session);
    while let Some(Ok(message)) = connection.socket.next().await {
        assert!(!message.is_text(), "{message:?}");
    }
    assert!(connection.socket.close(None).await.is_err());
}
