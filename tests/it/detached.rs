//! Work that a node leaves running after its end: it changes nothing, and its calls are refused with a named error.

use std::{sync::Arc, task::Poll};

use agent_core::{
    Context, END, Graph, NodeError, Result, RunStatus, START,
    engine::NodeEnded,
    graph::NodeExt,
    retry::RetryPolicy,
    task_group::TaskGroup,
    todo::{TodoError, TodoStatus},
};
use serde_json::Value;
use tests::{World, facts, journal, kinds, on, soon};
use tokio::sync::{Notify, mpsc};

use super::graph::Trail;

/// Signals between a test, a node and what the node left running.
#[derive(Default)]
struct Signals {
    working: Notify,
    late: Notify,
    release: Notify,
}

type Reports = mpsc::Sender<Vec<NodeError>>;

async fn work(_: &Trail, cx: &Context) -> Result<()> {
    let signals = cx.get::<Arc<Signals>>()?;
    signals.working.notify_one();
    signals.release.notified().await;
    Ok(())
}

/// Everything that a node can do, and how it was refused.
async fn everything(cx: &Context) -> Vec<NodeError> {
    let world = cx.get::<Arc<World>>().unwrap();
    let todos = cx.todos();
    vec![
        cx.ask::<Value>("late?").await.unwrap_err(),
        cx.step("late", async { Ok::<_, NodeError>(world.happens("late")) }).await.unwrap_err(),
        cx.emit("late", 1).unwrap_err(),
        cx.progress("late", 1).unwrap_err(),
        todos.add("late", "Late").unwrap_err().into(),
    ]
}

#[tokio::test]
async fn whatever_a_task_does_after_its_node_has_ended_changes_nothing() {
    let graph = Graph::<Trail>::builder("leaking")
        .node("leaks", async |_: &Trail, cx: &Context| {
            let todo = cx.todos().start("t", "Read")?;
            let (cx, signals) = (cx.clone(), cx.get::<Arc<Signals>>()?);
            cx.clone().get::<TaskGroup>()?.spawn(async move {
                signals.late.notified().await;
                todo.done();
                let reports = cx.get::<Reports>().unwrap();
                reports.send(everything(&cx).await).await.unwrap();
            });
            Ok(())
        })
        .node("work", work)
        .edge(START, "leaks")
        .edge("leaks", "work")
        .edge("work", END)
        .build()
        .unwrap();
    let (signals, world) = (Arc::new(Signals::default()), Arc::new(World::default()));
    let (reports, mut reported) = mpsc::channel::<Vec<NodeError>>(1);
    let runtime = on(&journal())
        .provide(Arc::clone(&signals))
        .provide(Arc::clone(&world))
        .provide(TaskGroup::default())
        .provide(reports)
        .build();
    let session = runtime.session("s").unwrap();
    let run = session.run(&graph, Trail::update()).start().await.unwrap();
    soon(signals.working.notified()).await;
    signals.late.notify_one();
    let errors = soon(reported.recv()).await.unwrap();
    for error in &errors {
        let named = error.downcast_ref::<NodeEnded>().is_some()
            || matches!(error.downcast_ref(), Some(TodoError::NodeEnded(_)));
        assert!(named && !error.is_retryable(), "{error:?}");
    }
    let status = session.status().await.unwrap();
    assert_eq!((status.status, status.questions.len()), (RunStatus::Running, 0));
    assert_eq!(status.todos.iter().map(|todo| todo.status).collect::<Vec<_>>(), [TodoStatus::InProgress]);
    signals.release.notify_one();
    assert!(soon(run.outcome::<Trail>()).await.unwrap().is_completed());
    assert_eq!(world.all().len(), 0);
    let kinds = kinds(&session).await;
    let late = ["question_asked", "question_withdrawn", "step_recorded", "custom", "run_paused"];
    assert!(!kinds.iter().any(|kind| late.contains(&kind.as_str())), "{kinds:?}");
}

#[tokio::test]
async fn a_question_of_a_task_that_outlives_its_node_is_withdrawn_at_the_nodes_end() {
    let graph = Graph::<Trail>::builder("leaking")
        .node("leaks", async |_: &Trail, cx: &Context| {
            let (cx, signals) = (cx.clone(), cx.get::<Arc<Signals>>()?);
            let asked = Arc::clone(&signals);
            cx.clone().get::<TaskGroup>()?.spawn(async move {
                let mut ask = Box::pin(cx.ask::<Value>("late?"));
                std::future::poll_fn(|context| {
                    assert!(ask.as_mut().poll(context).is_pending());
                    Poll::Ready(())
                })
                .await;
                asked.late.notify_one();
                let reports = cx.get::<Reports>().unwrap();
                reports.send(vec![ask.await.unwrap_err()]).await.unwrap();
            });
            signals.late.notified().await;
            Ok(())
        })
        .node("work", work)
        .edge(START, "leaks")
        .edge("leaks", "work")
        .edge("work", END)
        .build()
        .unwrap();
    let signals = Arc::new(Signals::default());
    let (reports, mut reported) = mpsc::channel::<Vec<NodeError>>(1);
    let runtime =
        on(&journal()).provide(Arc::clone(&signals)).provide(TaskGroup::default()).provide(reports).build();
    let session = runtime.session("s").unwrap();
    let run = session.run(&graph, Trail::update()).start().await.unwrap();
    soon(signals.working.notified()).await;
    let errors = soon(reported.recv()).await.unwrap();
    assert!(errors[0].downcast_ref::<NodeEnded>().is_some(), "{errors:?}");
    let status = session.status().await.unwrap();
    assert_eq!((status.status, status.questions.len()), (RunStatus::Running, 0));
    signals.release.notify_one();
    assert!(soon(run.outcome::<Trail>()).await.unwrap().is_completed());
    let withdrawn = facts(&session).await;
    assert_eq!(withdrawn.iter().filter(|fact| fact["type"] == "question_withdrawn").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_a_failed_try_left_running_is_none_of_the_next_try() {
    let graph = Graph::<Trail>::builder("leaking")
        .node(
            "leaks",
            (async |_: &Trail, cx: &Context| {
                let signals = cx.get::<Arc<Signals>>()?;
                if cx.attempt() > 1 {
                    signals.late.notify_one();
                    signals.working.notified().await;
                    let world = cx.get::<Arc<World>>()?;
                    cx.step("pay", async { Ok::<_, NodeError>(world.happens("second try")) }).await?;
                    return Ok(());
                }
                let cx = cx.clone();
                cx.clone().get::<TaskGroup>()?.spawn(async move {
                    let first = async {
                        signals.late.notified().await;
                        Ok::<_, NodeError>(1_u32)
                    };
                    let error = cx.step("pay", first).await.unwrap_err();
                    assert!(error.downcast_ref::<NodeEnded>().is_some(), "{error:?}");
                    signals.working.notify_one();
                });
                Err(NodeError::msg("down"))
            })
            .retry(RetryPolicy::attempts(2)),
        )
        .edge(START, "leaks")
        .edge("leaks", END)
        .build()
        .unwrap();
    let (signals, world) = (Arc::new(Signals::default()), Arc::new(World::default()));
    let runtime = on(&journal())
        .provide(Arc::clone(&signals))
        .provide(Arc::clone(&world))
        .provide(TaskGroup::default())
        .build();
    let session = runtime.session("s").unwrap();
    assert!(soon(session.run(&graph, Trail::update())).await.unwrap().is_completed());
    assert_eq!(world.times("second try"), 1);
    assert_eq!(kinds(&session).await.iter().filter(|kind| *kind == "step_recorded").count(), 1);
}
