//! `stream_*`: throughput of events to one subscriber, and latency of the first event.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use agent_core::{
    Context, END, Event, Graph, Input, START, SessionId, State,
    event::{EventBody, EventFilter, EventKind},
    graph::BuildError,
    model::{ChatModel, Delta, FinishReason, Model, ModelError, ModelRequest, ModelStream},
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Result, Times,
    case::{Case, Saver},
    measure::{Report, Work, each, measure},
    sequential::chain,
    setting::{Setting, UPDATES, on_tokio},
};

#[derive(State, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Last {
    #[state(max)]
    value: i64,
}

/// Answers with `count` deltas and yields to the executor after each.
struct Chunks(usize);

impl ChatModel for Chunks {
    fn name(&self) -> &str {
        "chunks"
    }

    fn stream(&self, _: ModelRequest) -> impl Future<Output = Result<ModelStream, ModelError>> + Send {
        let count = self.0;
        let pieces = futures::stream::unfold(0, move |at| async move {
            if at > 0 {
                tokio::task::yield_now().await;
            }
            let delta = match at {
                at if at < count => Delta::text("chunk "),
                at if at == count => Delta::Finished { reason: FinishReason::Stop },
                _ => return None,
            };
            Some((Ok(delta), at + 1))
        });
        std::future::ready(Ok(ModelStream::new(pieces)))
    }
}

/// What a stream case counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Updates,
    Custom,
    Chunks,
}

impl Counts {
    /// What a reader of one of the other project's streams gets.
    fn filter(self) -> EventFilter {
        match self {
            Self::Updates => UPDATES,
            Self::Custom => EventFilter::none().with(EventKind::Custom),
            Self::Chunks => EventFilter::none().with(EventKind::Token),
        }
    }

    /// Number of counted items in an event; merged deltas count individually.
    fn of(self, event: &Event) -> usize {
        match (self, &event.body) {
            (Self::Updates, EventBody::NodeFinished(_)) | (Self::Custom, EventBody::Custom(_)) => 1,
            (Self::Chunks, EventBody::Token(token)) => token.text.len() / "chunk ".len(),
            _ => 0,
        }
    }
}

pub(crate) fn updates(count: usize) -> Result<Graph<Last>, BuildError> {
    chain("stream_updates", count, async |_: &Last, cx: &Context| {
        Ok(Last::update().value(i64::try_from(cx.superstep()).unwrap_or(i64::MAX)))
    })
    .build()
}

pub(crate) fn custom(count: usize) -> Result<Graph<Last>, BuildError> {
    Graph::builder("stream_custom")
        .node("emit", async move |_: &Last, cx: &Context| {
            for at in 0..count {
                cx.emit("n", json!({ "at": at }))?;
                tokio::task::yield_now().await;
            }
            Ok(())
        })
        .edge(START, "emit")
        .edge("emit", END)
        .build()
}

fn messages() -> Result<Graph<Last>, BuildError> {
    Graph::builder("stream_messages")
        .node("speak", async |_: &Last, cx: &Context| {
            cx.model()?.complete("hello").await?;
            Ok(())
        })
        .edge(START, "speak")
        .edge("speak", END)
        .build()
}

/// Sums of the current sample and of the samples before it.
#[derive(Default)]
struct Firsts {
    first: Duration,
    runs: usize,
    samples: Vec<f64>,
}

impl Firsts {
    fn note(&mut self, first: Duration) {
        self.first += first;
        self.runs += 1;
    }

    fn take_sample(&mut self) {
        if self.runs > 0 {
            self.samples.push(each(self.first, self.runs));
        }
        (self.first, self.runs) = (Duration::ZERO, 0);
    }
}

struct Streamed {
    setting: Setting,
    graph: Graph<Last>,
    counts: Counts,
    events: usize,
    supersteps: u64,
    firsts: Firsts,
}

impl Work for Streamed {
    type Input = ();

    fn input(&self) {}

    async fn run(&mut self, (): ()) -> Result<u64> {
        let start = Instant::now();
        let session = self.setting.runtime.session_of(SessionId::random());
        let mut events =
            session.run(&self.graph, Input::Update(Last::update())).stream_of(self.counts.filter()).await?;
        let (mut seen, mut first) = (0, None);
        while let Some(event) = events.next().await {
            let event = event?;
            if let EventBody::Gap(gap) = &event.body {
                return Err(format!("events were lost: {gap:?}").into());
            }
            seen += self.counts.of(&event);
            if seen > 0 {
                first.get_or_insert_with(|| start.elapsed());
            }
        }
        let outcome = events.outcome::<Last>().await?;
        if seen != self.events || !outcome.is_completed() {
            return Err(format!("{seen} of {} events came", self.events).into());
        }
        self.firsts.note(first.unwrap_or_default());
        Ok(self.supersteps)
    }

    async fn renew(&mut self) -> Result<()> {
        self.firsts.take_sample();
        self.setting.renew().await
    }
}

/// The model's own stream, without a graph.
struct Raw {
    model: Model,
    events: usize,
    firsts: Firsts,
}

impl Work for Raw {
    type Input = ();

    fn input(&self) {}

    async fn run(&mut self, (): ()) -> Result<u64> {
        let start = Instant::now();
        let mut stream = self.model.stream("hello").await?;
        let (mut seen, mut first) = (0, None);
        while let Some(delta) = stream.next().await {
            if matches!(delta?, Delta::Text { .. }) {
                seen += 1;
                first.get_or_insert_with(|| start.elapsed());
            }
        }
        if seen != self.events {
            return Err(format!("{seen} of {} pieces came", self.events).into());
        }
        self.firsts.note(first.unwrap_or_default());
        Ok(0)
    }

    async fn renew(&mut self) -> Result<()> {
        self.firsts.take_sample();
        Ok(())
    }
}

fn with_rates(report: Report, mut firsts: Firsts, events: usize, reps: usize) -> Report {
    firsts.take_sample();
    let first_ms = firsts.samples.split_off(firsts.samples.len() - reps);
    let rates: Vec<f64> =
        report.wall_ms.iter().map(|wall| (events as f64 / wall * 1_000.0).round()).collect();
    report.with("first_ms", first_ms).with("events_per_s", rates).with("events", events)
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    let here = case.clone();
    if let Some(events) = case.number("stream_raw_") {
        if case.saver != Saver::Nowhere {
            return None;
        }
        return Some(on_tokio(case, async move {
            let mut work = Raw { model: Model::new(Chunks(events)), events, firsts: Firsts::default() };
            let report = measure(&mut work, times).await?;
            Ok(with_rates(report, work.firsts, events, times.reps))
        }));
    }
    let (counts, events) = [
        (Counts::Updates, "stream_updates_"),
        (Counts::Custom, "stream_custom_"),
        (Counts::Chunks, "stream_messages_"),
    ]
    .into_iter()
    .find_map(|(counts, prefix)| Some((counts, case.number(prefix)?)))?;
    Some(on_tokio(case, async move {
        let (graph, supersteps, model) = match counts {
            Counts::Updates => (updates(events)?, events as u64, None),
            Counts::Custom => (custom(events)?, 1, None),
            Counts::Chunks => (messages()?, 1, Some(Model::new(Chunks(events)))),
        };
        let setting = Setting::new(&here, model).await?;
        let mut work = Streamed { setting, graph, counts, events, supersteps, firsts: Firsts::default() };
        let report = measure(&mut work, times).await?;
        work.setting.close().await;
        Ok(with_rates(report, work.firsts, events, times.reps))
    }))
}
