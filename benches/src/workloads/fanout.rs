//! `fanout_edges_N`, `fanout_send_N`, `fanout_sub_N`: one superstep of N tasks.

use std::sync::Arc;

use agent_core::{
    Context, END, Graph, Result as NodeResult, START, State,
    graph::{BuildError, Dispatch, Route},
};
use serde::{Deserialize, Serialize};

use super::{Result, Times, case::Case, measure::Report, sequential::runs};

#[derive(State, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Items {
    #[state(append)]
    pub(crate) items: Vec<usize>,
}

async fn nothing(_: &Items, _: &Context) -> NodeResult<()> {
    Ok(())
}

/// source → N workers → join → END, by edges.
pub(crate) fn edges(count: usize) -> Result<Graph<Items>, BuildError> {
    let mut builder = Graph::builder("fanout_edges").node("source", nothing).edge(START, "source");
    for at in 0..count {
        builder = builder
            .node(format!("w{at}"), async move |_: &Items, _: &Context| Ok(Items::update().items([at])))
            .edge("source", format!("w{at}"));
    }
    builder
        .node("join", nothing)
        .join((0..count).map(|at| format!("w{at}")), "join")
        .edge("join", END)
        .build()
}

/// source → N sends to one worker → join → END.
pub(crate) fn sends(count: usize) -> Result<Graph<Items>, BuildError> {
    Graph::builder("fanout_send")
        .node("source", nothing)
        .node("worker", async |_: &Items, at: usize, _: &Context| Ok(Items::update().items([at])))
        .node("join", nothing)
        .edge(START, "source")
        .branch(
            "source",
            move |_: &Items| Route::sends((0..count).map(|at| Dispatch::new("worker", &at))),
            ["worker"],
        )
        .edge("worker", "join")
        .edge("join", END)
        .build()
}

/// The input is a list of letters; from the first node on it is a text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Subject {
    Letters(Vec<String>),
    Text(String),
}

impl Default for Subject {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Joke {
    subject: Subject,
    jokes: Vec<String>,
}

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Show {
    subjects: Arc<Vec<Vec<String>>>,
    #[state(append)]
    jokes: Vec<String>,
}

fn joke() -> Result<Graph<Joke>, BuildError> {
    let reported = |joke: &Joke| joke.jokes.first().is_some_and(|joke| joke.ends_with(&" a".repeat(10)));
    Graph::builder("joke")
        .node("edit", async |joke: &Joke, _: &Context| {
            let text = match &joke.subject {
                Subject::Letters(letters) => format!("{letters:?} - hohoho"),
                Subject::Text(text) => format!("{text} - hohoho"),
            };
            Ok(Joke::update().subject(Subject::Text(text)))
        })
        .node("generate", async |joke: &Joke, _: &Context| {
            let text = match &joke.subject {
                Subject::Text(text) => text.clone(),
                Subject::Letters(letters) => format!("{letters:?}"),
            };
            Ok(Joke::update().jokes([format!("Joke about {text}")]))
        })
        .node("bump", async |joke: &Joke, _: &Context| {
            let joke = joke.jokes.first().map_or("", String::as_str);
            Ok(Joke::update().jokes([format!("{joke} a")]))
        })
        .edge(START, "edit")
        .edge("edit", "generate")
        .edge("generate", "bump")
        .branch("bump", move |joke: &Joke| if reported(joke) { END } else { "bump" }, ["bump", END])
        .build()
}

fn subgraphs() -> Result<Graph<Show>, BuildError> {
    let with = |subject: Vec<String>| Joke { subject: Subject::Letters(subject), ..Joke::default() };
    Graph::builder("fanout_sub")
        .node(
            "sub",
            joke()?.as_node_with_input(
                move |_: &Show, subject: Vec<String>| with(subject),
                |joke: Joke| Show::update().jokes(joke.jokes),
            ),
        )
        .branch(
            START,
            |show: &Show| Route::sends(show.subjects.iter().map(|subject| Dispatch::new("sub", subject))),
            ["sub"],
        )
        .edge("sub", END)
        .build()
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    if let Some(count) = case.number("fanout_sub_") {
        let subjects: Arc<Vec<Vec<String>>> = Arc::new(
            (0..count).map(|_| (0..1_000).map(|_| fastrand::lowercase().to_string()).collect()).collect(),
        );
        let n = count as u64;
        let input = move || Show::update().subjects(Arc::clone(&subjects));
        let right = move |show: &Show| {
            show.jokes.len() == count
                && show.jokes.iter().all(|joke| joke.ends_with("hohoho a a a a a a a a a a"))
        };
        let counts = [1, n, 12 + 1];
        return Some(
            subgraphs()
                .map_err(Into::into)
                .and_then(|graph| runs(case, times, None, graph, counts, input, right)),
        );
    }
    let (count, graph) = match (case.number("fanout_edges_"), case.number("fanout_send_")) {
        (Some(count), _) => (count, edges(count)),
        (_, Some(count)) => (count, sends(count)),
        _ => return None,
    };
    let right = move |state: &Items| state.items.iter().copied().eq(0..count);
    let counts = [3, count as u64 + 2, 3];
    Some(
        graph
            .map_err(Into::into)
            .and_then(|graph| runs(case, times, None, graph, counts, Items::update, right)),
    )
}
