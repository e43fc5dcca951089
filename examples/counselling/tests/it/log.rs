//! Log lines: exact, with at most 50 characters of a client's words and nothing of the answer.

use std::{
    io::{self, Write},
    sync::Arc,
};

use counselling::Settings;
use parking_lot::Mutex;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{
    Here, in_memory, quick,
    upstream::{Script, says},
};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Lines with a tag, from the tag on.
    fn of(&self, tag: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().filter_map(|line| line.find(tag).map(|at| line[at..].to_owned())).collect()
    }
}

/// One thread, so that the subscriber of this test gets the lines of the service.
#[tokio::test(flavor = "current_thread")]
async fn lines_are_exact_and_hold_no_more_than_fifty_characters() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let settings = Settings { requests_per_minute: 2, ..quick() };
    let scripts = [says(&["비밀스러운 대답이에요."]), Script::Refuse(401, "sk-key")];
    let here = Here::with(settings, in_memory(), scripts, |server| server).await;
    let mut client = here.client("s-1").await;
    let words = format!("{}\n{}", "가".repeat(30), "나".repeat(60));
    client.send("request_ai_response", json!({"message": words, "emotion": "sad\n[AI Error]"})).await;
    client.answer().await;
    client.ask("둘째").await;
    assert!(client.answer().await.error.is_some());
    client.send("request_ai_response", json!({"message": words})).await;
    client.refusal().await;
    here.settled("s-1").await;
    let head = format!("{} {}", "가".repeat(30), "나".repeat(19));
    assert_eq!(
        lines.of("[AI Request]"),
        [
            format!("[AI Request] session=s-1, emotion=sad [AI Error], message={head}"),
            "[AI Request] session=s-1, emotion=sad, message=둘째".to_owned(),
        ]
    );
    assert_eq!(lines.of("[AI Response]"), ["[AI Response] session=s-1, length=12"]);
    assert_eq!(lines.of("[Rate Limit]"), [format!("[Rate Limit] session=s-1, message={head}")]);
    let errors: Vec<String> = lines.of("[AI Error] session").clone();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("[AI Error] session=s-1, error=the model endpoint rejected the API key"));
    let all = String::from_utf8(lines.0.lock().clone()).unwrap();
    assert!(!all.contains("비밀스러운") && !all.contains("sk-key"), "{all}");
    assert!(!all.contains(&"나".repeat(20)), "{all}");
}
