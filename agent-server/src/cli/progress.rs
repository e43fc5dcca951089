//! Progress of a run on stderr: bars on a terminal, otherwise one line per change.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
};

use agent_core::{
    Event,
    event::EventBody,
    todo::{Todo, TodoStatus},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use unicode_width::UnicodeWidthStr;

use super::output::{colours, short};

/// Width of a title in columns.
const TITLE: usize = 34;

/// Progress of a run.
pub(super) struct Progress {
    /// `None`: stderr is not a terminal.
    bars: Option<MultiProgress>,
    of: HashMap<String, ProgressBar>,
    /// The latest line of each todo, so that no line is printed twice.
    printed: HashMap<String, String>,
    depth: HashMap<String, usize>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bars = (io::stderr().is_terminal() && colours()).then(MultiProgress::new);
        Self { bars, of: HashMap::new(), printed: HashMap::new(), depth: HashMap::new() }
    }

    /// Shows an event.
    pub(super) fn show(&mut self, event: &Event) {
        match &event.body {
            EventBody::TodoUpdated(update) => self.todo(&update.todo),
            EventBody::NodeFailed(failed) => {
                let then = match failed.retry_in_ms {
                    Some(ms) => format!("; retry in {:.1} s", ms as f64 / 1_000.0),
                    None => String::new(),
                };
                self.line(&format!("  ! node `{}` failed: {}{then}", failed.node, failed.message));
            }
            EventBody::ToolCalled(call) => {
                self.line(&format!("  * {} {}", call.name, short(&call.arguments.to_string(), 60)));
            }
            EventBody::RunQueued(_) => self.line("  queued"),
            _ => {}
        }
    }

    fn todo(&mut self, todo: &Todo) {
        let depth =
            todo.parent.as_ref().and_then(|parent| self.depth.get(parent)).map_or(0, |depth| depth + 1);
        self.depth.insert(todo.id.clone(), depth);
        let mark = match todo.status {
            TodoStatus::Pending => '·',
            TodoStatus::InProgress => '▸',
            TodoStatus::Completed => '✓',
            TodoStatus::Failed => '✗',
            TodoStatus::Cancelled => '–',
        };
        let title = short(&format!("{}{mark} {}", "  ".repeat(depth), todo.title), TITLE);
        let pad = " ".repeat(TITLE.saturating_sub(title.width()));
        let line = format!("  {title}{pad} {:>3}% {}", todo.progress, short(&todo.message, 60));
        self.printed.insert(todo.id.clone(), line.trim_end().to_owned());
        let Some(bars) = &self.bars else {
            self.line(&line);
            return;
        };
        let bar = self.of.entry(todo.id.clone()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(100));
            let style = ProgressStyle::with_template("  {prefix} {bar:20} {pos:>3}% {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        bar.set_prefix(format!("{title}{pad}"));
        bar.set_message(short(&todo.message, 200));
        bar.set_position(u64::from(todo.progress));
    }

    /// A line above the bars.
    pub(super) fn line(&self, line: &str) {
        match &self.bars {
            // A failed write to the terminal must not end the run.
            Some(bars) => bars.println(line).unwrap_or_default(),
            None => writeln!(io::stderr().lock(), "{}", line.trim_end()).unwrap_or_default(),
        }
    }

    /// Stops updating the bars, so that a question can be printed below them.
    pub(super) fn rest(&mut self) {
        if self.bars.is_none() {
            return;
        }
        for (_, bar) in self.of.drain() {
            bar.abandon();
        }
        self.bars = Some(MultiProgress::new());
    }
}
