//! Triage: routes each turn to the specialists for decisions, action items and questions.

use agent_core::{
    Context, END, Graph, Result, START, State,
    graph::{BuildError, Route},
    model::ModelRequest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Desk, Meeting, rules};
use crate::record::{ActionItem, Decision, OpenQuestion, Turn};

/// Name of the graph.
pub const NAME: &str = "triage";

/// State of a run: some turns, and what was found in them.
#[derive(State, Debug, Default, Serialize, Deserialize)]
pub struct Triage {
    /// The meeting.
    pub meeting: Meeting,
    /// The turns.
    pub turns: Vec<Turn>,
    /// Turns for each specialist.
    pub routes: Routes,
    /// Decisions that were found.
    pub decisions: Vec<Decision>,
    /// Action items that were found.
    pub action_items: Vec<ActionItem>,
    /// Questions that were found.
    pub questions: Vec<OpenQuestion>,
    /// One line for the dashboard.
    pub response: Option<String>,
}

/// Ids of the turns for each specialist.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Routes {
    /// Turns with a decision that was made.
    pub decisions: Vec<String>,
    /// Turns in which a person takes or gets a task.
    pub action_items: Vec<String>,
    /// Turns with a question that needs an answer.
    pub questions: Vec<String>,
}

/// What a specialist for decisions found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct FoundDecision {
    /// Id of the turn, without brackets.
    item_id: String,
    /// The decision in one sentence, in the language of the meeting.
    text: String,
    /// Name of the person who is responsible; null if none was named.
    owner: Option<String>,
}

/// What a specialist for action items found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct FoundAction {
    /// Id of the turn, without brackets.
    item_id: String,
    /// The task in one sentence, in the language of the meeting.
    text: String,
    /// Name of the person who does it; null if none was named.
    owner: Option<String>,
    /// Due date in the words of the meeting; null if there is none.
    due: Option<String>,
}

impl Triage {
    /// Returns the update that starts a run.
    pub fn begin(meeting: Meeting, turns: Vec<Turn>) -> TriageUpdate {
        Self::update()
            .meeting(meeting)
            .turns(turns.into_iter().map(Turn::without_print).collect::<Vec<_>>())
            .routes(Routes::default())
            .decisions(Vec::new())
            .action_items(Vec::new())
            .questions(Vec::new())
            .response(None)
    }

    fn of(&self, ids: &[String]) -> Vec<&Turn> {
        self.turns.iter().filter(|turn| ids.contains(&turn.item_id)).collect()
    }

    /// Returns the turns as lines for a model.
    fn lines(&self, ids: &[String]) -> String {
        let turns: Vec<Turn> = self.of(ids).into_iter().cloned().collect();
        self.meeting.lines(&turns)
    }
}

/// Builds the graph.
///
/// # Errors
///
/// None that a caller can cause.
pub fn graph() -> std::result::Result<Graph<Triage>, BuildError> {
    Graph::<Triage>::builder(NAME)
        .node("route", route)
        .node("decisions", decisions)
        .node("action_items", action_items)
        .node("questions", questions)
        .node("collect", collect)
        .edge(START, "route")
        .branch("route", specialists, ["decisions", "action_items", "questions", "collect"])
        .join(["decisions", "action_items", "questions"], "collect")
        .edge("collect", END)
        .build()
}

fn specialists(triage: &Triage) -> Route {
    let all = [
        ("decisions", &triage.routes.decisions),
        ("action_items", &triage.routes.action_items),
        ("questions", &triage.routes.questions),
    ];
    let wanted: Vec<&str> =
        all.into_iter().filter(|(_, turns)| !turns.is_empty()).map(|(name, _)| name).collect();
    if wanted.is_empty() { Route::to("collect") } else { Route::to_all(wanted) }
}

/// Prompt of the router.
const ROUTE: &str = include_str!("../../prompts/route.md");
/// Prompt of the specialists.
const DECISIONS: &str = include_str!("../../prompts/decisions.md");
const ACTIONS: &str = include_str!("../../prompts/action_items.md");

async fn route(triage: &Triage, cx: &Context) -> Result<TriageUpdate> {
    let meeting = &triage.meeting;
    let todo = cx.todos().start("route", meeting.say("발언 분류", "Route the turns"))?;
    let ids = |has: &dyn Fn(&Turn) -> bool| {
        triage.turns.iter().filter(|turn| has(turn)).map(|turn| turn.item_id.clone()).collect::<Vec<_>>()
    };
    let by_rules = Routes {
        decisions: ids(&|turn| !rules::decisions(meeting, turn).is_empty()),
        action_items: ids(&|turn| !rules::action_items(meeting, turn).is_empty()),
        questions: ids(&|turn| !rules::questions(meeting, turn).is_empty()),
    };
    let mut routes = by_rules.clone();
    if cx.get::<Desk>()?.model {
        let request = ModelRequest::new(meeting.lines(&triage.turns)).system(ROUTE);
        match cx.model()?.extract::<Routes>(request).await {
            Ok(found) => {
                // What the model names must exist.
                let known = |ids: Vec<String>| {
                    ids.into_iter().filter(|id| triage.turns.iter().any(|turn| turn.item_id == *id)).collect()
                };
                routes = Routes {
                    decisions: known(found.decisions),
                    action_items: known(found.action_items),
                    questions: known(found.questions),
                };
            }
            Err(error) => tracing::warn!(%error, "the model did not route the turns; rules do"),
        }
    }
    let count = routes.decisions.len() + routes.action_items.len() + routes.questions.len();
    todo.done_with(format!("{} → {count}", triage.turns.len()));
    Ok(Triage::update().routes(routes))
}

async fn decisions(triage: &Triage, cx: &Context) -> Result<TriageUpdate> {
    let meeting = &triage.meeting;
    let todo = cx.todos().start("decisions", meeting.say("결정 사항 찾기", "Find decisions"))?;
    let mut found: Vec<Decision> = triage
        .of(&triage.routes.decisions)
        .into_iter()
        .flat_map(|turn| rules::decisions(meeting, turn))
        .collect();
    if cx.get::<Desk>()?.model {
        let request = ModelRequest::new(triage.lines(&triage.routes.decisions)).system(DECISIONS);
        match cx.model()?.extract::<Vec<FoundDecision>>(request).await {
            Ok(said) => {
                let known = said.into_iter().filter(|said| triage.routes.decisions.contains(&said.item_id));
                found = known
                    .map(|said| Decision {
                        text: said.text,
                        owner: said.owner.and_then(|owner| meeting.find(&owner)),
                        item_ids: vec![said.item_id],
                    })
                    .collect();
            }
            Err(error) => tracing::warn!(%error, "the model found no decisions; rules do"),
        }
    }
    todo.done_with(found.len().to_string());
    Ok(Triage::update().decisions(found))
}

async fn action_items(triage: &Triage, cx: &Context) -> Result<TriageUpdate> {
    let meeting = &triage.meeting;
    let todo = cx.todos().start("action_items", meeting.say("할 일 찾기", "Find action items"))?;
    let ids = &triage.routes.action_items;
    let mut found: Vec<ActionItem> =
        triage.of(ids).into_iter().flat_map(|turn| rules::action_items(meeting, turn)).collect();
    if cx.get::<Desk>()?.model {
        let request = ModelRequest::new(triage.lines(ids)).system(ACTIONS);
        match cx.model()?.extract::<Vec<FoundAction>>(request).await {
            Ok(said) => {
                let known = said.into_iter().filter(|said| ids.contains(&said.item_id));
                found = known
                    .map(|said| ActionItem {
                        text: said.text,
                        owner: said.owner.and_then(|owner| meeting.find(&owner)),
                        due: said.due.filter(|due| !due.trim().is_empty()),
                        item_ids: vec![said.item_id],
                    })
                    .collect();
            }
            Err(error) => tracing::warn!(%error, "the model found no action items; rules do"),
        }
    }
    todo.done_with(found.len().to_string());
    Ok(Triage::update().action_items(found))
}

async fn questions(triage: &Triage, cx: &Context) -> Result<TriageUpdate> {
    let meeting = &triage.meeting;
    let todo = cx.todos().start("questions", meeting.say("질문 찾기", "Find questions"))?;
    let turns = triage.of(&triage.routes.questions);
    let mut found: Vec<OpenQuestion> = Vec::new();
    for turn in turns {
        let by_rules = rules::questions(meeting, turn);
        // The model saw a question in a sentence that the rules do not know.
        let whole = OpenQuestion {
            text: turn.text.clone(),
            speaker: turn.speaker.clone(),
            item_ids: vec![turn.item_id.clone()],
        };
        found.extend(if by_rules.is_empty() { vec![whole] } else { by_rules });
    }
    todo.done_with(found.len().to_string());
    Ok(Triage::update().questions(found))
}

async fn collect(triage: &Triage, _: &Context) -> Result<TriageUpdate> {
    let (decisions, actions) = (triage.decisions.len(), triage.action_items.len());
    let response = match triage.meeting.is_korean() {
        true => format!("결정 {decisions}건, 할 일 {actions}건, 질문 {}건", triage.questions.len()),
        false => {
            format!("decisions: {decisions}, action items: {actions}, questions: {}", triage.questions.len())
        }
    };
    Ok(Triage::update().response(response))
}
