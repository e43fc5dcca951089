//! `interrupt:S`: a run until a question, and its resume with an answer in the same process.

use std::time::{Duration, Instant};

use agent_core::{
    Answers, Context, END, Graph, Input, START, SessionId, State,
    event::{EventBody, Subscription},
    graph::BuildError,
};
use serde::{Deserialize, Serialize};

use super::{
    Result, Times,
    case::Case,
    measure::{Report, Work, each, measure},
    setting::{Setting, on_tokio},
};

#[derive(State, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Form {
    subject: Option<String>,
    pub(crate) answer: Option<String>,
}

/// ask → human (waits for a value) → done.
pub(crate) fn graph() -> Result<Graph<Form>, BuildError> {
    Graph::builder("interrupt")
        .node("ask", async |_: &Form, _: &Context| Ok(Form::update().subject("a trip".to_owned())))
        .node("human", async |_: &Form, cx: &Context| {
            let answer: String = cx.ask("continue?").await?;
            Ok(Form::update().answer(answer))
        })
        .node("done", async |_: &Form, _: &Context| Ok(()))
        .edge(START, "ask")
        .edge("ask", "human")
        .edge("human", "done")
        .edge("done", END)
        .build()
}

struct Interrupt {
    setting: Setting,
    graph: Graph<Form>,
    resumed: Duration,
    runs: usize,
    samples: Vec<f64>,
}

impl Interrupt {
    fn take_sample(&mut self) {
        if self.runs > 0 {
            self.samples.push(each(self.resumed, self.runs));
        }
        (self.resumed, self.runs) = (Duration::ZERO, 0);
    }
}

impl Work for Interrupt {
    type Input = ();

    fn input(&self) {}

    async fn run(&mut self, (): ()) -> Result<u64> {
        let session = self.setting.runtime.session_of(SessionId::random());
        let mut events = session.subscribe(None);
        let run = session.run(&self.graph, Input::Update(Form::update())).start().await?;
        until_rest(&mut events).await?;
        if !run.outcome::<Form>().await?.is_paused() {
            return Err("the run did not wait".into());
        }
        let resumed = Instant::now();
        let run = session.answer(Answers::only("yes")).await?;
        until_rest(&mut events).await?;
        let outcome = run.outcome::<Form>().await?;
        self.resumed += resumed.elapsed();
        self.runs += 1;
        match outcome.state() {
            Some(form) if form.answer.as_deref() == Some("yes") => Ok(4),
            _ => Err("the run did not end".into()),
        }
    }

    async fn renew(&mut self) -> Result<()> {
        self.take_sample();
        self.setting.renew().await
    }
}

/// Reads events until the run ends or pauses.
async fn until_rest(events: &mut Subscription) -> Result<()> {
    loop {
        match &events.next().await?.body {
            body if body.ends_run() => return Ok(()),
            EventBody::Gap(gap) => return Err(format!("events were lost: {gap:?}").into()),
            _ => {}
        }
    }
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    if case.family != "interrupt" {
        return None;
    }
    let here = case.clone();
    Some(on_tokio(case, async move {
        let setting = Setting::new(&here, None).await?;
        let mut work =
            Interrupt { setting, graph: graph()?, resumed: Duration::ZERO, runs: 0, samples: Vec::new() };
        let report = measure(&mut work, times).await?;
        work.take_sample();
        let resume_ms = work.samples.split_off(work.samples.len() - times.reps);
        work.setting.close().await;
        Ok(report.with("resume_ms", resume_ms))
    }))
}
