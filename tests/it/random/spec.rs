//! Random graphs: their description, and the graph and the nodes that are built from it.

use super::*;

/// Where a node leads.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    /// To all its children.
    Edges,
    /// To one of its children, chosen from the state; `back`: also to an earlier node while there are turns left.
    Branch { salt: usize, back: Option<usize> },
    /// The node itself chooses one of its children.
    Goto { salt: usize },
    /// It sends this many inputs to each of its children.
    Sends(u8),
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) mode: Mode,
    /// Everything before this one from which it can be reached.
    pub(super) parent: usize,
    pub(super) more: Vec<usize>,
    /// A join of these leads here.
    pub(super) joins: Vec<usize>,
    pub(super) steps: u8,
    pub(super) asks: u8,
    /// How many tries fail; more than `TRIES`: all of them, and a handler takes it.
    pub(super) fails: u32,
    pub(super) replaces: bool,
    pub(super) deferred: bool,
    /// It is a subgraph of two nodes.
    pub(super) nested: bool,
    /// The second node of its subgraph selects the targets in this graph.
    pub(super) outward: bool,
    /// Records, and writes into `values`, this one of the [`hostile`] values. Not in a subgraph.
    pub(super) hostile: Option<u8>,
}

/// A key and a value that were once read back differently from how they were written, or that look like keys of the
/// engine.
pub(super) fn hostile(which: u8) -> (String, Value) {
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

pub(super) const TRIES: u32 = 4;

pub(super) const TURNS: i64 = 60;

#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) nodes: Vec<Node>,
}

impl Spec {
    pub(super) fn name(&self, at: usize) -> String {
        format!("n{at}")
    }

    /// Children by plain way, in order.
    pub(super) fn children(&self, at: usize) -> Vec<usize> {
        (at + 1..self.nodes.len())
            .filter(|&child| {
                let node = &self.nodes[child];
                node.joins.is_empty() && (node.parent == at || node.more.contains(&at))
            })
            .collect()
    }

    pub(super) fn joins_of(&self, at: usize) -> Vec<usize> {
        (at + 1..self.nodes.len()).filter(|&child| self.nodes[child].joins.contains(&at)).collect()
    }

    /// A node that takes an input cannot be reached otherwise.
    pub(super) fn tidy(mut self) -> Self {
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

    pub(super) fn takes_input(&self, at: usize) -> bool {
        at > 0
            && self.nodes[at].joins.is_empty()
            && matches!(self.nodes[self.nodes[at].parent].mode, Mode::Sends(_))
    }

    pub(super) fn handled(&self, at: usize) -> bool {
        self.nodes[at].fails > TRIES
    }

    /// The child that is chosen, or an earlier node, or the end.
    pub(super) fn choice(&self, at: usize, state: &Model) -> Option<usize> {
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

    pub(super) fn graph(&self) -> Graph<Model> {
        let mut builder = Graph::<Model>::builder("random").max_supersteps(400);
        for (at, node) in self.nodes.iter().enumerate() {
            let name = self.name(at);
            let spec = Arc::new(self.clone());
            let mut built: AnyNode<Model> = if node.nested {
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
                    .edge("y", END);
                let inner = if self.leaves(at) {
                    let children = self.children(at);
                    inner.declare_parent_targets("y", children.into_iter().map(|child| self.name(child)))
                } else {
                    inner
                };
                let inner = inner.build().unwrap();
                let out = {
                    let spec = Arc::clone(&spec);
                    move |state: Model| {
                        let seen = spec.seen(at, &state);
                        let outcome = Outcome::update(spec.update(at, state.log, state.sum));
                        if spec.leaves(at) { outcome } else { spec.select(at, &seen, outcome, false) }
                    }
                };
                // What the inner state begins with is what the outer one ends with, so that choices see it.
                inner.as_node(
                    |outer: &Model| Model { last: Some(outer.log.len().to_string()), ..Model::default() },
                    out,
                )
            } else if self.takes_input(at) {
                let node = async move |state: &Model, input: i64, cx: &Context| {
                    work(&spec, at, "", Some(input), state, cx).await
                };
                node.into_node()
            } else {
                let node =
                    async move |state: &Model, cx: &Context| work(&spec, at, "", None, state, cx).await;
                node.into_node()
            };
            if node.fails > 0 {
                built = built.retry(RetryPolicy::attempts(TRIES).first_wait(std::time::Duration::ZERO));
            }
            if node.deferred {
                built = built.deferred();
            }
            if self.handled(at) {
                built = built.on_error("handler");
            }
            builder = builder.node(name, built);
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
                Mode::Goto { .. } | Mode::Sends(_) if self.leaves(at) => {
                    builder = builder.edge(self.name(at), END);
                }
                Mode::Goto { .. } | Mode::Sends(_) => {
                    builder = builder.declare_targets(self.name(at), names.clone()).edge(self.name(at), END);
                }
            }
            if !node.joins.is_empty() {
                builder = builder.join(node.joins.iter().map(|&source| self.name(source)), self.name(at));
            }
        }
        builder.build().unwrap_or_else(|error| panic!("{error}\n{self:#?}"))
    }

    /// Whether the subgraph ends by a selection in this graph.
    fn leaves(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.nested && node.outward && matches!(node.mode, Mode::Goto { .. } | Mode::Sends(_))
    }

    /// What the node returns when `log` and `sum` are its work. `before`: the state that it saw.
    pub(super) fn outcome(&self, at: usize, before: &Model, log: Vec<String>, sum: i64) -> Outcome<Model> {
        let update = self.update(at, log, sum);
        self.select(at, before, Outcome::update(update), false)
    }

    fn update(&self, at: usize, log: Vec<String>, sum: i64) -> ModelUpdate {
        let mut update = Model::update().sum(sum);
        if self.nodes[at].replaces {
            update = update.last(self.name(at));
        }
        if let (Some(which), false) = (self.nodes[at].hostile, self.nodes[at].nested) {
            update = update.values([hostile(which)]);
        }
        update.log(log)
    }

    /// The state of this graph that a subgraph with the state `before` began with.
    fn seen(&self, at: usize, before: &Model) -> Model {
        if self.nodes[at].nested {
            Model {
                log: vec![String::new(); before.last.as_ref().map_or(0, |n| n.parse().unwrap())],
                ..Model::default()
            }
        } else {
            before.clone()
        }
    }

    fn select(&self, at: usize, seen: &Model, outcome: Outcome<Model>, to_parent: bool) -> Outcome<Model> {
        match self.nodes[at].mode {
            Mode::Goto { .. } => match self.choice(at, seen) {
                Some(chosen) if to_parent => outcome.goto_parent(self.name(chosen)),
                Some(chosen) => outcome.goto(self.name(chosen)),
                None => outcome,
            },
            Mode::Sends(count) => {
                let children = self.children(at).into_iter();
                let sends = children.flat_map(|child| {
                    (0..i64::from(count)).map(move |n| Dispatch::new(self.name(child), &n))
                });
                if to_parent { outcome.send_all_parent(sends) } else { outcome.send_all(sends) }
            }
            _ => outcome,
        }
    }
}

pub(super) fn answer_to(prompt: &str) -> String {
    format!("<{prompt}>\0\u{2028}\"$overwrite\"")
}

/// What every node does: steps, questions, failures, an update.
pub(super) async fn work(
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
        let outcome = Outcome::update(Model::update().log(log).sum(1));
        let leaves = inner == "y" && spec.leaves(at);
        Ok(if leaves { spec.select(at, &spec.seen(at, state), outcome, true) } else { outcome })
    }
}

/// Everything that can be reached from `alive`, itself included.
pub(super) fn closure(spec: &Spec, mut alive: BTreeSet<usize>) -> BTreeSet<usize> {
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

pub(super) fn node() -> impl Strategy<Value = Node> {
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
        (prop::bool::weighted(0.2), prop::bool::weighted(0.1), prop::bool::weighted(0.15), any::<bool>()),
        proptest::option::weighted(0.3, 0u8..48),
    )
        .prop_map(
            |(
                (mode, parent, more),
                joins,
                steps,
                asks,
                fails,
                (replaces, deferred, nested, outward),
                hostile,
            )| Node {
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
                outward,
                hostile,
            },
        )
}

pub(super) fn spec() -> impl Strategy<Value = Spec> {
    prop::collection::vec(node(), 1..9).prop_map(|nodes| Spec { nodes }.tidy())
}
