//! Joins that do not wait for all of their sources.

use agent_core::{Context, END, Graph, START, ids::Seq};
use tests::{journal, on, soon};

use super::graph::Trail;

/// `fast` takes one superstep, `medium` two, `slow` three; `last` waits for `need` of them.
fn race(need: usize) -> Graph<Trail> {
    let note = async |_: &Trail, cx: &Context| Ok(Trail::update().steps([cx.node().to_owned()]));
    ["fast", "medium-1", "medium", "slow-1", "slow-2", "slow", "last"]
        .into_iter()
        .fold(Graph::<Trail>::builder("race"), |graph, name| graph.node(name, note))
        .edge(START, "fast")
        .path([START, "medium-1", "medium"])
        .path([START, "slow-1", "slow-2", "slow"])
        .quorum(need, ["fast", "medium", "slow"], "last")
        .edge("last", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_quorum_activates_its_target_once_wherever_the_process_dies() {
    for (need, wanted) in [
        (1, ["fast", "medium-1", "slow-1", "medium", "slow-2", "last", "slow"]),
        (2, ["fast", "medium-1", "slow-1", "medium", "slow-2", "slow", "last"]),
        (3, ["fast", "medium-1", "slow-1", "medium", "slow-2", "slow", "last"]),
    ] {
        let inner = journal();
        let graph = race(need);
        let session = on(&inner).build().session("s").unwrap();
        let outcome = session.run(&graph, Trail::update()).await.unwrap();
        assert_eq!(outcome.state().unwrap().steps, wanted, "{need}");
        let last = session.events(Seq::ZERO, 1_000).await.unwrap().last().unwrap().seq.unwrap();
        let later = on(&inner).graph(&graph).build();
        for seq in (1..last.0).map(Seq) {
            let source = later.session("s").unwrap();
            let fork = source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
            let outcome = soon(fork.resume().await.unwrap().outcome::<Trail>()).await.unwrap();
            assert_eq!(outcome.state().unwrap().steps, wanted, "{need} {seq}");
        }
    }
}

#[test]
fn a_quorum_of_all_is_a_join_and_others_are_another_graph() {
    let graph = |need: Option<usize>| {
        let node = async |_: &Trail, _: &Context| Ok(());
        let graph = Graph::<Trail>::builder("g").node("a", node).node("b", node).node("c", node);
        let graph = graph.edge(START, "a").edge(START, "b").edge("c", END);
        match need {
            None => graph.join(["a", "b"], "c").build(),
            Some(need) => graph.quorum(need, ["a", "b"], "c").build(),
        }
    };
    let hash = |need| graph(need).unwrap().hash().to_owned();
    assert_eq!(hash(None), hash(Some(2)));
    assert_ne!(hash(None), hash(Some(1)));
    for wrong in [0, 3] {
        assert!(graph(Some(wrong)).unwrap_err().to_string().contains("quorum"), "{wrong}");
    }
}
