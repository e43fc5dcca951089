//! Settings of the service that the library does not have.

use std::{fs, path::Path, time::Duration};

use agent_server::config::Sources;

use crate::{Language, crisis::HelpLines, safety::Rules};

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `MAX_AI_REQUESTS_PER_MINUTE`: requests per minute of a caller, or of a session if callers are anonymous; 0: no limit.
    /// Default: 10.
    pub requests_per_minute: u32,
    /// `CHUNK_PACE_MS`: pause between two chunks. Default: 50 ms.
    pub pace: Duration,
    /// `ANSWER_LIMIT_SECONDS`: time for a whole answer. Default: 10 s.
    pub answer_limit: Duration,
    /// `REQUIRE_SESSION`: whether another service creates the sessions, so that unknown ones are refused. Default: `false`.
    pub require_session: bool,
    /// `PROMPT_LANGUAGE`: language of prompts and answers. Default: Korean.
    pub language: Language,
    /// `LLM_TEMPERATURE`: sampling temperature, 0 to 2. Default: 0.7.
    pub temperature: f32,
    /// `LLM_TOP_K`: whether `top_k` is sent. Default: `true`. If the endpoint rejects it, requests have none from then on.
    pub top_k: bool,
    /// `CRISIS_FILE`: help lines and phrases. Default: the shipped ones.
    pub help_lines: Option<HelpLines>,
    /// `SAFETY_FILE`: rules of the output check. Default: the shipped ones.
    pub rules: Option<Rules>,
    /// Time after which the sessions of a process that does not respond are free. Default: the library's.
    pub lease_ttl: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests_per_minute: 10,
            pace: Duration::from_millis(50),
            answer_limit: Duration::from_secs(10),
            require_session: false,
            language: Language::Korean,
            temperature: 0.7,
            top_k: true,
            help_lines: None,
            rules: None,
            lease_ttl: None,
        }
    }
}

/// A setting is invalid.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{name} {reason}")]
pub struct SettingError {
    name: &'static str,
    reason: String,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// [`SettingError`] names the first invalid one.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::Sources;
    /// use counselling::Settings;
    ///
    /// let settings = Settings::read(&Sources::none().flag("CHUNK_PACE_MS", "0"))?;
    /// assert!(settings.pace.is_zero() && settings.requests_per_minute == 10);
    /// assert!(Settings::read(&Sources::none().flag("REQUIRE_SESSION", "perhaps")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(sources: &Sources) -> Result<Self, SettingError> {
        let mut settings = Self::default();
        if let Some(number) = number(sources, "MAX_AI_REQUESTS_PER_MINUTE", 1_000_000)? {
            settings.requests_per_minute = u32::try_from(number).unwrap_or(u32::MAX);
        }
        if let Some(ms) = number(sources, "CHUNK_PACE_MS", 10_000)? {
            settings.pace = Duration::from_millis(ms);
        }
        if let Some(seconds) = number(sources, "ANSWER_LIMIT_SECONDS", 600)? {
            settings.answer_limit = Duration::from_secs(seconds.max(1));
        }
        if let Some(flag) = flag(sources, "REQUIRE_SESSION")? {
            settings.require_session = flag;
        }
        if let Some(flag) = flag(sources, "LLM_TOP_K")? {
            settings.top_k = flag;
        }
        match sources.own("PROMPT_LANGUAGE").as_deref() {
            None | Some("ko") => {}
            Some("en") => settings.language = Language::English,
            Some(_) => return Err(wrong("PROMPT_LANGUAGE", "must be `ko` or `en`")),
        }
        if let Some(path) = sources.own("CRISIS_FILE") {
            let lines = HelpLines::read(&file("CRISIS_FILE", &path)?);
            settings.help_lines = Some(lines.map_err(|error| wrong("CRISIS_FILE", error))?);
        }
        if let Some(path) = sources.own("SAFETY_FILE") {
            let rules = Rules::read(&file("SAFETY_FILE", &path)?);
            settings.rules = Some(rules.map_err(|error| wrong("SAFETY_FILE", error))?);
        }
        Ok(settings)
    }
}

fn wrong(name: &'static str, reason: impl std::fmt::Display) -> SettingError {
    SettingError { name, reason: reason.to_string() }
}

fn number(sources: &Sources, name: &'static str, most: u64) -> Result<Option<u64>, SettingError> {
    let Some(text) = sources.own(name) else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(number) if number <= most => Ok(Some(number)),
        _ => Err(wrong(name, format!("must be a number from 0 to {most}"))),
    }
}

fn flag(sources: &Sources, name: &'static str) -> Result<Option<bool>, SettingError> {
    let Some(text) = sources.own(name) else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Some(true)),
        "false" | "0" | "no" | "off" => Ok(Some(false)),
        _ => Err(wrong(name, "must be `true` or `false`")),
    }
}

fn file(name: &'static str, path: &str) -> Result<String, SettingError> {
    fs::read_to_string(Path::new(path))
        .map_err(|error| wrong(name, format!("names a file that cannot be read: {error}")))
}
