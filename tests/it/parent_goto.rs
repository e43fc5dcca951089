//! Targets in the parent graph: a node of a subgraph ends it and selects what runs next around it.

use agent_core::{
    Context, END, Graph, NodeError, Result, Runtime, START, SessionError,
    graph::{BuildFault, Outcome},
    ids::Seq,
};
use tests::{Dying, facts, journal, on, soon};

use super::graph::{Trail, TrailUpdate, step};

/// Two of three tasks of one superstep select targets in the parent; `later` is never due.
fn inner() -> Graph<Trail> {
    let pick = |target: &'static str| {
        async move |_: &Trail, cx: &Context| -> Result<Outcome<Trail>> {
            cx.step("look", async { Ok::<_, NodeError>(()) }).await?;
            Ok(Outcome::update(Trail::update().steps([cx.node().to_owned()])).goto_parent(target))
        }
    };
    Graph::<Trail>::builder("inner")
        .node("open", step)
        .node("first", pick("right"))
        .node("second", pick("left"))
        .node("third", step)
        .node("later", step)
        .path([START, "open", "first", "later"])
        .path(["open", "second", "later"])
        .path(["open", "third", "later", END])
        .declare_parent_targets("first", ["right", "other"])
        .declare_parent_targets("second", ["left", "right"])
        .build()
        .unwrap()
}

fn outer() -> Graph<Trail> {
    Graph::<Trail>::builder("outer")
        .node(
            "inner",
            inner().as_node(|_: &Trail| Trail::default(), |inner: Trail| Trail::update().steps(inner.steps)),
        )
        .node("beside", step)
        .node("always", step)
        .node("left", step)
        .node("right", step)
        .node("other", step)
        .node("last", step)
        .path([START, "inner", "always", "last"])
        .path([START, "beside", "last"])
        .path(["left", "last"])
        .path(["right", "last", END])
        .edge("other", END)
        .build()
        .unwrap()
}

const STEPS: [&str; 9] = ["open", "first", "second", "third", "beside", "always", "right", "left", "last"];

#[tokio::test]
async fn a_subgraph_ends_with_its_superstep_and_the_selected_nodes_of_the_parent_run() {
    let outcome = Runtime::builder().build().session("s").unwrap().run(&outer(), Trail::update()).await;
    let steps = outcome.unwrap().state().unwrap().steps.clone();
    assert_eq!(steps[..STEPS.len()], STEPS, "{steps:?}");
    assert_eq!(steps[STEPS.len()..], ["last"], "`last` runs again behind the selected nodes");
}

#[tokio::test]
async fn the_selected_targets_are_kept_wherever_the_process_dies() {
    let graph = outer();
    let whole = {
        let inner = journal();
        let session = on(&inner).build().session("s").unwrap();
        session.run(&graph, Trail::update()).await.unwrap();
        let last = session.events(Seq::ZERO, 1_000).await.unwrap().last().unwrap().seq.unwrap();
        // At every entry: the process died when this was the last one.
        let later = on(&inner).graph(&graph).build();
        for seq in (1..last.0).map(Seq) {
            let source = later.session("s").unwrap();
            let fork = source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
            let outcome = soon(fork.resume().await.unwrap().outcome::<Trail>()).await.unwrap();
            assert_eq!(outcome.state().unwrap().steps[..STEPS.len()], STEPS, "{seq}");
        }
        facts(&session).await.len()
    };
    // At every append of a store that is slower than the run.
    for (appends, slow) in (1..whole as u64).flat_map(|appends| [(appends, false), (appends, true)]) {
        let inner = journal();
        let dying = Runtime::builder().journal(Dying::at(&inner, appends, slow)).build();
        let ended = soon(dying.session("s").unwrap().run(&graph, Trail::update())).await;
        let runtime = on(&inner).graph(&graph).build();
        let session = runtime.session("s").unwrap();
        match (ended, session.status().await) {
            (Ok(_), Ok(_)) => {}
            (_, Err(SessionError::NotFound { .. })) => continue,
            (_, status) => {
                status.unwrap();
                runtime.recover().await.unwrap();
                soon(session.wait_status()).await.unwrap();
            }
        }
        let state = session.state::<Trail>().await.unwrap();
        assert_eq!(state.steps[..STEPS.len()], STEPS, "{appends} {slow}");
        assert_eq!(state.steps.len(), STEPS.len() + 1, "{appends} {slow}");
    }
}

fn picks(target: &'static str) -> Graph<Trail> {
    Graph::<Trail>::builder("picks")
        .node("pick", async move |_: &Trail, _: &Context| Ok(Outcome::<Trail>::empty().goto_parent(target)))
        .edge(START, "pick")
        .declare_parent_targets("pick", ["known"])
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_target_that_is_not_declared_or_has_no_parent_fails_the_run_by_name() {
    let around = |inner: &Graph<Trail>| {
        Graph::<Trail>::builder("around")
            .node("inner", inner.as_node(|_: &Trail| Trail::default(), |_: Trail| ()))
            .node("known", step)
            .node("secret", step)
            .path([START, "inner"])
            .path([START, "secret", END])
            .edge("known", END)
            .build()
            .unwrap()
    };
    let run = async |graph: &Graph<Trail>| {
        Runtime::builder().build().session("s").unwrap().run(graph, Trail::update()).await
    };
    let known = run(&around(&picks("known"))).await.unwrap();
    assert_eq!(known.state().unwrap().steps, ["secret", "known"]);
    for (graph, words) in [
        (around(&picks("secret")), "`pick` selected `secret`, which it does not declare; declared: known"),
        (picks("known"), "`pick` selected `known` of the parent graph"),
    ] {
        let error = run(&graph).await.unwrap_err();
        assert_eq!(error.code().name(), "undeclared_target");
        let SessionError::Run(error) = error else { panic!("{error}") };
        assert!(error.report().contains(words), "{}", error.report());
    }
}

#[test]
fn targets_in_the_parent_are_checked_when_it_is_built_and_belong_to_the_graph() {
    let inner = picks("known");
    let without = Graph::<Trail>::builder("outer")
        .node("inner", inner.as_node(|_: &Trail| Trail::default(), |_: Trail| ()))
        .node("knwon", step)
        .path([START, "inner", "knwon", END])
        .build()
        .unwrap_err();
    let [BuildFault::UnknownNode { name, used_in, nearest }] = &without.faults[..] else {
        panic!("{without}")
    };
    assert_eq!((name.as_str(), nearest.as_deref()), ("known", Some("knwon")));
    assert_eq!(used_in, "`declare_parent_targets` of `pick` in subgraph `inner`");
    let empty = Graph::<Trail>::builder("inner")
        .node("pick", step)
        .path([START, "pick", END])
        .declare_parent_targets("pick", [""; 0])
        .declare_parent_targets("pikc", ["a"])
        .declare_parent_targets(START, ["a"])
        .build()
        .unwrap_err();
    let faults = &empty.faults[..];
    assert!(
        matches!(
            faults,
            [BuildFault::NoTargets { .. }, BuildFault::UnknownNode { .. }, BuildFault::WrongWay { .. }]
        ),
        "{empty}"
    );

    let hash = |targets: &[&str]| {
        let graph = Graph::<Trail>::builder("g").node("a", step).path([START, "a", END]);
        let graph =
            if targets.is_empty() { graph } else { graph.declare_parent_targets("a", targets.to_vec()) };
        graph.build().unwrap().hash().to_owned()
    };
    assert_ne!(hash(&["x"]), hash(&["y"]));
    assert_ne!(hash(&["x"]), hash(&[]));
    assert!(outer().to_mermaid().contains("right"));
}

#[tokio::test]
async fn a_subgraph_may_select_the_end_of_the_parent() {
    let inner = Graph::<Trail>::builder("inner")
        .node("stop", async |_: &Trail, _: &Context| -> Result<_> {
            Ok(Outcome::update(Trail::update().steps(["stopped"])).goto_parent(END))
        })
        .edge(START, "stop")
        .declare_parent_targets("stop", [END])
        .build()
        .unwrap();
    let graph = Graph::<Trail>::builder("outer")
        .node(
            "inner",
            inner.as_node(
                |_: &Trail| Trail::default(),
                |inner: Trail| -> TrailUpdate { Trail::update().steps(inner.steps) },
            ),
        )
        .edge(START, "inner")
        .build()
        .unwrap();
    let outcome = Runtime::builder().build().session("s").unwrap().run(&graph, Trail::update()).await;
    assert_eq!(outcome.unwrap().state().unwrap().steps, ["stopped"]);
}
