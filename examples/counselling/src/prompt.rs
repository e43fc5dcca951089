//! Prompts: a base part and one guidance per emotion, in Korean and English, from the files in `prompts`.

use serde::{Deserialize, Serialize};

use crate::Emotion;

/// Language of the prompts, and so of the answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Korean.
    #[default]
    Korean,
    /// English.
    English,
}

impl Language {
    /// Returns the text in this language.
    #[must_use]
    pub const fn pick<'a>(self, korean: &'a str, english: &'a str) -> &'a str {
        match self {
            Self::Korean => korean,
            Self::English => english,
        }
    }
}

macro_rules! both {
    ($name:literal) => {
        (
            include_str!(concat!("../prompts/", $name, ".ko.md")),
            include_str!(concat!("../prompts/", $name, ".en.md")),
        )
    };
}

fn pick(language: Language, (korean, english): (&'static str, &'static str)) -> &'static str {
    language.pick(korean, english).trim()
}

/// Returns the guidance for an emotion.
#[must_use]
pub fn guidance(emotion: Emotion, language: Language) -> &'static str {
    let both = match emotion {
        Emotion::Happy => both!("emotions/happy"),
        Emotion::Sad => both!("emotions/sad"),
        Emotion::Angry => both!("emotions/angry"),
        Emotion::Anxious => both!("emotions/anxious"),
        Emotion::Neutral => both!("emotions/neutral"),
        Emotion::Surprised => both!("emotions/surprised"),
        Emotion::Disgusted => both!("emotions/disgusted"),
        Emotion::Fearful => both!("emotions/fearful"),
    };
    pick(language, both)
}

/// Returns the system prompt.
///
/// # Examples
///
/// ```
/// use counselling::{Emotion, Language, prompt::{guidance, system}};
///
/// let prompt = system(Emotion::Sad, Language::Korean, false);
/// assert!(prompt.contains("현재 감정 상태: ") && prompt.contains(guidance(Emotion::Sad, Language::Korean)));
/// ```
#[must_use]
pub fn system(emotion: Emotion, language: Language, crisis: bool) -> String {
    let base = pick(language, both!("base"));
    let label = language.pick("현재 감정 상태: ", "Current emotional state: ");
    let mut prompt = format!("{base}\n\n{label}{}", guidance(emotion, language));
    if crisis {
        prompt.push_str("\n\n");
        prompt.push_str(pick(language, both!("crisis")));
    }
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safety::MARKS;

    #[test]
    fn each_emotion_has_its_own_guidance_in_both_languages() {
        let all = Emotion::ALL.into_iter().flat_map(|emotion| {
            [Language::Korean, Language::English].map(|language| guidance(emotion, language))
        });
        let mut all: Vec<&str> = all.collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 16);
    }

    #[test]
    fn the_model_learns_the_mark_that_the_check_looks_for() {
        for language in [Language::Korean, Language::English] {
            let prompt = system(Emotion::Neutral, language, false);
            assert!(MARKS.iter().any(|mark| prompt.to_lowercase().contains(mark)), "{prompt}");
            assert!(system(Emotion::Neutral, language, true).len() > prompt.len());
        }
    }
}
