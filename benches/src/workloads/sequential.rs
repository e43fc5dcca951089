//! `sequential_N`: a chain of N empty nodes, and what related cases share: one graph, one input, one check.

use std::sync::Arc;

use agent_core::{
    Context, END, Graph, Result as NodeResult, START, State,
    event::EventBody,
    graph::GraphBuilder,
    model::{Messages, Model},
};
use serde::{Deserialize, Serialize};

use super::{
    Result, Times,
    case::Case,
    conversation::add_messages,
    measure::{Report, Work, measure},
    setting::{Setting, on_tokio, one_run},
};

#[derive(State, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Chat {
    #[state(reduce = add_messages)]
    pub(crate) messages: Messages,
}

async fn nothing(_: &Chat, _: &Context) -> NodeResult<()> {
    Ok(())
}

/// START → n0 → … → n(N-1) → END.
pub(crate) fn chain<S: State, M, N>(name: &str, count: usize, node: N) -> GraphBuilder<S>
where
    N: agent_core::graph::IntoNode<S, M> + Clone,
{
    let mut builder = Graph::builder(name);
    for at in 0..count {
        builder = builder.node(format!("n{at}"), node.clone());
    }
    builder = builder.edge(START, "n0");
    for at in 1..count {
        builder = builder.edge(format!("n{}", at - 1), format!("n{at}"));
    }
    builder.edge(format!("n{}", count - 1), END)
}

pub(crate) fn sequential(count: usize) -> GraphBuilder<Chat> {
    chain("sequential", count, nothing)
}

type Make<U> = Arc<dyn Fn() -> U + Send + Sync>;
type Check<S> = Arc<dyn Fn(&S) -> bool + Send + Sync>;

/// A graph with an input and a check of the final state.
pub(crate) struct Runs<S: State> {
    pub(crate) setting: Setting,
    pub(crate) graph: Graph<S>,
    pub(crate) input: Make<S::Update>,
    pub(crate) check: Check<S>,
    /// Supersteps and tasks of the outermost graph in one run.
    pub(crate) supersteps: u64,
    pub(crate) tasks: u64,
    /// Supersteps as reported in the table, including those of subgraphs.
    pub(crate) stated: u64,
}

impl<S: State> Work for Runs<S> {
    type Input = S::Update;

    fn input(&self) -> S::Update {
        (self.input)()
    }

    async fn run(&mut self, input: S::Update) -> Result<u64> {
        let mut finished = 0;
        let rest = one_run(&self.setting.runtime, &self.graph, input, |event| {
            if let (EventBody::NodeFinished(_), Some(task)) = (&event.body, &event.task) {
                finished += u64::from(task.parent().is_none());
            }
        })
        .await?;
        if finished != self.tasks || rest.supersteps != self.supersteps || !(self.check)(&rest.state) {
            return Err(format!("wrong run: {finished} tasks, {} supersteps", rest.supersteps).into());
        }
        Ok(self.stated)
    }

    async fn renew(&mut self) -> Result<()> {
        self.setting.renew().await
    }
}

/// Measures a graph.
pub(crate) fn runs<S: State>(
    case: &Case,
    times: Times,
    model: Option<Model>,
    graph: Graph<S>,
    counts: [u64; 3],
    input: impl Fn() -> S::Update + Send + Sync + 'static,
    check: impl Fn(&S) -> bool + Send + Sync + 'static,
) -> Result<Report> {
    let here = case.clone();
    on_tokio(case, async move {
        let [supersteps, tasks, stated] = counts;
        let setting = Setting::new(&here, model).await?;
        let mut work = Runs {
            setting,
            graph,
            input: Arc::new(input),
            check: Arc::new(check),
            supersteps,
            tasks,
            stated,
        };
        let report = measure(&mut work, times).await?;
        work.setting.close().await;
        Ok(report)
    })
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    let count = case.number("sequential_")?;
    let n = count as u64;
    Some(sequential(count).build().map_err(Into::into).and_then(|graph| {
        runs(case, times, None, graph, [n, n, n], || Chat::update().messages(Messages::new()), |_| true)
    }))
}
