//! Titles of sessions: the beginning of their first message.

use agent_core::RunOptions;

/// Label of the title.
pub(crate) const TITLE: &str = "title";
/// Maximum length of a title in characters. At four bytes each, it fits into a label.
const CHARACTERS: usize = 80;

/// Sets the title of a run's session, if it has none.
pub(crate) fn titled(options: RunOptions, message: &str) -> RunOptions {
    match title(message) {
        Some(title) => options.default_label(TITLE, title),
        None => options,
    }
}

/// Returns the beginning of a message, on one line.
fn title(message: &str) -> Option<String> {
    // A longer prefix cannot change the title.
    let prefix = &message[..message.floor_char_boundary(CHARACTERS * 16)];
    let mut line = String::new();
    for word in prefix.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
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
