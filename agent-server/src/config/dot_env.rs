//! `.env`: read as python-dotenv reads it.
//!
//! `NAME=value` or `export NAME=value`, with blanks around `=`. An unquoted value ends at ` #` and at the end of the line,
//! and may contain blanks and `$name`. Quoted values may have several lines; `"` has the escapes of C, `'` only `\\'` and
//! `\\\\`. `${NAME}` and `${NAME:-default}` are expanded, from the environment first. A name without `=` has no value.

use std::{
    collections::HashMap,
    env, fs, io,
    path::{Path, PathBuf},
};

/// Maximum size of the file in bytes.
const MOST: u64 = 1024 * 1024;

/// Why a file cannot be read. Contains nothing of the file, which may contain secrets.
#[derive(Debug)]
pub(super) struct DotEnvError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Finds `.env` in the working directory or one of its parents.
pub(super) fn find() -> Option<PathBuf> {
    let folder = env::current_dir().ok()?;
    folder.ancestors().map(|folder| folder.join(".env")).find(|path| path.is_file())
}

/// Reads a file: the names and their values, in order.
///
/// # Errors
///
/// Names the line that cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, DotEnvError> {
    let unreadable = |error: io::Error| DotEnvError { line: 1, message: format!("cannot be read: {error}") };
    if fs::metadata(path).map_err(unreadable)?.len() > MOST {
        return Err(DotEnvError { line: 1, message: format!("has more than {MOST} bytes") });
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let text = str::from_utf8(&bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        DotEnvError { line, message: "is not UTF-8".to_owned() }
    })?;
    let variables = parse(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    Ok(expand(variables, |name| env::var(name).ok()))
}

/// The rest of a file.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Takes bytes from the rest.
    fn advance(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        self.advance(length)
    }

    fn skip_blanks(&mut self) {
        self.take_while(|c| is_space(c) && !is_line_end(c));
    }

    /// Takes the text up to the closing quote; `None` without one.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let (end, _) = end?;
        let text = self.advance(end + 1);
        Some(unescape(&text[1..end], quote))
    }

    /// Takes a name in quotes, which has no escapes; `None` without the closing one.
    fn quoted_name(&mut self) -> Option<String> {
        let (end, _) = self.rest.match_indices('\'').nth(1)?;
        Some(self.advance(end + 1)[1..end].to_owned())
    }

    /// Reads the rest of a line, which may be a comment. `None`: it is something else.
    fn end_of_line(&mut self) -> Option<()> {
        self.skip_blanks();
        if self.rest.starts_with('#') {
            self.take_while(|c| !is_line_end(c));
        }
        (self.rest.is_empty() || self.rest.starts_with(is_line_end)).then_some(())
    }

    /// Reads a line: its name, and its value if it has one.
    fn binding(&mut self) -> Option<Option<(String, Option<String>)>> {
        if self.rest.starts_with('#') {
            return self.end_of_line().map(|()| None);
        }
        if let Some(rest) = self.rest.strip_prefix("export")
            && rest.starts_with(|c: char| is_space(c) && !is_line_end(c))
        {
            self.advance("export".len());
            self.skip_blanks();
            if self.rest.starts_with('#') {
                return self.end_of_line().map(|()| None);
            }
        }
        let name = match self.rest.starts_with('\'') {
            true => self.quoted_name()?,
            false => self.take_while(|c| !matches!(c, '=' | '#') && !is_space(c)).to_owned(),
        };
        if name.is_empty() {
            return None;
        }
        self.skip_blanks();
        if !self.rest.starts_with('=') {
            return self.end_of_line().map(|()| Some((name, None)));
        }
        self.advance(1);
        let before = self.rest;
        self.skip_blanks();
        let blank = self.rest.len() < before.len();
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => without_comment(self.take_while(|c| !is_line_end(c)), blank).to_owned(),
        };
        self.end_of_line().map(|()| Some((name, Some(value))))
    }
}

const fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// Whether Python counts a character as white space: four separators more than Rust.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Returns an unquoted value without the comment that blanks precede. `blank`: whether the value itself follows one.
fn without_comment(value: &str, mut blank: bool) -> &str {
    let comment = value.char_indices().find(|(_, c)| {
        let begins = *c == '#' && blank;
        blank = is_space(*c);
        begins
    });
    value[..comment.map_or(value.len(), |(at, _)| at)].trim_end_matches(is_space)
}

fn unescape(text: &str, quote: char) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match (chars.next(), quote) {
            (Some(c @ ('\\' | '\'')), _) | (Some(c @ '"'), '"') => plain.push(c),
            (Some('a'), '"') => plain.push('\u{7}'),
            (Some('b'), '"') => plain.push('\u{8}'),
            (Some('f'), '"') => plain.push('\u{c}'),
            (Some('n'), '"') => plain.push('\n'),
            (Some('r'), '"') => plain.push('\r'),
            (Some('t'), '"') => plain.push('\t'),
            (Some('v'), '"') => plain.push('\u{b}'),
            (Some(other), _) => plain.extend(['\\', other]),
            (None, _) => plain.push('\\'),
        }
    }
    plain
}

/// The names of a file in order, each with its value if it has one.
fn parse(text: &str) -> Result<Vec<(String, Option<String>)>, DotEnvError> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut variables = Vec::new();
    loop {
        reader.take_while(is_space);
        if reader.rest.is_empty() {
            return Ok(variables);
        }
        let line = reader.line;
        let Some(binding) = reader.binding() else {
            return Err(DotEnvError { line, message: "is not `NAME=value`".to_owned() });
        };
        variables.extend(binding);
    }
}

/// Expands `${NAME}` and `${NAME:-default}` in all values. The last line of a name counts, also if it has no value; a name
/// without a value is expanded to nothing.
fn expand(
    variables: Vec<(String, Option<String>)>,
    environment: impl Fn(&str) -> Option<String>,
) -> Vec<(String, String)> {
    let mut known: HashMap<String, Option<String>> = HashMap::new();
    let mut names = Vec::new();
    for (name, value) in variables {
        let lookup = |name: &str| {
            environment(name).or_else(|| known.get(name).cloned().map(Option::unwrap_or_default))
        };
        let value = value.map(|value| expand_value(&value, lookup));
        if known.insert(name.clone(), value).is_none() {
            names.push(name);
        }
    }
    let last = |name: String| known.remove(&name).flatten().map(|value| (name, value));
    names.into_iter().filter_map(last).collect()
}

fn expand_value(value: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let (mut expanded, mut rest) = (String::with_capacity(value.len()), value);
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let Some((inner, after)) = from[2..].split_once('}') else { break };
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, default),
            None => (inner, ""),
        };
        expanded.push_str(before);
        if name.contains(':') {
            expanded.push_str(&from[..inner.len() + 3]);
        } else {
            expanded.push_str(&lookup(name).unwrap_or_else(|| default.to_owned()));
        }
        rest = after;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        expand(parse(text).unwrap(), |name| (name == "HOME").then(|| "/root".to_owned()))
    }

    #[test]
    fn any_text_is_read_or_refused_by_line() {
        let examples = ["A=b\nexport C='d' # e\nF=\"${A}/g\\n\"\n", "# c\nX = 1 2 # 3\r\nY=${X:-z}\n"];
        ::tests::Mutations::of(10, examples, ["export ", "${", "}", "=", "#", "'", "\"", "\\"]).try_all(
            |input| {
                let Ok(text) = str::from_utf8(input) else { return };
                match parse(text) {
                    Ok(variables) => drop(expand(variables, |_| None)),
                    Err(error) => {
                        assert!(error.line >= 1 && error.line <= 1 + text.lines().count(), "{text:?}")
                    }
                }
            },
        );
    }

    /// The expected values are those of python-dotenv 1.2.4.
    #[test]
    fn a_file_is_read_as_python_dotenv_reads_it() {
        for (text, expected) in [
            ("A=b", "b"),
            ("A = b c  d \r\n", "b c  d"),
            ("export A=b # comment", "b"),
            ("A=b#c", "b#c"),
            ("A=#c", "#c"),
            ("A= # c", ""),
            ("A=1 2 # c # d", "1 2"),
            ("A=a${x:y}b", "a${x:y}b"),
            ("A=it's", "it's"),
            ("A='x # y' # z", "x # y"),
            ("A='x\\'y\\n'", "x'y\\n"),
            (r#"A="x\"y\n\tz\q""#, "x\"y\n\tz\\q"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("A=pa$$word$HOME", "pa$$word$HOME"),
            ("A=${HOME}/x", "/root/x"),
            ("B=1\nA=${B}${NONE}${NONE:-d}", "1d"),
            ("A='${HOME}'", "/root"),
            ("A=${open", "${open"),
            ("# c\n\n  A=1\nA=2", "2"),
            ("'A'=quoted", "quoted"),
            ("NONE\nA=1", "1"),
            ("NONE\nA=${NONE:-d}x", "x"),
            ("A=1\nB=2\nA=", ""),
            ("A=\u{1c}x\u{1f}", "x"),
            ("export # c\nA=1", "1"),
            ("'\\'=2\nA=1", "1"),
            (r#"A="x\\""#, r"x\"),
            ("A=", ""),
            ("A=\u{d55c}\u{ae00} \u{1f33f}", "\u{d55c}\u{ae00} \u{1f33f}"),
        ] {
            let all = values(text);
            let found = all.iter().rev().find(|(name, _)| name == "A").map(|(_, value)| value.as_str());
            assert_eq!(found, Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a_name_whose_last_line_has_no_value_is_not_set() {
        assert_eq!(values("A=1\nA"), []);
    }

    #[test]
    fn the_line_that_cannot_be_read_is_named() {
        for (text, line) in [
            ("A=1\n\nno line\n", 3),
            ("A=\"open\nB=2\n", 1),
            ("A='x' y", 1),
            ("=x", 1),
            ("A=\"1\n2\"\nno line", 3),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
