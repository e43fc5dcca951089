//! Korean particles that depend on the sound before them.

/// The word with the particle that fits: `closed` after a final consonant, `open` after a vowel. Brackets at the end of
/// the word are passed over; a word that does not end in Hangul takes `open`.
pub(super) fn with(word: &str, closed: &str, open: &str) -> String {
    let bare = word.split('(').next().unwrap_or(word).trim_end();
    let last = bare.chars().next_back().map_or(0, u32::from);
    let syllable = (0xAC00..=0xD7A3).contains(&last);
    let particle = if syllable && !(last - 0xAC00).is_multiple_of(28) { closed } else { open };
    format!("{word}{particle}")
}

#[cfg(test)]
mod tests {
    use super::with;

    #[test]
    fn the_particle_follows_the_last_sound() {
        assert_eq!(with("소비자", "을", "를"), "소비자를");
        assert_eq!(with("보습", "이", "가"), "보습이");
        assert_eq!(with("효과(진정)", "이", "가"), "효과(진정)가");
        assert_eq!(with("COSRX", "은", "는"), "COSRX는");
    }
}
