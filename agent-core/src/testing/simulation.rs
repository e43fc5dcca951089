//! Runs of a scenario with simulated crashes, delays and errors, each determined by a seed.

use std::{
    env, fmt, future,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Effects,
    hooked_store::{HookedStore, StoreCall, StoreHook},
};
use crate::{
    clock::Clock,
    journal::{InMemoryJournal, JournalStore, StoreError},
    model::{ChatModel, Model, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest, ModelStream},
    session::{Runtime, RuntimeBuilder},
};

/// Environment variable with the only seed to run.
const SEED: &str = "SIMULATION_SEED";
/// Simulated time after which a scenario without an end has failed.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Start of simulated time, in milliseconds since 1970: 2026-01-01.
const START: i64 = 1_767_225_600_000;
/// Simulated time between the death of a process and the start of the next one.
const RESTART: i64 = 1_000;
/// One of this many calls fails, while errors are left.
const ERROR_RATE: u32 = 10;
/// The clock jumps before one of this many calls of the store.
const JUMP_RATE: u32 = 4;

/// Runs a scenario with many seeds. Each seed determines where the process crashes, how long calls of the store and of
/// models take, and which of them fail.
///
/// A scenario is an async function that drives a program to its end, as the `main` function of a process does: it makes a
/// runtime with [`SimulatedProcess::runtime`], resumes what an earlier process left, starts what was not started, answers questions, and
/// returns a result. After a crash it is called again with the same journal. Time is simulated (it passes while nothing can
/// run), and everything runs on one thread, so a seed leads to the same run every time. Work over 64 KiB of data at once runs
/// on other threads and is not ordered by the seed.
///
/// # Examples
///
/// A charge is made once, even though the process crashes up to three times.
///
/// ```
/// use agent_core::{Context, END, Graph, SessionError, START, State, testing::Simulation};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Order { #[state(append)] log: Vec<String> }
///
/// # fn main() {
/// let report = Simulation::new().seeds(0..50).run(async |process| {
///     let effects = process.effects().clone();
///     let graph = Graph::<Order>::builder("order")
///         .node("charge", async move |_: &Order, cx: &Context| {
///             let effects = effects.clone();
///             let key = cx.idempotency_key("charge");
///             let key = cx.step("charge", async move {
///                 effects.record(key.clone()); // the payment service ignores a key that it knows
///                 Ok::<_, std::io::Error>(key)
///             }).await?;
///             Ok(Order::update().log([key]))
///         })
///         .path([START, "charge", END])
///         .build()?;
///     let runtime = process.runtime().graph(&graph).build();
///     let session = runtime.session("order-1")?;
///     match session.status().await {
///         Err(SessionError::NotFound { .. }) => drop(session.run(&graph, Order::update()).await?),
///         _ => {
///             runtime.recover().await?; // as a server does at its start
///             session.wait_status().await?;
///         }
///     }
///     let order: Order = session.state().await?;
///     assert_eq!(order.log.len(), 1);
///     assert_eq!(process.effects().all().len(), 1, "one key, however often it was sent");
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// });
/// assert!(report.crashes > 0);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "call `run`"]
pub struct Simulation {
    seeds: Range<u64>,
    crashes: u32,
    store_errors: u32,
    model_errors: u32,
    longest_delay: Duration,
    longest_jump: Duration,
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulation {
    /// Creates a simulation of 100 seeds, each with at most 3 crashes, 2 errors of the store and 2 of models, and with delays
    /// of up to 100 ms. The clock does not jump.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// let report = Simulation::new().seeds(0..2).run(async |_| Ok::<_, std::io::Error>(()));
    /// assert_eq!(report.results.len(), 2);
    /// ```
    pub const fn new() -> Self {
        Self {
            seeds: 0..100,
            crashes: 3,
            store_errors: 2,
            model_errors: 2,
            longest_delay: Duration::from_millis(100),
            longest_jump: Duration::ZERO,
        }
    }

    /// Sets the seeds. The environment variable `SIMULATION_SEED` replaces them with one seed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// let report = Simulation::new().seeds(0..5).run(async |_| Ok::<_, std::io::Error>(()));
    /// assert_eq!(report.seeds, 5);
    /// ```
    pub const fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// Sets the maximum number of crashes of each seed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// let report = Simulation::new().seeds(0..5).crashes(0).run(async |_| Ok::<_, std::io::Error>(()));
    /// assert_eq!(report.crashes, 0);
    /// ```
    pub const fn crashes(mut self, most: u32) -> Self {
        self.crashes = most;
        self
    }

    /// Sets the maximum number of appends of each seed that fail: refused, or stored and reported as failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// let report = Simulation::new().seeds(0..5).store_errors(0).run(async |_| Ok::<_, std::io::Error>(()));
    /// assert_eq!(report.store_errors, 0);
    /// ```
    pub const fn store_errors(mut self, most: u32) -> Self {
        self.store_errors = most;
        self
    }

    /// Sets the maximum number of calls of [models](SimulatedProcess::model) of each seed that fail before the answer begins.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// let report = Simulation::new().seeds(0..5).model_errors(0).run(async |_| Ok::<_, std::io::Error>(()));
    /// assert_eq!(report.model_errors, 0);
    /// ```
    pub const fn model_errors(mut self, most: u32) -> Self {
        self.model_errors = most;
        self
    }

    /// Sets the longest delay before and after a call of the store or of a model, in simulated time. Delays change the order
    /// in which concurrent tasks continue.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    /// use std::time::Duration;
    ///
    /// let simulation = Simulation::new().seeds(0..5).longest_delay(Duration::from_secs(2));
    /// # simulation.run(async |_| Ok::<_, std::io::Error>(()));
    /// ```
    pub const fn longest_delay(mut self, delay: Duration) -> Self {
        self.longest_delay = delay;
        self
    }

    /// Sets the largest jump of the time of day, forward or back, before a call of the store: a clock that was wrong and is
    /// corrected, a suspended machine. Waits inside a process do not follow it. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    /// use std::time::Duration;
    ///
    /// let simulation = Simulation::new().seeds(0..5).longest_jump(Duration::from_secs(86_400));
    /// # simulation.run(async |_| Ok::<_, std::io::Error>(()));
    /// ```
    pub const fn longest_jump(mut self, jump: Duration) -> Self {
        self.longest_jump = jump;
        self
    }

    /// Runs the scenario once without faults, and then with each seed.
    ///
    /// An error that the scenario returns ends its process; if the process has met a simulated error, the next one begins as
    /// after a crash.
    ///
    /// # Panics
    ///
    /// The scenario panics, hangs, or returns an error that is not due to a simulated one. The seed is printed; run it alone
    /// with `SIMULATION_SEED`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// let report = Simulation::new().seeds(0..5).run(async |process| {
    ///     let session = process.runtime().build().session("s-1")?;
    ///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(session.id().to_string())
    /// });
    /// assert_eq!(report.results[0].value, "s-1");
    /// ```
    pub fn run<T, E, S>(&self, scenario: S) -> SimulationReport<T>
    where
        E: fmt::Display,
        S: AsyncFn(SimulatedProcess) -> Result<T, E>,
    {
        let none = Self { crashes: 0, store_errors: 0, model_errors: 0, ..self.clone() };
        let mut report = SimulationReport::default();
        let calls = none.run_seed(None, 0, &scenario, &mut report);
        let seeds = match env::var(SEED).ok() {
            Some(seed) => match seed.parse() {
                Ok(seed) => seed..seed + 1,
                Err(_) => panic!("{SEED} must be a whole number, not `{seed}`"),
            },
            None => self.seeds.clone(),
        };
        report = SimulationReport::default();
        for seed in seeds {
            let ran = catch_unwind(AssertUnwindSafe(|| {
                self.run_seed(Some(seed), calls, &scenario, &mut report);
            }));
            if let Err(panic) = ran {
                #[expect(clippy::print_stderr, reason = "the seed belongs to the output of the failed test")]
                {
                    eprintln!("seed {seed} failed; run it alone with {SEED}={seed}");
                }
                resume_unwind(panic);
            }
        }
        report
    }

    /// Runs one seed to its end. Returns the number of calls of the store.
    fn run_seed<T, E, S>(
        &self,
        seed: Option<u64>,
        calls: u64,
        scenario: &S,
        report: &mut SimulationReport<T>,
    ) -> u64
    where
        E: fmt::Display,
        S: AsyncFn(SimulatedProcess) -> Result<T, E>,
    {
        let mut rng = fastrand::Rng::with_seed(seed.unwrap_or_default());
        fastrand::seed(rng.u64(..));
        let journal: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
        let faults = Arc::new(Mutex::new(Faults {
            rng,
            delay: if seed.is_some() { self.longest_delay } else { Duration::ZERO },
            jump: if seed.is_some() { crate::clock::millis(self.longest_jump) } else { 0 },
            store_errors: self.store_errors,
            model_errors: self.model_errors,
            calls: 0,
            crash_at: None,
        }));
        let effects = Effects::default();
        let (mut crashes, mut now) = (0, START);
        let offset = Arc::new(AtomicI64::new(0));
        report.seeds += 1;
        for number in 0..=self.crashes + self.store_errors + self.model_errors {
            let crashed = CancellationToken::new();
            let errors = {
                let mut faults = faults.lock();
                faults.calls = 0;
                faults.crash_at = (crashes < self.crashes).then(|| faults.rng.u64(1..=calls + calls / 4 + 1));
                (faults.store_errors, faults.model_errors)
            };
            report.processes += 1;
            let executor = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime without I/O needs nothing of the machine");
            let ended = executor.block_on(async {
                let hook = SimulatedStore {
                    faults: Arc::clone(&faults),
                    crashed: crashed.clone(),
                    offset: Arc::clone(&offset),
                };
                let clock = SimulatedClock { start: now, since: Instant::now(), offset: Arc::clone(&offset) };
                let process = SimulatedProcess {
                    number,
                    crashes,
                    store: Arc::new(HookedStore::new(Arc::clone(&journal), hook)),
                    clock: Arc::new(clock.clone()),
                    effects: effects.clone(),
                    faults: Arc::clone(&faults),
                };
                let ended = tokio::select! {
                    biased;
                    () = crashed.cancelled() => None,
                    ended = tokio::time::timeout(LONGEST, scenario(process)) => Some(ended),
                };
                now = clock.without_jumps() + RESTART;
                ended
            });
            drop(executor);
            let (calls, left) = {
                let faults = faults.lock();
                (faults.calls, (faults.store_errors, faults.model_errors))
            };
            report.store_errors += u64::from(errors.0 - left.0);
            report.model_errors += u64::from(errors.1 - left.1);
            match ended {
                None => {
                    crashes += 1;
                    report.crashes += 1;
                }
                Some(Ok(Ok(result))) => {
                    report.results.push(SeedResult { seed: seed.unwrap_or_default(), value: result });
                    return calls;
                }
                Some(Ok(Err(_))) if errors != left => {}
                Some(Ok(Err(error))) => panic!("process {number} ended with an error: {error}"),
                Some(Err(_)) => panic!("process {number} did not end in 30 days of simulated time"),
            }
        }
        panic!("no process reached the end, although no fault was left for the last one")
    }
}

/// Result of a simulation.
///
/// # Examples
///
/// ```
/// use agent_core::testing::Simulation;
///
/// let report = Simulation::new().seeds(0..5).run(async |process| Ok::<_, std::io::Error>(process.number()));
/// assert_eq!(report.results.len(), 5);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SimulationReport<T> {
    /// Number of seeds.
    pub seeds: u64,
    /// Number of processes.
    pub processes: u64,
    /// Number of crashes.
    pub crashes: u64,
    /// Number of simulated errors of the store.
    pub store_errors: u64,
    /// Number of simulated errors of models.
    pub model_errors: u64,
    /// Results of the scenario, by seed.
    pub results: Vec<SeedResult<T>>,
}

/// Result of the scenario for one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedResult<T> {
    /// The seed.
    pub seed: u64,
    /// What the last process returned.
    pub value: T,
}

impl<T> Default for SimulationReport<T> {
    fn default() -> Self {
        Self { seeds: 0, processes: 0, crashes: 0, store_errors: 0, model_errors: 0, results: Vec::new() }
    }
}

/// One process of a [`Simulation`].
///
/// # Examples
///
/// ```
/// use agent_core::testing::Simulation;
///
/// Simulation::new().seeds(0..5).run(async |process| {
///     println!("process {} after {} crashes", process.number(), process.crashes());
///     Ok::<_, std::io::Error>(())
/// });
/// ```
#[derive(Debug, Clone)]
pub struct SimulatedProcess {
    number: u32,
    crashes: u32,
    store: Arc<HookedStore<SimulatedStore>>,
    clock: Arc<SimulatedClock>,
    effects: Effects,
    faults: Arc<Mutex<Faults>>,
}

impl SimulatedProcess {
    /// Returns a builder of a runtime on the simulated store and clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// Simulation::new().seeds(0..5).run(async |process| {
    ///     let runtime = process.runtime().build();
    ///     assert!(runtime.has_journal());
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// ```
    pub fn runtime(&self) -> RuntimeBuilder {
        let store: Arc<dyn JournalStore> = self.store.clone();
        Runtime::builder().journal(store).clock(self.clock.clone())
    }

    /// Returns a model with simulated delays and errors.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{model::testing::{Scripted, Turn}, testing::Simulation};
    ///
    /// Simulation::new().seeds(0..5).run(async |process| {
    ///     let model = process.model(Scripted::new([Turn::text("hello")]));
    ///     drop(model); // `Agent::builder(..).model(model)`
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// ```
    #[must_use]
    pub fn model(&self, inner: impl ChatModel) -> Model {
        Model::new(SimulatedModel { inner, faults: Arc::clone(&self.faults) })
    }

    /// Returns the effects on the outside world, which survive a crash.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// Simulation::new().seeds(0..5).run(async |process| {
    ///     assert!(process.effects().all().is_empty());
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// ```
    #[must_use]
    pub const fn effects(&self) -> &Effects {
        &self.effects
    }

    /// Returns the number of this process: 0 for the first one of a seed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// let report = Simulation::new().seeds(0..5).crashes(0).run(async |process| Ok::<_, std::io::Error>(process.number()));
    /// assert!(report.results.iter().all(|result| result.value == 0));
    /// ```
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Returns the number of crashes before this process.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::testing::Simulation;
    ///
    /// let report = Simulation::new().seeds(0..5).crashes(0).run(async |process| Ok::<_, std::io::Error>(process.crashes()));
    /// assert!(report.results.iter().all(|result| result.value == 0));
    /// ```
    #[must_use]
    pub const fn crashes(&self) -> u32 {
        self.crashes
    }
}

/// Faults that are left for a seed.
#[derive(Debug)]
struct Faults {
    rng: fastrand::Rng,
    delay: Duration,
    /// Largest jump of the clock in milliseconds.
    jump: i64,
    store_errors: u32,
    model_errors: u32,
    /// Number of calls of the store in this process.
    calls: u64,
    /// The process crashes at the call with this number.
    crash_at: Option<u64>,
}

impl Faults {
    /// Draws a delay; half of them are zero.
    fn delay(&mut self) -> Duration {
        match self.rng.bool() {
            true => self.delay.mul_f64(self.rng.f64()),
            false => Duration::ZERO,
        }
    }

    /// Draws how far the clock is wrong from now on, if it jumps.
    fn jump(&mut self) -> Option<i64> {
        (self.jump > 0 && self.rng.u32(..JUMP_RATE) == 0).then(|| self.rng.i64(-self.jump..=self.jump))
    }

    fn fails(rng: &mut fastrand::Rng, left: &mut u32) -> bool {
        let fails = *left > 0 && rng.u32(..ERROR_RATE) == 0;
        *left -= u32::from(fails);
        fails
    }
}

#[derive(Debug)]
struct SimulatedStore {
    faults: Arc<Mutex<Faults>>,
    crashed: CancellationToken,
    /// How far the clock is wrong.
    offset: Arc<AtomicI64>,
}

impl SimulatedStore {
    /// A call that a crash ends never returns.
    async fn crash(&self) {
        self.crashed.cancel();
        future::pending().await
    }

    fn refused() -> StoreError {
        StoreError::Unavailable { reason: "a simulated error".to_owned() }
    }
}

impl StoreHook for SimulatedStore {
    async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        if self.crashed.is_cancelled() {
            return future::pending().await;
        }
        let (delay, crashes, fails) = {
            let mut faults = self.faults.lock();
            faults.calls += 1;
            // Even numbers crash before the call, odd ones after it.
            let crashes = faults.crash_at == Some(faults.calls) && faults.calls.is_multiple_of(2);
            let faults = &mut *faults;
            if let Some(offset) = faults.jump() {
                self.offset.store(offset, Ordering::Relaxed);
            }
            let fails = call == StoreCall::Append && Faults::fails(&mut faults.rng, &mut faults.store_errors);
            (faults.delay(), crashes, fails)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if crashes || self.crashed.is_cancelled() {
            self.crash().await;
        }
        if fails { Err(Self::refused()) } else { Ok(()) }
    }

    async fn after(&self, call: StoreCall) -> Result<(), StoreError> {
        let (delay, crashes, fails) = {
            let mut faults = self.faults.lock();
            let crashes = faults.crash_at.is_some_and(|at| at % 2 == 1 && faults.calls >= at);
            let faults = &mut *faults;
            let fails = call == StoreCall::Append && Faults::fails(&mut faults.rng, &mut faults.store_errors);
            (faults.delay(), crashes, fails)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if crashes || self.crashed.is_cancelled() {
            self.crash().await;
        }
        if fails { Err(Self::refused()) } else { Ok(()) }
    }

    /// The next process acquires the session at once.
    fn lease(&self, _ttl: Duration) -> Duration {
        Duration::ZERO
    }
}

#[derive(Debug)]
struct SimulatedModel<M> {
    inner: M,
    faults: Arc<Mutex<Faults>>,
}

impl<M: ChatModel> ChatModel for SimulatedModel<M> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn provider(&self) -> &str {
        self.inner.provider()
    }

    fn capabilities(&self) -> ModelCapabilities {
        self.inner.capabilities()
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let (delay, fails) = {
            let mut faults = self.faults.lock();
            let faults = &mut *faults;
            (faults.delay(), Faults::fails(&mut faults.rng, &mut faults.model_errors))
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if fails {
            return Err(ModelError::new(ModelErrorKind::Overloaded { retry_after: None }));
        }
        self.inner.stream(request).await
    }
}

/// Time that passes only while nothing can run, across processes.
#[derive(Debug, Clone)]
struct SimulatedClock {
    start: i64,
    since: Instant,
    offset: Arc<AtomicI64>,
}

impl SimulatedClock {
    fn without_jumps(&self) -> i64 {
        self.start + i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> i64 {
        self.without_jumps() + self.offset.load(Ordering::Relaxed)
    }
}
