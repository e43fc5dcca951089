//! The eight emotions that the front end recognises.

use serde::{Deserialize, Serialize};

/// Emotion of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emotion {
    /// Happy.
    Happy,
    /// Sad.
    Sad,
    /// Angry.
    Angry,
    /// Anxious.
    Anxious,
    /// Neutral; also used for an unknown or missing emotion.
    #[default]
    Neutral,
    /// Surprised.
    Surprised,
    /// Disgusted.
    Disgusted,
    /// Fearful.
    Fearful,
}

impl Emotion {
    /// All emotions.
    pub const ALL: [Self; 8] = [
        Self::Happy,
        Self::Sad,
        Self::Angry,
        Self::Anxious,
        Self::Neutral,
        Self::Surprised,
        Self::Disgusted,
        Self::Fearful,
    ];

    /// Returns the word of the protocol.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Happy => "happy",
            Self::Sad => "sad",
            Self::Angry => "angry",
            Self::Anxious => "anxious",
            Self::Neutral => "neutral",
            Self::Surprised => "surprised",
            Self::Disgusted => "disgusted",
            Self::Fearful => "fearful",
        }
    }

    /// Returns the emotion of a word. An unknown word is [`Neutral`](Self::Neutral).
    ///
    /// # Examples
    ///
    /// ```
    /// use counselling::Emotion;
    ///
    /// assert_eq!(Emotion::of("anxious"), Emotion::Anxious);
    /// assert_eq!(Emotion::of("bored"), Emotion::Neutral);
    /// ```
    #[must_use]
    pub fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|emotion| emotion.word() == word).unwrap_or_default()
    }
}
