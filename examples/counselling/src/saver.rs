//! Saver: saves exchanges again that could not be saved, with growing waits.

use std::{collections::HashMap, time::Duration};

use agent_core::{BusyPolicy, Graph, RunOptions, Runtime, SessionError};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::turn::Turn;

/// Waits between attempts.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Sessions with unsaved exchanges.
#[derive(Default)]
struct Waiting(HashMap<String, (Instant, Duration)>);

impl Waiting {
    /// Adds a session, or sets its next attempt.
    fn add(&mut self, session: String) {
        let wait = self.0.get(&session).map_or(FIRST_WAIT, |(_, wait)| (*wait * 2).min(LONGEST_WAIT));
        self.0.insert(session, (Instant::now() + wait, wait));
    }

    fn next(&self) -> Option<(Instant, &String)> {
        self.0.iter().map(|(session, (at, _))| (*at, session)).min()
    }
}

/// Runs until the channel is closed.
pub(crate) async fn run(runtime: &Runtime, graph: &Graph<Turn>, unsaved: &mut mpsc::Receiver<String>) {
    let mut waiting = Waiting::default();
    loop {
        let next = waiting.next().map(|(at, session)| (at, session.clone()));
        let due = async {
            match next {
                Some((at, session)) => {
                    sleep_until(at).await;
                    session
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            session = unsaved.recv() => match session {
                Some(session) => waiting.add(session),
                None => return,
            },
            session = due => match save(runtime, graph, &session).await {
                Ok(true) => drop(waiting.0.remove(&session)),
                Ok(false) => waiting.add(session),
                Err(error) => {
                    tracing::warn!("session={session}: unsaved exchanges wait longer: {error}");
                    waiting.add(session);
                }
            },
        }
    }
}

/// Returns whether everything of the session is saved.
async fn save(runtime: &Runtime, graph: &Graph<Turn>, session: &str) -> Result<bool, SessionError> {
    let Ok(session) = runtime.session(session) else { return Ok(true) };
    let options = RunOptions::default().on_busy(BusyPolicy::Enqueue);
    let outcome = session.run(graph, Turn::resave()).options(options).await?;
    Ok(outcome.state().is_some_and(|turn| turn.unsaved.is_empty()))
}
