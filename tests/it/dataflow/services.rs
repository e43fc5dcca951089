//! What a session has besides its state, in dataflow mode: copies in another store, todos, `on_stop`, schedules, steering,
//! replays against another version.

use agent_core::{
    Agent, AgentState,
    clock::ManualClock,
    event::Event,
    journal::{InMemoryJournal, JournalStore, TransferOutcome, transfer, verify},
    model::{
        Message, Model,
        testing::{Scripted, Turn},
    },
    schedule::{ScheduledRun, Schedules, Timing},
    sqlite::Sqlite,
    todo::TodoStatus,
};
use tests::{Dying, within_an_hour};

use super::*;

/// Three nodes in a row beside a node that has recorded what it saw and asks.
fn asking() -> GraphBuilder<Log> {
    let ask = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        look(state, cx).await?;
        let amount: i64 = cx.ask(Question::new("How much?").key("amount")).await?;
        Ok(note(cx).sum(amount))
    };
    Graph::<Log>::builder("asking")
        .node("first", careful)
        .node("ask", ask)
        .node("second", careful)
        .node("third", careful)
        .node("last", careful)
        .path([START, "first", "ask"])
        .path(["first", "second", "third"])
        .join(["ask", "third"], "last")
        .edge("last", END)
        .dataflow()
}

async fn finished(store: Arc<dyn JournalStore>, graph: &Graph<Log>, outside: &Arc<Outside>) -> Log {
    let runtime = Runtime::builder().journal(store).graph(graph).provide(Arc::clone(outside));
    let runtime = runtime.options(|options| options.lease_ttl = Duration::ZERO).build();
    let session = runtime.session("s").unwrap();
    let mut status = session.status().await.unwrap().status;
    while status != RunStatus::Completed {
        let run = if status == RunStatus::Paused {
            session.answer(Answers::only(7)).await.unwrap()
        } else {
            session.resume().await.unwrap()
        };
        soon(run.outcome::<Log>()).await.unwrap();
        status = session.status().await.unwrap().status;
    }
    session.state().await.unwrap()
}

#[tokio::test]
async fn a_copy_of_a_session_continues_with_the_states_of_its_tasks_in_flight_wherever_it_was_made() {
    let graph = asking().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let id = "s".parse().unwrap();
    let mut copies = 0;
    for appends in 1.. {
        let (inner, outside) = (journal(), Arc::<Outside>::default());
        let dying = Runtime::builder().journal(Dying::at(&inner, appends, false));
        let dying = dying.provide(Arc::clone(&outside)).build();
        let paused = soon(dying.session("s").unwrap().run(&graph, Log::update())).await.is_ok();
        let file: Arc<dyn JournalStore> =
            Arc::new(Sqlite::open(folder.path().join(format!("{appends}.db"))).unwrap());
        let memory: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
        transfer(&*inner, &*file, &id).await.unwrap();
        if file.head(&id).await.unwrap().is_none() {
            // Nothing was stored.
            continue;
        }
        let done = transfer(&*file, &*memory, &id).await.unwrap();
        assert!(matches!(done, TransferOutcome::Copied(_)), "{done:?}");
        copies += 1;
        let before = outside.world.all();
        for store in [file, memory] {
            verify(&*store, &id).await.unwrap();
            let state = finished(Arc::clone(&store), &graph, &outside).await;
            let mut steps = state.steps.clone();
            steps.sort();
            assert_eq!(
                (steps.join(" ").as_str(), state.sum),
                ("ask first last second third", 12),
                "{appends}"
            );
            verify(&*store, &id).await.unwrap();
        }
        if paused {
            let ask = before.keys().find(|task| task.starts_with("ask")).unwrap();
            assert_eq!(outside.world.times(ask), 1, "it was recorded");
            break;
        }
    }
    assert!(copies > 6, "{copies}");
}

/// Two branches with todos; the slow one reports progress while the fast one ends.
fn listed() -> Graph<Log> {
    let work = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        let todo = cx.todos().start(cx.node(), format!("Work on {}", cx.node()))?;
        for part in 1..=3_u8 {
            let under = todo.children().start(format!("{}-{part}", cx.node()), "A part")?;
            look_at(state, cx, part).await?;
            under.done();
            todo.progress(part * 30, format!("{part} of 3"));
        }
        cx.emit("worked", serde_json::json!({ "by": cx.node() }))?;
        todo.done();
        Ok(note(cx))
    };
    Graph::<Log>::builder("listed")
        .node("a", work)
        .node("b", work)
        .node("c", work)
        .node("d", work)
        .path([START, "a", "b", "c", END])
        .path([START, "d", END])
        .dataflow()
        .build()
        .unwrap()
}

async fn look_at(state: &Log, cx: &Context, part: u8) -> Result<()> {
    let outside = cx.get::<Arc<Outside>>()?;
    let seen = state.steps.clone();
    let recorded: Vec<String> = cx
        .step(format!("part {part}"), async {
            outside.world.happens(format!("{} {part}", cx.task()));
            for _ in 0..part {
                tokio::task::yield_now().await;
            }
            Ok::<_, NodeError>(seen.clone())
        })
        .await?;
    if recorded != seen {
        return Err(NodeError::permanent(format!("it saw {recorded:?} and now {seen:?}")));
    }
    Ok(())
}

#[tokio::test]
async fn todos_and_events_of_parallel_branches_are_the_same_wherever_the_process_dies() {
    let graph = listed();
    for appends in 0.. {
        let (inner, outside) = (journal(), Arc::<Outside>::default());
        let dying = Runtime::builder().journal(Dying::at(&inner, appends, true));
        let dying = dying.provide(Arc::clone(&outside)).build();
        let whole = soon(dying.session("s").unwrap().run(&graph, Log::update())).await.is_ok();
        let runtime = on(&inner).graph(&graph).provide(Arc::clone(&outside)).build();
        let session = runtime.session("s").unwrap();
        match session.status().await {
            Err(SessionError::NotFound { .. }) => continue,
            status => {
                status.unwrap();
            }
        }
        runtime.recover().await.unwrap();
        soon(session.wait_status()).await.unwrap();
        let todos = session.status().await.unwrap().todos;
        let ids: BTreeSet<&str> = todos.iter().map(|todo| todo.id.as_str()).collect();
        assert_eq!(ids.len(), 16, "{appends}: {ids:?}");
        for todo in &todos {
            assert_eq!((todo.status, todo.progress), (TodoStatus::Completed, 100), "{appends}: {todo:?}");
        }
        let events = session.events(Seq::ZERO, 10_000).await.unwrap();
        let worked =
            |event: &&Event| matches!(&event.body, EventBody::Custom(custom) if custom.name == "worked");
        assert_eq!(events.iter().filter(worked).count(), 4, "{appends}");
        if whole {
            assert!(appends > 8, "{appends}");
            break;
        }
    }
}

#[tokio::test]
async fn on_stop_gets_the_tasks_in_flight_and_these_keep_their_states() {
    for fails in [false, true] {
        let end = async move |state: &Log, cx: &Context| -> Result<LogUpdate> {
            let update = third(state, cx).await?;
            if fails && cx.get::<Arc<Outside>>()?.world.happens("end") == 1 {
                return Err(NodeError::permanent("not yet"));
            }
            Ok(update)
        };
        // Fails, or is stopped, while `ask` is in flight since `first`.
        let graph = asking()
            .node("end", end)
            .node("hold", slow)
            .path(["third", "end", END])
            .path(["second", "hold", END])
            .on_stop(|state, tasks| {
                let open: BTreeSet<&str> = tasks.iter().map(|task| task.node()).collect();
                let seen =
                    format!("{} left {}", state.steps.len(), open.into_iter().collect::<Vec<_>>().join(" "));
                Some(Log::update().note(seen).steps(["stopped".to_owned()]))
            })
            .build()
            .unwrap();
        for restart in [false, true] {
            let (inner, outside) = (journal(), Arc::<Outside>::default());
            let first = on(&inner).graph(&graph).provide(Arc::clone(&outside)).build();
            let session = first.session("s").unwrap();
            let run = session.run(&graph, Log::update()).start().await.unwrap();
            let mut left = 3;
            let mut events = session.subscribe(Some(Seq::ZERO));
            if fails {
                soon(run.outcome::<Log>()).await.unwrap_err();
            } else {
                while left > 0 {
                    let event = soon(events.next()).await.unwrap();
                    left -= u32::from(matches!(event.body, EventBody::SuperstepCommitted(_)));
                }
                session.stop().await.unwrap();
                drop(run);
            }
            let state = session.state::<Log>().await.unwrap();
            let note = state.note.clone().unwrap();
            assert!(note.contains("ask") && note.contains("left"), "{note}");
            assert_eq!(state.steps.last().unwrap(), "stopped");
            // A second stop before anything else has ended.
            let runtime = if restart {
                first.shutdown(Duration::ZERO).await;
                on(&inner).graph(&graph).provide(Arc::clone(&outside)).build()
            } else {
                first
            };
            let session = runtime.session("s").unwrap();
            outside.gate.open();
            let mut run = session.resume().await.unwrap();
            while soon(run.wait_status()).await == RunStatus::Paused {
                run = session.answer(Answers::only(7)).await.unwrap();
            }
            let state = soon(run.outcome::<Log>()).await.unwrap().state().unwrap().clone();
            let steps: BTreeSet<&str> = state.steps.iter().map(String::as_str).collect();
            let wanted = ["ask", "end", "first", "hold", "last", "second", "stopped", "third"];
            assert_eq!(steps, BTreeSet::from(wanted), "{fails} {restart}: {state:?}");
            assert_eq!(state.steps.len(), wanted.len(), "each once: {state:?}");
            verify(&*inner, session.id()).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_starts_runs_in_dataflow_mode_which_another_process_finishes() {
    const MINUTE: i64 = 60_000;
    let (inner, outside, clock) = (journal(), Arc::<Outside>::default(), Arc::new(ManualClock::new(0)));
    let graph = asking().build().unwrap();
    let process =
        || on(&inner).graph(&graph).provide(Arc::clone(&outside)).clock(Arc::clone(&clock) as _).build();
    let first = process();
    let run = ScheduledRun::new("asking", serde_json::json!({ "sum": 100 }));
    let schedules = Schedules::new(&first);
    schedules.create("r", Timing::cron("* * * * *", "UTC").unwrap(), run).await.unwrap();
    let mut begun = Vec::new();
    for minute in 1..=2 {
        let mut events = first.session("schedule-r").unwrap().subscribe(Some(Seq::ZERO));
        clock.set(minute * MINUTE);
        let mut fired = 0;
        while fired < minute {
            let event = within_an_hour(events.next()).await.unwrap();
            fired += i64::from(matches!(&event.body, EventBody::NodeFinished(end) if end.node == "fire"));
        }
        begun.push(format!("r-19700101T000{minute}00Z"));
    }
    for id in &begun {
        let status = within_an_hour(first.session(id).unwrap().wait_status()).await.unwrap();
        assert_eq!(status, RunStatus::Paused);
    }
    first.shutdown(Duration::ZERO).await;
    let second = process();
    for id in begun {
        let session = second.session(&id).unwrap();
        let run = session.answer(Answers::only(7)).await.unwrap();
        let state = within_an_hour(run.outcome::<Log>()).await.unwrap();
        assert_eq!(state.state().unwrap().sum, 112, "{id}");
    }
}

#[tokio::test]
async fn an_agent_in_a_branch_works_in_dataflow_mode_and_a_message_to_the_run_is_refused() {
    let agent =
        Agent::builder("writer").model(Model::new(Scripted::new([Turn::text("done")]))).build().unwrap();
    let graph = Graph::<Log>::builder("outer")
        .node(
            "agent",
            agent.as_node(
                |_: &Log| {
                    let mut state = AgentState::default();
                    state.messages = [Message::user("go")].into_iter().collect();
                    state
                },
                |state: AgentState| Log::update().note(state.answer()),
            ),
        )
        .node("ask", async |_: &Log, cx: &Context| {
            Ok(note(cx).sum(cx.ask::<i64>(Question::new("How much?")).await?))
        })
        .path([START, "agent", END])
        .path([START, "ask", END])
        .dataflow()
        .build()
        .unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    assert!(soon(session.run(&graph, Log::update())).await.unwrap().is_paused());
    let refused = session.steer("shorter").await.unwrap_err();
    assert_eq!(refused.code().name(), "nothing_to_do", "{refused}");
    let run = session.answer(Answers::only(3)).await.unwrap();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    assert_eq!((outcome.state().unwrap().sum, outcome.state().unwrap().note.as_deref()), (4, Some("done")));
}

/// A version of a program: a fast branch with a subgraph beside two nodes that ask.
fn versioned(factor: i64, more: bool) -> Graph<Log> {
    let held = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        let name: String = cx.ask(Question::new(cx.node().to_owned())).await?;
        Ok(note(cx).steps([format!("{name} {}", state.steps.len())]))
    };
    let inner = Graph::<Log>::builder("inner")
        .node("x", plain)
        .node("y", async move |_: &Log, cx: &Context| Ok(note(cx).sum(factor)))
        .path([START, "x", END])
        .path([START, "y", END])
        .dataflow()
        .build()
        .unwrap();
    let graph = Graph::<Log>::builder("versioned")
        .node("a", held)
        .node("b", held)
        .node("inner", inner.as_node(|_: &Log| Log::default(), |inner: Log| Log::update().sum(inner.sum)))
        .node("sees", async |state: &Log, _: &Context| Ok(Log::update().note(state.steps.join(","))))
        .path([START, "a", END])
        .path([START, "b", "sees"])
        .path([START, "inner", END]);
    let graph =
        if more { graph.node("more", plain).path(["sees", "more", END]) } else { graph.edge("sees", END) };
    graph.dataflow().build().unwrap()
}

#[tokio::test]
async fn a_replay_against_another_version_names_what_differs_and_keeps_the_recorded_order() {
    for order in [["a", "b"], ["b", "a"]] {
        let inner = journal();
        let recorded = versioned(1, false);
        let session = on(&inner).graph(&recorded).build().session("s").unwrap();
        assert!(soon(session.run(&recorded, Log::update())).await.unwrap().is_paused());
        for name in order {
            let open = session.status().await.unwrap().questions;
            let asked = open.iter().find(|open| open.question.prompt == name).unwrap();
            let mut run = session.answer(Answers::to(asked.id.clone(), name)).await.unwrap();
            soon(run.wait_status()).await;
        }
        let differences = async |graph: Graph<Log>| {
            let runtime = on(&inner).graph(&graph).build();
            let report = soon(runtime.session("s").unwrap().replay()).await.unwrap();
            report.differences.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(differences(versioned(1, false)).await, [""; 0], "{order:?}");
        let changed = differences(versioned(5, false)).await;
        assert_eq!(changed.len(), 2, "{changed:?}");
        assert!(changed.iter().any(|text| text.starts_with("inner#3/y")), "{changed:?}");
        assert!(changed.iter().any(|text| text.starts_with("inner#3:")), "{changed:?}");
        let added = differences(versioned(1, true)).await;
        let [only] = &added[..] else { panic!("{order:?}: {added:?}") };
        assert!(only.starts_with("more") && only.contains("recorded not executed"), "{only}");
    }
}
