//! What sessions are called: the first words that somebody said in them.

use agent_core::RunOptions;

/// The label of a session that says what it is called.
pub(crate) const TITLE: &str = "title";
/// The longest title, in characters; at four bytes each it fits into a label.
const CHARACTERS: usize = 80;

/// Calls the session of a run by these words, if it has no name yet.
pub(crate) fn titled(options: RunOptions, words: &str) -> RunOptions {
    match title(words) {
        Some(title) => options.default_label(TITLE, title),
        None => options,
    }
}

/// The first words of a message, on one line.
fn title(words: &str) -> Option<String> {
    // More than this is never shown, so more is not looked at.
    let looked = &words[..words.floor_char_boundary(CHARACTERS * 16)];
    let mut line = String::new();
    for word in looked.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(CHARACTERS) {
        None if line.is_empty() => None,
        None => Some(line),
        Some(_) => {
            let (end, _) = line.char_indices().nth(CHARACTERS - 1).unwrap_or_default();
            line.truncate(end);
            line.push('…');
            Some(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::title;

    #[test]
    fn a_title_is_one_line_and_ends_between_characters() {
        assert_eq!(title("  라네즈 리뷰를\n\t분석해 줘\u{7} ").as_deref(), Some("라네즈 리뷰를 분석해 줘"));
        assert_eq!(title(" \n\u{0}"), None);
        let eighty = "가".repeat(80);
        assert_eq!(title(&eighty).as_deref(), Some(&*eighty));
        let long = title(&"가".repeat(10_000)).unwrap();
        assert_eq!((long.chars().count(), long.chars().last()), (80, Some('…')));
        assert!(title(&"👩‍🔬 ".repeat(2_000)).unwrap().len() <= 512);
    }
}
