//! A limit of executing runs: the line of waiting runs, its order, and what leaves it.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, Context, END, Graph, RunOptions, RunStatus, Runtime, START, Session, State,
    journal::InMemoryJournal,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tests::on;
use tokio::{sync::Semaphore, time::timeout};

const LONG: Duration = Duration::from_secs(30);

#[derive(State, Default, Serialize, Deserialize)]
struct Work {
    asks: bool,
    answer: String,
}

/// The order in which runs began, and what lets one end.
#[derive(Default)]
struct Desk {
    begun: Mutex<Vec<String>>,
    changed: tokio::sync::Notify,
}

struct Gate(Semaphore);

fn graph() -> Graph<Work> {
    Graph::<Work>::builder("work")
        .node("do", async |work: &Work, cx: &Context| {
            let desk = cx.get::<Arc<Desk>>()?;
            desk.begun.lock().push(cx.session().to_string());
            desk.changed.notify_waiters();
            let answer: String = if work.asks { cx.ask("Now?").await? } else { String::new() };
            cx.get::<Arc<Gate>>()?.0.acquire().await?.forget();
            Ok::<_, agent_core::NodeError>(Work::update().answer(answer))
        })
        .edge(START, "do")
        .edge("do", END)
        .build()
        .unwrap()
}

struct Office {
    runtime: Runtime,
    desk: Arc<Desk>,
    gate: Arc<Gate>,
}

impl Office {
    fn open(journal: &Arc<InMemoryJournal>, slots: usize) -> Self {
        let (desk, gate) = (Arc::<Desk>::default(), Arc::new(Gate(Semaphore::new(0))));
        let runtime = on(journal)
            .graph(&graph())
            .provide(Arc::clone(&desk))
            .provide(Arc::clone(&gate))
            .options(|options| options.max_active_runs = slots)
            .build();
        Self { runtime, desk, gate }
    }

    fn session(&self, id: &str) -> Session {
        self.runtime.session(id).unwrap()
    }

    /// Starts a run of a subject: the first letter of the session.
    async fn start(&self, id: &str, asks: bool) -> agent_core::Run {
        let options = RunOptions::default().label("owner", &id[..1]);
        let input = Work::update().asks(asks);
        self.session(id).run(&graph(), input).options(options).start().await.unwrap()
    }

    /// Waits until so many runs have begun.
    async fn begun(&self, count: usize) -> Vec<String> {
        let wait = async {
            loop {
                let changed = self.desk.changed.notified();
                let begun = self.desk.begun.lock().clone();
                if begun.len() >= count {
                    return begun;
                }
                changed.await;
            }
        };
        timeout(LONG, wait).await.unwrap()
    }

    async fn waiting(&self, count: usize) {
        let wait = async {
            while self.runtime.waiting_runs() != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, wait).await.unwrap();
    }
}

#[tokio::test]
async fn subjects_take_turns_when_all_slots_are_used() {
    let office = Office::open(&Arc::default(), 1);
    let mut runs = vec![office.start("a0", false).await];
    office.begun(1).await;
    for (number, id) in ["a1", "a2", "a3", "b1", "b2", "c1"].into_iter().enumerate() {
        runs.push(office.start(id, false).await);
        office.waiting(number + 1).await;
        assert_eq!(runs.last().unwrap().status(), RunStatus::Running, "accepted");
    }
    for count in 1..=6 {
        assert_eq!(office.begun(count).await.len(), count, "one at a time");
        office.gate.0.add_permits(1);
    }
    assert_eq!(office.begun(7).await, ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]);
    office.gate.0.add_permits(1);
    for mut run in runs {
        assert_eq!(timeout(LONG, run.wait_status()).await.unwrap(), RunStatus::Completed);
    }
    assert_eq!(office.runtime.waiting_runs(), 0);
}

#[tokio::test]
async fn a_waiting_run_is_stopped_and_resumed_like_any_other() {
    let office = Office::open(&Arc::default(), 1);
    let mut first = office.start("a0", false).await;
    office.begun(1).await;
    let mut second = office.start("a1", false).await;
    office.waiting(1).await;
    assert_eq!(office.session("a1").stop().await.unwrap(), RunStatus::Stopped);
    assert_eq!(second.wait_status().await, RunStatus::Stopped);
    assert_eq!(office.runtime.waiting_runs(), 0);
    office.gate.0.add_permits(1);
    assert_eq!(first.wait_status().await, RunStatus::Completed);
    assert_eq!(office.begun(1).await, ["a0"], "nothing of the stopped run was executed");
    let mut resumed = office.session("a1").resume().await.unwrap();
    office.gate.0.add_permits(1);
    assert_eq!(timeout(LONG, resumed.wait_status()).await.unwrap(), RunStatus::Completed);
}

#[tokio::test]
async fn a_paused_run_uses_no_slot_and_an_answered_one_does_not_wait() {
    let office = Office::open(&Arc::default(), 1);
    let mut asks = office.start("a0", true).await;
    assert_eq!(timeout(LONG, asks.wait_status()).await.unwrap(), RunStatus::Paused);
    let mut other = office.start("a1", false).await;
    assert_eq!(office.begun(2).await, ["a0", "a1"]);
    let mut answered = office.session("a0").answer(Answers::only("yes")).await.unwrap();
    let mut third = office.start("a2", false).await;
    office.waiting(1).await;
    // Both execute. The end of one of them gives no slot to the third one, as the fourth one shows, which waits behind it.
    office.gate.0.add_permits(1);
    let one_ends = async {
        tokio::select! {
            status = other.wait_status() => status,
            status = answered.wait_status() => status,
        }
    };
    assert_eq!(timeout(LONG, one_ends).await.unwrap(), RunStatus::Completed);
    let mut fourth = office.start("a3", false).await;
    office.waiting(2).await;
    office.gate.0.add_permits(1);
    for run in [&mut other, &mut answered] {
        assert_eq!(timeout(LONG, run.wait_status()).await.unwrap(), RunStatus::Completed);
    }
    office.begun(3).await;
    office.gate.0.add_permits(2);
    for run in [&mut third, &mut fourth] {
        assert_eq!(timeout(LONG, run.wait_status()).await.unwrap(), RunStatus::Completed);
    }
}

#[tokio::test]
async fn waiting_runs_survive_the_process_and_wait_in_the_next_one() {
    let journal = Arc::<InMemoryJournal>::default();
    let office = Office::open(&journal, 1);
    let ids = ["a0", "a1", "b1", "a2"];
    for id in ids {
        office.start(id, false).await;
    }
    office.begun(1).await;
    office.waiting(3).await;
    timeout(LONG, office.runtime.shutdown(Duration::from_millis(50))).await.unwrap();
    assert_eq!(office.begun(1).await, ["a0"]);

    let office = Office::open(&journal, 1);
    let recovered = office.runtime.recover().await.unwrap();
    assert_eq!(recovered.resumed.len(), 4, "{recovered:?}");
    office.begun(1).await;
    office.waiting(3).await;
    office.gate.0.add_permits(4);
    for id in ids {
        let wait = async {
            while office.session(id).status().await.unwrap().status != RunStatus::Completed {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, wait).await.unwrap();
    }
    assert_eq!(office.begun(4).await.len(), 4, "each began once");
}
