//! How many states are alive at the same time while tasks in flight read earlier versions of the state.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// States that are alive at the same time, and the most of them.
static ALIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// States that were made.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Counts how many of it there are.
#[derive(Debug)]
struct Counted(());

impl Default for Counted {
    fn default() -> Self {
        MADE.fetch_add(1, Ordering::SeqCst);
        MOST.fetch_max(ALIVE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(())
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(State, Default, Debug, Clone, Serialize, Deserialize)]
struct Large {
    #[state(add)]
    turns: u64,
    #[state(untracked)]
    #[serde(skip)]
    counted: Counted,
}

/// Versions that tasks read until the end.
const VERSIONS: u64 = 5;

/// Every 100th turn starts tasks that read the state of that turn until the gate is open. The last turn opens it if there is
/// one task for each version.
fn readers(tasks: u32) -> Graph<Large> {
    let all = tasks * u32::try_from(VERSIONS).unwrap();
    let read = async move |_: &Large, _: u64, cx: &Context| -> Result<()> {
        let outside = cx.get::<Arc<Outside>>()?;
        if outside.world.happens("read") == all {
            outside.slow_began.open();
        }
        outside.gate.opened().await;
        Ok(())
    };
    let turn = async move |state: &Large, cx: &Context| -> Result<Outcome<Large>> {
        let outcome = Outcome::update(Large::update().turns(1));
        if tasks == 1 && state.turns == 100 * VERSIONS {
            cx.get::<Arc<Outside>>()?.gate.open();
        }
        let starts = state.turns.is_multiple_of(100) && state.turns < 100 * VERSIONS;
        let count = if starts { tasks } else { 0 };
        Ok(outcome.send_all((0..count).map(|_| Dispatch::new("read", &state.turns))))
    };
    Graph::<Large>::builder("large")
        .node("turn", turn)
        .node("read", read)
        .edge(START, "turn")
        .branch(
            "turn",
            |state: &Large| if state.turns <= 100 * VERSIONS { "turn" } else { END },
            ["turn", END],
        )
        .declare_targets("turn", ["read"])
        .edge("read", END)
        .max_supersteps(1_000)
        .dataflow()
        .build()
        .unwrap()
}

/// Checks the most states that were alive: one for each version that is read, the present one, and one that is being made.
fn check(what: &str) {
    let (most, wanted) = (MOST.load(Ordering::SeqCst), usize::try_from(VERSIONS).unwrap());
    assert!((wanted..=wanted + 3).contains(&most), "{what}: {most} states for {wanted} versions");
}

#[tokio::test]
async fn a_version_of_the_state_is_kept_once_and_only_while_tasks_read_it() {
    for durable in [false, true] {
        MOST.store(0, Ordering::SeqCst);
        let outside: Arc<Outside> = Arc::default();
        let runtime = if durable { stored(&outside) } else { runtime(&outside) };
        let session = runtime.session("s").unwrap();
        let outcome = soon(session.run(&readers(1), Large::update())).await.unwrap();
        assert_eq!(outcome.state().unwrap().turns, 501);
        check(if durable { "stored" } else { "in memory" });
    }

    // Without tasks that read earlier versions, no state is copied.
    MADE.store(0, Ordering::SeqCst);
    let session = stored(&Arc::default()).session("s").unwrap();
    assert_eq!(soon(session.run(&readers(0), Large::update())).await.unwrap().state().unwrap().turns, 501);
    let made = MADE.load(Ordering::SeqCst);
    assert!(made < 10, "{made} states for 501 turns");

    // Twenty tasks for each version, in the process that started them and in the next one.
    let (inner, graph) = (journal(), readers(20));
    for restarted in [false, true] {
        MOST.store(0, Ordering::SeqCst);
        let outside: Arc<Outside> = Arc::default();
        let runtime = on(&inner).provide(Arc::clone(&outside)).graph(&graph).build();
        let session = runtime.session("s").unwrap();
        let run = if restarted {
            session.resume().await.unwrap()
        } else {
            session.run(&graph, Large::update()).start().await.unwrap()
        };
        soon(outside.slow_began.opened()).await;
        check(if restarted { "restarted" } else { "twenty tasks" });
        if restarted {
            outside.gate.open();
            let outcome = soon(run.outcome::<Large>()).await.unwrap();
            assert_eq!(outcome.state().unwrap().turns, 501);
            check("finished");
        } else {
            soon(runtime.shutdown(Duration::ZERO)).await;
        }
    }
}
