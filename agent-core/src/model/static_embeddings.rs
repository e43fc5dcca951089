//! Embeddings without a network: a static embedding model (Model2Vec) read from a folder.

use std::{fmt, path::Path, sync::Arc};

use futures::future::BoxFuture;
use model2vec_rs::model::StaticModel;

use super::{EmbedError, Embedder};

/// Maximum number of tokens of a text; the rest is ignored.
const TOKENS: usize = 512;
/// Number of texts embedded per batch.
const BATCH: usize = 256;
/// Maximum size of a model file.
const FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// A static embedding model: one vector for each token; the vector of a text is their mean.
///
/// Fast on a CPU, and no data leaves the machine. The weights are not part of the program: the folder holds
/// `config.json`, `tokenizer.json` and `model.safetensors`, as published at `huggingface.co/minishlab` (use a
/// multilingual model for Korean).
///
/// Only the first 512 tokens of a text are used.
#[derive(Clone)]
pub struct StaticEmbeddings(Arc<StaticModel>);

impl StaticEmbeddings {
    /// Reads a model from `folder`. Blocks while reading; the files have some megabytes.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Failed`] with the name of the file if a file is missing, larger than 4 GiB, or not a model.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, EmbedError> {
        let folder = folder.as_ref();
        let read = |name: &str| {
            let failed = |error: std::io::Error| broken(format!("`{name}` cannot be read: {error}"));
            let path = folder.join(name);
            if std::fs::metadata(&path).map_err(failed)?.len() > FILE_BYTES {
                return Err(broken(format!("`{name}` is larger than {FILE_BYTES} bytes")));
            }
            std::fs::read(path).map_err(failed)
        };
        let (tokenizer, model, config) =
            (read("tokenizer.json")?, read("model.safetensors")?, read("config.json")?);
        let model = StaticModel::from_bytes(tokenizer, model, config, None).map_err(|error| {
            broken(format!("the folder does not contain a static embedding model: {error}"))
        })?;
        if model.dim() == 0 {
            return Err(broken("its vectors are empty".to_owned()));
        }
        Ok(Self(Arc::new(model)))
    }
}

fn broken(reason: String) -> EmbedError {
    EmbedError::failed(reason)
}

impl Embedder for StaticEmbeddings {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move {
            let (model, texts) = (Arc::clone(&self.0), texts.to_vec());
            let work = move || model.encode_with_args(&texts, Some(TOKENS), BATCH);
            tokio::task::spawn_blocking(work).await.map_err(|error| broken(error.to_string()))
        })
    }

    fn dimensions(&self) -> usize {
        self.0.dim()
    }
}

impl fmt::Debug for StaticEmbeddings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticEmbeddings").field("dimensions", &self.0.dim()).finish_non_exhaustive()
    }
}
