//! The trait of embedding models and its error.

use std::fmt;

use futures::future::BoxFuture;

use super::ModelError;

/// Embedding model: turns texts into vectors, such that similar texts have similar vectors.
///
/// # Examples
///
/// ```
/// use agent_core::{memory::InMemoryStore, model::{EmbedError, Embedder}};
/// use futures::future::BoxFuture;
/// use std::sync::Arc;
///
/// /// Counts vowels and consonants.
/// #[derive(Debug)]
/// struct Letters;
///
/// impl Embedder for Letters {
///     fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
///         let vector = |text: &String| {
///             let vowels = text.chars().filter(|letter| "aeiou".contains(*letter)).count() as f32;
///             vec![vowels, text.len() as f32 - vowels]
///         };
///         Box::pin(async move { Ok(texts.iter().map(vector).collect()) })
///     }
///
///     fn dimensions(&self) -> usize {
///         2
///     }
/// }
///
/// let memory = InMemoryStore::new().with_embedder(Arc::new(Letters));
/// # drop(memory);
/// ```
pub trait Embedder: Send + Sync + fmt::Debug + 'static {
    /// Returns one vector of [`dimensions`](Embedder::dimensions) numbers for each text, in the same order.
    ///
    /// # Errors
    ///
    /// [`EmbedError`], without secrets.
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>>;

    /// Returns the length of the vectors. Stored vectors of another length (from an earlier embedder) are left out
    /// of searches.
    fn dimensions(&self) -> usize;
}

/// Error of an [`Embedder`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The embedder failed or returned unusable vectors.
    #[error("the embedder failed: {reason}")]
    Failed {
        /// Cause, without secrets.
        reason: String,
    },
    /// The call of the embedding model failed.
    #[error("the embedding model failed")]
    Model(#[from] ModelError),
}

impl EmbedError {
    /// Creates an [`EmbedError::Failed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::EmbedError;
    ///
    /// let error = EmbedError::failed("the text is too long");
    /// assert_eq!(error.to_string(), "the embedder failed: the text is too long");
    /// ```
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into() }
    }
}
