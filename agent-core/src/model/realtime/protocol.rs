//! Messages of the Realtime protocol, in both shapes.
//!
//! Pure: no await, clock, lock or I/O.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::options::{RealtimeOptions, RealtimeShape};

/// Samples per second of the audio.
pub(super) const RATE: u64 = 24_000;

/// `input_audio_buffer.commit`.
pub(super) const COMMIT: &str = r#"{"type":"input_audio_buffer.commit"}"#;

/// Returns the first message of a connection, which is also sent when the language changes.
pub(super) fn session_update(options: &RealtimeOptions, language: Option<&str>) -> Value {
    let mut transcription = json!({"model": options.model});
    if let Some(language) = language {
        transcription["language"] = json!(language);
    }
    // As a decimal: 0.5, not the nearest double of a float like 0.4.
    let threshold: Value =
        serde_json::from_str(&options.threshold.to_string()).unwrap_or_else(|_| json!(0.5));
    let silence = u64::try_from(options.silence.as_millis()).unwrap_or(u64::MAX);
    let mut detection = json!({"type": "server_vad", "threshold": threshold, "silence_duration_ms": silence});
    let session = match options.shape {
        RealtimeShape::Current => json!({
            "type": "transcription",
            "audio": {"input": {
                "format": {"type": "audio/pcm", "rate": RATE},
                "transcription": transcription,
                "turn_detection": detection,
            }},
        }),
        RealtimeShape::Beta => {
            // Without it the model would answer the speech.
            detection["create_response"] = json!(false);
            json!({
                "modalities": ["text", "audio"],
                "input_audio_format": "pcm16",
                "input_audio_transcription": transcription,
                "turn_detection": detection,
            })
        }
    };
    json!({"type": "session.update", "session": session})
}

/// Returns `input_audio_buffer.append`.
pub(super) fn append(pcm: &[u8]) -> String {
    let mut text = String::with_capacity(pcm.len() / 3 * 4 + 64);
    text.push_str(r#"{"type":"input_audio_buffer.append","audio":""#);
    STANDARD.encode_string(pcm, &mut text);
    text.push_str(r#""}"#);
    text
}

/// A message of the endpoint, as far as a transcription session uses it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerMessage {
    Configured,
    SpeechStarted {
        item: String,
        at_ms: u64,
    },
    SpeechStopped {
        item: String,
        at_ms: u64,
    },
    Committed {
        item: Option<String>,
    },
    ItemAdded {
        item: String,
    },
    Delta {
        item: String,
        text: String,
    },
    Completed {
        item: String,
        text: String,
    },
    Failed {
        item: String,
        code: String,
    },
    Error {
        code: String,
    },
    /// Another message, or one that cannot be read.
    Other,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    item_id: Option<String>,
    #[serde(default)]
    delta: Option<String>,
    #[serde(default)]
    transcript: Option<String>,
    #[serde(default)]
    audio_start_ms: Option<u64>,
    #[serde(default)]
    audio_end_ms: Option<u64>,
    #[serde(default)]
    item: Option<WireItem>,
    #[serde(default)]
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireItem {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    role: Option<String>,
}

#[derive(Deserialize)]
struct WireError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// Maximum length of ids and codes, in bytes. Longer ones are those of no known endpoint.
const WORD: usize = 256;

/// Parses a message of the endpoint.
pub(super) fn parse(text: &str) -> ServerMessage {
    let Ok(wire) = serde_json::from_str::<Wire>(text) else { return ServerMessage::Other };
    read(wire).unwrap_or(ServerMessage::Other)
}

fn read(wire: Wire) -> Option<ServerMessage> {
    let item = wire.item_id.filter(|id| !id.is_empty() && id.len() <= WORD);
    let code = |error: Option<WireError>| {
        let code = error.and_then(|error| error.code.or(error.kind)).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if code.len() <= WORD && code.chars().all(plain) { code } else { String::new() }
    };
    Some(match wire.kind.as_str() {
        "session.updated" | "transcription_session.updated" => ServerMessage::Configured,
        "input_audio_buffer.speech_started" => {
            ServerMessage::SpeechStarted { item: item?, at_ms: wire.audio_start_ms? }
        }
        "input_audio_buffer.speech_stopped" => {
            ServerMessage::SpeechStopped { item: item?, at_ms: wire.audio_end_ms? }
        }
        "input_audio_buffer.committed" => ServerMessage::Committed { item },
        "conversation.item.added" | "conversation.item.created" => {
            let added = wire.item?;
            if added.role.is_some_and(|role| role != "user") {
                return None;
            }
            ServerMessage::ItemAdded { item: added.id.filter(|id| !id.is_empty() && id.len() <= WORD)? }
        }
        "conversation.item.input_audio_transcription.delta" => {
            ServerMessage::Delta { item: item?, text: wire.delta.filter(|text| !text.is_empty())? }
        }
        "conversation.item.input_audio_transcription.completed" => {
            ServerMessage::Completed { item: item?, text: wire.transcript.unwrap_or_default() }
        }
        "conversation.item.input_audio_transcription.failed" => {
            ServerMessage::Failed { item: item?, code: code(wire.error) }
        }
        "error" => ServerMessage::Error { code: code(wire.error) },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_has_the_current_shape_or_the_beta_one() {
        let options = RealtimeOptions::new("ws://x");
        assert_eq!(
            session_update(&options, Some("ko")).to_string(),
            r#"{"type":"session.update","session":{"type":"transcription","audio":{"input":{"format":{"type":"audio/pcm","rate":24000},"transcription":{"model":"whisper-1","language":"ko"},"turn_detection":{"type":"server_vad","threshold":0.5,"silence_duration_ms":1500}}}}}"#
        );
        let beta = RealtimeOptions::new("ws://x").shape(RealtimeShape::Beta);
        assert_eq!(
            session_update(&beta, None).to_string(),
            r#"{"type":"session.update","session":{"modalities":["text","audio"],"input_audio_format":"pcm16","input_audio_transcription":{"model":"whisper-1"},"turn_detection":{"type":"server_vad","threshold":0.5,"silence_duration_ms":1500,"create_response":false}}}"#
        );
    }

    #[test]
    fn messages_of_no_use_and_malformed_ones_are_ignored() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":"rate_limits.updated"}"#,
            r#"{"type":"input_audio_buffer.speech_started"}"#,
        ] {
            assert_eq!(parse(text), ServerMessage::Other, "{text}");
        }
        let own = r#"{"type":"conversation.item.added","item":{"id":"a","role":"assistant"}}"#;
        assert_eq!(parse(own), ServerMessage::Other);
        let error = r#"{"type":"error","error":{"code":"<b>","message":"the key sk-secret"}}"#;
        assert_eq!(parse(error), ServerMessage::Error { code: String::new() });
    }
}
