//! Output of commands: texts, JSON, and tables that are aligned for Korean too.

use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
};

use clap::{Arg, ArgAction};
use jiff::Timestamp;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::error::CliError;

/// Prints a text, with a newline if it has none.
pub(super) fn print(text: impl fmt::Display) -> Result<(), CliError> {
    let text = text.to_string();
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush()).map_err(|error| CliError::written(&error))
}

/// Prints a value as formatted JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value);
    print(text.map_err(|error| CliError::new(format!("the output cannot be serialized: {error}")))?)
}

/// `--json`.
pub(super) fn json_arg() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Prints JSON")
}

/// Returns a table.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(UnicodeWidthStr::width);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
            line.push_str(cell);
            if at + 1 < N {
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 2));
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut text = paint(Paint::Faint, &line(head));
    for row in rows {
        text.push('\n');
        text.push_str(&line(std::array::from_fn(|at| row[at].as_str())));
    }
    text
}

/// Style of a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paint {
    Faint,
    Good,
    Bad,
    Strong,
}

/// Applies a style if the output is a terminal and `NO_COLOR` is not set.
pub(super) fn paint(paint: Paint, text: &str) -> String {
    if !io::stdout().is_terminal() || !colours() {
        return text.to_owned();
    }
    let code = match paint {
        Paint::Faint => "2",
        Paint::Good => "32",
        Paint::Bad => "31",
        Paint::Strong => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Returns whether colours are enabled.
pub(super) fn colours() -> bool {
    let variable = |name: &str| env::var_os(name).filter(|text| !text.is_empty());
    variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Formats a time in UTC, with milliseconds.
pub(super) fn time(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M:%S.%3fZ").to_string()
}

/// Returns a text on one line, cut to at most `width` columns.
pub(super) fn short(text: &str, width: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        used += c.width().unwrap_or(0);
        if used > width {
            line.push('…');
            return line;
        }
        line.push(c);
    }
    line
}

/// Formats a size.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_in_korean_too() {
        let rows = [["한국어".to_owned(), "x".to_owned()], ["ab".to_owned(), "y".to_owned()]];
        assert_eq!(table(["name", "v"], &rows), "name    v\n한국어  x\nab      y");
    }

    #[test]
    fn a_text_is_never_cut_inside_a_character() {
        assert_eq!(short("라네즈 리뷰", 6), "라네즈…");
        assert_eq!(short("a\nb", 10), "a b");
    }
}
