//! Moderator: watches the transcript against the clock, the agenda and the principles.
//!
//! It proposes interventions. Whether one is made is decided where they are recorded: at most one a minute for each kind.

use std::collections::BTreeMap;

use agent_core::{Context, END, Graph, Result, START, State, graph::BuildError, model::ModelRequest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Desk, Meeting, rules};
use crate::{
    principles::Principle,
    record::{Decision, Intervention, InterventionKind, Turn},
    state::MeetingState,
};

/// Name of the graph.
pub const NAME: &str = "moderator";

/// Part of the meeting that is watched for dominance.
const WINDOW_MS: u64 = 5 * 60_000;
/// Speech in the window below which no one dominates.
const DOMINANCE_MS: u64 = 90_000;
/// Share of the speech from which one person dominates.
const DOMINANCE_SHARE: f64 = 0.7;
/// Turns that are shown to the checks.
const TURNS: usize = 12;
/// Turns after a decision in which an owner may still be named.
const OWNER_TURNS: usize = 2;

/// State of a run.
#[derive(State, Debug, Default, Serialize, Deserialize)]
pub struct Moderation {
    /// What is watched.
    pub view: View,
    /// Proposed interventions.
    #[state(append)]
    pub proposals: Vec<Intervention>,
    /// One line for the dashboard.
    pub response: Option<String>,
}

/// What the moderator sees.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct View {
    /// The meeting.
    pub meeting: Meeting,
    /// The latest turns.
    pub turns: Vec<Turn>,
    /// Number of turns among them that are new.
    pub new: usize,
    /// Milliseconds of speech of each speaker in the last minutes.
    pub spoken_ms: BTreeMap<String, u64>,
    /// Minutes since the start, and planned ones.
    pub minutes: u64,
    /// Planned minutes.
    pub planned_minutes: Option<u32>,
    /// Decisions without a person, after which no one was named.
    pub unowned: Vec<Decision>,
    /// Principles: name, title and phrases.
    pub principles: Vec<Rule>,
}

/// A principle, as the moderator uses it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rule {
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// The text, for a model.
    pub content: String,
    /// Phrases that break it.
    pub phrases: Vec<String>,
}

impl View {
    /// Returns the view on a meeting. `elapsed_ms` is the time since its start, `new` the number of turns since the last view.
    #[must_use]
    pub fn of(state: &MeetingState, principles: &[Principle], elapsed_ms: u64, new: usize) -> Self {
        let since = state.last_ms().saturating_sub(WINDOW_MS);
        let mut spoken_ms = BTreeMap::new();
        for turn in state.turns.iter().rev().take_while(|turn| turn.end_ms >= since) {
            if let Some(speaker) = &turn.speaker {
                *spoken_ms.entry(speaker.clone()).or_default() += turn.end_ms.saturating_sub(turn.start_ms);
            }
        }
        let turns = state.turns[state.turns.len().saturating_sub(TURNS.max(new))..].to_vec();
        Self {
            meeting: Meeting::of(state),
            turns,
            new,
            spoken_ms,
            minutes: elapsed_ms / 60_000,
            planned_minutes: state.setup.planned_minutes,
            unowned: unowned(state),
            principles: principles
                .iter()
                .map(|principle| Rule {
                    name: principle.name.clone(),
                    title: principle.title.clone(),
                    content: principle.content.chars().take(2_000).collect(),
                    phrases: principle.phrases(),
                })
                .collect(),
        }
    }

    fn new_turns(&self) -> &[Turn] {
        &self.turns[self.turns.len().saturating_sub(self.new)..]
    }
}

/// Returns the decisions without an owner, for which none was named in the turns after them and no remark was made.
fn unowned(state: &MeetingState) -> Vec<Decision> {
    let place = |id: &str| state.turns.iter().rposition(|turn| turn.item_id == id);
    let open = |decision: &&Decision| {
        let Some(at) = decision.item_ids.first().and_then(|id| place(id)) else { return false };
        let named = state.action_items.iter().any(|action| {
            let after = action.item_ids.first().and_then(|id| place(id));
            action.owner.is_some() && after.is_some_and(|after| (at..=at + OWNER_TURNS).contains(&after))
        });
        let remarked = state.interventions.iter().any(|(_, remark)| {
            remark.kind == InterventionKind::DecisionWithoutOwner
                && remark.item_ids.iter().any(|id| decision.item_ids.contains(id))
        });
        decision.owner.is_none() && !named && !remarked && state.turns.len() > at + OWNER_TURNS
    };
    state.decisions.iter().filter(open).cloned().collect()
}

/// Whether a remark is needed, by a model.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Verdict {
    /// Ids of the turns that cause the remark, without brackets; empty if no remark is needed.
    item_ids: Vec<String>,
    /// One friendly sentence to the participants, in the language of the meeting.
    remark: String,
    /// Name of the principle that was not followed; null for the agenda.
    principle: Option<String>,
}

impl Moderation {
    /// Returns the update that starts a run.
    pub fn begin(view: View) -> ModerationUpdate {
        Self::update().view(view).overwrite_proposals(Vec::new()).response(None)
    }
}

/// Builds the graph.
///
/// # Errors
///
/// None that a caller can cause.
pub fn graph() -> std::result::Result<Graph<Moderation>, BuildError> {
    Graph::<Moderation>::builder(NAME)
        .node("watch", watch)
        .node("time", time)
        .node("balance", balance)
        .node("owners", owners)
        .node("topic", topic)
        .node("principles", principles)
        .node("moderate", moderate)
        .edge(START, "watch")
        .edge("watch", "time")
        .edge("watch", "balance")
        .edge("watch", "owners")
        .edge("watch", "topic")
        .edge("watch", "principles")
        .join(["time", "balance", "owners", "topic", "principles"], "moderate")
        .edge("moderate", END)
        .build()
}

async fn watch(_: &Moderation, _: &Context) -> Result<ModerationUpdate> {
    Ok(Moderation::update())
}

fn propose(intervention: Option<Intervention>) -> ModerationUpdate {
    Moderation::update().proposals(intervention)
}

async fn time(state: &Moderation, _: &Context) -> Result<ModerationUpdate> {
    let view = &state.view;
    let over = view.planned_minutes.filter(|planned| view.minutes >= u64::from(*planned));
    Ok(propose(over.map(|planned| {
        let text = match view.meeting.is_korean() {
            true => format!(
                "예정한 {planned}분이 지났습니다. 남은 안건을 정리하고 다음 회의로 넘길 것을 정해 주세요."
            ),
            false => format!(
                "The planned {planned} minutes are over. Please wrap up and move the rest to another meeting."
            ),
        };
        Intervention { kind: InterventionKind::TimeOver, text, principle: None, item_ids: Vec::new() }
    })))
}

async fn balance(state: &Moderation, _: &Context) -> Result<ModerationUpdate> {
    let view = &state.view;
    let total: u64 = view.spoken_ms.values().sum();
    let most = view.spoken_ms.iter().max_by_key(|(_, spoken)| **spoken);
    let people = view.meeting.participants.len().max(view.spoken_ms.len());
    let dominant = most.filter(|(_, spoken)| {
        people > 1
            && total >= DOMINANCE_MS
            && **spoken as f64 >= DOMINANCE_SHARE * total as f64
            && view.new > 0
    });
    Ok(propose(dominant.map(|(speaker, spoken)| {
        let name = view.meeting.name(Some(speaker));
        let share = spoken * 100 / total;
        let text = match view.meeting.is_korean() {
            true => format!(
                "최근 5분 동안 {name} 님의 발언이 {share}%입니다. 다른 분들의 의견도 들어 보면 좋겠습니다."
            ),
            false => format!(
                "{name} has spoken {share}% of the last five minutes. Let us have the others speak too."
            ),
        };
        let own = view.turns.iter().filter(|turn| turn.speaker.as_ref() == Some(speaker));
        let item_ids = own.map(|turn| turn.item_id.clone()).collect();
        Intervention { kind: InterventionKind::Dominance, text, principle: None, item_ids }
    })))
}

async fn owners(state: &Moderation, _: &Context) -> Result<ModerationUpdate> {
    let view = &state.view;
    Ok(propose(view.unowned.first().map(|decision| {
        let what: String = decision.text.chars().take(60).collect();
        let text = match view.meeting.is_korean() {
            true => format!("결정에 담당자가 없습니다: “{what}” 누가 언제까지 맡을지 정해 주세요."),
            false => format!("This decision has no owner: “{what}” Please name who does it and by when."),
        };
        let item_ids = view.unowned.iter().flat_map(|decision| decision.item_ids.clone()).collect();
        Intervention { kind: InterventionKind::DecisionWithoutOwner, text, principle: None, item_ids }
    })))
}

/// Prompts of the checks by a model.
const TOPIC: &str = include_str!("../../prompts/topic.md");
const PRINCIPLES: &str = include_str!("../../prompts/principles.md");

async fn topic(state: &Moderation, cx: &Context) -> Result<ModerationUpdate> {
    let (view, meeting) = (&state.view, &state.view.meeting);
    if view.new == 0 || meeting.title.trim().is_empty() {
        return Ok(Moderation::update());
    }
    let remark = |text: String, item_ids: Vec<String>| {
        let kind = InterventionKind::OffTopic;
        propose(Some(Intervention { kind, text, principle: None, item_ids }))
    };
    if cx.get::<Desk>()?.model {
        let said = format!("Agenda: {}\n\n{}", meeting.title, meeting.lines(&view.turns));
        match cx.model()?.extract::<Verdict>(ModelRequest::new(said).system(TOPIC)).await {
            Ok(verdict) => {
                let ids = known(view, verdict.item_ids);
                let silent = ids.is_empty() || verdict.remark.trim().is_empty();
                return Ok(if silent { Moderation::update() } else { remark(short(&verdict.remark), ids) });
            }
            Err(error) => tracing::warn!(%error, "the model did not watch the agenda; rules do"),
        }
    }
    let latest = view.turns.iter().rev().take(4);
    let ids: Vec<String> = latest
        .filter(|turn| rules::is_small_talk(&meeting.title, &turn.text))
        .map(|turn| turn.item_id.clone())
        .collect();
    let is_new = view.new_turns().iter().any(|turn| ids.contains(&turn.item_id));
    if ids.len() < 2 || !is_new {
        return Ok(Moderation::update());
    }
    let title = &meeting.title;
    let text = match meeting.is_korean() {
        true => format!("이야기가 안건에서 벗어났습니다. “{title}”로 돌아가면 좋겠습니다."),
        false => format!("The talk has left the agenda. Let us return to “{title}”."),
    };
    Ok(remark(text, ids.into_iter().rev().collect()))
}

async fn principles(state: &Moderation, cx: &Context) -> Result<ModerationUpdate> {
    let (view, meeting) = (&state.view, &state.view.meeting);
    if view.new == 0 || view.principles.is_empty() {
        return Ok(Moderation::update());
    }
    let remark = |text: String, name: String, item_ids: Vec<String>| {
        let kind = InterventionKind::Principle;
        propose(Some(Intervention { kind, text, principle: Some(name), item_ids }))
    };
    if cx.get::<Desk>()?.model {
        let rules: String =
            view.principles.iter().map(|rule| format!("## {}\n{}\n\n", rule.name, rule.content)).collect();
        let said = format!("{rules}# Transcript\n{}", meeting.lines(&view.turns));
        match cx.model()?.extract::<Verdict>(ModelRequest::new(said).system(PRINCIPLES)).await {
            Ok(verdict) => {
                let ids = known(view, verdict.item_ids);
                let name =
                    verdict.principle.filter(|name| view.principles.iter().any(|rule| rule.name == *name));
                return Ok(match name {
                    Some(name) if !ids.is_empty() && !verdict.remark.trim().is_empty() => {
                        remark(short(&verdict.remark), name, ids)
                    }
                    _ => Moderation::update(),
                });
            }
            Err(error) => tracing::warn!(%error, "the model did not watch the principles; rules do"),
        }
    }
    for turn in view.new_turns() {
        let said = turn.text.to_lowercase();
        let broken =
            view.principles.iter().find(|rule| rule.phrases.iter().any(|phrase| said.contains(phrase)));
        if let Some(rule) = broken {
            let text = match meeting.is_korean() {
                true => format!("회의 원칙을 떠올려 주세요: {}", rule.title),
                false => format!("Please remember a principle of this meeting: {}", rule.title),
            };
            return Ok(remark(text, rule.name.clone(), vec![turn.item_id.clone()]));
        }
    }
    Ok(Moderation::update())
}

async fn moderate(state: &Moderation, _: &Context) -> Result<ModerationUpdate> {
    let response = match state.view.meeting.is_korean() {
        true => format!("개입 제안 {}건", state.proposals.len()),
        false => format!("{} proposed interventions", state.proposals.len()),
    };
    Ok(Moderation::update().response(response))
}

/// Keeps the ids of turns that exist and are new enough.
fn known(view: &View, ids: Vec<String>) -> Vec<String> {
    let exists = |id: &String| view.turns.iter().any(|turn| turn.item_id == *id);
    let mut ids: Vec<String> = ids.into_iter().filter(exists).collect();
    if !view.new_turns().iter().any(|turn| ids.contains(&turn.item_id)) {
        ids.clear();
    }
    ids
}

fn short(text: &str) -> String {
    crate::limits::cut(text.trim(), 300).to_owned()
}
