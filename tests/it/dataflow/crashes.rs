//! Dataflow mode and processes that die.

use agent_core::{journal::InMemoryJournal, retry::RetryPolicy};
use tests::Dying;

use super::*;

/// Every kind of node: sends, a join of them, a subgraph in dataflow mode, a question, retries, a handled failure, a goto and
/// a deferred node, beside a branch that is in flight all the time.
fn everything() -> Graph<Log> {
    let ask = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        look(state, cx).await?;
        let amount: i64 = cx.ask(Question::new("How much?").key("amount")).await?;
        Ok(note(cx).sum(amount))
    };
    let inner = Graph::<Log>::builder("inner")
        .node("x", careful)
        .node("y", careful)
        .node("z", ask)
        .path([START, "x", "y", END])
        .path([START, "z", END])
        .dataflow()
        .build()
        .unwrap();
    let plan = async |state: &Log, cx: &Context| -> Result<Outcome<Log>> {
        look(state, cx).await?;
        Ok(Outcome::update(note(cx)).send_all((0..3_i64).map(|n| Dispatch::new("part", &n))))
    };
    let part = async |state: &Log, n: i64, cx: &Context| -> Result<LogUpdate> {
        look(state, cx).await?;
        Ok(note(cx).sum(n))
    };
    let flaky = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        look(state, cx).await?;
        if cx.attempt() < 3 {
            return Err(NodeError::transient("not yet"));
        }
        Ok(note(cx))
    };
    let broken = async |state: &Log, cx: &Context| -> Result<LogUpdate> {
        look(state, cx).await?;
        Err(NodeError::permanent("never"))
    };
    let select = async |state: &Log, cx: &Context| -> Result<Outcome<Log>> {
        look(state, cx).await?;
        Ok(Outcome::update(note(cx)).goto("chosen"))
    };
    Graph::<Log>::builder("everything")
        .node("plan", plan)
        .node("part", part)
        .node("sum", careful)
        .node(
            "inner",
            inner.as_node(
                |_: &Log| Log::default(),
                |inner: Log| {
                    let mut steps = inner.steps;
                    steps.sort();
                    Log::update().steps(steps).sum(inner.sum)
                },
            ),
        )
        .node("flaky", flaky.retry(RetryPolicy::attempts(3).first_wait(Duration::ZERO)))
        .node("broken", broken.on_error("handler"))
        .node("handler", careful)
        .node("select", select)
        .node("chosen", careful)
        .node("third", third)
        .node("slow", slow)
        .node("late", careful.deferred())
        .edge(START, "plan")
        .declare_targets("plan", ["part"])
        .join(["part"], "sum")
        .path(["sum", "inner", "third", END])
        .path([START, "flaky", "broken", END])
        .edge("handler", END)
        .path([START, "select", END])
        .declare_targets("select", ["chosen"])
        .edge("chosen", END)
        .path([START, "slow", "late", END])
        .dataflow()
        .build()
        .unwrap()
}

fn sorted(state: &Log) -> (Vec<String>, i64) {
    let mut steps = state.steps.clone();
    steps.sort();
    (steps, state.sum)
}

/// Runs `graph` with processes that die at the append `crash` of each, until one completes it. Returns the state, and
/// whether a process died.
async fn play(graph: &Graph<Log>, crash: u64, slow_store: bool, durability: Durability) -> (Log, bool) {
    let inner: Arc<InMemoryJournal> = journal();
    let outside: Arc<Outside> = Arc::default();
    let mut died = false;
    // Later processes live longer, so that each run comes to an end.
    for appends in [crash, crash + 3, u64::MAX] {
        let store = Dying::at(&inner, appends, slow_store);
        let runtime = Runtime::builder().journal(store).graph(graph).provide(Arc::clone(&outside)).build();
        let before = recorded(&inner, &outside).await;
        let result = finish(&runtime.session("s").unwrap(), graph, durability).await;
        for (task, times) in before {
            assert_eq!(outside.world.times(&task), times, "`{task}` was recorded and ran again");
        }
        match result {
            Ok(state) => {
                agent_core::journal::verify(&*inner, &"s".parse().unwrap()).await.unwrap();
                return (state, died);
            }
            Err(error) => {
                assert!(["store_unavailable", "store_damaged"].contains(&error.code().name()), "{error}");
                died = true;
            }
        }
    }
    panic!("the last process lives");
}

/// The tasks with a recorded step, and how often it has run.
async fn recorded(inner: &Arc<InMemoryJournal>, outside: &Outside) -> Vec<(String, u32)> {
    let session = on(inner).build().session("s").unwrap();
    let events = session.events(Seq::ZERO, 10_000).await.unwrap_or_default();
    let tasks = events.iter().filter_map(|event| match &event.body {
        EventBody::StepRecorded(step) if step.key == "seen" && step.error.is_none() => event.task.clone(),
        _ => None,
    });
    let tasks: BTreeSet<String> = tasks.map(|task| task.to_string()).collect();
    tasks.into_iter().map(|task| (task.clone(), outside.world.times(&task))).collect()
}

#[tokio::test]
async fn a_crash_at_every_append_changes_nothing() {
    for graph in [race().build().unwrap(), everything()] {
        let (calm, _) = play(&graph, u64::MAX - 3, false, Durability::Sync).await;
        for durability in [Durability::Sync, Durability::Async] {
            for slow_store in [false, true] {
                let mut crashes = 0;
                for crash in 0.. {
                    let (state, died) = play(&graph, crash, slow_store, durability).await;
                    assert_eq!(sorted(&state), sorted(&calm), "{durability:?} {slow_store} {crash}");
                    if !died {
                        break;
                    }
                    crashes += 1;
                }
                assert!(crashes > 5, "{crashes}");
            }
        }
    }
}

#[tokio::test]
async fn a_fork_from_every_entry_ends_in_the_same_state() {
    for graph in [race().build().unwrap(), everything()] {
        let outside: Arc<Outside> = Arc::default();
        let inner = journal();
        let session = on(&inner).graph(&graph).provide(Arc::clone(&outside)).build().session("s").unwrap();
        let calm = finish(&session, &graph, Durability::Sync).await.unwrap();
        let last = session.head().await.unwrap().last;
        for seq in (1..last.0).map(Seq) {
            let known = outside.world.all();
            // The same as the fold of another process.
            let state = session.state_at::<Log>(seq).await.unwrap();
            let other = on(&inner).graph(&graph).provide(Arc::clone(&outside)).build();
            let source = other.session("s").unwrap();
            assert_eq!(source.state_at::<Log>(seq).await.unwrap(), state);
            let recorded = source.events(Seq::ZERO, usize::try_from(seq.0).unwrap()).await.unwrap();
            let fork = source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
            assert_eq!(fork.state::<Log>().await.unwrap(), state);
            let ended = finish(&fork, &graph, Durability::Sync).await.unwrap();
            assert_eq!(sorted(&ended), sorted(&calm), "{seq}");
            for event in recorded {
                if let (Some(task), EventBody::StepRecorded(step)) = (&event.task, &event.body)
                    && step.error.is_none()
                {
                    let task = task.to_string();
                    assert_eq!(outside.world.times(&task), known[&task], "{seq} {task}");
                }
            }
            agent_core::journal::verify(&*inner, fork.id()).await.unwrap();
        }
    }
}
