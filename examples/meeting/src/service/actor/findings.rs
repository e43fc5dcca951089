//! Agents: their runs, and what they found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Actor, BATCH, Command};
use crate::{
    agents::{Meeting, moderator::View},
    markdown,
    record::{Intervention, Record, Turn},
    service::{
        Counts,
        analysis::{self, Findings, action_todo, json},
    },
    state::Phase,
    wire::ServerMessage,
};

/// Pause after the first failed analysis. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two analyses.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Failed analyses after which the minutes of a meeting that ends are written without one.
const ANALYSES_BEFORE_MINUTES: u32 = 3;

impl Actor {
    /// Lets the agents look at what is new, or ends the meeting if nothing is.
    pub(super) fn analyse(&mut self) {
        if self.busy || self.state.phase == Phase::New {
            return;
        }
        // The minutes of a meeting that ends don't wait for an analysis that cannot be made.
        let gives_up = self.failed_analyses >= ANALYSES_BEFORE_MINUTES && self.ending;
        let new = self.state.turns.get(self.state.analysed..).unwrap_or_default();
        let again: Vec<String> = self.state.again.iter().take(BATCH).cloned().collect();
        if (new.is_empty() && again.is_empty()) || gives_up {
            if self.ending && self.transcriber.is_none() {
                self.write_minutes();
            }
            return;
        }
        if self.analyse_after.is_some_and(|after| Instant::now() < after) {
            return;
        }
        self.busy = true;
        let new: Vec<Turn> = new.iter().take(BATCH).cloned().collect();
        let count = new.len();
        let turns: Vec<Turn> =
            again.iter().filter_map(|id| self.state.turn(id)).cloned().chain(new).collect();
        let meeting = Meeting::of(&self.state);
        let total = self.state.analysed + count;
        let elapsed = self.elapsed_ms();
        let (meetings, id, commands) = (self.meetings.clone(), self.id.clone(), self.commands.clone());
        let seen = turns.clone();
        let mut state = self.state.tail(total);
        self.meetings.0.tasks.spawn(async move {
            // Each time, because they may be edited while the meeting takes place.
            let principles = analysis::principles(&meetings, &state.setup.principles).await;
            let Some(findings) = analysis::triage(&meetings, &id, meeting, turns).await else {
                let _ended = commands.send(Command::AnalysisFailed).await;
                return;
            };
            // The moderator sees what triage found.
            state.decisions.extend(findings.decisions.iter().cloned());
            state.action_items.extend(findings.action_items.iter().cloned());
            let view = View::of(&state, &principles, elapsed, count);
            let proposals = analysis::moderate(&meetings, &id, view).await;
            let analysed = Command::Analysed { seen, turns: total, again, findings, proposals };
            let _ended = commands.send(analysed).await;
        });
    }

    /// Stores what the agents found in the turns `seen`. If one of them was corrected in the meantime, they look again.
    pub(super) async fn analysed(
        &mut self,
        seen: &[Turn],
        turns: usize,
        again: Vec<String>,
        findings: Findings,
        proposals: Vec<Intervention>,
    ) {
        self.busy = false;
        (self.failed_analyses, self.analyse_after) = (0, None);
        let is_stale = seen.iter().any(|turn| {
            let present = self.state.turn(&turn.item_id);
            present.is_some_and(|present| (&present.text, &present.speaker) != (&turn.text, &turn.speaker))
        });
        if is_stale {
            return self.analyse();
        }
        let Findings { decisions, action_items, questions } = findings;
        let known = self.state.action_items.len();
        let changed = !decisions.is_empty() || !action_items.is_empty() || !questions.is_empty();
        let turns = turns.max(self.state.analysed);
        if turns > self.state.analysed || changed || !again.is_empty() {
            let record = Record::Analysed { turns, decisions, action_items, questions, again };
            if self.store(vec![record]).await.is_err() {
                // It is tried again with the next turn or tick.
                return;
            }
        }
        let mut messages: Vec<Arc<str>> = (known..self.state.action_items.len())
            .filter_map(|number| action_todo(&self.state, number))
            .map(|message| json(&message))
            .collect();
        let now = self.now();
        let mut intervened = false;
        for intervention in proposals {
            if self.state.phase == Phase::Ended || !self.state.may_intervene(intervention.kind, now) {
                continue;
            }
            let message = json(&ServerMessage::Intervention(intervention.clone()));
            if self.store(vec![Record::Intervened { at: now, intervention }]).await.is_ok() {
                Counts::add(&self.meetings.0.counts.interventions, 1);
                messages.push(message);
                intervened = true;
            }
        }
        if (changed || intervened) && self.write_markdown(None).await.is_err() {
            return;
        }
        for message in messages {
            self.send(&message);
        }
        self.renew_minutes().await;
        self.analyse();
    }

    /// The turns stay new. They are analysed again after a pause that grows with each failure.
    pub(super) fn analysis_failed(&mut self) {
        self.busy = false;
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failed_analyses.min(6)).min(LONGEST_PAUSE);
        self.failed_analyses = self.failed_analyses.saturating_add(1);
        self.analyse_after = Instant::now().checked_add(pause);
    }

    pub(super) fn write_minutes(&mut self) {
        self.busy = true;
        let (meetings, id, commands) = (self.meetings.clone(), self.id.clone(), self.commands.clone());
        let state = self.state.clone();
        self.meetings.0.tasks.spawn(async move {
            let summary = analysis::minutes(&meetings, &id, &state, &commands).await;
            let _ended = commands.send(Command::Minuted { summary }).await;
        });
    }

    pub(super) async fn minuted(&mut self, summary: Option<String>) {
        self.busy = false;
        self.ending = false;
        let summary = summary.unwrap_or_default();
        let markdown = markdown::minutes(&self.state, &summary);
        let mut records = vec![Record::Minuted { summary, markdown }];
        if self.state.phase != Phase::Ended {
            records.insert(0, Record::Ended { at: self.now() });
        }
        let mut stored = self.store(records).await;
        if stored.is_ok() {
            stored = self.write_markdown(None).await;
        }
        match stored {
            Ok(()) => {
                Counts::add(&self.meetings.0.counts.minutes, 1);
                if let Some(minutes) = self.minutes() {
                    self.send(&json(&minutes));
                }
                self.send(&json(&self.ready()));
            }
            Err(fault) => self.send(&json(&ServerMessage::from(&fault))),
        }
    }

    /// Brings the minutes of a meeting that has ended up to date: something was corrected.
    pub(super) async fn renew_minutes(&mut self) {
        let Some(summary) = self.state.summary.clone().filter(|_| self.state.minutes.is_some()) else {
            return;
        };
        let markdown = markdown::minutes(&self.state, &summary);
        if self.state.minutes.as_ref() == Some(&markdown) {
            return;
        }
        if self.store(vec![Record::Minuted { summary, markdown }]).await.is_ok()
            && let Some(minutes) = self.minutes()
        {
            self.send(&json(&minutes));
        }
    }

    pub(super) fn tick(&mut self) {
        if self.upstream.is_some() {
            self.show_status();
        }
        let dropped = self.audio.backlog().dropped;
        let new = u64::try_from(dropped.saturating_sub(self.dropped).as_millis()).unwrap_or(0);
        Counts::add(&self.meetings.0.counts.dropped_ms, new);
        self.dropped = dropped;
        self.clients.retain(|client| !client.is_closed());
        let planned = self.state.setup.planned_minutes.filter(|_| self.state.phase == Phase::Running);
        let is_over = planned.is_some_and(|minutes| self.elapsed_ms() >= u64::from(minutes) * 60_000);
        let kind = crate::record::InterventionKind::TimeOver;
        // Not in every second: the remark is repeated every five minutes.
        let due = self.state.interventions.iter().rev().find(|(_, remark)| remark.kind == kind);
        let due = due.is_none_or(|(at, _)| self.now() - at >= 300_000);
        if is_over && due && !self.busy && !self.ending && !self.clients.is_empty() {
            self.busy = true;
            let view = View::of(&self.state.tail(self.state.turns.len()), &[], self.elapsed_ms(), 0);
            let turns = self.state.analysed;
            let (meetings, id, commands) = (self.meetings.clone(), self.id.clone(), self.commands.clone());
            self.meetings.0.tasks.spawn(async move {
                let proposals = analysis::moderate(&meetings, &id, view).await;
                let findings = Findings::default();
                let (seen, again) = (Vec::new(), Vec::new());
                let _ended =
                    commands.send(Command::Analysed { seen, turns, again, findings, proposals }).await;
            });
        } else if !self.busy
            && (self.ending || self.state.analysed < self.state.turns.len() || !self.state.again.is_empty())
        {
            self.analyse();
        }
    }
}
