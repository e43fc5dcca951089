//! Inputs that almost make sense: changed examples, and JSON built from random bytes.

use arbitrary::{Arbitrary, Unstructured};
use serde_json::{Map, Value};

/// How many inputs a test tries: `FUZZ_INPUTS`, or this many.
const INPUTS: u64 = 20_000;
/// Bytes that mean something to a parser.
const MARKS: &[u8] = b"{}[]\",:\\\n\r\t <>/=#'$0-9eE.+\0\xff\xc3\xed";

/// An endless source of inputs, the same for the same seed.
#[derive(Debug)]
pub struct Mutations {
    rng: fastrand::Rng,
    examples: Vec<Vec<u8>>,
    /// Names and words of the format.
    words: Vec<&'static str>,
}

impl Mutations {
    /// Inputs that begin with these examples and use these words.
    #[must_use]
    pub fn of<E: Into<Vec<u8>>>(
        seed: u64,
        examples: impl IntoIterator<Item = E>,
        words: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let examples = examples.into_iter().map(Into::into).collect();
        Self { rng: fastrand::Rng::with_seed(seed), examples, words: words.into_iter().collect() }
    }

    /// The number of inputs to try.
    #[must_use]
    pub fn count() -> u64 {
        std::env::var("FUZZ_INPUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(INPUTS)
    }

    /// Calls `check` with each input. A panic is shown with its input.
    ///
    /// # Panics
    ///
    /// As `check` does.
    pub fn try_all(self, mut check: impl FnMut(&[u8])) {
        for input in self.take(usize::try_from(Self::count()).unwrap_or(usize::MAX)) {
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&input)));
            if let Err(panic) = tried {
                eprintln!("input: {:?}", String::from_utf8_lossy(&input));
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn changed(&mut self) -> Vec<u8> {
        let mut input = self.rng.choice(&self.examples).cloned().unwrap_or_default();
        for _ in 0..=self.rng.usize(..6) {
            let at = self.rng.usize(..=input.len());
            match self.rng.u8(..9) {
                0 => input.insert(at, *self.rng.choice(MARKS).unwrap_or(&b'{')),
                1 if at < input.len() => drop(input.remove(at)),
                2 if at < input.len() => input[at] ^= 1 << self.rng.u8(..8),
                3 => input.truncate(at),
                4 => {
                    let word = self.rng.choice(&self.words).copied().unwrap_or("null");
                    input.splice(at..at, word.bytes());
                }
                5 => {
                    let from = self.rng.usize(..=at);
                    let part = input[from..at].to_vec();
                    input.splice(at..at, part);
                }
                6 => {
                    let end = (at + self.rng.usize(..16)).min(input.len());
                    input.drain(at..end);
                }
                7 => {
                    let deep = self.rng.usize(..200);
                    input.splice(
                        at..at,
                        std::iter::repeat_n(*self.rng.choice(b"[{\"").unwrap_or(&b'['), deep),
                    );
                }
                _ => {
                    let number = [u64::MAX, 1 << 53, 0, 1 << 31][self.rng.usize(..4)].to_string();
                    input.splice(at..at, number.bytes());
                }
            }
        }
        input
    }

    fn built(&mut self) -> Vec<u8> {
        let bytes: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..)).take(256).collect();
        let value = json(&mut Unstructured::new(&bytes), &self.words, 5);
        serde_json::to_vec(&value.unwrap_or(Value::Null)).expect("a value is JSON")
    }
}

impl Iterator for Mutations {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        Some(if self.rng.u8(..3) == 0 { self.built() } else { self.changed() })
    }
}

/// A value whose names are mostly words of the format.
fn json(data: &mut Unstructured<'_>, words: &[&'static str], depth: u32) -> arbitrary::Result<Value> {
    let word = |data: &mut Unstructured<'_>| -> arbitrary::Result<String> {
        Ok(if words.is_empty() || data.ratio(1, 5)? {
            String::arbitrary(data)?
        } else {
            (*data.choose(words)?).to_owned()
        })
    };
    Ok(match data.int_in_range(0..=if depth == 0 { 5 } else { 8 })? {
        0 => Value::Null,
        1 => bool::arbitrary(data)?.into(),
        2 => i64::arbitrary(data)?.into(),
        3 => f64::arbitrary(data)?.into(),
        4 | 5 => word(data)?.into(),
        6 => (0..data.int_in_range(0..=4)?)
            .map(|_| json(data, words, depth - 1))
            .collect::<arbitrary::Result<_>>()?,
        _ => {
            let mut fields = Map::new();
            for _ in 0..data.int_in_range(0..=5)? {
                fields.insert(word(data)?, json(data, words, depth - 1)?);
            }
            Value::Object(fields)
        }
    })
}
