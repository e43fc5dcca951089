//! The demonstration: a shipped recording, two voices in Korean and English, through the path of a local recogniser.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    limits::AUDIO_BYTES,
    markdown,
    record::{Participant, Setup},
    service::{Joined, MeetingError, Meetings},
    store::MeetingId,
    transcribe::{Recorded, Recording},
};

/// The audio: 16-bit mono at 16 kHz.
pub const WAV: &[u8] = include_bytes!("../demo/meeting.wav");
/// Time between two chunks of 100 ms in a [`play`]: ten times as fast as the recording.
const PACE: Duration = Duration::from_millis(10);

/// Returns what is said in the recording, and when.
///
/// # Panics
///
/// Never: the file is part of the program, and a test reads it.
#[must_use]
pub fn recording() -> Recording {
    let utterances: Vec<Recorded> =
        serde_json::from_str(include_str!("../demo/meeting.json")).expect("a test reads the recording");
    Recording::new(utterances)
}

/// Returns the audio as clients send it: 16-bit little-endian samples, mono, 24 kHz.
///
/// # Errors
///
/// None: the file is part of the program, and a test reads it.
pub fn audio() -> Result<Vec<u8>, hound::Error> {
    let samples: Vec<i16> = hound::WavReader::new(WAV)?.samples().collect::<Result<_, _>>()?;
    let at = |index: usize| {
        let (place, part) = (index * 2 / 3, (index * 2 % 3) as f32 / 3.0);
        let one = samples.get(place).copied().unwrap_or_default();
        let other = samples.get(place + 1).copied().unwrap_or(one);
        (f32::from(one) + (f32::from(other) - f32::from(one)) * part) as i16
    };
    Ok((0..samples.len() * 3 / 2).flat_map(|index| at(index).to_le_bytes()).collect())
}

/// The demonstration cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The meeting cannot be held.
    #[error(transparent)]
    Meeting(#[from] MeetingError),
    /// The recording cannot be read.
    #[error("the recording cannot be read")]
    Recording(#[from] hound::Error),
    /// Nothing can be written.
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
    /// The meeting ended without minutes.
    #[error("the meeting ended without minutes")]
    NoMinutes,
}

/// Plays the recording into a new meeting and writes what its clients see: transcript, interventions, action items,
/// minutes. Returns the id of the meeting.
///
/// # Errors
///
/// [`DemoError`].
pub async fn play(meetings: &Meetings, out: &mut (impl Write + Send)) -> Result<MeetingId, DemoError> {
    let id = MeetingId::demo();
    let person = |id: &str, name: &str| Participant { id: id.to_owned(), name: name.to_owned() };
    let setup = Setup {
        title: "제품 출시 · Product launch".to_owned(),
        participants: vec![person("minsu", "민수"), person("jimin", "지민")],
        principles: meetings
            .principles()
            .list()
            .map(|all| all.into_iter().map(|principle| principle.name).take(20).collect())
            .unwrap_or_default(),
        planned_minutes: Some(30),
        ..Setup::default()
    };
    meetings.create(id.clone(), setup).await?;
    let Joined { handle, mut messages, .. } = meetings.join(&id).await?;
    let source = handle.audio.source();
    let mut audio = audio()?;
    // Silence, so that the last utterance ends.
    audio.resize(audio.len() + 2 * 48_000, 0);
    let mut chunks = audio.chunks(AUDIO_BYTES.min(4_800));
    let mut pace = tokio::time::interval(PACE);
    let mut ending = false;
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { return Err(DemoError::NoMinutes) };
                if write(out, &message)? {
                    return Ok(id);
                }
            }
            _ = pace.tick(), if !ending => match chunks.next() {
                Some(chunk) => {
                    source.push(chunk.to_vec().into()).map_err(MeetingError::from)?;
                }
                None => {
                    ending = true;
                    handle.end().await.map_err(MeetingError::from)?;
                }
            },
        }
    }
}

/// Writes a message as a line. Returns whether it was the last one.
fn write(out: &mut impl Write, message: &Arc<str>) -> Result<bool, DemoError> {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let data = &message["data"];
    let text = |field: &str| data[field].as_str().unwrap_or_default();
    match message["type"].as_str() {
        Some("transcript") => {
            let at = markdown::clock(data["start_ms"].as_u64().unwrap_or(0));
            writeln!(out, "[{at}] {}: {}", data["speaker"].as_str().unwrap_or("?"), text("text"))?;
        }
        Some("intervention") => writeln!(out, "  ! {}: {}", text("kind"), text("text"))?,
        Some("todo_update")
            if text("todo_id").starts_with("action:") && data["status"] != json!("cancelled") =>
        {
            writeln!(out, "  ☐ {}", text("message"))?;
        }
        Some("error") => writeln!(out, "  error: {}", text("error"))?,
        Some("minutes") => {
            writeln!(out, "\n{}", text("markdown"))?;
            return Ok(true);
        }
        _ => {}
    }
    Ok(false)
}
