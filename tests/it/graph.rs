//! Control flow of a run: edges, branches, joins, sends, gotos, subgraphs, and what `build` refuses.

use agent_core::{
    Context, END, Graph, Result, Runtime, START, State,
    graph::{BuildFault, Dispatch, Outcome, Route},
};
use serde::{Deserialize, Serialize};

#[derive(State, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Trail {
    #[state(append)]
    pub(crate) steps: Vec<String>,
    pub(crate) left: bool,
    #[state(add)]
    pub(crate) sum: i64,
}

pub(crate) async fn step(_: &Trail, cx: &Context) -> Result<TrailUpdate> {
    Ok(Trail::update().steps([cx.node().to_owned()]))
}

async fn run(graph: &Graph<Trail>, input: TrailUpdate) -> Vec<String> {
    let runtime = Runtime::builder().build();
    let outcome = runtime.session("s").unwrap().run(graph, input).await.unwrap();
    outcome.state().unwrap().steps.clone()
}

fn diamond() -> Graph<Trail> {
    Graph::builder("diamond")
        .node("sort", step)
        .node("left", step)
        .node("right", step)
        .node("far", step)
        .node("merge", step)
        .edge(START, "sort")
        .branch(
            "sort",
            |s: &Trail| if s.left { vec!["left"] } else { vec!["left", "right"] },
            ["left", "right"],
        )
        .edge("right", "far")
        .join(["left", "far"], "merge")
        .edge("merge", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_join_after_a_branch_runs_once_whichever_path_is_taken() {
    let graph = diamond();
    assert_eq!(run(&graph, Trail::update().left(true)).await, ["sort", "left", "merge"]);
    assert_eq!(run(&graph, Trail::update().left(false)).await, ["sort", "left", "right", "far", "merge"]);
}

#[tokio::test]
async fn sends_are_activations_with_their_own_input_in_order() {
    let graph = Graph::<Trail>::builder("map")
        .node("plan", step)
        .node("work", async |_: &Trail, n: i64, _: &Context| {
            Ok(Trail::update().steps([format!("work {n}")]).sum(n))
        })
        .node("collect", step)
        .edge(START, "plan")
        .branch("plan", |_: &Trail| Route::sends((0..5i64).map(|n| Dispatch::new("work", &n))), ["work"])
        .edge("work", "collect")
        .edge("collect", END)
        .build()
        .unwrap();
    assert_eq!(
        run(&graph, Trail::update()).await,
        ["plan", "work 0", "work 1", "work 2", "work 3", "work 4", "collect"]
    );
}

#[tokio::test]
async fn a_goto_adds_to_the_edges_of_its_siblings() {
    let graph = Graph::<Trail>::builder("goto")
        .node("a", async |_: &Trail, _: &Context| {
            Ok(Outcome::update(Trail::update().steps(["a".to_owned()])).goto("x"))
        })
        .node("b", step)
        .node("x", step)
        .node("y", step)
        .edge(START, "a")
        .edge(START, "b")
        .declare_targets("a", ["x"])
        .edge("b", "y")
        .edge("x", END)
        .edge("y", END)
        .build()
        .unwrap();
    assert_eq!(run(&graph, Trail::update()).await, ["a", "b", "x", "y"]);
}

#[tokio::test]
async fn a_subgraph_runs_in_its_own_state() {
    let inner = Graph::<Trail>::builder("inner")
        .node("one", step)
        .node("two", step)
        .edge(START, "one")
        .edge("one", "two")
        .edge("two", END)
        .build()
        .unwrap();
    let graph = Graph::<Trail>::builder("outer")
        .node("sub", inner.as_node(|_: &Trail| Trail::default(), |t: Trail| Trail::update().steps(t.steps)))
        .node("after", step)
        .edge(START, "sub")
        .edge("sub", "after")
        .edge("after", END)
        .build()
        .unwrap();
    assert_eq!(run(&graph, Trail::update()).await, ["one", "two", "after"]);
}

#[test]
fn every_fault_of_a_graph_is_told_at_once() {
    let error = Graph::<Trail>::builder("bad")
        .node("a", step)
        .node("a", step)
        .node("lost", step)
        .edge(START, "a")
        .edge("a", "stpe")
        .edge("lost", END)
        .build()
        .unwrap_err();
    assert!(error.faults.iter().any(|f| matches!(f, BuildFault::DuplicateNode { .. })), "{error}");
    assert!(error.faults.iter().any(|f| matches!(f, BuildFault::UnknownNode { .. })), "{error}");
    assert!(error.faults.iter().any(|f| matches!(f, BuildFault::Unreachable { .. })), "{error}");
}
