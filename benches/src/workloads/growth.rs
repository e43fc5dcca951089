//! `growth:S-D`: one session with 200 turns of two messages: time per turn, and bytes on disk.
//!
//! `growth_delta` is identical here, because this journal stores updates, never the whole conversation.

use std::time::Instant;

use agent_core::{
    Context, END, Graph, Input, START, SessionId,
    event::EventBody,
    graph::BuildError,
    model::{Message, Messages},
};
use nix::sys::resource::UsageWho;

use super::{
    Result, Times,
    case::{Case, Saver},
    conversation::{just, words},
    measure::{Report, ms, processor},
    sequential::Chat,
    setting::{Setting, on_tokio},
};

const TURNS: usize = 200;
const CHARACTERS: usize = 400;

pub(crate) fn graph() -> Result<Graph<Chat>, BuildError> {
    Graph::builder("growth")
        .node("answer", async |_: &Chat, _: &Context| {
            Ok(Chat::update().messages(just(Message::assistant(words(CHARACTERS)))))
        })
        .edge(START, "answer")
        .edge("answer", END)
        .build()
}

pub(crate) fn run(case: &Case, times: Times) -> Option<Result<Report>> {
    if !matches!(case.family.as_str(), "growth" | "growth_delta") {
        return None;
    }
    let here = case.clone();
    Some(on_tokio(case, async move { growth(&here, times).await }))
}

async fn growth(case: &Case, times: Times) -> Result<Report> {
    let graph = graph()?;
    let mut report = Report { supersteps: TURNS as u64, batch: 1, ..Report::default() };
    let mut turns: Vec<Vec<f64>> = vec![Vec::new(); TURNS];
    let mut bytes = 0;
    for rep in 0..times.warmup + times.reps {
        let (wall, cpu, taken, size) = conversation(case, &graph).await?;
        if rep >= times.warmup {
            report.wall_ms.push(wall);
            report.cpu_ms.push(cpu);
            for (turn, time) in turns.iter_mut().zip(taken) {
                turn.push(time);
            }
        }
        bytes = size;
    }
    let turn_ms: Vec<f64> = turns.into_iter().map(median).collect();
    let report = report.with("turn_ms", turn_ms);
    Ok(if case.saver == Saver::Sqlite { report.with("bytes", bytes) } else { report })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// One session of 200 turns: total time, CPU time, time of each turn, and bytes after closing.
async fn conversation(case: &Case, graph: &Graph<Chat>) -> Result<(f64, f64, Vec<f64>, u64)> {
    let setting = Setting::new(case, None).await?;
    let id = SessionId::random();
    let said: Vec<Messages> = (0..TURNS).map(|_| just(Message::user(words(CHARACTERS)))).collect();
    let mut turns = Vec::with_capacity(TURNS);
    let (cpu, start) = (processor(UsageWho::RUSAGE_SELF)?, Instant::now());
    for message in said {
        let began = Instant::now();
        let session = setting.runtime.session_of(id.clone());
        let input = Input::Update(Chat::update().messages(message));
        let mut events = session.run(graph, input).stream().await?;
        let mut finished = 0;
        while let Some(event) = events.next().await {
            finished += u32::from(matches!(event?.body, EventBody::NodeFinished(_)));
        }
        let outcome = events.outcome::<Chat>().await?;
        turns.push(ms(began.elapsed()));
        let count = outcome.state().map_or(0, |chat| chat.messages.len());
        if count != 2 * turns.len() || finished != 1 {
            return Err(format!("turn {} ended with {count} messages", turns.len()).into());
        }
    }
    let (wall, cpu) = (ms(start.elapsed()), ms(processor(UsageWho::RUSAGE_SELF)? - cpu));
    let mut bytes = 0;
    if let Some(folder) = setting.close().await {
        for file in std::fs::read_dir(folder.path())? {
            bytes += file?.metadata()?.len();
        }
    }
    Ok((wall, cpu, turns, bytes))
}
