//! Webhooks under faults: at each store call of a delivery the process dies or the store fails, and each acknowledged request is
//! reported all the same.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Runtime,
    clock::{Clock, WallClock},
    journal::{InMemoryJournal, JournalStore, Recent, StoreError},
    testing::{HookedStore, StoreCall, StoreHook},
};
use agent_server::{Auth, Server};
use hyper::Method;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    support::{
        LONG, Reply,
        agent::{Puppeteer, Strings, puppet},
        send,
    },
    webhook::{Receiver, webhooks},
};

/// A clock two minutes behind, so that each delivery is old enough to be an orphan.
#[derive(Debug)]
struct Behind;

impl Clock for Behind {
    fn now_ms(&self) -> i64 {
        WallClock.now_ms() - 120_000
    }
}

/// What happens at one call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The process dies before the call.
    Death,
    /// The process dies after the call.
    LateDeath,
    /// The call fails.
    Refused,
    /// The call succeeds and is reported as failed.
    Unreported,
}

/// A store with a fault at one call.
#[derive(Debug)]
struct FaultAt {
    fault: Fault,
    at: u64,
    calls: AtomicU64,
    dead: AtomicBool,
}

impl FaultAt {
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Whether the call with the fault was made.
    fn is_reached(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.at
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.is_dead() {
            // Not `Unavailable`: a dead process tries nothing again.
            true => Err(StoreError::Damaged { reason: "the process is dead".into() }),
            false => Ok(()),
        }
    }
}

impl StoreHook for FaultAt {
    async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        self.check()?;
        if matches!(call, StoreCall::Renew) || self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return Ok(());
        }
        match self.fault {
            Fault::Death => self.dead.store(true, Ordering::SeqCst),
            Fault::Refused => return Err(StoreError::Unavailable { reason: "a fault of the test".into() }),
            Fault::LateDeath | Fault::Unreported => {}
        }
        self.check()
    }

    async fn after(&self, call: StoreCall) -> Result<(), StoreError> {
        // The call with the number `at` is the latest one: calls overlap rarely.
        if matches!(call, StoreCall::Renew) || self.calls.load(Ordering::SeqCst) != self.at + 1 {
            return Ok(());
        }
        match self.fault {
            Fault::LateDeath => self.dead.store(true, Ordering::SeqCst),
            Fault::Unreported => {
                self.calls.fetch_add(1, Ordering::SeqCst);
                return Err(StoreError::Unavailable { reason: "a fault of the test".into() });
            }
            Fault::Death | Fault::Refused => {}
        }
        self.check()
    }

    fn lease(&self, _: Duration) -> Duration {
        Duration::ZERO
    }
}

/// A server process on a store.
struct Process {
    runtime: Runtime,
    strings: Arc<Strings>,
    store: Arc<HookedStore<FaultAt>>,
    address: std::net::SocketAddr,
    end: oneshot::Sender<()>,
    tasks: TaskTracker,
}

impl Process {
    async fn start(journal: &Arc<InMemoryJournal>, fault: Fault, at: u64, sweep: Duration) -> Self {
        let hook = FaultAt { fault, at, calls: AtomicU64::new(0), dead: AtomicBool::new(false) };
        let store = Arc::new(HookedStore::new(Arc::clone(journal) as Arc<dyn JournalStore>, hook));
        let (builder, strings) = puppet();
        let builder = builder.journal(store.clone()).clock(Arc::new(Behind));
        let runtime = builder.options(|options| options.grace = Duration::from_millis(200)).build();
        let server = Server::builder(runtime.clone()).agent(Puppeteer).auth(Auth::off()).webhooks(webhooks());
        let server = server.secret("one secret of all processes").options(|options| {
            options.sweep = sweep;
            options.grace = Duration::from_millis(50);
        });
        let server = server.bind("127.0.0.1:0").await.unwrap();
        let (address, tasks) = (server.address(), TaskTracker::new());
        let (end, ended) = oneshot::channel::<()>();
        tasks.spawn(server.serve(async {
            ended.await.ok();
        }));
        tasks.close();
        Self { runtime, strings, store, address, end, tasks }
    }

    /// A process without a fault.
    async fn healthy(journal: &Arc<InMemoryJournal>, sweep: Duration) -> Self {
        Self::start(journal, Fault::Refused, u64::MAX - 1, sweep).await
    }

    async fn end(self) {
        drop(self.end);
        timeout(LONG, self.tasks.wait()).await.unwrap();
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        let headers = [("idempotency-key", key)];
        send(self.address, Method::POST, path, &headers, body.to_string()).await
    }

    /// Sends a request, again after each error of a server, until it is acknowledged or refused.
    async fn settle(mut self, journal: &Arc<InMemoryJournal>, request: (&str, &str, &Value)) -> (Self, u16) {
        for _ in 0..40 {
            let reply = self.post(request.0, request.1, request.2).await;
            if self.store.is_dead() {
                self.end().await;
                self = Self::healthy(journal, NEVER).await;
            } else if reply.status.as_u16() < 500 {
                return (self, reply.status.as_u16());
            } else {
                sleep(Duration::from_millis(5)).await;
            }
        }
        panic!("{request:?} is never answered");
    }
}

const NEVER: Duration = Duration::from_secs(3_600);

/// Waits until the report of a run arrives; a process that died is replaced, as is one that finds it only in a sweep.
async fn report_of(
    receiver: &mut Receiver,
    mut process: Process,
    journal: &Arc<InMemoryJournal>,
) -> (Process, String, Value) {
    for _ in 0..60 {
        tokio::select! {
            (id, body) = receiver.reported() => return (process, id, body),
            () = sleep(Duration::from_millis(100)) => {}
        }
        process.end().await;
        process = Process::healthy(journal, NEVER).await;
    }
    panic!("no report arrives");
}

/// A request that is refused and later accepted under the same key, with a fault. Returns whether the fault was reached.
async fn refused_then_accepted(fault: Fault, at: u64) -> bool {
    let journal = Arc::new(InMemoryJournal::new());
    let (mut first, mut second) = (Receiver::start().await, Receiver::start().await);
    let process = Process::start(&journal, fault, at, NEVER).await;
    let store = Arc::clone(&process.store);
    let ask = json!({"message": "ask two", "session_id": "s", "webhook": {"url": first.url()}});
    let plain = json!({"message": "x", "session_id": "s", "webhook": {"url": second.url()}});
    let (process, status) = process.settle(&journal, ("/run-async", "a", &ask)).await;
    assert_eq!(status, 200);
    let (process, status) = process.settle(&journal, ("/run-async", "b", &plain)).await;
    assert_eq!(status, 409);
    let (process, _) = process.settle(&journal, ("/stop/s", "c", &json!({}))).await;
    let (process, status) = process.settle(&journal, ("/run-async", "b", &plain)).await;
    assert_eq!(status, 200);
    let (process, id, report) = report_of(&mut first, process, &journal).await;
    assert_eq!((&report["type"], &report["data"]["run"]), (&json!("run.stopped"), &json!(1)));
    let mut ids = BTreeSet::from([id]);
    let (process, id, report) = report_of(&mut second, process, &journal).await;
    assert_eq!((&report["type"], &report["data"]["run"]), (&json!("run.completed"), &json!(2)));
    ids.insert(id);
    process.end().await;
    // Deliveries without a run, and those that were delivered, are deleted in the end.
    let process = Process::healthy(&journal, Duration::from_millis(2)).await;
    let empty = async {
        loop {
            let all = process.runtime.recent(Recent { limit: 10, ..Recent::default() }).await.unwrap();
            if all.iter().all(|info| info.head.summary.graph != "webhook") {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, empty).await.unwrap();
    process.end().await;
    // Reports that were sent again have the same id and the same run.
    for (receiver, run) in [(&mut first, 1), (&mut second, 2)] {
        while let Some((id, report)) = receiver.next_report() {
            assert!(ids.contains(&id), "{id}");
            assert_eq!(report["data"]["run"], run);
        }
    }
    store.is_reached()
}

async fn at_each_call(fault: Fault) {
    let mut at = 0;
    loop {
        let reached = timeout(LONG, refused_then_accepted(fault, at));
        match reached.await {
            Ok(true) => at += 1,
            Ok(false) => break,
            Err(_) => panic!("{fault:?} at call {at}: it hangs"),
        }
    }
    assert!(at > 30, "{fault:?}: only {at} calls");
}

#[tokio::test]
async fn a_webhook_is_sent_although_the_process_dies_before_any_store_call() {
    at_each_call(Fault::Death).await;
}

#[tokio::test]
async fn a_webhook_is_sent_although_the_process_dies_after_any_store_call() {
    at_each_call(Fault::LateDeath).await;
}

#[tokio::test]
async fn a_webhook_is_sent_although_any_store_call_fails() {
    at_each_call(Fault::Refused).await;
}

#[tokio::test]
async fn a_webhook_is_sent_although_any_store_call_is_reported_as_failed() {
    at_each_call(Fault::Unreported).await;
}

#[tokio::test]
async fn a_delivery_is_not_an_orphan_while_its_request_is_in_progress() {
    let journal = Arc::new(InMemoryJournal::new());
    let mut receiver = Receiver::start().await;
    // Each sweep finds the delivery to be old.
    let process = Process::healthy(&journal, Duration::from_millis(1)).await;
    let wait = json!({"message": "linger", "session_id": "s"});
    assert_eq!(process.post("/run-async", "a", &wait).await.status, 200);
    process.strings.waiting.notified().await;
    // Its start waits for the grace of the run that it interrupts.
    let interrupt = json!({
        "message": "x", "session_id": "s", "on_busy": "interrupt", "webhook": {"url": receiver.url()}
    });
    assert_eq!(process.post("/run-async", "b", &interrupt).await.status, 200);
    let (_, report) = receiver.reported().await;
    assert_eq!((&report["type"], &report["data"]["run"]), (&json!("run.completed"), &json!(2)));
    process.end().await;
}

#[tokio::test]
async fn a_report_goes_to_the_address_of_the_request_that_was_accepted() {
    for at in 0.. {
        let journal = Arc::new(InMemoryJournal::new());
        let (mut wrong, mut right) = (Receiver::start().await, Receiver::start().await);
        let body = |receiver: &Receiver, message| json!({"message": message, "session_id": "s", "webhook": {"url": receiver.url()}});
        let process = Process::healthy(&journal, NEVER).await;
        let ask = json!({"message": "ask two", "session_id": "s"});
        assert_eq!(process.post("/run-async", "a", &ask).await.status, 200);
        process.end().await;
        // A process that dies while it refuses a request.
        let process = Process::start(&journal, Fault::Death, at, NEVER).await;
        process.post("/run-async", "b", &body(&wrong, "x")).await;
        let reached = process.store.is_reached();
        process.end().await;
        // Another request under the same key is accepted.
        let process = Process::healthy(&journal, NEVER).await;
        process.runtime.session("s").unwrap().stop().await.unwrap();
        assert_eq!(process.post("/run-async", "b", &body(&right, "y")).await.status, 200);
        let (process, _, report) = report_of(&mut right, process, &journal).await;
        assert_eq!(report["data"]["run"], 2);
        process.end().await;
        assert!(wrong.nothing_more(), "death at call {at}");
        if !reached {
            assert!(at > 5, "only {at} calls");
            return;
        }
    }
}
