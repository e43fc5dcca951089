//! Scanner that finds the end of a JSON value while it arrives, and the calls in it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Keys with which a call can begin. Other JSON is recognized early as not being a call.
const FIRST_KEYS: &[&[u8]] = &[b"name", b"type", b"function", b"arguments", b"parameters", b"id"];

/// Scans a JSON value once, however it is split.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    at: usize,
    depth: u32,
    in_string: bool,
    escaped: bool,
    string_from: usize,
    /// Whether the first string still has to be checked.
    check_first: bool,
}

pub(super) enum Progress {
    More,
    /// The value ends before this byte.
    End(usize),
    /// Not a value, not a call, or too long.
    Broken,
}

impl Scan {
    pub(super) fn new(at: usize, check_first: bool) -> Self {
        Self { at, depth: 0, in_string: false, escaped: false, string_from: 0, check_first }
    }

    pub(super) fn resume(&mut self, text: &[u8], limit: usize) -> Progress {
        while self.at < text.len() {
            if self.at >= limit {
                return Progress::Broken;
            }
            let byte = text[self.at];
            self.at += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        let string = &text[self.string_from..self.at - 1];
                        if std::mem::take(&mut self.check_first) && !FIRST_KEYS.contains(&string) {
                            return Progress::Broken;
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.string_from = self.at;
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Progress::End(self.at);
                    }
                }
                _ => {}
            }
        }
        Progress::More
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallObject<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
    #[serde(rename = "type")]
    _type: Option<Cow<'a, str>>,
    #[serde(rename = "id")]
    _id: Option<Cow<'a, str>>,
}

/// Returns the calls in a JSON value as `(name, arguments)`. Accepts one object or a list of objects.
pub(super) fn calls(json: &str) -> Option<Vec<(String, String)>> {
    if json.starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(json).ok()?;
        let calls: Option<Vec<_>> = list.into_iter().map(|call| call_in(call.get())).collect();
        calls.filter(|calls| !calls.is_empty())
    } else {
        Some(vec![call_in(json)?])
    }
}

fn call_in(json: &str) -> Option<(String, String)> {
    let written: CallObject = serde_json::from_str(json).ok()?;
    let arguments = match (written.arguments, written.parameters, written.function) {
        (Some(arguments), None, None) | (None, Some(arguments), None) => arguments.get(),
        // OpenAI's format.
        (None, None, Some(function)) if written.name.is_none() && function.get().starts_with('{') => {
            return call_in(function.get());
        }
        _ => return None,
    };
    let name = written.name.filter(|name| !name.is_empty())?.into_owned();
    let arguments = if arguments.starts_with('"') {
        // JSON encoded as a string.
        let text: String = serde_json::from_str(arguments).ok()?;
        serde_json::from_str::<&RawValue>(text.trim()).ok()?;
        text.trim().to_owned()
    } else {
        arguments.to_owned()
    };
    arguments.starts_with('{').then_some((name, arguments))
}
