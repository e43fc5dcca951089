//! Parser for tool calls that a model writes as text. Works on a stream, however it is split.
//!
//! Written by hand: the text between calls must be passed on as soon as it cannot be part of a call, also when a tag is
//! split over two parts. A parser combinator (`winnow`) starts a partial input again with each part, which is quadratic in
//! the length of a call.

mod json;
mod tools;

use serde_json::value::RawValue;

use self::json::{Progress, Scan};
pub use self::tools::TextTools;

/// Maximum length of one call; longer text is not a call.
const CALL_BYTES: usize = 256 * 1024;
/// Maximum length of white space or of a name within a call.
const RUN_BYTES: usize = 1_024;

const CLOSE_TAG: &str = "</tool_call>";
const FENCE: &str = "```";
/// Words after an opening fence that may introduce a call.
const FENCE_WORDS: &[&str] = &["", "json", "tool_call", "tool_calls", "tool", "function_call"];

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPiece {
    /// Plain text.
    Text(String),
    /// A tool call.
    Call {
        /// Name of the tool.
        name: String,
        /// Arguments as raw JSON text; an object.
        arguments: String,
    },
}

/// Parser for tool calls in text.
///
/// Supported formats: `<tool_call>{..}</tool_call>` (Hermes, Qwen), `[TOOL_CALLS]` with a list, an object or
/// `name[ARGS]{..}` (Mistral), `{"name": .., "parameters": ..}` as the whole answer or after `<|python_tag|>`
/// (Llama 3), and the same object in a code fence. The last three count only if they name an existing tool.
/// Everything that is not a call is returned unchanged as text. White space around calls is dropped if there is no
/// other text.
///
/// The result does not depend on how the input is split, except for the boundaries of text parts.
///
/// # Examples
///
/// ```
/// use agent_core::model::{TextCalls, TextPiece};
/// let mut parser = TextCalls::new(["weather"]);
/// let mut pieces = parser.push("볼게요 <tool_c");
/// pieces.extend(parser.push(r#"all>{"name": "weather", "arguments": {"city": "서울"}}</tool_call>"#));
/// pieces.extend(parser.finish());
/// assert_eq!(pieces, [
///     TextPiece::Text("볼게요 ".into()),
///     TextPiece::Call { name: "weather".into(), arguments: r#"{"city": "서울"}"#.into() },
/// ]);
/// ```
#[derive(Clone, Debug)]
pub struct TextCalls {
    tools: Vec<String>,
    /// Bytes of an incomplete character.
    tail: Vec<u8>,
    pending: String,
    /// Everything before this offset was returned.
    at: usize,
    mode: Mode,
    state: ParserState,
}

/// Position in the text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ParserState {
    /// Only white space so far.
    Beginning,
    /// Only white space since a call.
    AfterCall,
    /// In the middle of text.
    Within,
}

#[derive(Clone, Debug)]
enum Mode {
    Text,
    /// In a code fence that is not a call.
    Verbatim,
    Call(BufferedCall),
}

/// Text that may be a call, held back until this is known.
#[derive(Clone, Debug)]
struct BufferedCall {
    form: Form,
    /// Length that is returned as text if it is not a call; the rest is scanned again.
    opening: usize,
    /// For `name{..}`.
    name: Option<String>,
    json: usize,
    scan: Scan,
    /// End of the JSON, and the calls in it.
    found: Option<(usize, Vec<(String, String)>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Tag,
    Mistral,
    Python,
    Fence,
    Bare,
}

enum Step {
    /// More input is needed.
    More,
    /// This many bytes are text.
    Text(usize),
    /// This many bytes are dropped.
    Drop(usize),
    /// This many bytes are these calls.
    Calls(usize, Vec<(String, String)>),
    /// Scan again in the new mode.
    Again,
}

impl TextCalls {
    /// Creates a parser for one answer; `tools` are the names of the existing tools.
    pub fn new<T: Into<String>>(tools: impl IntoIterator<Item = T>) -> Self {
        Self {
            tools: tools.into_iter().map(Into::into).collect(),
            tail: Vec::new(),
            pending: String::new(),
            at: 0,
            mode: Mode::Text,
            state: ParserState::Beginning,
        }
    }

    /// Adds a part of the answer, split at any byte, and returns what is decided.
    pub fn push(&mut self, more: impl AsRef<[u8]>) -> Vec<TextPiece> {
        self.decode(more.as_ref());
        self.run(false)
    }

    /// Ends the answer: returns what was undecided and resets the parser.
    pub fn finish(&mut self) -> Vec<TextPiece> {
        if !self.tail.is_empty() {
            self.pending.push(char::REPLACEMENT_CHARACTER);
        }
        let pieces = self.run(true);
        *self = Self::new(std::mem::take(&mut self.tools));
        pieces
    }

    fn decode(&mut self, more: &[u8]) {
        if self.tail.is_empty()
            && let Ok(text) = std::str::from_utf8(more)
        {
            self.pending.push_str(text);
            return;
        }
        self.tail.extend_from_slice(more);
        let bytes = std::mem::take(&mut self.tail);
        let mut rest = bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => return self.pending.push_str(text),
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.pending.push_str(&String::from_utf8_lossy(valid));
                    let Some(bad) = error.error_len() else {
                        self.tail = after.to_vec();
                        return;
                    };
                    self.pending.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[bad..];
                }
            }
        }
    }

    fn run(&mut self, end: bool) -> Vec<TextPiece> {
        let mut pieces = Vec::new();
        while self.at < self.pending.len() {
            let step = match &mut self.mode {
                Mode::Text => self.text(end),
                Mode::Verbatim => self.verbatim(end),
                Mode::Call(_) => self.call(end),
            };
            match step {
                Step::More => break,
                Step::Again => {}
                Step::Text(len) => {
                    let text = &self.pending[self.at..self.at + len];
                    match pieces.last_mut() {
                        Some(TextPiece::Text(last)) => last.push_str(text),
                        _ => pieces.push(TextPiece::Text(text.to_owned())),
                    }
                    self.at += len;
                    self.state = ParserState::Within;
                }
                Step::Drop(len) => self.at += len,
                Step::Calls(len, calls) => {
                    pieces.extend(
                        calls.into_iter().map(|(name, arguments)| TextPiece::Call { name, arguments }),
                    );
                    self.at += len;
                    self.state = ParserState::AfterCall;
                    self.mode = Mode::Text;
                }
            }
        }
        self.pending.drain(..self.at);
        self.at = 0;
        pieces
    }

    fn text(&mut self, end: bool) -> Step {
        let rest = &self.pending[self.at..];
        let mut lead = 0;
        if self.state != ParserState::Within {
            // Several calls in a row are separated by white space or semicolons.
            let parts = |c: char| c.is_whitespace() || (c == ';' && self.state == ParserState::AfterCall);
            lead = rest.find(|c| !parts(c)).unwrap_or(rest.len());
            match rest[lead..].chars().next() {
                None if !end && lead <= RUN_BYTES => return Step::More,
                None if self.state == ParserState::AfterCall && lead <= RUN_BYTES => return Step::Drop(lead),
                None => return Step::Text(lead),
                Some(_) if lead > RUN_BYTES => return Step::Text(lead),
                Some('{') => return self.hold(Form::Bare, lead + 1, None, lead),
                Some('<' | '[' | '`') => {}
                Some(_) => {
                    self.state = ParserState::Within;
                    return Step::Again;
                }
            }
        }
        let mark = match rest[lead..].find(['<', '[', '`']) {
            None => return Step::Text(rest.len()),
            Some(0) => lead,
            // Only within text; elsewhere the mark is the first character.
            Some(before) => return Step::Text(lead + before),
        };
        let openings = [
            ("<tool_call>", Form::Tag),
            ("[TOOL_CALLS]", Form::Mistral),
            ("<|python_tag|>", Form::Python),
            (FENCE, Form::Fence),
        ];
        for (opening, form) in openings {
            if rest[mark..].starts_with(opening) {
                return self.open(form, mark + opening.len(), end);
            }
            if !end && opening.starts_with(&rest[mark..]) {
                return Step::More;
            }
        }
        Step::Text(mark + 1)
    }

    /// Handles an opening that ends at `after`: checks whether JSON follows.
    fn open(&mut self, form: Form, after: usize, end: bool) -> Step {
        let rest = &self.pending[self.at..];
        let mut at = after;
        let mut opening = after;
        if form == Form::Fence {
            let word =
                run(&rest[after..], |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '#'));
            let Some(word) = word else { return if end { Step::Text(rest.len()) } else { Step::More } };
            at += word;
            opening = at;
            if word > 32 || !FENCE_WORDS.contains(&rest[after..at].to_ascii_lowercase().as_str()) {
                self.mode = Mode::Verbatim;
                return Step::Text(after);
            }
        }
        let space = run(&rest[at..], char::is_whitespace);
        let undecided =
            |limit: usize| if end || rest.len() - after > limit { Step::Text(opening) } else { Step::More };
        let Some(space) = space else { return undecided(RUN_BYTES) };
        if space > RUN_BYTES {
            return Step::Text(opening);
        }
        at += space;
        if matches!(rest.as_bytes()[at], b'{' | b'[')
            && !(form == Form::Mistral && rest[at..].starts_with("[TOOL_CALLS]"))
        {
            // `[TOOL_CALLS]` twice: the first is text, but its end must be known.
            let again = form == Form::Mistral
                && !end
                && "[TOOL_CALLS]".starts_with(&rest[at..])
                && rest.len() > at + 1;
            return if again { Step::More } else { self.hold(form, opening, None, at) };
        }
        if form == Form::Mistral {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let Some(len) = run(&rest[at..], is_name) else { return undecided(2 * RUN_BYTES) };
            let name = &rest[at..at + len];
            at += len;
            // `[CALL_ID]x` and `[ARGS]` are optional.
            for word in ["[CALL_ID]", "[ARGS]"] {
                if rest[at..].starts_with(word) {
                    at += word.len();
                    if word == "[CALL_ID]" {
                        let Some(id) = run(&rest[at..], is_name) else { return undecided(2 * RUN_BYTES) };
                        at += id;
                    }
                } else if !end && word.starts_with(&rest[at..]) {
                    return Step::More;
                }
            }
            let Some(space) = run(&rest[at..], |c| c == ' ') else { return undecided(2 * RUN_BYTES) };
            at += space;
            if !name.is_empty() && at - after <= 2 * RUN_BYTES && rest.as_bytes()[at] == b'{' {
                let name = name.to_owned();
                return self.hold(form, opening, Some(name), at);
            }
        }
        if form == Form::Fence {
            self.mode = Mode::Verbatim;
        }
        Step::Text(opening)
    }

    fn hold(&mut self, form: Form, opening: usize, name: Option<String>, json: usize) -> Step {
        // Arguments without a name may begin with any key.
        let scan = Scan::new(json, name.is_none());
        self.mode = Mode::Call(BufferedCall { form, opening, name, json, scan, found: None });
        Step::Again
    }

    fn call(&mut self, end: bool) -> Step {
        let rest = &self.pending[self.at..];
        let Mode::Call(held) = &mut self.mode else { return Step::Again };
        if held.found.is_none() {
            let json_end = match held.scan.resume(rest.as_bytes(), held.json + CALL_BYTES) {
                Progress::More if !end => return Step::More,
                Progress::More | Progress::Broken => return self.not_a_call(),
                Progress::End(at) => at,
            };
            let json = &rest[held.json..json_end];
            let calls = match &held.name {
                Some(name) => serde_json::from_str::<&RawValue>(json)
                    .ok()
                    .map(|_| vec![(name.clone(), json.to_owned())]),
                None => json::calls(json),
            };
            let certain = matches!(held.form, Form::Tag | Form::Mistral);
            let known =
                |calls: &Vec<(String, String)>| calls.iter().all(|(name, _)| self.tools.contains(name));
            match calls.filter(|calls| certain || known(calls)) {
                Some(calls) => held.found = Some((json_end, calls)),
                None => return self.not_a_call(),
            }
        }
        let Some((json_end, calls)) = &mut held.found else { return Step::Again };
        let json_end = *json_end;
        let after = &rest[json_end..];
        // `Some(n)`: `n` bytes belong to the call. `None`: undecided.
        let closed_by = |close: &str| {
            let space = after.find(|c: char| !c.is_whitespace()).unwrap_or(after.len());
            if after[space..].starts_with(close) {
                Some(Some(space + close.len()))
            } else if !end && close.starts_with(&after[space..]) && space <= RUN_BYTES {
                None
            } else {
                Some(None)
            }
        };
        let close = match held.form {
            Form::Mistral | Form::Python => Some(0),
            Form::Tag => match closed_by(CLOSE_TAG) {
                None => return Step::More,
                // Some models omit it.
                Some(close) => Some(close.unwrap_or(0)),
            },
            Form::Fence => match closed_by(FENCE) {
                None => return Step::More,
                Some(None) if end && after.trim().is_empty() => Some(after.len()),
                Some(close) => close,
            },
            // Text on the same line indicates that the object is only being mentioned.
            Form::Bare => match after.trim_start_matches([' ', '\t']).chars().next() {
                None if !end => return Step::More,
                None | Some(';' | '\n' | '\r' | '{' | '<') => Some(0),
                Some(_) => None,
            },
        };
        match close {
            Some(close) => Step::Calls(json_end + close, std::mem::take(calls)),
            None => self.not_a_call(),
        }
    }

    fn not_a_call(&mut self) -> Step {
        let Mode::Call(held) = std::mem::replace(&mut self.mode, Mode::Text) else { return Step::Again };
        if held.form == Form::Fence {
            self.mode = Mode::Verbatim;
        }
        Step::Text(held.opening)
    }

    fn verbatim(&mut self, end: bool) -> Step {
        let rest = &self.pending[self.at..];
        if let Some(close) = rest.find(FENCE) {
            self.mode = Mode::Text;
            return Step::Text(close + FENCE.len());
        }
        // One or two marks at the end may be the beginning of a fence.
        let marks = if end { 0 } else { rest.len() - rest.trim_end_matches('`').len() };
        match rest.len() - marks {
            0 => Step::More,
            len => Step::Text(len),
        }
    }
}

/// Returns the length of the run of matching characters, or `None` if the text ends within it.
fn run(text: &str, is_in: impl Fn(char) -> bool) -> Option<usize> {
    text.find(|c| !is_in(c))
}
