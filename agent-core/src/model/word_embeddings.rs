//! Embeddings of words, without a model.

use futures::future::BoxFuture;
use sha2::{Digest, Sha256};

use super::{EmbedError, Embedder};

/// Length of the vectors.
const LENGTH: usize = 512;
/// Weight of a part of a word, compared with the whole word.
const PART: f32 = 0.5;

/// Embeds the words of a text, without a model and a network: texts with the same words, or words with the same parts, are
/// near. It knows no meanings and no synonyms; use it for tests, and for small collections in which the words match.
///
/// # Examples
///
/// ```
/// use agent_core::{memory::{InMemoryStore, MemoryStore, Namespace, Put, Search}, model::WordEmbeddings};
/// use serde_json::json;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = InMemoryStore::new().with_embedder(Arc::new(WordEmbeddings));
/// let notes = Namespace::new(["notes"])?;
/// memory.put(Put::new(notes.clone(), "refunds", json!("환불은 14일 안에 가능합니다."))).await?;
/// memory.put(Put::new(notes.clone(), "shipping", json!("배송은 이틀 걸립니다."))).await?;
/// let found = memory.search(Search::new(notes).near("환불 기간").limit(1)).await?;
/// assert_eq!(found[0].item.key, "refunds");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct WordEmbeddings;

impl Embedder for WordEmbeddings {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move { Ok(texts.iter().map(|text| vector(text)).collect()) })
    }

    fn dimensions(&self) -> usize {
        LENGTH
    }
}

fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; LENGTH];
    let text = text.to_lowercase();
    for word in text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        add(&mut vector, word, 1.0);
        // Inflections and particles: parts of two letters (three in long words) are shared.
        let letters: Vec<char> = word.chars().collect();
        let part = if letters.len() > 5 { 3 } else { 2 };
        for part in letters.windows(part) {
            add(&mut vector, &part.iter().collect::<String>(), PART);
        }
    }
    vector
}

fn add(vector: &mut [f32], word: &str, weight: f32) {
    let hash = Sha256::digest(word.as_bytes());
    let place = usize::from(u16::from_le_bytes([hash[0], hash[1]])) % LENGTH;
    vector[place] += if hash[2] & 1 == 0 { weight } else { -weight };
}
