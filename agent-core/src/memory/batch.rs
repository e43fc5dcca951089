//! Embeds texts together: puts that are made at the same time share a call of the embedder.

use std::{collections::VecDeque, fmt, mem, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::store::MemoryError;
use crate::model::{EmbedError, Embedder};

/// Texts of one call, and bytes of all of them.
const TEXTS: usize = 256;
const BYTES: usize = 1024 * 1024;

/// An embedder that combines concurrent requests into one call.
///
/// Each caller adds its texts to a queue. One of them takes what the queue holds, embeds it in one call, and hands out
/// the vectors, while the others wait. If it is dropped before that, the texts go back to the queue.
///
/// # Examples
///
/// ```
/// use agent_core::{memory::backend::Batching, model::WordEmbeddings};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let batching = Batching::new(Arc::new(WordEmbeddings));
/// // Two callers, one call of the embedder.
/// let (one, other) = tokio::try_join!(batching.embed(vec!["tea".into()]), batching.embed(vec!["coffee".into()]))?;
/// assert_eq!((one.len(), other.len()), (1, 1));
/// # Ok(()) }
/// ```
pub struct Batching {
    embedder: Arc<dyn Embedder>,
    queue: Mutex<VecDeque<Request>>,
    turn: tokio::sync::Mutex<()>,
}

type Vectors = Result<Vec<Vec<f32>>, MemoryError>;

/// The texts of one caller.
struct Request {
    texts: Vec<String>,
    answer: oneshot::Sender<Vectors>,
}

impl Batching {
    /// Creates a queue in front of an embedder.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{memory::backend::Batching, model::WordEmbeddings};
    /// use std::sync::Arc;
    ///
    /// let batching = Batching::new(Arc::new(WordEmbeddings));
    /// # drop(batching);
    /// ```
    #[must_use]
    pub fn new(embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder, queue: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Returns one vector of length 1 for each text, in their order.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Embed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing for others.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{memory::backend::Batching, model::WordEmbeddings};
    /// use std::sync::Arc;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let batching = Batching::new(Arc::new(WordEmbeddings));
    /// let vectors = batching.embed(vec!["tea".into(), "coffee".into()]).await?;
    /// assert_eq!(vectors.len(), 2);
    /// # Ok(()) }
    /// ```
    pub async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, MemoryError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, mut vectors) = oneshot::channel();
        self.queue.lock().push_back(Request { texts, answer });
        loop {
            tokio::select! {
                biased; // a caller with an answer needs no turn
                answered = &mut vectors => {
                    return answered.unwrap_or_else(|_| {
                        Err(EmbedError::failed("the call that embedded the text was dropped").into())
                    });
                }
                _turn = self.turn.lock() => {
                    // Other calls of the same turn of an agent can join the queue before this continues.
                    tokio::task::yield_now().await;
                    self.embed_queued().await;
                }
            }
        }
    }

    /// Embeds a query text in a separate call.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Embed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{memory::backend::Batching, model::WordEmbeddings};
    /// use std::sync::Arc;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let batching = Batching::new(Arc::new(WordEmbeddings));
    /// assert!(batching.embed_now("tea".to_owned()).await?.is_some());
    /// # Ok(()) }
    /// ```
    pub async fn embed_now(&self, text: String) -> Result<Option<Vec<f32>>, MemoryError> {
        Ok(vectors(&*self.embedder, &[text]).await?.pop())
    }

    /// Embeds the texts at the head of the queue in one call.
    async fn embed_queued(&self) {
        let mut batch = Batch { queue: &self.queue, taken: self.drain() };
        if batch.taken.is_empty() {
            return;
        }
        let texts: Vec<String> =
            batch.taken.iter().flat_map(|request| request.texts.iter().cloned()).collect();
        let mut answer = vectors(&*self.embedder, &texts).await;
        let shares_fault =
            matches!(&answer, Err(MemoryError::Embed(EmbedError::Model(error))) if error.is_retryable());
        if answer.is_err() && !shares_fault && batch.taken.len() > 1 {
            // One text may be at fault: each caller gets the error of its texts.
            while let Some(request) = batch.taken.front() {
                let answer = vectors(&*self.embedder, &request.texts).await;
                batch.answer(answer);
            }
            return;
        }
        while let Some(request) = batch.taken.front() {
            let own = match &mut answer {
                Ok(vectors) => Ok(vectors.drain(..request.texts.len()).collect()),
                Err(error) => Err(error.clone()),
            };
            batch.answer(own);
        }
    }

    fn drain(&self) -> VecDeque<Request> {
        let mut queue = self.queue.lock();
        // Callers that are gone need no vector.
        queue.retain(|request| !request.answer.is_closed());
        let (mut texts, mut bytes) = (0, 0);
        let fitting = queue.iter().take_while(|request| {
            texts += request.texts.len();
            bytes += request.texts.iter().map(String::len).sum::<usize>();
            texts <= TEXTS && bytes <= BYTES
        });
        // The first one goes in any case: what a caller asks for at once is not divided.
        let count = fitting.count().max(1).min(queue.len());
        queue.drain(..count).collect()
    }
}

/// Requests on their way. Dropped, it puts those without an answer back to the head of the queue.
struct Batch<'a> {
    queue: &'a Mutex<VecDeque<Request>>,
    taken: VecDeque<Request>,
}

impl Batch<'_> {
    /// Answers the first request.
    fn answer(&mut self, vectors: Vectors) {
        if let Some(request) = self.taken.pop_front() {
            // The caller may be gone.
            request.answer.send(vectors).ok();
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        for request in mem::take(&mut self.taken).into_iter().rev() {
            queue.push_front(request);
        }
    }
}

/// The vectors of texts, of length 1, so that the cosine of two is their product.
pub(crate) async fn vectors(embedder: &dyn Embedder, texts: &[String]) -> Vectors {
    let mut vectors = embedder.embed(texts).await?;
    let (count, wanted) = (vectors.len(), embedder.dimensions());
    if count != texts.len() || vectors.iter().any(|vector| vector.len() != wanted) {
        let length = vectors.iter().map(Vec::len).find(|length| *length != wanted).unwrap_or(wanted);
        let texts = texts.len();
        let reason = format!(
            "it returned {count} vectors of {length} numbers for {texts} text(s), not {texts} of {wanted}"
        );
        return Err(EmbedError::failed(reason).into());
    }
    for vector in &mut vectors {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if !length.is_finite() {
            return Err(EmbedError::failed("it returned numbers that are not finite").into());
        }
        // A text without any meaning (an empty one, say) stays at zero and is near to nothing.
        if length > 0.0 {
            vector.iter_mut().for_each(|x| *x /= length);
        }
    }
    Ok(vectors)
}

impl fmt::Debug for Batching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batching").field("embedder", &self.embedder).finish_non_exhaustive()
    }
}
