//! Voices: turns are clustered by features of the voice, the pitch and the cepstrum of mel filter banks.
//!
//! Pure: no await, clock, lock or I/O.

use std::{collections::HashMap, fmt};

use polyvoice::{FbankConfig, FbankExtractor};
use serde::{Deserialize, Serialize};

use super::{Identified, IdentifySpeaker, Utterance};
use crate::record::{SpeakerSource, Turn};

/// Samples per second of the audio.
const RATE: usize = 16_000;
/// Mel bands, and coefficients of the cepstrum that are used.
const MELS: usize = 32;
const CEPSTRUM: usize = 14;
/// Shortest voiced audio with features, in frames of 10 ms.
const SHORTEST: usize = 25;
/// Distance from which a voice is another one.
const OTHER: f32 = 1.0;
/// Most voices of a meeting.
const VOICES: usize = 12;
/// Utterances after which the mean of a voice changes no faster.
const MEMORY: f32 = 30.0;

/// Features of an utterance. As JSON, a list of numbers with three decimals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; CEPSTRUM + 1]", into = "[f64; CEPSTRUM + 1]")]
pub struct VoicePrint {
    /// Pitch in octaves above 1 Hz.
    pitch: f32,
    cepstrum: [f32; CEPSTRUM],
}

impl From<VoicePrint> for [f64; CEPSTRUM + 1] {
    fn from(print: VoicePrint) -> Self {
        let mut numbers = [f64::from(print.pitch); CEPSTRUM + 1];
        for (number, value) in numbers[1..].iter_mut().zip(print.cepstrum) {
            *number = f64::from(value);
        }
        numbers.map(|number| (number * 1_000.0).round() / 1_000.0)
    }
}

impl From<[f64; CEPSTRUM + 1]> for VoicePrint {
    fn from(numbers: [f64; CEPSTRUM + 1]) -> Self {
        let [pitch, cepstrum @ ..] = numbers.map(|number| number as f32);
        Self { pitch, cepstrum }
    }
}

impl VoicePrint {
    /// Returns the distance of two voices: below 1 they are probably the same.
    #[must_use]
    pub fn distance(&self, other: &Self) -> f32 {
        let squares = self.cepstrum.iter().zip(&other.cepstrum).map(|(one, other)| (one - other).powi(2));
        // Scales in which utterances of one voice differ.
        let timbre = (squares.sum::<f32>() / CEPSTRUM as f32).sqrt() / TIMBRE_SCALE;
        let pitch = (self.pitch - other.pitch).abs() / PITCH_SCALE;
        ((timbre.powi(2) + pitch.powi(2)) / 2.0).sqrt()
    }
}

/// Difference of the cepstrum, and of the pitch in octaves, at which voices are different.
const TIMBRE_SCALE: f32 = 1.8;
const PITCH_SCALE: f32 = 0.35;

struct Voice {
    mean: VoicePrint,
    weight: f32,
}

impl Voice {
    /// Moves the mean towards the features of another utterance.
    fn add(&mut self, print: &VoicePrint) {
        self.weight = (self.weight + 1.0).min(MEMORY);
        let step = 1.0 / self.weight;
        self.mean.pitch += (print.pitch - self.mean.pitch) * step;
        for (mean, value) in self.mean.cepstrum.iter_mut().zip(&print.cepstrum) {
            *mean += (value - *mean) * step;
        }
    }
}

/// The voices of a meeting.
pub struct Voices {
    extractor: Option<FbankExtractor>,
    voices: Vec<Voice>,
    names: HashMap<usize, String>,
}

impl Default for Voices {
    fn default() -> Self {
        let config = FbankConfig { n_mels: MELS, f_min: 80.0, ..FbankConfig::default() };
        Self { extractor: FbankExtractor::try_new(config).ok(), voices: Vec::new(), names: HashMap::new() }
    }
}

impl fmt::Debug for Voices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voices")
            .field("voices", &self.voices.len())
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Voices {
    /// Returns the features of audio at 16 kHz; `None` if too little of it is speech.
    #[must_use]
    pub fn print(&self, audio: &[i16]) -> Option<VoicePrint> {
        let samples: Vec<f32> = audio.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
        let frames = self.extractor.as_ref()?.extract(&samples).ok()?;
        let hop = RATE / 100;
        let energy = |at: usize| {
            let frame = samples.get(at * hop..(at * hop + 400).min(samples.len())).unwrap_or_default();
            frame.iter().map(|sample| sample * sample).sum::<f32>()
        };
        let energies: Vec<f32> = (0..frames.len()).map(energy).collect();
        let loudest = energies.iter().copied().fold(0.0, f32::max);
        if loudest < 1e-3 {
            return None;
        }
        let mut pitches = Vec::new();
        let mut sums = [0.0; CEPSTRUM];
        let mut count = 0_usize;
        for (at, frame) in frames.iter().enumerate().filter(|(at, _)| energies[*at] > loudest * 0.02) {
            // Every second frame: pitch changes slowly, and its search is the expensive part.
            if at % 2 == 0 {
                pitches.extend(pitch(samples.get(at * hop..at * hop + 640).unwrap_or_default()));
            }
            for (order, sum) in sums.iter_mut().enumerate() {
                *sum += cosine(frame, order + 1);
            }
            count += 1;
        }
        if count < SHORTEST || pitches.len() < 5 {
            return None;
        }
        pitches.sort_by(f32::total_cmp);
        let cepstrum = sums.map(|sum| sum / count as f32);
        Some(VoicePrint { pitch: pitches[pitches.len() / 2].log2(), cepstrum })
    }

    /// Returns the voices of earlier turns, with the names that they got.
    #[must_use]
    pub fn of(turns: &[Turn]) -> Self {
        let mut voices = Self::default();
        for turn in turns {
            let (Some(voice), Some(print)) = (turn.voice.filter(|voice| *voice < VOICES), &turn.print) else {
                continue;
            };
            while voices.voices.len() <= voice {
                voices.voices.push(Voice { mean: print.clone(), weight: 0.0 });
            }
            voices.voices[voice].add(print);
            let named = turn.speaker.as_ref().filter(|speaker| {
                turn.source != SpeakerSource::Voice || **speaker != format!("speaker-{}", voice + 1)
            });
            if let Some(speaker) = named {
                voices.name(voice, speaker);
            }
        }
        voices
    }

    fn speaker(&self, voice: usize) -> String {
        self.names.get(&voice).cloned().unwrap_or_else(|| format!("speaker-{}", voice + 1))
    }
}

impl IdentifySpeaker for Voices {
    fn identify(&mut self, utterance: Utterance<'_>) -> Option<Identified> {
        let print = self.print(utterance.audio)?;
        let mut near: Vec<(f32, usize)> =
            self.voices.iter().enumerate().map(|(at, voice)| (voice.mean.distance(&print), at)).collect();
        near.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (voice, confidence) = match near.first() {
            Some((distance, at)) if *distance < OTHER || self.voices.len() >= VOICES => {
                self.voices[*at].add(&print);
                // How much nearer it is than the next voice, or than the limit.
                let next = near.get(1).map_or(OTHER, |(distance, _)| distance.min(2.0 * OTHER));
                (*at, next / (distance + next).max(f32::EPSILON))
            }
            nearest => {
                self.voices.push(Voice { mean: print.clone(), weight: 1.0 });
                let confidence = nearest.map_or(0.5, |(distance, _)| distance / (distance + OTHER));
                (self.voices.len() - 1, confidence)
            }
        };
        let confidence = (confidence.clamp(0.0, 0.99) * 100.0).round() / 100.0;
        let source = SpeakerSource::Voice;
        let speaker = self.speaker(voice);
        Some(Identified { speaker, confidence, source, voice: Some(voice), print: Some(print) })
    }

    fn name(&mut self, voice: usize, participant: &str) -> bool {
        let is_new = !self.names.contains_key(&voice);
        self.names.entry(voice).or_insert_with(|| participant.to_owned());
        is_new
    }
}

/// Returns a coefficient of the discrete cosine transform, which makes a cepstrum of mel bands.
fn cosine(frame: &[f32], order: usize) -> f32 {
    let step = std::f32::consts::PI * order as f32 / frame.len() as f32;
    let scale = (2.0 / frame.len() as f32).sqrt();
    frame.iter().enumerate().map(|(at, band)| band * ((at as f32 + 0.5) * step).cos()).sum::<f32>() * scale
}

/// Returns the pitch of a frame in hertz, by autocorrelation; `None` if it is not voiced.
fn pitch(frame: &[f32]) -> Option<f32> {
    const SHORT: usize = RATE / 400;
    const LONG: usize = RATE / 65;
    let window = frame.len().checked_sub(LONG)?;
    let power = |part: &[f32]| part.iter().map(|sample| sample * sample).sum::<f32>();
    let own = power(&frame[..window]);
    if own <= 0.0 {
        return None;
    }
    let correlation = |lag: usize| {
        let shifted = &frame[lag..lag + window];
        let product: f32 = frame[..window].iter().zip(shifted).map(|(one, other)| one * other).sum();
        product / (own * power(shifted)).sqrt().max(f32::EPSILON)
    };
    let values: Vec<f32> = (SHORT..LONG).map(correlation).collect();
    let best = values.iter().copied().fold(0.0, f32::max);
    if best < 0.6 {
        return None;
    }
    // The first peak that is nearly as high: multiples of the period are as high as the period.
    let peak = (1..values.len() - 1).find(|at| {
        values[*at] >= best * 0.9 && values[*at] >= values[at - 1] && values[*at] >= values[at + 1]
    })?;
    Some(RATE as f32 / (peak + SHORT) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pitch_of_a_tone_with_overtones_is_found() {
        let voice = |hertz: f32| -> Vec<f32> {
            let at = |sample: usize, part: f32| {
                (sample as f32 * hertz * part * std::f32::consts::TAU / RATE as f32).sin()
            };
            (0..640).map(|sample| at(sample, 1.0) + 0.6 * at(sample, 2.0) + 0.4 * at(sample, 3.0)).collect()
        };
        for hertz in [90.0, 120.0, 210.0, 300.0] {
            let found = pitch(&voice(hertz)).unwrap();
            assert!((found / hertz - 1.0).abs() < 0.03, "{hertz}: {found}");
        }
    }

    #[test]
    fn utterances_of_one_voice_are_nearer_than_those_of_two() {
        #[derive(serde::Deserialize)]
        struct Said {
            speaker: String,
            start_ms: usize,
            end_ms: usize,
        }
        let said: Vec<Said> = serde_json::from_str(include_str!("../../demo/meeting.json")).unwrap();
        let mut file = hound::WavReader::new(&include_bytes!("../../demo/meeting.wav")[..]).unwrap();
        let audio: Vec<i16> = file.samples().map(Result::unwrap).collect();
        let voices = Voices::default();
        let print = |said: &Said| voices.print(&audio[said.start_ms * 16..said.end_ms * 16]).unwrap();
        let (mut same, mut other) = (Vec::new(), Vec::new());
        for (at, one) in said.iter().enumerate() {
            for two in &said[at + 1..] {
                let (a, b) = (print(one), print(two));
                let list = if one.speaker == two.speaker { &mut same } else { &mut other };
                list.push((a.distance(&b), (a.pitch - b.pitch).abs()));
            }
        }
        let most = same.iter().map(|(distance, _)| *distance).fold(0.0, f32::max);
        let least = other.iter().map(|(distance, _)| *distance).fold(f32::MAX, f32::min);
        assert!(most < OTHER && OTHER < least, "{most} {least}\nsame {same:?}\nother {other:?}");
    }

    #[test]
    fn silence_has_no_voice() {
        assert_eq!(Voices::default().print(&[0; 16_000]), None);
        assert_eq!(Voices::default().print(&[]), None);
    }
}
