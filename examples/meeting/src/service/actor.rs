//! Actor of a meeting: the only place that changes it. What clients get was stored before.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::model::realtime::{Backlog, ConnectionState, RealtimeEvent, RefusedReason};
use tokio::sync::{mpsc, oneshot};

use super::{
    AudioPath, Meetings,
    analysis::{self, Findings, action_todo, json},
    blocking,
};
use crate::{
    agents::{Meeting, moderator::View},
    limits::{self, cut},
    markdown,
    principles::Principle,
    record::{Intervention, Record, Setup, SpeakerSource, Turn},
    speaker::{IdentifySpeaker, Speakers, Utterance},
    state::{MeetingState, Phase},
    store::{MeetingFile, MeetingId},
    transcribe::Transcriber,
    wire::{ClientFault, ServerMessage, UpstreamState},
};

/// Interval of the clock of a meeting.
const TICK: Duration = Duration::from_secs(1);
/// Characters of speech in a log line.
const LOGGED: usize = 50;
/// Most utterances in progress.
const PARTIALS: usize = 64;
/// Most turns of one run of triage.
const BATCH: usize = 50;

type Done = oneshot::Sender<Result<(), ClientFault>>;

/// What the actor is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// A client joins. It gets what happened so far; `None`: there are too many clients.
    Join {
        sender: mpsc::Sender<Arc<str>>,
        done: oneshot::Sender<Option<Vec<Arc<str>>>>,
    },
    /// A copy of the state.
    State {
        done: oneshot::Sender<Box<MeetingState>>,
    },
    Start {
        setup: Setup,
        done: Done,
    },
    Speaker {
        speaker: String,
        at: u64,
        done: Done,
    },
    Correct {
        item_id: String,
        speaker: Option<String>,
        text: Option<String>,
        done: Done,
    },
    End {
        done: Done,
    },
    /// The audio path has opened a transcription.
    Opened {
        transcriber: Transcriber,
    },
    /// The agents have looked at turns.
    Analysed {
        turns: usize,
        findings: Findings,
        proposals: Vec<Intervention>,
    },
    /// The summary of the minutes.
    Minuted {
        summary: Option<String>,
    },
    /// A message to all clients.
    Broadcast(Arc<str>),
}

/// The actor.
pub(super) struct Actor {
    meetings: Meetings,
    id: MeetingId,
    state: MeetingState,
    file: Option<MeetingFile>,
    audio: Arc<AudioPath>,
    commands: mpsc::Sender<Command>,
    clients: Vec<mpsc::Sender<Arc<str>>>,
    transcriber: Option<Transcriber>,
    upstream: Option<UpstreamState>,
    shown: Option<(UpstreamState, Backlog)>,
    partials: HashMap<String, String>,
    speakers: Option<Speakers>,
    principles: Vec<Principle>,
    /// The agents work.
    busy: bool,
    /// The meeting ends: transcripts, then the analysis, then the minutes are awaited.
    ending: bool,
    active: Instant,
}

impl Actor {
    pub(super) fn new(
        meetings: Meetings,
        id: MeetingId,
        state: MeetingState,
        file: MeetingFile,
        audio: Arc<AudioPath>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        // A meeting that was ended and has no minutes was interrupted between the two.
        let ending = state.phase == Phase::Ended && state.minutes.is_none();
        Self {
            meetings,
            id,
            state,
            file: Some(file),
            audio,
            commands,
            clients: Vec::new(),
            transcriber: None,
            upstream: None,
            shown: None,
            partials: HashMap::new(),
            speakers: Some(Speakers::default()),
            principles: Vec::new(),
            busy: false,
            ending,
            active: Instant::now(),
        }
    }

    /// Runs until the meeting is idle.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        self.load_principles().await;
        if self.state.phase == Phase::Running {
            self.audio.configure(&self.state.setup.language, self.elapsed_ms());
        }
        self.analyse();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let transcriber = async {
                match &mut self.transcriber {
                    Some(transcriber) => transcriber.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased; // transcripts before anything else
                event = transcriber => match event {
                    Some(event) => self.heard(event).await,
                    None => self.transcription_ended(),
                },
                command = inbox.recv() => match command {
                    Some(command) => {
                        self.active = Instant::now();
                        self.obey(command).await;
                    }
                    None => return,
                },
                _ = tick.tick() => {
                    self.tick();
                    if self.is_idle() {
                        // Commands that are in the inbox are not answered: their senders see that it is closed.
                        inbox.close();
                        return;
                    }
                }
            }
        }
    }

    fn now(&self) -> i64 {
        self.meetings.0.options.clock.now_ms()
    }

    /// Time since the meeting began: by the clock or by its audio, whichever is longer.
    fn elapsed_ms(&self) -> u64 {
        let since = match self.state.phase {
            Phase::New => 0,
            _ => u64::try_from(self.now() - self.state.started_at).unwrap_or(0),
        };
        since.max(self.state.last_ms())
    }

    fn is_idle(&self) -> bool {
        let quiet = self.clients.is_empty() && self.transcriber.is_none() && !self.busy && !self.ending;
        quiet && self.active.elapsed() >= self.meetings.0.options.idle
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Join { sender, done } => {
                self.clients.retain(|client| !client.is_closed());
                let full = self.clients.len() >= limits::CLIENTS;
                let so_far = (!full).then(|| self.so_far());
                if done.send(so_far).is_ok() && !full {
                    self.clients.push(sender);
                }
            }
            Command::State { done } => drop(done.send(Box::new(self.state.clone()))),
            Command::Start { setup, done } => {
                let result = self.start(setup).await;
                let _gone = done.send(result);
            }
            Command::Speaker { speaker, at, done } => {
                let result = self.speaker(&speaker, at).await;
                let _gone = done.send(result);
            }
            Command::Correct { item_id, speaker, text, done } => {
                let result = self.correct(&item_id, speaker, text).await;
                let _gone = done.send(result);
            }
            Command::End { done } => {
                let result = self.end().await;
                let _gone = done.send(result);
            }
            Command::Opened { transcriber } => self.opened(transcriber).await,
            Command::Analysed { turns, findings, proposals } => {
                self.analysed(turns, findings, proposals).await
            }
            Command::Minuted { summary } => self.minuted(summary).await,
            Command::Broadcast(message) => self.send(&message),
        }
    }

    /// Stores records, then applies them. Nothing may be sent if it fails.
    async fn store(&mut self, records: Vec<Record>) -> Result<(), ClientFault> {
        let Some(mut file) = self.file.take() else { return Err(ClientFault::Storage) };
        let append = blocking(move || {
            let done = file.append(&records);
            Ok((file, records, done))
        });
        let Ok((file, records, done)) = append.await else { return Err(ClientFault::Storage) };
        self.file = Some(file);
        if let Err(error) = done {
            tracing::error!(meeting = %self.id, %error, "a meeting could not be stored");
            return Err(ClientFault::Storage);
        }
        for record in &records {
            self.state.apply(record);
        }
        Ok(())
    }

    /// Brings the Markdown file up to date: with a line for the latest turn, or as a whole.
    async fn write_markdown(&mut self, line: Option<String>) -> Result<(), ClientFault> {
        let Some(mut file) = self.file.take() else { return Err(ClientFault::Storage) };
        // A copy of the state, which grows with the meeting, is needed for a whole file only.
        let state = line.is_none().then(|| self.state.clone());
        let written = blocking(move || {
            let done = match (&line, &state) {
                (Some(line), _) => file.append_line(line),
                (None, Some(state)) => file.rewrite(state).map(|()| true),
                (None, None) => Ok(true),
            };
            Ok((file, done))
        });
        let Ok((file, done)) = written.await else { return Err(ClientFault::Storage) };
        self.file = Some(file);
        if matches!(done, Ok(false)) {
            return Box::pin(self.write_markdown(None)).await;
        }
        done.map(drop).map_err(|error| {
            tracing::error!(meeting = %self.id, %error, "the Markdown file of a meeting could not be written");
            ClientFault::Storage
        })
    }

    async fn start(&mut self, setup: Setup) -> Result<(), ClientFault> {
        if self.state.phase == Phase::Ended || self.ending {
            return Err(ClientFault::Ended);
        }
        let principles = self.find_principles(&setup.principles).await?;
        let record = match self.state.phase {
            Phase::New => Record::Started { at: self.now(), setup },
            _ => Record::Changed { setup },
        };
        self.store(vec![record]).await?;
        self.write_markdown(None).await?;
        self.principles = principles;
        self.audio.configure(&self.state.setup.language, self.elapsed_ms());
        self.send(&json(&self.ready()));
        Ok(())
    }

    async fn find_principles(&self, names: &[String]) -> Result<Vec<Principle>, ClientFault> {
        let (folder, names) = (self.meetings.0.options.principles.clone(), names.to_vec());
        let found = blocking(move || {
            let get = |name: String| match name.parse().and_then(|name| folder.get(&name)) {
                Ok(principle) => Ok(principle),
                Err(_) => Err(ClientFault::UnknownPrinciple(cut(&name, 64).to_owned())),
            };
            Ok(names.into_iter().map(get).collect::<Result<Vec<_>, _>>())
        });
        found.await.unwrap_or(Err(ClientFault::Storage))
    }

    async fn load_principles(&mut self) {
        let names = self.state.setup.principles.clone();
        for name in names {
            // One that was deleted since the meeting began is left out.
            self.principles.extend(self.find_principles(&[name]).await.unwrap_or_default());
        }
    }

    async fn speaker(&mut self, speaker: &str, at: u64) -> Result<(), ClientFault> {
        if self.state.phase == Phase::Ended || self.ending {
            return Err(ClientFault::Ended);
        }
        if !self.state.setup.participants.is_empty() && self.state.participant(speaker).is_none() {
            return Err(ClientFault::UnknownParticipant);
        }
        if let Some(speakers) = &mut self.speakers {
            speakers.declared.speaks(at, speaker);
        }
        // The turn of the one before ends here.
        self.audio.commit();
        Ok(())
    }

    async fn correct(
        &mut self,
        item_id: &str,
        speaker: Option<String>,
        text: Option<String>,
    ) -> Result<(), ClientFault> {
        let turn = self.state.turn(item_id).ok_or(ClientFault::UnknownItem)?.clone();
        if let Some(speaker) = &speaker
            && !self.state.setup.participants.is_empty()
            && self.state.participant(speaker).is_none()
        {
            return Err(ClientFault::UnknownParticipant);
        }
        let source = SpeakerSource::Corrected;
        let text = text.map(|text| text.trim().to_owned());
        let mut records =
            vec![Record::Corrected { item_id: item_id.to_owned(), speaker: speaker.clone(), text, source }];
        if let (Some(speaker), Some(voice), Some(speakers)) = (&speaker, turn.voice, &mut self.speakers)
            && speakers.name(voice, speaker)
        {
            // The voice had no name: all of its turns get it.
            let others = self.state.turns.iter().filter(|other| {
                other.voice == Some(voice) && other.source == SpeakerSource::Voice && other.item_id != item_id
            });
            records.extend(others.map(|other| Record::Corrected {
                item_id: other.item_id.clone(),
                speaker: Some(speaker.clone()),
                text: None,
                source: SpeakerSource::Voice,
            }));
        }
        let changed: Vec<String> = records
            .iter()
            .filter_map(|record| match record {
                Record::Corrected { item_id, .. } => Some(item_id.clone()),
                _ => None,
            })
            .collect();
        self.store(records).await?;
        self.write_markdown(None).await?;
        for item_id in changed {
            if let Some(turn) = self.state.turn(&item_id) {
                let message = json(&ServerMessage::from(turn));
                self.send(&message);
            }
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), ClientFault> {
        if self.state.phase == Phase::Ended || self.ending {
            return Err(ClientFault::Ended);
        }
        if self.state.phase == Phase::New {
            self.store(vec![Record::Started { at: self.now(), setup: self.state.setup.clone() }]).await?;
        }
        self.ending = true;
        if !self.audio.finish() {
            self.analyse();
        }
        Ok(())
    }

    async fn opened(&mut self, transcriber: Transcriber) {
        self.transcriber = Some(transcriber);
        if self.state.phase == Phase::New {
            let record = Record::Started { at: self.now(), setup: Setup::default() };
            if let Err(fault) = self.store(vec![record]).await {
                self.send(&json(&ServerMessage::from(&fault)));
                return;
            }
            if let Err(fault) = self.write_markdown(None).await {
                self.send(&json(&ServerMessage::from(&fault)));
            }
            self.send(&json(&self.ready()));
        }
    }

    async fn heard(&mut self, event: RealtimeEvent) {
        match event {
            RealtimeEvent::Connection { state, .. } => {
                self.upstream = Some(match state {
                    ConnectionState::Connected => UpstreamState::Connected,
                    ConnectionState::Reconnecting => UpstreamState::Reconnecting,
                    ConnectionState::Lost(reason) => {
                        self.lost(reason);
                        UpstreamState::Lost
                    }
                });
                self.show_status();
            }
            RealtimeEvent::Delta { item, text } => {
                if self.partials.len() >= PARTIALS && !self.partials.contains_key(&item) {
                    self.partials.clear();
                }
                let partial = self.partials.entry(item.clone()).or_default();
                if partial.len() < limits::TEXT_CHARS {
                    partial.push_str(&text);
                }
                let text = partial.clone();
                self.send(&json(&ServerMessage::TranscriptPartial { item_id: item, text }));
            }
            RealtimeEvent::Completed { item, text, span } => {
                self.partials.remove(&item);
                let (start, start_ms) = self.audio.place(span.start);
                let (end, end_ms) = self.audio.place(span.end);
                self.said(item, &text, (start, end), (start_ms, end_ms)).await;
            }
            RealtimeEvent::Failed { item, code, .. } => {
                self.partials.remove(&item);
                tracing::warn!(meeting = %self.id, code, "an utterance could not be transcribed");
                let fault = ClientFault::Transcription("an utterance could not be transcribed".to_owned());
                self.send(&json(&ServerMessage::from(&fault)));
            }
            RealtimeEvent::Error { code } => {
                tracing::warn!(meeting = %self.id, code, "the transcription endpoint reported an error");
            }
            _ => {}
        }
    }

    fn lost(&mut self, reason: RefusedReason) {
        tracing::error!(meeting = %self.id, "{}", reason.message());
        let fault = ClientFault::Transcription(reason.message().to_owned());
        self.send(&json(&ServerMessage::from(&fault)));
    }

    /// An utterance was transcribed.
    async fn said(&mut self, item: String, text: &str, samples: (u64, u64), ms: (u64, u64)) {
        let text = cut(text.trim(), limits::TEXT_CHARS).to_owned();
        if text.is_empty() {
            return;
        }
        tracing::info!("=== TRANSCRIPT RECEIVED: '{}' ===", cut(&text, LOGGED));
        if self.state.turns.len() >= limits::TURNS {
            self.send(&json(&ServerMessage::from(&ClientFault::TooLarge("it has too many turns"))));
            return;
        }
        let (speaker, confidence, source, voice) = self.identify(samples).await;
        // Ids of another session may be the same.
        let mut item_id = item.clone();
        for number in 2.. {
            if self.state.turn(&item_id).is_none() {
                break;
            }
            item_id = format!("{item}-{number}");
        }
        let (start_ms, end_ms) = ms;
        let turn = Turn { item_id, speaker, confidence, text, start_ms, end_ms, source, voice };
        let line = markdown::turn_line(&self.state, &turn);
        let message = json(&ServerMessage::from(&turn));
        let mut stored = self.store(vec![Record::Said(turn)]).await;
        if stored.is_ok() {
            stored = self.write_markdown(Some(line)).await;
        }
        match stored {
            Ok(()) => {
                tracing::info!("Sending transcript to frontend for meeting: {}", self.id);
                self.send(&message);
                tracing::info!("Transcript sent successfully");
            }
            Err(fault) => self.send(&json(&ServerMessage::from(&fault))),
        }
        self.analyse();
    }

    async fn identify(&mut self, samples: (u64, u64)) -> (Option<String>, f32, SpeakerSource, Option<usize>) {
        let Some(mut speakers) = self.speakers.take() else {
            return (None, 0.0, SpeakerSource::Unknown, None);
        };
        let audio = self.audio.audio(samples.0, samples.1);
        let identify = blocking(move || {
            let found = speakers.identify(Utterance { start: samples.0, end: samples.1, audio: &audio });
            Ok((speakers, found))
        });
        match identify.await {
            Ok((speakers, found)) => {
                self.speakers = Some(speakers);
                match found {
                    Some(found) => (Some(found.speaker), found.confidence, found.source, found.voice),
                    None => (None, 0.0, SpeakerSource::Unknown, None),
                }
            }
            Err(_) => {
                self.speakers = Some(Speakers::default());
                (None, 0.0, SpeakerSource::Unknown, None)
            }
        }
    }

    fn transcription_ended(&mut self) {
        self.transcriber = None;
        self.audio.closed();
        self.partials.clear();
        if self.ending {
            self.analyse();
        }
    }

    /// Lets the agents look at what is new, or ends the meeting if nothing is.
    fn analyse(&mut self) {
        if self.busy || self.state.phase == Phase::New {
            return;
        }
        let new = &self.state.turns[self.state.analysed.min(self.state.turns.len())..];
        if new.is_empty() {
            if self.ending && self.transcriber.is_none() {
                self.write_minutes();
            }
            return;
        }
        self.busy = true;
        let turns: Vec<Turn> = new.iter().take(BATCH).cloned().collect();
        let meeting = Meeting::of(&self.state);
        let total = self.state.analysed + turns.len();
        let elapsed = self.elapsed_ms();
        let (meetings, id, commands) = (self.meetings.clone(), self.id.clone(), self.commands.clone());
        let (mut state, principles) = (self.state.tail(total), self.principles.clone());
        self.meetings.0.tasks.spawn(async move {
            let count = turns.len();
            let findings = analysis::triage(&meetings, &id, meeting, turns).await;
            // The moderator sees what triage found.
            state.decisions.extend(findings.decisions.iter().cloned());
            state.action_items.extend(findings.action_items.iter().cloned());
            let view = View::of(&state, &principles, elapsed, count);
            let proposals = analysis::moderate(&meetings, &id, view).await;
            let _ended = commands.send(Command::Analysed { turns: total, findings, proposals }).await;
        });
    }

    async fn analysed(&mut self, turns: usize, findings: Findings, proposals: Vec<Intervention>) {
        self.busy = false;
        let Findings { decisions, action_items, questions } = findings;
        let known = self.state.action_items.len();
        let changed = !decisions.is_empty() || !action_items.is_empty() || !questions.is_empty();
        let turns = turns.max(self.state.analysed);
        if turns > self.state.analysed || changed {
            let record = Record::Analysed { turns, decisions, action_items, questions };
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
        self.analyse();
    }

    fn write_minutes(&mut self) {
        self.busy = true;
        let (meetings, id, commands) = (self.meetings.clone(), self.id.clone(), self.commands.clone());
        let state = self.state.clone();
        self.meetings.0.tasks.spawn(async move {
            let summary = analysis::minutes(&meetings, &id, &state, &commands).await;
            let _ended = commands.send(Command::Minuted { summary }).await;
        });
    }

    async fn minuted(&mut self, summary: Option<String>) {
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
                if let Some(minutes) = self.minutes() {
                    self.send(&json(&minutes));
                }
                self.send(&json(&self.ready()));
            }
            Err(fault) => self.send(&json(&ServerMessage::from(&fault))),
        }
    }

    fn tick(&mut self) {
        if self.upstream.is_some() {
            self.show_status();
        }
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
                let _ended = commands.send(Command::Analysed { turns, findings, proposals }).await;
            });
        } else if !self.busy && (self.ending || self.state.analysed < self.state.turns.len()) {
            self.analyse();
        }
    }

    /// Sends the state of the transcription, if it changed.
    fn show_status(&mut self) {
        let Some(upstream) = self.upstream else { return };
        let backlog = self.audio.backlog();
        // What waits for less than a second is no news.
        let rounded = |backlog: Backlog| (backlog.buffered.as_secs(), backlog.dropped.as_millis());
        let is_news =
            self.shown.is_none_or(|(state, before)| state != upstream || rounded(before) != rounded(backlog));
        if is_news {
            self.shown = Some((upstream, backlog));
            self.send(&json(&status(upstream, backlog)));
        }
    }

    fn ready(&self) -> ServerMessage {
        let setup = &self.state.setup;
        ServerMessage::Ready {
            meeting_id: self.id.to_string(),
            participants: setup.participants.clone(),
            principles: setup.principles.clone(),
            title: setup.title.clone(),
            language: setup.language.clone(),
            status: self.state.phase.name(),
            planned_minutes: setup.planned_minutes,
        }
    }

    fn minutes(&self) -> Option<ServerMessage> {
        Some(ServerMessage::Minutes {
            markdown: self.state.minutes.clone()?,
            decisions: self.state.decisions.clone(),
            action_items: self.state.action_items.clone(),
        })
    }

    /// Returns what happened so far.
    fn so_far(&self) -> Vec<Arc<str>> {
        let mut messages = vec![json(&self.ready())];
        messages.extend(self.state.turns.iter().map(|turn| json(&ServerMessage::from(turn))));
        let actions =
            (0..self.state.action_items.len()).filter_map(|number| action_todo(&self.state, number));
        messages.extend(actions.map(|message| json(&message)));
        let remarks = self.state.interventions.iter();
        messages.extend(remarks.map(|(_, remark)| json(&ServerMessage::Intervention(remark.clone()))));
        for (item_id, text) in &self.partials {
            let (item_id, text) = (item_id.clone(), text.clone());
            messages.push(json(&ServerMessage::TranscriptPartial { item_id, text }));
        }
        if let Some(upstream) = self.upstream {
            messages.push(json(&status(upstream, self.audio.backlog())));
        }
        messages.extend(self.minutes().map(|message| json(&message)));
        messages
    }

    /// Sends a message to all clients. One that is too far behind is disconnected; it can join again and misses nothing.
    fn send(&mut self, message: &Arc<str>) {
        self.clients.retain(|client| client.try_send(Arc::clone(message)).is_ok());
    }
}

fn status(upstream: UpstreamState, backlog: Backlog) -> ServerMessage {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    ServerMessage::Status { upstream, buffered_ms: ms(backlog.buffered), dropped_ms: ms(backlog.dropped) }
}
