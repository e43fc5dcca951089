//! Random graphs under random crashes, against a reference interpreter that knows nothing of the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use agent_core::{
    Answers, Context, END, Graph, NodeError, Question, Result, RunOptions, Runtime, START, Session,
    SessionError, State,
    engine::NodeFailure,
    graph::{Dispatch, Outcome, Route},
    ids::RunId,
    journal::{InMemoryJournal, JournalStore, StoreRetry},
    retry::RetryPolicy,
    run::Durability,
    run::RunStatus,
    session::RunLocation,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::{Dying, Fault, Faulty, World, Yielding, drop_after, facts, journal, on};

#[derive(State, Default, Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Model {
    #[state(append)]
    log: Vec<String>,
    #[state(add)]
    sum: i64,
    last: Option<String>,
    #[state(merge)]
    values: BTreeMap<String, Value>,
}

/// Where a node leads.
#[derive(Debug, Clone, PartialEq)]
enum Mode {
    /// To all its children.
    Edges,
    /// To one of its children, chosen from the state; `back`: also to an earlier node while there are turns left.
    Branch { salt: usize, back: Option<usize> },
    /// The node itself chooses one of its children.
    Goto { salt: usize },
    /// It sends so many inputs to each of its children, which take them.
    Sends(u8),
}

#[derive(Debug, Clone)]
struct Node {
    mode: Mode,
    /// Everything before this one from which it can be reached.
    parent: usize,
    more: Vec<usize>,
    /// A join of these leads here.
    joins: Vec<usize>,
    steps: u8,
    asks: u8,
    /// How many tries fail; more than `TRIES`: all of them, and a handler takes it.
    fails: u32,
    replaces: bool,
    deferred: bool,
    /// It is a subgraph of two nodes.
    nested: bool,
    /// Records, and writes into `values`, this one of the [`hostile`] values. Not in a subgraph.
    hostile: Option<u8>,
}

/// A key and a value that were once read back differently from how they were written, or that look like one of the
/// engine's own.
fn hostile(which: u8) -> (String, Value) {
    let key =
        ["$overwrite", "", "\0", "\u{2028}", "q1", "__proto__", "values", "\"}\n"][usize::from(which % 8)];
    let value = match which / 8 {
        0 => (0..80).fold(json!("deep"), |inner, _| json!([inner])),
        1 => (0..80).fold(json!("deep"), |inner, _| json!({ "$overwrite": inner })),
        2 => json!([u64::MAX, i64::MIN, 1.797e308, -0.0, 5e-324, 0.1]),
        3 => json!({ "$overwrite": ["values"], "type": "step_recorded", "seq": 1 }),
        4 => json!("\0\u{7f}\u{2028}\u{2029}\u{feff}\\u0000 \u{10ffff}"),
        _ => json!([null, {}, [], "", { "": null }]),
    };
    (key.to_owned(), value)
}

const TRIES: u32 = 4;
const TURNS: i64 = 60;

#[derive(Debug, Clone)]
struct Spec {
    nodes: Vec<Node>,
}

impl Spec {
    fn name(&self, at: usize) -> String {
        format!("n{at}")
    }

    /// Children by plain way, in order.
    fn children(&self, at: usize) -> Vec<usize> {
        (at + 1..self.nodes.len())
            .filter(|&child| {
                let node = &self.nodes[child];
                node.joins.is_empty() && (node.parent == at || node.more.contains(&at))
            })
            .collect()
    }

    fn joins_of(&self, at: usize) -> Vec<usize> {
        (at + 1..self.nodes.len()).filter(|&child| self.nodes[child].joins.contains(&at)).collect()
    }

    /// A node that takes an input cannot be reached otherwise.
    fn tidy(mut self) -> Self {
        for at in 0..self.nodes.len() {
            let parent = self.nodes[at].parent.min(at.saturating_sub(1));
            self.nodes[at].parent = parent;
            self.nodes[at].more.retain(|&more| more < at && more != parent);
            self.nodes[at].more.sort_unstable();
            self.nodes[at].more.dedup();
            let joins: BTreeSet<usize> = self.nodes[at].joins.iter().copied().filter(|&j| j < at).collect();
            self.nodes[at].joins = if joins.len() < 2 { Vec::new() } else { joins.into_iter().collect() };
            if at == 0 {
                self.nodes[0].joins.clear();
            }
        }
        // Children of a sender take inputs; nothing else may lead to them.
        for at in 0..self.nodes.len() {
            if let Mode::Sends(_) = self.nodes[at].mode {
                for child in at + 1..self.nodes.len() {
                    if self.nodes[child].parent == at && self.nodes[child].joins.is_empty() {
                        self.nodes[child].more.clear();
                    }
                }
                for child in at + 1..self.nodes.len() {
                    self.nodes[child].more.retain(|&more| more != at);
                }
                if self.children(at).is_empty() {
                    self.nodes[at].mode = Mode::Edges;
                }
            }
        }
        for at in 0..self.nodes.len() {
            if self.takes_input(at) {
                self.nodes[at].nested = false;
            }
            if let Mode::Branch { back: Some(back), salt } = self.nodes[at].mode {
                let back = back % (at + 1);
                let back = (!self.takes_input(back)).then_some(back);
                self.nodes[at].mode = Mode::Branch { back, salt };
            }
            if self.children(at).is_empty() && matches!(self.nodes[at].mode, Mode::Goto { .. }) {
                self.nodes[at].mode = Mode::Edges;
            }
        }
        self
    }

    fn takes_input(&self, at: usize) -> bool {
        at > 0
            && self.nodes[at].joins.is_empty()
            && matches!(self.nodes[self.nodes[at].parent].mode, Mode::Sends(_))
    }

    fn handled(&self, at: usize) -> bool {
        self.nodes[at].fails > TRIES
    }

    /// The child that is chosen, or an earlier node, or the end.
    fn choice(&self, at: usize, state: &Model) -> Option<usize> {
        let children = self.children(at);
        match &self.nodes[at].mode {
            Mode::Branch { back: Some(back), salt }
                if state.sum < TURNS && (state.log.len() + salt).is_multiple_of(2) =>
            {
                Some(*back)
            }
            Mode::Branch { salt, .. } | Mode::Goto { salt } if !children.is_empty() => {
                Some(children[(state.log.len() + salt) % children.len()])
            }
            _ => None,
        }
    }

    fn graph(&self) -> Graph<Model> {
        let mut builder = Graph::<Model>::builder("random").max_supersteps(400);
        for (at, node) in self.nodes.iter().enumerate() {
            let name = self.name(at);
            let spec = Arc::new(self.clone());
            if node.nested {
                let inner = Graph::<Model>::builder("inner")
                    .node("x", {
                        let spec = Arc::clone(&spec);
                        async move |state: &Model, cx: &Context| work(&spec, at, "x", None, state, cx).await
                    })
                    .node("y", {
                        let spec = Arc::clone(&spec);
                        async move |state: &Model, cx: &Context| work(&spec, at, "y", None, state, cx).await
                    })
                    .edge(START, "x")
                    .edge("x", "y")
                    .edge("y", END)
                    .build()
                    .unwrap();
                let out = {
                    let spec = Arc::clone(&spec);
                    move |state: Model| spec.outcome(at, &state, state.log.clone(), state.sum)
                };
                // What the inner state begins with is what the outer one ends with, so that choices see it.
                builder = builder.subgraph(
                    name,
                    &inner,
                    |outer: &Model| Model { last: Some(outer.log.len().to_string()), ..Model::default() },
                    out,
                );
            } else if self.takes_input(at) {
                builder = builder.node(name, async move |state: &Model, input: i64, cx: &Context| {
                    work(&spec, at, "", Some(input), state, cx).await
                });
            } else {
                builder = builder.node(name, async move |state: &Model, cx: &Context| {
                    work(&spec, at, "", None, state, cx).await
                });
            }
            if node.fails > 0 {
                builder = builder.retry(RetryPolicy::attempts(TRIES).first_wait(std::time::Duration::ZERO));
            }
            if node.deferred {
                builder = builder.deferred();
            }
            if self.handled(at) {
                builder = builder.on_error("handler");
            }
        }
        if (0..self.nodes.len()).any(|at| self.handled(at)) {
            builder = builder
                .node("handler", async |_: &Model, failure: NodeFailure, _: &Context| {
                    Ok(Model::update().log([format!("handled {}", failure.node)]))
                })
                .edge("handler", END);
        }
        builder = builder.edge(START, self.name(0));
        for (at, node) in self.nodes.iter().enumerate() {
            let children = self.children(at);
            let names: Vec<String> = children.iter().map(|&child| self.name(child)).collect();
            match &node.mode {
                Mode::Edges => {
                    for child in &names {
                        builder = builder.edge(self.name(at), child);
                    }
                    if names.is_empty() {
                        builder = builder.edge(self.name(at), END);
                    }
                }
                Mode::Branch { back, .. } => {
                    let spec = self.clone();
                    let mut targets = names.clone();
                    targets.extend(back.map(|back| self.name(back)).filter(|name| !names.contains(name)));
                    targets.push(END.to_owned());
                    builder = builder.branch(
                        self.name(at),
                        move |state: &Model| match spec.choice(at, state) {
                            Some(chosen) => Route::to(spec.name(chosen)),
                            None => Route::to(END),
                        },
                        targets,
                    );
                }
                Mode::Goto { .. } => {
                    builder = builder.declare_targets(self.name(at), names.clone()).edge(self.name(at), END);
                }
                Mode::Sends(_) => {
                    builder = builder.declare_targets(self.name(at), names.clone()).edge(self.name(at), END);
                }
            }
            if !node.joins.is_empty() {
                builder = builder.join(node.joins.iter().map(|&source| self.name(source)), self.name(at));
            }
        }
        builder.build().unwrap_or_else(|error| panic!("{error}\n{self:#?}"))
    }

    /// What the node returns when `log` and `sum` are its work. `before`: the state that it saw.
    fn outcome(&self, at: usize, before: &Model, log: Vec<String>, sum: i64) -> Outcome<Model> {
        let mut update = Model::update().sum(sum);
        if self.nodes[at].replaces {
            update = update.last(self.name(at));
        }
        let seen = if self.nodes[at].nested {
            Model {
                log: vec![String::new(); before.last.as_ref().map_or(0, |n| n.parse().unwrap())],
                ..Model::default()
            }
        } else {
            before.clone()
        };
        if let (Some(which), false) = (self.nodes[at].hostile, self.nodes[at].nested) {
            update = update.values([hostile(which)]);
        }
        let mut outcome = Outcome::update(update.log(log));
        match self.nodes[at].mode {
            Mode::Goto { .. } => {
                if let Some(chosen) = self.choice(at, &seen) {
                    outcome = outcome.goto(self.name(chosen));
                }
            }
            Mode::Sends(count) => {
                for child in self.children(at) {
                    for n in 0..i64::from(count) {
                        outcome = outcome.send(Dispatch::new(self.name(child), &n));
                    }
                }
            }
            _ => {}
        }
        outcome
    }
}

fn answer_to(prompt: &str) -> String {
    format!("<{prompt}>\0\u{2028}\"$overwrite\"")
}

/// What every node does: steps, questions, failures, an update.
async fn work(
    spec: &Spec,
    at: usize,
    inner: &str,
    input: Option<i64>,
    state: &Model,
    cx: &Context,
) -> Result<Outcome<Model>> {
    let world = cx.get::<Arc<World>>()?;
    let node = &spec.nodes[at];
    let task = cx.task().to_string();
    let mut log =
        vec![format!("{}{inner}{}", spec.name(at), input.map(|n| format!("({n})")).unwrap_or_default())];
    for n in 0..node.steps {
        let key = format!("s{n}");
        let count = cx
            .step(key.clone(), async {
                tokio::task::yield_now().await;
                world.happens(format!("{task} {key}"));
                Ok::<_, NodeError>(i64::from(n) + 1)
            })
            .await?;
        log.push(format!("+{count}"));
    }
    if let Some(which) = node.hostile {
        let (_, value) = hostile(which);
        let recorded: Value = cx.step("hostile", async { Ok::<_, NodeError>(value.clone()) }).await?;
        if recorded != value {
            return Err(NodeError::msg(format!("recorded {value}, read {recorded}")));
        }
    }
    for n in 0..node.asks {
        let prompt = format!("{}{inner}?{n}", spec.name(at));
        let answer: String = cx.ask(Question::new(prompt).key(format!("k{n}"))).await?;
        log.push(answer);
    }
    if node.fails > 0 && inner != "y" {
        let tried = world.happens(format!("try {task}"));
        if tried <= node.fails || spec.handled(at) {
            return Err(NodeError::msg("not yet"));
        }
    }
    if node.asks == 0 && node.steps == 0 {
        tokio::task::yield_now().await;
    }
    if inner.is_empty() {
        Ok(spec.outcome(at, state, log, 1))
    } else {
        Ok(Outcome::update(Model::update().log(log).sum(1)))
    }
}

// --- the reference ------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
struct Due {
    at: usize,
    input: Option<i64>,
    /// The handler, for this failed node.
    handles: Option<usize>,
}

/// Interprets `spec` in the plainest way. `Err`: the code of the error that ends it.
fn reference(spec: &Spec) -> Result<Model, &'static str> {
    let mut state = Model::default();
    let mut due = vec![Due { at: 0, input: None, handles: None }];
    let mut held: Vec<Due> = Vec::new();
    // In the order in which their first source came.
    let mut waiting: Vec<(usize, BTreeSet<usize>)> = Vec::new();
    let mut supersteps = 0;
    if spec.nodes[0].deferred {
        held.clear();
    }
    while !due.is_empty() {
        supersteps += 1;
        if supersteps > 400 {
            return Err("superstep_limit");
        }
        // Everybody sees the state from before.
        let before = state.clone();
        let mut claims = 0;
        let mut done = Vec::new();
        for task in &due {
            if let Some(failed) = task.handles {
                state.log.push(format!("handled n{failed}"));
                continue;
            }
            let node = &spec.nodes[task.at];
            if spec.handled(task.at) {
                done.push((task.clone(), None));
                continue;
            }
            for inner in if node.nested { &["x", "y"][..] } else { &[""][..] } {
                let input = task.input.map(|n| format!("({n})")).unwrap_or_default();
                state.log.push(format!("n{}{inner}{input}", task.at));
                for n in 0..node.steps {
                    state.log.push(format!("+{}", n + 1));
                }
                for n in 0..node.asks {
                    state.log.push(answer_to(&format!("n{}{inner}?{n}", task.at)));
                }
                state.sum += 1;
            }
            if node.replaces {
                state.last = Some(format!("n{}", task.at));
                claims += 1;
            }
            if let (Some(which), false) = (node.hostile, node.nested) {
                let (key, value) = hostile(which);
                state.values.insert(key, value);
            }
            done.push((task.clone(), Some(before.clone())));
        }
        if claims > 1 {
            return Err("write_conflict");
        }
        let mut next: Vec<Due> = Vec::new();
        let add = |next: &mut Vec<Due>, held: &mut Vec<Due>, new: Due| {
            let list = if new.handles.is_none() && spec.nodes[new.at].deferred { held } else { next };
            let is_plain = new.input.is_none() && new.handles.is_none();
            if is_plain && list.iter().any(|d| d.at == new.at && d.input.is_none() && d.handles.is_none()) {
                return;
            }
            list.push(new);
        };
        for (task, before) in &done {
            let at = task.at;
            let plain = |at| Due { at, input: None, handles: None };
            let Some(before) = before else {
                next.push(Due { at: usize::MAX, input: None, handles: Some(at) });
                continue;
            };
            if spec.nodes[at].mode == Mode::Edges {
                for child in spec.children(at) {
                    add(&mut next, &mut held, plain(child));
                }
            }
            for join in spec.joins_of(at) {
                match waiting.iter_mut().find(|(known, _)| *known == join) {
                    Some((_, arrived)) => {
                        arrived.insert(at);
                    }
                    None => waiting.push((join, BTreeSet::from([at]))),
                }
            }
            match spec.nodes[at].mode {
                Mode::Branch { .. } => {
                    if let Some(chosen) = spec.choice(at, &state) {
                        add(&mut next, &mut held, plain(chosen));
                    }
                }
                Mode::Goto { .. } => {
                    if let Some(chosen) = spec.choice(at, before) {
                        add(&mut next, &mut held, plain(chosen));
                    }
                }
                Mode::Sends(count) => {
                    for child in spec.children(at) {
                        for n in 0..i64::from(count) {
                            add(&mut next, &mut held, Due { at: child, input: Some(n), handles: None });
                        }
                    }
                }
                Mode::Edges => {}
            }
        }
        // Joins: all sources came, or those that did not cannot come any more.
        loop {
            let mut fire = Vec::new();
            for (join, arrived) in &waiting {
                let join = *join;
                let mut alive: BTreeSet<usize> =
                    next.iter().chain(&held).filter(|d| d.handles.is_none()).map(|d| d.at).collect();
                alive.extend(waiting.iter().map(|(other, _)| *other).filter(|&other| other != join));
                let reachable = closure(spec, alive);
                let missing = spec.nodes[join].joins.iter().filter(|source| !arrived.contains(source));
                if !missing.into_iter().any(|source| reachable.contains(source)) {
                    fire.push(join);
                }
            }
            if fire.is_empty() {
                break;
            }
            waiting.retain(|(join, _)| !fire.contains(join));
            for join in fire {
                add(&mut next, &mut held, Due { at: join, input: None, handles: None });
            }
        }
        if next.is_empty() {
            next = std::mem::take(&mut held);
        }
        due = next;
    }
    if waiting.is_empty() { Ok(state) } else { Err("join_never_filled") }
}

/// Everything that can be reached from `alive`, itself included.
fn closure(spec: &Spec, mut alive: BTreeSet<usize>) -> BTreeSet<usize> {
    loop {
        let before = alive.len();
        for at in alive.clone() {
            alive.extend(spec.children(at));
            alive.extend(spec.joins_of(at));
            if let Mode::Branch { back: Some(back), .. } = spec.nodes[at].mode {
                alive.insert(back);
            }
        }
        if alive.len() == before {
            return alive;
        }
    }
}

// --- playing ------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
struct Fate {
    /// Appends that succeed before each process dies.
    crashes: Vec<u64>,
    /// Appends of each process that fail and are tried again: at which, how often in a row, and how.
    faults: Vec<(u64, u64, Fault)>,
    slow: bool,
    durability: Durability,
    /// A restart at every pause.
    restart: bool,
    /// All questions at once, or one after another.
    all: bool,
    /// How often each call on the session is polled before its caller drops it; the calls after them are awaited.
    drops: Vec<u8>,
}

struct Played {
    result: Result<Model, String>,
    world: Arc<World>,
    journal: Vec<serde_json::Value>,
    /// Effects that ran again although their result had been stored.
    paid_twice: Vec<String>,
}

async fn play(spec: &Spec, fate: &Fate) -> Played {
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
        let faulty = Faulty::on(dying).planned(faults.iter().copied());
        // More await points at which a caller can leave.
        let store: Arc<dyn JournalStore> =
            if fate.drops.is_empty() { faulty } else { Arc::new(Yielding(faulty)) };
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
                // Its caller left.
                Some(status) if status.location == RunLocation::InMemory => session.wait().await.map(drop),
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
            // What was stored when the process died must not be done again by the next one.
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

fn check_paid(known: &BTreeMap<String, u32>, world: &World, paid_twice: &mut Vec<String>) {
    paid_twice.extend(
        known.iter().filter(|(what, times)| world.times(what) != **times).map(|(what, _)| what.clone()),
    );
}

/// The effects whose results are stored, with how often they have happened by now.
async fn recorded(inner: &Arc<InMemoryJournal>, world: &World) -> BTreeMap<String, u32> {
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

fn block_on<F: Future>(threads: bool, future: F) -> F::Output {
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

fn node() -> impl Strategy<Value = Node> {
    let mode = prop_oneof![
        4 => Just(Mode::Edges),
        2 => (0usize..4, proptest::option::weighted(0.4, 0usize..8)).prop_map(|(salt, back)| Mode::Branch { salt, back }),
        1 => (0usize..4).prop_map(|salt| Mode::Goto { salt }),
        1 => (0u8..4).prop_map(Mode::Sends),
    ];
    (
        (mode, 0usize..8, prop::collection::vec(0usize..8, 0..2)),
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(0usize..8, 2..4)],
        prop_oneof![2 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)],
        prop_oneof![4 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)],
        prop_oneof![6 => Just(0u32), 1 => 1u32..3, 1 => Just(TRIES + 1)],
        (prop::bool::weighted(0.2), prop::bool::weighted(0.1), prop::bool::weighted(0.15)),
        proptest::option::weighted(0.3, 0u8..48),
    )
        .prop_map(
            |((mode, parent, more), joins, steps, asks, fails, (replaces, deferred, nested), hostile)| Node {
                mode,
                parent,
                more,
                joins,
                steps,
                asks,
                fails,
                replaces,
                deferred,
                nested,
                hostile,
            },
        )
}

fn spec() -> impl Strategy<Value = Spec> {
    prop::collection::vec(node(), 1..9).prop_map(|nodes| Spec { nodes }.tidy())
}

fn fate() -> impl Strategy<Value = Fate> {
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
fn drops() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![2 => 0u8..12, 1 => 12u8..80], 1..12)
}

fn faults(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(u64, u64, Fault)>> {
    let kind = prop_oneof![Just(Fault::Refused), Just(Fault::StoredButReported), Just(Fault::Slow)];
    prop::collection::vec((0u64..25, 1u64..4, kind), count)
}

const CALM: Fate = Fate {
    crashes: Vec::new(),
    faults: Vec::new(),
    slow: false,
    durability: Durability::Async,
    restart: false,
    all: false,
    drops: Vec::new(),
};

fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

fn sorted(mut log: Vec<String>) -> Vec<String> {
    log.sort();
    log
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_run_ends_as_the_reference_says_wherever_it_crashes(spec in spec(), fate in fate(), threads in any::<bool>()) {
        let expected = reference(&spec);
        let played = block_on(threads, play(&spec, &fate));
        match (&expected, &played.result) {
            (Ok(expected), Ok(found)) => {
                prop_assert_eq!(expected.sum, found.sum);
                prop_assert_eq!(&expected.last, &found.last);
                prop_assert_eq!(&expected.values, &found.values);
                prop_assert_eq!(&expected.log, &found.log, "{:#?}", sorted(found.log.clone()));
            }
            (Err(expected), Err(found)) => prop_assert_eq!(expected, &found.as_str()),
            _ => prop_assert!(false, "expected {:?}, found {:?}", expected, played.result),
        }
        prop_assert!(played.paid_twice.is_empty(), "done again: {:?}", played.paid_twice);
        for (what, times) in played.world.all() {
            if !what.starts_with("try ") {
                prop_assert!(times as usize <= 1 + fate.crashes.len(), "{} happened {} times", what, times);
                prop_assert!(!fate.crashes.is_empty() || times == 1, "{} happened {} times", what, times);
            }
        }
    }

    #[test]
    fn callers_that_leave_at_any_await_point_change_nothing_of_a_run(
        spec in spec(), fate in fate(), drops in drops(), threads in any::<bool>()
    ) {
        let expected = reference(&spec);
        let played = block_on(threads, play(&spec, &Fate { drops, ..fate.clone() }));
        match (&expected, &played.result) {
            (Ok(expected), Ok(found)) => prop_assert_eq!(expected, found),
            (Err(expected), Err(found)) => prop_assert_eq!(expected, &found.as_str()),
            _ => prop_assert!(false, "expected {:?}, found {:?}", expected, played.result),
        }
        prop_assert!(played.paid_twice.is_empty(), "done again: {:?}", played.paid_twice);
        for (what, times) in played.world.all() {
            let most = if what.starts_with("try ") { u32::MAX } else { 1 + u32::try_from(fate.crashes.len()).unwrap() };
            prop_assert!(times <= most, "{} happened {} times", what, times);
        }
    }

    #[test]
    fn a_store_that_fails_and_works_again_changes_nothing_of_a_run(
        spec in spec(), faults in faults(1..5), all in any::<bool>()
    ) {
        let calm = block_on(false, play(&spec, &Fate { all, ..CALM }));
        let disturbed = block_on(false, play(&spec, &Fate { all, faults, ..CALM }));
        prop_assert_eq!(&calm.result, &disturbed.result);
        // How far the siblings of a failed task came depends on the time that each append takes.
        if calm.result.is_ok() {
            let facts = |played: &Played| {
                let told = played.journal.iter().filter(|fact| fact["type"] != "run_resumed" && fact["type"] != "run_paused");
                let mut told: Vec<String> = told.map(ToString::to_string).collect();
                told.sort();
                told
            };
            prop_assert_eq!(facts(&calm), facts(&disturbed));
            prop_assert_eq!(calm.world.all(), disturbed.world.all());
        }
    }

    #[test]
    fn a_run_that_waits_in_memory_and_one_that_is_replayed_leave_the_same_journal(spec in spec(), all in any::<bool>()) {
        prop_assume!(spec.nodes.iter().any(|node| node.asks > 0));
        let kept = block_on(false, play(&spec, &Fate { all, ..CALM }));
        let replayed = block_on(false, play(&spec, &Fate { all, restart: true, ..CALM }));
        let facts = |played: &Played| {
            let told = played.journal.iter().filter(|fact| fact["type"] != "run_resumed" && fact["type"] != "run_paused");
            told.map(ToString::to_string).collect::<BTreeSet<_>>()
        };
        prop_assert_eq!(&kept.result, &replayed.result);
        let (a, b) = (facts(&kept), facts(&replayed));
        let difference: Vec<_> = a.symmetric_difference(&b).collect();
        prop_assert!(difference.is_empty(), "{:#?}", difference);
        prop_assert_eq!(kept.world.all(), replayed.world.all());
    }
}

#[tokio::test]
async fn exit_durability_loses_a_crashed_run_whole_and_never_in_part() {
    let graph = Graph::<Model>::builder("exit")
        .node("a", async |_: &Model, _: &Context| Ok(Model::update().sum(1)))
        .node("b", async |_: &Model, cx: &Context| {
            cx.get::<Arc<Dying>>()?.kill();
            Ok(Model::update().sum(1))
        })
        .edge(START, "a")
        .edge("a", "b")
        .edge("b", END)
        .build()
        .unwrap();
    let inner = journal();
    let store = Dying::never(&inner);
    let runtime = Runtime::builder().journal(store.clone()).provide(store).build();
    let session = runtime.session("s").unwrap();
    let options = RunOptions::default().durability(Durability::Exit);
    let error = session.run(&graph, Model::update()).options(options).await.unwrap_err();
    assert_eq!(error.code().name(), "store_unavailable");
    let next = on(&inner).graph(&graph).build();
    let recovered = next.recover().await.unwrap();
    assert!(recovered.resumed.is_empty() && recovered.skipped.is_empty(), "{recovered:?}");
    let error = next.session("s").unwrap().status().await.unwrap_err();
    assert_eq!(error.code().name(), "session_not_found");
}
