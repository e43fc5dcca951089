//! Push to talk: the client says who speaks from now on.
//!
//! Pure: no await, clock, lock or I/O.

use std::collections::VecDeque;

use super::{Identified, IdentifySpeaker, Utterance};
use crate::record::SpeakerSource;

/// Most changes of the speaker that are kept. Utterances are transcribed long before.
const MARKS: usize = 1_000;

/// The declared speakers and the places from which they speak.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    marks: VecDeque<(u64, String)>,
}

impl Declared {
    /// Notes who speaks from a sample on. A mark that is known changes nothing.
    pub fn speaks(&mut self, from: u64, speaker: &str) {
        if self.marks.iter().rev().any(|(known, name)| *known == from && name == speaker) {
            return;
        }
        self.marks.push_back((from, speaker.to_owned()));
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
    }
}

impl IdentifySpeaker for Declared {
    /// The speaker with the largest part of the utterance.
    fn identify(&mut self, utterance: Utterance<'_>) -> Option<Identified> {
        // An endpoint that reports no times, or wrong ones: who speaks right before the place.
        let utterance = match utterance.end > utterance.start {
            true => utterance,
            false => Utterance {
                start: utterance.start.saturating_sub(1),
                end: utterance.start.max(1),
                ..utterance
            },
        };
        let length = utterance.end.saturating_sub(utterance.start).max(1);
        let ends = self.marks.iter().skip(1).map(|(from, _)| *from).chain([u64::MAX]);
        let mut parts: Vec<(&str, u64)> = Vec::new();
        for ((from, speaker), to) in self.marks.iter().zip(ends) {
            let part = to.min(utterance.end).saturating_sub((*from).max(utterance.start));
            match parts.iter_mut().find(|(known, _)| known == speaker) {
                Some((_, sum)) => *sum += part,
                None => parts.push((speaker, part)),
            }
        }
        let (speaker, part) =
            parts.into_iter().max_by_key(|(_, part)| *part).filter(|(_, part)| *part > 0)?;
        // Of two decimals, because an utterance begins a little before the button is pressed.
        let confidence = (part as f32 / length as f32 * 100.0).round() / 100.0;
        let source = SpeakerSource::Declared;
        let (speaker, confidence) = (speaker.to_owned(), confidence.min(1.0));
        Some(Identified { speaker, confidence, source, voice: None, print: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speaker_of_the_largest_part_said_it() {
        let mut declared = Declared::default();
        let at = |start, end| Utterance { start, end, audio: &[] };
        assert_eq!(declared.identify(at(0, 100)), None);
        declared.speaks(50, "jimin");
        declared.speaks(200, "minsu");
        let who = |declared: &mut Declared, start, end| {
            declared.identify(at(start, end)).map(|found| (found.speaker, found.confidence))
        };
        assert_eq!(who(&mut declared, 0, 40), None);
        assert_eq!(who(&mut declared, 50, 150), Some(("jimin".into(), 1.0)));
        assert_eq!(who(&mut declared, 180, 260), Some(("minsu".into(), 0.75)));
        assert_eq!(who(&mut declared, 200, 200), Some(("jimin".into(), 1.0)));
        assert_eq!(who(&mut declared, 300, 300), Some(("minsu".into(), 1.0)));
    }
}
