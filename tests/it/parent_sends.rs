//! Sends to the parent graph: a node of a subgraph ends it and activates nodes of the graph around it with inputs.

use agent_core::{
    Context, END, Graph, NodeError, Result, Runtime, START, SessionError, State,
    graph::{BuildFault, Dispatch, NodeExt, Outcome},
    ids::Seq,
};
use serde::{Deserialize, Serialize};
use tests::{Dying, facts, journal, on, soon};

#[derive(State, Default, Debug, Clone, Serialize, Deserialize)]
struct Log {
    #[state(append)]
    steps: Vec<String>,
}

fn note(text: impl Into<String>) -> LogUpdate {
    Log::update().steps([text.into()])
}

async fn plain(_: &Log, cx: &Context) -> Result<LogUpdate> {
    Ok(note(cx.node()))
}

async fn study(_: &Log, topic: String, cx: &Context) -> Result<LogUpdate> {
    cx.step("read", async { Ok::<_, NodeError>(()) }).await?;
    Ok(note(format!("study {topic}")))
}

fn out(inner: Log) -> LogUpdate {
    Log::update().steps(inner.steps)
}

/// Two nodes of one superstep select targets in the parent; `later` is never due.
fn sender(name: &'static str, dataflow: bool) -> Graph<Log> {
    let builder = Graph::<Log>::builder(name)
        .node("split", async move |_: &Log, cx: &Context| -> Result<Outcome<Log>> {
            cx.step("look", async { Ok::<_, NodeError>(()) }).await?;
            let topics = ["one", "둘\0"].map(|topic| Dispatch::new("study", &format!("{name} {topic}")));
            Ok(Outcome::update(note(format!("{name} split"))).send_all_parent(topics))
        })
        .node("pick", async move |_: &Log, _: &Context| {
            let outcome = Outcome::update(note(format!("{name} pick"))).goto_parent("chosen");
            Ok(outcome.send_parent(Dispatch::new("study", &format!("{name} three"))))
        })
        .node("later", plain)
        .path([START, "split", "later"])
        .path([START, "pick", "later", END])
        .declare_parent_targets("split", ["study"])
        .declare_parent_targets("pick", ["chosen", "study"]);
    let builder = if dataflow { builder.dataflow() } else { builder };
    builder.build().unwrap()
}

/// Two subgraphs side by side send to one node of the graph around them.
fn outer(dataflow: bool) -> Graph<Log> {
    let builder = Graph::<Log>::builder("outer")
        .node("a", sender("a", dataflow).as_node(|_: &Log| Log::default(), out))
        .node("b", sender("b", dataflow).as_node(|_: &Log| Log::default(), out))
        .node("always", plain)
        .node("chosen", plain)
        .node("study", study)
        .node("last", plain)
        .path([START, "a", "always", "last"])
        .path([START, "b", "last"])
        .edge("chosen", END)
        .join(["study"], "last")
        .edge("last", END);
    let builder = if dataflow { builder.dataflow() } else { builder };
    builder.build().unwrap()
}

const TASKS: [&str; 14] = [
    "a split",
    "a pick",
    "b split",
    "b pick",
    "always",
    "chosen",
    "study a one",
    "study a 둘\0",
    "study a three",
    "last",
    "study b one",
    "study b 둘\0",
    "study b three",
    "last",
];

fn sorted(mut steps: Vec<String>) -> Vec<String> {
    steps.sort();
    steps
}

async fn steps(graph: &Graph<Log>) -> Vec<String> {
    let session = Runtime::builder().build().session("s").unwrap();
    soon(session.run(graph, Log::update())).await.unwrap().state().unwrap().steps.clone()
}

/// Runs `graph` with a death at every entry and at every append, and checks the steps of the finished run.
async fn everywhere(graph: &Graph<Log>, check: impl Fn(Vec<String>, String)) {
    let inner = journal();
    let session = on(&inner).build().session("s").unwrap();
    let outcome = soon(session.run(graph, Log::update())).await.unwrap();
    check(outcome.state().unwrap().steps.clone(), "whole".to_owned());
    let later = on(&inner).graph(graph).build();
    let last = session.head().await.unwrap().last;
    for seq in (1..last.0).map(Seq) {
        let source = later.session("s").unwrap();
        let fork = source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
        let outcome = soon(fork.resume().await.unwrap().outcome::<Log>()).await.unwrap();
        check(outcome.state().unwrap().steps.clone(), format!("entry {seq}"));
    }
    let whole = facts(&session).await.len() as u64;
    for (appends, slow) in (1..whole).flat_map(|appends| [(appends, false), (appends, true)]) {
        let inner = journal();
        let dying = Runtime::builder().journal(Dying::at(&inner, appends, slow)).build();
        let ended = soon(dying.session("s").unwrap().run(graph, Log::update())).await;
        let runtime = on(&inner).graph(graph).build();
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
        check(session.state::<Log>().await.unwrap().steps, format!("append {appends} {slow}"));
    }
}

#[tokio::test]
async fn sends_of_sibling_subgraphs_run_in_the_parent_in_task_order_wherever_the_process_dies() {
    everywhere(&outer(false), |found, place| {
        // Edges, then the selected nodes, subgraph by subgraph; `chosen` once.
        assert_eq!(found, TASKS, "{place}");
    })
    .await;
}

#[tokio::test]
async fn sends_of_sibling_subgraphs_run_once_each_in_dataflow_mode_wherever_the_process_dies() {
    everywhere(&outer(true), |found, place| {
        let of = |name: &str| found.iter().position(|step| step == name).unwrap();
        for name in ["a", "b"] {
            assert!(of(&format!("{name} pick")) < of(&format!("study {name} three")), "{place}: {found:?}");
        }
        let once = found.iter().filter(|step| !["last", "chosen"].contains(&step.as_str())).cloned();
        let expected = TASKS.into_iter().filter(|step| !["last", "chosen"].contains(step));
        assert_eq!(sorted(once.collect()), sorted(expected.map(str::to_owned).collect()), "{place}");
        assert_eq!(found.last().unwrap(), "last", "{place}");
    })
    .await;
}

/// The inner graph of two levels sends to the middle one, which sends what it got to the outer one.
fn levels(dataflow: bool) -> Graph<Log> {
    let inner = Graph::<Log>::builder("inner")
        .node("start", async |_: &Log, _: &Context| {
            Ok(Outcome::<Log>::empty().send_parent(Dispatch::new("pass", &1)))
        })
        .edge(START, "start")
        .declare_parent_targets("start", ["pass"]);
    let inner = if dataflow { inner.dataflow() } else { inner }.build().unwrap();
    let middle = Graph::<Log>::builder("middle")
        .node("inner", inner.as_node(|_: &Log| Log::default(), out))
        .node("pass", async |_: &Log, n: i64, _: &Context| {
            Ok(Outcome::update(note(format!("pass {n}")))
                .send_parent(Dispatch::new("study", &format!("{n}"))))
        })
        .node("never", plain)
        .edge(START, "inner")
        .path(["pass", "never", END])
        .declare_parent_targets("pass", ["study"])
        .build()
        .unwrap();
    Graph::<Log>::builder("outer")
        .node("middle", middle.as_node(|_: &Log| Log::default(), out))
        .node("study", study)
        .edge(START, "middle")
        .edge("study", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_send_reaches_the_graph_directly_around_the_subgraph() {
    for dataflow in [false, true] {
        everywhere(&levels(dataflow), |found, place| assert_eq!(found, ["pass 1", "study 1"], "{place}"))
            .await;
    }
}

#[tokio::test]
async fn a_subgraph_that_was_sent_an_input_sends_on_and_back_to_its_own_node() {
    let chunk = Graph::<Log>::builder("chunk")
        .node("halve", async |state: &Log, _: &Context| {
            let text = state.steps[0].clone();
            let (left, right) = text.split_at(text.len() / 2);
            let sends = [left, right].map(|half| Dispatch::new("chunk", half));
            Ok(if text.len() < 2 { Outcome::empty() } else { Outcome::<Log>::empty().send_all_parent(sends) })
        })
        .node("short", plain)
        .path([START, "halve", "short", END])
        .declare_parent_targets("halve", ["chunk"])
        .build()
        .unwrap();
    let into = |_: &Log, text: String| Log { steps: vec![text] };
    let graph = Graph::<Log>::builder("divide")
        .node("begin", async |_: &Log, _: &Context| {
            Ok(Outcome::<Log>::empty().send(Dispatch::new("chunk", "abcd")))
        })
        .node("chunk", chunk.as_node_with_input(into, out))
        .edge(START, "begin")
        .declare_targets("begin", ["chunk"])
        .edge("chunk", END)
        .build()
        .unwrap();
    let halves = ["abcd", "ab", "cd", "a", "short", "b", "short", "c", "short", "d", "short"];
    everywhere(&graph, |found, place| assert_eq!(found, halves, "{place}")).await;
}

#[tokio::test]
async fn a_cached_outcome_and_a_slow_sibling_keep_the_sends() {
    let inner = Graph::<Log>::builder("inner")
        .node(
            "split",
            (async |_: &Log, _: &Context| {
                Ok(Outcome::<Log>::empty().send_parent(Dispatch::new("study", "kept")))
            })
            .cache(std::time::Duration::from_secs(60), |_: &Log| "same"),
        )
        .edge(START, "split")
        .declare_parent_targets("split", ["study"])
        .build()
        .unwrap();
    let graph = Graph::<Log>::builder("outer")
        .node("inner", inner.as_node(|_: &Log| Log::default(), out))
        .node("study", study)
        .edge(START, "inner")
        .edge("study", END)
        .build()
        .unwrap();
    let runtime = on(&journal()).build();
    for name in ["s-1", "s-2"] {
        let session = runtime.session(name).unwrap();
        let outcome = soon(session.run(&graph, Log::update())).await.unwrap();
        assert_eq!(outcome.state().unwrap().steps, ["study kept"], "{name}");
    }
}

/// A graph whose node `pick` sends `dispatch` to its parent.
fn picks(dispatch: fn() -> Dispatch) -> Graph<Log> {
    Graph::<Log>::builder("picks")
        .node("pick", async move |_: &Log, _: &Context| Ok(Outcome::<Log>::empty().send_parent(dispatch())))
        .node("beside", plain)
        .edge(START, "pick")
        .path([START, "beside", END])
        .declare_parent_targets("pick", ["study"])
        .build()
        .unwrap()
}

fn around(inner: &Graph<Log>) -> Graph<Log> {
    Graph::<Log>::builder("around")
        .node("inner", inner.as_node(|_: &Log| Log::default(), out))
        .node("study", study)
        .node("secret", study)
        .node("send", async |_: &Log, _: &Context| {
            Ok(Outcome::<Log>::empty().send(Dispatch::new("secret", "s")))
        })
        .edge(START, "inner")
        .edge(START, "send")
        .declare_targets("send", ["secret"])
        .edge("study", END)
        .edge("secret", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_send_that_is_not_declared_has_no_parent_or_no_legal_input_fails_the_run_by_name() {
    let good = picks(|| Dispatch::new("study", "x"));
    assert_eq!(steps(&around(&good)).await, ["beside", "study x", "study s"]);
    let nan = picks(|| Dispatch::new("study", &f64::NAN));
    for (graph, code, words) in [
        (
            around(&picks(|| Dispatch::new("secret", "x"))),
            "undeclared_target",
            "`pick` selected `secret`, which it does not declare; declared: study",
        ),
        (good, "undeclared_target", "`pick` selected `study` of the parent graph"),
        (around(&nan), "send_refused", "`pick` sends `study` an input"),
        (nan, "send_refused", "`pick` sends `study` an input"),
    ] {
        let session = on(&journal()).build().session("s").unwrap();
        let error = soon(session.run(&graph, Log::update())).await.unwrap_err();
        let SessionError::Run(run) = &error else { panic!("{error}") };
        assert!(run.report().contains(words), "{}", run.report());
        assert_eq!(error.code().name(), code);
    }
}

#[tokio::test]
async fn a_task_with_a_send_that_cannot_be_stored_is_not_stored_as_finished() {
    let graph = Graph::<Log>::builder("plain")
        .node("pick", async |_: &Log, _: &Context| {
            Ok(Outcome::update(note("pick")).send(Dispatch::new("study", &f64::NAN)))
        })
        .node("beside", plain)
        .node("study", study)
        .path([START, "beside", END])
        .edge(START, "pick")
        .declare_targets("pick", ["study"])
        .edge("study", END)
        .build()
        .unwrap();
    let inner = journal();
    let session = on(&inner).build().session("s").unwrap();
    soon(session.run(&graph, Log::update())).await.unwrap_err();
    // Resumed, it fails again: the send is not lost.
    let session = on(&inner).graph(&graph).build().session("s").unwrap();
    let error = soon(session.resume().await.unwrap().outcome::<Log>()).await.unwrap_err();
    assert_eq!(error.code().name(), "send_refused", "{error}");
}

#[test]
fn the_parent_checks_the_targets_of_sends_when_it_is_built() {
    let inner = picks(|| Dispatch::new("study", "x"));
    let misspelled = Graph::<Log>::builder("outer")
        .node("inner", inner.as_node(|_: &Log| Log::default(), out))
        .node("studdy", study)
        .edge(START, "inner")
        .edge("studdy", END)
        .build()
        .unwrap_err();
    let Some(BuildFault::UnknownNode { name, used_in, nearest }) = misspelled.faults.first() else {
        panic!("{misspelled}")
    };
    assert_eq!((name.as_str(), nearest.as_deref()), ("study", Some("studdy")));
    assert_eq!(used_in, "`declare_parent_targets` of `pick` in subgraph `inner`");

    // The graph around the parent is out of reach: the parent itself must have the node.
    let middle = Graph::<Log>::builder("middle")
        .node("inner", inner.as_node(|_: &Log| Log::default(), out))
        .path([START, "inner", END])
        .build()
        .unwrap_err();
    assert!(
        matches!(&middle.faults[..], [BuildFault::UnknownNode { name, .. }] if name == "study"),
        "{middle}"
    );

    let drawn = around(&inner).to_mermaid();
    assert!(drawn.lines().any(|line| line.contains("goto")), "{drawn}");
}
