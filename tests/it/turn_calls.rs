//! Tool calls in parallel: each runs as a separate task and still belongs to the step and the attempt that
//! started it.

use std::{
    cell::Cell,
    pin::pin,
    sync::{Arc, mpsc as threads},
    time::Duration,
};

use agent_core::{
    Answers, Context, END, Graph, RunOutcome, RunStatus, Runtime, START,
    clock::Clock,
    engine::NodeEnded,
    event::EventBody,
    graph::IntoNode,
    model::ToolCall,
    tool::{DynamicTool, ToolContext, ToolError, ToolPolicy, ToolRegistry},
};
use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tests::{journal, kinds, on, soon};
use tokio::sync::Notify;

use super::graph::Trail;

const LIMIT: Duration = Duration::from_millis(200);

/// A registry with one tool, `t`, that only reads.
fn registry<F, Fut>(call: F) -> ToolRegistry
where
    F: Fn(Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, ToolError>> + Send + 'static,
{
    let call = Arc::new(call);
    let tool = DynamicTool::new("t", "A tool.", json!({ "type": "object" }), move |args: Value, _| {
        let call = Arc::clone(&call);
        async move { Ok::<_, ToolError>(call(args).await?.into()) }
    });
    ToolRegistry::builder().tool(tool.with_policy(ToolPolicy::read_only())).build().unwrap()
}

/// Two calls of `t`, with `n` 0 and 1.
fn calls() -> impl Iterator<Item = ToolCall> {
    (0..2).map(|n| {
        let arguments = json!({ "n": n }).to_string();
        ToolCall { id: format!("c{n}"), name: "t".to_owned(), arguments, provider: None }
    })
}

fn one(node: impl IntoNode<Trail, agent_core::graph::ByFn>, timeout: Option<Duration>) -> Graph<Trail> {
    let mut node = node.into_node();
    if let Some(timeout) = timeout {
        node = node.timeout(timeout);
    }
    Graph::<Trail>::builder("calls").node("call", node).edge(START, "call").edge("call", END).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_question_of_a_call_keeps_its_key_whichever_task_makes_the_call() {
    let graph = one(
        async |_: &Trail, cx: &Context| {
            let of = cx.clone();
            let tools = registry(move |args| {
                let cx = of.clone();
                async move {
                    let failed = |error: agent_core::NodeError| ToolError::failed(error.to_string());
                    let first: String = cx.ask(format!("first of {}?", args["n"])).await.map_err(failed)?;
                    let second: String = cx.ask(format!("second of {}?", args["n"])).await.map_err(failed)?;
                    Ok(format!("{first}, {second}"))
                }
            });
            let messages = cx.tools_of(&tools).call_all(calls()).await?;
            let last: String = cx.ask("last?").await?;
            let said = messages.iter().map(|message| message.text().into_owned());
            Ok(Trail::update().steps(said.chain([last])))
        },
        None,
    );
    for restart in [false, true] {
        let inner = journal();
        let make = || on(&inner).graph(&graph).build();
        let mut runtime: Runtime = make();
        let mut outcome = soon(runtime.session("s").unwrap().run(&graph, Trail::update())).await.unwrap();
        for round in [&["c0/q1", "c1/q1"][..], &["c0/q2", "c1/q2"], &["q1"]] {
            let mut asked: Vec<String> = outcome.questions().iter().map(|open| open.id.to_string()).collect();
            asked.sort();
            let known = |key: &&str| match key.split_once('/') {
                Some((call, key)) => format!(":=in:tool:{call}/{key}"),
                None => format!(":{key}"),
            };
            assert_eq!(asked.len(), round.len(), "{outcome:?}");
            for (id, key) in asked.iter().zip(round.iter().map(known)) {
                assert!(id.ends_with(&key), "{id} is not under {key}");
            }
            if restart {
                runtime.shutdown(Duration::ZERO).await;
                runtime = make();
            }
            let answers =
                outcome.questions().iter().map(|open| (open.id.clone(), open.question.prompt.clone()));
            let run = runtime.session("s").unwrap().answer(Answers::each(answers)).await.unwrap();
            outcome = soon(run.outcome::<Trail>()).await.unwrap();
        }
        let said = &outcome.state().unwrap().steps;
        assert_eq!(said, &["first of 0?, second of 0?", "first of 1?, second of 1?", "last?"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_outlives_its_node_is_refused_by_name() {
    let (release, released) = threads::channel::<()>();
    let (reports, reported) = threads::channel();
    let (began, working) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (called, worked) = (Arc::clone(&began), Arc::clone(&working));
    let (released, done) = (Arc::new(Mutex::new(Some(released))), Arc::new(Notify::new()));
    let end = Arc::clone(&done);
    let graph = Graph::<Trail>::builder("leaking")
        .node("leaks", async move |_: &Trail, cx: &Context| {
            let (of, called) = (cx.clone(), Arc::clone(&called));
            let (released, reports) = (Arc::clone(&released), reports.clone());
            let tools = registry(move |args| {
                let (cx, called, reports) = (of.clone(), Arc::clone(&called), reports.clone());
                let released = released.lock().take_if(|_| args["n"] == 0);
                async move {
                    let Some(released) = released else { return std::future::pending().await };
                    called.notify_one();
                    // This call cannot be cancelled here. The other tasks of this thread are moved to another one.
                    tokio::task::block_in_place(|| released.recv()).expect("the test releases it");
                    let asked = cx.ask::<Value>("late?").now_or_never().expect("refused at once");
                    let errors = [asked.unwrap_err(), cx.emit("late", 1).unwrap_err()];
                    reports.send(errors).expect("the test reads it");
                    Ok(String::new())
                }
            });
            let tools = cx.tools_of(&tools);
            tokio::select! {
                _ = tools.call_all(calls()) => unreachable!("one of them never ends"),
                () = began.notified() => Ok(()),
            }
        })
        .node("work", async move |_: &Trail, _: &Context| {
            worked.notify_one();
            end.notified().await;
            agent_core::Result::Ok(())
        })
        .edge(START, "leaks")
        .edge("leaks", "work")
        .edge("work", END)
        .build()
        .unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    let run = session.run(&graph, Trail::update()).start().await.unwrap();
    soon(working.notified()).await;
    release.send(()).unwrap();
    let errors = tokio::task::block_in_place(|| reported.recv_timeout(Duration::from_secs(10))).unwrap();
    for error in errors {
        assert!(error.downcast_ref::<NodeEnded>().is_some(), "{error:?}");
    }
    done.notify_one();
    assert!(soon(run.outcome::<Trail>()).await.unwrap().is_completed());
    let kinds = kinds(&session).await;
    let late = ["question_asked", "step_recorded", "custom", "run_paused"];
    assert!(!kinds.iter().any(|kind| late.contains(&kind.as_str())), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_time_of_a_node_counts_again_once_a_call_has_its_answer() {
    let (release, released) = threads::channel::<()>();
    let released = Arc::new(Mutex::new(Some(released)));
    let graph = one(
        async move |_: &Trail, cx: &Context| {
            let (of, released) = (cx.clone(), Arc::clone(&released));
            let tools = registry(move |args| {
                let (cx, released) = (of.clone(), released.lock().take_if(|_| args["n"] == 0));
                async move {
                    let Some(released) = released else { return Ok(String::new()) };
                    cx.ask::<Value>("ready?").await.map_err(|error| ToolError::failed(error.to_string()))?;
                    // This call cannot be cancelled here.
                    released.recv().expect("the test releases it");
                    Ok(String::new())
                }
            });
            cx.tools_of(&tools).call_all(calls()).await?;
            agent_core::Result::Ok(())
        },
        Some(LIMIT),
    );
    let runtime = on(&journal()).options(|options| options.grace = Duration::ZERO).build();
    let session = runtime.session("s").unwrap();
    assert!(soon(session.run(&graph, Trail::update())).await.unwrap().is_paused());
    tokio::time::sleep(2 * LIMIT).await;
    let run = session.answer(Answers::only(true)).await.unwrap();
    let error = soon(run.outcome::<Trail>()).await.unwrap_err();
    assert_eq!(error.code().name(), "node_timed_out", "{error:?}");
    release.send(()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_keeps_the_questions_that_tool_calls_wait_for() {
    for count in [1, 2] {
        let tool = DynamicTool::new(
            "t",
            "A tool.",
            json!({ "type": "object" }),
            |args: Value, cx: ToolContext| async move {
                let answer = cx.ask(format!("{}?", args["n"])).await?;
                Ok::<_, ToolError>(answer.to_string().into())
            },
        );
        let tools = ToolRegistry::builder().tool(tool).build().unwrap();
        let graph = one(
            async move |_: &Trail, cx: &Context| {
                let messages = cx.tools()?.call_all(calls().take(count)).await?;
                Ok(Trail::update().steps(messages.iter().map(|message| message.text().into_owned())))
            },
            None,
        );
        let session = on(&journal()).graph(&graph).tools(tools).build().session("s").unwrap();
        let paused = soon(session.run(&graph, Trail::update())).await.unwrap();
        assert_eq!(soon(session.stop()).await.unwrap(), RunStatus::Stopped);
        let resumed = soon(session.resume().await.unwrap().outcome::<Trail>()).await.unwrap();
        let ids = |outcome: &RunOutcome<Trail>| {
            let mut ids: Vec<_> = outcome.questions().iter().map(|open| open.id.clone()).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(&resumed), ids(&paused));
        assert_eq!(ids(&resumed).len(), count);
        let answers = resumed.questions().iter().map(|open| (open.id.clone(), open.question.prompt.clone()));
        let run = session.answer(Answers::each(answers)).await.unwrap();
        let done = soon(run.outcome::<Trail>()).await.unwrap();
        assert_eq!(done.state().unwrap().steps, ["\"0?\"", "\"1?\""][..count]);
    }
}

thread_local! {
    /// Reads of the clock on this thread until [`BlockingClock`] blocks; 0: it does not.
    static READS_UNTIL_BLOCKED: Cell<u32> = const { Cell::new(0) };
}

/// A clock that reports and blocks in the read that [`READS_UNTIL_BLOCKED`] selects.
#[derive(Debug)]
struct BlockingClock {
    blocked: threads::Sender<()>,
    release: Mutex<threads::Receiver<()>>,
}

impl Clock for BlockingClock {
    fn now_ms(&self) -> i64 {
        if READS_UNTIL_BLOCKED.get() == 1 {
            self.blocked.send(()).expect("the test waits for it");
            // The other tasks of this thread are moved to another one.
            tokio::task::block_in_place(|| self.release.lock().recv()).expect("the test releases it");
        }
        READS_UNTIL_BLOCKED.set(READS_UNTIL_BLOCKED.get().saturating_sub(1));
        1_000
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_pauses_only_when_the_entry_of_each_open_question_is_queued() {
    let (blocked, reached) = threads::channel();
    let (release, released) = threads::channel();
    let clock = BlockingClock { blocked, release: Mutex::new(released) };
    let first_open = Arc::new(Notify::new());
    let open = Arc::clone(&first_open);
    // Two nodes, so that a wake-up polls only the node that it is meant for.
    let graph = Graph::<Trail>::builder("calls")
        .node("call", async move |_: &Trail, cx: &Context| {
            let (of, open) = (cx.clone(), Arc::clone(&open));
            let tools = registry(move |args| {
                let (cx, open) = (of.clone(), Arc::clone(&open));
                async move {
                    if args["n"] == 1 {
                        open.notified().await;
                        // The question reads the clock, and so does its entry.
                        READS_UNTIL_BLOCKED.set(2);
                    }
                    let answer: String = cx
                        .ask(format!("question {}?", args["n"]))
                        .await
                        .map_err(|error| ToolError::failed(error.to_string()))?;
                    Ok(answer)
                }
            });
            cx.tools_of(&tools).call_all(calls()).await?;
            agent_core::Result::Ok(())
        })
        .node("ask", async |_: &Trail, cx: &Context| {
            cx.ask::<String>("and you?").await?;
            agent_core::Result::Ok(())
        })
        .edge(START, "call")
        .edge(START, "ask")
        .edge("call", END)
        .edge("ask", END)
        .build()
        .unwrap();
    let inner = journal();
    let runtime = on(&inner).graph(&graph).clock(Arc::new(clock)).build();
    let session = runtime.session("s").unwrap();
    let mut events = session.subscribe(None);
    let run = session.run(&graph, Trail::update()).start().await.unwrap();
    for _ in 0..2 {
        while !matches!(soon(events.next()).await.unwrap().body, EventBody::QuestionAsked(_)) {}
    }
    first_open.notify_one();
    tokio::task::block_in_place(|| reached.recv_timeout(Duration::from_secs(10)))
        .expect("the last question is asked");

    let mut outcome = pin!(run.outcome::<Trail>());
    let early = tokio::time::timeout(LIMIT, outcome.as_mut()).await;
    release.send(()).unwrap();
    assert!(early.is_err(), "paused before the entry of the last question was queued: {early:?}");
    let outcome = soon(outcome).await.unwrap();
    assert_eq!(outcome.questions().len(), 3, "{outcome:?}");
    runtime.shutdown(Duration::ZERO).await;
    let session = on(&inner).graph(&graph).build().session("s").unwrap();
    assert_eq!(session.status().await.unwrap().questions.len(), 3);
}
