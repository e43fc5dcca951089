//! Talk of self-harm: recognised by phrases in the message, answered with help lines from a settings file.

use serde::Deserialize;

use crate::Language;

/// The shipped settings.
const SHIPPED: &str = include_str!("../settings/crisis.toml");

/// Help lines and the phrases that call for them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelpLines {
    emergency: Vec<String>,
    #[serde(rename = "line")]
    lines: Vec<Line>,
    text: Both,
    phrases: Phrases,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: String,
    ko: String,
    en: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    ko: String,
    en: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrases {
    contains: Vec<String>,
    except: Vec<String>,
}

/// The settings file cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the help lines cannot be read: {reason}")]
pub struct HelpLinesError {
    reason: String,
}

impl HelpLines {
    /// Reads a settings file.
    ///
    /// # Errors
    ///
    /// The file is not TOML of this form, or has no line.
    ///
    /// # Examples
    ///
    /// ```
    /// use counselling::{Language, crisis::HelpLines};
    ///
    /// let lines = HelpLines::shipped();
    /// assert!(lines.is_crisis("요즘은 그냥 죽고 싶어요"));
    /// assert!(lines.text(Language::Korean).contains("1577-0199"));
    /// assert!(HelpLines::read("line = 5").is_err());
    /// ```
    pub fn read(text: &str) -> Result<Self, HelpLinesError> {
        let lines: Self =
            toml::from_str(text).map_err(|error| HelpLinesError { reason: error.message().to_owned() })?;
        if lines.lines.is_empty() {
            return Err(HelpLinesError { reason: "there is no [[line]]".to_owned() });
        }
        Ok(lines)
    }

    /// Returns the shipped settings: those of Korea.
    ///
    /// # Panics
    ///
    /// Never; a test reads them.
    #[must_use]
    pub fn shipped() -> Self {
        Self::read(SHIPPED).expect("a test reads the shipped file")
    }

    /// Returns whether a message speaks of self-harm.
    #[must_use]
    pub fn is_crisis(&self, message: &str) -> bool {
        let plain = |c: char| !c.is_whitespace() && !matches!(c, '.' | ',' | '~' | '…' | '\u{200b}');
        let mut text: String = message.chars().filter(|c| plain(*c)).flat_map(char::to_lowercase).collect();
        text = text.replace('\u{2019}', "'");
        for except in &self.phrases.except {
            text = text.replace(&**except, " ");
        }
        self.phrases.contains.iter().any(|phrase| text.contains(&**phrase))
    }

    /// Returns whether an answer contains all numbers already.
    #[must_use]
    pub fn are_in(&self, answer: &str) -> bool {
        self.lines.iter().all(|line| answer.contains(&*line.number))
    }

    /// Returns the text with the help lines.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        let line = |line: &Line| format!("{} {}", language.pick(&line.ko, &line.en), line.number);
        let lines: Vec<String> = self.lines.iter().map(line).collect();
        let text = language.pick(&self.text.ko, &self.text.en);
        let or = language.pick("나 ", " or ");
        text.replace("{lines}", &lines.join(", ")).replace("{emergency}", &self.emergency.join(or))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talk_of_self_harm_is_recognised_and_everyday_words_are_not() {
        let lines = HelpLines::shipped();
        for message in [
            "죽고 싶어요",
            "그냥... 죽 고 싶 다",
            "자해를 했어요",
            "다 끝내고 싶어",
            "살고 싶지 않아요",
            "스스로 목숨을 끊을까 생각했어요",
            "사라지고 싶다는 생각이 들어요",
            "I want to die",
            "I’m thinking of killing myself",
            "I don’t want to live anymore",
        ] {
            assert!(lines.is_crisis(message), "{message}");
        }
        for message in [
            "배고파 죽겠어요",
            "보고 싶어 죽겠다",
            "일을 끝내고 싶어요",
            "자살골을 넣었어요",
            "죽고 싶지 않아요",
            "회사에서 스트레스를 많이 받아요",
            "I could die of laughter",
            "",
        ] {
            assert!(!lines.is_crisis(message), "{message}");
        }
    }

    #[test]
    fn the_text_has_every_number_in_both_languages() {
        let lines = HelpLines::shipped();
        for language in [Language::Korean, Language::English] {
            let text = lines.text(language);
            assert!(["109", "1577-0199", "119", "112"].iter().all(|number| text.contains(number)), "{text}");
            assert!(!text.contains('{') && lines.are_in(&text));
        }
    }
}
