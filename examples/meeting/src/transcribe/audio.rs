//! Audio as samples: from bytes, to 16 kHz, to WAV.
//!
//! Pure: no await, clock, lock or I/O.

use std::{io::Cursor, sync::LazyLock};

/// Samples per second of a meeting's audio.
pub const RATE: u64 = 24_000;

/// Returns the samples in bytes; an incomplete one at the end is ignored.
#[must_use]
pub fn samples(pcm: &[u8]) -> Vec<i16> {
    pcm.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect()
}

/// Returns the time of a number of samples at 24 kHz, in milliseconds.
#[must_use]
pub const fn millis(samples: u64) -> u64 {
    samples / (RATE / 1_000)
}

/// Samples of the filter on each side.
const SIDE: usize = 24;

/// A low-pass filter of 7.2 kHz at 48 kHz: a sinc in a Hann window.
static FILTER: LazyLock<[f32; 2 * SIDE + 1]> = LazyLock::new(|| {
    let mut filter = [0.0; 2 * SIDE + 1];
    let cutoff = 7_200.0 / 48_000.0;
    for (at, tap) in filter.iter_mut().enumerate() {
        let x = at as f32 - SIDE as f32;
        let angle = 2.0 * std::f32::consts::PI * cutoff * x;
        let sinc = if x == 0.0 { 1.0 } else { angle.sin() / angle };
        let window = 0.5 + 0.5 * (std::f32::consts::PI * x / (SIDE as f32 + 1.0)).cos();
        // Twice, because every second sample at 48 kHz is zero.
        *tap = 2.0 * 2.0 * cutoff * sinc * window;
    }
    filter
});

/// Converts 24 kHz to 16 kHz, chunk by chunk.
#[derive(Debug, Clone, Default)]
pub struct Downsampler {
    /// Latest samples at 24 kHz.
    history: Vec<i16>,
    /// Position of `history[0]` in the stream, and number of samples that were returned.
    start: usize,
    returned: usize,
}

impl Downsampler {
    /// Takes samples at 24 kHz and returns what is complete at 16 kHz. The result is half a millisecond late.
    pub fn push(&mut self, samples: &[i16]) -> Vec<i16> {
        self.history.extend_from_slice(samples);
        let mut result = Vec::with_capacity(samples.len() * 2 / 3 + 1);
        loop {
            // At 48 kHz, in which sample 2n is sample n of the input and the others are zero.
            let center = self.returned * 3;
            let last = center + SIDE;
            if last / 2 >= self.start + self.history.len() {
                break;
            }
            let first = center.saturating_sub(SIDE);
            let mut sum = 0.0;
            for at in (first.div_ceil(2) * 2..=last).step_by(2) {
                let Some(index) = (at / 2).checked_sub(self.start) else { continue };
                sum += f32::from(self.history[index]) * FILTER[at + SIDE - center];
            }
            result.push(sum.clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16);
            self.returned += 1;
        }
        let needed = (self.returned * 3).saturating_sub(SIDE) / 2;
        let unused = needed.saturating_sub(self.start).min(self.history.len());
        self.history.drain(..unused);
        self.start += unused;
        result
    }
}

/// Returns a WAV file: 16 bit, mono.
#[must_use]
pub fn wav(samples: &[i16], rate: u32) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::with_capacity(samples.len() * 2 + 44));
    let written = hound::WavWriter::new(&mut file, spec).and_then(|mut writer| {
        for sample in samples {
            writer.write_sample(*sample)?;
        }
        writer.finalize()
    });
    debug_assert!(written.is_ok(), "memory can be written");
    file.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f32, rate: f32, count: usize) -> Vec<i16> {
        (0..count)
            .map(|at| ((at as f32 * hertz * std::f32::consts::TAU / rate).sin() * 10_000.0) as i16)
            .collect()
    }

    fn loudness(samples: &[i16]) -> f32 {
        (samples.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn speech_keeps_its_frequencies_and_higher_ones_are_removed() {
        let low = Downsampler::default().push(&tone(1_000.0, 24_000.0, 24_000));
        assert!(low.len().abs_diff(16_000) < 20, "{}", low.len());
        assert!((loudness(&low) - 7_070.0).abs() < 150.0, "{}", loudness(&low));
        let crossings = low.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!(crossings.abs_diff(1_000) < 5, "{crossings}");
        let high = Downsampler::default().push(&tone(10_500.0, 24_000.0, 24_000));
        assert!(loudness(&high) < 200.0, "{}", loudness(&high));
    }

    #[test]
    fn chunks_of_any_size_give_the_same_samples() {
        let whole = tone(440.0, 24_000.0, 5_000);
        let at_once = Downsampler::default().push(&whole);
        let mut parts = Downsampler::default();
        let mut by_parts = Vec::new();
        for chunk in whole.chunks(7) {
            by_parts.extend(parts.push(chunk));
        }
        assert_eq!(by_parts, at_once);
    }

    #[test]
    fn a_wav_file_can_be_read_again() {
        let file = wav(&[1, -2, 3], 24_000);
        let mut reader = hound::WavReader::new(&file[..]).unwrap();
        assert_eq!(reader.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), [1, -2, 3]);
    }
}
