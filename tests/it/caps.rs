//! Concurrency caps: a task or call that waits for a person releases its permit and acquires one before it continues.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Answers, Context, END, Graph, START,
    graph::{AnyNode, Dispatch, IntoNode, Route},
    model::ToolCall,
    tool::{Concurrency, DynamicTool, ToolError, ToolPolicy, ToolRegistry},
};
use serde_json::{Value, json};
use tests::{journal, on, soon};

use super::graph::Trail;

/// How many are at work, and the most there were.
#[derive(Default)]
struct Meter(AtomicUsize, AtomicUsize);

impl Meter {
    async fn work(&self) {
        let now = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.1.fetch_max(now, Ordering::SeqCst);
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

/// A tool with one permit that asks a question if its arguments request it.
fn registry(meter: &Arc<Meter>) -> ToolRegistry {
    let meter = Arc::clone(meter);
    let schema = json!({ "type": "object", "properties": { "ask": { "type": "string" } } });
    let policy = ToolPolicy::read_only().concurrency(Concurrency::AtMost(NonZeroUsize::MIN));
    let tool = DynamicTool::new("t", "A tool.", schema, move |args: Value, cx| {
        let meter = Arc::clone(&meter);
        async move {
            let mut said = json!("none");
            match args["ask"].as_str() {
                Some("give up") => {
                    let asked = tokio::time::timeout(Duration::from_secs(1), cx.ask("quick?")).await;
                    asked.map_err(|_| ()).unwrap_err();
                    tokio::task::yield_now().await;
                }
                Some(prompt) => said = cx.ask(prompt).await?,
                None => {}
            }
            meter.work().await;
            Ok::<_, ToolError>(said.to_string().into())
        }
    });
    ToolRegistry::builder().tool(tool.with_policy(policy)).build().unwrap()
}

/// Calls the tool with each of these prompts, side by side.
fn calling(prompts: &'static [Option<&'static str>]) -> Graph<Trail> {
    Graph::<Trail>::builder("calling")
        .node("call", async |_: &Trail, cx: &Context| {
            let calls = prompts.iter().enumerate().map(|(n, prompt)| {
                let arguments = prompt.map_or_else(|| json!({}), |prompt| json!({ "ask": prompt }));
                let (id, name) = (format!("c{n}"), "t".to_owned());
                ToolCall { id, name, arguments: arguments.to_string(), provider: None }
            });
            let messages = cx.tools()?.call_all(calls).await?;
            Ok(Trail::update().steps(messages.iter().map(|message| message.text().into_owned())))
        })
        .edge(START, "call")
        .edge("call", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_tool_call_that_waits_for_a_person_does_not_hold_up_the_other_calls_of_the_tool() {
    for restart in [false, true] {
        let (inner, meter) = (journal(), Arc::new(Meter::default()));
        let asks = calling(&[Some("one?"), Some("two?"), None]);
        let make = || on(&inner).graph(&asks).tools(registry(&meter)).build();
        let mut runtime = make();
        let session = runtime.session("asks").unwrap();
        let outcome = soon(session.run(&asks, Trail::update())).await.unwrap();
        assert_eq!(outcome.questions().len(), 2);
        // Another session, the same tool.
        let other = runtime.session("other").unwrap();
        let plain = calling(&[None, None]);
        let done = soon(other.run(&plain, Trail::update())).await.unwrap();
        assert_eq!(done.state().unwrap().steps, ["\"none\"", "\"none\""]);
        if restart {
            runtime.shutdown(Duration::ZERO).await;
            runtime = make();
        }
        let session = runtime.session("asks").unwrap();
        let answers = outcome.questions().iter().map(|open| (open.id.clone(), open.question.prompt.clone()));
        let run = session.answer(Answers::each(answers)).await.unwrap();
        let outcome = soon(run.outcome::<Trail>()).await.unwrap();
        assert_eq!(outcome.state().unwrap().steps, ["\"one?\"", "\"two?\"", "\"none\""]);
        assert_eq!(meter.most(), 1, "a call takes its place again before it continues");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_call_that_withdraws_its_question_takes_its_place_again() {
    let meter = Arc::new(Meter::default());
    let graph = calling(&[Some("give up"), None, Some("give up"), None]);
    let runtime = on(&journal()).tools(registry(&meter)).build();
    let session = runtime.session("s").unwrap();
    let run = session.run(&graph, Trail::update()).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let outcome = run.outcome::<Trail>().await.unwrap();
    assert!(outcome.is_completed(), "{outcome:?}");
    assert_eq!(meter.most(), 1);
}

#[tokio::test]
async fn tasks_that_were_answered_at_once_continue_within_the_caps() {
    for (graph_cap, node_cap, nested) in [(1, 9, false), (9, 2, false), (1, 9, true)] {
        let ask = async |cx: &Context| {
            let n: i64 = cx.ask("n?").await?;
            cx.get::<Arc<Meter>>()?.work().await;
            agent_core::Result::Ok(Trail::update().sum(n))
        };
        let asking = Graph::<Trail>::builder("asking")
            .node("ask", async move |_: &Trail, cx: &Context| ask(cx).await)
            .edge(START, "ask")
            .edge("ask", END)
            .build()
            .unwrap();
        let node: AnyNode<Trail> = if nested {
            asking.as_node_with_input(
                |_: &Trail, _: i64| Trail::default(),
                |t: Trail| Trail::update().sum(t.sum),
            )
        } else {
            (async move |_: &Trail, _: i64, cx: &Context| ask(cx).await).into_node()
        };
        let graph = Graph::<Trail>::builder("waiting")
            .max_concurrency(graph_cap)
            .node("work", node.concurrency(node_cap))
            .branch(START, |_: &Trail| Route::sends((0..4_i64).map(|n| Dispatch::new("work", &n))), ["work"])
            .edge("work", END)
            .build()
            .unwrap();
        for restart in [false, true] {
            let (inner, meter) = (journal(), Arc::new(Meter::default()));
            let make = || on(&inner).graph(&graph).provide(Arc::clone(&meter)).build();
            let mut runtime = make();
            let outcome = soon(runtime.session("s").unwrap().run(&graph, Trail::update())).await.unwrap();
            assert_eq!(outcome.questions().len(), 4);
            if restart {
                runtime.shutdown(Duration::ZERO).await;
                runtime = make();
            }
            let answers = outcome.questions().iter().map(|open| (open.id.clone(), 2));
            let run = runtime.session("s").unwrap().answer(Answers::each(answers)).await.unwrap();
            assert_eq!(soon(run.outcome::<Trail>()).await.unwrap().state().unwrap().sum, 8);
            assert_eq!(meter.most(), graph_cap.min(node_cap), "nested {nested}, restart {restart}");
        }
    }
}
