//! The meeting as a Markdown file.
//!
//! The transcript is the last section, so that a running meeting only appends to its file.
//!
//! Pure: no await, clock, lock or I/O.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::{
    record::{ActionItem, Decision, Turn},
    state::MeetingState,
};

/// Headings and words of a file.
struct Words {
    untitled: &'static str,
    participants: &'static str,
    summary: &'static str,
    decisions: &'static str,
    actions: &'static str,
    questions: &'static str,
    interventions: &'static str,
    transcript: &'static str,
    none: &'static str,
    owner: &'static str,
    no_owner: &'static str,
    due: &'static str,
}

const KOREAN: Words = Words {
    untitled: "제목 없는 회의",
    participants: "참석자",
    summary: "요약",
    decisions: "결정 사항",
    actions: "할 일",
    questions: "남은 질문",
    interventions: "진행자 개입",
    transcript: "대화록",
    none: "없음",
    owner: "담당",
    no_owner: "담당자 미정",
    due: "기한",
};

const ENGLISH: Words = Words {
    untitled: "Untitled meeting",
    participants: "Participants",
    summary: "Summary",
    decisions: "Decisions",
    actions: "Action items",
    questions: "Open questions",
    interventions: "Interventions",
    transcript: "Transcript",
    none: "None",
    owner: "owner",
    no_owner: "no owner yet",
    due: "due",
};

fn words(state: &MeetingState) -> &'static Words {
    if state.is_korean() { &KOREAN } else { &ENGLISH }
}

/// Returns `mm:ss`, or `h:mm:ss` from one hour.
#[must_use]
pub fn clock(ms: u64) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

/// Returns a time as ISO 8601.
#[must_use]
pub fn iso(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// Returns a text as one line that cannot be read as HTML or as a heading.
fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('&', "&amp;").replace('<', "&lt;")
}

/// Returns a text as a YAML string.
fn yaml(text: &str) -> String {
    // Every JSON string is a YAML string.
    serde_json::Value::from(text).to_string()
}

/// Returns the line of a turn in the transcript.
#[must_use]
pub fn turn_line(state: &MeetingState, turn: &Turn) -> String {
    let name = line(&state.name(turn.speaker.as_deref()));
    format!("- [{}] **{name}**: {}\n", clock(turn.start_ms), line(&turn.text))
}

fn decision_line(state: &MeetingState, decision: &Decision) -> String {
    let words = words(state);
    match &decision.owner {
        Some(owner) => {
            format!("- {} ({}: {})\n", line(&decision.text), words.owner, line(&state.name(Some(owner))))
        }
        None => format!("- {} ({})\n", line(&decision.text), words.no_owner),
    }
}

fn action_line(state: &MeetingState, action: &ActionItem) -> String {
    let words = words(state);
    let owner = match &action.owner {
        Some(owner) => format!("{}: {}", words.owner, line(&state.name(Some(owner)))),
        None => words.no_owner.to_owned(),
    };
    let due = action.due.as_ref().map(|due| format!(", {}: {}", words.due, line(due))).unwrap_or_default();
    format!("- [ ] {} ({owner}{due})\n", line(&action.text))
}

/// Returns decisions, action items and questions as sections.
fn findings(state: &MeetingState, text: &mut String) {
    let words = words(state);
    let mut section = |heading: &str, lines: Vec<String>| {
        let body = if lines.is_empty() { format!("{}\n", words.none) } else { lines.concat() };
        let _written = write!(text, "## {heading}\n\n{body}\n");
    };
    section(words.decisions, state.decisions.iter().map(|decision| decision_line(state, decision)).collect());
    section(words.actions, state.action_items.iter().map(|action| action_line(state, action)).collect());
    if !state.questions.is_empty() {
        let lines = state.questions.iter().map(|question| format!("- {}\n", line(&question.text)));
        section(words.questions, lines.collect());
    }
}

/// Returns the minutes: summary, decisions and action items.
#[must_use]
pub fn minutes(state: &MeetingState, summary: &str) -> String {
    let words = words(state);
    let mut text = format!("# {}\n\n", line(title(state)));
    let _written = write!(text, "## {}\n\n{}\n\n", words.summary, summary.trim());
    findings(state, &mut text);
    text.trim_end().to_owned() + "\n"
}

fn title(state: &MeetingState) -> &str {
    if state.setup.title.trim().is_empty() { words(state).untitled } else { &state.setup.title }
}

/// Returns the whole file.
#[must_use]
pub fn render(meeting_id: &str, state: &MeetingState) -> String {
    let words = words(state);
    let mut text = String::with_capacity(1_024 + state.turns.len() * 96);
    let mut front = |key: &str, value: String| {
        let _written = writeln!(text, "{key}: {value}");
    };
    front("---\nmeeting_id", yaml(meeting_id));
    front("title", yaml(title(state)));
    front("status", state.phase.name().to_owned());
    front("started_at", iso(state.started_at));
    if let Some(ended) = state.ended_at {
        front("ended_at", iso(ended));
        front("duration_minutes", (((ended - state.started_at).max(0) + 30_000) / 60_000).to_string());
    }
    front("language", yaml(&state.setup.language));
    if let Some(minutes) = state.setup.planned_minutes {
        front("planned_minutes", minutes.to_string());
    }
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let people = &state.setup.participants;
    front("participants", list(people.iter().map(|person| yaml(&person.id)).collect()));
    front("principles", list(state.setup.principles.iter().map(|name| yaml(name)).collect()));
    let _written = write!(text, "---\n\n# {}\n\n## {}\n\n", line(title(state)), words.participants);
    if people.is_empty() {
        let _written = writeln!(text, "{}", words.none);
    }
    for person in people {
        let _written = writeln!(text, "- {} (`{}`)", line(&person.name), line(&person.id).replace('`', "'"));
    }
    text.push('\n');
    if let Some(summary) = &state.summary {
        let _written = write!(text, "## {}\n\n{}\n\n", words.summary, summary.trim());
    }
    findings(state, &mut text);
    if !state.interventions.is_empty() {
        let _written = write!(text, "## {}\n\n", words.interventions);
        for (at, intervention) in &state.interventions {
            let at = u64::try_from(at - state.started_at).unwrap_or(0);
            let _written = writeln!(text, "- [{}] {}", clock(at), line(&intervention.text));
        }
        text.push('\n');
    }
    let _written = write!(text, "## {}\n\n", words.transcript);
    for turn in &state.turns {
        text.push_str(&turn_line(state, turn));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Participant, Record, Setup, SpeakerSource};

    #[test]
    fn a_file_has_front_matter_sections_and_a_transcript_that_only_grows() {
        let setup = Setup {
            title: "제품 \"출시\": <b>".to_owned(),
            participants: vec![Participant { id: "jimin".into(), name: "지민".into() }],
            planned_minutes: Some(30),
            ..Setup::default()
        };
        let mut state = MeetingState::of(&[Record::Started { at: 1_000, setup }]);
        let before = render("m1", &state);
        assert!(
            before
                .starts_with("---\nmeeting_id: \"m1\"\ntitle: \"제품 \\\"출시\\\": <b>\"\nstatus: running\n")
        );
        assert!(before.contains("# 제품 \"출시\": &lt;b>\n"), "{before}");
        let turn = Turn {
            item_id: "a".into(),
            speaker: Some("jimin".into()),
            confidence: 1.0,
            text: "시작\n# 하죠 🙂 مرحبا".into(),
            start_ms: 3_661_000,
            end_ms: 3_662_000,
            source: SpeakerSource::Declared,
            voice: None,
            print: None,
        };
        state.apply(&Record::Said(turn.clone()));
        assert_eq!(turn_line(&state, &turn), "- [1:01:01] **지민**: 시작 # 하죠 🙂 مرحبا\n");
        assert_eq!(render("m1", &state), before + &turn_line(&state, &turn));
    }
}
