//! Settings of meetings, beside those of the server.

use std::{path::PathBuf, sync::Arc, time::Duration};

use agent_core::{
    model::realtime::{RealtimeOptions, RealtimeShape},
    secret::Secret,
};

use crate::transcribe::{HttpRecognizer, Upstream};

/// OpenAI's endpoint for transcription.
const OPENAI: &str = "wss://api.openai.com/v1/realtime?intent=transcription";

/// A setting is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {message}")]
pub struct SettingFault {
    /// Name of the setting.
    pub name: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Settings of meetings.
#[derive(Debug)]
pub struct Settings {
    /// `MEETINGS_DIR`: folder of the files of meetings.
    pub meetings: PathBuf,
    /// `PRINCIPLES_DIR`: folder of the principles.
    pub principles: PathBuf,
    /// Where transcripts come from.
    pub upstream: Upstream,
}

impl Settings {
    /// Reads the settings. `key` is the key of OpenAI, or of the endpoint.
    ///
    /// # Errors
    ///
    /// [`SettingFault`] names the first setting that is invalid.
    pub fn read(text: impl Fn(&str) -> Option<String>, key: Option<&Secret>) -> Result<Self, SettingFault> {
        let fault = |name, message: &str| SettingFault { name, message: message.to_owned() };
        let shape = match text("REALTIME_SHAPE").as_deref() {
            None | Some("current") => RealtimeShape::Current,
            Some("beta") => RealtimeShape::Beta,
            Some(_) => return Err(fault("REALTIME_SHAPE", "must be `current` or `beta`")),
        };
        let number = |name: &'static str, from: f64, to: f64, default: f64| match text(name) {
            None => Ok(default),
            Some(value) => match value.parse::<f64>() {
                Ok(value) if (from..=to).contains(&value) => Ok(value),
                _ => Err(fault(name, &format!("must be a number from {from} to {to}"))),
            },
        };
        let threshold = number("VAD_THRESHOLD", 0.0, 1.0, 0.5)? as f32;
        let silence = number("VAD_SILENCE_MS", 100.0, 10_000.0, 1_500.0)?;
        let model = text("TRANSCRIPTION_MODEL").unwrap_or_else(|| "whisper-1".to_owned());
        let upstream = match (text("TRANSCRIPTION_URL"), text("REALTIME_API_URL")) {
            (Some(_), Some(_)) => {
                return Err(fault("TRANSCRIPTION_URL", "and REALTIME_API_URL are both set; keep one"));
            }
            (Some(url), None) => {
                if !(url.starts_with("http://") || url.starts_with("https://")) {
                    return Err(fault("TRANSCRIPTION_URL", "must begin with `http://` or `https://`"));
                }
                let recognizer = HttpRecognizer::new(&url, key.cloned(), &model).map_err(|_| {
                    fault("TRANSCRIPTION_URL", "cannot be used: the HTTP client cannot be set up")
                })?;
                Upstream::Offline(Arc::new(recognizer))
            }
            (None, None) if key.is_none() => Upstream::None,
            (None, url) => {
                let url = url.unwrap_or_else(|| OPENAI.to_owned());
                if !(url.starts_with("ws://") || url.starts_with("wss://")) {
                    return Err(fault("REALTIME_API_URL", "must begin with `ws://` or `wss://`"));
                }
                let mut options = RealtimeOptions::new(url)
                    .shape(shape)
                    .transcription_model(model)
                    .voice_activity(threshold, Duration::from_millis(silence as u64));
                if let Some(key) = key {
                    options = options.key(key.clone());
                }
                Upstream::Realtime(Box::new(options))
            }
        };
        let folder = |name, default: &str| PathBuf::from(text(name).unwrap_or_else(|| default.to_owned()));
        Ok(Self {
            meetings: folder("MEETINGS_DIR", "meetings"),
            principles: folder("PRINCIPLES_DIR", "principles"),
            upstream,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_follows_from_what_is_set() {
        let read = |set: &'static [(&str, &str)], key: Option<&str>| {
            let text =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
            Settings::read(text, key.map(Secret::new).as_ref())
        };
        assert!(matches!(read(&[], None).unwrap().upstream, Upstream::None));
        assert!(matches!(read(&[], Some("sk")).unwrap().upstream, Upstream::Realtime(_)));
        let local = &[("REALTIME_API_URL", "ws://127.0.0.1:1/v1/realtime")];
        assert!(matches!(read(local, None).unwrap().upstream, Upstream::Realtime(_)));
        let offline = &[("TRANSCRIPTION_URL", "http://127.0.0.1:1/v1/audio/transcriptions")];
        assert!(matches!(read(offline, None).unwrap().upstream, Upstream::Offline(_)));
        for (set, name) in [
            (&[("REALTIME_SHAPE", "old")][..], "REALTIME_SHAPE"),
            (&[("REALTIME_API_URL", "https://x")], "REALTIME_API_URL"),
            (&[("VAD_THRESHOLD", "2")], "VAD_THRESHOLD"),
            (&[("TRANSCRIPTION_URL", "ws://x")], "TRANSCRIPTION_URL"),
        ] {
            assert_eq!(read(set, Some("sk")).unwrap_err().name, name);
        }
    }
}
