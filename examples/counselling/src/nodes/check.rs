//! `check`: checks what the model says while it says it, and passes it to the connection at the configured pace.

use std::{collections::VecDeque, time::Duration};

use agent_core::{Context, Result};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use crate::{
    Language,
    desk::Desk,
    link::{Link, Out},
    model::{Failure, Piece},
    safety::{Checked, OutputCheck},
    turn::{Turn, TurnUpdate},
};

/// Interval at which what was said is stored: so much of it may be lost by a crash.
const STORE: Duration = Duration::from_millis(500);
/// Chunks after which a backlog is sent in larger chunks, so that the pace delays no text for longer.
const BACKLOG: usize = 40;

pub(crate) async fn check(turn: &Turn, cx: &Context) -> Result<TurnUpdate> {
    let desk = cx.get::<Desk>()?;
    let Some(link) = desk.link(turn, cx) else {
        let answer = stored(cx).await?;
        return Ok(Turn::update().answer(answer));
    };
    let Some(pieces) = link.take_receiver() else { return Ok(Turn::update()) };
    let speaker = Speaker {
        check: OutputCheck::new(desk.rules.clone(), turn.language.unwrap_or(desk.language)),
        language: turn.language.unwrap_or(desk.language),
        queue: VecDeque::new(),
        passed: String::new(),
        replaced: Vec::new(),
        crisis: turn.crisis,
        next_chunk: Instant::now(),
        out: link.take_out(),
        desk: &desk,
        link: &link,
        cx,
    };
    let spoken = speaker.speak(pieces).await;
    desk.unlink(turn, cx);
    spoken
}

/// Returns what an earlier process stored of the answer.
async fn stored(cx: &Context) -> Result<String> {
    let mut answer = String::new();
    for number in 0.. {
        match cx.step(key(number), async { Ok::<_, agent_core::NodeError>(None::<String>) }).await? {
            Some(text) => answer.push_str(&text),
            None => break,
        }
    }
    Ok(answer)
}

fn key(number: usize) -> String {
    format!("said {number}")
}

struct Speaker<'a> {
    check: OutputCheck,
    /// Text that waits for its turn.
    queue: VecDeque<String>,
    /// Everything that was passed on.
    passed: String,
    replaced: Vec<String>,
    crisis: bool,
    language: Language,
    next_chunk: Instant,
    out: Option<mpsc::Sender<Out>>,
    desk: &'a Desk,
    link: &'a Link,
    cx: &'a Context,
}

/// The client has gone.
struct Gone;

impl<'a> Speaker<'a> {
    async fn speak(mut self, mut pieces: mpsc::Receiver<Piece>) -> Result<TurnUpdate> {
        let mut stored = Stored { bytes: 0, count: 0, running: FuturesUnordered::new(), cx: self.cx };
        let mut store = interval_at(Instant::now() + STORE, STORE);
        store.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = None;
        let closed = self.out.clone();
        let result = loop {
            if end.is_some() && self.queue.is_empty() {
                break Ok(());
            }
            tokio::select! {
                biased;
                piece = pieces.recv(), if end.is_none() => {
                    end = self.take(piece)?;
                    if self.desk.pace.is_zero() && self.flush().await.is_err() {
                        break Err(Gone);
                    }
                }
                () = sleep_until(self.next_chunk), if !self.queue.is_empty() => {
                    if self.send_paced().await.is_err() {
                        break Err(Gone);
                    }
                }
                () = gone(closed.as_ref()) => break Err(Gone),
                Some(result) = stored.running.next() => result?,
                _ = store.tick() => stored.add(&self.link.said_from(stored.bytes)),
            }
        };
        // A model that still answers is cancelled.
        drop((pieces, closed));
        let end = end.unwrap_or(Ok(()));
        let failure = if result.is_ok() { self.end(end).await } else { None };
        while let Some(result) = stored.running.next().await {
            result?;
        }
        Ok(Turn::update()
            .answer(self.link.said_from(0))
            .replaced(self.replaced)
            .crisis(self.crisis)
            .failure(failure))
    }

    /// Takes a piece of the model's text. Returns the end of the answer.
    fn take(&mut self, piece: Option<Piece>) -> Result<Option<Result<(), Failure>>> {
        let (checked, end) = match piece {
            Some(Piece::Text(text)) => (self.check.push(&text), None),
            Some(Piece::End(end)) => (self.check.finish(), Some(end)),
            // The generation ended without a word: it failed.
            None => (self.check.finish(), Some(Err(Failure::Internal))),
        };
        for part in checked {
            match part {
                Checked::Say(text) => self.pass(text),
                Checked::Replaced(rule) => {
                    tracing::warn!("[AI Guard] session={}, rule={rule}", self.cx.session());
                    self.cx.emit("answer_changed", json!({"rule": rule}))?;
                    self.replaced.push(rule);
                }
                Checked::Crisis if self.crisis => {}
                Checked::Crisis => {
                    self.cx.emit("crisis", json!({"recognised_by": "model"}))?;
                    self.crisis = true;
                }
            }
        }
        if end.is_some() && self.crisis && !self.desk.help_lines.are_in(&self.passed) {
            let space =
                if self.passed.is_empty() || self.passed.ends_with(char::is_whitespace) { "" } else { " " };
            self.pass(format!("{space}{}", self.desk.help_lines.text(self.language)));
        }
        Ok(end)
    }

    fn pass(&mut self, text: String) {
        self.cx.token("answer", &*text);
        self.passed.push_str(&text);
        self.queue.push_back(text);
    }

    /// Sends the next chunk and sets the time of the one after it.
    async fn send_paced(&mut self) -> std::result::Result<(), Gone> {
        let late = Instant::now() >= self.link.deadline;
        let count = if late { self.queue.len() } else { 1 + self.queue.len() / BACKLOG };
        let text: String = self.queue.drain(..count).collect();
        self.send(text).await?;
        self.next_chunk = Instant::now() + self.desk.pace;
        Ok(())
    }

    async fn flush(&mut self) -> std::result::Result<(), Gone> {
        while let Some(text) = self.queue.pop_front() {
            self.send(text).await?;
        }
        Ok(())
    }

    async fn send(&self, text: String) -> std::result::Result<(), Gone> {
        match &self.out {
            Some(out) => out.send(Out::Chunk(text)).await.map_err(|_| Gone),
            None => {
                self.link.add_said(&text);
                Ok(())
            }
        }
    }

    /// Ends the answer, and waits until the connection has sent its end: an exchange is saved after that.
    async fn end(&mut self, end: Result<(), Failure>) -> Option<Failure> {
        if let Some(out) = self.out.take()
            && out.send(Out::End(end)).await.is_ok()
        {
            out.closed().await;
        }
        end.err()
    }
}

async fn gone(out: Option<&mpsc::Sender<Out>>) {
    match out {
        Some(out) => out.closed().await,
        None => std::future::pending().await,
    }
}

/// Parts of the answer that are stored while it is said, for the case that the process dies.
struct Stored<'a> {
    bytes: usize,
    count: usize,
    running: FuturesUnordered<BoxFuture<'a, Result<()>>>,
    cx: &'a Context,
}

impl Stored<'_> {
    fn add(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let (cx, number, part) = (self.cx, self.count, Some(text.to_owned()));
        self.count += 1;
        self.bytes += text.len();
        self.running.push(Box::pin(async move {
            cx.step(key(number), async { Ok::<_, agent_core::NodeError>(part) }).await.map(drop)
        }));
    }
}
