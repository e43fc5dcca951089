//! Segmenter: finds utterances in audio by voice-activity detection.

use std::{fmt, ops::Range};

use super::audio::{Downsampler, samples};

/// Samples of a frame at 16 kHz: 16 ms.
const FRAME: usize = 256;
/// Samples of a frame at 24 kHz.
const FRAME_24: u64 = 384;
/// Score from which a frame is speech.
const SPEECH: f32 = 0.5;
/// Frames of speech that begin an utterance: 80 ms.
const BEGIN: u64 = 5;
/// Frames of silence that end an utterance: 0.8 s.
const END: u64 = 50;
/// Frames before the speech that belong to the utterance: 0.3 s.
const LEAD: u64 = 19;
/// Longest utterance: 25 s. A longer one is cut.
const LONGEST: u64 = 1_560;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Speech began at a sample (24 kHz).
    Began(u64),
    /// An utterance ended: its samples (24 kHz), as places and as audio.
    Ended {
        /// The place.
        span: Range<u64>,
        /// The audio.
        audio: Vec<i16>,
    },
}

/// Finds utterances in a stream of audio at 24 kHz.
#[derive(Default)]
pub struct Segmenter {
    detector: Box<earshot::Detector>,
    downsampler: Downsampler,
    /// Samples at 16 kHz that are not a whole frame yet.
    rest: Vec<i16>,
    /// Audio at 24 kHz that may belong to an utterance, and its place.
    audio: Vec<i16>,
    audio_start: u64,
    frames: u64,
    /// Frame at which the utterance began.
    began: Option<u64>,
    voiced: u64,
    silent: u64,
}

impl Segmenter {
    /// Takes audio and returns what was found in it.
    pub fn push(&mut self, pcm: &[u8]) -> Vec<Segment> {
        let samples = samples(pcm);
        self.audio.extend_from_slice(&samples);
        self.rest.extend(self.downsampler.push(&samples));
        let mut found = Vec::new();
        let rest = std::mem::take(&mut self.rest);
        let (frames, tail) = rest.as_chunks::<FRAME>();
        for frame in frames {
            self.frame(frame, &mut found);
        }
        self.rest = tail.to_vec();
        found
    }

    /// Ends the utterance at this point.
    pub fn flush(&mut self) -> Option<Segment> {
        let began = self.began?;
        let end = self.audio_start + self.audio.len() as u64;
        Some(self.end(began, end))
    }

    fn frame(&mut self, frame: &[i16; FRAME], found: &mut Vec<Segment>) {
        let is_speech = self.detector.predict_i16(frame) >= SPEECH;
        self.frames += 1;
        (self.voiced, self.silent) = if is_speech { (self.voiced + 1, 0) } else { (0, self.silent + 1) };
        match self.began {
            None => {
                if self.voiced >= BEGIN {
                    let began = self.frames.saturating_sub(BEGIN + LEAD);
                    self.began = Some(began);
                    found.push(Segment::Began(began * FRAME_24));
                }
                self.forget(self.frames.saturating_sub(BEGIN + LEAD + 4) * FRAME_24);
            }
            Some(began) if self.silent >= END || self.frames - began >= LONGEST => {
                // Half of the silence belongs to it.
                let silence = if self.silent >= END { END / 2 } else { 0 };
                found.push(self.end(began, (self.frames - silence) * FRAME_24));
            }
            Some(_) => {}
        }
    }

    fn end(&mut self, began: u64, end: u64) -> Segment {
        self.forget(began * FRAME_24);
        let length = usize::try_from(end.saturating_sub(self.audio_start)).unwrap_or(0).min(self.audio.len());
        let span = self.audio_start..self.audio_start + length as u64;
        let audio: Vec<i16> = self.audio[..length].to_vec();
        (self.began, self.voiced) = (None, 0);
        self.forget(span.end);
        Segment::Ended { span, audio }
    }

    /// Forgets audio before a sample.
    fn forget(&mut self, before: u64) {
        let unused = usize::try_from(before.saturating_sub(self.audio_start)).unwrap_or(0);
        let unused = unused.min(self.audio.len());
        self.audio.drain(..unused);
        self.audio_start += unused as u64;
    }
}

impl fmt::Debug for Segmenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segmenter").field("frames", &self.frames).finish_non_exhaustive()
    }
}
