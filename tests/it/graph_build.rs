//! What a graph reports before it runs: every build fault, its drawing, its hash.

use agent_core::{
    Context, END, Graph, START, State,
    graph::{BuildFault as Fault, EdgeKind, GraphBuilder, NodeKind},
};
use serde::{Deserialize, Serialize};

use super::graph::{Trail, step};

fn faults(
    build: impl FnOnce(agent_core::graph::GraphBuilder<Trail>) -> agent_core::graph::GraphBuilder<Trail>,
) -> Vec<Fault> {
    let base = Graph::<Trail>::builder("g").node("a", step).edge(START, "a").edge("a", END);
    build(base).build().map(|_| ()).map_or_else(|error| error.faults, |()| Vec::new())
}

macro_rules! finds {
    ($fault:pat, $build:expr) => {
        let found = faults($build);
        assert!(found.iter().any(|fault| matches!(fault, $fault)), "{}: {found:?}", stringify!($fault));
    };
}

#[test]
fn every_kind_of_fault_is_found_at_build() {
    assert!(faults(|b| b).is_empty());
    finds!(Fault::UnknownNode { nearest: Some(_), .. }, |b| b
        .node("write", step)
        .edge("a", "wirte")
        .edge("write", END));
    finds!(Fault::DuplicateNode { .. }, |b| b.node("a", step));
    finds!(Fault::DuplicateEdge { .. }, |b| b.edge("a", END));
    finds!(Fault::IllegalName { .. }, |b| b.node("x/y", step));
    finds!(Fault::IllegalName { .. }, |b| b.node("", step));
    finds!(Fault::WrongWay { .. }, |b| b.edge("a", START));
    finds!(Fault::WrongWay { .. }, |b| b.edge(END, "a"));
    finds!(Fault::Unreachable { .. }, |b| b.node("lost", step).edge("lost", END));
    finds!(Fault::NoWayOut { .. }, |b| b.node("sink", step).edge("a", "sink"));
    finds!(Fault::NoWayToEnd { .. }, |b| b
        .node("x", step)
        .node("y", step)
        .edge("a", "x")
        .edge("x", "y")
        .edge("y", "x"));
    finds!(Fault::JoinCannotFill { .. }, |b| {
        b.node("x", step).node("y", step).join(["a", "y"], "x").edge("x", "y").edge("y", END)
    });
    finds!(Fault::BadJoin { .. }, |b| b.join(["a", "a"], END));
    finds!(Fault::BadJoin { .. }, |b| b.join(Vec::<String>::new(), END));
    finds!(Fault::NoTargets { .. }, |b| b.branch("a", |_: &Trail| END, Vec::<String>::new()));
    finds!(Fault::NoTargets { .. }, |b| b.declare_targets("a", Vec::<String>::new()));
    finds!(Fault::NeedsInput { .. }, |b| {
        b.node("in", async |_: &Trail, _: i64, _: &Context| Ok(())).edge("a", "in").edge("in", END)
    });
    let unset = Graph::<Trail>::builder("g").node("a", step).edge("a", END).build().unwrap_err();
    assert!(unset.faults.iter().any(|fault| matches!(fault, Fault::NoStart)), "{unset}");
}

#[test]
fn a_graph_without_a_start_is_told_its_other_faults_too() {
    let error = Graph::<Trail>::builder("g")
        .node("a", step)
        .node("b", step)
        .node("sink", step)
        .node("x", step)
        .node("y", step)
        .node("z", step)
        .node("joined", step)
        .edge("a", "b")
        .edge("b", END)
        .edge("b", "x")
        .edge("a", "sink")
        .edge("x", "y")
        .edge("y", "x")
        .join(["a", "z"], "joined")
        .edge("joined", "z")
        .edge("z", END)
        .build()
        .unwrap_err();
    let is = |wanted: &dyn Fn(&Fault) -> bool| error.faults.iter().any(wanted);
    assert!(is(&|fault| matches!(fault, Fault::NoStart)), "{error}");
    assert!(is(&|fault| matches!(fault, Fault::NoWayOut { name } if name == "sink")), "{error}");
    for lost in ["x", "y"] {
        assert!(is(&|fault| matches!(fault, Fault::NoWayToEnd { name } if name == lost)), "{error}");
    }
    assert!(is(&|fault| matches!(fault, Fault::JoinCannotFill { missing, .. } if missing == "z")), "{error}");
    assert!(!is(&|fault| matches!(fault, Fault::Unreachable { .. })), "the missing start says that: {error}");
    let typo = Graph::<Trail>::builder("g").node("a", step).edge(START, "b").build().unwrap_err();
    assert!(typo.faults.iter().any(|fault| matches!(fault, Fault::NoWayOut { .. })), "{typo}");
}

fn drawn(name: &str, order: bool) -> Graph<Trail> {
    let inner =
        Graph::<Trail>::builder("inner").node("안", step).edge(START, "안").edge("안", END).build().unwrap();
    let mut builder = Graph::<Trail>::builder(name)
        .node("분석 \"하나\"", step)
        .node("sub", inner.as_node(|_: &Trail| Trail::default(), |_: Trail| ()))
        .node("end", step);
    builder = if order {
        builder.edge(START, "분석 \"하나\"").edge("분석 \"하나\"", "sub")
    } else {
        builder.edge("분석 \"하나\"", "sub").edge(START, "분석 \"하나\"")
    };
    builder.join(["분석 \"하나\"", "sub"], "end").branch("end", |_: &Trail| END, [END]).build().unwrap()
}

#[test]
fn a_drawing_has_every_node_and_subgraph_under_its_name() {
    let graph = drawn("그림", true);
    let (mermaid, dot) = (graph.to_mermaid(), graph.to_dot());
    for text in [&mermaid, &dot] {
        for name in ["분석 '하나'", "안", "sub", "end"] {
            assert!(text.contains(&format!("\"{name}\"")), "{name}: {text}");
        }
    }
    assert!(mermaid.starts_with("flowchart TD\n") && mermaid.contains("subgraph n1"), "{mermaid}");
    assert!(mermaid.contains("n0 ==> n2") && mermaid.contains("n2 -.-> stop"), "{mermaid}");
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
    assert!(dot.starts_with("digraph \"그림\"") && dot.contains("subgraph cluster_n1"), "{dot}");
}

/// A state that can be copied, for dataflow mode.
#[derive(State, Default, Clone, Serialize, Deserialize)]
struct Copied {}

fn flow(name: &str) -> GraphBuilder<Copied> {
    let pass = async |_: &Copied, _: &Context| Ok(());
    Graph::<Copied>::builder(name).node("check", pass).path([START, "check", END]).dataflow()
}

/// The first of two continues, beside a subgraph in dataflow mode that may be left for `rescue`.
fn detailed() -> Graph<Trail> {
    let inner = flow("inner").declare_parent_targets("check", ["rescue", END]).build().unwrap();
    Graph::<Trail>::builder("detailed")
        .node("cache", step)
        .node("search", inner.as_node(|_: &Trail| Copied {}, |_: Copied| ()))
        .node("rescue", step)
        .node("answer", step)
        .node("report", step)
        .edge(START, "cache")
        .edge(START, "search")
        .quorum(1, ["cache", "search"], "answer")
        .quorum(2, ["answer", "rescue"], "report")
        .edge("report", END)
        .build()
        .unwrap()
}

#[test]
fn a_description_names_quorums_dataflow_mode_and_targets_in_the_parent() {
    let graph = detailed();
    let description = graph.description();
    let edge = |from: &str, to: &str, kind: EdgeKind| {
        let found = description.edges.iter().find(|e| e.from == from && e.to == to && e.kind == kind);
        found.unwrap_or_else(|| panic!("{from} -> {to}: {:?}", description.edges)).clone()
    };
    for source in ["cache", "search"] {
        let quorum = edge(source, "answer", EdgeKind::Join).quorum.unwrap();
        assert_eq!((quorum.need, quorum.of), (1, 2));
    }
    assert_eq!(edge("answer", "report", EdgeKind::Join).quorum, None, "it waits for all");
    assert_eq!(description.nodes.iter().find(|node| node.id == "answer").unwrap().kind, NodeKind::Join);
    let leaves = edge("search/check", "search/__end__", EdgeKind::Goto);
    assert_eq!(leaves.parent_targets, ["rescue", END]);
    assert!(edge("search", "rescue", EdgeKind::Goto).parent_targets.is_empty());
    let dataflow: Vec<_> = description.nodes.iter().filter(|node| node.dataflow).map(|n| &n.id).collect();
    assert_eq!(dataflow, ["search"]);
    assert!(!description.dataflow);
    assert!(flow("g").build().unwrap().description().dataflow);
    // What does not use it is described as before.
    let plain = serde_json::to_value(drawn("g", true).description()).unwrap().to_string();
    assert!(!plain.contains("dataflow") && !plain.contains("quorum"), "{plain}");
    assert!(!plain.contains("parent_targets"), "{plain}");
}

#[test]
fn a_drawing_names_quorums_dataflow_mode_and_targets_in_the_parent() {
    let graph = detailed();
    let (mermaid, dot) = (graph.to_mermaid(), graph.to_dot());
    assert_eq!(mermaid.matches("==>|\"first 1 of 2\"|").count(), 2, "{mermaid}");
    assert_eq!(dot.matches("[style=bold, label=\"first 1 of 2\"]").count(), 2, "{dot}");
    assert!(dot.contains("[style=bold];"), "{dot}");
    for text in [&mermaid, &dot] {
        assert!(text.contains("\"search (dataflow)\""), "{text}");
        assert!(text.contains("\"goto parent: rescue, __end__\""), "{text}");
    }
    let flow = flow("g").build().unwrap();
    assert!(flow.to_mermaid().starts_with("flowchart TD\n  %% dataflow"), "{}", flow.to_mermaid());
    assert!(flow.to_dot().contains("label=\"dataflow\";"), "{}", flow.to_dot());
}

#[test]
fn a_hash_changes_with_the_shape_only_and_stays_the_same_over_time() {
    assert_eq!(drawn("a", true).hash(), drawn("a", false).hash(), "the order of adding ways is no shape");
    let plain = |node: &'static str| {
        Graph::<Trail>::builder("g").node(node, step).edge(START, node).edge(node, END).build().unwrap()
    };
    assert_ne!(plain("a").hash(), plain("b").hash());
    assert_eq!(plain("a").hash(), plain("a").hash());
    assert_eq!(plain("a").hash(), HASH);
}

/// Stored with every run: it must not change with a release.
const HASH: &str = "ae8433200dea80f1";
