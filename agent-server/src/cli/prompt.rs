//! Questions at the prompt: printed on stderr, answered by lines of stdin.
//!
//! `dialoguer` and `inquire` do not fit: they read only from a terminal, while answers may also be piped, and they block
//! the thread, while signals and withdrawn questions must end the prompt.

use std::{
    io::{self, BufRead, Read, Write},
    sync::mpsc,
    thread,
};

use agent_core::{interrupt::Question, tool::ApprovalRequest};
use serde_json::{Value, json};
use tokio::sync::mpsc as answers;

use super::output::short;

/// Maximum length of a line, in bytes.
const LINE: u64 = 64 * 1024;
/// Maximum size of a question's details, in columns and lines.
const DETAILS: (usize, usize) = (160, 40);

/// A line of stdin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    /// The line is too long, or not UTF-8.
    Unusable(&'static str),
    /// End of the input.
    End,
}

/// Lines of stdin, read on demand by a detached thread, so that the caller can wait for signals too.
pub(super) struct Prompt {
    ask: mpsc::SyncSender<()>,
    lines: answers::Receiver<Line>,
    /// Whether a line was requested and has not arrived.
    requested: bool,
}

impl Prompt {
    pub(super) fn new() -> Self {
        let (ask, requests) = mpsc::sync_channel(1);
        let (sender, lines) = answers::channel(1);
        // The thread ends with the process, because a read of stdin cannot be cancelled.
        thread::spawn(move || {
            while requests.recv().is_ok() && sender.blocking_send(read(&mut io::stdin().lock())).is_ok() {}
        });
        Self { ask, lines, requested: false }
    }

    /// Returns the next line. Cancel safe: a line that arrives later is returned by the next call.
    pub(super) async fn line(&mut self) -> Line {
        if !self.requested {
            if self.ask.send(()).is_err() {
                return Line::End;
            }
            self.requested = true;
        }
        let line = self.lines.recv().await.unwrap_or(Line::End);
        self.requested = false;
        line
    }
}

fn read(from: &mut impl BufRead) -> Line {
    let mut bytes = Vec::new();
    match from.take(LINE + 1).read_until(b'\n', &mut bytes) {
        Ok(0) | Err(_) => return Line::End,
        Ok(_) if bytes.len() as u64 > LINE => {
            // The rest of the line must not become the next answer.
            return match skip_line(from) {
                Ok(()) => Line::Unusable("the line exceeds 64 KiB"),
                Err(_) => Line::End,
            };
        }
        Ok(_) => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => Line::Text(text.trim().to_owned()),
        Err(_) => Line::Unusable("the line is not UTF-8; set the terminal to UTF-8"),
    }
}

fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let some = from.fill_buf()?;
        if some.is_empty() {
            return Ok(());
        }
        match some.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                from.consume(at + 1);
                return Ok(());
            }
            None => {
                let all = some.len();
                from.consume(all);
            }
        }
    }
}

/// Prints a question and its possible answers.
pub(super) fn show(question: &Question) {
    let mut text = format!("\n? {}\n", question.prompt);
    if let Some(details) = &question.details {
        let pretty = serde_json::to_string_pretty(details).unwrap_or_default();
        for line in pretty.lines().take(DETAILS.1) {
            text.push_str(&format!("  | {}\n", short(line, DETAILS.0)));
        }
        if pretty.lines().count() > DETAILS.1 {
            text.push_str("  | …\n");
        }
    }
    if approval(question).is_some() {
        text.push_str("  approve | reject [REASON] | edit ARGUMENTS-AS-JSON | respond RESULT\n");
    } else {
        for (at, option) in question.options.iter().enumerate() {
            text.push_str(&format!("  {}) {}\n", at + 1, plain(option)));
        }
        if !question.options.is_empty() && question.open {
            text.push_str("  or another answer\n");
        }
        if let Some(schema) = question.schema.as_ref().filter(|_| question.options.is_empty()) {
            text.push_str(&format!("  an answer for the schema {}\n", short(&schema.to_string(), DETAILS.0)));
        }
    }
    say(&text);
}

/// Prints the prompt.
pub(super) fn prompt() {
    say("> ");
}

/// Writes to stderr. Errors are ignored, because there is no other place to report them.
pub(super) fn say(text: &str) {
    let mut out = io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).unwrap_or_default();
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn approval(question: &Question) -> Option<ApprovalRequest> {
    serde_json::from_value(question.details.clone()?).ok()
}

/// Parses a line as an answer. The session validates it.
pub(super) fn parse_answer(question: &Question, line: &str) -> Result<Value, String> {
    if approval(question).is_some() {
        return decision(line);
    }
    if let Some(option) = question.options.iter().find(|option| plain(option) == line) {
        return Ok(option.clone());
    }
    let chosen = line.trim_end_matches(')').parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    if let Some(option) = chosen.and_then(|at| question.options.get(at)) {
        return Ok(option.clone());
    }
    let folded = |option: &&Value| plain(option).to_lowercase() == line.to_lowercase();
    if let Some(option) = question.options.iter().find(folded) {
        return Ok(option.clone());
    }
    if !question.options.is_empty() && !question.open {
        return Err(format!(
            "choose one of the {} answers, by its number or its text",
            question.options.len()
        ));
    }
    if line.is_empty() {
        return Err("write an answer; `\"\"` is the empty text".to_owned());
    }
    let kind = question.schema.as_ref().and_then(|schema| schema.get("type")).and_then(Value::as_str);
    Ok(match kind {
        Some("boolean") => match line.to_lowercase().as_str() {
            "y" | "yes" | "true" | "예" | "네" => json!(true),
            "n" | "no" | "false" | "아니오" | "아니요" => json!(false),
            _ => return Err("answer yes or no".to_owned()),
        },
        Some("string") if !line.starts_with('"') => json!(line),
        // JSON if it is valid JSON, otherwise text.
        _ => serde_json::from_str(line).unwrap_or_else(|_| json!(line)),
    })
}

fn decision(line: &str) -> Result<Value, String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let as_json = |text: &str| serde_json::from_str::<Value>(text);
    match word.to_lowercase().as_str() {
        "approve" | "y" | "yes" => Ok(json!({"decision": "approve"})),
        "reject" | "n" | "no" => Ok(json!({"decision": "reject", "reason": rest})),
        "edit" => as_json(rest)
            .map(|arguments| json!({"decision": "edit", "arguments": arguments}))
            .map_err(|error| format!("`edit` requires the arguments as JSON: {error}")),
        "respond" if !rest.is_empty() => {
            let output = as_json(rest).unwrap_or_else(|_| json!(rest));
            Ok(json!({"decision": "respond", "output": output}))
        }
        _ => Err("answer approve, reject, edit or respond".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_are_accepted_by_number_or_text() {
        let question = Question::choose("누구?", ["소비자", "Makers"]);
        for (line, answer) in [("1", "소비자"), ("2)", "Makers"), ("소비자", "소비자"), ("makers", "Makers")]
        {
            assert_eq!(parse_answer(&question, line), Ok(json!(answer)), "{line}");
        }
        for line in ["0", "3", "", "그 밖"] {
            assert!(parse_answer(&question, line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_free_answer_is_json_or_text() {
        let free = Question::new("?");
        assert_eq!(parse_answer(&free, "안녕"), Ok(json!("안녕")));
        assert_eq!(parse_answer(&free, r#"{"a": [1]}"#), Ok(json!({"a": [1]})));
        assert_eq!(parse_answer(&free, r#""""#), Ok(json!("")));
        let text = Question::new("?").schema(json!({"type": "string"}));
        assert_eq!(parse_answer(&text, "42"), Ok(json!("42")));
        let flag = Question::new("?").schema(json!({"type": "boolean"}));
        assert_eq!(parse_answer(&flag, "네"), Ok(json!(true)));
        assert!(parse_answer(&flag, "maybe").is_err());
    }

    #[test]
    fn an_approval_has_four_forms_and_an_edit_requires_arguments() {
        let details = json!({
            "call_id": "c", "tool": "send", "effect": "writes", "arguments": {"to": "민수"},
            "sticky": "this_call", "fingerprint": "f",
        });
        let question =
            Question::choose("May `send` run?", ["approve", "reject"]).or_anything().details(details);
        assert!(approval(&question).is_some(), "the shape of an approval request");
        let parse = |line: &str| parse_answer(&question, line);
        assert_eq!(parse("approve"), Ok(json!({"decision": "approve"})));
        assert_eq!(parse("reject 너무 위험"), Ok(json!({"decision": "reject", "reason": "너무 위험"})));
        let edited = json!({"decision": "edit", "arguments": {"to": "ana"}});
        assert_eq!(parse(r#"edit {"to": "ana"}"#), Ok(edited));
        assert_eq!(parse("respond 나중에"), Ok(json!({"decision": "respond", "output": "나중에"})));
        for line in ["", "edit", "edit {", "respond", "maybe"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_or_not_text_is_skipped_entirely() {
        let long = "x".repeat(70_000);
        let mut input = io::Cursor::new(format!("{long}\n다음\n").into_bytes());
        assert!(matches!(read(&mut input), Line::Unusable(_)));
        assert_eq!(read(&mut input), Line::Text("다음".into()));
        assert_eq!(read(&mut input), Line::End);
        assert!(matches!(read(&mut io::Cursor::new(b"\xff\n")), Line::Unusable(_)));
    }
}
