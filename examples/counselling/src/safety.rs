//! What the counsellor must not say: no diagnosis, no advice on medication, no promise of secrecy.
//!
//! [`OutputCheck`] reads the text of the model as it arrives. Only text that could become a violation is held back: from a
//! trigger word to the end of its sentence, or a last word that may turn into a trigger. Everything else passes at once.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::Language;

/// The shipped rules.
const SHIPPED: &str = include_str!("../settings/safety.toml");
/// Marks by which the model reports talk of self-harm. They are removed from the answer.
pub const MARKS: [&str; 2] = ["[[위기]]", "[[crisis]]"];
/// Bytes of a sentence that are held back at most.
const HELD_BYTES: usize = 1_200;

/// Rules of the output check.
#[derive(Debug, Clone)]
pub struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    name: String,
    triggers: Vec<String>,
    patterns: Vec<Regex>,
    exceptions: Vec<Regex>,
    always: Vec<Regex>,
    ko: String,
    en: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: String,
    triggers: Vec<String>,
    patterns: Vec<String>,
    #[serde(default)]
    exceptions: Vec<String>,
    #[serde(default)]
    always: Vec<String>,
    ko: String,
    en: String,
}

/// The file with the rules cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the rules of the output check cannot be read: {reason}")]
pub struct RulesError {
    reason: String,
}

impl Rules {
    /// Reads a file with rules.
    ///
    /// # Errors
    ///
    /// The file is not TOML of this form, or contains an invalid regular expression.
    ///
    /// # Examples
    ///
    /// ```
    /// use counselling::safety::Rules;
    ///
    /// assert!(Rules::shipped().violated("당신은 우울증입니다.").is_some());
    /// assert!(Rules::shipped().violated("많이 속상하셨겠어요.").is_none());
    /// assert!(Rules::read("[[rule]]").is_err());
    /// ```
    pub fn read(text: &str) -> Result<Self, RulesError> {
        let wrong = |reason: String| RulesError { reason };
        let file: File = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        let compile = |name: &str, patterns: &[String]| {
            let one = |pattern: &String| {
                let built = RegexBuilder::new(pattern).case_insensitive(true).build();
                built.map_err(|error| wrong(format!("rule `{name}`: {error}")))
            };
            patterns.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        let rules = file.rule.into_iter().map(|rule| {
            Ok(Rule {
                patterns: compile(&rule.name, &rule.patterns)?,
                exceptions: compile(&rule.name, &rule.exceptions)?,
                always: compile(&rule.name, &rule.always)?,
                // Only ASCII letters change, so that positions stay the same.
                triggers: rule.triggers.iter().map(|trigger| trigger.to_ascii_lowercase()).collect(),
                name: rule.name,
                ko: rule.ko,
                en: rule.en,
            })
        });
        Ok(Self(rules.collect::<Result<_, _>>()?))
    }

    /// Returns the shipped rules.
    ///
    /// # Panics
    ///
    /// Never; a test reads them.
    #[must_use]
    pub fn shipped() -> Self {
        Self::read(SHIPPED).expect("a test reads the shipped file")
    }

    /// Returns the name of the rule that a sentence violates.
    #[must_use]
    pub fn violated(&self, sentence: &str) -> Option<&str> {
        self.find(sentence).map(|rule| &*rule.name)
    }

    fn find(&self, sentence: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.is_violated_by(sentence))
    }

    /// Returns from where on `text` must be held back: a trigger or mark, or the beginning of one at the end of the text.
    /// `said` is the part of the sentence before it; a trigger may begin there.
    fn hold_from(&self, said: &str, text: &str) -> Option<usize> {
        let sentence = format!("{said}{text}").to_ascii_lowercase();
        let words = self.0.iter().flat_map(|rule| &rule.triggers).map(String::as_str).chain(MARKS);
        let held = |word| match found(&sentence, word).or_else(|| begun(&sentence, word)) {
            Some(at) if at + word.len() > said.len() => Some(at.saturating_sub(said.len())),
            _ => None,
        };
        words.filter_map(held).min()
    }
}

impl Rule {
    fn is_violated_by(&self, sentence: &str) -> bool {
        let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(sentence));
        any(&self.patterns) && (!any(&self.exceptions) || any(&self.always))
    }
}

/// Returns where `word` is in `text`.
fn found(text: &str, word: &str) -> Option<usize> {
    text.match_indices(word).map(|(at, _)| at).find(|at| may_begin(text, *at, word))
}

/// Returns where `word` begins if `text` ends with a part of it.
fn begun(text: &str, word: &str) -> Option<usize> {
    let longest = text.len().saturating_sub(word.len() - 1);
    let mut starts = (longest..text.len()).filter(|start| text.is_char_boundary(*start));
    starts.find(|start| {
        word.starts_with(&text[*start..]) && (word.starts_with("[[") || begins_word(text, *start))
    })
}

/// An English word begins after something that is no letter. A Korean one may follow another one (`항우울제`).
fn may_begin(text: &str, at: usize, word: &str) -> bool {
    let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
    !letter(word.as_bytes().first()) || at == 0 || !letter(text.as_bytes().get(at - 1))
}

/// Whether a word may begin here of which only a part has arrived. If it does in the middle of another one, it is recognised
/// when the rest arrives.
fn begins_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric())
}

/// A part of the checked answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Text to say; never empty.
    Say(String),
    /// A sentence violated this rule. Its replacement follows.
    Replaced(String),
    /// The model reported talk of self-harm.
    Crisis,
}

/// Check of one answer, piece by piece.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use counselling::{Language, safety::{Checked, OutputCheck, Rules}};
///
/// let mut check = OutputCheck::new(Arc::new(Rules::shipped()), Language::Korean);
/// assert_eq!(check.push("많이 힘드셨겠어요. "), [Checked::Say("많이 힘드셨겠어요. ".into())]);
/// assert_eq!(check.push("우울증"), []); // held back
/// assert_eq!(check.push("입니다. ")[0], Checked::Replaced("diagnosis".into()));
/// ```
#[derive(Debug)]
pub struct OutputCheck {
    rules: Arc<Rules>,
    language: Language,
    /// The part of the current sentence that was said.
    said: String,
    /// Text that is held back.
    held: String,
    /// Whether anything was said; blanks before that are removed.
    begun: bool,
}

impl OutputCheck {
    /// Creates a check.
    #[must_use]
    pub const fn new(rules: Arc<Rules>, language: Language) -> Self {
        Self { rules, language, said: String::new(), held: String::new(), begun: false }
    }

    /// Takes a piece of the model's text and returns what can be said now.
    #[must_use]
    pub fn push(&mut self, piece: &str) -> Vec<Checked> {
        self.held.push_str(piece);
        let mut out = Vec::new();
        self.remove_marks(&mut out);
        while let Some(end) = sentence_end(&self.held) {
            let rest = self.held.split_off(end);
            self.end_sentence(&mut out);
            self.held = rest;
        }
        let hold = self.rules.hold_from(&self.said, &self.held).unwrap_or(self.held.len());
        if self.held.len() - hold > HELD_BYTES {
            self.end_sentence(&mut out);
        } else if hold > 0 {
            let rest = self.held.split_off(hold);
            let ready = std::mem::replace(&mut self.held, rest);
            self.said.push_str(&ready);
            self.say(ready, &mut out);
        }
        out
    }

    /// Returns the rest of the answer.
    #[must_use]
    pub fn finish(&mut self) -> Vec<Checked> {
        let mut out = Vec::new();
        self.end_sentence(&mut out);
        out
    }

    fn remove_marks(&mut self, out: &mut Vec<Checked>) {
        for mark in MARKS {
            while let Some(at) = self.held.to_ascii_lowercase().find(mark) {
                self.held.replace_range(at..at + mark.len(), "");
                out.push(Checked::Crisis);
            }
        }
    }

    /// Checks the sentence in `said` and `held`, and says what is held or its replacement.
    fn end_sentence(&mut self, out: &mut Vec<Checked>) {
        let held = std::mem::take(&mut self.held);
        let said = std::mem::take(&mut self.said);
        if held.is_empty() {
            return;
        }
        let sentence = format!("{said}{held}");
        let Some(rule) = self.rules.find(sentence.trim()) else {
            return self.say(held, out);
        };
        out.push(Checked::Replaced(rule.name.clone()));
        // The beginning of the sentence was harmless and was said: it is broken off.
        let break_off = if said.trim().is_empty() { "" } else { "… " };
        let careful = self.language.pick(&rule.ko, &rule.en);
        let after = if held.ends_with('\n') { "\n" } else { " " };
        let text = format!("{break_off}{careful}{after}");
        self.say(text, out);
    }

    fn say(&mut self, mut text: String, out: &mut Vec<Checked>) {
        if !self.begun {
            let blanks = text.len() - text.trim_start().len();
            text.replace_range(..blanks, "");
        }
        if text.is_empty() {
            return;
        }
        self.begun = true;
        match out.last_mut() {
            Some(Checked::Say(before)) => before.push_str(&text),
            _ => out.push(Checked::Say(text)),
        }
    }
}

/// Returns the end of the first sentence with its blanks. A point is an end only before a blank, so a number such as 1.5
/// has none.
fn sentence_end(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let end = at + c.len_utf8();
        let blank_follows = characters.peek().is_some_and(|(_, next)| next.is_whitespace());
        let ends = c == '\n'
            || matches!(c, '。' | '！' | '？')
            || (matches!(c, '.' | '!' | '?' | '…') && blank_follows);
        if ends {
            let rest = &text[end..];
            return Some(end + rest.len() - rest.trim_start().len());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(language: Language) -> OutputCheck {
        OutputCheck::new(Arc::new(Rules::shipped()), language)
    }

    /// The whole answer, in pieces of `size` characters, with what was replaced.
    fn answer(text: &str, size: usize) -> (String, Vec<String>) {
        let mut check = check(Language::Korean);
        let characters: Vec<char> = text.chars().collect();
        let mut out = Vec::new();
        for piece in characters.chunks(size) {
            out.extend(check.push(&piece.iter().collect::<String>()));
        }
        out.extend(check.finish());
        let (mut said, mut replaced) = (String::new(), Vec::new());
        for part in out {
            match part {
                Checked::Say(text) => {
                    assert!(!text.is_empty());
                    said.push_str(&text);
                }
                Checked::Replaced(rule) => replaced.push(rule),
                Checked::Crisis => replaced.push("crisis".to_owned()),
            }
        }
        (said, replaced)
    }

    #[test]
    fn ordinary_text_passes_at_once_and_unchanged() {
        let mut check = check(Language::Korean);
        for piece in ["회사에서 ", "많이 ", "힘드셨", "겠어요. ", "지금 ", "가장 큰 걱정", "은 무엇인가요?"]
        {
            assert_eq!(check.push(piece), [Checked::Say(piece.to_owned())], "{piece}");
        }
        assert_eq!(check.finish(), []);
    }

    #[test]
    fn an_english_word_is_not_held_for_its_last_letter() {
        let mut check = check(Language::English);
        for piece in ["That", " sounds", " hard", " and", " lonesome", ". What", " would", " help", "?"] {
            assert_eq!(check.push(piece), [Checked::Say(piece.to_owned())], "{piece}");
        }
    }

    #[test]
    fn violations_are_replaced_whatever_the_pieces_are() {
        for (text, rule) in [
            ("당신은 우울증입니다.", "diagnosis"),
            ("말씀을 들어 보니 공황장애가 있으신 것 같아요.", "diagnosis"),
            ("이건 ADHD로 보입니다.", "diagnosis"),
            ("저는 불안장애라고 진단합니다.", "diagnosis"),
            ("You have depression.", "diagnosis"),
            ("It sounds like bipolar disorder to me.", "diagnosis"),
            ("항우울제를 드시면 좋아질 거예요.", "medication"),
            ("오늘부터 약을 끊으세요.", "medication"),
            ("수면제를 복용하세요.", "medication"),
            ("졸피뎀 10mg이면 충분해요.", "medication"),
            ("감기약을 드세요.", "medication"),
            ("의사와 상의 없이 약을 줄이셔도 돼요.", "medication"),
            ("You should stop taking your medication.", "medication"),
            ("이 이야기는 비밀로 지킬게요.", "secrecy"),
            ("아무에게도 말하지 않을게요.", "secrecy"),
            ("I promise this stays between us.", "secrecy"),
            ("I will never tell anyone.", "secrecy"),
        ] {
            for size in [1, 2, 3, 7, 100] {
                let (said, replaced) = answer(&format!("그러셨군요. {text} 오늘은 어떠세요?"), size);
                assert_eq!(replaced, [rule], "{text} in {size}");
                assert!(said.starts_with("그러셨군요. ") && said.ends_with("오늘은 어떠세요?"), "{said}");
                assert_eq!(Rules::shipped().violated(&said), None, "{said}");
            }
            assert_eq!(answer(text, 4).1, [rule], "{text} at the end");
        }
    }

    #[test]
    fn careful_sentences_with_the_same_words_are_kept() {
        for text in [
            "저는 진단을 내릴 수 없어요. ",
            "우울증이라는 말을 들으면 어떤 마음이 드세요? ",
            "우울증 진단을 받으신 적이 있나요? ",
            "약은 꼭 의사와 상의해 주세요. ",
            "지금 드시는 약은 담당 선생님과 상담하시는 것이 안전해요. ",
            "비밀을 지켜 드리겠다고 약속할 수는 없어요. ",
            "그동안 아무에게도 말하지 못하셨군요. ",
            "내일 약속이 있으시군요. ",
            "Please talk to your doctor before you change your medication. ",
            "I cannot promise to keep a secret. ",
            "I'm not able to diagnose this. ",
            "You kept this secret for a long time. ",
        ] {
            for size in [1, 5, 100] {
                assert_eq!(answer(text, size), (text.to_owned(), vec![]), "{size}");
            }
        }
    }

    #[test]
    fn a_mark_of_the_model_is_removed_and_reported() {
        for size in [1, 3, 50] {
            let (said, replaced) = answer("[[위기]] 말해 주셔서 고마워요.", size);
            assert_eq!((said.as_str(), replaced), ("말해 주셔서 고마워요.", vec!["crisis".to_owned()]));
            assert_eq!(answer("[[CRISIS]]Thank you.", size).0, "Thank you.");
            assert_eq!(answer("[1] 하나 [[메모]]", size).0, "[1] 하나 [[메모]]");
        }
    }

    #[test]
    fn a_sentence_without_an_end_is_not_held_for_ever() {
        let mut check = check(Language::Korean);
        let long = "우울증이라는 말 ".repeat(200);
        let said: usize = check
            .push(&long)
            .into_iter()
            .map(|part| match part {
                Checked::Say(text) => text.len(),
                other => panic!("{other:?}"),
            })
            .sum();
        assert!(said > 0, "something was said");
    }

    #[test]
    fn a_point_within_a_number_ends_no_sentence() {
        assert_eq!(sentence_end("1.5"), None);
        assert_eq!(sentence_end("네. 그럼"), Some("네. ".len()));
        assert_eq!(sentence_end("네."), None);
        assert_eq!(sentence_end("하나\n둘"), Some("하나\n".len()));
    }
}
