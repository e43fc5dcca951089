//! Removes tool calls that a model wrote as text and that could not be parsed. They must not be shown to people.
//!
//! Valid calls in text never get here: the model client turns them into tool calls.

use agent_core::model::{Delta, ModelError, ModelErrorKind, ModelStream};
use futures::{StreamExt, stream};

/// Openings of calls. What follows one is a call if it begins with a bracket or a name.
const OPENINGS: [&str; 4] = ["<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<function="];
const CLOSING: &str = "</tool_call>";
/// The same for the last opening.
const FUNCTION_CLOSING: &str = "</function>";
/// The beginning of a call that is a whole answer.
const OBJECT: &str = "{\"name\":";

/// Removes such calls from the answer of a model. An answer of nothing else ends with [`ModelErrorKind::Malformed`].
pub(crate) fn without_raw_calls(answer: ModelStream) -> ModelStream {
    let start = Some((answer, RawCalls::default(), false));
    let filtered = stream::unfold(start, |state| async move {
        let (mut answer, mut calls, mut has_content) = state?;
        let mut out = Vec::new();
        let mut show = |text: String, out: &mut Vec<_>| {
            if !text.is_empty() {
                has_content |= !text.trim().is_empty();
                out.push(Ok(Delta::Text { text }));
            }
        };
        match answer.next().await? {
            Ok(Delta::Text { text }) => show(calls.push(&text), &mut out),
            Ok(delta @ Delta::Restarted { .. }) => {
                calls.clear();
                has_content = false;
                out.push(Ok(delta));
            }
            Ok(delta @ Delta::ToolCallStarted { .. }) => {
                has_content = true;
                out.push(Ok(delta));
            }
            Ok(delta @ Delta::Finished { .. }) => {
                show(calls.finish(), &mut out);
                if calls.found() && !has_content {
                    let error = ModelError::new(ModelErrorKind::Malformed)
                        .with_detail("the answer is a tool call as text that cannot be used");
                    out.push(Err(error));
                    return Some((stream::iter(out), None));
                }
                out.push(Ok(delta));
            }
            other => out.push(other),
        }
        Some((stream::iter(out), Some((answer, calls, has_content))))
    });
    ModelStream::new(filtered.flatten().boxed())
}

/// Filter of the text of one turn, part by part.
#[derive(Debug, Default)]
pub(crate) struct RawCalls {
    /// Text that may belong to a call.
    held: String,
    state: State,
    /// Whether a call was removed.
    found: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No text yet.
    #[default]
    Start,
    Text,
    /// In a call, up to its closing.
    Call,
}

impl RawCalls {
    /// Returns whether a call was removed since the last [`clear`](Self::clear).
    pub(crate) const fn found(&self) -> bool {
        self.found
    }

    /// Begins a new turn.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds text, and returns what can be shown.
    pub(crate) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        self.flush(false)
    }

    /// Ends the turn, and returns the rest of the text.
    pub(crate) fn finish(&mut self) -> String {
        self.flush(true)
    }

    fn flush(&mut self, end: bool) -> String {
        let mut shown = String::new();
        loop {
            match self.state {
                State::Start => match begins_object(&self.held) {
                    _ if self.held.trim_start().is_empty() && !end => return shown,
                    None if !end => return shown,
                    Some(true) => {
                        let whole = end.then(|| std::mem::take(&mut self.held));
                        let Some(whole) = whole else { return shown };
                        if whole.contains("\"arguments\"") || whole.contains("\"parameters\"") {
                            self.found = true;
                        } else {
                            shown.push_str(&whole);
                        }
                        return shown;
                    }
                    _ => self.state = State::Text,
                },
                State::Text => match find_opening(&self.held, end) {
                    Some((at, length)) => {
                        shown.push_str(&self.held[..at]);
                        self.held.drain(..at + length);
                        (self.state, self.found) = (State::Call, true);
                    }
                    None => {
                        let keep = if end { 0 } else { undecided(&self.held) };
                        shown.extend(self.held.drain(..self.held.len() - keep));
                        return shown;
                    }
                },
                State::Call => match find_closing(&self.held) {
                    Some(end) => {
                        self.held.drain(..end);
                        self.state = State::Text;
                    }
                    None => {
                        // The end may be a part of the closing.
                        let keep = if end { 0 } else { CLOSING.len() };
                        let drop = self.held.floor_char_boundary(self.held.len().saturating_sub(keep));
                        self.held.drain(..drop);
                        return shown;
                    }
                },
            }
        }
    }
}

/// Returns the end of the first closing.
fn find_closing(text: &str) -> Option<usize> {
    [CLOSING, FUNCTION_CLOSING].into_iter().filter_map(|tag| Some(text.find(tag)? + tag.len())).min()
}

/// Returns whether a text begins with an object like that of a call; `None`: not known yet.
fn begins_object(text: &str) -> Option<bool> {
    let mut wanted = OBJECT.chars().peekable();
    for c in text.trim_start().chars() {
        match wanted.peek() {
            None => break,
            Some(next) if *next == c => {
                wanted.next();
            }
            Some('"' | ':') if c.is_whitespace() => {}
            Some(_) => return Some(false),
        }
    }
    if wanted.peek().is_none() { Some(true) } else { None }
}

/// Returns the place and the length of the first opening that a call follows.
fn find_opening(text: &str, end: bool) -> Option<(usize, usize)> {
    let at = |opening: &str| {
        text.match_indices(opening).map(|(at, _)| at).find(|at| {
            let after = text[at + opening.len()..].trim_start();
            match after.chars().next() {
                Some(next) => {
                    next == '{'
                        || next == '['
                        || next == '<'
                        || (opening != OPENINGS[0] && next.is_alphabetic())
                }
                None => end,
            }
        })
    };
    OPENINGS.iter().filter_map(|opening| at(opening).map(|at| (at, opening.len()))).min()
}

/// Returns the length of the end of a text that may become an opening: a part of one, or one that nothing follows yet.
fn undecided(text: &str) -> usize {
    let trimmed = text.trim_end();
    let whole = OPENINGS.iter().find(|opening| trimmed.ends_with(**opening));
    if let Some(opening) = whole {
        return text.len() - (trimmed.len() - opening.len());
    }
    let parts = OPENINGS.iter().flat_map(|opening| (1..opening.len()).map(|length| &opening[..length]));
    parts.filter(|part| text.ends_with(part)).map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same text in one part and byte by byte.
    fn shown(text: &str) -> (String, bool) {
        let read = |parts: &[&str]| {
            let mut calls = RawCalls::default();
            let mut shown: String = parts.iter().map(|part| calls.push(part)).collect();
            shown.push_str(&calls.finish());
            (shown, calls.found())
        };
        let whole = read(&[text]);
        let chars: Vec<String> = text.chars().map(String::from).collect();
        let parts: Vec<&str> = chars.iter().map(String::as_str).collect();
        assert_eq!(read(&parts), whole, "{text}");
        whole
    }

    #[test]
    fn a_call_that_cannot_be_parsed_is_not_shown() {
        for (text, expected) in [
            (r#"<tool_call>{"name": "x", "arguments": {"a": }}</tool_call>"#, ""),
            (r#"볼게요 <tool_call>{"name": "x", "argum"#, "볼게요 "),
            ("a <tool_call>\n{bad}</tool_call> b <tool_call>{bad}</tool_call> c", "a  b  c"),
            (r#"[TOOL_CALLS] [{"name": "x", "#, ""),
            ("<|python_tag|>print(", ""),
            (r#"보기 <function=search>{"q": "a"}</function> 끝"#, "보기  끝"),
            (r#"<function=search>{"q": "#, ""),
            (r#"{"name": "x", "parameters": {"a": }"#, ""),
            (" { \"name\" : \"x\", \"arguments\"", ""),
        ] {
            assert_eq!(shown(text), (expected.to_owned(), true), "{text}");
        }
    }

    #[test]
    fn other_text_is_shown_whole() {
        for text in [
            "안녕하세요 🌸",
            "",
            "  \n",
            "the tag <tool_call> begins a call",
            "a < b and [TOOL",
            "f <function= 3",
            r#"{"name": "Anua", "rating": 4}"#,
            r#"{"brand": "Anua", "arguments": []}"#,
            "{",
            "{\"na",
        ] {
            assert_eq!(shown(text), (text.to_owned(), false), "{text}");
        }
    }
}
