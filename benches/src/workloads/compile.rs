//! `compile_*`: builds a graph from a prepared builder.

use agent_core::{Graph, State, graph::GraphBuilder};

use super::{
    Result, Times,
    case::Case,
    measure::{Report, Work, measure},
    sequential::sequential,
    setting::on_tokio,
    wide,
};

struct Compile<S: State, F>(F, std::marker::PhantomData<fn() -> S>);

impl<S: State, F: Fn() -> GraphBuilder<S> + Send> Work for Compile<S, F> {
    type Input = GraphBuilder<S>;

    fn input(&self) -> GraphBuilder<S> {
        (self.0)()
    }

    async fn run(&mut self, builder: GraphBuilder<S>) -> Result<u64> {
        let graph: Graph<S> = builder.build()?;
        std::hint::black_box(&graph);
        Ok(0)
    }
}

fn compile<S: State>(
    case: &Case,
    times: Times,
    make: impl Fn() -> GraphBuilder<S> + Send + 'static,
) -> Result<Report> {
    on_tokio(case, async move { measure(&mut Compile(make, std::marker::PhantomData), times).await })
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    let what = case.family.strip_prefix("compile_")?;
    if let Some(count) = what.strip_prefix("sequential_") {
        let count = count.parse().ok().filter(|&count: &usize| count > 0)?;
        return Some(compile(case, times, move || sequential(count)));
    }
    let (kind, size) = wide::parse(what)?;
    Some(match kind {
        wide::Kind::Typed => compile(case, times, move || wide::typed(size.limit)),
        wide::Kind::Map => compile(case, times, move || wide::map(size.limit)),
        wide::Kind::Validated => compile(case, times, move || wide::validated(size.limit)),
    })
}
