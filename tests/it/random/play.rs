//! Playing a random graph: crashes, store faults, callers that leave, restarts.

use super::*;

#[derive(Debug, Clone)]
pub(super) struct Fate {
    /// Appends that succeed before each process dies.
    pub(super) crashes: Vec<u64>,
    /// Appends of each process that fail and are tried again: at which, how often in a row, and how.
    pub(super) faults: Vec<(u64, u64, Fault)>,
    pub(super) slow: bool,
    pub(super) durability: Durability,
    /// A restart at every pause.
    pub(super) restart: bool,
    /// All questions at once, or one after another.
    pub(super) all: bool,
    /// How often each call on the session is polled before its caller drops it; the calls after them are awaited.
    pub(super) drops: Vec<u8>,
}

pub(super) struct Played {
    pub(super) result: Result<Model, String>,
    pub(super) world: Arc<World>,
    pub(super) journal: Vec<serde_json::Value>,
    /// Effects that ran again although their result had been stored.
    pub(super) paid_twice: Vec<String>,
}

pub(super) async fn play(spec: &Spec, fate: &Fate) -> Played {
    let inner = journal();
    let world = Arc::new(World::default());
    let graph = spec.graph();
    let mut crashes = fate.crashes.clone().into_iter();
    let mut drops = fate.drops.iter();
    let mut paid_twice = Vec::new();
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    // More tries than there can be refusals in a row.
    let mut retry = StoreRetry::attempts(16);
    retry.base = std::time::Duration::from_millis(1);
    let faults =
        fate.faults.iter().flat_map(|&(at, times, fault)| (at..at + times).map(move |at| (at, fault)));
    let faults: Vec<(u64, Fault)> = faults.collect();
    let make = |crash: Option<u64>| {
        let dying = Dying::at(&inner, crash.unwrap_or(u64::MAX), fate.slow);
        let faulty = Faulty::planned(dying, faults.iter().copied());
        // More await points at which a caller can leave.
        let store: Arc<dyn JournalStore> = if fate.drops.is_empty() { faulty } else { Yielding::on(faulty) };
        Runtime::builder()
            .journal(store)
            .options(|options| options.store_retry = retry)
            .graph(&graph)
            .provide(Arc::clone(&world))
            .durability(fate.durability)
            .build()
    };
    let mut runtime = make(crashes.next());
    let mut rounds = 0;
    let result = loop {
        rounds += 1;
        assert!(rounds < 3_000, "it does not come to an end");
        let session = runtime.session("s").unwrap();
        // The commands of callers that left are completed first; what they did is seen below.
        drop(session.cancel_queued(RunId(u64::MAX)).await);
        let mut lost = false;
        let status = match session.status().await {
            Ok(status) if status.status == RunStatus::Completed => {
                break Ok(session.state::<Model>().await.unwrap());
            }
            Ok(status) if status.status == RunStatus::Failed => {
                let code = status.failure.unwrap().code;
                if code != "store_unavailable" {
                    break Err(code);
                }
                // The process died while no caller waited.
                lost = true;
                Ok(None)
            }
            Ok(status) => Ok(Some(status)),
            Err(SessionError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        let call = async {
            match status? {
                None if lost => Ok(()),
                None => session.run(&graph, Model::update()).await.map(drop),
                Some(status) if status.status == RunStatus::Paused => {
                    let count = if fate.all { status.questions.len() } else { 1 };
                    let answers = status.questions.iter().take(count);
                    let answers = answers.map(|open| (open.id.clone(), answer_to(&open.question.prompt)));
                    session.answer(Answers::each(answers)).await?.outcome::<Model>().await.map(drop)
                }
                // The caller dropped the call.
                Some(status) if status.location == RunLocation::InMemory => {
                    session.wait_status().await.map(drop)
                }
                Some(_) => session.resume().await?.outcome::<Model>().await.map(drop),
            }
        };
        let outcome = match drops.next() {
            Some(&polls) => drop_after(usize::from(polls), call).await.unwrap_or(Ok(())),
            None => call.await,
        };
        let died = match &outcome {
            Err(error) => error.code().name() == "store_unavailable",
            Ok(()) => lost,
        };
        if let (Err(error), false) = (&outcome, died)
            && !matches!(error, SessionError::Run(_))
        {
            break Err(format!("{error:?}"));
        }
        let restarts =
            fate.restart && session.status().await.is_ok_and(|now| now.status == RunStatus::Paused);
        if died || restarts {
            // What was stored before the process died must not be executed again by the next process.
            check_paid(&known, &world, &mut paid_twice);
            known = recorded(&inner, &world).await;
            if !died {
                runtime.shutdown(std::time::Duration::from_secs(1)).await;
            }
            runtime = make(if died { crashes.next() } else { None });
        }
    };
    check_paid(&known, &world, &mut paid_twice);
    let reader = on(&inner).graph(&graph).build();
    let journal = facts(&reader.session("s").unwrap()).await;
    Played { result, world, journal, paid_twice }
}

pub(super) fn check_paid(known: &BTreeMap<String, u32>, world: &World, paid_twice: &mut Vec<String>) {
    paid_twice.extend(
        known.iter().filter(|(what, times)| world.times(what) != **times).map(|(what, _)| what.clone()),
    );
}

/// The effects with stored results, and how often each has happened so far.
pub(super) async fn recorded(inner: &Arc<InMemoryJournal>, world: &World) -> BTreeMap<String, u32> {
    let reader = on(inner).build();
    let session: Session = reader.session("s").unwrap();
    facts(&session)
        .await
        .iter()
        .filter(|fact| fact["type"] == "step_recorded")
        .map(|fact| format!("{} {}", fact["task"].as_str().unwrap(), fact["data"]["key"].as_str().unwrap()))
        .map(|what| (what.clone(), world.times(&what)))
        .collect()
}

pub(super) fn block_on<F: Future>(threads: bool, future: F) -> F::Output {
    let mut builder = if threads {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2);
        builder
    } else {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.start_paused(true);
        builder
    };
    builder.enable_time().build().unwrap().block_on(async {
        match tokio::time::timeout(std::time::Duration::from_secs(20), future).await {
            Ok(output) => output,
            Err(_) => panic!("it hangs"),
        }
    })
}

pub(super) fn fate() -> impl Strategy<Value = Fate> {
    (
        prop::collection::vec(0u64..25, 0..4),
        faults(0..3),
        any::<bool>(),
        prop_oneof![Just(Durability::Sync), Just(Durability::Async)],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(crashes, faults, slow, durability, restart, all)| Fate {
            crashes,
            faults,
            slow,
            durability,
            restart,
            all,
            drops: Vec::new(),
        })
}

/// How often each of the first calls is polled: some end before their first await point, most in the middle.
pub(super) fn drops() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![2 => 0u8..12, 1 => 12u8..80], 1..12)
}

pub(super) fn faults(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(u64, u64, Fault)>> {
    let kind = prop_oneof![Just(Fault::Refused), Just(Fault::StoredButReported), Just(Fault::Slow)];
    prop::collection::vec((0u64..25, 1u64..4, kind), count)
}

pub(super) const CALM: Fate = Fate {
    crashes: Vec::new(),
    faults: Vec::new(),
    slow: false,
    durability: Durability::Async,
    restart: false,
    all: false,
    drops: Vec::new(),
};
