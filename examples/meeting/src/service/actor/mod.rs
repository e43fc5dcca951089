//! Actor of a meeting: the only place that changes it. What clients get was stored before.
//!
//! `transcripts` takes what the upstream reports, `findings` what the agents find, `view` makes the messages.

mod findings;
mod transcripts;
mod view;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::model::realtime::Backlog;
use tokio::sync::{mpsc, oneshot};

use crate::service::{
    AudioPath, Meetings,
    analysis::{Findings, json},
    blocking,
};
use crate::{
    limits::{self, cut},
    record::{Intervention, Record, SpeakerSource, Turn},
    speaker::{IdentifySpeaker, Speakers},
    state::{MeetingState, Phase},
    store::{MeetingFile, MeetingId},
    transcribe::Transcriber,
    wire::{ClientFault, ServerMessage, SetupChange, UpstreamState},
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
pub(in crate::service) enum Command {
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
        change: SetupChange,
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
        /// The turns, as the agents saw them.
        seen: Vec<Turn>,
        turns: usize,
        again: Vec<String>,
        findings: Findings,
        proposals: Vec<Intervention>,
    },
    /// Triage failed; its turns are not analysed.
    AnalysisFailed,
    /// The summary of the minutes.
    Minuted {
        summary: Option<String>,
    },
    /// A message to all clients.
    Broadcast(Arc<str>),
}

/// An utterance in progress.
struct Partial {
    /// Id in messages.
    item_id: String,
    /// The text so far.
    text: String,
}

impl Partial {
    /// Returns the message. An empty text removes what was shown.
    fn message(&self) -> ServerMessage {
        ServerMessage::TranscriptPartial { item_id: self.item_id.clone(), text: self.text.clone() }
    }
}

/// The actor.
pub(in crate::service) struct Actor {
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
    /// Dropped audio that is counted.
    dropped: Duration,
    /// Utterances in progress, by their ids at the endpoint.
    partials: HashMap<String, Partial>,
    speakers: Option<Speakers>,
    /// The agents work.
    busy: bool,
    /// Failed analyses since the last one that succeeded.
    failed_analyses: u32,
    /// Earliest time of the next analysis.
    analyse_after: Option<Instant>,
    /// The meeting ends: transcripts, then the analysis, then the minutes are awaited.
    ending: bool,
    /// When a client was last connected, or a command arrived.
    active: Instant,
}

impl Actor {
    pub(in crate::service) fn new(
        meetings: Meetings,
        id: MeetingId,
        state: MeetingState,
        file: MeetingFile,
        audio: Arc<AudioPath>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        // A meeting that was ended and has no minutes was interrupted between the two.
        let ending = (state.ending || state.phase == Phase::Ended) && state.minutes.is_none();
        // The voices of the time before a restart.
        let speakers = Speakers::of(&state.turns);
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
            dropped: Duration::ZERO,
            partials: HashMap::new(),
            speakers: Some(speakers),
            busy: false,
            failed_analyses: 0,
            analyse_after: None,
            ending,
            active: Instant::now(),
        }
    }

    /// Runs until the meeting is idle.
    pub(in crate::service) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        if self.state.phase == Phase::Running {
            self.audio.configure(&self.state.setup.language, self.elapsed_ms());
        }
        self.analyse();
        let tasks = self.meetings.0.tasks.clone();
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
                biased; // transcripts before commands
                () = tasks.stopped() => return,
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

    fn is_idle(&mut self) -> bool {
        if !self.clients.is_empty() {
            self.active = Instant::now();
        }
        if self.active.elapsed() < self.meetings.0.options.idle || self.ending {
            return false;
        }
        // An endpoint is not kept open for a meeting without clients. The next audio opens another session.
        self.audio.pause();
        self.transcriber.is_none() && !self.busy
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
            Command::Start { change, done } => {
                let result = self.start(change).await;
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
            Command::Analysed { seen, turns, again, findings, proposals } => {
                self.analysed(&seen, turns, again, findings, proposals).await;
            }
            Command::AnalysisFailed => self.analysis_failed(),
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

    async fn start(&mut self, change: SetupChange) -> Result<(), ClientFault> {
        if self.state.phase == Phase::Ended || self.ending {
            return Err(ClientFault::Ended);
        }
        self.check_principles(change.principles()).await?;
        let setup = change.apply_to(&self.state.setup);
        let record = match self.state.phase {
            Phase::New => Record::Started { at: self.now(), setup },
            _ => Record::Changed { setup },
        };
        self.store(vec![record]).await?;
        self.write_markdown(None).await?;
        self.audio.configure(&self.state.setup.language, self.elapsed_ms());
        self.send(&json(&self.ready()));
        Ok(())
    }

    /// Checks that principles exist.
    async fn check_principles(&self, names: &[String]) -> Result<(), ClientFault> {
        let (folder, names) = (self.meetings.0.options.principles.clone(), names.to_vec());
        let found = blocking(move || Ok(names.into_iter().find(|name| folder.find(name).is_none())));
        match found.await {
            Ok(None) => Ok(()),
            Ok(Some(unknown)) => Err(ClientFault::UnknownPrinciple(cut(&unknown, 64).to_owned())),
            Err(_) => Err(ClientFault::Storage),
        }
    }

    /// Notes the speakers that were declared in order with the audio.
    pub(super) fn read_marks(&mut self) {
        let known =
            |id: &str| self.state.setup.participants.is_empty() || self.state.participant(id).is_some();
        let marks: Vec<_> = self.audio.take_marks().into_iter().filter(|(_, id)| known(id)).collect();
        if let Some(speakers) = &mut self.speakers {
            marks.iter().for_each(|(at, speaker)| speakers.declared.speaks(*at, speaker));
        }
    }

    async fn speaker(&mut self, speaker: &str, at: u64) -> Result<(), ClientFault> {
        if self.state.phase == Phase::Ended || self.ending {
            return Err(ClientFault::Ended);
        }
        if !self.state.setup.participants.is_empty() && self.state.participant(speaker).is_none() {
            return Err(ClientFault::UnknownParticipant);
        }
        self.read_marks();
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
        let known = self.state.action_items.len();
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
        self.send_actions(known);
        self.renew_minutes().await;
        self.analyse();
        Ok(())
    }

    async fn end(&mut self) -> Result<(), ClientFault> {
        if self.state.phase == Phase::Ended || self.ending {
            return Err(ClientFault::Ended);
        }
        let at = self.now();
        let mut records = vec![Record::Ending { at }];
        if self.state.phase == Phase::New {
            records.insert(0, Record::Started { at, setup: self.state.setup.clone() });
        }
        self.store(records).await?;
        self.ending = true;
        if !self.audio.finish() {
            self.analyse();
        }
        Ok(())
    }
}
