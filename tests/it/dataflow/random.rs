//! Random graphs end in both modes with the same tasks and the same sums.

use agent_core::graph::{AnyNode, IntoNode, Route};
use proptest::prelude::*;
use tests::Dying;

use super::*;

/// How a node leads on.
#[derive(Debug, Clone, Copy)]
enum Ways {
    Edges,
    /// To one of its children.
    Branch(usize),
    /// Activations of each child.
    Sends(u8),
}

#[derive(Debug, Clone)]
struct Node {
    ways: Ways,
    parent: usize,
    /// Reached by a join of these nodes instead of its parent.
    joins: Vec<usize>,
    /// The join does not wait for all.
    quorum: bool,
    yields: u8,
    asks: bool,
    deferred: bool,
    limited: bool,
}

#[derive(Debug, Clone)]
struct Spec(Vec<Node>);

impl Spec {
    fn children(&self, at: usize) -> Vec<usize> {
        let is_child = |child: &usize| self.0[*child].joins.is_empty() && self.0[*child].parent == at;
        (at + 1..self.0.len()).filter(is_child).collect()
    }

    /// Makes references legal. A node that may run several times leads on by sends, because edges merge within a superstep.
    fn tidy(mut self) -> Self {
        for at in 0..self.0.len() {
            self.0[at].parent = self.0[at].parent.min(at.saturating_sub(1));
            let joins: BTreeSet<usize> =
                self.0[at].joins.iter().copied().filter(|&other| other < at).collect();
            self.0[at].joins = if joins.len() < 2 { Vec::new() } else { joins.into_iter().collect() };
        }
        for at in 0..self.0.len() {
            if self.takes_input(at) && !matches!(self.0[at].ways, Ways::Sends(_)) {
                self.0[at].ways = Ways::Sends(1);
            }
            if self.children(at).is_empty() {
                self.0[at].ways = Ways::Edges;
            }
        }
        self
    }

    fn takes_input(&self, at: usize) -> bool {
        at > 0 && self.0[at].joins.is_empty() && matches!(self.0[self.0[at].parent].ways, Ways::Sends(_))
    }

    fn graph(&self, dataflow: bool) -> Graph<Log> {
        let name = |at: usize| format!("n{at}");
        let mut builder = Graph::<Log>::builder("random");
        for (at, node) in self.0.iter().enumerate() {
            let (ways, children) = (node.ways, self.children(at));
            let sends = move |outcome: Outcome<Log>| match ways {
                Ways::Sends(count) => outcome.send_all(
                    children
                        .iter()
                        .flat_map(|&child| (0..i64::from(count)).map(move |n| Dispatch::new(name(child), &n)))
                        .collect::<Vec<_>>(),
                ),
                _ => outcome,
            };
            let (yields, asks) = (node.yields, node.asks);
            let mut code: AnyNode<Log> = if self.takes_input(at) {
                let code = async move |_: &Log, n: i64, cx: &Context| {
                    Ok::<_, NodeError>(sends(Outcome::update(run(cx, yields, asks, n).await?)))
                };
                code.into_node()
            } else {
                let code = async move |_: &Log, cx: &Context| {
                    Ok::<_, NodeError>(sends(Outcome::update(run(cx, yields, asks, 0).await?)))
                };
                code.into_node()
            };
            if node.deferred {
                code = code.deferred();
            }
            if node.limited {
                code = code.concurrency(1);
            }
            builder = builder.node(name(at), code);
        }
        builder = builder.edge(START, name(0));
        for (at, node) in self.0.iter().enumerate() {
            let children: Vec<String> = self.children(at).into_iter().map(name).collect();
            match node.ways {
                Ways::Edges if children.is_empty() => builder = builder.edge(name(at), END),
                Ways::Edges => {
                    for child in &children {
                        builder = builder.edge(name(at), child);
                    }
                }
                Ways::Branch(salt) => {
                    let chosen = children[salt % children.len()].clone();
                    builder = builder.branch(name(at), move |_: &Log| Route::to(chosen.clone()), children);
                }
                Ways::Sends(_) => builder = builder.declare_targets(name(at), children),
            }
            if !node.joins.is_empty() {
                let sources = node.joins.iter().copied().map(name);
                builder = match node.quorum {
                    true => builder.quorum(1, sources, name(at)),
                    false => builder.join(sources, name(at)),
                };
            }
        }
        let builder = if dataflow { builder.dataflow() } else { builder };
        builder.build().unwrap_or_else(|error| panic!("{error}\n{self:#?}"))
    }
}

async fn run(cx: &Context, yields: u8, asks: bool, n: i64) -> Result<LogUpdate> {
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
    let answer = if asks { cx.ask::<i64>(Question::new("How much?").key("amount")).await? } else { 0 };
    Ok(Log::update().steps([format!("{} {n}", cx.node())]).sum(1 + n + answer))
}

fn node() -> impl Strategy<Value = Node> {
    let ways = prop_oneof![
        3 => Just(Ways::Edges),
        1 => (0_usize..4).prop_map(Ways::Branch),
        2 => (1_u8..4).prop_map(Ways::Sends),
    ];
    let joins = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(0_usize..9, 2..4)];
    let flag = |weight: f64| prop::bool::weighted(weight);
    (ways, 0_usize..9, joins, 0_u8..4, flag(0.3), flag(0.2), flag(0.1), flag(0.2)).prop_map(
        |(ways, parent, joins, yields, quorum, asks, deferred, limited)| Node {
            ways,
            parent,
            joins,
            quorum,
            yields,
            asks,
            deferred,
            limited,
        },
    )
}

fn spec() -> impl Strategy<Value = Spec> {
    prop::collection::vec(node(), 1..10).prop_map(|nodes| Spec(nodes).tidy())
}

async fn play(graph: &Graph<Log>, crashes: &[u64]) -> (Vec<String>, i64) {
    let inner = journal();
    for appends in crashes.iter().copied().chain([u64::MAX]) {
        let runtime = Runtime::builder().journal(Dying::at(&inner, appends, true)).graph(graph).build();
        match finish(&runtime.session("s").unwrap(), graph, Durability::Async).await {
            Ok(mut state) => {
                state.steps.sort();
                return (state.steps, state.sum);
            }
            Err(error) => assert_ne!(appends, u64::MAX, "{error}"),
        }
    }
    unreachable!("the last process lives")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_graph_ends_the_same_in_both_modes(
        spec in spec(), crashes in prop::collection::vec(0_u64..20, 0..3), threads in any::<bool>()
    ) {
        let runtime = match threads {
            true => tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap(),
            false => tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
        };
        let (supersteps, dataflow) = runtime.block_on(async {
            (play(&spec.graph(false), &[]).await, play(&spec.graph(true), &crashes).await)
        });
        prop_assert_eq!(supersteps, dataflow);
    }
}
