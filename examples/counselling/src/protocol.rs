//! Messages of the WebSocket: `{type, data}` in both directions, and the texts of refusals.

use agent_core::clock::{Clock, WallClock};
use serde_json::{Value, json};

/// Maximum length of a message, in code points.
pub const MESSAGE_CHARS: usize = 2_000;
/// Maximum length of the stored emotion, in code points.
pub const EMOTION_CHARS: usize = 50;
/// Close code of a connection that a newer one replaced.
pub const REPLACED: u16 = 4001;
/// Close code of a connection to a session that the caller may not use.
pub const NO_SESSION: u16 = 4004;
/// Reason that comes with [`REPLACED`].
pub const REPLACED_REASON: &str = "다른 연결이 열려 이 연결을 닫습니다";

/// Why a request is refused. The front end shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The message is empty.
    #[error("메시지가 비어있습니다")]
    Empty,
    /// The message is longer than [`MESSAGE_CHARS`].
    #[error("메시지가 너무 깁니다 (최대 2000자)")]
    TooLong,
    /// Too many requests within a minute.
    #[error("요청이 너무 많습니다. 잠시 후 다시 시도해주세요")]
    TooMany,
    /// The frame is not JSON.
    #[error("메시지 형식이 올바르지 않습니다 (JSON이 아닙니다)")]
    NotJson,
    /// The id of the session is invalid.
    #[error("세션 ID가 올바르지 않습니다 (영문, 숫자, . _ : - 1~128자)")]
    InvalidSession,
    /// The session does not exist, or belongs to another caller.
    #[error("존재하지 않는 세션입니다")]
    UnknownSession,
}

/// A request for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the client said, without blanks around it.
    pub message: String,
    /// The emotion as the client sent it.
    pub emotion: Option<String>,
    /// Time of the request, in milliseconds since 1970.
    pub timestamp: i64,
}

/// A message of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// `request_ai_response`.
    Request(Request),
    /// `emotion_update`: the emotion from now on; `None`: not recognised.
    Emotion(Option<String>),
    /// `vad_metrics`, or a message of an unknown type.
    Ignored,
    /// The frame is not JSON.
    NotJson,
}

impl Incoming {
    /// Reads a frame.
    ///
    /// # Examples
    ///
    /// ```
    /// use counselling::protocol::Incoming;
    ///
    /// assert_eq!(Incoming::read(b"{"), Incoming::NotJson);
    /// assert_eq!(Incoming::read(br#"{"type":"vad_metrics","data":{}}"#), Incoming::Ignored);
    /// ```
    #[must_use]
    pub fn read(frame: &[u8]) -> Self {
        let Ok(message) = serde_json::from_slice::<Value>(frame) else { return Self::NotJson };
        let data = &message["data"];
        match message["type"].as_str() {
            Some("request_ai_response") => Self::Request(Request {
                message: strip(data["message"].as_str().unwrap_or_default()).to_owned(),
                emotion: word(&data["emotion"]),
                timestamp: milliseconds(&data["timestamp"]).unwrap_or_else(|| WallClock.now_ms()),
            }),
            Some("emotion_update") if data.get("emotion").is_some() => Self::Emotion(word(&data["emotion"])),
            _ => Self::Ignored,
        }
    }
}

impl Request {
    /// Checks the message.
    ///
    /// # Errors
    ///
    /// [`Refusal::Empty`], [`Refusal::TooLong`].
    pub fn check(&self) -> Result<(), Refusal> {
        if self.message.is_empty() {
            return Err(Refusal::Empty);
        }
        // `count` is only reached by texts that may be short enough.
        let too_long = self.message.len() > 4 * MESSAGE_CHARS || self.message.chars().count() > MESSAGE_CHARS;
        if too_long { Err(Refusal::TooLong) } else { Ok(()) }
    }
}

/// Removes blanks as Python's `str.strip` does, which has four more than Unicode.
#[must_use]
pub fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// Returns the first `count` characters on one line, for the log.
#[must_use]
pub fn head(text: &str, count: usize) -> String {
    text.chars().take(count).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The emotion that a client sent, within the width of its column.
fn word(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(text.chars().take(EMOTION_CHARS).collect())
}

fn milliseconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "within the range of exact integers")]
        (number.abs() < 9e15).then(|| number.round() as i64)
    })
}

/// `ai_stream_begin`.
#[must_use]
pub fn begin() -> String {
    message("ai_stream_begin", &json!({}))
}

/// `ai_stream_chunk`.
#[must_use]
pub fn chunk(text: &str) -> String {
    message("ai_stream_chunk", &json!({"chunk": text}))
}

/// `ai_stream_complete`.
#[must_use]
pub fn complete() -> String {
    message("ai_stream_complete", &json!({}))
}

/// `ai_stream_error`.
#[must_use]
pub fn error(text: impl std::fmt::Display) -> String {
    message("ai_stream_error", &json!({"error": text.to_string()}))
}

fn message(kind: &str, data: &Value) -> String {
    json!({"type": kind, "data": data}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(data: &Value) -> Request {
        let frame = json!({"type": "request_ai_response", "data": data}).to_string();
        match Incoming::read(frame.as_bytes()) {
            Incoming::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn blanks_are_removed_as_python_removes_them() {
        for (text, expected) in [
            (" \u{3000}a b\u{a0}\n", "a b"),
            ("\u{1c}\u{1f}a\u{85}\u{2028}", "a"),
            ("\u{200b}a\u{feff}", "\u{200b}a\u{feff}"),
            ("\t \r\n", ""),
        ] {
            assert_eq!(request(&json!({"message": text})).message, expected, "{text:?}");
        }
    }

    #[test]
    fn length_is_counted_in_code_points_after_blanks_are_removed() {
        let check = |text: String| request(&json!({"message": text})).check();
        for character in ["a", "가", "😀"] {
            assert_eq!(check(format!("  {}  ", character.repeat(2_000))), Ok(()), "{character}");
            assert_eq!(check(character.repeat(2_001)), Err(Refusal::TooLong), "{character}");
        }
        assert_eq!(check("  ".to_owned()), Err(Refusal::Empty));
    }

    #[test]
    fn a_message_that_is_no_text_is_empty() {
        for data in
            [json!({}), json!({"message": null}), json!({"message": 7}), json!([]), json!("x"), json!(null)]
        {
            assert_eq!(request(&data).check(), Err(Refusal::Empty), "{data}");
        }
    }

    #[test]
    fn what_is_no_number_of_milliseconds_is_now() {
        let before = WallClock.now_ms();
        for data in
            [json!({}), json!({"timestamp": null}), json!({"timestamp": "x"}), json!({"timestamp": 1e300})]
        {
            assert!(request(&data).timestamp >= before, "{data}");
        }
        assert_eq!(request(&json!({"timestamp": 1_704_902_400_000_i64})).timestamp, 1_704_902_400_000);
        assert_eq!(request(&json!({"timestamp": 1_704_902_400_000.0})).timestamp, 1_704_902_400_000);
    }

    #[test]
    fn the_emotion_is_kept_as_it_was_sent() {
        assert_eq!(request(&json!({"emotion": "Bored"})).emotion.as_deref(), Some("Bored"));
        assert_eq!(request(&json!({"emotion": null})).emotion, None);
        assert_eq!(request(&json!({"emotion": "가".repeat(60)})).emotion.unwrap().chars().count(), 50);
        assert_eq!(request(&json!({"emotion": 3})).emotion.as_deref(), Some("3"));
    }

    #[test]
    fn other_messages_are_ignored_and_other_frames_are_refused() {
        let read = |frame: &str| Incoming::read(frame.as_bytes());
        for ignored in ["{}", "[]", "5", r#"{"type":"x"}"#, r#"{"type":5}"#, r#"{"type":"emotion_update"}"#] {
            assert_eq!(read(ignored), Incoming::Ignored, "{ignored}");
        }
        for broken in ["", "{", "hello", r#"{"a":1} x"#, r#""\ud800""#] {
            assert_eq!(read(broken), Incoming::NotJson, "{broken}");
        }
        let update = r#"{"type":"emotion_update","data":{"emotion":"sad","confidence":0.9}}"#;
        assert_eq!(read(update), Incoming::Emotion(Some("sad".to_owned())));
        let deep = "[".repeat(100_000);
        assert_eq!(read(&deep), Incoming::NotJson);
    }
}
